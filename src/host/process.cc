#include "host/process.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;

namespace {

constexpr size_t kMaxFile = 1u << 20;
constexpr size_t kMaxOutput = 64u << 10;

std::vector<char*> pointers(const std::vector<std::string>& words) {
    std::vector<char*> out;
    for (const std::string& word : words) out.push_back(const_cast<char*>(word.c_str()));
    out.push_back(nullptr);
    return out;
}

std::vector<std::string> environment() {
    const char* path = ::getenv("PATH");
    std::vector<std::string> out = {std::string("PATH=") + (path != nullptr ? path : "/usr/sbin:/usr/bin:/sbin:/bin"),
                                    "LC_ALL=C"};
    // Sanitizer settings reach helper programs too, so that a test fails on their reports.
    for (const char* name : {"ASAN_OPTIONS", "UBSAN_OPTIONS", "TSAN_OPTIONS"}) {
        if (const char* value = ::getenv(name); value != nullptr) out.push_back(std::string(name) + "=" + value);
    }
    return out;
}

// Signals that this process blocks or ignores are no business of the program that it starts.
struct Attributes {
    posix_spawnattr_t value{};
    Attributes() {
        ::posix_spawnattr_init(&value);
        sigset_t none;
        ::sigemptyset(&none);
        sigset_t all;
        ::sigfillset(&all);
        ::posix_spawnattr_setsigmask(&value, &none);
        ::posix_spawnattr_setsigdefault(&value, &all);
        ::posix_spawnattr_setflags(&value, POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF);
    }
    ~Attributes() { ::posix_spawnattr_destroy(&value); }
};

struct Actions {
    posix_spawn_file_actions_t value{};
    Actions() { ::posix_spawn_file_actions_init(&value); }
    ~Actions() { ::posix_spawn_file_actions_destroy(&value); }
};

}  // namespace

void Fd::reset() {
    if (fd_ >= 0) ::close(std::exchange(fd_, -1));
}

Result<pid_t> spawn(const std::vector<std::string>& arguments, const std::string& log,
                    const std::vector<std::pair<int, int>>& keep) {
    Actions actions;
    Attributes attributes;
    // Moved above every number that is a goal first, so that none overwrites another.
    std::vector<Fd> moved;
    int highest = 2;
    for (const auto& [from, to] : keep) highest = std::max(highest, to);
    ::posix_spawn_file_actions_addopen(&actions.value, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_addopen(&actions.value, 1, log.c_str(), O_WRONLY | O_CREAT | O_APPEND, 0600);
    ::posix_spawn_file_actions_adddup2(&actions.value, 1, 2);
    for (const auto& [from, to] : keep) {
        moved.emplace_back(::fcntl(from, F_DUPFD_CLOEXEC, highest + 1));
        if (!moved.back()) return fail_errno(errno, "dup");
        ::posix_spawn_file_actions_adddup2(&actions.value, moved.back().get(), to);
    }
    ::posix_spawn_file_actions_addclosefrom_np(&actions.value, highest + 1);
    const std::vector<std::string> variables = environment();
    pid_t pid = 0;
    const int error = ::posix_spawnp(&pid, arguments.front().c_str(), &actions.value, &attributes.value,
                                     pointers(arguments).data(), pointers(variables).data());
    if (error != 0) return fail_errno(error, "cannot start " + arguments.front());
    return pid;
}

Result<int> wait_child(pid_t pid) {
    int status = 0;
    while (::waitpid(pid, &status, 0) < 0) {
        if (errno != EINTR) return fail_errno(errno, "waitpid");
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

Result<Output> run_program(const std::vector<std::string>& arguments) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "pipe");
    Fd reader(ends[0]);
    Fd writer(ends[1]);
    Actions actions;
    Attributes attributes;
    ::posix_spawn_file_actions_addopen(&actions.value, 0, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&actions.value, writer.get(), 1);
    ::posix_spawn_file_actions_adddup2(&actions.value, writer.get(), 2);
    ::posix_spawn_file_actions_addclosefrom_np(&actions.value, 3);
    const std::vector<std::string> variables = environment();
    pid_t pid = 0;
    const int error = ::posix_spawnp(&pid, arguments.front().c_str(), &actions.value, &attributes.value,
                                     pointers(arguments).data(), pointers(variables).data());
    if (error != 0) return fail_errno(error, "cannot start " + arguments.front());
    writer.reset();
    Output out;
    char buffer[4096];
    for (;;) {
        const ssize_t got = ::read(reader.get(), buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        if (out.text.size() < kMaxOutput) out.text.append(buffer, static_cast<size_t>(got));
    }
    UMBRA_ASSIGN(out.status, wait_child(pid));
    while (!out.text.empty() && out.text.back() == '\n') out.text.pop_back();
    return out;
}

Result<std::string> read_file(const std::string& path) {
    Fd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno(errno, path);
    std::string out;
    char buffer[4096];
    while (out.size() < kMaxFile) {
        const ssize_t got = ::read(fd.get(), buffer, sizeof buffer);
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return fail_errno(errno, path);
        if (got == 0) break;
        out.append(buffer, static_cast<size_t>(got));
    }
    return out;
}

Result<void> replace_file(const std::string& path, std::string_view content) {
    const std::string temporary = path + ".new";
    Fd fd(::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
    if (!fd) return fail_errno(errno, temporary);
    while (!content.empty()) {
        const ssize_t put = ::write(fd.get(), content.data(), content.size());
        if (put < 0 && errno == EINTR) continue;
        if (put < 0) return fail_errno(errno, temporary);
        content.remove_prefix(static_cast<size_t>(put));
    }
    if (::fsync(fd.get()) != 0) return fail_errno(errno, temporary);
    if (::rename(temporary.c_str(), path.c_str()) != 0) return fail_errno(errno, path);
    return {};
}

Result<void> poke_file(const std::string& path, std::string_view content) {
    Fd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) return fail_errno(errno, path);
    if (::write(fd.get(), content.data(), content.size()) < 0) return fail_errno(errno, path);
    return {};
}

Result<void> make_directories(const std::string& path, mode_t mode) {
    for (size_t at = 1; at <= path.size(); ++at) {
        if (at < path.size() && path[at] != '/') continue;
        const std::string part = path.substr(0, at);
        if (::mkdir(part.c_str(), at == path.size() ? mode : 0755) != 0 && errno != EEXIST)
            return fail_errno(errno, part);
    }
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return fail_errno(errno, path);
    if (!S_ISDIR(status.st_mode)) return fail(Code::kInvalidArgument, path + " is not a directory");
    return {};
}

std::vector<std::string> list_directory(const std::string& path) {
    std::vector<std::string> out;
    DIR* directory = ::opendir(path.c_str());
    if (directory == nullptr) return out;
    while (const dirent* entry = ::readdir(directory)) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") out.emplace_back(name);
    }
    ::closedir(directory);
    std::sort(out.begin(), out.end());
    return out;
}

Fields parse_fields(std::string_view text) {
    Fields out;
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = text.substr(0, end);
        const size_t equals = line.find('=');
        if (equals != std::string_view::npos) out.emplace_back(line.substr(0, equals), line.substr(equals + 1));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return out;
}

std::string format_fields(const Fields& fields) {
    std::string out;
    for (const auto& [key, value] : fields) out += key + "=" + value + "\n";
    return out;
}

std::string field(const Fields& fields, std::string_view key) {
    for (const auto& [name, value] : fields) {
        if (name == key) return value;
    }
    return {};
}

}  // namespace umbra::host

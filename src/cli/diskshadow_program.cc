#include "cli/diskshadow_program.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <poll.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <iostream>

#include "cli/diskshadow_console.h"
#include "cli/diskshadow_help.h"
#include "cli/diskshadow_shell.h"
#include "cli/diskshadow_text.h"

extern char** environ;

namespace umbra::cli::diskshadow {

using base::Code;
using base::Result;

namespace {

bool is_switch(const std::string& word, std::string_view name) {
    return word.size() > 1 && (word[0] == '/' || word[0] == '-') && same_word(std::string_view(word).substr(1), name);
}

bool write_all(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t n = ::write(fd, text.data(), text.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return false;
        text.remove_prefix(static_cast<size_t>(n));
    }
    return true;
}

Result<std::string> read_script(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return base::fail_errno(errno, "cannot open the script " + path);
    std::string content;
    Result<> read = {};
    while (read && content.size() <= kMaxScriptBytes) {
        char chunk[65536];
        const ssize_t n = ::read(fd, chunk, sizeof chunk);
        if (n == 0) break;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            read = base::fail_errno(errno, "cannot read the script " + path);
        } else {
            content.append(chunk, static_cast<size_t>(n));
        }
    }
    ::close(fd);
    if (!read) return std::unexpected(read.error());
    return content;
}

std::string host_name() {
    char name[256] = {};
    if (::gethostname(name, sizeof name - 1) != 0) return "localhost";
    return name;
}

Variables::Environment process_environment() {
    Variables::Environment out;
    for (char** entry = environ; *entry != nullptr; ++entry) {
        const std::string_view text(*entry);
        const size_t equals = text.find('=');
        if (equals != std::string_view::npos && equals > 0)
            out.emplace(text.substr(0, equals), text.substr(equals + 1));
    }
    return out;
}

// The mount that a path lies on: unlike st_dev it tells bind mounts apart.
std::optional<uint64_t> mount_id(const std::string& path) {
    struct statx info{};
    if (::statx(AT_FDCWD, path.c_str(), AT_NO_AUTOMOUNT, STATX_MNT_ID, &info) != 0) return std::nullopt;
    if ((info.stx_mask & STATX_MNT_ID) == 0) return std::nullopt;
    return info.stx_mnt_id;
}

std::string resolve_program(const std::string& program) {
    struct stat info{};
    if (program.find('/') == std::string::npos && ::stat(program.c_str(), &info) == 0 && S_ISREG(info.st_mode)) {
        return "./" + program;
    }
    return program;
}

// Copies the child's output until it has ended; what it left running in the background does not keep us.
void copy_output(int from, pid_t child, Screen& screen) {
    const int ended = static_cast<int>(::syscall(SYS_pidfd_open, child, 0));
    ::fcntl(from, F_SETFL, O_NONBLOCK);
    bool alive = true;
    while (true) {
        pollfd waits[2] = {{from, POLLIN, 0}, {ended, POLLIN, 0}};
        const nfds_t count = alive && ended >= 0 ? 2 : 1;
        const int ready = ::poll(waits, count, alive ? -1 : 0);
        if (ready < 0 && errno == EINTR) continue;
        if (ready <= 0) break;
        if (count == 2 && waits[1].revents != 0) alive = false;
        if (waits[0].revents == 0) continue;
        char chunk[16384];
        const ssize_t n = ::read(from, chunk, sizeof chunk);
        if (n == 0 || (n < 0 && errno != EINTR && errno != EAGAIN)) break;
        if (n > 0) screen.write({chunk, static_cast<size_t>(n)});
    }
    if (ended >= 0) ::close(ended);
}

}  // namespace

Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments) {
    CommandLine out;
    for (size_t i = 0; i < arguments.size(); ++i) {
        const auto& word = arguments[i];
        const bool has_value = i + 1 < arguments.size();
        const bool log = out.script ? word == "/l" || word == "-l" : is_switch(word, "l") || is_switch(word, "log");
        if (log) {
            if (!has_value || out.log) return base::fail(Code::kInvalidArgument, "/l takes the name of one log file");
            out.log = arguments[++i];
        } else if (out.script) {
            out.parameters.push_back(word);
        } else if (is_switch(word, "s")) {
            if (!has_value) return base::fail(Code::kInvalidArgument, "/s takes the name of a script");
            out.script = arguments[++i];
        } else if (is_switch(word, "?") || is_switch(word, "h") || is_switch(word, "help") || word == "--help") {
            out.help = true;
        } else {
            return base::fail(Code::kInvalidArgument, fmt::format("{} is not understood", word));
        }
    }
    return out;
}

Screen::~Screen() {
    if (log_ >= 0) ::close(log_);
}

Result<> Screen::open_log(const std::string& path) {
    log_ = ::open(path.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0640);
    if (log_ < 0) return base::fail_errno(errno, "cannot create the log " + path);
    return {};
}

void Screen::write(std::string_view text) {
    if (!write_all(STDOUT_FILENO, text)) intact_ = false;
    write_log(text);
}

void Screen::write_log(std::string_view text) {
    if (log_ >= 0 && !write_all(log_, text)) intact_ = false;
}

std::string mount_point_of(const std::string& path) {
    std::error_code error;
    auto at = std::filesystem::canonical(path, error);
    if (error) return {};
    const auto id = mount_id(at.string());
    if (!id) return {};
    while (at.has_relative_path() && mount_id(at.parent_path().string()) == id) at = at.parent_path();
    return at.string();
}

std::expected<int, std::string> run_program(const std::string& program, const std::vector<std::string>& environment,
                                            Screen& screen) {
    int output[2] = {-1, -1};
    posix_spawn_file_actions_t actions;
    ::posix_spawn_file_actions_init(&actions);
    if (screen.has_log()) {
        if (::pipe2(output, O_CLOEXEC) != 0) {
            ::posix_spawn_file_actions_destroy(&actions);
            return std::unexpected(fmt::format("{} could not be run: {}.", program, std::strerror(errno)));
        }
        ::posix_spawn_file_actions_adddup2(&actions, output[1], STDOUT_FILENO);
        ::posix_spawn_file_actions_adddup2(&actions, output[1], STDERR_FILENO);
    }
    std::vector<char*> variables;
    for (const auto& entry : environment) variables.push_back(const_cast<char*>(entry.c_str()));
    variables.push_back(nullptr);
    auto file = resolve_program(program);
    char* words[] = {file.data(), nullptr};
    pid_t child = -1;
    int error = ::posix_spawnp(&child, file.c_str(), &actions, nullptr, words, variables.data());
    if (error == ENOEXEC) {
        std::string shell = "/bin/sh";
        char* shell_words[] = {shell.data(), file.data(), nullptr};
        error = ::posix_spawn(&child, shell.c_str(), &actions, nullptr, shell_words, variables.data());
    }
    ::posix_spawn_file_actions_destroy(&actions);
    if (output[1] >= 0) ::close(output[1]);
    if (error == 0 && output[0] >= 0) copy_output(output[0], child, screen);
    if (output[0] >= 0) ::close(output[0]);
    if (error != 0) return std::unexpected(fmt::format("{} could not be run: {}.", program, std::strerror(error)));
    int status = 0;
    while (::waitpid(child, &status, 0) < 0) {
        if (errno != EINTR) return std::unexpected(fmt::format("{} was lost: {}.", program, std::strerror(errno)));
    }
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

int run_diskshadow(const std::vector<std::string>& arguments, const Factory& factory,
                   const std::function<std::string()>& last_error_text) {
    Screen screen;
    const auto command_line = parse_command_line(arguments);
    if (!command_line) {
        screen.write(fmt::format("{}\n\n{}", command_line.error().message, usage()));
        return 1;
    }
    if (command_line->help) {
        screen.write(usage());
        return 0;
    }
    if (command_line->log) {
        if (auto opened = screen.open_log(*command_line->log); !opened) {
            screen.write(opened.error().message + "\n");
            return 1;
        }
    }
    std::error_code error;
    Services services;
    services.create = factory;
    services.last_error_text = last_error_text;
    services.write = [&screen](std::string_view text) { screen.write(text); };
    services.now = [] { return ::time(nullptr); };
    services.host_name = host_name();
    services.run_program = [&screen](const std::string& program, const std::vector<std::string>& environment) {
        return run_program(program, environment, screen);
    };
    services.mount_point_of = mount_point_of;
    services.directory = std::filesystem::current_path(error).string();
    Variables variables(process_environment());
    for (size_t i = 0; i < command_line->parameters.size(); ++i) {
        variables.set_parameter(i + 1, command_line->parameters[i]);
    }
    int code = 0;
    if (command_line->script) {
        const auto script = read_script(*command_line->script);
        const auto lines = script ? split_lines(*script) : std::unexpected(script.error());
        if (!lines) {
            screen.write(lines.error().message + "\n");
            return 1;
        }
        code = Shell(std::move(services), std::move(variables)).run_script(*lines);
    } else {
        LineReader reader(screen);
        const bool attended = ::isatty(STDIN_FILENO) != 0;
        code = Shell(std::move(services), std::move(variables))
                   .run_interactive([&](const std::string& prompt) { return reader.read(prompt); }, attended);
    }
    if (!screen.intact()) {
        std::cerr << "diskshadow: not all of the output could be written\n";
        return 1;
    }
    return code;
}

}  // namespace umbra::cli::diskshadow

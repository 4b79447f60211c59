#include "host/attachments.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <filesystem>
#include <set>
#include <thread>

#include "host/loop.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;
using std::chrono::milliseconds;

namespace {

constexpr milliseconds kReadyTimeout{60'000};
constexpr milliseconds kLoopPatience{5'000};
constexpr milliseconds kExitPatience{10'000};
constexpr milliseconds kSearchPause{250};
constexpr int kSearchLoginSeconds = 5;
constexpr std::string_view kFileSuffix = ".lun";
constexpr std::string_view kNotesSuffix = ".notes";

// A FUSE file whose process is gone.
bool is_dead(const std::string& file) {
    struct stat status{};
    return ::stat(file.c_str(), &status) != 0 && (errno == ENOTCONN || errno == ECONNABORTED);
}

// Waits for a process that need not be a child.
bool wait_gone(int pid, milliseconds patience) {
    if (pid <= 0) return true;
    Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
    if (!fd) return true;
    pollfd entry = {fd.get(), POLLIN, 0};
    return ::poll(&entry, 1, static_cast<int>(patience.count())) > 0;
}

std::string notes_of_file(const std::string& file) {
    return file.substr(0, file.size() - kFileSuffix.size()) + std::string(kNotesSuffix);
}

std::string first_word(std::string& text) {
    const size_t space = std::min(text.find(' '), text.size());
    std::string word = text.substr(0, space);
    text.erase(0, std::min(space + 1, text.size()));
    return word;
}

}  // namespace

HostConfig canonical(const HostConfig& config) {
    HostConfig out = config;
    std::error_code error;
    for (std::string* directory : {&out.run_dir, &out.device_dir}) {
        const auto path = std::filesystem::weakly_canonical(*directory, error);
        if (!error) *directory = path.string();
        if (directory->size() > 1 && directory->back() == '/') directory->pop_back();
    }
    return out;
}

std::string Attachments::file_of(const std::string& key) const {
    std::string name;
    for (const char c : key) {
        name += std::isalnum(static_cast<unsigned char>(c)) != 0 || c == '.' || c == '-' ? c : '_';
    }
    return config_.attach_dir() + "/" + name + std::string(kFileSuffix);
}

Result<Attachment> Attachments::read(const std::string& file) const {
    Attachment out;
    out.file = file;
    if (const auto notes = read_file(notes_of_file(file))) out.notes = parse_fields(*notes);
    if (is_dead(file)) {
        out.dead = true;
        const auto loops = loops_over(file);
        if (!loops.empty()) out.device = loops.front();
        auto path = IscsiPath::parse(field(out.notes, "url"));
        if (path) out.path = std::move(*path);
        return out;
    }
    const auto info = read_lun_file(file);
    if (!info) return fail(Code::kNotFound, file + " is not served");
    out.lun = info->identity;
    UMBRA_ASSIGN(out.path, IscsiPath::parse(info->url));
    out.pid = info->pid;
    out.read_only = info->read_only;
    const auto loops = loops_over(file);
    if (!loops.empty()) out.device = loops.front();
    return out;
}

// What a killed initiator leaves: a loop device over a dead file. kBusy while a file system is still on it.
Result<void> Attachments::clear_dead(const std::string& file) {
    for (const std::string& device : loops_over(file)) {
        UMBRA_TRY(check_unused(device));
        const auto detached = detach_loop(device, kLoopPatience);
        // Its last flush fails: there is nobody to take it.
        if (!detached && detached.error().code == Code::kBusy) return detached;
        if (!detached) {
            Fd loop(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
            if (loop) UMBRA_TRY(clear_loop(loop.get(), device));
        }
    }
    if (::umount2(file.c_str(), MNT_DETACH) != 0 && errno != EINVAL) return fail_errno(errno, file);
    return {};
}

Result<void> Attachments::end_file(const std::string& file, int pid, bool keep_notes) {
    const auto deadline = std::chrono::steady_clock::now() + kExitPatience;
    // As often as it is mounted: an attach that was given up may have left one below another.
    for (;;) {
        if (::umount2(file.c_str(), UMOUNT_NOFOLLOW) == 0) continue;
        if (errno == EINVAL || errno == ENOENT) break;  // not mounted any more
        if (errno != EBUSY || std::chrono::steady_clock::now() >= deadline) return fail_errno(errno, file);
        std::this_thread::sleep_for(milliseconds(20));
    }
    // It logs out when its file is gone.
    if (!wait_gone(pid, kExitPatience)) {
        return fail(Code::kTimedOut, "umbra-initiator (" + std::to_string(pid) + ") does not end");
    }
    if (!keep_notes) ::unlink(notes_of_file(file).c_str());
    ::unlink(file.c_str());
    return {};
}

Result<Attachment> Attachments::attach(const IscsiPath& path, const std::string& key, bool read_only) {
    const auto mutex = mutex_of(file_of(key));
    const std::lock_guard lock(*mutex);
    return attach_locked(path, key, read_only);
}

Result<Attachment> Attachments::attach_locked(const IscsiPath& path, const std::string& key, bool read_only) {
    if (key.empty()) return fail(Code::kInvalidArgument, "attach without the LUN's identifier");
    UMBRA_TRY(make_directories(config_.attach_dir(), 0700));
    const std::string file = file_of(key);
    if (is_dead(file)) UMBRA_TRY(clear_dead(file));
    auto present = read(file);
    if (!present) {
        Fd created(::open(file.c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        if (!created) return fail_errno(errno, file);
        int ends[2];
        if (::pipe2(ends, O_CLOEXEC) != 0) return fail_errno(errno, "pipe");
        Fd reader(ends[0]);
        Fd writer(ends[1]);
        created.reset();
        std::vector<std::string> arguments = {
            config_.initiator_program, "--url",    path.url(), "--file",     file, "--initiator",
            config_.initiator_iqn,     "--expect", key,        "--ready-fd", "3",  "--daemonize"};
        if (read_only) arguments.emplace_back("--read-only");
        UMBRA_ASSIGN(const pid_t pid, spawn(arguments, config_.attach_dir() + "/initiator.log", {{writer.get(), 3}}));
        writer.reset();
        UMBRA_TRY(wait_child(pid));
        std::string answer;
        pollfd entry = {reader.get(), POLLIN, 0};
        if (::poll(&entry, 1, static_cast<int>(kReadyTimeout.count())) > 0) {
            char buffer[2048];
            const ssize_t got = ::read(reader.get(), buffer, sizeof buffer);
            if (got > 0) answer.assign(buffer, static_cast<size_t>(got));
        }
        if (answer != "ready\n") {
            // One that is late finds nobody who waits for it, and ends; or it has mounted already.
            reader.reset();
            while (::umount2(file.c_str(), UMOUNT_NOFOLLOW) == 0) continue;
            ::unlink(file.c_str());
            if (answer.empty())
                answer = "umbra-initiator did not start (see " + config_.attach_dir() + "/initiator.log)";
            if (!answer.empty() && answer.back() == '\n') answer.pop_back();
            Code code = Code::kUnavailable;
            if (first_word(answer) == "error" && answer.starts_with("not_found: ")) code = Code::kNotFound;
            return fail(code, "attach of " + key + ": " + answer);
        }
        present = read(file);
        if (!present) return present;
    }
    if (present->lun.key() != key) {
        return fail(Code::kCorrupt, file + " serves " + present->lun.key());
    }
    if (present->read_only != read_only) {
        return fail(Code::kBadState,
                    key + " is attached " + (present->read_only ? "read-only" : "for writing") + " already");
    }
    const bool made_here = present->device.empty();
    if (made_here) {
        const auto info = read_lun_file(file);
        auto loop = attach_loop(file, read_only, info ? info->block_bytes : 512);
        if (!loop) {
            const int pid = present->pid;
            const auto ended = end_file(file, pid, true);
            static_cast<void>(ended);  // the first error is the one to tell
            return std::unexpected(loop.error());
        }
        present->device = *loop;
    }
    auto usable = drop_caches(present->device);
    if (usable) usable = add_partitions(present->device);
    if (usable) return present;
    base::Error error = usable.error();
    if (made_here) {
        // The content of the LUN decides over partitions: what cannot be used is not left behind.
        auto undone = detach_loop(present->device, kLoopPatience);
        if (undone) undone = end_file(file, present->pid, true);
        if (!undone) error.message += "; it stays attached: " + undone.error().message;
    }
    return std::unexpected(std::move(error));
}

Result<void> Attachments::detach(const LunIdentity& lun) {
    return detach_file(file_of(lun.key()));
}

Result<std::optional<Attachment>> Attachments::find_key(const std::string& key) {
    const std::string file = file_of(key);
    struct stat status{};
    if (::stat(file.c_str(), &status) != 0 && errno == ENOENT) return std::nullopt;
    auto attachment = read(file);
    if (!attachment) return std::nullopt;
    return std::move(*attachment);
}

Result<void> Attachments::detach_file(const std::string& file, bool keep_notes) {
    const auto mutex = mutex_of(file);
    const std::lock_guard lock(*mutex);
    if (::access(file.c_str(), F_OK) != 0 && errno == ENOENT) return {};
    if (is_dead(file)) {
        UMBRA_TRY(clear_dead(file));
        return end_file(file, 0, keep_notes);
    }
    const auto present = read(file);
    if (!present) return end_file(file, 0, keep_notes);
    if (!present->device.empty()) UMBRA_TRY(detach_loop(present->device, kLoopPatience));
    return end_file(file, present->pid, keep_notes);
}

Result<std::vector<Attachment>> Attachments::list() {
    std::vector<Attachment> out;
    for (const std::string& name : list_directory(config_.attach_dir())) {
        if (!name.ends_with(kFileSuffix)) continue;
        auto attachment = read(config_.attach_dir() + "/" + name);
        if (attachment) out.push_back(std::move(*attachment));
    }
    return out;
}

Result<std::optional<Attachment>> Attachments::find(const LunIdentity& lun) {
    UMBRA_ASSIGN(std::vector<Attachment> all, list());
    const std::string file = file_of(lun.key());
    for (Attachment& attachment : all) {
        if (attachment.file == file || same_lun(attachment.lun, lun)) return std::move(attachment);
    }
    return std::nullopt;
}

Result<void> Attachments::set_notes(const Attachment& attachment, Fields notes) {
    return replace_file(notes_of_file(attachment.file), format_fields(notes));
}

Result<void> Attachments::note(const std::string& key, const Fields& notes) {
    UMBRA_TRY(make_directories(config_.attach_dir(), 0700));
    return replace_file(notes_of_file(file_of(key)), format_fields(notes));
}

Fields Attachments::notes(const std::string& key) const {
    const auto text = read_file(notes_of_file(file_of(key)));
    return text ? parse_fields(*text) : Fields{};
}

void Attachments::forget_notes(const std::string& key) {
    ::unlink(notes_of_file(file_of(key)).c_str());
}

std::shared_ptr<std::mutex> Attachments::mutex_of(const std::string& file) {
    const std::lock_guard lock(mutex_);
    std::shared_ptr<std::mutex>& mutex = file_mutexes_[file];
    if (!mutex) mutex = std::make_shared<std::mutex>();
    return mutex;
}

// True when at least one portal answered.
Result<bool> Attachments::ask_portals(const std::vector<WantedLun>& wanted, std::vector<std::optional<Disk>>& found) {
    std::string trouble;
    bool answered = false;
    for (const std::string& portal : config_.portals) {
        const auto targets = discover_targets(portal, config_.initiator_iqn, kSearchLoginSeconds);
        if (!targets) {
            trouble = targets.error().message;
            continue;
        }
        answered = true;
        for (const std::string& target : *targets) {
            auto session = IscsiSession::login(portal, target, config_.initiator_iqn, kSearchLoginSeconds);
            if (!session) continue;
            const auto luns = (*session)->report_luns();
            if (!luns) continue;
            for (const uint32_t lun : *luns) {
                const auto facts = (*session)->read_facts(lun);
                if (!facts) continue;
                for (size_t i = 0; i < wanted.size(); ++i) {
                    if (found[i] || !same_lun(facts->identity, wanted[i].lun)) continue;
                    auto attached = attach({portal, target, lun}, facts->identity.key(), wanted[i].read_only);
                    if (!attached) {
                        trouble = attached.error().message;
                        continue;
                    }
                    auto disk = machine_.find_lun(facts->identity);
                    if (disk && *disk) found[i] = std::move(**disk);
                }
            }
        }
    }
    if (!answered && !config_.portals.empty()) return fail(Code::kUnavailable, trouble);
    return answered;
}

Result<std::vector<std::optional<Disk>>> Attachments::search(const std::vector<WantedLun>& wanted,
                                                             milliseconds timeout) {
    std::vector<std::optional<Disk>> found(wanted.size());
    const auto deadline = std::chrono::steady_clock::now() + timeout;
    bool asked = false;
    base::Error last;
    for (;;) {
        // The kernel's initiators look again at every bus.
        const auto hosts = list_directory("/sys/class/scsi_host");
        for (const std::string& host : hosts) {
            const auto poked = poke_file("/sys/class/scsi_host/" + host + "/scan", "- - -");
            asked = asked || poked.has_value();
        }
        const auto look = [&]() -> Result<void> {
            for (size_t i = 0; i < wanted.size(); ++i) {
                if (found[i]) continue;
                UMBRA_ASSIGN(found[i], machine_.find_lun(wanted[i].lun));
            }
            return {};
        };
        UMBRA_TRY(look());
        const auto complete = [&] {
            return std::all_of(found.begin(), found.end(), [](const auto& d) { return d.has_value(); });
        };
        if (complete()) return found;
        const auto answered = ask_portals(wanted, found);
        if (answered) {
            asked = asked || *answered;
        } else {
            last = answered.error();
        }
        if (complete()) return found;
        if (std::chrono::steady_clock::now() + kSearchPause >= deadline) break;
        std::this_thread::sleep_for(kSearchPause);
    }
    if (!asked && !last.message.empty()) return std::unexpected(last);
    return found;
}

}  // namespace umbra::host

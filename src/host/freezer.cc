#include "host/freezer.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <thread>

#include "host/process.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;
using std::chrono::milliseconds;

namespace {

constexpr size_t kMessageBytes = 256;
constexpr milliseconds kStartTimeout{60'000};  // write-back of a lot of dirty data is part of it
constexpr milliseconds kEndPatience{5'000};
constexpr milliseconds kLeftoverPatience{15'000};
constexpr milliseconds kThawPause{100};
constexpr milliseconds kWatchdogGrace{5'000};  // for its messages, before the parent does the work itself
constexpr std::string_view kStateSuffix = ".freeze";

// CLOCK_MONOTONIC, which both processes share.
int64_t now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return int64_t{now.tv_sec} * 1'000'000'000 + now.tv_nsec;
}

void send_text(int socket, const char* text) {
    [[maybe_unused]] const ssize_t n = ::send(socket, text, std::strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

template <class Int>
bool next_number(std::string_view& text, Int& out) {
    while (!text.empty() && text.front() == ' ') text.remove_prefix(1);
    const auto parsed = std::from_chars(text.data(), text.data() + text.size(), out);
    text.remove_prefix(static_cast<size_t>(parsed.ptr - text.data()));
    return parsed.ec == std::errc{};
}

/// A path names what is mounted there now; the caller means what was there when the volume was looked at.
Result<void> check_target(const FreezeTarget& target, int fd) {
    struct stat status{};
    if (::fstat(fd, &status) != 0) return fail_errno(errno, target.path);
    if (target.device == 0 || (target.raw ? status.st_rdev : status.st_dev) == target.device) return {};
    return fail(Code::kBadState, target.path + " is not the volume any more that it was: it was mounted or unmounted");
}

bool is_mounted(uint64_t device) {
    const auto table = read_file("/proc/self/mountinfo");
    const std::string number = " " + std::to_string(major(device)) + ":" + std::to_string(minor(device)) + " ";
    return !table || table->find(number) != std::string::npos;
}

// --- In the watchdog process. After "ready" nothing here opens, allocates, starts or logs to a file. ---

class Freezer {
public:
    explicit Freezer(const FreezerOptions& options) : options_(options), items_(options.targets.size()) {}

    int run() {
        if (const auto prepared = prepare(); !prepared) {
            char text[kMessageBytes];
            std::snprintf(text, sizeof text, "error %s", prepared.error().message.c_str());
            // Nothing was frozen: nothing is to be thawed by the next start. A file that is not ours names another's.
            if (locked_) ::unlink(options_.state_file.c_str());
            send_text(options_.socket, text);
            return 1;
        }
        std::vector<std::thread> workers;
        for (Item& item : items_) workers.emplace_back(&Freezer::work, this, &item);
        lock_memory();
        send_text(options_.socket, "ready");
        serve();
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
            thawing_ = true;
        }
        wake_.notify_all();
        for (std::thread& worker : workers) worker.join();
        ::unlink(options_.state_file.c_str());
        return 0;
    }

private:
    enum class Step : uint8_t { kIdle, kFreezing, kFrozen, kThawing, kThawed, kFailed };
    struct Item {
        const FreezeTarget* target = nullptr;
        Fd fd;
        Fd abort;
        Step step = Step::kIdle;
        int error = 0;
        bool aborted = false;
    };

    Result<void> prepare() {
        for (const int number : {SIGPIPE, SIGTERM, SIGINT, SIGHUP}) ::signal(number, SIG_IGN);
        if (::chdir("/") != 0) return fail_errno(errno, "/");
        Fields fields;
        for (const FreezeTarget& target : options_.targets)
            fields.emplace_back(target.raw ? "raw" : "path", target.path);
        UMBRA_TRY(replace_file(options_.state_file, format_fields(fields)));
        // Locked for as long as this process lives: a later run of the service waits for that.
        state_ = Fd(::open(options_.state_file.c_str(), O_RDONLY | O_CLOEXEC));
        if (!state_ || ::flock(state_.get(), LOCK_EX | LOCK_NB) != 0) return fail_errno(errno, options_.state_file);
        locked_ = true;
        struct stat state_status{};
        if (::fstat(state_.get(), &state_status) != 0) return fail_errno(errno, options_.state_file);
        for (size_t i = 0; i < items_.size(); ++i) {
            Item& item = items_[i];
            item.target = &options_.targets[i];
            const int flags = item.target->raw ? O_RDONLY | O_NONBLOCK : O_RDONLY | O_DIRECTORY;
            if (item.target->claim) item.fd = Fd(::open(item.target->path.c_str(), flags | O_EXCL | O_CLOEXEC));
            const bool claimed = static_cast<bool>(item.fd);
            if (!claimed) item.fd = Fd(::open(item.target->path.c_str(), flags | O_CLOEXEC));
            if (!item.fd) return fail_errno(errno, item.target->path);
            UMBRA_TRY(check_target(*item.target, item.fd.get()));
            struct stat status{};
            if (::fstat(item.fd.get(), &status) != 0) return fail_errno(errno, item.target->path);
            // Somebody else's claim keeps a mount away as well as ours, unless it is the mount.
            if (item.target->claim && !claimed && is_mounted(status.st_rdev)) {
                return fail(Code::kBadState, item.target->path + " was mounted meanwhile");
            }
            if (!item.target->raw && status.st_dev == state_status.st_dev) {
                return fail(Code::kUnsupported, item.target->path + " holds the service's own state");
            }
            if (!item.target->abort_path.empty()) {
                item.abort = Fd(::open(item.target->abort_path.c_str(), O_WRONLY | O_CLOEXEC));
                if (!item.abort)
                    std::fprintf(stderr, "umbra-freezer: %s: %s\n", item.target->abort_path.c_str(),
                                 std::strerror(errno));
            }
            // Most of the dirty data goes out before anybody is held up.
            if ((item.target->raw ? ::fsync(item.fd.get()) : ::syncfs(item.fd.get())) != 0) {
                return fail_errno(errno, "writing back " + item.target->path);
            }
        }
        event_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        if (!event_) return fail_errno(errno, "eventfd");
        return {};
    }

    void lock_memory() {
#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
#if defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
        return;
#endif
#endif
        // Without the privilege it works too, but could wait for memory that only a thaw gives back.
        if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0)
            std::fprintf(stderr, "umbra-freezer: mlockall: %s\n", std::strerror(errno));
        ::setpriority(PRIO_PROCESS, 0, -10);
#endif
    }

    void ring() {
        const uint64_t one = 1;
        [[maybe_unused]] const ssize_t n = ::write(event_.get(), &one, sizeof one);
    }

    void work(Item* item) {
        std::unique_lock lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return ending_ || (freezing_ && !thawing_ && item->step == Step::kIdle); });
            if (!freezing_ || thawing_ || item->step != Step::kIdle) {
                if (ending_) return;
                continue;
            }
            item->step = Step::kFreezing;
            lock.unlock();
            int error = 0;
            if (item->target->raw) {
                if (::fsync(item->fd.get()) != 0) error = errno;
            } else if (::ioctl(item->fd.get(), FIFREEZE, 0) != 0) {
                error = errno;
            }
            lock.lock();
            item->error = error;
            if (error != 0) {
                item->step = Step::kFailed;
                ring();
                if (ending_) return;
                continue;
            }
            item->step = Step::kFrozen;
            ring();
            // Also when the thaw was ordered while this one was still going in.
            wake_.wait(lock, [&] { return thawing_; });
            item->step = Step::kThawing;
            lock.unlock();
            bool foreign = false;
            while (!item->target->raw && ::ioctl(item->fd.get(), FITHAW, 0) != 0) {
                if (errno == EINVAL) {  // somebody else thawed it: it was not held to the end
                    foreign = true;
                    break;
                }
                const timespec pause = {0, 100'000'000};
                ::nanosleep(&pause, nullptr);
            }
            lock.lock();
            if (foreign) broken_ = true;
            item->step = Step::kThawed;
            ring();
            if (ending_) return;
        }
    }

    void order_thaw() {
        {
            const std::lock_guard lock(mutex_);
            if (thawing_) return;
            thawing_ = true;
            thaw_started_ = now_ns();
        }
        wake_.notify_all();
    }

    // Under the lock: nothing is frozen, nor will be.
    bool all_thawed() const {
        return std::all_of(items_.begin(), items_.end(), [](const Item& item) {
            return item.step == Step::kIdle || item.step == Step::kThawed || item.step == Step::kFailed;
        });
    }
    bool all_frozen() const {
        return std::all_of(items_.begin(), items_.end(), [](const Item& item) { return item.step == Step::kFrozen; });
    }

    // Until the parent says "end" or is gone, and nothing is frozen any more.
    void serve() {
        int64_t flush_until = 0;
        int64_t hold_until = 0;
        int64_t hold_ns = 0;
        bool answered_freeze = true;
        bool thaw_asked = false;
        bool thaw_answered = false;
        bool parent = true;
        for (;;) {
            int64_t until = 0;
            {
                const std::lock_guard lock(mutex_);
                if (!parent && all_thawed()) return;
                if (thawing_ && !all_thawed()) {
                    until = thaw_started_ + std::chrono::nanoseconds(options_.abort_grace).count();
                } else if (!thawing_) {
                    until = answered_freeze ? hold_until : flush_until;
                }
            }
            std::array<pollfd, 2> fds{};
            fds[0] = {parent ? options_.socket : -1, POLLIN, 0};
            fds[1] = {event_.get(), POLLIN, 0};
            timespec wait{};
            if (until != 0) {
                const int64_t left = std::max<int64_t>(until - now_ns(), 0);
                wait = {left / 1'000'000'000, left % 1'000'000'000};
            }
            ::ppoll(fds.data(), fds.size(), until != 0 ? &wait : nullptr, nullptr);
            if (fds[1].revents != 0) {
                uint64_t count = 0;
                [[maybe_unused]] const ssize_t n = ::read(event_.get(), &count, sizeof count);
            }
            if (fds[0].revents != 0) {
                char buffer[kMessageBytes];
                const ssize_t got = ::recv(options_.socket, buffer, sizeof buffer - 1, MSG_DONTWAIT);
                if (got > 0) {
                    std::string_view text(buffer, static_cast<size_t>(got));
                    if (text.starts_with("freeze ")) {
                        text.remove_prefix(7);
                        int64_t flush_ms = 0;
                        int64_t hold_ms = 0;
                        if (next_number(text, flush_ms) && next_number(text, hold_ms)) {
                            flush_until = now_ns() + flush_ms * 1'000'000;
                            hold_ns = hold_ms * 1'000'000;
                            answered_freeze = false;
                            {
                                const std::lock_guard lock(mutex_);
                                freezing_ = true;
                            }
                            wake_.notify_all();
                        }
                    } else if (text == "thaw") {
                        thaw_asked = true;
                        order_thaw();
                    } else if (text == "end") {
                        parent = false;
                        order_thaw();
                    }
                } else if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
                    parent = false;
                    order_thaw();
                }
            }
            decide(flush_until, hold_until, hold_ns, answered_freeze, thaw_asked, thaw_answered);
        }
    }

    void decide(int64_t& flush_until, int64_t& hold_until, int64_t hold_ns, bool& answered_freeze, bool thaw_asked,
                bool& thaw_answered) {
        const int64_t now = now_ns();
        char text[kMessageBytes];
        std::unique_lock lock(mutex_);
        if (!answered_freeze) {
            const auto failed =
                std::find_if(items_.begin(), items_.end(), [](const Item& i) { return i.step == Step::kFailed; });
            text[0] = 0;
            if (failed != items_.end()) {
                std::snprintf(text, sizeof text, "failed %d %zu", failed->error,
                              static_cast<size_t>(failed - items_.begin()));
            } else if (!thawing_ && all_frozen() && now < flush_until) {
                hold_until = now + hold_ns;
                std::snprintf(text, sizeof text, "frozen %lld", static_cast<long long>(hold_until));
            } else if (thawing_ || now >= flush_until) {
                std::snprintf(text, sizeof text, "flush-timeout");
            }
            if (text[0] != 0) {
                answered_freeze = true;
                const bool frozen = hold_until != 0;
                lock.unlock();
                if (!frozen) order_thaw();
                send_text(options_.socket, text);
                lock.lock();
            }
        } else if (freezing_ && !thawing_ && hold_until != 0 && now >= hold_until) {
            broken_ = true;
            lock.unlock();
            order_thaw();
            send_text(options_.socket, "expired");
            lock.lock();
        }
        if (thawing_ && thaw_asked && !thaw_answered && all_thawed()) {
            thaw_answered = true;
            send_text(options_.socket, broken_ || hold_until == 0 ? "thawed late" : "thawed held");
        }
        if (thawing_ && !all_thawed() &&
            now - thaw_started_ >= std::chrono::nanoseconds(options_.abort_grace).count()) {
            // Nothing else ends an I/O that never ends. The file system gets EIO, its writers live.
            for (Item& item : items_) {
                const bool hangs =
                    item.step == Step::kFreezing || item.step == Step::kThawing || item.step == Step::kFrozen;
                if (!hangs || item.aborted) continue;
                item.aborted = true;
                if (item.abort && ::write(item.abort.get(), "1", 1) == 1) {
                    send_text(options_.socket, "aborted");
                } else {
                    send_text(options_.socket, "stuck");
                }
            }
            thaw_started_ = now;
        }
    }

    const FreezerOptions& options_;
    std::vector<Item> items_;
    Fd event_;
    Fd state_;
    std::mutex mutex_;
    std::condition_variable wake_;
    bool freezing_ = false;
    bool thawing_ = false;
    bool ending_ = false;
    bool broken_ = false;
    bool locked_ = false;
    int64_t thaw_started_ = 0;
};

}  // namespace

int run_freezer(const FreezerOptions& options) {
    return Freezer(options).run();
}

// --- In the service. ---

struct FreezeWatch::State {
    Fd socket;
    pid_t pid = 0;
    std::string state_file;
    std::vector<FreezeTarget> targets;
    std::vector<Fd> fds;  // to thaw without the watchdog, should it be killed
    milliseconds abort_grace{};

    mutable std::mutex mutex;
    std::condition_variable changed;
    bool ready = false;
    bool asked = false;     // freeze was sent
    bool answered = false;  // and has been answered
    bool thawed = false;    // everything is thawed
    bool broken = false;    // not held from freeze() to thaw()
    bool closed = false;    // the watchdog is gone and nothing is frozen
    bool aborted = false;
    int64_t held_until = 0;              // 0: not frozen
    int64_t expected_by = 0;             // the watchdog says something until then, or it does not work; 0: it need not
    bool taken_over = false;             // the threads below thaw
    bool gone = false;                   // no thread of the watchdog can freeze any more
    size_t thawing = 0;                  // of our threads, not finished
    std::vector<int64_t> calling_since;  // each one's FITHAW; 0: not in the kernel
    Fd wake;                             // for listen(): expected_by changed
    int error = 0;
    size_t failed = 0;
    std::string message;

    // Under the mutex. Once it thaws, the watchdog keeps its own grace before it aborts, and says nothing meanwhile.
    void expect_thaw() {
        if (expected_by != 0) expected_by = now_ns() + std::chrono::nanoseconds(abort_grace + kWatchdogGrace).count();
    }
};

Result<std::unique_ptr<FreezeWatch>> FreezeWatch::start(const std::string& program, const std::string& state_dir,
                                                        const base::Guid& set, std::vector<FreezeTarget> targets,
                                                        milliseconds abort_grace) {
    int ends[2];
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0) return fail_errno(errno, "socketpair");
    Fd other(ends[1]);
    auto state = std::make_shared<State>();
    state->socket = Fd(ends[0]);
    state->wake = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!state->wake) return fail_errno(errno, "eventfd");
    state->abort_grace = abort_grace;
    state->state_file = state_dir + "/" + set.text() + std::string(kStateSuffix);
    UMBRA_TRY(make_directories(state_dir, 0700));
    std::vector<std::string> arguments = {program,
                                          "--socket",
                                          "3",
                                          "--state",
                                          state->state_file,
                                          "--abort-grace-ms",
                                          std::to_string(abort_grace.count())};
    for (const FreezeTarget& target : targets) {
        if (!target.abort_path.empty()) {
            arguments.emplace_back("--abort");
            arguments.push_back(target.abort_path);
        }
        if (target.device != 0) {
            arguments.emplace_back("--device");
            arguments.push_back(std::to_string(target.device));
        }
        arguments.emplace_back(target.claim ? "--claim" : target.raw ? "--raw" : "--mount");
        arguments.push_back(target.path);
        state->fds.emplace_back(
            ::open(target.path.c_str(), O_RDONLY | O_CLOEXEC | (target.raw ? O_NONBLOCK : O_DIRECTORY)));
        if (!state->fds.back()) return fail_errno(errno, target.path);
        UMBRA_TRY(check_target(target, state->fds.back().get()));
    }
    state->targets = std::move(targets);
    UMBRA_ASSIGN(state->pid, spawn(arguments, state_dir + "/freezer.log", {{other.get(), 3}}));
    other.reset();
    std::thread(listen, state).detach();
    std::unique_ptr<FreezeWatch> watch(new FreezeWatch(state));
    std::unique_lock lock(state->mutex);
    state->changed.wait_for(lock, kStartTimeout, [&] { return state->ready || state->closed; });
    if (!state->ready) {
        const bool timed_out = !state->closed;
        const std::string why = state->message.empty() ? "the watchdog did not start" : state->message;
        lock.unlock();
        return fail(timed_out ? Code::kTimedOut : Code::kIo, "freeze: " + why);
    }
    lock.unlock();
    return watch;
}

// Instead of a watchdog that does not or cannot: all at once, because one that hangs must not hold up the others.
void FreezeWatch::take_over(const std::shared_ptr<State>& state) {
    std::unique_lock lock(state->mutex);
    if (state->taken_over) return;
    state->taken_over = true;
    state->broken = true;
    state->held_until = 0;
    std::vector<size_t> indexes;
    for (size_t i = 0; i < state->targets.size(); ++i) {
        if (!state->targets[i].raw) indexes.push_back(i);
    }
    state->thawing = indexes.size();
    state->calling_since.assign(state->targets.size(), 0);
    // Nothing else may freeze or thaw here. One that hangs in the kernel dies when it comes out.
    if (!state->gone) ::kill(state->pid, SIGKILL);
    lock.unlock();
    for (const size_t i : indexes) {
        std::thread([state, i] {
            std::unique_lock guard(state->mutex);
            for (;;) {
                const bool gone = state->gone;
                state->calling_since[i] = now_ns();
                guard.unlock();
                const int error = ::ioctl(state->fds[i].get(), FITHAW, 0) == 0 ? 0 : errno;
                guard.lock();
                state->calling_since[i] = 0;
                // EINVAL: it is not frozen; but a watchdog that still hangs may be about to freeze it.
                if (error == 0 || (error == EINVAL && gone)) break;
                guard.unlock();
                std::this_thread::sleep_for(kThawPause);
                guard.lock();
            }
            if (--state->thawing == 0) state->thawed = true;
            state->changed.notify_all();
        }).detach();
    }
    std::thread([state] {
        std::unique_lock guard(state->mutex);
        const int64_t grace = std::chrono::nanoseconds(state->abort_grace).count();
        std::vector<bool> aborted(state->targets.size());
        while (!state->changed.wait_for(guard, kThawPause, [&] { return state->thawing == 0; })) {
            for (size_t i = 0; i < aborted.size(); ++i) {
                const std::string& path = state->targets[i].abort_path;
                const int64_t since = state->calling_since[i];
                if (aborted[i] || path.empty() || since == 0 || now_ns() - since < grace) continue;
                // Nothing else ends an I/O that never ends.
                aborted[i] = true;
                Fd abort(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
                state->aborted = abort && ::write(abort.get(), "1", 1) == 1;
            }
        }
    }).detach();
}

// Owns the state until the watchdog is gone.
void FreezeWatch::listen(std::shared_ptr<State> state) {
    char buffer[kMessageBytes];
    for (;;) {
        int64_t expected_by = 0;
        {
            const std::lock_guard lock(state->mutex);
            expected_by = state->taken_over ? 0 : state->expected_by;
        }
        pollfd entries[2] = {{state->socket.get(), POLLIN, 0}, {state->wake.get(), POLLIN, 0}};
        const int64_t left_ms = (expected_by - now_ns()) / 1'000'000 + 1;
        const int ready =
            ::poll(entries, 2, expected_by == 0 ? -1 : static_cast<int>(std::clamp<int64_t>(left_ms, 0, 1 << 30)));
        if (ready == 0) {
            bool late = false;
            {
                const std::lock_guard lock(state->mutex);
                late = state->expected_by != 0 && now_ns() >= state->expected_by;
            }
            if (late) take_over(state);
            continue;
        }
        if (entries[1].revents != 0) {
            uint64_t count = 0;
            [[maybe_unused]] const ssize_t n = ::read(state->wake.get(), &count, sizeof count);
        }
        if (entries[0].revents == 0) continue;
        const ssize_t got = ::recv(state->socket.get(), buffer, sizeof buffer, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) break;
        std::string_view text(buffer, static_cast<size_t>(got));
        const std::lock_guard lock(state->mutex);
        if (text == "ready") {
            state->ready = true;
        } else if (text.starts_with("error ")) {
            state->message = text.substr(6);
        } else if (text.starts_with("frozen ")) {
            text.remove_prefix(7);
            next_number(text, state->held_until);
            state->answered = true;
            state->expected_by = state->held_until + std::chrono::nanoseconds(kWatchdogGrace).count();
        } else if (text.starts_with("failed ")) {
            text.remove_prefix(7);
            next_number(text, state->error);
            next_number(text, state->failed);
            state->answered = true;
            state->expect_thaw();
        } else if (text == "flush-timeout") {
            state->error = ETIMEDOUT;
            state->answered = true;
            state->expect_thaw();
        } else if (text == "expired") {
            state->broken = true;
            state->expect_thaw();
        } else if (text == "thawed held" || text == "thawed late") {
            state->broken = state->broken || text == "thawed late";
            state->thawed = true;
            state->expected_by = 0;
        } else if (text == "aborted" || text == "stuck") {
            state->aborted = true;
            state->expect_thaw();
        }
        state->changed.notify_all();
    }
    bool perhaps_frozen = false;
    {
        const std::lock_guard lock(state->mutex);
        perhaps_frozen = state->asked && !state->thawed;
        if (perhaps_frozen) state->broken = true;
        state->held_until = 0;
        // The socket closes with the last thread of the watchdog.
        state->gone = true;
    }
    state->changed.notify_all();
    const auto status = wait_child(state->pid);
    if (perhaps_frozen && (!status || *status != 0)) take_over(state);
    {
        std::unique_lock lock(state->mutex);
        state->changed.wait(lock, [&] { return state->thawing == 0; });
    }
    // A watchdog that ended by itself has removed it. Left behind, the next start would thaw what others may have
    // frozen.
    if (!status || *status != 0) ::unlink(state->state_file.c_str());
    {
        const std::lock_guard lock(state->mutex);
        state->fds.clear();
        state->thawed = true;
        state->answered = true;
        if (state->error == 0 && state->asked) state->error = ECANCELED;
        state->closed = true;
    }
    state->changed.notify_all();
}

Result<void> FreezeWatch::freeze(const FreezeLimits& limits) {
    State& state = *state_;
    char text[kMessageBytes];
    std::snprintf(text, sizeof text, "freeze %lld %lld", static_cast<long long>(limits.flush.count()),
                  static_cast<long long>(limits.hold.count()));
    std::unique_lock lock(state.mutex);
    if (state.asked) return fail(Code::kBadState, "this set was frozen already");
    if (state.closed) return fail(Code::kIo, "freeze: the watchdog has ended");
    state.asked = true;
    state.expected_by = now_ns() + std::chrono::nanoseconds(limits.flush + kWatchdogGrace).count();
    const uint64_t one = 1;
    [[maybe_unused]] const ssize_t n = ::write(state.wake.get(), &one, sizeof one);
    send_text(state.socket.get(), text);
    // The watchdog keeps the time; a little more is for its answer.
    state.changed.wait_for(lock, limits.flush + milliseconds(5'000), [&] { return state.answered; });
    if (state.held_until != 0 && !state.broken) return {};
    const int error = state.answered ? state.error : ETIMEDOUT;
    const std::string path = state.failed < state.targets.size() ? state.targets[state.failed].path : std::string();
    state.expect_thaw();
    lock.unlock();
    // Whatever went in comes out before the caller hears of the failure, unless it hangs in the kernel.
    send_text(state.socket.get(), "thaw");
    lock.lock();
    state.changed.wait_for(lock, milliseconds(10'000), [&] { return state.thawed; });
    if (error == ETIMEDOUT) {
        return fail(Code::kTimedOut,
                    "not every file system was frozen within " + std::to_string(limits.flush.count()) + " ms");
    }
    if (error == EBUSY) return fail(Code::kBusy, path + " is frozen by somebody else");
    if (error == ECANCELED || error == 0)
        return fail(Code::kIo, "freeze: the watchdog was killed; everything is thawed");
    return fail_errno(error, "freeze of " + path);
}

bool FreezeWatch::is_frozen() const {
    const std::lock_guard lock(state_->mutex);
    return state_->held_until != 0 && !state_->broken && !state_->thawed && now_ns() < state_->held_until;
}

Result<void> FreezeWatch::thaw() {
    State& state = *state_;
    std::unique_lock lock(state.mutex);
    if (!state.asked) return fail(Code::kBadState, "this set was not frozen");
    if (!state.thawed) {
        state.expect_thaw();
        send_text(state.socket.get(), "thaw");
    }
    const bool in_time =
        state.changed.wait_for(lock, state.abort_grace + milliseconds(10'000), [&] { return state.thawed; });
    const bool held = state.held_until != 0 && !state.broken;
    state.held_until = 0;
    if (!in_time) return fail(Code::kIo, "the thaw hangs in the kernel: the device below does not answer");
    if (!held) return fail(Code::kTimedOut, "the watchdog had thawed before: the point in time was not held");
    return {};
}

pid_t FreezeWatch::pid() const {
    return state_->pid;
}

FreezeWatch::~FreezeWatch() {
    std::unique_lock lock(state_->mutex);
    state_->expect_thaw();
    send_text(state_->socket.get(), "end");
    // One that hangs in the kernel is left to its listener.
    state_->changed.wait_for(lock, kEndPatience, [&] { return state_->closed; });
}

Result<std::vector<std::string>> thaw_leftovers(const std::string& state_dir) {
    std::vector<std::string> thawed;
    for (const std::string& name : list_directory(state_dir)) {
        if (!name.ends_with(kStateSuffix)) continue;
        const std::string path = state_dir + "/" + name;
        Fd state(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
        if (!state) {
            if (errno == ENOENT) continue;
            return fail_errno(errno, path);
        }
        // A watchdog that lost its parent is thawing: let it finish.
        const auto deadline = std::chrono::steady_clock::now() + kLeftoverPatience;
        bool locked = ::flock(state.get(), LOCK_EX | LOCK_NB) == 0;
        while (!locked && std::chrono::steady_clock::now() < deadline) {
            std::this_thread::sleep_for(milliseconds(50));
            locked = ::flock(state.get(), LOCK_EX | LOCK_NB) == 0;
        }
        UMBRA_ASSIGN(const std::string text, read_file(path));
        // All at once, and not for ever: a thaw needs the array below.
        struct Progress {
            std::mutex mutex;
            std::condition_variable changed;
            size_t open = 0;
            std::vector<std::string> thawed;
        };
        const auto progress = std::make_shared<Progress>();
        for (const auto& [key, value] : parse_fields(text)) {
            if (key != "path") continue;
            const auto fd = std::make_shared<Fd>(::open(value.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
            if (!*fd) continue;
            {
                const std::lock_guard lock(progress->mutex);
                ++progress->open;
            }
            std::thread([progress, fd, name = value] {
                const bool done = ::ioctl(fd->get(), FITHAW, 0) == 0;
                const std::lock_guard lock(progress->mutex);
                if (done) progress->thawed.push_back(name);
                --progress->open;
                progress->changed.notify_all();
            }).detach();
        }
        std::unique_lock lock(progress->mutex);
        const bool all = progress->changed.wait_for(lock, kLeftoverPatience, [&] { return progress->open == 0; });
        thawed.insert(thawed.end(), progress->thawed.begin(), progress->thawed.end());
        // What a living watchdog or a hanging thaw still needs stays for the next start.
        if (locked && all) ::unlink(path.c_str());
    }
    return thawed;
}

}  // namespace umbra::host

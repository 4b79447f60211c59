#include "env/loop.h"

#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <csignal>
#include <ctime>

namespace umbra::env {

using base::Result;

namespace {

constexpr size_t kEventsPerTurn = 128;

int64_t clock_ns(clockid_t clock) {
    timespec time{};
    clock_gettime(clock, &time);
    return time.tv_sec * 1'000'000'000 + time.tv_nsec;
}

Task<void> mark(Task<void> task, Loop* loop, std::shared_ptr<bool> done) {
    co_await std::move(task);
    *done = true;
    loop->post([] {});  // the turn that ran this must not go to sleep
}

}  // namespace

Result<std::unique_ptr<Loop>> Loop::create() {
    std::unique_ptr<Loop> loop(new Loop());
    loop->epoll_fd_ = epoll_create1(EPOLL_CLOEXEC);
    if (loop->epoll_fd_ < 0) return base::fail_errno(errno, "cannot create an epoll descriptor");
    loop->wakeup_.fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (loop->wakeup_.fd < 0) return base::fail_errno(errno, "cannot create an eventfd");
    UMBRA_TRY(loop->add(loop->wakeup_.fd, EPOLLIN, &loop->wakeup_));
    return loop;
}

Loop::~Loop() {
    if (signals_.fd >= 0) close(signals_.fd);
    if (wakeup_.fd >= 0) close(wakeup_.fd);
    if (epoll_fd_ >= 0) close(epoll_fd_);
}

void Loop::run() {
    while (!stopping_.load(std::memory_order_acquire)) turn();
    stopping_ = false;
}

bool Loop::run(Task<void> task) {
    const auto done = std::make_shared<bool>(false);  // shared: after stop() the task may outlive this call
    spawn_detached(mark(std::move(task), this, done));
    while (!*done && !stopping_.load(std::memory_order_acquire)) turn();
    if (!*done) stopping_ = false;
    return *done;
}

void Loop::stop() {
    stopping_.store(true, std::memory_order_release);
    const uint64_t one = 1;
    (void)!write(wakeup_.fd, &one, sizeof one);
}

Instant Loop::now() const {
    return {clock_ns(CLOCK_MONOTONIC)};
}

WallTime Loop::wall_time() const {
    return {clock_ns(CLOCK_REALTIME)};
}

TimerId Loop::add_timer(Instant at, Timer timer) {
    const TimerId id = next_timer_++;
    timers_.emplace(std::pair(at, id), std::move(timer));
    timer_at_.emplace(id, at);
    return id;
}

TimerId Loop::schedule_at(Instant at, std::coroutine_handle<> handle) {
    return add_timer(at, {handle, nullptr});
}

TimerId Loop::call_at(Instant at, std::move_only_function<void()> function) {
    return add_timer(at, {nullptr, std::move(function)});
}

bool Loop::cancel_timer(TimerId id) {
    const auto found = timer_at_.find(id);
    if (found == timer_at_.end()) return false;
    timers_.erase({found->second, id});
    timer_at_.erase(found);
    return true;
}

void Loop::post(std::move_only_function<void()> function) {
    bool first = false;
    {
        const std::lock_guard lock(posted_mutex_);
        first = posted_.empty();
        posted_.push_back(std::move(function));
    }
    if (!first) return;
    const uint64_t one = 1;
    (void)!write(wakeup_.fd, &one, sizeof one);
}

Result<void> Loop::add(int fd, uint32_t epoll_events, EventHandler* handler) {
    epoll_event event{};
    event.events = epoll_events | EPOLLET;
    event.data.ptr = handler;
    if (epoll_ctl(epoll_fd_, EPOLL_CTL_ADD, fd, &event) != 0)
        return base::fail_errno(errno, "cannot watch a descriptor");
    return {};
}

void Loop::remove(int fd) {
    UMBRA_CHECK(epoll_ctl(epoll_fd_, EPOLL_CTL_DEL, fd, nullptr) == 0);
}

Result<void> Loop::handle_signals(std::span<const int> signals, std::function<void(int)> function) {
    UMBRA_CHECK(signals_.fd < 0);
    sigset_t set;
    sigemptyset(&set);
    for (const int signal : signals) sigaddset(&set, signal);
    if (const int error = pthread_sigmask(SIG_BLOCK, &set, nullptr); error != 0) {
        return base::fail_errno(error, "cannot block signals");
    }
    signals_.fd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
    if (signals_.fd < 0) return base::fail_errno(errno, "cannot create a signalfd");
    signals_.loop = this;
    signals_.function = std::move(function);
    return add(signals_.fd, EPOLLIN, &signals_);
}

void Loop::Wakeup::on_events(uint32_t) {
    uint64_t count = 0;
    (void)!read(fd, &count, sizeof count);
}

void Loop::Signals::on_events(uint32_t) {
    signalfd_siginfo info;
    while (read(fd, &info, sizeof info) == static_cast<ssize_t>(sizeof info)) {
        const int number = static_cast<int>(info.ssi_signo);
        loop->post([this, number] { function(number); });
    }
}

void Loop::turn() {
    // Only what was ready at the start: what becomes ready meanwhile waits until descriptors had their turn.
    for (size_t left = ready_.size(); left > 0; --left) {
        const auto handle = ready_.front();
        ready_.pop_front();
        handle.resume();
    }
    for (TurnHook* hook : hooks_) hook->end_of_turn();
    wait_for_events();
    run_posted();
    fire_timers();
}

void Loop::wait_for_events() {
    int64_t wait_ns = -1;
    if (!ready_.empty() || stopping_.load(std::memory_order_acquire)) {
        wait_ns = 0;
    } else if (!timers_.empty()) {
        wait_ns = std::max<int64_t>(0, (timers_.begin()->first.first - now()).count());
    }
    std::array<epoll_event, kEventsPerTurn> events;
    int count = -1;
    if (has_epoll_pwait2_) {
        const timespec timeout{wait_ns / 1'000'000'000, wait_ns % 1'000'000'000};
        count = epoll_pwait2(epoll_fd_, events.data(), kEventsPerTurn, wait_ns < 0 ? nullptr : &timeout, nullptr);
        if (count < 0 && (errno == ENOSYS || errno == EPERM))
            has_epoll_pwait2_ = false;  // EPERM: an old seccomp filter
    }
    if (!has_epoll_pwait2_) {
        const int64_t wait_ms = wait_ns < 0 ? -1 : std::min<int64_t>((wait_ns + 999'999) / 1'000'000, 3'600'000);
        count = epoll_wait(epoll_fd_, events.data(), kEventsPerTurn, static_cast<int>(wait_ms));
    }
    UMBRA_CHECK(count >= 0 || errno == EINTR);
    // Handlers resume nothing, so none of the handlers of this batch can be gone when its turn comes.
    for (int i = 0; i < count; ++i) static_cast<EventHandler*>(events[i].data.ptr)->on_events(events[i].events);
}

void Loop::run_posted() {
    std::vector<std::move_only_function<void()>> functions;
    {
        const std::lock_guard lock(posted_mutex_);
        functions.swap(posted_);
    }
    for (auto& function : functions) function();
}

void Loop::fire_timers() {
    if (timers_.empty()) return;
    const Instant due = now();
    while (!timers_.empty() && timers_.begin()->first.first <= due) {
        Timer timer = std::move(timers_.begin()->second);
        timer_at_.erase(timers_.begin()->first.second);
        timers_.erase(timers_.begin());
        if (timer.handle) {
            ready_.push_back(timer.handle);
        } else {
            timer.function();
        }
    }
}

FdWatch::~FdWatch() {
    UMBRA_CHECK(!reader_ && !writer_);
    stop();
}

Result<void> FdWatch::start(int fd) {
    UMBRA_CHECK(fd_ < 0);
    UMBRA_TRY(loop_.add(fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP, this));
    fd_ = fd;
    return {};
}

void FdWatch::stop() {
    if (fd_ >= 0) loop_.remove(std::exchange(fd_, -1));
    wake();
}

void FdWatch::wake() {
    resume(reader_);
    resume(writer_);
}

void FdWatch::resume(std::coroutine_handle<>& waiter) {
    if (waiter) loop_.schedule(std::exchange(waiter, {}));
}

void FdWatch::on_events(uint32_t epoll_events) {
    if ((epoll_events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0) {
        readable_ = true;
        resume(reader_);
    }
    if ((epoll_events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) != 0) {
        writable_ = true;
        resume(writer_);
    }
}

uint64_t KernelRandom::next() {
    if (left_ == 0) {
        size_t done = 0;
        auto* bytes = reinterpret_cast<char*>(words_);
        while (done < sizeof words_) {
            const ssize_t count = getrandom(bytes + done, sizeof words_ - done, 0);
            UMBRA_CHECK(count > 0 || errno == EINTR);
            if (count > 0) done += static_cast<size_t>(count);
        }
        left_ = kWords;
    }
    return words_[--left_];
}

}  // namespace umbra::env

// The real executor: one thread, epoll, timers, and functions posted by other threads.
#pragma once

#include <sys/epoll.h>

#include <atomic>
#include <coroutine>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <span>
#include <vector>

#include "base/result.h"
#include "env/executor.h"
#include "env/random.h"
#include "env/task.h"

namespace umbra::env {

/// What a descriptor in the loop does when it is ready. Called between coroutines: only notes and schedules.
class EventHandler {
public:
    virtual void on_events(uint32_t epoll_events) = 0;

protected:
    ~EventHandler() = default;
};

/// Called at the end of each turn, before the loop may sleep: the place to hand a batch to the kernel.
class TurnHook {
public:
    virtual void end_of_turn() = 0;

protected:
    ~TurnHook() = default;
};

class Loop final : public Executor {
public:
    /// Errors: kIo when the process is out of descriptors.
    static base::Result<std::unique_ptr<Loop>> create();
    ~Loop();
    Loop(const Loop&) = delete;
    Loop& operator=(const Loop&) = delete;

    /// Runs until stop(), on the calling thread, which is then the loop's.
    void run();
    /// Runs until `task` has finished, or stop(); true when it finished.
    bool run(Task<void> task);
    /// From any thread; run() returns soon. One stop ends one run.
    void stop();

    Instant now() const override;
    WallTime wall_time() const override;
    void schedule(std::coroutine_handle<> handle) override { ready_.push_back(handle); }
    TimerId schedule_at(Instant at, std::coroutine_handle<> handle) override;
    bool cancel_timer(TimerId id) override;
    void post(std::move_only_function<void()> function) override;

    /// `function` runs on the loop once now() >= `at`, unless cancel_timer() comes first. It must not destroy the loop.
    TimerId call_at(Instant at, std::move_only_function<void()> function);

    /// Descriptors are watched edge-triggered for `epoll_events`. `handler` lives until remove().
    base::Result<void> add(int fd, uint32_t epoll_events, EventHandler* handler);
    void remove(int fd);
    void add_hook(TurnHook* hook) { hooks_.push_back(hook); }
    void remove_hook(TurnHook* hook) { std::erase(hooks_, hook); }

    /// Blocks `signals` for the calling thread (and threads started later) and calls `function` on the loop for each
    /// that arrives. Once per loop, before other threads are started.
    base::Result<void> handle_signals(std::span<const int> signals, std::function<void(int)> function);

private:
    struct Timer {
        std::coroutine_handle<> handle;
        std::move_only_function<void()> function;
    };
    struct Wakeup final : EventHandler {
        void on_events(uint32_t events) override;
        int fd = -1;
    };
    struct Signals final : EventHandler {
        void on_events(uint32_t events) override;
        Loop* loop = nullptr;
        int fd = -1;
        std::function<void(int)> function;
    };

    Loop() = default;
    void turn();
    void wait_for_events();
    void run_posted();
    void fire_timers();
    TimerId add_timer(Instant at, Timer timer);

    int epoll_fd_ = -1;
    Wakeup wakeup_;
    Signals signals_;
    bool has_epoll_pwait2_ = true;
    std::deque<std::coroutine_handle<>> ready_;
    std::map<std::pair<Instant, TimerId>, Timer> timers_;
    std::map<TimerId, Instant> timer_at_;
    TimerId next_timer_ = 1;
    std::vector<TurnHook*> hooks_;
    std::atomic<bool> stopping_ = false;
    std::mutex posted_mutex_;
    std::vector<std::move_only_function<void()>> posted_;
};

/// Lets one coroutine wait for reading and one for writing on a non-blocking descriptor, which it does not own.
class FdWatch final : public EventHandler {
public:
    explicit FdWatch(Loop& loop) : loop_(loop) {}
    ~FdWatch();
    FdWatch(const FdWatch&) = delete;
    FdWatch& operator=(const FdWatch&) = delete;
    base::Result<void> start(int fd);
    /// Before the descriptor is closed. Waiters resume.
    void stop();
    /// Both waiters resume.
    void wake();
    void on_events(uint32_t epoll_events) override;

    struct Awaiter {
        bool& ready;
        std::coroutine_handle<>& waiter;
        bool await_ready() const noexcept { return std::exchange(ready, false); }
        void await_suspend(std::coroutine_handle<> handle) const {
            UMBRA_CHECK(!waiter);
            waiter = handle;
        }
        void await_resume() const noexcept { ready = false; }
    };
    /// After EAGAIN only: returns when the descriptor may have become ready since the last wait, or at wake().
    Awaiter readable() { return {readable_, reader_}; }
    Awaiter writable() { return {writable_, writer_}; }

private:
    void resume(std::coroutine_handle<>& waiter);
    Loop& loop_;
    int fd_ = -1;
    bool readable_ = false;
    bool writable_ = false;
    std::coroutine_handle<> reader_;
    std::coroutine_handle<> writer_;
};

/// getrandom(2), buffered. Not shared between threads.
class KernelRandom final : public Random {
public:
    uint64_t next() override;

private:
    static constexpr size_t kWords = 64;
    uint64_t words_[kWords];
    size_t left_ = 0;
};

}  // namespace umbra::env

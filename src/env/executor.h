// One thread's queue of coroutines, its clock and its timers. The engine is one executor: no locks inside it.
#pragma once

#include <chrono>
#include <coroutine>
#include <cstdint>
#include <functional>

#include "env/task.h"

namespace umbra::env {

using Duration = std::chrono::nanoseconds;

/// Monotonic time in nanoseconds since some fixed point before the executor started.
struct Instant {
    int64_t ns = 0;
    auto operator<=>(const Instant&) const = default;
    Instant operator+(Duration d) const { return {ns + d.count()}; }
    Duration operator-(Instant other) const { return Duration(ns - other.ns); }
};

/// Calendar time, UTC.
struct WallTime {
    int64_t unix_ns = 0;
    auto operator<=>(const WallTime&) const = default;
};

using TimerId = uint64_t;  // 0 is no timer

class Executor {
public:
    virtual ~Executor() = default;

    virtual Instant now() const = 0;
    virtual WallTime wall_time() const = 0;

    /// Resumes `handle` on this executor, behind everything queued before. On this executor's thread only.
    virtual void schedule(std::coroutine_handle<> handle) = 0;
    /// Resumes `handle` once now() >= `at`. On this executor's thread only.
    virtual TimerId schedule_at(Instant at, std::coroutine_handle<> handle) = 0;
    /// True when the timer had not fired: its handle will not be resumed.
    virtual bool cancel_timer(TimerId id) = 0;
    /// Runs `function` on this executor's thread. From any thread.
    virtual void post(std::move_only_function<void()> function) = 0;
};

struct SleepAwaiter {
    Executor& executor;
    Instant until;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const { executor.schedule_at(until, handle); }
    void await_resume() const noexcept {}
};
inline SleepAwaiter sleep_for(Executor& executor, Duration duration) {
    return {executor, executor.now() + duration};
}
inline SleepAwaiter sleep_until(Executor& executor, Instant at) {
    return {executor, at};
}

struct YieldAwaiter {
    Executor& executor;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const { executor.schedule(handle); }
    void await_resume() const noexcept {}
};
/// Lets everything queued before run first.
inline YieldAwaiter yield(Executor& executor) {
    return {executor};
}

}  // namespace umbra::env

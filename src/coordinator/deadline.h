// Waiting for a task no longer than agreed. The task is not stopped: it ends by itself, unobserved.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "base/check.h"
#include "env/executor.h"
#include "env/sync.h"

namespace umbra::coordinator {

namespace detail {

template <class T>
struct Race {
    explicit Race(env::Executor& e) : executor(e) {}
    env::Executor& executor;
    std::optional<T> value;
    std::coroutine_handle<> waiter;
    env::TimerId timer = 0;

    void finish(T result) {
        value.emplace(std::move(result));
        // When the timer has fired already, its handle is on its way and finds the value.
        if (waiter && executor.cancel_timer(timer)) executor.schedule(std::exchange(waiter, {}));
    }
};

template <class T>
struct RaceAwaiter {
    std::shared_ptr<Race<T>> race;
    env::Instant until;
    bool await_ready() const noexcept { return race->value.has_value(); }
    void await_suspend(std::coroutine_handle<> handle) {
        race->waiter = handle;
        race->timer = race->executor.schedule_at(until, handle);
    }
    std::optional<T> await_resume() {
        race->waiter = {};
        return std::move(race->value);
    }
};

template <class T>
env::Task<void> run_racer(std::shared_ptr<Race<T>> race, env::Task<T> task) {
    T value = co_await std::move(task);
    race->finish(std::move(value));
}

}  // namespace detail

/// Wakes those who wait, each of whom also ends at its own instant. Nothing of a waiter stays behind.
class Signal {
public:
    explicit Signal(env::Executor& executor) : executor_(executor) {}
    ~Signal() { UMBRA_CHECK(waiters_.empty()); }
    Signal(const Signal&) = delete;
    Signal& operator=(const Signal&) = delete;

    struct Awaiter {
        Signal& signal;
        env::Instant until;
        std::coroutine_handle<> handle;
        env::TimerId timer = 0;
        bool notified = false;
        bool await_ready() const noexcept { return false; }
        void await_suspend(std::coroutine_handle<> waiting) {
            handle = waiting;
            timer = signal.executor_.schedule_at(until, waiting);
            signal.waiters_.push_back(this);
        }
        bool await_resume() {
            std::erase(signal.waiters_, this);
            return notified;
        }
    };
    /// `co_await signal.wait_until(at)`: true when it was notified before `at`.
    Awaiter wait_until(env::Instant at) { return {*this, at, {}, 0, false}; }
    void notify_all() {
        for (Awaiter* one : std::exchange(waiters_, {})) {
            one->notified = true;
            // When the timer has fired already, its handle is on its way.
            if (executor_.cancel_timer(one->timer)) executor_.schedule(one->handle);
        }
    }

private:
    env::Executor& executor_;
    std::vector<Awaiter*> waiters_;
};

/// The task's value, or nullopt at `until`. `group` holds the task until it has ended.
template <class T>
env::Task<std::optional<T>> with_deadline(env::Executor& executor, env::TaskGroup& group, env::Task<T> task,
                                          env::Instant until) {
    auto race = std::make_shared<detail::Race<T>>(executor);
    group.spawn(detail::run_racer<T>(race, std::move(task)));
    detail::RaceAwaiter<T> awaiter{race, until};
    std::optional<T> value = co_await awaiter;
    co_return value;
}

}  // namespace umbra::coordinator

// Waiting for a task no longer than agreed. The task is not stopped: it ends by itself, unobserved.
#pragma once

#include <memory>
#include <optional>

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

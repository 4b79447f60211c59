// Waiting inside one executor: no threads, no locks. Waiters resume through the executor, first come first served.
#pragma once

#include <coroutine>
#include <cstddef>
#include <deque>
#include <utility>

#include "base/check.h"
#include "env/executor.h"
#include "env/task.h"

namespace umbra::env {

/// Waiters sleep until set() is called; reset() makes later ones sleep again.
class Event {
public:
    explicit Event(Executor& executor) : executor_(executor) {}
    ~Event() { UMBRA_CHECK(waiters_.empty()); }
    bool is_set() const { return set_; }
    void set() {
        set_ = true;
        wake_all();
    }
    void reset() { set_ = false; }
    /// Wakes everyone who waits now, without leaving the event set.
    void wake_all() {
        for (auto handle : waiters_) executor_.schedule(handle);
        waiters_.clear();
    }

    struct Awaiter {
        Event& event;
        bool await_ready() const noexcept { return event.set_; }
        void await_suspend(std::coroutine_handle<> handle) { event.waiters_.push_back(handle); }
        void await_resume() const noexcept {}
    };
    Awaiter wait() { return {*this}; }

private:
    Executor& executor_;
    bool set_ = false;
    std::deque<std::coroutine_handle<>> waiters_;
};

/// Counts permits; acquire() waits its turn.
class Semaphore {
public:
    Semaphore(Executor& executor, size_t permits) : executor_(executor), permits_(permits) {}
    ~Semaphore() { UMBRA_CHECK(waiters_.empty()); }
    struct Awaiter {
        Semaphore& semaphore;
        bool await_ready() const noexcept {
            if (semaphore.permits_ == 0 || !semaphore.waiters_.empty()) return false;
            --semaphore.permits_;
            return true;
        }
        void await_suspend(std::coroutine_handle<> handle) { semaphore.waiters_.push_back(handle); }
        void await_resume() const noexcept {}
    };
    Awaiter acquire() { return {*this}; }
    void release() {
        if (waiters_.empty()) {
            ++permits_;
            return;
        }
        executor_.schedule(waiters_.front());  // the permit passes to the waiter
        waiters_.pop_front();
    }

private:
    Executor& executor_;
    size_t permits_;
    std::deque<std::coroutine_handle<>> waiters_;
};

/// A mutual exclusion lock held across co_await.
class Mutex {
public:
    explicit Mutex(Executor& executor) : semaphore_(executor, 1) {}
    class [[nodiscard]] Guard {
    public:
        Guard() = default;
        explicit Guard(Mutex* mutex) : mutex_(mutex) {}
        Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)) {}
        Guard& operator=(Guard&& other) noexcept {
            if (this != &other) {
                unlock();
                mutex_ = std::exchange(other.mutex_, nullptr);
            }
            return *this;
        }
        ~Guard() { unlock(); }
        void unlock() {
            if (mutex_ != nullptr) std::exchange(mutex_, nullptr)->semaphore_.release();
        }

    private:
        Mutex* mutex_ = nullptr;
    };
    struct Awaiter {
        Semaphore::Awaiter inner;
        Mutex* mutex;
        bool await_ready() const noexcept { return inner.await_ready(); }
        void await_suspend(std::coroutine_handle<> handle) { inner.await_suspend(handle); }
        Guard await_resume() const noexcept { return Guard(mutex); }
    };
    /// `auto guard = co_await mutex.lock();`
    Awaiter lock() { return {semaphore_.acquire(), this}; }

private:
    Semaphore semaphore_;
};

/// Many readers or one writer. A waiting writer holds back readers that come later.
class SharedMutex {
public:
    explicit SharedMutex(Executor& executor) : executor_(executor) {}
    ~SharedMutex() { UMBRA_CHECK(waiters_.empty()); }
    class [[nodiscard]] Guard {
    public:
        Guard() = default;
        Guard(SharedMutex* mutex, bool exclusive) : mutex_(mutex), exclusive_(exclusive) {}
        Guard(Guard&& other) noexcept : mutex_(std::exchange(other.mutex_, nullptr)), exclusive_(other.exclusive_) {}
        Guard& operator=(Guard&& other) noexcept {
            if (this != &other) {
                unlock();
                mutex_ = std::exchange(other.mutex_, nullptr);
                exclusive_ = other.exclusive_;
            }
            return *this;
        }
        ~Guard() { unlock(); }
        void unlock() {
            if (mutex_ != nullptr) std::exchange(mutex_, nullptr)->release(exclusive_);
        }

    private:
        SharedMutex* mutex_ = nullptr;
        bool exclusive_ = false;
    };
    struct Awaiter {
        SharedMutex& mutex;
        bool exclusive;
        bool await_ready() const noexcept {
            if (!mutex.waiters_.empty() || !mutex.free_for(exclusive)) return false;
            mutex.take(exclusive);
            return true;
        }
        void await_suspend(std::coroutine_handle<> handle) { mutex.waiters_.push_back({handle, exclusive}); }
        Guard await_resume() const noexcept { return Guard(&mutex, exclusive); }
    };
    Awaiter lock_shared() { return {*this, false}; }
    Awaiter lock() { return {*this, true}; }

private:
    struct Waiter {
        std::coroutine_handle<> handle;
        bool exclusive;
    };
    bool free_for(bool exclusive) const { return !writing_ && (!exclusive || readers_ == 0); }
    void take(bool exclusive) {
        if (exclusive) {
            writing_ = true;
        } else {
            ++readers_;
        }
    }
    void release(bool exclusive) {
        if (exclusive) {
            writing_ = false;
        } else {
            --readers_;
        }
        while (!waiters_.empty() && free_for(waiters_.front().exclusive)) {
            take(waiters_.front().exclusive);
            executor_.schedule(waiters_.front().handle);
            waiters_.pop_front();
        }
    }
    Executor& executor_;
    size_t readers_ = 0;
    bool writing_ = false;
    std::deque<Waiter> waiters_;
};

/// Tasks that run side by side; join() waits until none is left. Destroying a group with running tasks is a defect.
class TaskGroup {
public:
    explicit TaskGroup(Executor& executor) : idle_(executor) {}
    ~TaskGroup() { UMBRA_CHECK(running_ == 0); }
    /// Starts `task` now.
    void spawn(Task<void> task) {
        ++running_;
        spawn_detached(run(this, std::move(task)));
    }
    size_t running() const { return running_; }
    Task<void> join() {
        while (running_ > 0) co_await idle_.wait();
    }

private:
    static Task<void> run(TaskGroup* group, Task<void> task) {
        co_await std::move(task);
        if (--group->running_ == 0) group->idle_.wake_all();
    }
    size_t running_ = 0;
    Event idle_;
};

}  // namespace umbra::env

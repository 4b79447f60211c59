// Virtual time: one queue, timers that fire as soon as nothing else can run. One run, one order.
#pragma once

#include <deque>
#include <map>

#include "env/executor.h"

namespace umbra::sim {

class SimExecutor final : public env::Executor {
public:
    env::Instant now() const override { return now_; }
    env::WallTime wall_time() const override { return {kEpochUnixNs + now_.ns}; }
    void schedule(std::coroutine_handle<> handle) override { ready_.push_back(handle); }
    env::TimerId schedule_at(env::Instant at, std::coroutine_handle<> handle) override;
    bool cancel_timer(env::TimerId id) override;
    void post(std::move_only_function<void()> function) override;

    /// Runs until `task` has finished; virtual time passes as timers need. A task that can never finish is a CHECK.
    void run(env::Task<void> task);
    /// Runs one queued coroutine or fires the next timer; false when there is nothing left.
    bool step();
    /// Forgets everything queued: the power is off. Frames of the forgotten coroutines leak unless `drop` frees them.
    void clear();

private:
    static constexpr int64_t kEpochUnixNs = 1'800'000'000'000'000'000;

    env::Instant now_;
    env::TimerId next_timer_ = 1;
    std::deque<std::coroutine_handle<>> ready_;
    std::deque<std::move_only_function<void()>> posted_;
    std::map<std::pair<env::Instant, env::TimerId>, std::coroutine_handle<>> timers_;
    std::map<env::TimerId, env::Instant> timer_at_;
};

}  // namespace umbra::sim

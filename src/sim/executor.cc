#include "sim/executor.h"

#include "base/check.h"

namespace umbra::sim {

env::TimerId SimExecutor::schedule_at(env::Instant at, std::coroutine_handle<> handle) {
    const env::TimerId id = next_timer_++;
    timers_.emplace(std::pair(at, id), handle);
    timer_at_.emplace(id, at);
    return id;
}

bool SimExecutor::cancel_timer(env::TimerId id) {
    const auto found = timer_at_.find(id);
    if (found == timer_at_.end()) return false;
    timers_.erase({found->second, id});
    timer_at_.erase(found);
    return true;
}

void SimExecutor::post(std::move_only_function<void()> function) {
    posted_.push_back(std::move(function));
}

bool SimExecutor::step() {
    if (!posted_.empty()) {
        auto function = std::move(posted_.front());
        posted_.pop_front();
        function();
        return true;
    }
    if (!ready_.empty()) {
        const auto handle = ready_.front();
        ready_.pop_front();
        handle.resume();
        return true;
    }
    if (timers_.empty()) return false;
    const auto first = timers_.begin();
    const auto handle = first->second;
    if (first->first.first > now_) now_ = first->first.first;
    timer_at_.erase(first->first.second);
    timers_.erase(first);
    handle.resume();
    return true;
}

void SimExecutor::clear() {
    ready_.clear();
    posted_.clear();
    timers_.clear();
    timer_at_.clear();
}

namespace {
env::Task<void> mark(env::Task<void> task, bool* done) {
    co_await std::move(task);
    *done = true;
}
}  // namespace

void SimExecutor::run(env::Task<void> task) {
    bool done = false;
    env::spawn_detached(mark(std::move(task), &done));
    while (!done) UMBRA_CHECK(step());
}

}  // namespace umbra::sim

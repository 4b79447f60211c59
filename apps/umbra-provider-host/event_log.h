// The event log that providers see in this process: kept in memory until umbra-hostd fetches it.
#pragma once

#include <chrono>
#include <condition_variable>
#include <cstdint>
#include <deque>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

namespace umbra::provider_host {

struct LoggedEvent {
    int64_t unix_ms = 0;
    uint32_t type = 0;
    uint32_t id = 0;
    std::string source;
    std::vector<std::string> texts;
};

inline constexpr size_t kMaximumEvents = 1024;

/// One a process, because the functions of compat/eventlog.h are. Thread-safe; writes nothing anywhere.
class EventQueue {
public:
    /// False when the queue is full.
    bool push(LoggedEvent event);
    /// The oldest event; nullopt when none came within `limit`.
    std::optional<LoggedEvent> pop(std::chrono::milliseconds limit);

private:
    std::mutex mutex_;
    std::condition_variable arrived_;
    std::deque<LoggedEvent> events_;
};

EventQueue& event_queue();

}  // namespace umbra::provider_host

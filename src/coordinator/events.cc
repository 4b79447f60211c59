#include "coordinator/events.h"

namespace umbra::coordinator {

namespace {
constexpr size_t kMaximumWaiting = 1024;
}

void EventLog::release() {
    UMBRA_CHECK(holds_ > 0);
    if (--holds_ > 0) return;
    std::vector<EventRecord> waiting = std::exchange(waiting_, {});
    for (EventRecord& event : waiting) write(std::move(event));
}

void EventLog::add(EventId id, const char* severity, std::string text, std::map<std::string, std::string> fields) {
    EventRecord event;
    event.unix_ms = executor_.wall_time().unix_ns / 1'000'000;
    event.id = static_cast<uint32_t>(id);
    event.severity = severity;
    event.text = std::move(text);
    event.fields = std::move(fields);
    if (held()) {
        if (waiting_.size() < kMaximumWaiting) waiting_.push_back(std::move(event));
        return;
    }
    write(std::move(event));
}

void EventLog::write(EventRecord event) {
    // A log that cannot be stored is still told to the sink, together with the reason.
    if (auto stored = store_.append_event(event); stored) {
        event.sequence = *stored;
    } else {
        event.fields["not stored"] = stored.error().text();
    }
    sink_(event);
}

}  // namespace umbra::coordinator

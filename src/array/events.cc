#include <algorithm>

#include "array/model.h"

namespace umbra::array {

using base::Result;
using env::Task;

namespace {

constexpr size_t kEventsPerBatch = 64;
constexpr size_t kMaxEventText = 2048;

/// Backends name what happened; how grave it is, an operator is told by the last word.
std::string severity_of(std::string_view id) {
    for (const char* grave : {".failed", ".lost", ".corrupt", ".missing", ".refused"}) {
        if (id.ends_with(grave)) return "error";
    }
    for (const char* harmless : {".started", ".stopped", ".done", ".found", ".returned", ".recovered"}) {
        if (id.ends_with(harmless)) return "info";
    }
    return "warning";
}

}  // namespace

void ArrayModel::emit(std::string id, std::string severity, std::string message, std::string lun, std::string drive) {
    EventRecord event;
    event.sequence = next_event_++;
    event.unix_ms = now_ms();
    event.id = std::move(id);
    event.severity = std::move(severity);
    event.message = message.substr(0, kMaxEventText);
    event.lun = std::move(lun);
    event.drive = std::move(drive);
    events_.push_back(std::move(event));
    while (events_.size() > kKeptEvents) events_.pop_front();
    if (!flushing_events_) {
        flushing_events_ = true;
        work_.spawn(flush_events());
    }
    wake_watchers();
}

void ArrayModel::backend_event(const lun::Event& event) {
    std::string lun_name;
    if (event.volume) {
        for (const auto& [id, lun] : luns_) {
            if (lun.record.volume == event.volume) lun_name = full_name(lun.record);
        }
    }
    std::string drive_name;
    if (event.drive) {
        for (const lun::DriveInfo& drive : backend_->drives()) {
            if (drive.index == *event.drive) drive_name = drive.name;
        }
    }
    emit(event.id, severity_of(event.id), event.message, std::move(lun_name), std::move(drive_name));
}

/// One batch at a time, so that a storm of events costs no more than the backend can take.
Task<void> ArrayModel::flush_events() {
    // Events come from inside operations: those go on first.
    co_await env::yield(env_.executor);
    while (!events_.empty() && recorded_event_ < events_.back().sequence) {
        lun::MetaBatch batch;
        uint64_t last = recorded_event_;
        for (const EventRecord& event : events_) {
            if (event.sequence <= recorded_event_) continue;
            if (batch.changes.size() == kEventsPerBatch) break;
            batch.changes[event_key(event.sequence % kKeptEvents)] = encode(event);
            last = event.sequence;
        }
        const Result<void> recorded = co_await backend_->update_meta(std::move(batch));
        if (!recorded) break;  // they stay in memory; the next event tries again
        recorded_event_ = last;
    }
    flushing_events_ = false;
}

std::vector<EventView> ArrayModel::list_events(uint64_t after_sequence, size_t limit) const {
    std::vector<EventView> result;
    for (const EventRecord& event : events_) {
        if (event.sequence <= after_sequence) continue;
        if (result.size() == limit) break;
        result.push_back(event);
    }
    return result;
}

lun::EventSink EventRelay::sink() {
    return [state = state_](const lun::Event& event) {
        if (state->model != nullptr) {
            state->model->backend_event(event);
        } else {
            state->early.push_back(event);
        }
    };
}

void EventRelay::connect(ArrayModel* model) {
    state_->model = model;
    if (model == nullptr) return;
    for (const lun::Event& event : std::exchange(state_->early, {})) model->backend_event(event);
}

}  // namespace umbra::array

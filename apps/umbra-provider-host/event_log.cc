#include "event_log.h"

#include "com/text.h"
#include "compat/eventlog.h"

namespace umbra::provider_host {

bool EventQueue::push(LoggedEvent event) {
    std::lock_guard lock(mutex_);
    if (events_.size() >= kMaximumEvents) return false;
    events_.push_back(std::move(event));
    arrived_.notify_one();
    return true;
}

std::optional<LoggedEvent> EventQueue::pop(std::chrono::milliseconds limit) {
    std::unique_lock lock(mutex_);
    if (!arrived_.wait_for(lock, limit, [&] { return !events_.empty(); })) return std::nullopt;
    LoggedEvent event = std::move(events_.front());
    events_.pop_front();
    return event;
}

EventQueue& event_queue() {
    static EventQueue queue;
    return queue;
}

namespace {

std::string text_of(LPCWSTR text) {
    if (text == nullptr) return {};
    return com::to_utf8(text).value_or("(text that is no Unicode)");
}

}  // namespace
}  // namespace umbra::provider_host

#define EXPORTED extern "C" __attribute__((visibility("default")))

EXPORTED HANDLE RegisterEventSourceW(LPCWSTR, LPCWSTR lpSourceName) {
    return new (std::nothrow) std::string(umbra::provider_host::text_of(lpSourceName));
}

EXPORTED BOOL DeregisterEventSource(HANDLE hEventLog) {
    delete static_cast<std::string*>(hEventLog);
    return TRUE;
}

EXPORTED BOOL ReportEventW(HANDLE hEventLog, WORD wType, WORD, DWORD dwEventID, PVOID, WORD wNumStrings, DWORD,
                           LPCWSTR* lpStrings, LPVOID) {
    if (hEventLog == nullptr || (wNumStrings > 0 && lpStrings == nullptr)) return FALSE;
    umbra::provider_host::LoggedEvent event;
    event.unix_ms =
        std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::system_clock::now().time_since_epoch())
            .count();
    event.type = wType;
    event.id = dwEventID;
    event.source = *static_cast<std::string*>(hEventLog);
    for (WORD i = 0; i < wNumStrings; ++i) event.texts.push_back(umbra::provider_host::text_of(lpStrings[i]));
    return umbra::provider_host::event_queue().push(std::move(event)) ? TRUE : FALSE;
}

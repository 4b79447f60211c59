// What the provider tells the event log of its host. Every veto has an entry that says what to do about it.
#pragma once

#include <functional>
#include <string>

#include "compat/com.h"

namespace umbra::provider {

/// Listed in docs/operating/events.md; the numbers never change.
enum class EventId : DWORD {
    kConfiguration = 1,     ///< the provider's configuration cannot be used
    kArrayUnreachable = 2,  ///< an array did not answer
    kArrayRefused = 3,      ///< an array refused an operation
    kLunUnknown = 4,        ///< a LUN is on none of the configured arrays, or carries no usable page 83
    kNotAShadowCopy = 5,    ///< the array's record does not confirm that the LUN is a shadow copy of ours
    kWrongOrder = 6,        ///< a call out of order, or for another shadow copy set
    kHeldElsewhere = 7,     ///< another host imported or uses the LUN
    kLowSpace = 8,          ///< too little free space to promise a shadow copy or a resynchronisation
    kLeftBehind = 9,        ///< shadow copies of a set that was never completed could not be deleted yet
    kResyncFailed = 10,     ///< a resynchronisation ended without success
    kLunFailed = 11,        ///< the LUN has failed
    kCacheBroken = 12,      ///< VDS: the view of an array can no longer be trusted
};

enum class Severity : WORD { kError = 1, kWarning = 2, kInformation = 4 };  // EVENTLOG_*_TYPE

struct ProviderEvent {
    Severity severity = Severity::kError;
    EventId id{};
    std::string text;  ///< what happened and what to do; sentences
};

using EventSink = std::function<void(const ProviderEvent&)>;

/// ReportEventW with the source "UmbraProvider".
void report_to_event_log(const ProviderEvent& event);

}  // namespace umbra::provider

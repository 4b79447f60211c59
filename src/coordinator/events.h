// Events of this host: stable ids, one a failure, none while anything is frozen.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "coordinator/state_store.h"
#include "env/executor.h"

namespace umbra::coordinator {

/// Documented in docs/operating/events.md; never renumbered.
enum class EventId : uint32_t {
    kProviderFailed = 2001,    ///< a provider's method returned a documented failure
    kProviderBadCode = 2002,   ///< a provider's method returned what no page allows
    kProviderLost = 2003,      ///< a provider's process died or did not answer in time
    kProviderReported = 2004,  ///< the provider's own entry
    kSetAborted = 2010,        ///< a creation failed or was aborted
    kFreezeFailed = 2011,
    kCommitWindowExceeded = 2012,
    kSourceFlagsLeft = 2013,  ///< the flags of a source disk could not be put back
    kThawedLeftovers = 2014,  ///< frozen file systems of an earlier run were thawed
    kImportFailed = 2020,
    kImportRefused = 2021,       ///< imported already; names the holder
    kSignatureCollision = 2022,  ///< a copy has the disk identity of another disk, and could not get its own
    kRecoverFailed = 2030,
    kCannotRevertDiskId = 2031,
    kRecoverResumed = 2032,
    kUnselectedVolume = 2033,
    kCleanupFailed = 2040,  ///< something was left; it is tried again
    kSetUndone = 2041,      ///< an interrupted creation was undone
    kBadDocument = 2050,    ///< a Backup Components Document was refused
    kStateWriteFailed = 2060,
    kInternal = 2090,
};

class EventLog {
public:
    /// `sink` also gets every event (journal, standard error). Both outlive the log.
    EventLog(env::Executor& executor, StateStore& store, std::function<void(const EventRecord&)> sink)
        : executor_(executor), store_(store), sink_(std::move(sink)) {}

    void error(EventId id, std::string text, std::map<std::string, std::string> fields = {}) {
        add(id, "error", std::move(text), std::move(fields));
    }
    void warning(EventId id, std::string text, std::map<std::string, std::string> fields = {}) {
        add(id, "warning", std::move(text), std::move(fields));
    }
    void info(EventId id, std::string text, std::map<std::string, std::string> fields = {}) {
        add(id, "info", std::move(text), std::move(fields));
    }

    /// From here on events are kept in memory (at most 1024) until release().
    void hold() { ++holds_; }
    void release();
    bool held() const { return holds_ > 0; }

private:
    void add(EventId id, const char* severity, std::string text, std::map<std::string, std::string> fields);
    void write(EventRecord event);

    env::Executor& executor_;
    StateStore& store_;
    std::function<void(const EventRecord&)> sink_;
    int holds_ = 0;
    std::vector<EventRecord> waiting_;
};

}  // namespace umbra::coordinator

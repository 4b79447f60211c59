// The array management that the provider objects stand on: one instance per configured array. Calls block up to their
// deadline, may be made from several threads, and answer kUnavailable or kTimedOut when the array does not answer. A
// timed-out change may or may not have happened. Implemented over gRPC (rpc_array_client.h) and by the tests' fake.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace umbra::provider {

using base::Result;
using Timeout = std::chrono::milliseconds;

enum class LunKind : uint8_t { kLun, kSnapshot, kShadowCopy };

struct LunMask {
    std::string initiator;  ///< IQN or "*"
    std::string target_iqn;
    uint32_t lun = 0;
    bool operator==(const LunMask&) const = default;
};

struct LunPlex {
    std::string id;  ///< UUID
    std::string health;
    std::vector<std::string> drives;  ///< drive names
    bool operator==(const LunPlex&) const = default;
};

/// The array's record of one LUN (proto Lun).
struct LunRecord {
    std::string name;
    std::string id;   ///< UUID
    std::string naa;  ///< 32 lowercase hexadecimal digits
    std::string serial;
    LunKind kind = LunKind::kLun;
    std::string type;
    uint64_t size_bytes = 0;
    std::string health;  ///< "healthy", "rebuilding", "failed-redundancy", "failed"
    std::string origin;
    std::vector<LunMask> masks;
    std::vector<LunPlex> plexes;
    uint32_t flags = 0;
    std::map<std::string, std::string> attributes;
    std::string page83;  ///< designators of association 0, headers included
    uint64_t generation = 0;
    bool operator==(const LunRecord&) const = default;

    /// Empty when there is no such attribute.
    std::string attribute(const std::string& key) const {
        auto at = attributes.find(key);
        return at == attributes.end() ? std::string() : at->second;
    }
};

struct DriveRecord {
    std::string name;
    std::string id;  ///< UUID
    std::string path;
    uint64_t size_bytes = 0;
    uint64_t used_bytes = 0;
    std::string state;  ///< "online", "failed", "missing"
    uint32_t index = 0;
    bool operator==(const DriveRecord&) const = default;
};

struct ArrayRecord {
    std::string id;  ///< UUID
    std::string name;
    std::string version;
    std::string state;  ///< "ready", "degraded"
    uint64_t raw_bytes = 0;
    uint64_t free_bytes = 0;
    uint32_t drives = 0;
    uint32_t drives_online = 0;
    std::string vendor_id;
    std::string product_id;
    std::string product_revision;
};

struct SessionRecord {
    std::string initiator;
    std::string peer;
    std::vector<std::string> luns;  ///< names of what it can see
};

struct TaskRecord {
    uint64_t id = 0;
    std::string kind;
    std::string object;
    std::string object_naa;  ///< of a LUN that still exists
    std::string source_naa;  ///< of a running resync
    std::string state;       ///< "running", "done", "failed", "cancelled"
    uint32_t percent = 0;
    uint64_t done_bytes = 0;
    uint64_t total_bytes = 0;
    int64_t seconds_left = -1;
    std::optional<base::Code> error_code;  ///< when failed
    std::string error;
    std::string result;

    bool ended() const { return state != "running"; }
};

struct EventRecord {
    uint64_t sequence = 0;
    std::string id;
    std::string message;
    std::string lun;
    std::string drive;
};

struct ShadowRequest {
    std::string source_naa;
    std::string name;
    std::map<std::string, std::string> attributes;
    uint32_t flags = 0;
};

struct LunUpdate {
    std::optional<uint32_t> flags;
    std::map<std::string, std::string> set_attributes;
    std::vector<std::string> remove_attributes;
    std::map<std::string, std::string> expect_attributes;  ///< "" means absent; otherwise kBusy
    bool break_shadow_copy = false;
    std::optional<bool> write_protect;
};

class ArrayClient {
public:
    virtual ~ArrayClient() = default;
    /// For messages: "unix:/run/umbra/array.sock".
    virtual const std::string& address() const = 0;

    virtual Result<ArrayRecord> status(Timeout timeout) = 0;
    virtual Result<std::vector<LunRecord>> list_luns() = 0;
    virtual Result<LunRecord> get_lun_by_naa(const std::string& naa) = 0;
    virtual Result<LunRecord> create_lun(const std::string& name, uint64_t size_bytes, const std::string& type) = 0;
    /// `force`: also while initiators are logged in to it.
    virtual Result<void> delete_lun(const std::string& naa, bool force) = 0;
    virtual Result<LunRecord> resize_lun(const std::string& naa, uint64_t size_bytes, bool force) = 0;
    virtual Result<LunRecord> rename_lun(const std::string& naa, const std::string& name) = 0;
    virtual Result<LunRecord> update_lun(const std::string& naa, const LunUpdate& update) = 0;
    /// Shadow copies of all sources at one instant, all or none; answers in the order of the requests.
    virtual Result<std::vector<LunRecord>> create_shadow_copies(const std::vector<ShadowRequest>& requests,
                                                                Timeout timeout) = 0;
    virtual Result<TaskRecord> resync(const std::string& destination_naa, const std::string& source_naa,
                                      bool force) = 0;
    virtual Result<TaskRecord> recover(const std::string& naa) = 0;
    virtual Result<void> add_mask(const std::string& naa, const std::string& initiator) = 0;
    virtual Result<void> remove_mask(const std::string& naa, const std::string& initiator, const std::string& target,
                                     bool force) = 0;
    virtual Result<std::vector<SessionRecord>> sessions() = 0;
    virtual Result<std::vector<DriveRecord>> drives() = 0;

    /// After a change whose answer was lost: when this has succeeded, that change has happened or never will.
    virtual Result<void> settle() = 0;

    virtual Result<std::vector<TaskRecord>> list_tasks() = 0;
    virtual Result<TaskRecord> get_task(uint64_t id) = 0;
    /// Returns when the task has ended, or with its record as it is after `timeout`.
    virtual Result<TaskRecord> wait_task(uint64_t id, Timeout timeout) = 0;
    virtual Result<TaskRecord> cancel_task(uint64_t id) = 0;

    /// Sequence number of the newest event, 0 when there is none.
    virtual Result<uint64_t> newest_event() = 0;
    /// Delivers events after `sequence` from a thread of its own until stop_watching(). `on_end` is called once, from
    /// that thread, when the stream breaks of itself; the watch is over then. One watch at a time.
    virtual Result<void> watch_events(uint64_t sequence, std::function<void(const EventRecord&)> on_event,
                                      std::function<void(const base::Error&)> on_end) = 0;
    /// No callback runs after it returned. Must not be called from a callback.
    virtual void stop_watching() = 0;
};

}  // namespace umbra::provider

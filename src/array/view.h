// What the array shows of itself to those who manage it: plain values, the same on both sides of the management
// channel.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "base/guid.h"

namespace umbra::array {

/// Flags that belong to the LUN and travel with it (design: "How Windows' notions read on Linux", LUN flags).
inline constexpr uint32_t kLunReadOnly = 1u << 0;
inline constexpr uint32_t kLunHidden = 1u << 1;
inline constexpr uint32_t kLunNoDriveLetter = 1u << 2;
inline constexpr uint32_t kLunShadowCopy = 1u << 3;
inline constexpr uint32_t kLunFlagsKnown = 0xf;

enum class LunKind : uint8_t {
    kLun = 1,         ///< ordinary
    kSnapshot = 2,    ///< read-only, named "lun@snapshot", never presented
    kShadowCopy = 3,  ///< a writable copy with an identity of its own
};

/// How a caller names a LUN.
struct LunRef {
    enum class By : uint8_t { kName, kId, kNaa };
    By by = By::kName;
    std::string text;  ///< "db", a UUID, or 32 hexadecimal digits

    static LunRef name(std::string text) { return {By::kName, std::move(text)}; }
    static LunRef id(std::string text) { return {By::kId, std::move(text)}; }
    static LunRef naa(std::string text) { return {By::kNaa, std::move(text)}; }
};

struct MaskView {
    std::string initiator;  ///< iSCSI name in lower case, or "*" for everyone
    std::string target_iqn;
    uint16_t lun = 0;
    bool operator==(const MaskView&) const = default;
};

struct LunPathView {
    std::string target_iqn;
    uint16_t lun = 0;
    std::string portal;  ///< "ip:port"
    bool operator==(const LunPathView&) const = default;
};

struct PlexView {
    std::string id;
    std::string health;
    std::vector<std::string> drives;
};

struct LunView {
    std::string name;
    std::string id;      ///< UUID, never reused
    std::string naa;     ///< 32 lowercase hexadecimal digits, page 83 type 3
    std::string serial;  ///< page 80
    LunKind kind = LunKind::kLun;
    std::string type;  ///< "simple", "mirror", "parity"
    uint64_t size_bytes = 0;
    uint32_t width = 0;
    std::string health;  ///< "healthy", "rebuilding", "failed-redundancy", "failed"
    std::string origin;  ///< name of what a snapshot or shadow copy was taken of; empty when that is gone
    int64_t created_unix_ms = 0;
    std::vector<MaskView> masks;
    std::vector<LunPathView> paths;
    std::vector<PlexView> plexes;
    uint32_t flags = 0;
    bool write_protected = false;
    std::map<std::string, std::string> attributes;
    uint64_t mapped_bytes = 0;
    std::vector<std::byte> page83;  ///< designators of association 0 as INQUIRY returns them, headers included
    std::string failed_task;        ///< why the last recover or resync of it failed; empty when none did
    uint64_t generation = 0;        ///< grows with each change of the LUN's record
};

struct TargetView {
    std::string iqn;
    bool is_default = false;
};

struct StatusView {
    std::string id;
    std::string name;
    std::string version;
    std::string state;  ///< "ready" or "degraded"
    uint64_t raw_bytes = 0;
    uint64_t free_bytes = 0;
    uint64_t live_bytes = 0;
    uint32_t drives = 0;
    uint32_t drives_online = 0;
    uint32_t luns = 0;  ///< of every kind
    std::vector<TargetView> targets;
    std::vector<std::string> portals;
    std::string vendor_id;
    std::string product_id;
    std::string product_revision;
};

struct DriveView {
    std::string name;
    std::string id;
    std::string path;
    uint64_t size_bytes = 0;
    uint64_t used_bytes = 0;
    std::string state;  ///< "online", "failed", "missing"
    uint64_t read_errors = 0;
    uint64_t checksum_errors = 0;
    uint64_t repaired_blocks = 0;
    uint32_t index = 0;
};

enum class TaskState : uint8_t { kRunning = 1, kDone = 2, kFailed = 3, kCancelled = 4 };

struct TaskView {
    uint64_t id = 0;
    std::string kind;        ///< "resync", "recover", "scrub"
    std::string object;      ///< LUN name at the start; empty for the whole array
    std::string object_naa;  ///< of a LUN that still exists
    std::string source_naa;  ///< of a running resync: the LUN that is copied from
    TaskState state = TaskState::kRunning;
    uint32_t percent = 0;  ///< 100 only when done
    uint64_t done_bytes = 0;
    uint64_t total_bytes = 0;
    uint64_t bytes_per_second = 0;
    int64_t seconds_left = -1;  ///< -1: unknown
    std::string error_code;     ///< base::Code's name when failed
    std::string error;
    std::string result;
    int64_t started_unix_ms = 0;
    int64_t ended_unix_ms = 0;  ///< 0 while running

    bool ended() const { return state != TaskState::kRunning; }
};

struct EventView {
    uint64_t sequence = 0;
    int64_t unix_ms = 0;
    std::string id;        ///< as listed in docs/operating/events.md
    std::string severity;  ///< "info", "warning", "error"
    std::string message;
    std::string lun;
    std::string drive;
};

struct SessionView {
    std::string initiator;
    std::string target_iqn;
    std::string peer;
    std::string isid;
    std::vector<std::string> luns;  ///< names of what it can see
};

// Requests.

struct CreateLun {
    std::string name;  ///< [A-Za-z0-9._-]{1,64}, not beginning with '.' or '-'
    uint64_t size_bytes = 0;
    std::string type = "simple";
    uint32_t width = 0;  ///< 0: the array chooses
};

struct UpdateLun {
    std::optional<uint32_t> flags;
    std::map<std::string, std::string> set_attributes;
    std::vector<std::string> remove_attributes;
    std::map<std::string, std::string> expect_attributes;  ///< kBusy unless each has this value; "": absent
    bool break_shadow_copy = false;
    std::optional<bool> write_protect;
};

struct SnapshotItem {
    LunRef source;
    std::string name;  ///< snapshot: what stands behind '@'; shadow copy: the whole name; empty: the array chooses
    std::map<std::string, std::string> attributes;
    uint32_t flags = 0;
    bool write_protect = false;  ///< shadow copies
};

struct ResyncLun {
    LunRef destination;
    LunRef source;
    bool force = false;     ///< also while initiators are logged in that see the destination
    std::string keep_name;  ///< of the snapshot that keeps the head before; empty: "before-resync-N"
};

/// Asked when a change's turn has come: false when whoever asked for it waits no longer. Empty: always wanted.
using Wanted = std::function<bool()>;

struct MaskChange {
    LunRef lun;
    std::string initiator;
    std::string target_iqn;  ///< empty: the default target
    bool force = false;      ///< removal while that initiator is logged in to it
};

const char* to_string(LunKind kind);
const char* to_string(TaskState state);

}  // namespace umbra::array

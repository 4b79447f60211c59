// The array's durable records: what each holds and how it is encoded (docs/format/array-records.md). Keys and values
// live in the backend's meta; every change of them is part of the backend operation that it belongs to.
#pragma once

#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "array/view.h"
#include "base/guid.h"
#include "base/result.h"
#include "lun/backend.h"

namespace umbra::array {

struct ArrayRecord {
    std::string default_target;
    uint32_t company_id = 0;     ///< 24 bits, of every NAA identifier made from now on
    uint64_t next_identity = 1;  ///< the low half of the next LUN's NAA identifier
    uint64_t next_task = 1;
    bool operator==(const ArrayRecord&) const = default;
};

struct TargetRecord {
    std::string iqn;
    uint16_t next_number = 1;  ///< LUN number that no LUN has had on this target
    bool operator==(const TargetRecord&) const = default;
};

struct MaskRecord {
    std::string initiator;
    std::string target;
    bool operator==(const MaskRecord&) const = default;
};

struct LunRecord {
    base::Guid id;
    LunKind kind = LunKind::kLun;
    std::string name;   ///< of a snapshot: what stands behind '@'
    base::Guid parent;  ///< snapshots: the LUN that they belong to
    base::Guid origin;  ///< what it was taken of; null for none
    lun::VolumeId volume;
    std::array<std::byte, 16> naa{};
    std::string serial;
    uint32_t flags = 0;
    bool write_protected = false;
    int64_t created_unix_ms = 0;
    uint64_t generation = 1;
    uint64_t content_generation = 1;  ///< grows when the content is replaced: a resynchronisation, a shrinking
    std::map<std::string, std::string> attributes;
    std::vector<MaskRecord> masks;
    std::map<std::string, uint16_t> numbers;  ///< target -> LUN number; kept when the mask goes
    bool operator==(const LunRecord&) const = default;
};

struct TaskRecord {
    uint64_t id = 0;
    std::string kind;
    base::Guid lun;      ///< null: the whole array
    std::string object;  ///< its name at the start
    TaskState state = TaskState::kRunning;
    std::string error_code;
    std::string error;
    std::string result;
    int64_t started_unix_ms = 0;
    int64_t ended_unix_ms = 0;  ///< 0 also when it ended in the same step as its effect and no later one told when
    uint64_t total_bytes = 0;
    bool operator==(const TaskRecord&) const = default;
};

using EventRecord = EventView;

inline constexpr std::string_view kArrayKey = "array";
inline constexpr std::string_view kTargetPrefix = "target/";
inline constexpr std::string_view kLunPrefix = "lun/";
inline constexpr std::string_view kTaskPrefix = "task/";
inline constexpr std::string_view kEventPrefix = "event/";
inline constexpr std::string_view kReservationPrefix = "reservation/";

std::string target_key(std::string_view iqn);
std::string lun_key(const base::Guid& id);
std::string task_key(uint64_t id);
std::string event_key(uint64_t slot);
std::string reservation_key(const base::Guid& lun);

std::string encode(const ArrayRecord& record);
std::string encode(const TargetRecord& record);
std::string encode(const LunRecord& record);
std::string encode(const TaskRecord& record);
std::string encode(const EventRecord& record);

// Errors: kCorrupt, kVersion; the message names the kind of record.
base::Result<ArrayRecord> decode_array(std::string_view value);
base::Result<TargetRecord> decode_target(std::string_view value);
base::Result<LunRecord> decode_lun(std::string_view value);
base::Result<TaskRecord> decode_task(std::string_view value);
base::Result<EventRecord> decode_event(std::string_view value);

}  // namespace umbra::array

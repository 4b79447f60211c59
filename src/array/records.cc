#include "array/records.h"

#include <fmt/format.h>

#include "base/bytes.h"

namespace umbra::array {

using base::Code;
using base::Decoder;
using base::Encoder;
using base::fail;
using base::Guid;
using base::Result;

namespace {

// Every value begins with its kind and version, so that a value under a wrong key does not decode.
enum class Kind : uint16_t { kArray = 1, kTarget = 2, kLun = 3, kTask = 4, kEvent = 5 };
constexpr uint16_t kVersion = 1;
constexpr uint16_t kLunVersion = 2;  // 1 had no content generation; it is still read

std::string_view kind_name(Kind kind) {
    switch (kind) {
        case Kind::kArray:
            return "array";
        case Kind::kTarget:
            return "target";
        case Kind::kLun:
            return "LUN";
        case Kind::kTask:
            return "task";
        case Kind::kEvent:
            return "event";
    }
    return "unknown";
}

constexpr uint16_t newest(Kind kind) {
    return kind == Kind::kLun ? kLunVersion : kVersion;
}

Encoder begin(Kind kind) {
    Encoder out;
    out.put(static_cast<uint16_t>(kind));
    out.put(newest(kind));
    return out;
}

std::string finish(Encoder& out) {
    return std::string(base::as_text(out.bytes()));
}

Result<Decoder> open(Kind kind, std::string_view value, uint16_t* version_found = nullptr) {
    Decoder in(base::as_bytes(value));
    const auto found = in.get<uint16_t>();
    const auto version = in.get<uint16_t>();
    if (version_found != nullptr) *version_found = version;
    if (!in.ok() || found != static_cast<uint16_t>(kind)) {
        return fail(Code::kCorrupt, fmt::format("this is no {} record", kind_name(kind)));
    }
    if (version < kVersion || version > newest(kind)) {
        return fail(Code::kVersion, fmt::format("{} record of version {}; this program knows version {}",
                                                kind_name(kind), version, newest(kind)));
    }
    return in;
}

Result<void> close(Kind kind, const Decoder& in) {
    if (!in.ok() || !in.at_end())
        return fail(Code::kCorrupt, fmt::format("{} record does not decode", kind_name(kind)));
    return {};
}

void put(Encoder& out, const Guid& guid) {
    out.put_bytes(guid.bytes);
}
void put(Encoder& out, bool value) {
    out.put(static_cast<uint8_t>(value ? 1 : 0));
}
void put(Encoder& out, int64_t value) {
    out.put(static_cast<uint64_t>(value));
}

Guid get_guid(Decoder& in) {
    Guid guid;
    const auto bytes = in.get_bytes(guid.bytes.size());
    std::copy(bytes.begin(), bytes.end(), guid.bytes.begin());
    return guid;
}
bool get_bool(Decoder& in) {
    return in.get<uint8_t>() != 0;
}
int64_t get_time(Decoder& in) {
    return static_cast<int64_t>(in.get<uint64_t>());
}

}  // namespace

std::string target_key(std::string_view iqn) {
    return std::string(kTargetPrefix) + std::string(iqn);
}
std::string lun_key(const Guid& id) {
    return std::string(kLunPrefix) + id.text();
}
std::string task_key(uint64_t id) {
    return fmt::format("{}{:020}", kTaskPrefix, id);
}
std::string event_key(uint64_t slot) {
    return fmt::format("{}{:04}", kEventPrefix, slot);
}
std::string reservation_key(const Guid& lun) {
    return std::string(kReservationPrefix) + lun.text();
}

std::string encode(const ArrayRecord& record) {
    Encoder out = begin(Kind::kArray);
    out.put_string(record.default_target);
    out.put(record.company_id);
    out.put(record.next_identity);
    out.put(record.next_task);
    return finish(out);
}

Result<ArrayRecord> decode_array(std::string_view value) {
    UMBRA_ASSIGN(Decoder in, open(Kind::kArray, value));
    ArrayRecord record;
    record.default_target = in.get_string();
    record.company_id = in.get<uint32_t>();
    record.next_identity = in.get<uint64_t>();
    record.next_task = in.get<uint64_t>();
    UMBRA_TRY(close(Kind::kArray, in));
    return record;
}

std::string encode(const TargetRecord& record) {
    Encoder out = begin(Kind::kTarget);
    out.put_string(record.iqn);
    out.put(record.next_number);
    return finish(out);
}

Result<TargetRecord> decode_target(std::string_view value) {
    UMBRA_ASSIGN(Decoder in, open(Kind::kTarget, value));
    TargetRecord record;
    record.iqn = in.get_string();
    record.next_number = in.get<uint16_t>();
    UMBRA_TRY(close(Kind::kTarget, in));
    return record;
}

std::string encode(const LunRecord& record) {
    Encoder out = begin(Kind::kLun);
    put(out, record.id);
    out.put(static_cast<uint8_t>(record.kind));
    out.put_string(record.name);
    put(out, record.parent);
    put(out, record.origin);
    out.put(record.volume.value);
    out.put_bytes(record.naa);
    out.put_string(record.serial);
    out.put(record.flags);
    put(out, record.write_protected);
    put(out, record.created_unix_ms);
    out.put(record.generation);
    out.put(static_cast<uint32_t>(record.attributes.size()));
    for (const auto& [key, value] : record.attributes) {
        out.put_string(key);
        out.put_string(value);
    }
    out.put(static_cast<uint32_t>(record.masks.size()));
    for (const MaskRecord& mask : record.masks) {
        out.put_string(mask.initiator);
        out.put_string(mask.target);
    }
    out.put(static_cast<uint32_t>(record.numbers.size()));
    for (const auto& [target, number] : record.numbers) {
        out.put_string(target);
        out.put(number);
    }
    out.put(record.content_generation);
    return finish(out);
}

Result<LunRecord> decode_lun(std::string_view value) {
    uint16_t version = 0;
    UMBRA_ASSIGN(Decoder in, open(Kind::kLun, value, &version));
    LunRecord record;
    record.id = get_guid(in);
    const auto kind = in.get<uint8_t>();
    record.name = in.get_string();
    record.parent = get_guid(in);
    record.origin = get_guid(in);
    record.volume = lun::VolumeId(in.get<uint64_t>());
    const auto naa = in.get_bytes(record.naa.size());
    std::copy(naa.begin(), naa.end(), record.naa.begin());
    record.serial = in.get_string();
    record.flags = in.get<uint32_t>();
    record.write_protected = get_bool(in);
    record.created_unix_ms = get_time(in);
    record.generation = in.get<uint64_t>();
    for (size_t i = in.get_count(8); i > 0; --i) {
        std::string key = in.get_string();
        record.attributes[std::move(key)] = in.get_string();
    }
    for (size_t i = in.get_count(8); i > 0; --i) {
        MaskRecord mask;
        mask.initiator = in.get_string();
        mask.target = in.get_string();
        record.masks.push_back(std::move(mask));
    }
    for (size_t i = in.get_count(6); i > 0; --i) {
        std::string target = in.get_string();
        record.numbers[std::move(target)] = in.get<uint16_t>();
    }
    if (version >= 2) record.content_generation = in.get<uint64_t>();
    UMBRA_TRY(close(Kind::kLun, in));
    if (kind < 1 || kind > 3) return fail(Code::kCorrupt, "LUN record of an unknown kind of LUN");
    record.kind = static_cast<LunKind>(kind);
    return record;
}

std::string encode(const TaskRecord& record) {
    Encoder out = begin(Kind::kTask);
    out.put(record.id);
    out.put_string(record.kind);
    put(out, record.lun);
    out.put_string(record.object);
    out.put(static_cast<uint8_t>(record.state));
    out.put_string(record.error_code);
    out.put_string(record.error);
    out.put_string(record.result);
    put(out, record.started_unix_ms);
    put(out, record.ended_unix_ms);
    out.put(record.total_bytes);
    return finish(out);
}

Result<TaskRecord> decode_task(std::string_view value) {
    UMBRA_ASSIGN(Decoder in, open(Kind::kTask, value));
    TaskRecord record;
    record.id = in.get<uint64_t>();
    record.kind = in.get_string();
    record.lun = get_guid(in);
    record.object = in.get_string();
    const auto state = in.get<uint8_t>();
    record.error_code = in.get_string();
    record.error = in.get_string();
    record.result = in.get_string();
    record.started_unix_ms = get_time(in);
    record.ended_unix_ms = get_time(in);
    record.total_bytes = in.get<uint64_t>();
    UMBRA_TRY(close(Kind::kTask, in));
    if (state < 1 || state > 4) return fail(Code::kCorrupt, "task record in an unknown state");
    record.state = static_cast<TaskState>(state);
    return record;
}

std::string encode(const EventRecord& record) {
    Encoder out = begin(Kind::kEvent);
    out.put(record.sequence);
    put(out, record.unix_ms);
    out.put_string(record.id);
    out.put_string(record.severity);
    out.put_string(record.message);
    out.put_string(record.lun);
    out.put_string(record.drive);
    return finish(out);
}

Result<EventRecord> decode_event(std::string_view value) {
    UMBRA_ASSIGN(Decoder in, open(Kind::kEvent, value));
    EventRecord record;
    record.sequence = in.get<uint64_t>();
    record.unix_ms = get_time(in);
    record.id = in.get_string();
    record.severity = in.get_string();
    record.message = in.get_string();
    record.lun = in.get_string();
    record.drive = in.get_string();
    UMBRA_TRY(close(Kind::kEvent, in));
    return record;
}

}  // namespace umbra::array

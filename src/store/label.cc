#include "store/label.h"

#include <fmt/format.h>

#include "base/crc32c.h"

namespace umbra::store {

using base::Code;
using base::Decoder;
using base::Encoder;
using base::fail;

namespace {

constexpr uint64_t kMagic = 0x4c424c4152424d55;  // "UMBRALBL"
constexpr size_t kLengthAt = 12;
constexpr size_t kCrcAt = 16;
constexpr size_t kFeaturesAt = 20;
constexpr size_t kBodyAt = 32;

void put_guid(Encoder& out, const base::Guid& guid) {
    out.put_bytes(guid.bytes);
}
base::Guid get_guid(Decoder& in) {
    base::Guid guid;
    const Bytes bytes = in.get_bytes(guid.bytes.size());
    std::copy(bytes.begin(), bytes.end(), guid.bytes.begin());
    return guid;
}

void put_columns(Encoder& out, const std::vector<Column>& columns) {
    out.put(static_cast<uint8_t>(columns.size()));
    for (const Column& column : columns) {
        out.put(column.drive);
        out.put(column.segment);
    }
}
std::vector<Column> get_columns(Decoder& in) {
    std::vector<Column> columns(in.get<uint8_t>());
    for (Column& column : columns) {
        column.drive = in.get<uint32_t>();
        column.segment = in.get<uint32_t>();
    }
    return columns;
}

uint32_t label_crc(Bytes bytes) {
    static constexpr std::byte kZero[4]{};
    return base::crc32c(bytes.subspan(kCrcAt + 4), base::crc32c(kZero, base::crc32c(bytes.first(kCrcAt))));
}

}  // namespace

Result<std::vector<std::byte>> encode_label(const Label& label, uint32_t drive_index) {
    Encoder out;
    out.put(kMagic);
    out.put(kFormatVersion);
    out.put<uint16_t>(0);
    out.put<uint32_t>(0);                              // length
    out.put<uint32_t>(0);                              // CRC
    for (int i = 0; i < 3; ++i) out.put<uint32_t>(0);  // feature words
    put_guid(out, label.array_id);
    out.put(drive_index);
    out.put(label.generation);
    out.put(label.segment_bytes);
    out.put(static_cast<uint32_t>(label.members.size()));
    for (const Member& member : label.members) {
        put_guid(out, member.id);
        out.put(member.index);
        out.put(member.size_bytes);
        out.put<uint8_t>(member.failed ? 1 : 0);
        out.put_string(member.name);
    }
    for (const uint64_t counter : {label.birth, label.next_group_id, label.next_volume_id, label.next_stream_id,
                                   label.checkpoint, label.objects_bytes}) {
        out.put(counter);
    }
    for (const auto& half : label.log_halves) put_columns(out, half);
    for (const TableRoot& table : label.tables) {
        out.put(static_cast<uint32_t>(table.chunks.size()));
        for (const auto& chunk : table.chunks) put_columns(out, chunk);
        out.put(static_cast<uint32_t>(table.entries.size()));
        for (const uint64_t entry : table.entries) out.put(entry);
        out.put(table.pages);
    }
    auto bytes = out.take();
    if (bytes.size() > kLabelSlotBytes) {
        return fail(Code::kNoSpace, fmt::format("the array's metadata has outgrown its label ({} of {} bytes)",
                                                bytes.size(), kLabelSlotBytes));
    }
    base::store_le<uint32_t>(bytes.data() + kLengthAt, static_cast<uint32_t>(bytes.size()));
    base::store_le<uint32_t>(bytes.data() + kCrcAt, label_crc(bytes));
    bytes.resize((bytes.size() + kBlockBytes - 1) / kBlockBytes * kBlockBytes);
    return bytes;
}

Result<DecodedLabel> decode_label(Bytes slot) {
    if (slot.size() < kBodyAt || base::load_le<uint64_t>(slot.data()) != kMagic) {
        return fail(Code::kNotFound, "no Umbra label");
    }
    const auto version = base::load_le<uint16_t>(slot.data() + 8);
    if (version != kFormatVersion) {
        return fail(Code::kVersion,
                    fmt::format("label of format version {}, this build knows {}", version, kFormatVersion));
    }
    const size_t length = base::load_le<uint32_t>(slot.data() + kLengthAt);
    if (length < kBodyAt || length > slot.size()) return fail(Code::kCorrupt, "label with an impossible length");
    const Bytes bytes = slot.first(length);
    if (base::load_le<uint32_t>(bytes.data() + kCrcAt) != label_crc(bytes)) {
        return fail(Code::kCorrupt, "label with a wrong checksum");
    }
    if (base::load_le<uint32_t>(bytes.data() + kFeaturesAt + 8) != 0) {
        return fail(Code::kVersion, "label with incompatible features that this build does not know");
    }
    Decoder in(bytes.subspan(kBodyAt));
    DecodedLabel out;
    Label& label = out.label;
    label.array_id = get_guid(in);
    out.drive_index = in.get<uint32_t>();
    label.generation = in.get<uint64_t>();
    label.segment_bytes = in.get<uint32_t>();
    label.members.resize(in.get_count(33));
    for (Member& member : label.members) {
        member.id = get_guid(in);
        member.index = in.get<uint32_t>();
        member.size_bytes = in.get<uint64_t>();
        member.failed = in.get<uint8_t>() != 0;
        member.name = in.get_string();
    }
    for (uint64_t* counter : {&label.birth, &label.next_group_id, &label.next_volume_id, &label.next_stream_id,
                              &label.checkpoint, &label.objects_bytes}) {
        *counter = in.get<uint64_t>();
    }
    for (auto& half : label.log_halves) half = get_columns(in);
    for (TableRoot& table : label.tables) {
        table.chunks.resize(in.get_count(1));
        for (auto& chunk : table.chunks) chunk = get_columns(in);
        table.entries.resize(in.get_count(8));
        for (uint64_t& entry : table.entries) entry = in.get<uint64_t>();
        table.pages = in.get<uint64_t>();
    }
    const bool sane = in.ok() && in.at_end() && label.members.size() <= kMaxDrives &&
                      out.drive_index < label.members.size() && label.segment_bytes >= kMinSegmentBytes &&
                      label.segment_bytes % kBlockBytes == 0;
    if (!sane) return fail(Code::kCorrupt, "label whose fields do not fit together");
    const auto bad_column = [&](const std::vector<Column>& columns) {
        for (const Column& column : columns) {
            if (column.drive >= label.members.size()) return true;
        }
        return false;
    };
    for (size_t i = 0; i < label.members.size(); ++i) {
        if (label.members[i].index != i) return fail(Code::kCorrupt, "label with drives out of order");
    }
    for (const auto& half : label.log_halves) {
        if (bad_column(half)) return fail(Code::kCorrupt, "label that names an unknown drive");
    }
    for (const TableRoot& table : label.tables) {
        for (const auto& chunk : table.chunks) {
            if (bad_column(chunk)) return fail(Code::kCorrupt, "label that names an unknown drive");
        }
    }
    return out;
}

}  // namespace umbra::store

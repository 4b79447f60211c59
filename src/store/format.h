// Names and encodings of docs/format/store.md.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/guid.h"
#include "base/result.h"

namespace umbra::store {

using base::Bytes;
using base::MutableBytes;
using base::Result;

inline constexpr uint32_t kBlockBytes = 4096;
inline constexpr uint32_t kPointersPerPage = 256;
inline constexpr uint16_t kFormatVersion = 1;
inline constexpr uint32_t kMaxColumns = 24;
inline constexpr uint32_t kMaxRecordPayload = 96;  ///< blocks
inline constexpr uint64_t kMaxVbn = (1ull << 48) - 1;

/// Where a block of a volume is and what it must contain. On disk 16 bytes.
struct BlockPtr {
    uint64_t vbn = 0;    ///< virtual block number; 0 is a hole
    uint64_t birth = 0;  ///< order of the write that made it
    uint32_t crc = 0;

    bool is_hole() const { return vbn == 0; }
    /// Nobody knows any more what is mapped here: reading it is an error until it is written or unmapped.
    bool is_lost() const { return vbn == kMaxVbn; }
    bool operator==(const BlockPtr&) const = default;
};
inline constexpr BlockPtr kLostBlock{.vbn = kMaxVbn, .birth = 0, .crc = 0};
BlockPtr load_pointer(const std::byte* at);
void store_pointer(std::byte* at, const BlockPtr& pointer);

/// A block of a group.
struct Location {
    uint32_t group = 0;  ///< slot in the group table
    uint32_t block = 0;
    auto operator<=>(const Location&) const = default;

    uint64_t pack() const { return (1ull << 63) | (static_cast<uint64_t>(group) << 32) | block; }
    static std::optional<Location> unpack(uint64_t packed);
};

struct Column {
    uint32_t drive = 0;
    uint32_t segment = 0;
    bool operator==(const Column&) const = default;
};

enum class EntryKind : uint8_t { kWrite = 1, kZero = 2, kPage = 3, kMove = 4 };

struct Entry {
    EntryKind kind = EntryKind::kWrite;
    uint8_t plex = 0;
    uint16_t count = 0;  ///< kZero: blocks
    uint32_t crc = 0;
    uint64_t volume = 0;
    uint64_t lba = 0;  ///< 4 KiB units; kMove: the old location, packed
    uint64_t vbn = 0;
    uint64_t birth = 0;

    bool has_payload() const { return kind != EntryKind::kZero; }
};

struct RecordHeader {
    uint64_t array_tag = 0;  ///< first 8 bytes of the array id
    uint64_t group_id = 0;
    uint32_t row = 0;
    uint32_t blocks = 0;  ///< header included, padding not
    uint64_t sequence = 0;
    uint64_t durable_sequence = 0;
    std::vector<Entry> entries;
};
inline constexpr size_t kRecordFixedBytes = 64;
inline constexpr size_t kEntryBytes = 40;
inline constexpr size_t kMaxEntries = (kBlockBytes - kRecordFixedBytes) / kEntryBytes;

void encode_record_header(const RecordHeader& header, MutableBytes block);
/// nullopt for anything that is not an intact header of a known version.
std::optional<RecordHeader> decode_record_header(Bytes block);

}  // namespace umbra::store

// The superblock of a drive: docs/format/store.md, "A drive".
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "store/format.h"

namespace umbra::store {

inline constexpr uint64_t kLabelOffset = 64 * 1024;
inline constexpr uint64_t kLabelSlotBytes = 256 * 1024;
inline constexpr uint64_t kSegmentsOffset = kLabelOffset + 2 * kLabelSlotBytes;
inline constexpr uint32_t kMaxDrives = 64;
inline constexpr uint32_t kMaxSegmentsPerDrive = 65536;
/// An atomic write of 64 KiB and its header must fit into one segment.
inline constexpr uint32_t kMinSegmentBytes = 128 * 1024;

struct Member {
    base::Guid id;
    uint32_t index = 0;
    uint64_t size_bytes = 0;
    bool failed = false;
    std::string name;
};

/// One table of the metadata space: where its chunks are, and the index entries of its pages (index tables only).
struct TableRoot {
    std::vector<std::vector<Column>> chunks;
    std::vector<uint64_t> entries;
    uint64_t pages = 0;
};
inline constexpr size_t kMetaTables = 8;  ///< four tables, then their four indexes

struct Label {
    base::Guid array_id;
    uint64_t generation = 0;
    uint32_t segment_bytes = 0;
    std::vector<Member> members;
    uint64_t birth = 0;
    uint64_t next_group_id = 1;
    uint64_t next_volume_id = 1;
    uint64_t next_stream_id = 1;
    uint64_t checkpoint = 0;
    uint64_t objects_bytes = 0;
    std::array<std::vector<Column>, 2> log_halves;
    std::array<TableRoot, kMetaTables> tables;
};

/// The bytes of one drive's label, a multiple of 4 KiB, at most kLabelSlotBytes.
Result<std::vector<std::byte>> encode_label(const Label& label, uint32_t drive_index);

struct DecodedLabel {
    Label label;
    uint32_t drive_index = 0;
};
/// kNotFound: no label of ours; kCorrupt: one that is damaged; kVersion: one of a newer format.
Result<DecodedLabel> decode_label(Bytes slot);

}  // namespace umbra::store

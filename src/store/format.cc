#include "store/format.h"

#include "base/crc32c.h"

namespace umbra::store {

using base::load_le;
using base::store_le;

namespace {
constexpr uint32_t kRecordMagic = 0x43455255;  // "UREC"
constexpr size_t kCrcAt = 48;

uint32_t block_crc(Bytes block, size_t crc_at) {
    static constexpr std::byte kZero[4]{};
    uint32_t crc = base::crc32c(block.first(crc_at));
    crc = base::crc32c(kZero, crc);
    return base::crc32c(block.subspan(crc_at + 4), crc);
}
}  // namespace

BlockPtr load_pointer(const std::byte* at) {
    const uint64_t low = load_le<uint64_t>(at);
    const uint64_t high = load_le<uint64_t>(at + 8);
    return {.vbn = low & kMaxVbn,
            .birth = (low >> 48) | ((high & 0xffffffffu) << 16),
            .crc = static_cast<uint32_t>(high >> 32)};
}

void store_pointer(std::byte* at, const BlockPtr& pointer) {
    store_le<uint64_t>(at, pointer.vbn | (pointer.birth << 48));
    store_le<uint64_t>(at + 8, (pointer.birth >> 16 & 0xffffffffu) | (static_cast<uint64_t>(pointer.crc) << 32));
}

std::optional<Location> Location::unpack(uint64_t packed) {
    if ((packed >> 63) == 0) return std::nullopt;
    return Location{.group = static_cast<uint32_t>(packed >> 32 & 0x7fffffffu), .block = static_cast<uint32_t>(packed)};
}

void encode_record_header(const RecordHeader& header, MutableBytes block) {
    UMBRA_CHECK(block.size() == kBlockBytes && header.entries.size() <= kMaxEntries);
    std::memset(block.data(), 0, block.size());
    std::byte* at = block.data();
    store_le<uint32_t>(at, kRecordMagic);
    store_le<uint16_t>(at + 4, kFormatVersion);
    store_le<uint16_t>(at + 6, static_cast<uint16_t>(header.entries.size()));
    store_le<uint64_t>(at + 8, header.array_tag);
    store_le<uint64_t>(at + 16, header.group_id);
    store_le<uint32_t>(at + 24, header.row);
    store_le<uint32_t>(at + 28, header.blocks);
    store_le<uint64_t>(at + 32, header.sequence);
    store_le<uint64_t>(at + 40, header.durable_sequence);
    std::byte* item = at + kRecordFixedBytes;
    for (const Entry& entry : header.entries) {
        item[0] = static_cast<std::byte>(entry.kind);
        item[1] = static_cast<std::byte>(entry.plex);
        store_le<uint16_t>(item + 2, entry.count);
        store_le<uint32_t>(item + 4, entry.crc);
        store_le<uint64_t>(item + 8, entry.volume);
        store_le<uint64_t>(item + 16, entry.lba);
        store_le<uint64_t>(item + 24, entry.vbn);
        store_le<uint64_t>(item + 32, entry.birth);
        item += kEntryBytes;
    }
    store_le<uint32_t>(at + kCrcAt, block_crc(block, kCrcAt));
}

std::optional<RecordHeader> decode_record_header(Bytes block) {
    if (block.size() != kBlockBytes) return std::nullopt;
    const std::byte* at = block.data();
    if (load_le<uint32_t>(at) != kRecordMagic || load_le<uint16_t>(at + 4) != kFormatVersion) return std::nullopt;
    const size_t entries = load_le<uint16_t>(at + 6);
    if (entries > kMaxEntries || load_le<uint32_t>(at + kCrcAt) != block_crc(block, kCrcAt)) return std::nullopt;
    RecordHeader header{.array_tag = load_le<uint64_t>(at + 8),
                        .group_id = load_le<uint64_t>(at + 16),
                        .row = load_le<uint32_t>(at + 24),
                        .blocks = load_le<uint32_t>(at + 28),
                        .sequence = load_le<uint64_t>(at + 32),
                        .durable_sequence = load_le<uint64_t>(at + 40),
                        .entries = {}};
    header.entries.reserve(entries);
    size_t payload = 0;
    const std::byte* item = at + kRecordFixedBytes;
    for (size_t i = 0; i < entries; ++i, item += kEntryBytes) {
        const auto kind = std::to_integer<uint8_t>(item[0]);
        if (kind < 1 || kind > 4) return std::nullopt;
        header.entries.push_back({.kind = static_cast<EntryKind>(kind),
                                  .plex = std::to_integer<uint8_t>(item[1]),
                                  .count = load_le<uint16_t>(item + 2),
                                  .crc = load_le<uint32_t>(item + 4),
                                  .volume = load_le<uint64_t>(item + 8),
                                  .lba = load_le<uint64_t>(item + 16),
                                  .vbn = load_le<uint64_t>(item + 24),
                                  .birth = load_le<uint64_t>(item + 32)});
        if (header.entries.back().has_payload()) ++payload;
    }
    if (payload > kMaxRecordPayload || header.blocks != payload + 1) return std::nullopt;
    return header;
}

}  // namespace umbra::store

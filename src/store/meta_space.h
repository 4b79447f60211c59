// Paged metadata with an atomic commit: docs/format/store.md, "Metadata space".
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <map>
#include <memory>
#include <unordered_map>
#include <vector>

#include "store/drives.h"

namespace umbra::store {

enum class MetaTable : uint8_t { kBlocks = 0, kGroups = 1, kObjects = 2, kUseCounts = 3 };
inline constexpr size_t kDataTables = 4;
inline constexpr uint32_t kMetaCopies = 3;  ///< one more than the greatest tolerance in use, and one to repair from

/// A page in memory. Clean ones are shared and never change; a dirty one belongs to the space until it is written.
struct MetaPage {
    alignas(8) std::array<std::byte, kBlockBytes> bytes{};
};

class MetaSpace {
public:
    /// Free segments of a drive that chunks leave alone as long as two other drives have room.
    std::function<uint32_t(uint32_t)> keep = [](uint32_t) { return 0U; };

    MetaSpace(Drives& drives, size_t cache_pages) : drives_(drives), cache_pages_(cache_pages) {}

    /// Reads the index after opening. Pages that were never written read as zeros.
    Task<Result<void>> load(const Label& label);
    uint64_t pages(MetaTable table) const { return tables_[static_cast<size_t>(table)].entries.size(); }

    /// The page if it is in memory, else null. Valid until the next co_await.
    const MetaPage* peek(MetaTable table, uint64_t page);
    Task<Result<void>> ensure(MetaTable table, uint64_t page);
    /// The page to change; it must be in memory (peek() non-null or beyond the end).
    MetaPage& modify(MetaTable table, uint64_t page);
    /// Overwrites a page without reading it.
    MetaPage& replace(MetaTable table, uint64_t page);
    size_t dirty_pages() const { return dirty_.size(); }

    /// Writes every dirty page to its other slot, moves chunks off lost drives, flushes. The result counts once a label
    /// with store_roots() is committed.
    Task<Result<void>> write_dirty();
    void store_roots(Label& label) const;
    /// Pages of all tables, indexes included: what scrub() counts by.
    uint64_t total_pages() const;
    /// Reads every copy of up to `count` pages from `*at` on, counted through all tables, and rewrites bad ones from
    /// good ones; moves `*at` behind them. The number of pages without any good copy. No checkpoint may run meanwhile.
    Task<Result<size_t>> scrub(uint64_t* at, uint64_t count);

private:
    struct Table {
        std::vector<std::vector<Column>> chunks;
        std::vector<uint64_t> entries;  ///< one a page: crc | slot << 32 | present << 33
    };
    using Key = std::pair<uint8_t, uint64_t>;

    uint32_t pages_per_chunk() const { return drives_.segment_blocks() / 2; }
    Result<void> grow(Table& table, uint64_t page);
    Result<std::vector<Column>> new_chunk();
    Task<Result<void>> heal(Table& table);
    enum class Copies : uint8_t { kFirstGood, kAll };
    Task<Result<void>> read_page(const Table& table, uint64_t page, MutableBytes into,
                                 Copies copies = Copies::kFirstGood);
    Task<Result<void>> write_page(Table& table, uint64_t page, Bytes from);
    Task<Result<void>> flush_all();
    void cache(Key key, std::shared_ptr<MetaPage> page);

    Drives& drives_;
    size_t cache_pages_;
    std::array<Table, kMetaTables> tables_;
    std::map<Key, std::shared_ptr<MetaPage>> dirty_;
    struct Cached {
        std::shared_ptr<MetaPage> page;
        std::list<Key>::iterator position;
    };
    std::map<Key, Cached> clean_;
    std::list<Key> recent_;  ///< most recently used first
};

}  // namespace umbra::store

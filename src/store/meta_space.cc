#include "store/meta_space.h"

#include <algorithm>
#include <set>

#include <fmt/format.h>

#include "base/crc32c.h"

namespace umbra::store {

using base::Code;
using base::fail;

namespace {
constexpr uint64_t kSlotBit = 1ull << 32;
constexpr uint64_t kPresentBit = 1ull << 33;
constexpr size_t kEntriesPerPage = kBlockBytes / 8;
}  // namespace

Task<Result<void>> MetaSpace::load(const Label& label) {
    for (size_t i = 0; i < kMetaTables; ++i) {
        tables_[i].chunks = label.tables[i].chunks;
        tables_[i].entries = label.tables[i].entries;
        for (const auto& chunk : tables_[i].chunks) {
            for (const Column& column : chunk) drives_.take_segment(column);
        }
    }
    for (size_t i = 0; i < kDataTables; ++i) {
        Table& table = tables_[i];
        const Table& index = tables_[i + kDataTables];
        table.entries.assign(label.tables[i].pages, 0);
        base::Buffer buffer(kBlockBytes);
        for (uint64_t page = 0; page < index.entries.size(); ++page) {
            if ((index.entries[page] & kPresentBit) == 0) continue;
            auto done = co_await read_page(index, page, buffer.span());
            if (!done) co_return base::with_context(done.error(), "metadata index");
            for (size_t e = 0; e < kEntriesPerPage && page * kEntriesPerPage + e < table.entries.size(); ++e) {
                table.entries[page * kEntriesPerPage + e] = base::load_le<uint64_t>(buffer.data() + e * 8);
            }
        }
    }
    co_return Result<void>();
}

const MetaPage* MetaSpace::peek(MetaTable table, uint64_t page) {
    const Key key{static_cast<uint8_t>(table), page};
    if (const auto found = dirty_.find(key); found != dirty_.end()) return found->second.get();
    if (const auto found = clean_.find(key); found != clean_.end()) {
        recent_.splice(recent_.begin(), recent_, found->second.position);
        return found->second.page.get();
    }
    const Table& t = tables_[key.first];
    if (page >= t.entries.size() || (t.entries[page] & kPresentBit) == 0) {
        static const MetaPage kZeroPage;
        return &kZeroPage;
    }
    return nullptr;
}

Task<Result<void>> MetaSpace::ensure(MetaTable table, uint64_t page) {
    if (peek(table, page) != nullptr) co_return Result<void>();
    base::Buffer buffer(kBlockBytes);
    auto done = co_await read_page(tables_[static_cast<size_t>(table)], page, buffer.span());
    if (!done) co_return done;
    if (peek(table, page) != nullptr) co_return Result<void>();
    auto loaded = std::make_shared<MetaPage>();
    std::memcpy(loaded->bytes.data(), buffer.data(), kBlockBytes);
    cache({static_cast<uint8_t>(table), page}, std::move(loaded));
    co_return Result<void>();
}

MetaPage& MetaSpace::modify(MetaTable table, uint64_t page) {
    const Key key{static_cast<uint8_t>(table), page};
    if (const auto found = dirty_.find(key); found != dirty_.end()) return *found->second;
    const MetaPage* current = peek(table, page);
    UMBRA_CHECK(current != nullptr);
    auto copy = std::make_shared<MetaPage>(*current);
    if (const auto found = clean_.find(key); found != clean_.end()) {
        recent_.erase(found->second.position);
        clean_.erase(found);
    }
    return *(dirty_[key] = std::move(copy));
}

MetaPage& MetaSpace::replace(MetaTable table, uint64_t page) {
    const Key key{static_cast<uint8_t>(table), page};
    if (const auto found = clean_.find(key); found != clean_.end()) {
        recent_.erase(found->second.position);
        clean_.erase(found);
    }
    return *(dirty_[key] = std::make_shared<MetaPage>());
}

void MetaSpace::cache(Key key, std::shared_ptr<MetaPage> page) {
    recent_.push_front(key);
    clean_[key] = {std::move(page), recent_.begin()};
    while (clean_.size() > cache_pages_) {
        clean_.erase(recent_.back());
        recent_.pop_back();
    }
}

Result<std::vector<Column>> MetaSpace::new_chunk() {
    const auto order = drives_.by_free_space();
    std::vector<Column> chunk;
    for (const bool spare : {true, false}) {
        // Full drives keep what a checkpoint needs; a third copy is not worth that.
        const size_t wanted = spare ? kMetaCopies : std::min<size_t>(kMetaCopies - 1, order.size());
        for (const uint32_t drive : order) {
            if (chunk.size() >= wanted) break;
            const bool taken =
                std::any_of(chunk.begin(), chunk.end(), [&](const Column& c) { return c.drive == drive; });
            if (taken || (spare && drives_.at(drive).free_segments <= keep(drive))) continue;
            if (const auto segment = drives_.allocate_segment(drive))
                chunk.push_back({.drive = drive, .segment = *segment});
        }
    }
    if (chunk.size() < std::min<size_t>(kMetaCopies - 1, order.size()) || chunk.empty()) {
        for (const Column& column : chunk) drives_.release_segment(column);
        return fail(Code::kNoSpace, "no segment is left for metadata");
    }
    return chunk;
}

Result<void> MetaSpace::grow(Table& table, uint64_t page) {
    if (page >= table.entries.size()) table.entries.resize(page + 1, 0);
    while (page / pages_per_chunk() >= table.chunks.size()) {
        UMBRA_ASSIGN(auto chunk, new_chunk());
        table.chunks.push_back(std::move(chunk));
    }
    return {};
}

Task<Result<void>> MetaSpace::read_page(const Table& table, uint64_t page, MutableBytes into, Copies copies) {
    const uint64_t entry = table.entries[page];
    const auto chunk = table.chunks[page / pages_per_chunk()];
    const auto row = static_cast<uint32_t>(page % pages_per_chunk() * 2 + ((entry & kSlotBit) != 0 ? 1 : 0));
    std::vector<Column> bad;
    base::Buffer buffer(kBlockBytes);
    bool found = false;
    for (const Column& column : chunk) {
        if (!drives_.online(column.drive)) continue;
        std::vector<MutableBytes> spans{buffer.span()};
        const auto done = co_await drives_.read(column.drive, drives_.offset_of(column, row), std::move(spans));
        const bool good = done && base::crc32c(buffer.span()) == static_cast<uint32_t>(entry);
        if (!good) {
            if (done) ++drives_.at(column.drive).checksum_errors;
            bad.push_back(column);
            continue;
        }
        std::memcpy(into.data(), buffer.data(), kBlockBytes);
        found = true;
        if (copies == Copies::kFirstGood) break;
    }
    if (!found)
        co_return fail(Code::kMediaError, fmt::format("no good copy of a metadata page ({} copies tried)", bad.size()));
    for (const Column& other : bad) {  // identical bytes: a repair, not a change
        (void)co_await drives_.repair(other.drive, drives_.offset_of(other, row), into);
    }
    co_return Result<void>();
}

uint64_t MetaSpace::total_pages() const {
    uint64_t pages = 0;
    for (const Table& table : tables_) pages += table.entries.size();
    return pages;
}

Task<Result<size_t>> MetaSpace::scrub(uint64_t* at, uint64_t count) {
    size_t lost = 0;
    base::Buffer buffer(kBlockBytes);
    uint64_t before = 0;
    const uint64_t end = *at + count;
    for (const Table& table : tables_) {
        for (; *at < std::min(before + table.entries.size(), end); ++*at) {
            const uint64_t page = *at - before;
            if ((table.entries[page] & kPresentBit) == 0) continue;
            const auto read = co_await read_page(table, page, buffer.span(), Copies::kAll);
            if (read) continue;
            if (read.error().code != Code::kMediaError) co_return std::unexpected(read.error());
            ++lost;
        }
        before += table.entries.size();
    }
    *at = end;
    co_return lost;
}

Task<Result<void>> MetaSpace::write_page(Table& table, uint64_t page, Bytes from) {
    uint64_t& entry = table.entries[page];
    const uint64_t slot = (entry & kPresentBit) != 0 ? (entry & kSlotBit) ^ kSlotBit : 0;
    const auto chunk = table.chunks[page / pages_per_chunk()];
    const auto row = static_cast<uint32_t>(page % pages_per_chunk() * 2 + (slot != 0 ? 1 : 0));
    size_t written = 0;
    for (const Column& column : chunk) {
        std::vector<Bytes> spans{from};
        const auto done = co_await drives_.write(column.drive, drives_.offset_of(column, row), std::move(spans));
        if (done) ++written;
    }
    if (written == 0) co_return fail(Code::kDeviceFailed, "every drive with this metadata page is out of use");
    table.entries[page] = base::crc32c(from) | slot | kPresentBit;
    co_return Result<void>();
}

Task<Result<void>> MetaSpace::heal(Table& table) {
    for (size_t c = 0; c < table.chunks.size(); ++c) {
        for (size_t i = 0; i < table.chunks[c].size(); ++i) {
            if (drives_.online(table.chunks[c][i].drive)) continue;
            std::optional<Column> fresh;
            for (const uint32_t drive : drives_.by_free_space()) {
                const bool taken = std::any_of(table.chunks[c].begin(), table.chunks[c].end(),
                                               [&](const Column& column) { return column.drive == drive; });
                if (taken || drives_.at(drive).free_segments <= keep(drive)) continue;
                if (const auto segment = drives_.allocate_segment(drive))
                    fresh = Column{.drive = drive, .segment = *segment};
                break;
            }
            if (!fresh) continue;
            base::Buffer buffer(kBlockBytes);
            bool copied = true;
            for (uint64_t page = c * pages_per_chunk();
                 page < std::min<uint64_t>((c + 1) * pages_per_chunk(), table.entries.size()); ++page) {
                const uint64_t entry = table.entries[page];
                if ((entry & kPresentBit) == 0) continue;
                auto done = co_await read_page(table, page, buffer.span());
                if (!done) co_return done;
                const auto row =
                    static_cast<uint32_t>(page % pages_per_chunk() * 2 + ((entry & kSlotBit) != 0 ? 1 : 0));
                std::vector<Bytes> spans{std::as_const(buffer).span()};
                done = co_await drives_.write(fresh->drive, drives_.offset_of(*fresh, row), std::move(spans));
                if (!done) {
                    copied = false;
                    break;
                }
            }
            if (!copied) {
                drives_.release_segment(*fresh);
                continue;
            }
            table.chunks[c][i] = *fresh;  // the lost drive's segment is gone with it
        }
    }
    co_return Result<void>();
}

Task<Result<void>> MetaSpace::write_dirty() {
    std::set<std::pair<size_t, uint64_t>> index_pages;
    for (Table& table : tables_) UMBRA_CO_TRY(co_await heal(table));
    std::vector<Key> keys;
    for (const auto& [key, page] : dirty_) keys.push_back(key);
    base::Buffer buffer(kBlockBytes);
    for (const Key& key : keys) {
        Table& table = tables_[key.first];
        UMBRA_CO_TRY(grow(table, key.second));
        std::memcpy(buffer.data(), dirty_[key]->bytes.data(), kBlockBytes);
        UMBRA_CO_TRY(co_await write_page(table, key.second, buffer.span()));
        index_pages.emplace(key.first, key.second / kEntriesPerPage);
    }
    for (const auto& [data_table, page] : index_pages) {
        const Table& table = tables_[data_table];
        Table& index = tables_[data_table + kDataTables];
        UMBRA_CO_TRY(grow(index, page));
        std::memset(buffer.data(), 0, kBlockBytes);
        for (size_t e = 0; e < kEntriesPerPage && page * kEntriesPerPage + e < table.entries.size(); ++e) {
            base::store_le<uint64_t>(buffer.data() + e * 8, table.entries[page * kEntriesPerPage + e]);
        }
        UMBRA_CO_TRY(co_await write_page(index, page, buffer.span()));
    }
    for (const Key& key : keys) {
        auto page = std::move(dirty_[key]);
        dirty_.erase(key);
        cache(key, std::move(page));
    }
    auto flushed = co_await flush_all();
    co_return flushed;
}

Task<Result<void>> MetaSpace::flush_all() {
    for (uint32_t drive = 0; drive < drives_.size(); ++drive) {
        if (drives_.online(drive)) (void)co_await drives_.flush(drive);
    }
    if (drives_.online_count() == 0) co_return fail(Code::kDeviceFailed, "no drive is left");
    co_return Result<void>();
}

void MetaSpace::store_roots(Label& label) const {
    for (size_t i = 0; i < kMetaTables; ++i) {
        label.tables[i].chunks = tables_[i].chunks;
        label.tables[i].pages = tables_[i].entries.size();
        label.tables[i].entries = i < kDataTables ? std::vector<uint64_t>{} : tables_[i].entries;
    }
}

}  // namespace umbra::store

#include "store/block_table.h"

#include <algorithm>
#include <map>

namespace umbra::store {

namespace {
constexpr size_t kCountsPerPage = kBlockBytes / 2;
constexpr uint16_t kReuseBelow = 384;  // a page with fewer numbers in use is worth filling up again
}  // namespace

Task<Result<void>> BlockTable::load() {
    const uint64_t pages = meta_.pages(MetaTable::kUseCounts);
    use_counts_.assign(meta_.pages(MetaTable::kBlocks), 0);
    for (uint64_t page = 0; page < pages; ++page) {
        UMBRA_CO_TRY(co_await meta_.ensure(MetaTable::kUseCounts, page));
        const MetaPage* bytes = meta_.peek(MetaTable::kUseCounts, page);
        for (size_t i = 0; i < kCountsPerPage && page * kCountsPerPage + i < use_counts_.size(); ++i) {
            use_counts_[page * kCountsPerPage + i] = base::load_le<uint16_t>(bytes->bytes.data() + i * 2);
        }
    }
    co_return Result<void>();
}

Task<Result<void>> BlockTable::refill(size_t count) {
    while (free_.size() < count) {
        std::optional<uint64_t> page;
        for (uint64_t tried = 0; tried < use_counts_.size() && !page; ++tried) {
            cursor_ = (cursor_ + 1) % use_counts_.size();
            if (use_counts_[cursor_] < kReuseBelow && !taken_.contains(cursor_)) page = cursor_;
        }
        if (!page) {
            page = use_counts_.size();
            use_counts_.push_back(0);
        }
        taken_.insert(*page);
        UMBRA_CO_TRY(co_await meta_.ensure(MetaTable::kBlocks, *page));
        const MetaPage* bytes = meta_.peek(MetaTable::kBlocks, *page);
        // Lowest number last, so that numbers are handed out in ascending order.
        std::vector<uint64_t> found;
        for (size_t i = kEntriesPerPage; i-- > 0;) {
            const uint64_t vbn = *page * kEntriesPerPage + i;
            const bool unused = base::load_le<uint64_t>(bytes->bytes.data() + i * 8) == 0;
            if (vbn != 0 && unused && !fresh_.contains(vbn)) found.push_back(vbn);
        }
        free_.insert(free_.begin(), found.begin(), found.end());
    }
    co_return Result<void>();
}

uint64_t BlockTable::allocate() {
    UMBRA_CHECK(!free_.empty());
    const uint64_t vbn = free_.back();
    free_.pop_back();
    return vbn;
}

std::optional<Location> BlockTable::find_fresh(uint64_t vbn) const {
    const auto found = fresh_.find(vbn);
    if (found == fresh_.end()) return std::nullopt;
    return found->second;
}

Task<Result<std::optional<Location>>> BlockTable::find(uint64_t vbn) {
    if (const auto fresh = find_fresh(vbn)) co_return fresh;
    const uint64_t page = vbn / kEntriesPerPage;
    for (;;) {
        if (const MetaPage* bytes = meta_.peek(MetaTable::kBlocks, page)) {
            if (const auto fresh = find_fresh(vbn)) co_return fresh;
            co_return Location::unpack(base::load_le<uint64_t>(bytes->bytes.data() + vbn % kEntriesPerPage * 8));
        }
        UMBRA_CO_TRY(co_await meta_.ensure(MetaTable::kBlocks, page));
    }
}

void BlockTable::count(uint64_t page, int delta) {
    if (page >= use_counts_.size()) use_counts_.resize(page + 1, 0);
    use_counts_[page] = static_cast<uint16_t>(use_counts_[page] + delta);
    UMBRA_CHECK(use_counts_[page] <= kEntriesPerPage);
}

Task<Result<void>> BlockTable::apply() {
    // Sorted: pages are loaded once each, and the order does not depend on hashing.
    std::map<uint64_t, Location> fresh(fresh_.begin(), fresh_.end());
    std::sort(freed_.begin(), freed_.end());
    std::set<uint64_t> count_pages;
    for (const auto& [vbn, location] : fresh) {
        const uint64_t page = vbn / kEntriesPerPage;
        UMBRA_CO_TRY(co_await meta_.ensure(MetaTable::kBlocks, page));
        std::byte* at = meta_.modify(MetaTable::kBlocks, page).bytes.data() + vbn % kEntriesPerPage * 8;
        if (const auto old = Location::unpack(base::load_le<uint64_t>(at))) {
            UMBRA_CHECK(groups_.at(old->group).live > 0);
            --groups_.at(old->group).live;
            groups_.touch(old->group);
        } else {
            count(page, 1);
            count_pages.insert(page / kCountsPerPage);
        }
        base::store_le<uint64_t>(at, location.pack());
        ++groups_.at(location.group).live;
        groups_.touch(location.group);
    }
    for (const uint64_t vbn : freed_) {
        const uint64_t page = vbn / kEntriesPerPage;
        UMBRA_CO_TRY(co_await meta_.ensure(MetaTable::kBlocks, page));
        std::byte* at = meta_.modify(MetaTable::kBlocks, page).bytes.data() + vbn % kEntriesPerPage * 8;
        const auto old = Location::unpack(base::load_le<uint64_t>(at));
        UMBRA_CHECK(old.has_value());
        --groups_.at(old->group).live;
        groups_.touch(old->group);
        base::store_le<uint64_t>(at, 0);
        count(page, -1);
        count_pages.insert(page / kCountsPerPage);
    }
    for (const uint64_t page : count_pages) {
        MetaPage& bytes = meta_.replace(MetaTable::kUseCounts, page);
        for (size_t i = 0; i < kCountsPerPage && page * kCountsPerPage + i < use_counts_.size(); ++i) {
            base::store_le<uint16_t>(bytes.bytes.data() + i * 2, use_counts_[page * kCountsPerPage + i]);
        }
    }
    fresh_.clear();
    freed_.clear();
    co_return Result<void>();
}

void BlockTable::committed() {
    std::set<uint64_t> kept;
    for (const uint64_t vbn : free_) kept.insert(vbn / kEntriesPerPage);
    taken_ = std::move(kept);
}

Task<Result<void>> BlockTable::sweep_page(uint64_t page, const std::set<uint32_t>& lost_groups) {
    UMBRA_CO_TRY(co_await meta_.ensure(MetaTable::kBlocks, page));
    const MetaPage* bytes = meta_.peek(MetaTable::kBlocks, page);
    for (size_t i = 0; i < kEntriesPerPage; ++i) {
        const auto location = Location::unpack(base::load_le<uint64_t>(bytes->bytes.data() + i * 8));
        if (location && lost_groups.contains(location->group)) freed_.push_back(page * kEntriesPerPage + i);
    }
    co_return Result<void>();
}

}  // namespace umbra::store

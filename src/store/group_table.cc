#include "store/group_table.h"

#include <algorithm>

#include <fmt/format.h>

namespace umbra::store {

namespace {

using base::load_le;
using base::store_le;

constexpr size_t kGroupBytes = 256;
constexpr size_t kGroupsPerPage = kBlockBytes / kGroupBytes;
constexpr size_t kColumnsAt = 40;
static_assert(kColumnsAt + kMaxColumns * 8 <= kGroupBytes);

void encode_group(const Group& group, std::byte* at) {
    std::memset(at, 0, kGroupBytes);
    if (group.id == 0) return;
    store_le<uint64_t>(at, group.id);
    store_le<uint64_t>(at + 8, group.stream);
    store_le<uint32_t>(at + 16, group.rows_used);
    store_le<uint32_t>(at + 20, group.live);
    at[24] = static_cast<std::byte>(group.k);
    at[25] = static_cast<std::byte>(group.m);
    at[26] = static_cast<std::byte>(group.open ? 1 : 0);
    for (size_t i = 0; i < group.columns.size(); ++i) {
        store_le<uint32_t>(at + kColumnsAt + i * 8, group.columns[i].drive);
        store_le<uint32_t>(at + kColumnsAt + i * 8 + 4, group.columns[i].segment);
    }
}

Result<Group> decode_group(const std::byte* at, size_t drives) {
    Group group;
    group.id = load_le<uint64_t>(at);
    if (group.id == 0) return group;
    group.stream = load_le<uint64_t>(at + 8);
    group.rows_used = load_le<uint32_t>(at + 16);
    group.live = load_le<uint32_t>(at + 20);
    group.k = std::to_integer<uint8_t>(at[24]);
    group.m = std::to_integer<uint8_t>(at[25]);
    group.open = at[26] != std::byte{0};
    if (group.k == 0 || group.m > 1 || group.k + group.m > static_cast<int>(kMaxColumns)) {
        return base::fail(base::Code::kCorrupt, "group with impossible columns");
    }
    for (size_t i = 0; i < static_cast<size_t>(group.k) + group.m; ++i) {
        group.columns.push_back(
            {load_le<uint32_t>(at + kColumnsAt + i * 8), load_le<uint32_t>(at + kColumnsAt + i * 8 + 4)});
        if (group.columns.back().drive >= drives) return base::fail(base::Code::kCorrupt, "group on an unknown drive");
    }
    return group;
}

}  // namespace

Task<Result<void>> GroupTable::load() {
    const uint64_t pages = meta_.pages(MetaTable::kGroups);
    for (uint64_t page = 0; page < pages; ++page) {
        UMBRA_CO_TRY(co_await meta_.ensure(MetaTable::kGroups, page));
        const MetaPage* bytes = meta_.peek(MetaTable::kGroups, page);
        for (size_t i = 0; i < kGroupsPerPage; ++i) {
            UMBRA_CO_ASSIGN(auto group, decode_group(bytes->bytes.data() + i * kGroupBytes, drives_.size()));
            const auto slot = static_cast<uint32_t>(groups_.size());
            if (group.id == 0) {
                free_slots_.push_back(slot);
            } else {
                for (const Column& column : group.columns) {
                    if (column.segment != kNoSegment) drives_.take_segment(column);
                }
            }
            groups_.push_back(std::move(group));
        }
    }
    std::reverse(free_slots_.begin(), free_slots_.end());
    co_return Result<void>();
}

uint32_t GroupTable::insert(Group group) {
    uint32_t slot = static_cast<uint32_t>(groups_.size());
    if (!free_slots_.empty()) {
        slot = free_slots_.back();
        free_slots_.pop_back();
        groups_[slot] = std::move(group);
    } else {
        groups_.push_back(std::move(group));
    }
    touch(slot);
    return slot;
}

Result<void> GroupTable::insert_at(uint32_t slot, Group group) {
    while (groups_.size() <= slot) {
        free_slots_.push_back(static_cast<uint32_t>(groups_.size()));
        groups_.emplace_back();
    }
    if (groups_[slot].id != 0)
        return base::fail(base::Code::kCorrupt, fmt::format("the log opens group slot {} twice", slot));
    std::erase(free_slots_, slot);
    for (const Column& column : group.columns) {
        if (column.segment != kNoSegment) drives_.take_segment(column);
    }
    groups_[slot] = std::move(group);
    touch(slot);
    return {};
}

void GroupTable::mark_dying(uint32_t slot) {
    UMBRA_CHECK(groups_[slot].id != 0 && !groups_[slot].open);
    groups_[slot].dying = true;
    touch(slot);
}

void GroupTable::free(uint32_t slot) {
    UMBRA_CHECK(groups_[slot].dying);
    groups_[slot].gone = true;
    if (groups_[slot].pins == 0) release(slot);
}

void GroupTable::unpin(uint32_t slot) {
    UMBRA_CHECK(groups_[slot].pins > 0);
    if (--groups_[slot].pins == 0 && groups_[slot].gone) release(slot);
}

void GroupTable::release(uint32_t slot) {
    for (const Column& column : groups_[slot].columns) {
        if (column.segment != kNoSegment) drives_.release_segment(column);
    }
    groups_[slot] = Group{};
    free_slots_.push_back(slot);
    touch(slot);
}

void GroupTable::set_column(uint32_t slot, size_t column, Column to) {
    groups_[slot].columns[column] = to;
    touch(slot);
}

size_t GroupTable::lost_columns(const Group& group) const {
    return static_cast<size_t>(
        std::count_if(group.columns.begin(), group.columns.end(), [&](const Column& c) { return !usable(c); }));
}

Task<Result<void>> GroupTable::persist() {
    const auto dirty = std::exchange(dirty_, {});
    for (const uint32_t slot : dirty) {
        const uint64_t page = slot / kGroupsPerPage;
        UMBRA_CO_TRY(co_await meta_.ensure(MetaTable::kGroups, page));
        MetaPage& bytes = meta_.modify(MetaTable::kGroups, page);
        const Group& group = groups_[slot];
        // A dying group is gone as far as the disk is concerned.
        encode_group(group.dying ? Group{} : group, bytes.bytes.data() + slot % kGroupsPerPage * kGroupBytes);
    }
    co_return Result<void>();
}

}  // namespace umbra::store

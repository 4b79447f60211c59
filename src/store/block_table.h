// Virtual block numbers: where each one is, which are free.
#pragma once

#include <optional>
#include <set>
#include <unordered_map>
#include <vector>

#include "store/group_table.h"

namespace umbra::store {

class BlockTable {
public:
    BlockTable(MetaSpace& meta, GroupTable& groups) : meta_(meta), groups_(groups) {}

    Task<Result<void>> load();

    /// True when allocate() may be called `count` times without a refill.
    bool has_free(size_t count) const { return free_.size() >= count; }
    Task<Result<void>> refill(size_t count);
    uint64_t allocate();

    /// New since the last checkpoint, or moved.
    void set(uint64_t vbn, Location location) { fresh_[vbn] = location; }
    std::optional<Location> find_fresh(uint64_t vbn) const;
    /// nullopt: the number is not in use.
    Task<Result<std::optional<Location>>> find(uint64_t vbn);
    /// Takes effect at the next checkpoint.
    void free(uint64_t vbn) { freed_.push_back(vbn); }
    size_t changes() const { return fresh_.size() + freed_.size(); }

    /// Moves fresh_ and freed_ into pages and the groups' live counts. Called by the checkpoint, nothing else running.
    Task<Result<void>> apply();
    /// The checkpoint is durable: freed numbers may be used again.
    void committed();
    /// Frees every number whose block lies in a group for which `lost` is true, page `page` only.
    Task<Result<void>> sweep_page(uint64_t page, const std::set<uint32_t>& lost_groups);
    uint64_t pages() const { return use_counts_.size(); }

private:
    static constexpr size_t kEntriesPerPage = kBlockBytes / 8;
    void count(uint64_t page, int delta);

    MetaSpace& meta_;
    GroupTable& groups_;
    std::unordered_map<uint64_t, Location> fresh_;
    std::vector<uint64_t> freed_;
    std::vector<uint64_t> free_;  ///< allocatable numbers, used from the back
    std::set<uint64_t> taken_;    ///< pages whose free numbers are in free_, or were since the last checkpoint
    std::vector<uint16_t> use_counts_;
    uint64_t cursor_ = 0;
};

}  // namespace umbra::store

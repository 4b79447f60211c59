// A volume as the engine keeps it. docs/decisions/0002-maps-and-lineages.md tells why.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <vector>

#include "base/guid.h"
#include "env/sync.h"
#include "lun/backend.h"
#include "store/format.h"

namespace umbra::lun {

using store::BlockPtr;

/// A map page that differs from what is on the drives. Shared by a head and the snapshots taken of it since: whoever
/// changes a shared one copies it first.
struct DirtyPage {
    std::array<std::byte, store::kBlockBytes> bytes{};
    std::map<uint8_t, std::shared_ptr<DirtyPage>> kids;
    uint64_t birth = 0;  ///< newest change in it
    bool written = false;
    BlockPtr self;  ///< once written
};

struct Root {
    BlockPtr disk;                     ///< hole: empty map
    std::shared_ptr<DirtyPage> dirty;  ///< when set, it rules
};

/// Blocks that the parent refers to and this volume does not any more, with births up to the parent's snapshot.
struct DeadList {
    std::vector<BlockPtr> tail;     ///< since the last checkpoint
    std::vector<BlockPtr> chains;   ///< pages on the drives, each the newest of a chain
    std::vector<BlockPtr> merging;  ///< chains still to be sorted out for the parent's removal
    bool merge_begun = false;
};

struct Plex {
    base::Guid id;
    uint64_t stream = 0;
    Root root;
    DeadList dead;
    std::vector<std::shared_ptr<DirtyPage>>
        replaced;           ///< shared pages that the head copied: dead once they are written
    bool building = false;  ///< being copied from another plex; never read
    bool lost = false;      ///< nothing of it can be trusted any more

    /// Lost, with all that it knew.
    void forget() {
        building = false;
        lost = true;
        root = {};
        replaced.clear();
        dead = {};
    }
};

/// Byte-range exclusion between calls on one volume, in units of blocks.
class RangeLock {
public:
    explicit RangeLock(env::Executor& executor) : freed_(executor) {}
    class [[nodiscard]] Guard {
    public:
        Guard(RangeLock* lock, uint64_t id) : lock_(lock), id_(id) {}
        Guard(Guard&& other) noexcept : lock_(std::exchange(other.lock_, nullptr)), id_(other.id_) {}
        Guard& operator=(Guard&&) = delete;
        ~Guard() {
            if (lock_ != nullptr) lock_->release(id_);
        }

    private:
        RangeLock* lock_;
        uint64_t id_;
    };
    Task<Guard> lock(uint64_t first, uint64_t count) {
        const uint64_t id = next_++;
        held_.emplace(id, Range{first, first + count});
        while (conflicts(id)) co_await freed_.wait();
        co_return Guard(this, id);
    }

private:
    struct Range {
        uint64_t first;
        uint64_t end;
    };
    /// Earlier ones go first: nobody starves.
    bool conflicts(uint64_t id) const {
        const Range mine = held_.at(id);
        for (const auto& [other, range] : held_) {
            if (other >= id) return false;
            if (range.first < mine.end && mine.first < range.end) return true;
        }
        return false;
    }
    void release(uint64_t id) {
        held_.erase(id);
        freed_.wake_all();
    }
    std::map<uint64_t, Range> held_;
    uint64_t next_ = 1;
    env::Event freed_;
};

struct Node {
    uint64_t id = 0;
    uint64_t parent = 0;      ///< the snapshot whose blocks it shares; 0: none
    bool head = false;        ///< writable
    bool deleting = false;    ///< unknown to callers; goes when at most one child is left
    bool temporary = false;   ///< a copy under way: removed at opening
    uint64_t snap_birth = 0;  ///< snapshots: everything in it is of this birth or older
    uint64_t size_bytes = 0;
    LunType type = LunType::kSimple;
    uint8_t width = 1;
    uint8_t levels = 1;  ///< of the map
    uint64_t mapped_blocks = 0;
    uint64_t reclaim_cursor = 0;  ///< leaves below this LBA are freed already
    uint8_t reclaim_plex = 0;
    std::vector<Plex> plexes;

    std::shared_ptr<RangeLock> ranges;  ///< memory only
    uint64_t recovering = 0;  ///< number of the recovery that works on its lineage; copies inherit it; memory only

    uint64_t blocks() const { return size_bytes / store::kBlockBytes; }
};

}  // namespace umbra::lun

// Groups: which segments make up which stretch of log, and how many of their blocks are in use.
#pragma once

#include <deque>
#include <vector>

#include "store/meta_space.h"

namespace umbra::store {

inline constexpr uint32_t kNoSegment = UINT32_MAX;  ///< a column that was never written: its drive had failed before

struct Group {
    uint64_t id = 0;  ///< 0: the slot is free
    uint64_t stream = 0;
    uint8_t k = 0;
    uint8_t m = 0;
    bool open = false;            ///< still appended to
    uint32_t rows_used = 0;       ///< valid once sealed
    uint32_t live = 0;            ///< blocks that the block table refers to, as of the last checkpoint's frees
    std::vector<Column> columns;  ///< data columns first, then parity

    uint64_t sealed_at = 0;    ///< checkpoint that was current when it was sealed; memory only
    uint32_t pins = 0;         ///< reads and moves under way; memory only
    bool dying = false;        ///< freed by the checkpoint being written; memory only
    bool gone = false;         ///< that checkpoint is durable, only pins hold the segments; memory only
    bool uncleanable = false;  ///< a header in it cannot be read: its blocks cannot be listed; memory only
};

class GroupTable {
public:
    GroupTable(Drives& drives, MetaSpace& meta) : drives_(drives), meta_(meta) {}

    Task<Result<void>> load();
    size_t size() const { return groups_.size(); }
    Group& at(uint32_t slot) { return groups_[slot]; }
    const Group& at(uint32_t slot) const { return groups_[slot]; }
    bool in_use(uint32_t slot) const { return slot < groups_.size() && groups_[slot].id != 0 && !groups_[slot].dying; }
    /// A slot for a new group; its segments are already taken.
    uint32_t insert(Group group);
    /// During replay: the slot that the log names. Takes the segments.
    Result<void> insert_at(uint32_t slot, Group group);
    void touch(uint32_t slot) { dirty_.push_back(slot); }
    /// The checkpoint being written no longer knows the group.
    void mark_dying(uint32_t slot);
    /// That checkpoint is durable: the segments come back as soon as nothing reads them.
    void free(uint32_t slot);
    void pin(uint32_t slot) { ++groups_[slot].pins; }
    void unpin(uint32_t slot);
    /// A column moved to another segment.
    void set_column(uint32_t slot, size_t column, Column to);

    uint32_t rows() const { return drives_.segment_blocks(); }
    uint32_t capacity(const Group& group) const { return rows() * group.k; }
    /// Column and row of a block.
    Column column_of(const Group& group, uint32_t block) const { return group.columns[block % group.k]; }
    bool usable(const Column& column) const { return column.segment != kNoSegment && drives_.online(column.drive); }
    size_t lost_columns(const Group& group) const;

    /// Copies changed entries into the metadata space.
    Task<Result<void>> persist();

private:
    void release(uint32_t slot);
    Drives& drives_;
    MetaSpace& meta_;
    std::deque<Group> groups_;  // stable references
    std::vector<uint32_t> free_slots_;
    std::vector<uint32_t> dirty_;
};

}  // namespace umbra::store

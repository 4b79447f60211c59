// A log of one plex: blocks and map changes appended to groups on a fixed set of drives.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "env/sync.h"
#include "store/array_log.h"
#include "store/block_table.h"

namespace umbra::store {

/// What streams share. All references outlive the streams.
struct StreamContext {
    env::Executor& executor;
    Drives& drives;
    GroupTable& groups;
    BlockTable& blocks;
    ArrayLog& log;
    uint64_t& next_group_id;
    uint64_t& birth;
    uint64_t& checkpoint;                               ///< number of the last committed one
    std::function<uint32_t(uint32_t)> checkpoint_need;  ///< Store::checkpoint_need
};

struct StreamState {
    uint64_t id = 0;
    uint8_t k = 1;
    uint8_t m = 0;
    std::vector<uint32_t> drives;  ///< k + m of them
    uint64_t next_sequence = 1;
    std::optional<uint32_t> open_group;
    uint32_t next_row = 0;
};

enum class Priority : uint8_t {
    kHost,        ///< leaves room for what follows
    kBackground,  ///< recovery, unmapping: leaves room for a checkpoint
    kCleaner,     ///< leaves the least: the next checkpoint gives back more than it took
    kCheckpoint,
};

enum class Room : uint8_t {
    kReady,
    kWait,     ///< too many records are being written: await Stream::progress()
    kNoSpace,  ///< no free segments: a checkpoint or the cleaner may help
    kLost,     ///< more drives of the stream failed than it bears
};

class Stream {
public:
    Stream(StreamContext context, StreamState state);
    ~Stream();

    uint64_t id() const { return state_.id; }
    const StreamState& state() const { return state_; }
    /// Number of drives out of use, now, among the stream's own.
    size_t failed_drives() const;
    /// Data was lost: more drives failed than the stream bears, or flushed records are gone.
    bool lost() const { return lost_ || failed_drives() > state_.m; }
    void set_lost() { lost_ = true; }
    bool marked_lost() const { return lost_; }

    /// Makes sure that `payload` blocks in `entries` entries fit into one record. kReady holds until the next co_await.
    Room make_room(size_t entries, size_t payload, Priority priority);
    auto progress() { return progress_.wait(); }
    /// Appends one entry; needs room. For entries with payload, allocates the vbn unless it is a move, copies the block
    /// and makes it readable. Returns the pointer (vbn, birth, CRC).
    BlockPtr append(Entry entry, Bytes block);
    /// Closes the record being built and starts writing it.
    void seal();
    /// Closes the group too: the next record begins a new one.
    void close_group();
    /// After replay: the group may hold records beyond what the checkpoint knew, all of it counts as used.
    void abandon_group();
    /// Everything appended before the call survives a crash afterwards. kBusy: a checkpoint must do it.
    Task<Result<void>> flush();
    /// Waits until every sealed record has been written (not flushed).
    Task<void> drain();
    /// The block when it is not on its drives yet.
    const std::byte* in_memory(Location location) const;
    bool has_unwritten() const { return current_ != nullptr || !in_flight_.empty(); }

    /// Substitutes a drive of the stream; groups that are closed keep their columns.
    void replace_drive(uint32_t from, uint32_t to);
    /// After replay: the log goes on behind what was found, in a new group.
    void restart_after(uint64_t last_sequence) { state_.next_sequence = last_sequence + 1; }
    std::vector<uint32_t> live_drives() const;
    /// A checkpoint made everything appended so far durable.
    void mark_durable() { durable_sequence_ = state_.next_sequence - 1; }

private:
    struct Record {
        uint32_t group = 0;
        uint32_t row = 0;
        uint64_t sequence = 0;
        RecordHeader header;
        base::Buffer data;  ///< header block, then payload
        uint32_t blocks = 1;
        bool written = false;
    };

    bool open_group(Priority priority);
    /// Free segments of a drive that a group opened for `priority` must leave.
    uint32_t reserve(uint32_t drive, Priority priority) const;
    uint32_t rows_left() const;
    size_t record_capacity() const;  ///< payload blocks of a record that would begin now
    void begin_record();
    Task<void> write_record(std::shared_ptr<Record> record);

    StreamContext context_;
    StreamState state_;
    bool lost_ = false;
    std::shared_ptr<Record> current_;
    std::map<uint64_t, std::shared_ptr<Record>> in_flight_;  // by sequence
    env::Event progress_;
    env::TaskGroup writes_;
    uint64_t durable_sequence_ = 0;
    uint64_t group_op_ = 0;  ///< array log number of the newest group's opening
    bool flushing_ = false;
};

}  // namespace umbra::store

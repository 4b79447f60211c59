// Drives -> redundant, checksummed, log-structured space: docs/format/store.md. Single executor.
#pragma once

#include <map>
#include <memory>
#include <set>

#include "store/array_log.h"
#include "store/block_table.h"
#include "store/drives.h"
#include "store/group_image.h"
#include "store/group_table.h"
#include "store/meta_space.h"
#include "store/stream.h"

namespace umbra::store {

struct StoreOptions {
    size_t meta_cache_pages = 16384;                                     ///< 64 MiB
    std::function<size_t()> unwritten_pages = [] { return size_t{0}; };  ///< map pages that a checkpoint now writes
    EventFunction event = [](const std::string&, const std::string&, std::optional<uint32_t>) {};
};

struct ReadItem {
    BlockPtr pointer;
    MutableBytes into;
    bool ok = false;
};

class Store {
public:
    Store(env::Environment& environment, StoreOptions options);
    ~Store();

    env::Environment environment;
    StoreOptions options;
    Drives drives;
    MetaSpace meta;
    GroupTable groups;
    BlockTable blocks;
    ArrayLog log;
    uint64_t birth = 0;
    uint64_t next_group_id = 1;
    uint64_t next_stream_id = 1;
    uint64_t checkpoint = 0;
    /// Grows when a checkpoint has been committed: what was freed may be overwritten from then on.
    uint64_t commits = 0;

    Stream& add_stream(StreamState state);
    Stream* stream(uint64_t id);
    /// For whoever waits on the stream while it may be retired.
    std::shared_ptr<Stream> hold_stream(uint64_t id);
    std::map<uint64_t, std::shared_ptr<Stream>>& streams() { return streams_; }
    /// Free segments of a drive that a checkpoint now may need.
    uint32_t checkpoint_need(uint32_t drive) const;

    /// Reads blocks whose pointers were looked up when `commits` was `epoch`. Each item's `ok` tells whether its bytes
    /// have the right checksum, as read or reconstructed. kBusy: a checkpoint came between, look the pointers up again.
    Task<Result<void>> read(std::vector<ReadItem*> items, uint64_t epoch);
    /// Rewrites a bad copy with the right bytes, in place. Best effort.
    Task<void> rewrite(BlockPtr pointer, Bytes good, uint64_t epoch);

    /// Makes everything that is in memory durable: blocks, tables and `objects`. The caller has stopped all changes and
    /// has written its pages. Returns the number of groups that came free.
    Task<Result<size_t>> commit(std::vector<std::byte> objects);
    Task<Result<std::vector<std::byte>>> load_objects();

    /// The sealed group that frees most when cleaned, if any is worth it.
    std::optional<uint32_t> cleaning_victim(bool desperate) const;
    /// Copies the live blocks of a group to the end of its stream's log. The caller keeps checkpoints away meanwhile.
    Task<Result<size_t>> clean(uint32_t slot);
    /// Re-creates the columns of `slot` that lie on `from` in free space of `to`.
    Task<Result<void>> rebuild_column(uint32_t slot, uint32_t from, uint32_t to);
    /// Checks every record of a sealed group and repairs what parity allows. Returns the number of blocks beyond
    /// repair.
    Task<Result<size_t>> scrub_group(uint32_t slot);

    /// Frees all blocks of a stream whose maps cannot be walked, and its groups with them at the next checkpoint.
    Task<Result<void>> sweep(uint64_t stream);

private:
    Task<Result<void>> read_slow(ReadItem* item, uint64_t epoch);
    Task<Result<bool>> reconstruct(Location location, BlockPtr pointer, MutableBytes into);

    std::map<uint64_t, std::shared_ptr<Stream>> streams_;
};

}  // namespace umbra::store

// The array's own back end: volumes over the log-structured store. docs/format/store.md has the formats,
// docs/decisions/0002-maps-and-lineages.md the reasons.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <set>

#include "lun/backend.h"
#include "lun/node.h"
#include "lun/page_cache.h"
#include "store/store.h"

namespace umbra::lun {

struct DriveSpec {
    std::string name;
    std::string path;
    std::unique_ptr<env::BlockDevice> device;
};

struct EngineOptions {
    uint32_t segment_bytes = 0;            ///< at format; 0: by the largest drive
    size_t map_cache_pages = 16384;        ///< 64 MiB
    size_t meta_cache_pages = 16384;       ///< 64 MiB
    size_t max_dirty_pages = 4096;         ///< map pages; a checkpoint begins before
    size_t max_changes = 65536;            ///< block table changes; likewise
    size_t reclaim_per_checkpoint = 8192;  ///< blocks freed on behalf of removed volumes
    bool allow_degraded = false;           ///< open without a majority of the labels
    bool background = true;                ///< checkpoints, cleaning and reclaim by themselves
    EventSink events = [](const Event&) {};
};

/// Writes labels to drives that must be empty or ours to overwrite: the caller has made sure of that. The array has no
/// volumes afterwards. Errors: kInvalidArgument (a drive is too small: names it), device errors.
Task<Result<base::Guid>> format_array(env::Environment& environment, std::vector<DriveSpec>& drives,
                                      EngineOptions options);

/// Opens an array from whichever of its drives are given; others' are refused by name. Errors: kNotFound (no labels),
/// kCorrupt, kVersion, kDeviceFailed (too few drives: says how many of how many; --degraded), kInvalidArgument (a drive
/// of another array, or given twice).
Task<Result<std::unique_ptr<Backend>>> open_array(env::Environment& environment, std::vector<DriveSpec> drives,
                                                  EngineOptions options);

class Engine final : public Backend {
public:
    Engine(env::Environment& environment, EngineOptions options);
    ~Engine() override;

    base::Guid array_id() const override { return store_.drives.label().array_id; }
    VolumeId allocate_id() override { return VolumeId(next_volume_id_++); }
    const std::map<std::string, std::string>& meta() const override { return records_; }
    Task<Result<void>> update_meta(MetaBatch batch) override;
    Task<Result<void>> create(VolumeId id, VolumeSpec spec, MetaBatch batch) override;
    Task<Result<void>> remove(VolumeId id, MetaBatch batch) override;
    Task<Result<void>> resize(VolumeId id, uint64_t size_bytes, MetaBatch batch) override;
    Task<Result<void>> snapshot(std::vector<SnapshotRequest> requests, MetaBatch batch) override;
    Task<Result<void>> resync(ResyncRequest request, MetaBatch batch, Progress& progress) override;
    Task<Result<void>> recover(VolumeId id, Progress& progress) override;
    Result<VolumeInfo> info(VolumeId id) const override;
    std::vector<VolumeId> volumes() const override;
    Result<std::shared_ptr<Volume>> open(VolumeId id) override;
    std::vector<DriveInfo> drives() const override;
    Task<Result<void>> fail_drive(DriveIndex index) override;
    SpaceInfo space() const override;
    Task<Result<void>> scrub(Progress& progress) override;
    Task<Result<void>> close() override;

    /// One checkpoint now.
    Task<Result<void>> checkpoint();

private:
    friend class EngineVolume;
    friend Task<Result<base::Guid>> format_array(env::Environment&, std::vector<DriveSpec>&, EngineOptions);
    friend Task<Result<std::unique_ptr<Backend>>> open_array(env::Environment&, std::vector<DriveSpec>, EngineOptions);

    /// One call of a client under way: close() waits for it.
    class Call {
    public:
        explicit Call(Engine& engine) : engine_(engine) { ++engine_.calls_; }
        ~Call() {
            if (--engine_.calls_ == 0) engine_.idle_.wake_all();
        }
        Call(const Call&) = delete;
        Call& operator=(const Call&) = delete;

    private:
        Engine& engine_;
    };

    // --- the state of volumes (engine.cc) ---
    Node* find(uint64_t id);
    const Node* find(uint64_t id) const;
    Result<Node*> visible(VolumeId id);
    uint64_t parent_birth(const Node& node) const;
    bool plex_live(const Plex& plex) const;
    const Plex* first_live(const Node& node) const;
    Health health(const Node& node) const;
    void drop_plex(Node& node, size_t plex, std::string_view reason);
    void apply_meta(const MetaBatch& batch);
    Result<std::vector<std::vector<uint32_t>>> place(const VolumeSpec& spec);
    void snapshot_node(Node& source, uint64_t id, uint64_t birth, bool hidden);
    Node& clone_node(const Node& origin, uint64_t id, bool head);
    void apply_snapshots(const std::vector<SnapshotRequest>& requests, const std::vector<uint64_t>& hidden_ids,
                         uint64_t birth);
    std::set<uint64_t> lineage(uint64_t id) const;
    Task<Result<void>> flush_streams(std::set<uint64_t> streams);
    std::set<uint64_t> live_streams(const Node& node) const;
    Task<Result<void>> log_op(store::Op op);
    struct HeldIo {
        std::shared_ptr<RangeLock> ranges;
        RangeLock::Guard guard;
    };
    Task<std::optional<HeldIo>> hold_io(uint64_t node);
    Task<Result<void>> resync_by_copy(uint64_t destination, uint64_t source, uint64_t keep, MetaBatch batch,
                                      Progress& progress);
    bool same_placement(const Node& a, const Node& b) const;
    Result<void> check_running() const;
    void kick();
    Task<void> maintain();
    Task<Result<bool>> make_space();
    void event(const std::string& id, std::string message, uint64_t volume = 0, std::optional<uint32_t> drive = {});

    // --- maps (engine_map.cc) ---
    struct Lookup {
        bool resident = true;
        BlockPtr missing;        ///< page to load when not resident
        BlockPtr value;          ///< of the block; a hole when unmapped
        uint8_t hole_level = 0;  ///< level at which the walk met a hole
    };
    struct Subtree {
        bool resident = true;
        BlockPtr missing;
        BlockPtr pointer;
        const DirtyPage* dirty = nullptr;
        bool same_as(const Subtree& other) const {
            return dirty == other.dirty &&
                   (dirty != nullptr || pointer == other.pointer || (pointer.is_hole() && other.pointer.is_hole()));
        }
    };
    using Pins = std::vector<CleanPageRef>;
    Lookup lookup(const Plex& plex, uint8_t levels, uint64_t lba);
    /// The page of `level` (1: leaf) that covers `lba`; of level `levels` it is the root.
    Subtree subtree(const Plex& plex, uint8_t levels, uint8_t level, uint64_t lba);
    Task<Result<void>> load_page(BlockPtr pointer, Pins* pins);
    /// Makes the path to `lba` resident; what it loaded stays while `pins` lives.
    Task<Result<void>> ensure_path(uint64_t node, size_t plex, uint64_t lba, Pins* pins);
    void set_pointer(Node& node, size_t plex, uint64_t lba, BlockPtr pointer);
    /// Makes the map pages above `lba` down to level `to` changeable; they are resident. The pointer in the last one.
    std::byte* change_path(Node& node, size_t plex, uint64_t lba, uint8_t to, uint64_t birth);
    /// Gives up the topmost map page above `lba` that cannot be loaded: all below it is lost, the rest stays.
    void lose_page(Node& node, size_t plex, uint64_t lba, uint64_t birth);
    void grow_levels(Node& node, size_t plex, uint8_t from, uint8_t to);
    void dispose(Node& node, Plex& plex, BlockPtr pointer);
    std::shared_ptr<DirtyPage> copy_of(const std::shared_ptr<DirtyPage>& page);

    // --- I/O (engine_volume.cc) ---
    Task<Result<void>> read_blocks(uint64_t node, uint64_t first, uint64_t count, MutableBytes into);
    /// Whole blocks, at most kAtomicWriteBytes and what surrounds them: atomic. The range is locked by the caller.
    Task<Result<void>> write_blocks(uint64_t node, uint64_t first, Bytes from);
    Task<Result<void>> zero_blocks(uint64_t node, uint64_t first, uint64_t count);
    Task<Result<void>> flush_volume(uint64_t node);

    // --- checkpoint (engine_checkpoint.cc) ---
    Task<Result<void>> checkpoint_locked();
    Task<Result<BlockPtr>> write_page(const Node& node, const Plex& plex, Bytes bytes, uint64_t birth);
    Task<Result<BlockPtr>> write_tree(const Node& node, const Plex& plex, std::shared_ptr<DirtyPage> page);
    Task<Result<void>> flush_dead_list(Node& node, Plex& plex);
    Task<Result<void>> reclaim(size_t budget);
    Task<Result<bool>> reclaim_leaf(Node& node, size_t* budget);
    Task<Result<bool>> reclaim_walk(Node& node, Plex& plex, BlockPtr pointer, uint8_t level, uint64_t first,
                                    uint64_t floor, size_t* budget);
    Task<Result<bool>> merge_into_child(Node& gone, Node& child, size_t* budget);
    Task<Result<void>> drop_chain(BlockPtr head);
    Task<Result<std::shared_ptr<store::MetaPage>>> read_raw(BlockPtr pointer);
    Task<Result<void>> retire_streams();
    std::vector<std::byte> encode_objects() const;
    Result<void> decode_objects(Bytes bytes);

    // --- opening (engine_open.cc) ---
    struct Touch {  ///< the newest replayed write of a block on one plex
        uint64_t birth = 0;
        bool durable = false;
    };
    Task<Result<void>> replay();
    Task<Result<std::optional<std::array<BlockPtr, 2>>>> pointers_of(uint64_t node, uint64_t lba);
    Task<Result<bool>> readable(BlockPtr pointer, MutableBytes into);
    Task<Result<void>> copy_block(uint64_t node, size_t from, uint64_t lba, uint64_t birth);
    Task<Result<void>> reconcile_plexes(const std::map<std::pair<uint64_t, uint64_t>, std::vector<Touch>>& touched);
    void drop_leftovers();

    // --- recovery and scrub (engine_recover.cc) ---
    Task<Result<void>> recover_parity(uint64_t stream, Progress& progress);
    Task<Result<void>> recover_mirror(uint64_t recovery, size_t plex, Progress& progress);
    bool room_to_rebuild(uint32_t drive) const;
    std::set<uint64_t> under_recovery(uint64_t recovery) const;
    Task<Result<bool>> build_plex(uint64_t node, size_t plex, uint64_t stream, Progress& progress, bool exclusive,
                                  size_t budget);
    Task<Result<std::optional<uint64_t>>> next_difference(uint64_t node, size_t plex, uint64_t base, uint64_t lba);
    bool stream_degraded(uint64_t stream) const;
    Task<Result<size_t>> scrub_plex(uint64_t node, size_t plex, Progress& progress);
    bool map_page_lost(Node& node, size_t plex);
    Task<Result<bool>> scrub_path(uint64_t node, size_t plex, uint64_t lba, std::array<uint64_t, 8>& checked);

    EngineOptions options_;
    env::Environment environment_;
    store::Store store_;
    PageCache cache_;
    std::map<uint64_t, Node> nodes_;
    std::map<std::string, std::string> records_;
    uint64_t next_volume_id_ = 1;
    size_t dirty_pages_ = 0;
    size_t dead_entries_ = 0;  ///< added to dead lists since the last checkpoint
    uint64_t checkpoints_begun_ = 0;
    bool losses_unrecorded_ = false;  ///< a plex was dropped, and no checkpoint says so yet
    /// Shared: whoever changes maps. Exclusive: checkpoints and operations that end in one.
    env::SharedMutex gate_;
    env::Mutex space_lock_;
    env::Event work_;
    env::TaskGroup tasks_;
    env::Event idle_;
    size_t calls_ = 0;
    bool closing_ = false;
    std::optional<base::Error> broken_;
    uint64_t recoveries_ = 0;
    bool reclaim_pending_ = false;
    /// Snapshots that are in memory but not in the array log yet: their streams are being flushed.
    std::vector<store::Op> pending_snapshots_;
};

}  // namespace umbra::lun

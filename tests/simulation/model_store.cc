#include "simulation/model_store.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <list>
#include <map>

#include "env/sync.h"
#include "simulation/content.h"

namespace umbra::simulation {

using base::Bytes;
using base::Code;
using base::MutableBytes;
using base::Result;
using env::Task;
using lun::VolumeId;

namespace {

constexpr std::array kBugNames = {
    "none",
    "flush_lies",
    "fua_lies",
    "torn_write",
    "torn_read",
    "misplaced_write",
    "lost_update_in_block",
    "zeroes_whole_blocks",
    "compare_ignored",
    "snapshot_not_one_instant",
    "snapshot_of_flushed_only",
    "snapshot_follows_source",
    "snapshot_not_durable",
    "snapshot_of_some_only",
    "clone_writes_through",
    "resync_half_done",
    "resync_keeps_new",
    "remove_forgotten",
    "create_forgotten",
    "records_apart",
    "goes_back",
    "resize_shows_old",
    "resize_forgotten",
    "degraded_wrong_byte",
    "degraded_error",
    "recover_not_healthy",
    "hangs_after_cut",
    "open_fails",
    "not_deterministic",
    "fails_check",
};
static_assert(kBugNames.size() == static_cast<size_t>(PlantedBug::kFailsCheck) + 1);

constexpr size_t kBlock = 4096;

struct CachedWrite {
    uint64_t sequence = 0;
    uint64_t offset = 0;
    std::vector<std::byte> bytes;
};

struct VolumeState {
    lun::VolumeInfo info;
    std::vector<std::byte> live;
    std::vector<std::byte> durable;
    std::list<CachedWrite> cached;  ///< in live, not yet in durable
    std::vector<VolumeId> followers;
    VolumeId follows;
    std::vector<std::byte> beyond;  ///< what a shrink cut off
};

struct Disk {
    PlantedBug bug = PlantedBug::kNone;
    env::SeededRandom random{1};
    base::Guid id;
    uint64_t next_volume = 1;
    uint64_t next_sequence = 1;
    std::map<std::string, std::string> meta;
    std::map<VolumeId, VolumeState> volumes;
    std::map<VolumeId, VolumeState> ghosts;  ///< for bugs: come back at the next cut
    std::vector<VolumeId> unborn;            ///< for bugs: vanish at the next cut
    std::vector<lun::DriveInfo> drives;
    bool dead = false;
    bool degraded = false;

    bool has(PlantedBug planted) const { return bug == planted; }

    void cut() {
        if (dead) return;
        dead = true;
        for (auto& [volume_id, volume] : volumes) {
            const uint64_t temper = random.below(4);
            for (const CachedWrite& write : volume.cached) {
                const bool keep = temper == 0 || (temper != 1 && random.one_in(2));
                if (!keep) continue;
                size_t bytes = write.bytes.size();
                const bool atomic =
                    write.offset / lun::kAtomicWriteBytes == (write.offset + bytes - 1) / lun::kAtomicWriteBytes;
                if ((!atomic || has(PlantedBug::kTornWrite)) && bytes > kBlock && random.one_in(3)) {
                    bytes = (1 + random.below(bytes / kBlock)) * kBlock;
                    bytes = std::min(bytes, write.bytes.size());
                }
                if (write.offset + bytes > volume.durable.size()) continue;
                std::memcpy(volume.durable.data() + write.offset, write.bytes.data(), bytes);
            }
            if (has(PlantedBug::kGoesBack) && !volume.cached.empty() && random.one_in(2)) {
                volume.live = volume.durable;  // what this run recovers to is not what the next one finds
                for (const CachedWrite& write : volume.cached) {
                    if (write.offset + write.bytes.size() > volume.live.size() || !random.one_in(2)) continue;
                    std::memcpy(volume.live.data() + write.offset, write.bytes.data(), write.bytes.size());
                }
                volume.cached.clear();
                continue;
            }
            volume.cached.clear();
            volume.live = volume.durable;
        }
        for (auto& [ghost_id, ghost] : ghosts) volumes[ghost_id] = ghost;
        ghosts.clear();
        for (const VolumeId unborn_id : unborn) volumes.erase(unborn_id);
        unborn.clear();
    }
};

class ModelStore;

class ModelVolume final : public lun::Volume {
public:
    ModelVolume(ModelStore& store, VolumeId id) : store_(store), id_(id) {}
    uint64_t size_bytes() const override;
    bool writable() const override;
    Task<Result<void>> read(uint64_t offset, MutableBytes into) override;
    Task<Result<void>> write(uint64_t offset, Bytes from, lun::WriteOptions options) override;
    Task<Result<void>> write_zeroes(uint64_t offset, uint64_t bytes, lun::WriteOptions options) override;
    Task<Result<void>> compare_and_write(uint64_t offset, Bytes expected, Bytes from,
                                         lun::WriteOptions options) override;
    Task<Result<void>> flush() override;
    Task<Result<std::vector<lun::Extent>>> map_status(uint64_t offset, uint64_t bytes, size_t max_extents) override;

private:
    ModelStore& store_;
    VolumeId id_;
};

class ModelStore final : public lun::Backend {
public:
    ModelStore(env::Environment environment, std::shared_ptr<Disk> disk)
        : executor_(environment.executor), random_(environment.random.next()), disk_(std::move(disk)) {}

    base::Guid array_id() const override { return disk_->id; }
    VolumeId allocate_id() override { return VolumeId(disk_->next_volume++); }
    const std::map<std::string, std::string>& meta() const override { return disk_->meta; }

    Task<Result<void>> update_meta(lun::MetaBatch batch) override {
        UMBRA_CO_TRY(co_await wait());
        apply(batch);
        co_return co_await wait();
    }

    Task<Result<void>> create(VolumeId id, lun::VolumeSpec spec, lun::MetaBatch batch) override {
        UMBRA_CO_TRY(co_await wait());
        VolumeState volume;
        volume.info.id = id;
        volume.info.spec = spec;
        volume.info.writable = true;
        volume.live.resize(spec.size_bytes);
        volume.durable = volume.live;
        disk_->volumes[id] = std::move(volume);
        if (bug(PlantedBug::kRecordsApart)) UMBRA_CO_TRY(co_await wait());
        apply(batch);
        if (bug(PlantedBug::kCreateForgotten) && random_.one_in(4)) disk_->unborn.push_back(id);
        co_return co_await wait();
    }

    Task<Result<void>> remove(VolumeId id, lun::MetaBatch batch) override {
        UMBRA_CO_TRY(co_await wait());
        if (!disk_->volumes.contains(id)) co_return base::fail(Code::kNotFound, "no such volume");
        if (bug(PlantedBug::kRemoveForgotten) && random_.one_in(4)) disk_->ghosts[id] = disk_->volumes[id];
        disk_->volumes.erase(id);
        apply(batch);
        co_return co_await wait();
    }

    Task<Result<void>> resize(VolumeId id, uint64_t size_bytes, lun::MetaBatch batch) override {
        UMBRA_CO_TRY(co_await wait());
        VolumeState& volume = disk_->volumes[id];
        settle(volume);
        if (bug(PlantedBug::kResizeShowsOld)) {
            if (size_bytes < volume.live.size()) {
                volume.beyond.assign(volume.live.begin() + static_cast<ptrdiff_t>(size_bytes), volume.live.end());
            } else {
                volume.beyond.resize(size_bytes - volume.live.size());
                volume.live.insert(volume.live.end(), volume.beyond.begin(), volume.beyond.end());
            }
        }
        volume.live.resize(size_bytes);
        volume.durable = volume.live;
        volume.info.spec.size_bytes = size_bytes;
        apply(batch);
        if (bug(PlantedBug::kResizeForgotten) && random_.one_in(2)) {
            disk_->ghosts[id] = volume;
            disk_->ghosts[id].info.spec.size_bytes += kBlock;
            disk_->ghosts[id].live.resize(size_bytes + kBlock);
            disk_->ghosts[id].durable = disk_->ghosts[id].live;
        }
        co_return co_await wait();
    }

    Task<Result<void>> snapshot(std::vector<lun::SnapshotRequest> requests, lun::MetaBatch batch) override {
        UMBRA_CO_TRY(co_await wait());
        for (const lun::SnapshotRequest& request : requests) {
            VolumeState& source = disk_->volumes[request.source];
            VolumeState copy;
            copy.info = source.info;
            copy.info.id = request.id;
            copy.info.writable = request.writable;
            copy.info.origin = request.source;
            copy.live = bug(PlantedBug::kSnapshotOfFlushedOnly) ? source.durable : source.live;
            copy.durable = bug(PlantedBug::kSnapshotNotDurable) ? source.durable : copy.live;
            if (bug(PlantedBug::kSnapshotFollowsSource)) source.followers.push_back(request.id);
            if (bug(PlantedBug::kCloneWritesThrough) && request.writable) copy.followers.push_back(request.source);
            disk_->volumes[request.id] = std::move(copy);
            if (bug(PlantedBug::kSnapshotNotOneInstant) || bug(PlantedBug::kSnapshotOfSomeOnly)) {
                UMBRA_CO_TRY(co_await wait());
            }
        }
        apply(batch);
        co_return co_await wait();
    }

    Task<Result<void>> resync(lun::ResyncRequest request, lun::MetaBatch batch, lun::Progress& progress) override {
        UMBRA_CO_TRY(co_await wait());
        for (int i = 0; i < 4; ++i) {
            UMBRA_CO_TRY(co_await wait());
            if (progress.cancel) co_return base::fail(Code::kCancelled, "resync was cancelled");
        }
        progress.past_cancel = true;
        VolumeState& destination = disk_->volumes[request.destination];
        const VolumeState& source = disk_->volumes[request.source];
        settle(destination);
        VolumeState kept = destination;
        kept.info.id = request.keep_as;
        kept.info.writable = false;
        if (bug(PlantedBug::kResyncKeepsNew)) {
            kept.live = source.live;
            kept.live.resize(kept.info.spec.size_bytes);
        }
        kept.durable = kept.live;
        if (bug(PlantedBug::kResyncHalfDone)) {
            const size_t half = std::min(destination.live.size(), source.live.size()) / 2;
            std::memcpy(destination.live.data(), source.live.data(), half);
            destination.durable = destination.live;
            for (int i = 0; i < 4; ++i) UMBRA_CO_TRY(co_await wait());
        }
        destination.live = source.live;
        destination.durable = destination.live;
        destination.info.spec.size_bytes = source.info.spec.size_bytes;
        disk_->volumes[request.keep_as] = std::move(kept);
        apply(batch);
        co_return co_await wait();
    }

    Task<Result<void>> recover(VolumeId id, lun::Progress&) override {
        UMBRA_CO_TRY(co_await wait());
        const auto type = disk_->volumes[id].info.spec.type;
        if (type == lun::LunType::kSimple)
            co_return base::fail(Code::kInvalidArgument, "simple volumes have no redundancy");
        if (bug(PlantedBug::kRecoverNotHealthy)) disk_->volumes[id].info.health = lun::Health::kFailedRedundancy;
        co_return co_await wait();
    }

    Result<lun::VolumeInfo> info(VolumeId id) const override {
        const auto found = disk_->volumes.find(id);
        if (found == disk_->volumes.end()) return base::fail(Code::kNotFound, "no such volume");
        return found->second.info;
    }
    std::vector<VolumeId> volumes() const override {
        std::vector<VolumeId> ids;
        for (const auto& [id, volume] : disk_->volumes) ids.push_back(id);
        return ids;
    }
    Result<std::shared_ptr<lun::Volume>> open(VolumeId id) override {
        if (!disk_->volumes.contains(id)) return base::fail(Code::kNotFound, "no such volume");
        return std::make_shared<ModelVolume>(*this, id);
    }
    std::vector<lun::DriveInfo> drives() const override { return disk_->drives; }
    Task<Result<void>> fail_drive(lun::DriveIndex index) override {
        UMBRA_CO_TRY(co_await wait());
        disk_->drives[index.value].state = lun::DriveState::kFailed;
        disk_->degraded = true;
        co_return Result<void>();
    }
    lun::SpaceInfo space() const override { return {100, 100, 0}; }
    Task<Result<void>> scrub(lun::Progress&) override { co_return co_await wait(); }
    Task<Result<void>> close() override {
        for (auto& [id, volume] : disk_->volumes) {
            if (!disk_->dead) settle(volume);
        }
        co_return co_await wait();
    }

    // For volumes.
    bool bug(PlantedBug planted) const { return disk_->has(planted); }
    Task<Result<void>> wait() {
        auto delay = static_cast<int64_t>(random_.below(120'000));
        if (bug(PlantedBug::kNotDeterministic))
            delay += static_cast<int64_t>(reinterpret_cast<uintptr_t>(disk_.get()) % 977);
        co_await env::sleep_for(executor_, env::Duration(delay));
        if (disk_->dead) {
            if (bug(PlantedBug::kHangsAfterCut)) co_await std::suspend_always();
            co_return base::fail(Code::kDeviceFailed, "the power is off");
        }
        co_return Result<void>();
    }
    Result<VolumeState*> find(VolumeId id) {
        const auto found = disk_->volumes.find(id);
        if (found == disk_->volumes.end()) return base::fail(Code::kDeviceFailed, "the volume was removed");
        return &found->second;
    }
    void put(VolumeState& volume, uint64_t offset, Bytes bytes, bool durable) {
        if (bug(PlantedBug::kMisplacedWrite) && random_.one_in(100) && offset >= 512) offset -= 512;
        std::memcpy(volume.live.data() + offset, bytes.data(), bytes.size());
        if (durable) {
            // In order: what is cached below it must not come back over it.
            settle(volume);
            std::memcpy(volume.durable.data() + offset, bytes.data(), bytes.size());
        } else {
            volume.cached.push_back({disk_->next_sequence++, offset, {bytes.begin(), bytes.end()}});
        }
        for (const VolumeId follower : volume.followers) {
            const auto found = disk_->volumes.find(follower);
            if (found == disk_->volumes.end() || found->second.live.size() < offset + kSectorBytes) continue;
            std::memcpy(found->second.live.data() + offset, bytes.data(), kSectorBytes);
        }
    }
    void settle(VolumeState& volume) {
        for (const CachedWrite& write : volume.cached) {
            std::memcpy(volume.durable.data() + write.offset, write.bytes.data(), write.bytes.size());
        }
        volume.cached.clear();
    }
    env::SeededRandom& random() { return random_; }
    Disk& disk() { return *disk_; }

private:
    void apply(const lun::MetaBatch& batch) {
        for (const auto& [key, value] : batch.changes) {
            if (value) {
                disk_->meta[key] = *value;
            } else {
                disk_->meta.erase(key);
            }
        }
    }
    env::Executor& executor_;
    env::SeededRandom random_;
    std::shared_ptr<Disk> disk_;
};

uint64_t ModelVolume::size_bytes() const {
    auto info = store_.info(id_);
    return info ? info->spec.size_bytes : 0;
}

bool ModelVolume::writable() const {
    auto info = store_.info(id_);
    return info && info->writable;
}

Task<Result<void>> ModelVolume::read(uint64_t offset, MutableBytes into) {
    UMBRA_CO_TRY(co_await store_.wait());
    UMBRA_CO_ASSIGN(VolumeState * volume, store_.find(id_));
    const size_t half = store_.bug(PlantedBug::kTornRead) ? into.size() / 1024 * 512 : into.size();
    std::memcpy(into.data(), volume->live.data() + offset, half);
    UMBRA_CO_TRY(co_await store_.wait());
    UMBRA_CO_ASSIGN(volume, store_.find(id_));
    std::memcpy(into.data() + half, volume->live.data() + offset + half, into.size() - half);
    const bool redundant = volume->info.spec.type != lun::LunType::kSimple;
    if (redundant && store_.disk().degraded && store_.random().one_in(10)) {
        if (store_.bug(PlantedBug::kDegradedWrongByte)) into[0] ^= std::byte{4};
        if (store_.bug(PlantedBug::kDegradedError)) co_return base::fail(Code::kMediaError, "no good copy");
    }
    co_return Result<void>();
}

Task<Result<void>> ModelVolume::write(uint64_t offset, Bytes from, lun::WriteOptions options) {
    UMBRA_CO_TRY(co_await store_.wait());
    UMBRA_CO_ASSIGN(VolumeState * volume, store_.find(id_));
    if (!volume->info.writable) co_return base::fail(Code::kWriteProtected, "read-only");
    if (store_.bug(PlantedBug::kFailsCheck)) UMBRA_CHECK(!store_.random().one_in(500));
    const bool durable = options.fua && !store_.bug(PlantedBug::kFuaLies);
    if (store_.bug(PlantedBug::kLostUpdateInBlock) && (offset % kBlock != 0 || from.size() % kBlock != 0)) {
        // Reads the surrounding blocks, waits, writes them whole.
        const uint64_t begin = offset / kBlock * kBlock;
        const uint64_t end =
            std::min<uint64_t>((offset + from.size() + kBlock - 1) / kBlock * kBlock, volume->live.size());
        std::vector<std::byte> merged(volume->live.begin() + static_cast<ptrdiff_t>(begin),
                                      volume->live.begin() + static_cast<ptrdiff_t>(end));
        std::memcpy(merged.data() + (offset - begin), from.data(), from.size());
        UMBRA_CO_TRY(co_await store_.wait());
        UMBRA_CO_ASSIGN(volume, store_.find(id_));
        store_.put(*volume, begin, merged, durable);
    } else {
        store_.put(*volume, offset, from, durable);
    }
    co_return co_await store_.wait();
}

Task<Result<void>> ModelVolume::write_zeroes(uint64_t offset, uint64_t bytes, lun::WriteOptions options) {
    UMBRA_CO_TRY(co_await store_.wait());
    UMBRA_CO_ASSIGN(VolumeState * volume, store_.find(id_));
    if (store_.bug(PlantedBug::kZeroesWholeBlocks)) {
        const uint64_t begin = offset / kBlock * kBlock;
        bytes = std::min<uint64_t>((offset + bytes + kBlock - 1) / kBlock * kBlock, volume->live.size()) - begin;
        offset = begin;
    }
    const std::vector<std::byte> zeros(bytes);
    store_.put(*volume, offset, zeros, options.fua);
    co_return co_await store_.wait();
}

Task<Result<void>> ModelVolume::compare_and_write(uint64_t offset, Bytes expected, Bytes from,
                                                  lun::WriteOptions options) {
    UMBRA_CO_TRY(co_await store_.wait());
    UMBRA_CO_ASSIGN(VolumeState * volume, store_.find(id_));
    if (!store_.bug(PlantedBug::kCompareIgnored) &&
        std::memcmp(volume->live.data() + offset, expected.data(), expected.size()) != 0) {
        co_return base::fail(Code::kMiscompare, "other data");
    }
    store_.put(*volume, offset, from, options.fua);
    co_return co_await store_.wait();
}

Task<Result<void>> ModelVolume::flush() {
    const uint64_t newest = store_.disk().next_sequence;
    UMBRA_CO_TRY(co_await store_.wait());
    UMBRA_CO_ASSIGN(VolumeState * volume, store_.find(id_));
    if (store_.bug(PlantedBug::kFlushLies)) co_return Result<void>();
    while (!volume->cached.empty() && volume->cached.front().sequence < newest) {
        const CachedWrite& write = volume->cached.front();
        std::memcpy(volume->durable.data() + write.offset, write.bytes.data(), write.bytes.size());
        volume->cached.pop_front();
    }
    co_return co_await store_.wait();
}

Task<Result<std::vector<lun::Extent>>> ModelVolume::map_status(uint64_t offset, uint64_t bytes, size_t) {
    auto waited = co_await store_.wait();
    if (!waited) co_return std::unexpected(waited.error());
    co_return std::vector<lun::Extent>{{offset, bytes, true}};
}

Task<Result<void>> format_model(std::shared_ptr<Disk> disk, env::Environment environment, size_t drives) {
    disk->id = environment.random.guid();
    disk->random = env::SeededRandom(environment.random.next());
    for (uint32_t i = 0; i < drives; ++i) {
        lun::DriveInfo drive;
        drive.index = lun::DriveIndex(i);
        disk->drives.push_back(drive);
    }
    co_return Result<void>();
}

Task<Result<std::unique_ptr<lun::Backend>>> open_model(std::shared_ptr<Disk> disk, env::Environment environment) {
    disk->dead = false;
    auto store = std::make_unique<ModelStore>(environment, disk);
    auto waited = co_await store->wait();
    if (!waited) co_return std::unexpected(waited.error());
    if (disk->has(PlantedBug::kOpenFails) && disk->random.one_in(20)) co_return base::fail(Code::kCorrupt, "planted");
    co_return std::unique_ptr<lun::Backend>(std::move(store));
}

}  // namespace

std::vector<PlantedBug> all_planted_bugs() {
    std::vector<PlantedBug> bugs;
    for (size_t i = 1; i < kBugNames.size(); ++i) bugs.push_back(static_cast<PlantedBug>(i));
    return bugs;
}

std::string to_string(PlantedBug bug) {
    return kBugNames[static_cast<size_t>(bug)];
}

Factory model_factory(PlantedBug bug) {
    auto disk = std::make_shared<Disk>();
    disk->bug = bug;
    Factory factory;
    factory.format = [disk](env::Environment environment, Drives drives) {
        return format_model(disk, environment, drives.size());
    };
    factory.open = [disk](env::Environment environment, Drives, lun::EventSink) {
        return open_model(disk, environment);
    };
    factory.on_power_cut = [disk] { disk->cut(); };
    return factory;
}

}  // namespace umbra::simulation

#include "lun/testing/memory_backend.h"

#include <algorithm>

#include "env/random.h"

namespace umbra::lun::testing {

using base::Code;
using base::fail;

namespace {

/// Fails once the volume is removed or the backend closed, as a real handle does.
class MemoryHandle final : public Volume {
public:
    MemoryHandle(const MemoryVolumeState& state, std::shared_ptr<bool> closed)
        : content_(state.content), gone_(state.gone), closed_(std::move(closed)) {}

    uint64_t size_bytes() const override { return content_->size_bytes(); }
    bool writable() const override { return content_->writable(); }
    Task<Result<void>> read(uint64_t offset, MutableBytes into) override {
        UMBRA_CO_TRY(alive());
        co_return co_await content_->read(offset, into);
    }
    Task<Result<void>> write(uint64_t offset, Bytes from, WriteOptions options) override {
        UMBRA_CO_TRY(alive());
        co_return co_await content_->write(offset, from, options);
    }
    Task<Result<void>> write_zeroes(uint64_t offset, uint64_t bytes, WriteOptions options) override {
        UMBRA_CO_TRY(alive());
        co_return co_await content_->write_zeroes(offset, bytes, options);
    }
    Task<Result<void>> compare_and_write(uint64_t offset, Bytes expected, Bytes from, WriteOptions options) override {
        UMBRA_CO_TRY(alive());
        co_return co_await content_->compare_and_write(offset, expected, from, options);
    }
    Task<Result<void>> flush() override {
        UMBRA_CO_TRY(alive());
        co_return co_await content_->flush();
    }
    Task<Result<std::vector<Extent>>> map_status(uint64_t offset, uint64_t bytes, size_t max_extents) override {
        UMBRA_CO_TRY(alive());
        co_return co_await content_->map_status(offset, bytes, max_extents);
    }

private:
    Result<void> alive() const {
        if (*gone_) return fail(Code::kDeviceFailed, "the volume has been removed or has failed");
        if (*closed_) return fail(Code::kDeviceFailed, "the array is closed");
        return {};
    }
    std::shared_ptr<MemoryVolume> content_;
    std::shared_ptr<bool> gone_;
    std::shared_ptr<bool> closed_;
};

bool redundant(LunType type) {
    return type == LunType::kMirror || type == LunType::kParity;
}

}  // namespace

std::shared_ptr<MemoryArray> MemoryArray::make(size_t drives, uint64_t drive_bytes, uint64_t seed) {
    env::SeededRandom random(seed);
    auto array = std::make_shared<MemoryArray>();
    array->id = random.guid();
    for (size_t i = 0; i < drives; ++i) {
        DriveInfo drive;
        drive.index = DriveIndex(static_cast<uint32_t>(i));
        drive.id = random.guid();
        drive.name = "d" + std::to_string(i);
        drive.path = "/drives/" + drive.name;
        drive.size_bytes = drive_bytes;
        array->drives.push_back(drive);
    }
    return array;
}

Task<Result<void>> MemoryBackend::before(std::string operation) {
    if (*closed_) co_return fail(Code::kDeviceFailed, "the array is closed");
    if (hook_) UMBRA_CO_TRY(co_await hook_(operation, Step::kBefore));
    co_return Result<void>();
}

Task<Result<void>> MemoryBackend::after(std::string operation) {
    if (hook_) UMBRA_CO_TRY(co_await hook_(operation, Step::kAfter));
    co_return Result<void>();
}

Result<MemoryVolumeState*> MemoryBackend::find(VolumeId id) {
    const auto found = array_->volumes.find(id);
    if (found == array_->volumes.end()) return fail(Code::kNotFound, "no volume " + std::to_string(id.value));
    return &found->second;
}

void MemoryBackend::apply(const MetaBatch& batch) {
    for (const auto& [key, value] : batch.changes) {
        if (value) {
            array_->meta[key] = *value;
        } else {
            array_->meta.erase(key);
        }
    }
}

bool MemoryBackend::drive_online(DriveIndex index) const {
    return array_->drives.at(index.value).state == DriveState::kOnline;
}

std::vector<DriveIndex> MemoryBackend::online(const std::vector<DriveIndex>& except) const {
    std::vector<DriveIndex> result;
    for (const DriveInfo& drive : array_->drives) {
        if (drive.state == DriveState::kOnline && std::ranges::find(except, drive.index) == except.end()) {
            result.push_back(drive.index);
        }
    }
    return result;
}

void MemoryBackend::refresh_health(MemoryVolumeState& volume) const {
    const auto lost = std::ranges::count_if(volume.drives, [&](DriveIndex drive) { return !drive_online(drive); });
    VolumeInfo& info = volume.info;
    if (lost == 0) {
        info.health = Health::kHealthy;
    } else if (redundant(info.spec.type) && lost == 1) {
        info.health = Health::kFailedRedundancy;
    } else {
        info.health = Health::kFailed;
        *volume.gone = true;
    }
    info.plexes.clear();
    const size_t plexes = info.spec.type == LunType::kMirror ? 2 : 1;
    const size_t each = volume.drives.size() / plexes;
    for (size_t i = 0; i < plexes; ++i) {
        PlexInfo plex;
        plex.id = base::Guid::from_name(array_->id, std::to_string(info.id.value) + "/" + std::to_string(i));
        plex.drives.assign(volume.drives.begin() + static_cast<ptrdiff_t>(i * each),
                           volume.drives.begin() + static_cast<ptrdiff_t>((i + 1) * each));
        const bool whole = std::ranges::all_of(plex.drives, [&](DriveIndex drive) { return drive_online(drive); });
        plex.health = whole ? Health::kHealthy : plexes > 1 ? Health::kFailed : info.health;
        info.plexes.push_back(plex);
    }
}

Task<Result<void>> MemoryBackend::update_meta(MetaBatch batch) {
    UMBRA_CO_TRY(co_await before("update_meta"));
    apply(batch);
    co_return co_await after("update_meta");
}

Task<Result<void>> MemoryBackend::create(VolumeId id, VolumeSpec spec, MetaBatch batch) {
    UMBRA_CO_TRY(co_await before("create"));
    if (spec.size_bytes == 0 || spec.size_bytes % kPhysicalBlockBytes != 0 || spec.size_bytes > kMaxVolumeBytes) {
        co_return fail(Code::kInvalidArgument, "the size is not a multiple of 4 KiB between 4 KiB and 64 TiB");
    }
    if (array_->volumes.contains(id)) co_return fail(Code::kAlreadyExists, "the volume exists");
    std::vector<DriveIndex> drives = online();
    switch (spec.type) {
        case LunType::kSimple:
            spec.width = 1;
            break;
        case LunType::kMirror:
            spec.width = 1;
            if (spec.plexes == 0) spec.plexes = 2;
            if (spec.plexes != 2) co_return fail(Code::kUnsupported, "mirrors have two plexes");
            break;
        case LunType::kParity:
            if (spec.width == 0) {
                spec.width = std::max<uint32_t>(
                    3, std::min<uint32_t>(5, drives.empty() ? 0 : static_cast<uint32_t>(drives.size()) - 1));
            }
            if (spec.width < 3) co_return fail(Code::kInvalidArgument, "parity needs a width of at least 3");
            break;
        default:
            co_return fail(Code::kUnsupported, "LUN type " + std::string(to_string(spec.type)));
    }
    const size_t wanted = spec.type == LunType::kMirror ? spec.plexes : spec.width;
    if (drives.size() < wanted) {
        co_return fail(Code::kNoDrive,
                       std::to_string(wanted) + " drives are needed, " + std::to_string(drives.size()) + " are online");
    }
    drives.resize(wanted);
    MemoryVolumeState state;
    state.info.id = id;
    state.info.spec = spec;
    state.info.writable = true;
    state.drives = drives;
    state.content = std::make_shared<MemoryVolume>(spec.size_bytes);
    refresh_health(state);
    array_->volumes.emplace(id, std::move(state));
    apply(batch);
    co_return co_await after("create");
}

Task<Result<void>> MemoryBackend::remove(VolumeId id, MetaBatch batch) {
    UMBRA_CO_TRY(co_await before("remove"));
    UMBRA_CO_ASSIGN(MemoryVolumeState * volume, find(id));
    *volume->gone = true;
    array_->volumes.erase(id);
    apply(batch);
    co_return co_await after("remove");
}

Task<Result<void>> MemoryBackend::resize(VolumeId id, uint64_t size_bytes, MetaBatch batch) {
    UMBRA_CO_TRY(co_await before("resize"));
    UMBRA_CO_ASSIGN(MemoryVolumeState * volume, find(id));
    if (size_bytes == 0 || size_bytes % kPhysicalBlockBytes != 0 || size_bytes > kMaxVolumeBytes) {
        co_return fail(Code::kInvalidArgument, "the size is not a multiple of 4 KiB between 4 KiB and 64 TiB");
    }
    if (!volume->info.writable) co_return fail(Code::kWriteProtected, "the volume is a snapshot");
    volume->content->resize(size_bytes);
    volume->info.spec.size_bytes = size_bytes;
    apply(batch);
    co_return co_await after("resize");
}

Task<Result<void>> MemoryBackend::snapshot(std::vector<SnapshotRequest> requests, MetaBatch batch) {
    UMBRA_CO_TRY(co_await before("snapshot"));
    for (const SnapshotRequest& request : requests) {
        UMBRA_CO_ASSIGN(MemoryVolumeState * source, find(request.source));
        if (*source->gone) co_return fail(Code::kDeviceFailed, "the source has failed");
        if (array_->volumes.contains(request.id)) co_return fail(Code::kAlreadyExists, "the volume exists");
    }
    for (const SnapshotRequest& request : requests) {
        const MemoryVolumeState& source = array_->volumes.at(request.source);
        MemoryVolumeState copy;
        copy.info = source.info;
        copy.info.id = request.id;
        copy.info.origin = request.source;
        copy.info.writable = request.writable;
        copy.drives = source.drives;
        copy.content = std::make_shared<MemoryVolume>(source.content->size_bytes(), request.writable);
        copy.content->copy_from(*source.content);
        refresh_health(copy);
        array_->volumes.emplace(request.id, std::move(copy));
    }
    apply(batch);
    co_return co_await after("snapshot");
}

Task<Result<void>> MemoryBackend::advance(Progress& progress, uint64_t total) {
    progress.total_bytes = total;
    while (progress.done_bytes < total) {
        if (progress.cancel) co_return fail(Code::kCancelled, "cancelled");
        if (*closed_) co_return fail(Code::kDeviceFailed, "the array is closed");
        co_await env::yield(executor_);
        progress.done_bytes = std::min(total, progress.done_bytes + kStepBytes);
    }
    co_return Result<void>();
}

Task<Result<void>> MemoryBackend::resync(ResyncRequest request, MetaBatch batch, Progress& progress) {
    UMBRA_CO_TRY(co_await before("resync"));
    UMBRA_CO_ASSIGN(MemoryVolumeState * source, find(request.source));
    UMBRA_CO_ASSIGN(MemoryVolumeState * destination, find(request.destination));
    if (!destination->info.writable) co_return fail(Code::kInvalidArgument, "the destination is a snapshot");
    if (*source->gone || *destination->gone) co_return fail(Code::kDeviceFailed, "a volume has failed");
    UMBRA_CO_TRY(co_await advance(progress, source->info.spec.size_bytes));
    if (progress.cancel) co_return fail(Code::kCancelled, "cancelled");
    progress.past_cancel = true;

    MemoryVolumeState keep;
    keep.info = destination->info;
    keep.info.id = request.keep_as;
    keep.info.writable = false;
    keep.drives = destination->drives;
    keep.content = std::make_shared<MemoryVolume>(destination->content->size_bytes(), false);
    keep.content->copy_from(*destination->content);
    refresh_health(keep);
    destination->content->copy_from(*source->content);
    destination->info.spec.size_bytes = source->info.spec.size_bytes;
    destination->info.origin = request.source;
    array_->volumes.emplace(request.keep_as, std::move(keep));
    apply(batch);
    co_return co_await after("resync");
}

Task<Result<void>> MemoryBackend::recover(VolumeId id, Progress& progress) {
    UMBRA_CO_TRY(co_await before("recover"));
    UMBRA_CO_ASSIGN(MemoryVolumeState * volume, find(id));
    if (!redundant(volume->info.spec.type)) {
        co_return fail(Code::kInvalidArgument, "volumes of this type have no redundancy");
    }
    if (volume->info.health == Health::kFailed) co_return fail(Code::kDeviceFailed, "the volume has failed");
    if (volume->info.health == Health::kRebuilding) co_return fail(Code::kBusy, "it is being recovered");
    if (volume->info.health == Health::kHealthy) co_return Result<void>();
    const std::vector<DriveIndex> free = online(volume->drives);
    if (free.empty()) co_return fail(Code::kNoDrive, "no online drive has room outside the volume's own drives");
    volume->info.health = Health::kRebuilding;
    const Result<void> advanced = co_await advance(progress, volume->info.spec.size_bytes);
    if (!advanced) {
        refresh_health(*volume);
        co_return advanced;
    }
    progress.past_cancel = true;
    for (DriveIndex& drive : volume->drives) {
        if (!drive_online(drive)) drive = free.front();
    }
    refresh_health(*volume);
    co_return co_await after("recover");
}

Result<VolumeInfo> MemoryBackend::info(VolumeId id) const {
    const auto found = array_->volumes.find(id);
    if (found == array_->volumes.end()) return fail(Code::kNotFound, "no volume " + std::to_string(id.value));
    VolumeInfo info = found->second.info;
    info.mapped_bytes = found->second.content->mapped_bytes();
    return info;
}

std::vector<VolumeId> MemoryBackend::volumes() const {
    std::vector<VolumeId> result;
    for (const auto& [id, volume] : array_->volumes) result.push_back(id);
    return result;
}

Result<std::shared_ptr<Volume>> MemoryBackend::open(VolumeId id) {
    UMBRA_ASSIGN(MemoryVolumeState * volume, find(id));
    return std::make_shared<MemoryHandle>(*volume, closed_);
}

Task<Result<void>> MemoryBackend::fail_drive(DriveIndex index) {
    UMBRA_CO_TRY(co_await before("fail_drive"));
    if (index.value >= array_->drives.size()) co_return fail(Code::kNotFound, "no such drive");
    DriveInfo& drive = array_->drives[index.value];
    drive.state = DriveState::kFailed;
    for (auto& [id, volume] : array_->volumes) refresh_health(volume);
    if (sink_) sink_({"drive.failed", "drive " + drive.name + " has failed", VolumeId(), index});
    co_return co_await after("fail_drive");
}

SpaceInfo MemoryBackend::space() const {
    SpaceInfo space;
    for (const DriveInfo& drive : array_->drives) {
        if (drive.state == DriveState::kOnline) space.raw_bytes += drive.size_bytes;
    }
    for (const auto& [id, volume] : array_->volumes) space.live_bytes += volume.content->mapped_bytes();
    space.free_bytes = space.raw_bytes - std::min(space.raw_bytes, space.live_bytes);
    return space;
}

Task<Result<void>> MemoryBackend::scrub(Progress& progress) {
    UMBRA_CO_TRY(co_await before("scrub"));
    uint64_t total = 0;
    for (const auto& [id, volume] : array_->volumes) total += volume.content->mapped_bytes();
    UMBRA_CO_TRY(co_await advance(progress, total));
    co_return co_await after("scrub");
}

Task<Result<void>> MemoryBackend::close() {
    *closed_ = true;
    co_return Result<void>();
}

}  // namespace umbra::lun::testing

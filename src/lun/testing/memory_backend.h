// A lun::Backend in memory: the whole contract of lun/backend.h, for tests of what stands above it. What would be on
// the drives is a MemoryArray that outlives the backend, so that a test can open it again.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "lun/backend.h"
#include "lun/testing/memory_volume.h"

namespace umbra::lun::testing {

struct MemoryVolumeState {
    VolumeInfo info;
    std::vector<DriveIndex> drives;
    std::shared_ptr<MemoryVolume> content;  // shared with the handles
    std::shared_ptr<bool> gone = std::make_shared<bool>(false);
};

/// What survives a restart.
struct MemoryArray {
    base::Guid id;
    uint64_t next_volume = 1;
    std::map<std::string, std::string> meta;
    std::map<VolumeId, MemoryVolumeState> volumes;
    std::vector<DriveInfo> drives;

    static std::shared_ptr<MemoryArray> make(size_t drives, uint64_t drive_bytes, uint64_t seed = 1);
};

class MemoryBackend final : public Backend {
public:
    enum class Step : uint8_t {
        kBefore,  ///< nothing has changed: an error refuses the operation
        kAfter,   ///< the change is durable: an error stands for a crash before the answer
    };
    /// Called around each changing call, with its name ("create", "update_meta", "resync" …); may wait.
    using Hook = std::function<Task<Result<void>>(std::string operation, Step step)>;

    MemoryBackend(env::Executor& executor, std::shared_ptr<MemoryArray> array)
        : executor_(executor), array_(std::move(array)) {}

    void set_hook(Hook hook) { hook_ = std::move(hook); }
    void set_event_sink(EventSink sink) { sink_ = std::move(sink); }
    /// How often a long operation lets others run, and how much of its work it does in between.
    static constexpr uint64_t kStepBytes = 64ull << 20;

    base::Guid array_id() const override { return array_->id; }
    VolumeId allocate_id() override { return VolumeId(array_->next_volume++); }
    const std::map<std::string, std::string>& meta() const override { return array_->meta; }
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
    std::vector<DriveInfo> drives() const override { return array_->drives; }
    Task<Result<void>> fail_drive(DriveIndex index) override;
    SpaceInfo space() const override;
    Task<Result<void>> scrub(Progress& progress) override;
    Task<Result<void>> close() override;

private:
    Task<Result<void>> before(std::string operation);
    Task<Result<void>> after(std::string operation);
    Result<MemoryVolumeState*> find(VolumeId id);
    void apply(const MetaBatch& batch);
    std::vector<DriveIndex> online(const std::vector<DriveIndex>& except = {}) const;
    bool drive_online(DriveIndex index) const;
    void refresh_health(MemoryVolumeState& volume) const;
    Task<Result<void>> advance(Progress& progress, uint64_t total);

    env::Executor& executor_;
    std::shared_ptr<MemoryArray> array_;
    std::shared_ptr<bool> closed_ = std::make_shared<bool>(false);
    Hook hook_;
    EventSink sink_;
};

}  // namespace umbra::lun::testing

// HostOps on this machine.
#pragma once

#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <string>
#include <vector>

#include "env/executor.h"
#include "host/attachments.h"
#include "host/freezer.h"
#include "host/host.h"

namespace umbra::host {

class Workers;

/// Blocking work runs on threads of its own, and results come back on `executor`. The executor and `attachments`
/// outlive the object, which outlives every task that it returned.
class LinuxHost final : public HostOps {
public:
    LinuxHost(env::Executor& executor, const HostConfig& config, Attachments& attachments);
    ~LinuxHost() override;

    env::Task<base::Result<Volume>> resolve(std::string name) override;
    env::Task<base::Result<std::vector<Volume>>> list_volumes() override;
    env::Task<base::Result<std::vector<Volume>>> list_volumes_on(std::string disk) override;
    env::Task<base::Result<std::vector<Disk>>> list_disks() override;
    env::Task<base::Result<void>> prepare_freeze(base::Guid set, std::vector<Volume> volumes) override;
    env::Task<base::Result<void>> freeze(base::Guid set, FreezeLimits limits) override;
    bool is_frozen(base::Guid set) const override;
    env::Task<base::Result<void>> thaw(base::Guid set) override;
    env::Task<void> end_freeze(base::Guid set) override;
    env::Task<base::Result<std::vector<std::string>>> thaw_leftovers() override;
    env::Task<base::Result<LunFlags>> write_lun_flags(std::string disk, uint32_t flags) override;
    env::Task<base::Result<LunFlags>> read_lun_flags(std::string disk) override;
    env::Task<base::Result<std::vector<std::optional<Disk>>>> rescan(std::vector<WantedLun> wanted,
                                                                     std::chrono::milliseconds timeout) override;
    env::Task<base::Result<void>> detach(LunIdentity lun) override;
    env::Task<base::Result<ReleasedDisk>> release_disk(std::string disk, std::chrono::milliseconds patience) override;
    env::Task<base::Result<Disk>> reacquire_disk(ReleasedDisk disk, bool mount) override;
    env::Task<base::Result<void>> check_exclusive(std::string disk) override;
    env::Task<base::Result<DiskSignature>> read_signature(std::string disk) override;
    env::Task<base::Result<void>> write_signature(std::string disk, DiskSignature signature) override;
    env::Task<base::Result<std::string>> mount_shadow(Volume volume, base::Guid id) override;
    env::Task<base::Result<void>> unmount_shadow(base::Guid id) override;
    std::string shadow_path(const base::Guid& id) const override;
    std::string raw_shadow_path(const base::Guid& id) const override;
    env::Task<base::Result<std::string>> expose(base::Guid id, std::string path) override;
    env::Task<base::Result<void>> unexpose(std::string path) override;
    std::string exposed_path(const base::Guid& id) const override;
    env::Task<base::Result<void>> mount_volume(Volume volume, std::string mount_point, bool read_only) override;
    env::Task<base::Result<void>> dismount(Volume volume) override;

private:
    std::shared_ptr<FreezeWatch> watch(const base::Guid& set) const;
    base::Result<void> start_watch(const base::Guid& set, const std::vector<Volume>& volumes);
    base::Result<void> detach_now(const LunIdentity& lun, bool keep_notes);
    base::Result<ReleasedDisk> release_now(const std::string& disk, std::chrono::milliseconds patience);
    base::Result<Disk> reacquire_now(const ReleasedDisk& disk, bool mount);
    base::Result<void> write_signature_now(const std::string& disk, const DiskSignature& signature);

    /// Of the file systems that this service cannot do without while something is frozen.
    std::set<uint64_t> own_devices() const;

    const HostConfig config_;
    Attachments& attachments_;
    std::unique_ptr<Workers> workers_;
    mutable std::mutex mutex_;
    std::map<base::Guid, std::shared_ptr<FreezeWatch>> watches_;
};

}  // namespace umbra::host

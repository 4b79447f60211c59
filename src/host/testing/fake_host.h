// A machine in memory, for the coordinator's tests and simulation. Single executor; every call may be made slow or made
// to fail once. What the real host would leave behind (mounts, freezes, attached disks, flags) can be asked.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "env/executor.h"
#include "host/host.h"

namespace umbra::host::testing {

/// An identity with one NAA-6 designator made of `tag`, and a serial.
LunIdentity fake_lun(uint64_t tag);

class FakeHost final : public HostOps {
public:
    explicit FakeHost(env::Executor& executor, std::string root = "/run/umbra")
        : executor_(executor), root_(std::move(root)) {}

    struct FakeVolume {
        std::string fs_type = "ext4";
        std::vector<std::string> mounts;
        bool layered = false;
        bool carries_service = false;
    };
    struct FakeDisk {
        Disk disk;
        bool attached = true;
        bool visible = true;     ///< unmasked: rescan() finds it
        bool held_open = false;  ///< somebody keeps it open: exclusive opens fail
        uint32_t flags = 0;
        std::vector<std::pair<uint32_t, FakeVolume>> volumes;  ///< partition number (0: whole disk)
    };

    // --- Set-up and inspection ---
    /// One volume on the whole disk (partition 0), mounted at `mount` unless empty. Returns the device.
    std::string add_disk(LunIdentity lun, std::string mount, bool attached = true, TableKind table = TableKind::kNone);
    /// The disk of that LUN; nullptr when there is none. Stays valid.
    FakeDisk* find(const LunIdentity& lun);
    FakeDisk* find_device(const std::string& device);
    void remove(const LunIdentity& lun);
    std::vector<std::string> frozen() const;  ///< mount points (or devices) frozen now
    const std::map<std::string, std::string>& exposed() const { return exposed_; }  ///< path -> device
    const std::map<base::Guid, std::string>& shadows() const { return shadows_; }   ///< id -> device
    /// Method names with their main argument, in call order.
    const std::vector<std::string>& trace() const { return trace_; }
    void clear_trace() { trace_.clear(); }
    /// The next call of `method` (name as in HostOps) fails with this; may be queued several times.
    void fail_next(const std::string& method, base::Error error) { failures_[method].push_back(std::move(error)); }
    /// Every call of `method` takes that long on the executor's clock.
    void set_delay(const std::string& method, env::Duration delay) { delays_[method] = delay; }
    /// Called at the beginning of every call that trace() shows, with its entry there.
    std::function<void(const std::string& call)> on_call;
    /// An attached disk takes the lowest device name that no attached disk has, as loop devices do.
    bool names_are_reused = false;
    /// Attaches a disk as rescan() does.
    void attach(FakeDisk* disk, bool read_only);
    /// As if the hosts's service was killed and restarted: watchdogs thaw, mounts and attachments stay.
    void crash();

    // --- HostOps ---
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
    std::string shadow_path(const base::Guid& id) const override { return root_ + "/shadow/" + id.braced(); }
    std::string raw_shadow_path(const base::Guid& id) const override { return "/dev/umbra/shadow/" + id.braced(); }
    env::Task<base::Result<std::string>> expose(base::Guid id, std::string path) override;
    env::Task<base::Result<void>> unexpose(std::string path) override;
    std::string exposed_path(const base::Guid& id) const override { return root_ + "/exposed/" + id.braced(); }
    env::Task<base::Result<void>> mount_volume(Volume volume, std::string mount_point, bool read_only) override;
    env::Task<base::Result<void>> dismount(Volume volume) override;

private:
    struct Freeze {
        std::vector<Volume> volumes;
        bool frozen = false;
        env::Instant until;
    };
    env::Task<base::Result<void>> enter(std::string method, std::string argument);
    Volume volume_of(const FakeDisk& disk, uint32_t partition, const FakeVolume& volume) const;
    FakeVolume* find_volume(const Volume& volume);
    bool in_use(const FakeDisk& disk) const;

    env::Executor& executor_;
    std::string root_;
    std::vector<std::unique_ptr<FakeDisk>> disks_;
    uint32_t next_device_ = 0;
    std::map<base::Guid, Freeze> freezes_;
    std::map<base::Guid, std::string> shadows_;
    std::map<std::string, std::string> exposed_;
    std::map<std::string, std::vector<base::Error>> failures_;
    std::map<std::string, env::Duration> delays_;
    std::vector<std::string> trace_;
};

}  // namespace umbra::host::testing

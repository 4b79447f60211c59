// The host with an end to every call: what hangs in the kernel must not hang the coordinator and its requesters.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "coordinator/deadline.h"
#include "env/executor.h"
#include "env/sync.h"
#include "host/host.h"

namespace umbra::coordinator {

struct HostLimits {
    env::Duration question = std::chrono::seconds(30);  ///< resolve, list, read
    env::Duration change = std::chrono::seconds(60);    ///< attach, detach, mount, write; beyond a call's own patience
    env::Duration content = std::chrono::minutes(10);   ///< unmount or mount of a file system that is in use
    env::Duration flags = std::chrono::seconds(10);     ///< write_lun_flags
    env::Duration preparation = std::chrono::seconds(90);  ///< prepare_freeze: dirty data is written back
    env::Duration grace = std::chrono::seconds(20);        ///< freeze() beyond its own flush limit; end_freeze
    env::Duration leftovers = std::chrono::seconds(60);    ///< thaw_leftovers
    env::Duration patience = std::chrono::seconds(5);      ///< a change waits so long for one that hangs
};

/// Forwards to another HostOps. A call that does not end in time is answered with kTimedOut and goes on unobserved.
/// While a change hangs, later changes wait `patience` for it and are then refused with kTimedOut too: two changes
/// never work on one disk at the same time. thaw() has no limit: its caller must know when it has really ended.
class BoundedHost final : public host::HostOps {
    template <class T>
    using Result = base::Result<T>;
    template <class T>
    using Task = env::Task<T>;

public:
    BoundedHost(env::Executor& executor, host::HostOps& inner, HostLimits limits = {});

    /// Returns when no call is under way any more, the ones that were given up included.
    Task<void> join() { return running_.join(); }

    Task<Result<host::Volume>> resolve(std::string name) override;
    Task<Result<std::vector<host::Volume>>> list_volumes() override;
    Task<Result<std::vector<host::Volume>>> list_volumes_on(std::string disk) override;
    Task<Result<std::vector<host::Disk>>> list_disks() override;
    Task<Result<void>> prepare_freeze(base::Guid set, std::vector<host::Volume> volumes) override;
    Task<Result<void>> freeze(base::Guid set, host::FreezeLimits limits) override;
    bool is_frozen(base::Guid set) const override { return inner_.is_frozen(set); }
    Task<Result<void>> thaw(base::Guid set) override { return inner_.thaw(set); }
    Task<void> end_freeze(base::Guid set) override;
    Task<Result<std::vector<std::string>>> thaw_leftovers() override;
    Task<Result<host::LunFlags>> write_lun_flags(std::string disk, uint32_t flags) override;
    Task<Result<host::LunFlags>> read_lun_flags(std::string disk) override;
    Task<Result<std::vector<std::optional<host::Disk>>>> rescan(std::vector<host::WantedLun> wanted,
                                                                std::chrono::milliseconds timeout) override;
    Task<Result<void>> detach(host::LunIdentity lun) override;
    Task<Result<host::ReleasedDisk>> release_disk(std::string disk, std::chrono::milliseconds patience) override;
    Task<Result<host::Disk>> reacquire_disk(host::ReleasedDisk disk, bool mount) override;
    Task<Result<void>> check_exclusive(std::string disk) override;
    Task<Result<host::DiskSignature>> read_signature(std::string disk) override;
    Task<Result<void>> write_signature(std::string disk, host::DiskSignature signature) override;
    Task<Result<std::string>> mount_shadow(host::Volume volume, base::Guid id) override;
    Task<Result<void>> unmount_shadow(base::Guid id) override;
    std::string shadow_path(const base::Guid& id) const override { return inner_.shadow_path(id); }
    std::string raw_shadow_path(const base::Guid& id) const override { return inner_.raw_shadow_path(id); }
    Task<Result<std::string>> expose(base::Guid id, std::string path) override;
    Task<Result<void>> unexpose(std::string path) override;
    std::string exposed_path(const base::Guid& id) const override { return inner_.exposed_path(id); }
    Task<Result<void>> mount_volume(host::Volume volume, std::string mount_point, bool read_only) override;
    Task<Result<void>> dismount(host::Volume volume) override;

private:
    struct Change {
        std::string what;
        bool given_up = false;
    };
    template <class T>
    Task<Result<T>> ask(std::string what, env::Duration limit, Task<Result<T>> call);
    template <class T>
    Task<Result<T>> change(std::string what, env::Duration limit, Task<Result<T>> call);
    template <class T>
    Task<Result<T>> run_change(std::shared_ptr<Change> change, Task<Result<T>> call);

    env::Executor& executor_;
    host::HostOps& inner_;
    HostLimits limits_;
    size_t hanging_ = 0;        // changes that were given up and have not ended
    std::string hanging_what_;  // the last of them
    Signal recovered_;
    env::TaskGroup running_;  // last: its tasks use all of the above
};

}  // namespace umbra::coordinator

// A host behind a kill switch: once that has fired, no call reaches the machine any more.
#pragma once

#include "coordinator/testing/fake_array.h"
#include "host/host.h"

namespace umbra::coordinator::testing {

class KillableHost final : public host::HostOps {
    template <class T>
    using Result = base::Result<T>;
    template <class T>
    using Task = env::Task<T>;
    using Disk = host::Disk;
    using DiskSignature = host::DiskSignature;
    using FreezeLimits = host::FreezeLimits;
    using LunFlags = host::LunFlags;
    using LunIdentity = host::LunIdentity;
    using ReleasedDisk = host::ReleasedDisk;
    using Volume = host::Volume;
    using WantedLun = host::WantedLun;

public:
    KillableHost(host::HostOps& inner, KillSwitch& kill) : inner_(inner), kill_(kill) {}

    Task<Result<Volume>> resolve(std::string name) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<Volume> result = co_await inner_.resolve(name);
        co_return result;
    }
    Task<Result<std::vector<Volume>>> list_volumes() override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<std::vector<Volume>> result = co_await inner_.list_volumes();
        co_return result;
    }
    Task<Result<std::vector<Volume>>> list_volumes_on(std::string disk) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<std::vector<Volume>> result = co_await inner_.list_volumes_on(disk);
        co_return result;
    }
    Task<Result<std::vector<Disk>>> list_disks() override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<std::vector<Disk>> result = co_await inner_.list_disks();
        co_return result;
    }
    Task<Result<void>> prepare_freeze(base::Guid set, std::vector<Volume> volumes) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.prepare_freeze(set, std::move(volumes));
        co_return result;
    }
    Task<Result<void>> freeze(base::Guid set, FreezeLimits limits) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.freeze(set, limits);
        co_return result;
    }
    Task<Result<void>> thaw(base::Guid set) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.thaw(set);
        co_return result;
    }
    Task<Result<std::vector<std::string>>> thaw_leftovers() override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<std::vector<std::string>> result = co_await inner_.thaw_leftovers();
        co_return result;
    }
    Task<Result<LunFlags>> write_lun_flags(std::string disk, uint32_t flags) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<LunFlags> result = co_await inner_.write_lun_flags(disk, flags);
        co_return result;
    }
    Task<Result<LunFlags>> read_lun_flags(std::string disk) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<LunFlags> result = co_await inner_.read_lun_flags(disk);
        co_return result;
    }
    Task<Result<std::vector<std::optional<Disk>>>> rescan(std::vector<WantedLun> wanted,
                                                          std::chrono::milliseconds timeout) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<std::vector<std::optional<Disk>>> result = co_await inner_.rescan(std::move(wanted), timeout);
        co_return result;
    }
    Task<Result<void>> detach(LunIdentity lun) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.detach(std::move(lun));
        co_return result;
    }
    Task<Result<ReleasedDisk>> release_disk(std::string disk, std::chrono::milliseconds patience) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<ReleasedDisk> result = co_await inner_.release_disk(disk, patience);
        co_return result;
    }
    Task<Result<Disk>> reacquire_disk(ReleasedDisk disk, bool mount) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<Disk> result = co_await inner_.reacquire_disk(std::move(disk), mount);
        co_return result;
    }
    Task<Result<void>> check_exclusive(std::string disk) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.check_exclusive(disk);
        co_return result;
    }
    Task<Result<DiskSignature>> read_signature(std::string disk) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<DiskSignature> result = co_await inner_.read_signature(disk);
        co_return result;
    }
    Task<Result<void>> write_signature(std::string disk, DiskSignature signature) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.write_signature(disk, std::move(signature));
        co_return result;
    }
    Task<Result<std::string>> mount_shadow(Volume volume, base::Guid id) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<std::string> result = co_await inner_.mount_shadow(std::move(volume), id);
        co_return result;
    }
    Task<Result<void>> unmount_shadow(base::Guid id) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.unmount_shadow(id);
        co_return result;
    }
    Task<Result<std::string>> expose(base::Guid id, std::string path) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<std::string> result = co_await inner_.expose(id, path);
        co_return result;
    }
    Task<Result<void>> unexpose(std::string path) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.unexpose(path);
        co_return result;
    }
    Task<Result<void>> mount_volume(Volume volume, std::string mount_point, bool read_only) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.mount_volume(std::move(volume), mount_point, read_only);
        co_return result;
    }
    Task<Result<void>> dismount(Volume volume) override {
        if (!kill_.pass()) co_return base::fail(base::Code::kUnavailable, "killed");
        Result<void> result = co_await inner_.dismount(std::move(volume));
        co_return result;
    }
    Task<void> end_freeze(base::Guid set) override {
        if (!kill_.pass()) co_return;
        co_await inner_.end_freeze(set);
    }
    bool is_frozen(base::Guid set) const override { return inner_.is_frozen(set); }
    std::string shadow_path(const base::Guid& id) const override { return inner_.shadow_path(id); }
    std::string raw_shadow_path(const base::Guid& id) const override { return inner_.raw_shadow_path(id); }
    std::string exposed_path(const base::Guid& id) const override { return inner_.exposed_path(id); }

private:
    host::HostOps& inner_;
    KillSwitch& kill_;
};

}  // namespace umbra::coordinator::testing

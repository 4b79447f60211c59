#include "coordinator/bounded_host.h"

#include <fmt/format.h>

namespace umbra::coordinator {

using base::Code;
using base::Guid;
using base::Result;
using env::Task;
using host::Disk;
using host::LunFlags;
using host::Volume;

namespace {

std::string too_late(const std::string& what, env::Duration limit) {
    return fmt::format("{} did not end within {} s: the array or its device does not answer", what,
                       std::chrono::duration_cast<std::chrono::seconds>(limit).count());
}

Task<bool> awaited(Task<void> call) {
    co_await std::move(call);
    co_return true;
}

}  // namespace

BoundedHost::BoundedHost(env::Executor& executor, host::HostOps& inner, HostLimits limits)
    : executor_(executor), inner_(inner), limits_(limits), recovered_(executor), running_(executor) {}

template <class T>
Task<Result<T>> BoundedHost::ask(std::string what, env::Duration limit, Task<Result<T>> call) {
    const env::Instant until = executor_.now() + limit;
    std::optional<Result<T>> result = co_await with_deadline<Result<T>>(executor_, running_, std::move(call), until);
    if (!result) co_return base::fail(Code::kTimedOut, too_late(what, limit));
    co_return std::move(*result);
}

template <class T>
Task<Result<T>> BoundedHost::run_change(std::shared_ptr<Change> change, Task<Result<T>> call) {
    Result<T> result = co_await std::move(call);
    if (change->given_up && --hanging_ == 0) recovered_.notify_all();
    co_return result;
}

template <class T>
Task<Result<T>> BoundedHost::change(std::string what, env::Duration limit, Task<Result<T>> call) {
    const env::Instant patience = executor_.now() + limits_.patience;
    while (hanging_ > 0) {
        const bool ended = co_await recovered_.wait_until(patience);
        if (!ended && hanging_ > 0) {
            co_return base::fail(Code::kTimedOut, what + " was not begun: " + hanging_what_ + " still hangs");
        }
    }
    const auto state = std::make_shared<Change>();  // shared by this frame and the call, whichever ends later
    const env::Instant until = executor_.now() + limit;
    Task<Result<T>> work = run_change<T>(state, std::move(call));
    std::optional<Result<T>> result = co_await with_deadline<Result<T>>(executor_, running_, std::move(work), until);
    if (!result) {
        state->given_up = true;
        ++hanging_;
        hanging_what_ = what;
        co_return base::fail(Code::kTimedOut, too_late(what, limit));
    }
    co_return std::move(*result);
}

// --- Questions -------------------------------------------------------------------------------------------------------

Task<Result<Volume>> BoundedHost::resolve(std::string name) {
    return ask<Volume>("looking up " + name, limits_.question, inner_.resolve(name));
}
Task<Result<std::vector<Volume>>> BoundedHost::list_volumes() {
    return ask<std::vector<Volume>>("listing the volumes", limits_.question, inner_.list_volumes());
}
Task<Result<std::vector<Volume>>> BoundedHost::list_volumes_on(std::string disk) {
    return ask<std::vector<Volume>>("listing the volumes of " + disk, limits_.question, inner_.list_volumes_on(disk));
}
Task<Result<std::vector<Disk>>> BoundedHost::list_disks() {
    return ask<std::vector<Disk>>("listing the disks", limits_.question, inner_.list_disks());
}
Task<Result<LunFlags>> BoundedHost::read_lun_flags(std::string disk) {
    return ask<LunFlags>("reading the flags of " + disk, limits_.question, inner_.read_lun_flags(disk));
}
Task<Result<void>> BoundedHost::check_exclusive(std::string disk) {
    return ask<void>("looking at the users of " + disk, limits_.question, inner_.check_exclusive(disk));
}
Task<Result<host::DiskSignature>> BoundedHost::read_signature(std::string disk) {
    return ask<host::DiskSignature>("reading the identity of " + disk, limits_.question, inner_.read_signature(disk));
}

// --- Freeze: the watchdog keeps the time, these limits are for a watchdog that does not answer
// --------------------------

Task<Result<void>> BoundedHost::prepare_freeze(Guid set, std::vector<Volume> volumes) {
    return ask<void>("writing back dirty data", limits_.preparation, inner_.prepare_freeze(set, std::move(volumes)));
}
Task<Result<void>> BoundedHost::freeze(Guid set, host::FreezeLimits limits) {
    return ask<void>("the freeze", limits.flush + limits_.grace, inner_.freeze(set, limits));
}
Task<void> BoundedHost::end_freeze(Guid set) {
    const env::Instant until = executor_.now() + limits_.grace;
    Task<bool> call = awaited(inner_.end_freeze(set));
    (void)co_await with_deadline<bool>(executor_, running_, std::move(call), until);
}
Task<Result<std::vector<std::string>>> BoundedHost::thaw_leftovers() {
    return ask<std::vector<std::string>>("thawing", limits_.leftovers, inner_.thaw_leftovers());
}

// --- Changes ---------------------------------------------------------------------------------------------------------

Task<Result<LunFlags>> BoundedHost::write_lun_flags(std::string disk, uint32_t flags) {
    return change<LunFlags>("writing the flags of " + disk, limits_.flags, inner_.write_lun_flags(disk, flags));
}
Task<Result<std::vector<std::optional<Disk>>>> BoundedHost::rescan(std::vector<host::WantedLun> wanted,
                                                                   std::chrono::milliseconds timeout) {
    return change<std::vector<std::optional<Disk>>>("looking for LUNs", timeout + limits_.change,
                                                    inner_.rescan(std::move(wanted), timeout));
}
Task<Result<void>> BoundedHost::detach(host::LunIdentity lun) {
    std::string what = "detaching " + lun.key();
    return change<void>(std::move(what), limits_.change, inner_.detach(std::move(lun)));
}
Task<Result<host::ReleasedDisk>> BoundedHost::release_disk(std::string disk, std::chrono::milliseconds patience) {
    return change<host::ReleasedDisk>("taking " + disk + " out of use", patience + limits_.content,
                                      inner_.release_disk(disk, patience));
}
Task<Result<Disk>> BoundedHost::reacquire_disk(host::ReleasedDisk disk, bool mount) {
    std::string what = "taking " + disk.lun.key() + " into use";
    return change<Disk>(std::move(what), limits_.content, inner_.reacquire_disk(std::move(disk), mount));
}
Task<Result<void>> BoundedHost::write_signature(std::string disk, host::DiskSignature signature) {
    return change<void>("writing the identity of " + disk, limits_.change,
                        inner_.write_signature(disk, std::move(signature)));
}
Task<Result<std::string>> BoundedHost::mount_shadow(Volume volume, Guid id) {
    std::string what = "mounting " + volume.device;
    return change<std::string>(std::move(what), limits_.change, inner_.mount_shadow(std::move(volume), id));
}
Task<Result<void>> BoundedHost::unmount_shadow(Guid id) {
    return change<void>("unmounting " + id.braced(), limits_.change, inner_.unmount_shadow(id));
}
Task<Result<std::string>> BoundedHost::expose(Guid id, std::string path) {
    return change<std::string>("exposing at " + path, limits_.change, inner_.expose(id, path));
}
Task<Result<void>> BoundedHost::unexpose(std::string path) {
    return change<void>("unmounting " + path, limits_.change, inner_.unexpose(path));
}
Task<Result<void>> BoundedHost::mount_volume(Volume volume, std::string mount_point, bool read_only) {
    std::string what = "mounting " + volume.device;
    return change<void>(std::move(what), limits_.content,
                        inner_.mount_volume(std::move(volume), std::move(mount_point), read_only));
}
Task<Result<void>> BoundedHost::dismount(Volume volume) {
    std::string what = "unmounting " + volume.device;
    return change<void>(std::move(what), limits_.content, inner_.dismount(std::move(volume)));
}

}  // namespace umbra::coordinator

#include "host/linux_host.h"

#include <fcntl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <condition_variable>
#include <deque>
#include <functional>
#include <set>
#include <thread>

#include "host/disk_label.h"
#include "host/loop.h"
#include "host/machine.h"
#include "host/mounts.h"
#include "host/process.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;
using env::Task;
using std::chrono::milliseconds;

// Threads as needed: a freeze that hangs must not keep the thaw waiting.
class Workers {
public:
    explicit Workers(env::Executor& executor) : executor_(executor) {}
    ~Workers() {
        {
            const std::lock_guard lock(mutex_);
            ending_ = true;
        }
        wake_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }
    void add(std::move_only_function<void()> job) {
        const std::lock_guard lock(mutex_);
        jobs_.push_back(std::move(job));
        if (jobs_.size() > idle_) threads_.emplace_back(&Workers::work, this);
        wake_.notify_one();
    }
    env::Executor& executor() { return executor_; }

private:
    void work() {
        std::unique_lock lock(mutex_);
        for (;;) {
            ++idle_;
            wake_.wait(lock, [&] { return ending_ || !jobs_.empty(); });
            --idle_;
            if (jobs_.empty()) return;
            auto job = std::move(jobs_.front());
            jobs_.pop_front();
            lock.unlock();
            job();
            job = nullptr;
            lock.lock();
        }
    }
    env::Executor& executor_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::move_only_function<void()>> jobs_;
    std::vector<std::thread> threads_;
    size_t idle_ = 0;
    bool ending_ = false;
};

namespace {

constexpr milliseconds kReacquirePatience{30'000};
constexpr milliseconds kReacquirePause{250};

template <class F>
struct OffloadAwaiter {
    Workers& workers;
    F& function;
    std::optional<std::invoke_result_t<F&>> result;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        workers.add([this, handle] {
            result.emplace(function());
            workers.executor().post([handle] { handle.resume(); });
        });
    }
    std::invoke_result_t<F&> await_resume() { return std::move(*result); }
};

// Runs `function` on a worker thread; it lives in this frame meanwhile.
template <class F>
Task<std::invoke_result_t<F&>> offload(Workers* workers, F function) {
    OffloadAwaiter<F> awaiter{*workers, function, std::nullopt};
    co_return co_await awaiter;
}

// Where an initiator below can be cut off: the FUSE connection of the file under the loop device.
std::string abort_path(const Attachments& attachments, const Volume& volume) {
    static_cast<void>(attachments);
    const std::string name = volume.disk.substr(volume.disk.rfind('/') + 1);
    const auto backing = read_file("/sys/block/" + name + "/loop/backing_file");
    if (!backing) return {};
    struct stat status{};
    if (::stat(backing->substr(0, backing->find('\n')).c_str(), &status) != 0) return {};
    const std::string path = "/sys/fs/fuse/connections/" + std::to_string(minor(status.st_dev)) + "/abort";
    if (::access(path.c_str(), W_OK) != 0) {
        ::mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, nullptr);
    }
    return ::access(path.c_str(), W_OK) == 0 ? path : std::string{};
}

Result<void> exclusive(const std::string& disk, milliseconds patience) {
    const auto deadline = std::chrono::steady_clock::now() + patience;
    for (;;) {
        const auto unused = check_unused(disk);
        if (unused || unused.error().code != Code::kBusy || std::chrono::steady_clock::now() >= deadline) return unused;
        std::this_thread::sleep_for(milliseconds(100));
    }
}

}  // namespace

LinuxHost::LinuxHost(env::Executor& executor, const HostConfig& config, Attachments& attachments)
    : config_(canonical(config)), attachments_(attachments), workers_(std::make_unique<Workers>(executor)) {}

LinuxHost::~LinuxHost() = default;

Task<Result<Volume>> LinuxHost::resolve(std::string name) {
    return offload(workers_.get(), [this, name = std::move(name)]() -> Result<Volume> {
        UMBRA_ASSIGN(Volume volume, attachments_.machine().resolve(name));
        volume.carries_service = own_devices().contains(volume.device_number);
        return volume;
    });
}

Task<Result<std::vector<Volume>>> LinuxHost::list_volumes() {
    return offload(workers_.get(), [this] { return attachments_.machine().volumes(); });
}

Task<Result<std::vector<Volume>>> LinuxHost::list_volumes_on(std::string disk) {
    return offload(workers_.get(), [this, disk = std::move(disk)] { return attachments_.machine().volumes_on(disk); });
}

Task<Result<std::vector<Disk>>> LinuxHost::list_disks() {
    return offload(workers_.get(), [this] { return attachments_.machine().disks(); });
}

// --- Freeze ---

std::shared_ptr<FreezeWatch> LinuxHost::watch(const base::Guid& set) const {
    const std::lock_guard lock(mutex_);
    const auto found = watches_.find(set);
    return found == watches_.end() ? nullptr : found->second;
}

std::set<uint64_t> LinuxHost::own_devices() const {
    std::set<uint64_t> own;
    std::vector<std::string> paths = config_.own_paths;
    paths.insert(paths.end(), {config_.run_dir, config_.freeze_dir(), config_.attach_dir(), config_.state_dir,
                               config_.initiator_program, config_.freezer_program, "/proc/self/exe", "/proc/self/cwd",
                               "/proc/self/fd/1", "/proc/self/fd/2"});
    for (const std::string& path : paths) {
        struct stat status{};
        if (::stat(path.c_str(), &status) == 0) own.insert(status.st_dev);
    }
    return own;
}

Result<void> LinuxHost::start_watch(const base::Guid& set, const std::vector<Volume>& volumes) {
    UMBRA_TRY(make_directories(config_.freeze_dir(), 0700));
    const std::set<uint64_t> own = own_devices();
    std::vector<FreezeTarget> targets;
    std::set<uint64_t> seen;
    for (const Volume& volume : volumes) {
        if (!seen.insert(volume.device_number).second) continue;
        if (own.contains(volume.device_number)) {
            return fail(Code::kUnsupported,
                        volume.mount_point + " carries programs or state of this service: it cannot be frozen");
        }
        FreezeTarget target;
        target.abort_path = abort_path(attachments_, volume);
        target.device = volume.device_number;
        if (!volume.mounted() || volume.mounted_read_only) {
            // Mounted where we do not see it, in a container for example, it would be copied torn.
            if (!volume.mounted() && !check_unused(volume.device)) {
                return fail(Code::kUnsupported, volume.device +
                                                    " is in use, but not mounted in this mount namespace: " +
                                                    "what uses it cannot be frozen");
            }
            target.raw = true;
            target.claim = !volume.mounted();
            target.path = volume.device;
        } else if (volume.freezable) {
            target.path = volume.mount_point;
        } else {
            return fail(Code::kUnsupported, volume.mount_point + ": " + volume.fs_type + " cannot be frozen");
        }
        targets.push_back(std::move(target));
    }
    UMBRA_ASSIGN(auto started, FreezeWatch::start(config_.freezer_program, config_.freeze_dir(), set,
                                                  std::move(targets), config_.abort_grace));
    const std::lock_guard lock(mutex_);
    if (watches_.contains(set)) return fail(Code::kBadState, "the set is prepared already");
    watches_.emplace(set, std::move(started));
    return {};
}

Task<Result<void>> LinuxHost::prepare_freeze(base::Guid set, std::vector<Volume> volumes) {
    return offload(workers_.get(), [this, set, volumes = std::move(volumes)] { return start_watch(set, volumes); });
}

Task<Result<void>> LinuxHost::freeze(base::Guid set, FreezeLimits limits) {
    return offload(workers_.get(), [this, set, limits]() -> Result<void> {
        const auto watching = watch(set);
        if (!watching) return fail(Code::kBadState, "freeze without prepare_freeze");
        return watching->freeze(limits);
    });
}

bool LinuxHost::is_frozen(base::Guid set) const {
    const auto watching = watch(set);
    return watching && watching->is_frozen();
}

Task<Result<void>> LinuxHost::thaw(base::Guid set) {
    return offload(workers_.get(), [this, set]() -> Result<void> {
        const auto watching = watch(set);
        if (!watching) return fail(Code::kTimedOut, "nothing of this set is frozen");
        return watching->thaw();
    });
}

Task<void> LinuxHost::end_freeze(base::Guid set) {
    auto ended = offload(workers_.get(), [this, set]() -> Result<void> {
        std::shared_ptr<FreezeWatch> watching;
        {
            const std::lock_guard lock(mutex_);
            const auto found = watches_.find(set);
            if (found == watches_.end()) return {};
            watching = std::move(found->second);
            watches_.erase(found);
        }
        return {};
    });
    const auto result = co_await std::move(ended);
    static_cast<void>(result);
}

Task<Result<std::vector<std::string>>> LinuxHost::thaw_leftovers() {
    return offload(workers_.get(), [this] { return host::thaw_leftovers(config_.freeze_dir()); });
}

// --- Disks ---

Task<Result<LunFlags>> LinuxHost::write_lun_flags(std::string disk, uint32_t flags) {
    return offload(workers_.get(), [disk = std::move(disk), flags] { return write_disk_flags(disk, flags); });
}

Task<Result<LunFlags>> LinuxHost::read_lun_flags(std::string disk) {
    return offload(workers_.get(), [disk = std::move(disk)] { return read_disk_flags(disk); });
}

Task<Result<std::vector<std::optional<Disk>>>> LinuxHost::rescan(std::vector<WantedLun> wanted, milliseconds timeout) {
    return offload(workers_.get(),
                   [this, wanted = std::move(wanted), timeout] { return attachments_.search(wanted, timeout); });
}

Result<void> LinuxHost::detach_now(const LunIdentity& lun, bool keep_notes) {
    UMBRA_ASSIGN(const auto attachment, attachments_.find(lun));
    if (attachment) return attachments_.detach_file(attachment->file, keep_notes);
    UMBRA_ASSIGN(const auto disk, attachments_.machine().find_lun(lun));
    if (!disk) return {};
    UMBRA_TRY(check_unused(disk->device));
    return poke_file("/sys/block/" + disk->device.substr(disk->device.rfind('/') + 1) + "/device/delete", "1");
}

Task<Result<void>> LinuxHost::detach(LunIdentity lun) {
    return offload(workers_.get(), [this, lun = std::move(lun)] { return detach_now(lun, false); });
}

Result<ReleasedDisk> LinuxHost::release_now(const std::string& device, milliseconds patience) {
    UMBRA_ASSIGN(const std::vector<Disk> disks, attachments_.machine().disks());
    const auto disk = std::find_if(disks.begin(), disks.end(), [&](const Disk& d) { return d.device == device; });
    if (disk == disks.end()) return fail(Code::kNotFound, device + " is not a LUN of this host");
    ReleasedDisk out;
    out.lun = disk->lun;
    out.path = disk->path;
    out.read_only = disk->read_only;
    UMBRA_ASSIGN(const std::vector<Volume> volumes, attachments_.machine().volumes_on(device));
    UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
    for (const MountEntry& mount : mounts) {
        const auto volume = std::find_if(volumes.begin(), volumes.end(),
                                         [&](const Volume& v) { return v.device_number == mount.device; });
        if (volume == volumes.end()) continue;
        if (mount.root != "/")
            return fail(Code::kBusy, "a directory of " + device + " is mounted at " + mount.mount_point);
        if (volume->layered) return fail(Code::kUnsupported, volume->device + " on " + device + " is a layered device");
        out.mounts.push_back(
            {volume->partition, mount.mount_point, mount.fs_type, mount.options + "," + mount.super_options});
    }
    size_t done = 0;
    Result<void> result;
    for (; done < out.mounts.size() && result; ++done) {
        result = unmount(out.mounts[out.mounts.size() - 1 - done].mount_point);
        if (!result) break;
    }
    if (result) result = exclusive(device, patience);
    if (result) result = drop_caches(device);
    // Who attached it still wants to find it by its name, and to withdraw what was presented for it.
    if (result) result = detach_now(out.lun, true);
    if (result) return out;
    // As it was: those that were unmounted come back.
    ReleasedDisk again = out;
    again.mounts.erase(again.mounts.begin(),
                       again.mounts.begin() + static_cast<std::ptrdiff_t>(out.mounts.size() - done));
    const auto restored = reacquire_now(again, true);
    if (!restored)
        return fail(result.error().code,
                    result.error().message + "; and mounting it again failed: " + restored.error().message);
    return std::unexpected(result.error());
}

Task<Result<ReleasedDisk>> LinuxHost::release_disk(std::string disk, milliseconds patience) {
    return offload(workers_.get(), [this, disk = std::move(disk), patience] { return release_now(disk, patience); });
}

Result<Disk> LinuxHost::reacquire_now(const ReleasedDisk& released, bool mount) {
    if (!released.path.empty()) {
        UMBRA_ASSIGN(const IscsiPath path, IscsiPath::parse(released.path));
        // What was taken out of use comes back also when the array is just being started again.
        const auto deadline = std::chrono::steady_clock::now() + kReacquirePatience;
        for (;;) {
            const auto attached = attachments_.attach(path, released.lun.key(), released.read_only);
            if (attached) break;
            if (attached.error().code != Code::kUnavailable || std::chrono::steady_clock::now() >= deadline) {
                return std::unexpected(attached.error());
            }
            std::this_thread::sleep_for(kReacquirePause);
        }
    }
    const std::vector<WantedLun> wanted = {{released.lun, released.read_only}};
    UMBRA_ASSIGN(const auto found, attachments_.search(wanted, kReacquirePatience));
    if (!found.front()) return fail(Code::kUnavailable, "LUN " + released.lun.key() + " did not come back");
    const Disk& disk = *found.front();
    if (!mount) return disk;
    UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
    UMBRA_ASSIGN(const std::vector<Volume> volumes, attachments_.machine().volumes_on(disk.device));
    for (const ReleasedDisk::Mount& wanted_mount : released.mounts) {
        const auto volume = std::find_if(volumes.begin(), volumes.end(), [&](const Volume& v) {
            return !v.layered && v.partition == wanted_mount.partition;
        });
        if (volume == volumes.end()) {
            return fail(Code::kNotFound,
                        disk.device + " has no partition " + std::to_string(wanted_mount.partition) + " any more");
        }
        const bool there = std::any_of(mounts.begin(), mounts.end(), [&](const MountEntry& m) {
            return m.mount_point == wanted_mount.mount_point && m.device == volume->device_number;
        });
        if (there) continue;
        // The content may be another file system now.
        const std::string type = volume->fs_type.empty() ? wanted_mount.fs_type : volume->fs_type;
        const std::string options = type == wanted_mount.fs_type ? wanted_mount.options : std::string("rw");
        UMBRA_TRY(mount_device(volume->device, type, wanted_mount.mount_point, options));
    }
    return disk;
}

Task<Result<Disk>> LinuxHost::reacquire_disk(ReleasedDisk disk, bool mount) {
    return offload(workers_.get(), [this, disk = std::move(disk), mount] { return reacquire_now(disk, mount); });
}

Task<Result<void>> LinuxHost::check_exclusive(std::string disk) {
    return offload(workers_.get(), [disk = std::move(disk)] { return check_unused(disk); });
}

Task<Result<DiskSignature>> LinuxHost::read_signature(std::string disk) {
    return offload(workers_.get(), [disk = std::move(disk)] { return read_disk_signature(disk); });
}

Result<void> LinuxHost::write_signature_now(const std::string& device, const DiskSignature& signature) {
    if (signature.kind != TableKind::kNone) {
        UMBRA_ASSIGN(const std::vector<Disk> disks, attachments_.machine().disks());
        for (const Disk& other : disks) {
            if (other.device == device || other.signature.kind != signature.kind) continue;
            const bool same = signature.kind == TableKind::kGpt ? other.signature.gpt_guid == signature.gpt_guid
                                                                : other.signature.mbr_id == signature.mbr_id;
            if (same) return fail(Code::kAlreadyExists, other.device + " has this identity already");
        }
    }
    return write_disk_signature(device, signature);
}

Task<Result<void>> LinuxHost::write_signature(std::string disk, DiskSignature signature) {
    return offload(workers_.get(), [this, disk = std::move(disk), signature = std::move(signature)] {
        return write_signature_now(disk, signature);
    });
}

// --- Mounts ---

Task<Result<std::string>> LinuxHost::mount_shadow(Volume volume, base::Guid id) {
    return offload(workers_.get(),
                   [this, volume = std::move(volume), id] { return mount_shadow_copy(config_, volume, id); });
}

Task<Result<void>> LinuxHost::unmount_shadow(base::Guid id) {
    return offload(workers_.get(), [this, id] { return unmount_shadow_copy(config_, id); });
}

std::string LinuxHost::shadow_path(const base::Guid& id) const {
    return config_.shadow_dir() + "/" + id.braced();
}

std::string LinuxHost::raw_shadow_path(const base::Guid& id) const {
    return config_.device_dir + "/shadow/" + id.braced();
}

std::string LinuxHost::exposed_path(const base::Guid& id) const {
    return config_.exposed_dir() + "/" + id.braced();
}

Task<Result<std::string>> LinuxHost::expose(base::Guid id, std::string path) {
    return offload(workers_.get(), [this, id, path = std::move(path)] { return expose_copy(config_, id, path); });
}

Task<Result<void>> LinuxHost::unexpose(std::string path) {
    return offload(workers_.get(), [this, path = std::move(path)] { return unexpose_copy(config_, path); });
}

Task<Result<void>> LinuxHost::mount_volume(Volume volume, std::string mount_point, bool read_only) {
    return offload(workers_.get(),
                   [volume = std::move(volume), mount_point = std::move(mount_point), read_only]() -> Result<void> {
                       if (volume.fs_type.empty())
                           return fail(Code::kUnsupported, volume.device + " has no file system that is known");
                       // XFS refuses a file system whose UUID is mounted already; a copy has the original's.
                       const bool copy = volume.fs_type == "xfs";
                       UMBRA_TRY(make_directories(mount_point, 0755));
                       return mount_device(volume.device, volume.fs_type, mount_point,
                                           std::string(read_only ? "ro" : "rw") + (copy ? ",nouuid" : ""));
                   });
}

Task<Result<void>> LinuxHost::dismount(Volume volume) {
    return offload(workers_.get(), [volume = std::move(volume)]() -> Result<void> {
        UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
        for (auto mount = mounts.rbegin(); mount != mounts.rend(); ++mount) {
            if (mount->device == volume.device_number) UMBRA_TRY(unmount(mount->mount_point));
        }
        return {};
    });
}

}  // namespace umbra::host

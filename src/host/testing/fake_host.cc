#include "host/testing/fake_host.h"

#include <algorithm>
#include <array>

namespace umbra::host::testing {

using base::Code;
using base::fail;
using base::Result;
using env::Task;

LunIdentity fake_lun(uint64_t tag) {
    LunIdentity lun;
    lun.vendor_id = "UMBRA";
    lun.product_id = "VIRTUAL-DISK";
    lun.product_revision = "0001";
    std::array<std::byte, 16> naa{};
    naa[0] = std::byte{0x62};
    base::store_be(naa.data() + 8, tag);
    lun.serial = base::to_hex(std::span<const std::byte>(naa).last(8));
    lun.designators.push_back({1, 3, 0, {naa.begin(), naa.end()}});
    return lun;
}

std::string FakeHost::add_disk(LunIdentity lun, std::string mount, bool attached, TableKind table) {
    auto disk = std::make_unique<FakeDisk>();
    disk->disk.device = "/dev/fake" + std::to_string(next_device_++);
    disk->disk.size_bytes = 1ull << 30;
    disk->disk.user_space = true;
    disk->disk.path = "iscsi://fake/" + lun.key();
    disk->disk.lun = std::move(lun);
    disk->disk.signature.kind = table;
    disk->attached = attached;
    FakeVolume volume;
    if (!mount.empty()) volume.mounts.push_back(std::move(mount));
    disk->volumes.emplace_back(table == TableKind::kNone ? 0 : 1, std::move(volume));
    disks_.push_back(std::move(disk));
    return disks_.back()->disk.device;
}

FakeHost::FakeDisk* FakeHost::find(const LunIdentity& lun) {
    for (auto& disk : disks_) {
        if (disk->disk.lun.key() == lun.key()) return disk.get();
    }
    return nullptr;
}

FakeHost::FakeDisk* FakeHost::find_device(const std::string& device) {
    for (auto& disk : disks_) {
        if (disk->disk.device == device && disk->attached) return disk.get();
    }
    return nullptr;
}

void FakeHost::remove(const LunIdentity& lun) {
    std::erase_if(disks_, [&](const auto& disk) { return disk->disk.lun.key() == lun.key(); });
}

std::vector<std::string> FakeHost::frozen() const {
    std::vector<std::string> out;
    for (const auto& [set, freeze] : freezes_) {
        if (!freeze.frozen || executor_.now() >= freeze.until) continue;
        for (const Volume& volume : freeze.volumes)
            out.push_back(volume.mounted() ? volume.mount_point : volume.device);
    }
    return out;
}

void FakeHost::attach(FakeDisk* disk, bool read_only) {
    for (uint32_t number = 0; names_are_reused; ++number) {
        const std::string name = "/dev/fake" + std::to_string(number);
        if (find_device(name) != nullptr) continue;
        disk->disk.device = name;
        break;
    }
    disk->disk.read_only = read_only;
    disk->attached = true;
}

void FakeHost::crash() {
    freezes_.clear();
}

Task<Result<void>> FakeHost::enter(std::string method, std::string argument) {
    trace_.push_back(argument.empty() ? method : method + " " + argument);
    if (on_call) {
        const std::string entry = trace_.back();
        on_call(entry);
    }
    if (const auto delay = delays_.find(method); delay != delays_.end()) {
        co_await env::sleep_for(executor_, delay->second);
    }
    auto& queue = failures_[method];
    if (!queue.empty()) {
        base::Error error = std::move(queue.front());
        queue.erase(queue.begin());
        co_return std::unexpected(std::move(error));
    }
    co_return Result<void>();
}

Volume FakeHost::volume_of(const FakeDisk& disk, uint32_t partition, const FakeVolume& volume) const {
    Volume out;
    out.name = volume_name(disk.disk.lun.key(), partition);
    out.device = partition == 0 ? disk.disk.device : disk.disk.device + "p" + std::to_string(partition);
    out.size_bytes = disk.disk.size_bytes;
    out.mount_points = volume.mounts;
    if (!volume.mounts.empty()) out.mount_point = volume.mounts.front();
    out.fs_type = volume.fs_type;
    out.freezable = !volume.mounts.empty() && (volume.fs_type == "ext4" || volume.fs_type == "xfs");
    out.disk = disk.disk.device;
    out.partition = partition;
    out.layered = volume.layered;
    out.carries_service = volume.carries_service;
    if (!disk.disk.lun.key().empty()) {
        out.luns.push_back(disk.disk.lun);
        if (!volume.layered) out.extents.push_back({0, 0, partition == 0 ? 0 : 1u << 20, disk.disk.size_bytes});
    }
    return out;
}

FakeHost::FakeVolume* FakeHost::find_volume(const Volume& volume) {
    for (auto& disk : disks_) {
        if (!disk->attached) continue;
        for (auto& [partition, v] : disk->volumes) {
            if (volume_name(disk->disk.lun.key(), partition) == volume.name) return &v;
        }
    }
    return nullptr;
}

bool FakeHost::in_use(const FakeDisk& disk) const {
    if (disk.held_open) return true;
    return std::any_of(disk.volumes.begin(), disk.volumes.end(),
                       [](const auto& v) { return !v.second.mounts.empty(); });
}

Task<Result<Volume>> FakeHost::resolve(std::string name) {
    UMBRA_CO_TRY(co_await enter("resolve", name));
    if (name.size() > 1 && (name.back() == '/' || name.back() == '\\')) name.pop_back();
    const auto guid = parse_volume_name(name);
    for (const auto& disk : disks_) {
        if (!disk->attached) continue;
        for (const auto& [partition, v] : disk->volumes) {
            Volume volume = volume_of(*disk, partition, v);
            const bool match =
                guid ? parse_volume_name(volume.name) == guid
                     : volume.device == name || std::find(v.mounts.begin(), v.mounts.end(), name) != v.mounts.end();
            if (match) co_return volume;
        }
    }
    co_return fail(Code::kNotFound, "no volume " + name);
}

Task<Result<std::vector<Volume>>> FakeHost::list_volumes() {
    UMBRA_CO_TRY(co_await enter("list_volumes", ""));
    std::vector<Volume> out;
    for (const auto& disk : disks_) {
        if (!disk->attached) continue;
        for (const auto& [partition, v] : disk->volumes) out.push_back(volume_of(*disk, partition, v));
    }
    co_return out;
}

Task<Result<std::vector<Volume>>> FakeHost::list_volumes_on(std::string device) {
    UMBRA_CO_TRY(co_await enter("list_volumes_on", device));
    const FakeDisk* disk = find_device(device);
    if (disk == nullptr) co_return fail(Code::kNotFound, "no disk " + device);
    std::vector<Volume> out;
    for (const auto& [partition, v] : disk->volumes) out.push_back(volume_of(*disk, partition, v));
    co_return out;
}

Task<Result<std::vector<Disk>>> FakeHost::list_disks() {
    UMBRA_CO_TRY(co_await enter("list_disks", ""));
    std::vector<Disk> out;
    for (const auto& disk : disks_) {
        if (disk->attached) out.push_back(disk->disk);
    }
    co_return out;
}

Task<Result<void>> FakeHost::prepare_freeze(base::Guid set, std::vector<Volume> volumes) {
    UMBRA_CO_TRY(co_await enter("prepare_freeze", set.text()));
    for (const Volume& volume : volumes) {
        if (volume.mounted() && !volume.freezable)
            co_return fail(Code::kUnsupported, volume.mount_point + " cannot freeze");
    }
    Freeze freeze;
    freeze.volumes = std::move(volumes);
    freezes_[set] = std::move(freeze);
    co_return Result<void>();
}

Task<Result<void>> FakeHost::freeze(base::Guid set, FreezeLimits limits) {
    const env::Instant start = executor_.now();
    UMBRA_CO_TRY(co_await enter("freeze", set.text()));
    const auto it = freezes_.find(set);
    if (it == freezes_.end()) co_return fail(Code::kBadState, "freeze without prepare_freeze");
    if (executor_.now() - start > limits.flush) co_return fail(Code::kTimedOut, "flush took too long");
    it->second.frozen = true;
    it->second.until = executor_.now() + limits.hold;
    co_return Result<void>();
}

bool FakeHost::is_frozen(base::Guid set) const {
    const auto it = freezes_.find(set);
    return it != freezes_.end() && it->second.frozen && executor_.now() < it->second.until;
}

Task<Result<void>> FakeHost::thaw(base::Guid set) {
    UMBRA_CO_TRY(co_await enter("thaw", set.text()));
    const auto it = freezes_.find(set);
    if (it == freezes_.end() || !it->second.frozen) co_return fail(Code::kTimedOut, "nothing is frozen");
    const bool held = executor_.now() < it->second.until;
    it->second.frozen = false;
    if (!held) co_return fail(Code::kTimedOut, "the watchdog thawed first");
    co_return Result<void>();
}

Task<void> FakeHost::end_freeze(base::Guid set) {
    trace_.push_back("end_freeze " + set.text());
    freezes_.erase(set);
    co_return;
}

Task<Result<std::vector<std::string>>> FakeHost::thaw_leftovers() {
    UMBRA_CO_TRY(co_await enter("thaw_leftovers", ""));
    std::vector<std::string> thawed = frozen();
    freezes_.clear();
    co_return thawed;
}

Task<Result<LunFlags>> FakeHost::write_lun_flags(std::string device, uint32_t flags) {
    UMBRA_CO_TRY(co_await enter("write_lun_flags", device + " " + std::to_string(flags)));
    FakeDisk* disk = find_device(device);
    if (disk == nullptr) co_return fail(Code::kNotFound, "no disk " + device);
    LunFlags out;
    if (disk->disk.signature.kind == TableKind::kGpt) {
        disk->flags = flags;
        out.place = FlagPlace::kOnDisk;
        out.flags = flags;
    }
    co_return out;
}

Task<Result<LunFlags>> FakeHost::read_lun_flags(std::string device) {
    UMBRA_CO_TRY(co_await enter("read_lun_flags", device));
    const FakeDisk* disk = find_device(device);
    if (disk == nullptr) co_return fail(Code::kNotFound, "no disk " + device);
    LunFlags out;
    if (disk->disk.signature.kind == TableKind::kGpt) {
        out.place = FlagPlace::kOnDisk;
        out.flags = disk->flags;
    }
    co_return out;
}

Task<Result<std::vector<std::optional<Disk>>>> FakeHost::rescan(std::vector<WantedLun> wanted,
                                                                std::chrono::milliseconds) {
    UMBRA_CO_TRY(co_await enter("rescan", std::to_string(wanted.size())));
    std::vector<std::optional<Disk>> out;
    for (const WantedLun& want : wanted) {
        FakeDisk* disk = find(want.lun);
        if (disk == nullptr || (!disk->visible && !disk->attached)) {
            out.emplace_back();
            continue;
        }
        if (!disk->attached) attach(disk, want.read_only);
        out.emplace_back(disk->disk);
    }
    co_return out;
}

Task<Result<void>> FakeHost::detach(LunIdentity lun) {
    UMBRA_CO_TRY(co_await enter("detach", lun.key()));
    FakeDisk* disk = find(lun);
    if (disk == nullptr || !disk->attached) co_return Result<void>();
    if (in_use(*disk)) co_return fail(Code::kBusy, disk->disk.device + " is in use");
    disk->attached = false;
    co_return Result<void>();
}

Task<Result<ReleasedDisk>> FakeHost::release_disk(std::string device, std::chrono::milliseconds) {
    UMBRA_CO_TRY(co_await enter("release_disk", device));
    FakeDisk* disk = find_device(device);
    if (disk == nullptr) co_return fail(Code::kNotFound, "no disk " + device);
    if (disk->held_open) co_return fail(Code::kBusy, device + " is open");
    ReleasedDisk out;
    out.lun = disk->disk.lun;
    out.path = disk->disk.path;
    out.read_only = disk->disk.read_only;
    for (auto& [partition, v] : disk->volumes) {
        for (const std::string& mount : v.mounts) out.mounts.push_back({partition, mount, v.fs_type, "rw"});
        v.mounts.clear();
    }
    disk->attached = false;
    co_return out;
}

Task<Result<Disk>> FakeHost::reacquire_disk(ReleasedDisk released, bool mount) {
    UMBRA_CO_TRY(co_await enter("reacquire_disk", released.lun.key()));
    FakeDisk* disk = find(released.lun);
    if (disk == nullptr) co_return fail(Code::kNotFound, "no LUN " + released.lun.key());
    disk->attached = true;
    if (mount) {
        for (const auto& m : released.mounts) {
            for (auto& [partition, v] : disk->volumes) {
                if (partition != m.partition) continue;
                if (std::find(v.mounts.begin(), v.mounts.end(), m.mount_point) == v.mounts.end())
                    v.mounts.push_back(m.mount_point);
            }
        }
    }
    co_return disk->disk;
}

Task<Result<void>> FakeHost::check_exclusive(std::string device) {
    UMBRA_CO_TRY(co_await enter("check_exclusive", device));
    const FakeDisk* disk = find_device(device);
    if (disk == nullptr) co_return fail(Code::kNotFound, "no disk " + device);
    if (in_use(*disk)) co_return fail(Code::kBusy, device + " is in use");
    co_return Result<void>();
}

Task<Result<DiskSignature>> FakeHost::read_signature(std::string device) {
    UMBRA_CO_TRY(co_await enter("read_signature", device));
    const FakeDisk* disk = find_device(device);
    if (disk == nullptr) co_return fail(Code::kNotFound, "no disk " + device);
    co_return disk->disk.signature;
}

Task<Result<void>> FakeHost::write_signature(std::string device, DiskSignature signature) {
    UMBRA_CO_TRY(co_await enter("write_signature", device));
    FakeDisk* disk = find_device(device);
    if (disk == nullptr) co_return fail(Code::kNotFound, "no disk " + device);
    if (signature.kind != disk->disk.signature.kind)
        co_return fail(Code::kUnsupported, "another kind of partition table");
    if (signature.kind == TableKind::kNone) co_return Result<void>();
    for (const auto& other : disks_) {
        const DiskSignature& theirs = other->disk.signature;
        const bool same = signature.kind == TableKind::kGpt ? theirs.gpt_guid == signature.gpt_guid
                                                            : theirs.mbr_id == signature.mbr_id;
        if (other.get() != disk && other->attached && theirs.kind == signature.kind && same) {
            co_return fail(Code::kAlreadyExists, other->disk.device + " has this identity");
        }
    }
    disk->disk.signature = std::move(signature);
    co_return Result<void>();
}

Task<Result<std::string>> FakeHost::mount_shadow(Volume volume, base::Guid id) {
    UMBRA_CO_TRY(co_await enter("mount_shadow", id.text()));
    FakeVolume* v = find_volume(volume);
    if (v == nullptr) co_return fail(Code::kNotFound, "no volume " + volume.name);
    if (v->fs_type.empty()) co_return fail(Code::kUnsupported, "no known file system on " + volume.device);
    const std::string path = shadow_path(id);
    if (shadows_.emplace(id, volume.device).second) v->mounts.push_back(path);
    co_return path;
}

Task<Result<void>> FakeHost::unmount_shadow(base::Guid id) {
    UMBRA_CO_TRY(co_await enter("unmount_shadow", id.text()));
    shadows_.erase(id);
    for (auto& disk : disks_) {
        for (auto& [partition, v] : disk->volumes) std::erase(v.mounts, shadow_path(id));
    }
    co_return Result<void>();
}

Task<Result<std::string>> FakeHost::expose(base::Guid id, std::string path) {
    UMBRA_CO_TRY(co_await enter("expose", id.text() + " " + path));
    if (path.empty()) path = exposed_path(id);
    if (path.front() != '/') co_return fail(Code::kInvalidArgument, path + " is not an absolute path");
    const auto shadow = shadows_.find(id);
    if (shadow == shadows_.end()) co_return fail(Code::kNotFound, "no mounted copy " + id.text());
    if (exposed_.contains(path)) co_return fail(Code::kInvalidArgument, path + " is in use");
    exposed_[path] = shadow->second;
    for (auto& disk : disks_) {
        for (auto& [partition, v] : disk->volumes) {
            if (std::find(v.mounts.begin(), v.mounts.end(), shadow_path(id)) != v.mounts.end())
                v.mounts.push_back(path);
        }
    }
    co_return path;
}

Task<Result<void>> FakeHost::unexpose(std::string path) {
    UMBRA_CO_TRY(co_await enter("unexpose", path));
    if (exposed_.erase(path) == 0) co_return fail(Code::kNotFound, path + " is not an exposed copy");
    for (auto& disk : disks_) {
        for (auto& [partition, v] : disk->volumes) std::erase(v.mounts, path);
    }
    co_return Result<void>();
}

Task<Result<void>> FakeHost::mount_volume(Volume volume, std::string mount_point, bool) {
    UMBRA_CO_TRY(co_await enter("mount_volume", volume.device + " " + mount_point));
    FakeVolume* v = find_volume(volume);
    if (v == nullptr) co_return fail(Code::kNotFound, "no volume " + volume.name);
    v->mounts.push_back(std::move(mount_point));
    co_return Result<void>();
}

Task<Result<void>> FakeHost::dismount(Volume volume) {
    UMBRA_CO_TRY(co_await enter("dismount", volume.device));
    FakeVolume* v = find_volume(volume);
    if (v != nullptr) v->mounts.clear();
    co_return Result<void>();
}

}  // namespace umbra::host::testing

#include "host/management.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <thread>

#include "array_rpc/client.h"
#include "host/machine.h"
#include "host/mounts.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;
using std::chrono::milliseconds;

namespace {

constexpr uint64_t kFullScanBytes = 16ull << 30;
constexpr int kWithdrawAttempts = 20;

Result<std::unique_ptr<array_rpc::ArrayClient>> connect(const HostConfig& config) {
    if (config.array_address.empty()) {
        return fail(Code::kUnavailable, "the host's configuration names no array (host.toml: [array] address)");
    }
    array_rpc::ClientOptions options;
    options.address = config.array_address;
    return array_rpc::ArrayClient::make(std::move(options));
}

bool covers(const array::MaskView& mask, const std::string& iqn) {
    return mask.initiator == "*" || ::strcasecmp(mask.initiator.c_str(), iqn.c_str()) == 0;
}

// Of several portals, the first that host.toml names: an array may have some that this host does not reach.
std::string choose_portal(const std::vector<std::string>& offered, const std::vector<std::string>& configured) {
    for (const std::string& portal : configured) {
        if (std::find(offered.begin(), offered.end(), portal) != offered.end()) return portal;
    }
    return offered.empty() ? std::string{} : offered.front();
}

Result<IscsiPath> path_of(const array::LunView& lun, const HostConfig& config, array_rpc::ArrayClient& client) {
    const std::string& iqn = config.initiator_iqn;
    const auto mask = std::find_if(lun.masks.begin(), lun.masks.end(), [&](const auto& m) { return covers(m, iqn); });
    if (mask == lun.masks.end()) return fail(Code::kInternal, lun.name + " is not presented to " + iqn);
    IscsiPath out;
    out.target = mask->target_iqn;
    out.lun = mask->lun;
    std::vector<std::string> portals;
    for (const array::LunPathView& path : lun.paths) {
        if (path.target_iqn == mask->target_iqn && path.lun == mask->lun && !path.portal.empty())
            portals.push_back(path.portal);
    }
    if (portals.empty()) {
        UMBRA_ASSIGN(const array::StatusView status, client.status());
        if (status.portals.empty()) return fail(Code::kUnavailable, "the array has no iSCSI portal");
        portals = status.portals;
    }
    out.portal = choose_portal(portals, config.portals);
    return out;
}

bool belongs(const Volume& volume, const Attachment& attachment) {
    return !attachment.device.empty() && volume.disk == attachment.device;
}

}  // namespace

Result<AttachedLun> Management::describe(Attachment attachment, const std::vector<Volume>& volumes) const {
    AttachedLun out;
    out.name = field(attachment.notes, "name");
    out.presented = !field(attachment.notes, "mask").empty();
    for (const Volume& volume : volumes) {
        if (!belongs(volume, attachment)) continue;
        out.mount_points.insert(out.mount_points.end(), volume.mount_points.begin(), volume.mount_points.end());
    }
    out.attachment = std::move(attachment);
    return out;
}

Result<std::vector<AttachedLun>> Management::list() {
    UMBRA_ASSIGN(const std::vector<Volume> known, attachments_.machine().volumes());
    UMBRA_ASSIGN(std::vector<Attachment> all, attachments_.list());
    std::vector<AttachedLun> out;
    for (Attachment& attachment : all) {
        UMBRA_ASSIGN(AttachedLun lun, describe(std::move(attachment), known));
        out.push_back(std::move(lun));
    }
    return out;
}

Result<std::vector<Volume>> Management::volumes(bool all) {
    UMBRA_ASSIGN(std::vector<Volume> known, attachments_.machine().volumes());
    if (!all) std::erase_if(known, [](const Volume& volume) { return volume.luns.empty(); });
    return known;
}

Result<void> Management::prepare_and_mount(const AttachWish& wish, const Attachment& attachment,
                                           uint64_t mapped_bytes) {
    if (!wish.mkfs.empty()) {
        UMBRA_ASSIGN(bool blank, is_blank(attachment.device, false));
        if (blank && mapped_bytes != 0) {
            // The array stores something of it that its ends do not show.
            UMBRA_ASSIGN(const Volume whole, attachments_.machine().resolve(attachment.device));
            if (whole.size_bytes > kFullScanBytes) {
                return fail(Code::kBadState,
                            wish.lun + " holds " + std::to_string(mapped_bytes) +
                                " bytes of data; discard them first (blkdiscard) if nobody needs them");
            }
            UMBRA_ASSIGN(blank, is_blank(attachment.device, true));
        }
        if (!blank)
            return fail(Code::kBadState,
                        wish.lun + " holds data: no file system is made on it, and nothing was mounted");
        UMBRA_TRY(make_file_system(attachment.device, wish.mkfs));
    }
    if (wish.mount_point.empty()) return {};
    UMBRA_ASSIGN(const std::vector<Volume> on_disk, attachments_.machine().volumes_on(attachment.device));
    const Volume* chosen = nullptr;
    for (const Volume& volume : on_disk) {
        if (volume.fs_type != "ext4" && volume.fs_type != "ext3" && volume.fs_type != "ext2" && volume.fs_type != "xfs")
            continue;
        if (chosen != nullptr)
            return fail(Code::kBadState,
                        wish.lun + " has more than one file system: attach without --mount, then mount");
        chosen = &volume;
    }
    if (chosen == nullptr) {
        return fail(Code::kBadState,
                    wish.lun + " has no file system that can be mounted (--mkfs makes one on an empty LUN)");
    }
    if (std::find(chosen->mount_points.begin(), chosen->mount_points.end(), wish.mount_point) !=
        chosen->mount_points.end())
        return {};
    UMBRA_TRY(make_directories(wish.mount_point, 0755));
    UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
    for (const MountEntry& mount : mounts) {
        if (mount.mount_point == wish.mount_point)
            return fail(Code::kAlreadyExists, "something is mounted at " + wish.mount_point);
    }
    return mount_device(chosen->device, chosen->fs_type, wish.mount_point, wish.read_only ? "ro" : "rw");
}

// Empty, or what is left on the array.
std::string Management::withdraw(const std::string& naa, const std::string& target) {
    auto client = connect(config_);
    if (!client) return client.error().message;
    array::MaskChange change;
    change.lun = array::LunRef::naa(naa);
    change.initiator = config_.initiator_iqn;
    change.target_iqn = target;
    // Our sessions for other LUNs see this one too and count as users. They are none: it has no disk here any more.
    // A kernel initiator of the same name may still have one; then the array has the word.
    const auto disks = attachments_.machine().disks();
    change.force =
        disks && std::none_of(disks->begin(), disks->end(), [&](const Disk& d) { return d.lun.naa() == naa; });
    std::string trouble;
    // The array may see our logout a moment later than we do.
    for (int attempt = 0; attempt < kWithdrawAttempts; ++attempt) {
        const auto removed = (*client)->remove_mask(change);
        if (removed || removed.error().code == Code::kNotFound) return {};
        trouble = "the LUN is still presented to " + config_.initiator_iqn + ": " + removed.error().message;
        if (removed.error().code != Code::kBusy) break;
        std::this_thread::sleep_for(milliseconds(100));
    }
    return trouble;
}

Result<AttachedLun> Management::attach(const AttachWish& wish) {
    const std::lock_guard lock(mutex_);
    if (wish.lun.empty()) return fail(Code::kInvalidArgument, "attach without the name of a LUN");
    if (!wish.mount_point.empty() && wish.mount_point.front() != '/') {
        return fail(Code::kInvalidArgument, "the mount point must be an absolute path: " + wish.mount_point);
    }
    if (!wish.mkfs.empty() && wish.mkfs != "ext4" && wish.mkfs != "xfs") {
        return fail(Code::kInvalidArgument, "file systems that are made here: ext4, xfs; not " + wish.mkfs);
    }
    if (!wish.mkfs.empty() && wish.read_only)
        return fail(Code::kInvalidArgument, "a file system cannot be made read-only");
    UMBRA_ASSIGN(const auto client, connect(config_));
    UMBRA_ASSIGN(array::LunView lun, client->get_lun(array::LunRef::name(wish.lun)));
    if (lun.kind != array::LunKind::kLun)
        return fail(Code::kBadState, wish.lun + " is a " + array::to_string(lun.kind) + ", not a LUN");
    const std::string key = "naa." + lun.naa;

    UMBRA_ASSIGN(const std::vector<Attachment> before, attachments_.list());
    const auto same =
        std::find_if(before.begin(), before.end(), [&](const Attachment& a) { return !a.dead && a.lun.key() == key; });
    const bool was_attached = same != before.end();
    Fields notes = was_attached ? same->notes : attachments_.notes(key);
    std::string masked = field(notes, "mask");
    bool mask_added = false;
    // An earlier attach ended between presenting the LUN and writing that down: the mask that names us is ours.
    const bool mask_intended = !was_attached && field(notes, "mask_intended") == "1" &&
                               std::any_of(lun.masks.begin(), lun.masks.end(),
                                           [&](const auto& m) { return m.initiator == config_.initiator_iqn; });
    if (std::none_of(lun.masks.begin(), lun.masks.end(),
                     [&](const auto& m) { return covers(m, config_.initiator_iqn); })) {
        array::MaskChange change;
        change.lun = array::LunRef::naa(lun.naa);
        change.initiator = config_.initiator_iqn;
        UMBRA_TRY(attachments_.note(key, {{"name", lun.name}, {"naa", lun.naa}, {"mask_intended", "1"}}));
        UMBRA_ASSIGN(lun, client->add_mask(change));
        mask_added = true;
    }
    mask_added = mask_added || mask_intended;
    std::string target;
    const auto undo = [&](base::Error error) -> Result<AttachedLun> {
        if (!was_attached) {
            const auto attached = attachments_.find_key(key);
            if (attached && *attached) {
                const auto detached = attachments_.detach_file((*attached)->file);
                if (!detached) error.message += "; it stays attached: " + detached.error().message;
            }
        }
        if (mask_added) {
            const std::string left = withdraw(lun.naa, target);
            if (left.empty()) {
                attachments_.forget_notes(key);
            } else {
                error.message += "; " + left;
            }
        }
        return std::unexpected(std::move(error));
    };
    const auto path = path_of(lun, config_, *client);
    if (!path) return undo(path.error());
    target = path->target;
    auto attachment = attachments_.attach(was_attached ? same->path : *path, key, wish.read_only);
    if (!attachment) return undo(attachment.error());
    if (mask_added) masked = target;
    notes = {{"name", lun.name}, {"naa", lun.naa}, {"url", attachment->path.url()}, {"mask", masked}};
    if (const auto noted = attachments_.set_notes(*attachment, notes); !noted) return undo(noted.error());
    attachment->notes = notes;
    if (const auto mounted = prepare_and_mount(wish, *attachment, lun.mapped_bytes); !mounted)
        return undo(mounted.error());
    UMBRA_ASSIGN(const std::vector<Volume> known, attachments_.machine().volumes_on(attachment->device));
    return describe(std::move(*attachment), known);
}

Result<std::string> Management::detach(const std::string& name) {
    const std::lock_guard lock(mutex_);
    UMBRA_ASSIGN(const std::vector<Attachment> all, attachments_.list());
    const auto found = std::find_if(all.begin(), all.end(), [&](const Attachment& a) {
        return field(a.notes, "name") == name || (!a.lun.naa().empty() && a.lun.naa() == name) ||
               field(a.notes, "naa") == name;
    });
    if (found == all.end()) return fail(Code::kNotFound, name + " is not attached to this host");
    if (!found->device.empty()) {
        UMBRA_ASSIGN(const std::vector<Volume> on_disk, attachments_.machine().volumes_on(found->device));
        UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
        std::vector<std::string> mount_points;
        for (const MountEntry& mount : mounts) {
            for (const Volume& volume : on_disk) {
                if (volume.device_number != mount.device) continue;
                if (mount.mount_point.starts_with(config_.shadow_dir() + "/")) {
                    return fail(Code::kBusy, name + " carries an imported shadow copy: delete or break that first");
                }
                mount_points.push_back(mount.mount_point);
            }
        }
        // Last mounted first. What cannot be written is told now, not lost by the unmount.
        for (auto at = mount_points.rbegin(); at != mount_points.rend(); ++at) {
            if (!found->dead) {
                Fd root(::open(at->c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
                if (root && ::syncfs(root.get()) != 0) return fail_errno(errno, "writing back " + *at);
            }
            UMBRA_TRY(unmount(*at));
        }
    }
    const std::string naa = found->lun.naa().empty() ? field(found->notes, "naa") : found->lun.naa();
    const std::string mask = field(found->notes, "mask");
    UMBRA_TRY(attachments_.detach_file(found->file));
    return mask.empty() ? std::string{} : withdraw(naa, mask);
}

}  // namespace umbra::host

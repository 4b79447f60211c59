// What the VSS coordinator needs of the machine it runs on: volumes, freeze, attach, mount, signatures.
//
// Every call may wait for the kernel or for the array; it runs away from the caller's executor and resumes on it.
// Nothing here writes a log: a failure is told once, in the Error. One coordinator uses one HostOps; calls on different
// disks may overlap, calls on one disk are the caller's to order (freeze and thaw of one set excepted, see there).
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/guid.h"
#include "base/result.h"
#include "env/task.h"

namespace umbra::host {

/// One designator of VPD page 83 (SPC-4 7.8.5.1).
struct Designator {
    uint8_t code_set = 0;     ///< 1 binary, 2 ASCII, 3 UTF-8
    uint8_t type = 0;         ///< 1 T10 vendor, 2 EUI-64, 3 NAA, 8 SCSI name
    uint8_t association = 0;  ///< 0 logical unit, 1 port, 2 target device
    std::vector<std::byte> id;
    auto operator<=>(const Designator&) const = default;
};

/// What INQUIRY tells of a LUN: the content of VDS_LUN_INFORMATION, interconnects and signature left out.
struct LunIdentity {
    uint8_t device_type = 0;
    uint8_t device_type_modifier = 0;
    bool command_queueing = false;
    std::string vendor_id;  ///< trailing spaces removed, as in product_id, product_revision, serial
    std::string product_id;
    std::string product_revision;
    std::string serial;                   ///< VPD page 80
    std::vector<Designator> designators;  ///< VPD page 83 in the device's order, every association
    auto operator<=>(const LunIdentity&) const = default;

    /// The designator that names the LUN, as text: "naa.6…", else "eui.…", "name.…", "t10.…" (hex where binary).
    /// Association 0 only; empty when there is none. Equal on all hosts, different for any two LUNs.
    std::string key() const;
    /// The NAA designator as 32 (or 16) lowercase hex digits; empty when there is none.
    std::string naa() const;
};

/// `length` bytes of a volume at `volume_offset` lie at `lun_offset` of luns[lun] (index into Volume::luns).
struct VolumeExtent {
    uint32_t lun = 0;
    uint64_t volume_offset = 0;
    uint64_t lun_offset = 0;
    uint64_t length = 0;
    auto operator<=>(const VolumeExtent&) const = default;
};

/// A whole disk, a partition, or a device-mapper or md device.
struct Volume {
    std::string name;            ///< canonical, `\\?\Volume{UUID}\`; see volume_name()
    std::string device;          ///< "/dev/loop0", "/dev/loop0p1"
    uint64_t device_number = 0;  ///< dev_t
    uint64_t size_bytes = 0;
    std::string mount_point;  ///< the first mount of its file system in this mount namespace; empty: not mounted
    std::vector<std::string> mount_points;  ///< all of them, shadow and exposed ones included
    /// Mounts of a directory within the file system (bind mounts). They keep it in use like any other.
    std::vector<std::string> partial_mounts;
    bool mounted_read_only = false;  ///< the file system is: through none of its mounts is it written
    bool content_known = true;       ///< false: its array does not answer, so fs_type and fs_uuid may be missing
    std::string fs_type;  ///< "ext4", "xfs", …; a holder's type ("LVM2_member", "linux_raid_member", "crypto_LUKS");
                          ///< empty: nothing recognised
    std::string fs_uuid;
    bool freezable = false;             ///< mounted read-write with a file system that freezes (ext4, xfs)
    std::string disk;                   ///< "/dev/loop0"; of the first LUN when there are several
    uint32_t partition = 0;             ///< 0: the whole disk, or a layered device
    bool layered = false;               ///< on LVM, md, LUKS: a dynamic disk
    bool has_holder = false;            ///< something in the kernel (dm, md) uses it
    bool carries_service = false;       ///< programs or state of this service lie on it: never frozen. Of resolve()
    std::vector<LunIdentity> luns;      ///< empty: not on a LUN with page 83 (a local disk)
    std::vector<VolumeExtent> extents;  ///< empty for layered volumes: their map is not looked at

    bool mounted() const { return !mount_points.empty() || !partial_mounts.empty(); }
};

enum class TableKind : uint8_t { kNone, kMbr, kGpt };

/// What makes a disk recognisable by its partition table. Kind kNone has nothing, and nothing can be written.
struct DiskSignature {
    TableKind kind = TableKind::kNone;
    uint32_t mbr_id = 0;
    base::Guid gpt_guid;
    /// GPT only: partition number and its unique GUID.
    std::vector<std::pair<uint32_t, base::Guid>> partition_guids;
    bool operator==(const DiskSignature&) const = default;
};

struct Disk {
    std::string device;  ///< "/dev/loop0"
    uint64_t size_bytes = 0;
    bool read_only = false;
    bool user_space = false;  ///< attached by our own initiator
    std::string path;         ///< for people: "iscsi://127.0.0.1:3260/iqn…/1"; empty for kernel disks
    LunIdentity lun;          ///< key() is empty for a local disk
    DiskSignature signature;
};

/// Flags that belong to a LUN, same bits as the array's (array/presentation.h). On GPT they are the attribute bits
/// 60 read-only, 61 shadow copy, 62 hidden, 63 no drive letter of every partition.
inline constexpr uint32_t kFlagReadOnly = 1u << 0;
inline constexpr uint32_t kFlagHidden = 1u << 1;
inline constexpr uint32_t kFlagNoDriveLetter = 1u << 2;
inline constexpr uint32_t kFlagShadowCopy = 1u << 3;

enum class FlagPlace : uint8_t {
    kOnDisk,       ///< in the GPT
    kArrayRecord,  ///< no GPT: nothing was or can be written on the disk, the array's record of the LUN holds them
};
struct LunFlags {
    FlagPlace place = FlagPlace::kArrayRecord;
    uint32_t flags = 0;  ///< kOnDisk: set on every partition. kArrayRecord: 0
};

/// Limits of one freeze. Each is enforced by the watchdog process, whatever becomes of the caller.
struct FreezeLimits {
    std::chrono::milliseconds flush{10'000};  ///< from the request until the last file system is frozen
    std::chrono::milliseconds hold{10'000};   ///< from then until the watchdog thaws by itself
};

struct WantedLun {
    LunIdentity lun;         ///< matched by key(), or by any designator of association 0 that both have
    bool read_only = false;  ///< attach so that no write can come from this host
};

/// A disk taken away from this host for a resync, and what is needed to bring it back.
struct ReleasedDisk {
    LunIdentity lun;
    std::string path;  ///< Disk::path
    bool read_only = false;
    struct Mount {
        uint32_t partition = 0;
        std::string mount_point;
        std::string fs_type;
        std::string options;  ///< as /proc/self/mountinfo shows them
    };
    std::vector<Mount> mounts;  ///< in the order in which they must be mounted again
};

class HostOps {
public:
    virtual ~HostOps() = default;

    // --- Volumes -----------------------------------------------------------------------------------------------------

    /// `name`: a mount point, a block device or a link to one, or a canonical volume name; one trailing `\` or `/`
    /// optional. A path that is neither mount point nor device is kNotFound (never "the volume that holds it").
    virtual env::Task<base::Result<Volume>> resolve(std::string name) = 0;
    /// Whole disks, partitions and layered devices with content or a mount, local disks included. A disk with a
    /// partition table appears as its partitions.
    virtual env::Task<base::Result<std::vector<Volume>>> list_volumes() = 0;
    /// What a disk carries: every partition, or the whole disk when it has no table, mounted or not, blank or not, and
    /// the layered devices on them. For the "unselected volume" test.
    virtual env::Task<base::Result<std::vector<Volume>>> list_volumes_on(std::string disk) = 0;
    virtual env::Task<base::Result<std::vector<Disk>>> list_disks() = 0;

    // --- Freeze ------------------------------------------------------------------------------------------------------

    /// Starts the watchdog of `set`, opens everything that freeze and thaw need, and writes dirty data back, so that
    /// the freeze itself is short. Volumes without a file system or unmounted ones are flushed at the freeze.
    /// kUnsupported: a mounted volume that cannot freeze, or one that this service itself lives on.
    virtual env::Task<base::Result<void>> prepare_freeze(base::Guid set, std::vector<Volume> volumes) = 0;
    /// All volumes of the set or none. On success everything is frozen and the hold time runs. kTimedOut: not frozen in
    /// time. On any error nothing stays frozen (a file system that is stuck in the kernel is thawed by the watchdog as
    /// soon as it comes out).
    virtual env::Task<base::Result<void>> freeze(base::Guid set, FreezeLimits limits) = 0;
    /// True while every volume of the set is certainly still frozen. Asked immediately before and after the commit.
    virtual bool is_frozen(base::Guid set) const = 0;
    /// kTimedOut: the watchdog had thawed before, so the point in time was not held. Everything is thawed in each case,
    /// unless the error is kIo, which names what hangs. Legal at any time after freeze(), also concurrently with it.
    virtual env::Task<base::Result<void>> thaw(base::Guid set) = 0;
    /// Ends the watchdog; thaws first if need be. Harmless for an unknown set.
    virtual env::Task<void> end_freeze(base::Guid set) = 0;
    /// At start, before anything else: thaws what an earlier run may have left frozen. Mount points that were thawed.
    virtual env::Task<base::Result<std::vector<std::string>>> thaw_leftovers() = 0;

    // --- Disks -------------------------------------------------------------------------------------------------------

    /// Written with O_SYNC and flushed before it returns, beneath any mounted file system of the disk.
    virtual env::Task<base::Result<LunFlags>> write_lun_flags(std::string disk, uint32_t flags) = 0;
    virtual env::Task<base::Result<LunFlags>> read_lun_flags(std::string disk) = 0;

    /// Makes LUNs that were just unmasked visible here and waits for them. Those that are here already count. Answers
    /// with what arrived in time, in the order of `wanted`, nullopt where it did not; an error only when nothing could
    /// be asked at all (kUnavailable).
    virtual env::Task<base::Result<std::vector<std::optional<Disk>>>> rescan(std::vector<WantedLun> wanted,
                                                                             std::chrono::milliseconds timeout) = 0;
    /// Takes a disk off this host: kernel device and initiator. kBusy while anything of it is mounted or open.
    /// A disk that is not there is success.
    virtual env::Task<base::Result<void>> detach(LunIdentity lun) = 0;

    /// Dismounts everything on the disk (kBusy: in use), opens it exclusively (retried for `patience`), drops caches,
    /// and detaches it. On an error everything is mounted again as it was. For a resync's destination.
    virtual env::Task<base::Result<ReleasedDisk>> release_disk(std::string disk,
                                                               std::chrono::milliseconds patience) = 0;
    /// Attaches again; with `mount` also mounts as before. Idempotent.
    virtual env::Task<base::Result<Disk>> reacquire_disk(ReleasedDisk disk, bool mount) = 0;
    /// kBusy when the disk or a partition of it is mounted or held. Changes nothing.
    virtual env::Task<base::Result<void>> check_exclusive(std::string disk) = 0;

    virtual env::Task<base::Result<DiskSignature>> read_signature(std::string disk) = 0;
    /// kUnsupported: the disk has another kind of table. kAlreadyExists: another disk of this host has that identity.
    /// Kind kNone on a disk without a table is success and writes nothing.
    virtual env::Task<base::Result<void>> write_signature(std::string disk, DiskSignature signature) = 0;

    // --- Mounts ------------------------------------------------------------------------------------------------------

    /// Mounts a copy at shadow_path(id) so that not one byte of it changes, seen by root and group umbra only. Answers
    /// the path. kUnsupported: no known file system; the copy is then reachable raw (see raw_shadow_path).
    virtual env::Task<base::Result<std::string>> mount_shadow(Volume volume, base::Guid id) = 0;
    /// Success when it is not mounted. kBusy while files of it are open.
    virtual env::Task<base::Result<void>> unmount_shadow(base::Guid id) = 0;
    /// "/run/umbra/shadow/{id}"
    virtual std::string shadow_path(const base::Guid& id) const = 0;
    /// "/dev/umbra/shadow/{id}", a link to the block device that mount_shadow() makes (even when it cannot mount) and
    /// unmount_shadow() removes.
    virtual std::string raw_shadow_path(const base::Guid& id) const = 0;
    /// Bind mount of the mounted copy at `path`, an existing empty directory, or at exposed_path(id) when `path` is
    /// empty. Answers the path. kInvalidArgument: not absolute, not a directory, not empty, or "X:".
    virtual env::Task<base::Result<std::string>> expose(base::Guid id, std::string path) = 0;
    virtual env::Task<base::Result<void>> unexpose(std::string path) = 0;
    virtual std::string exposed_path(const base::Guid& id) const = 0;

    /// Ordinary read-write (or read-only) mount, as after a break or a resync; replays the journal.
    virtual env::Task<base::Result<void>> mount_volume(Volume volume, std::string mount_point, bool read_only) = 0;
    virtual env::Task<base::Result<void>> dismount(Volume volume) = 0;
};

/// `\\?\Volume{UUID}\`: UUID version 5 of the LUN's key and the partition number (0: whole disk), equal on all hosts.
std::string volume_name(std::string_view lun_key, uint32_t partition);
/// The UUID of a canonical volume name, trailing `\` or `/` optional; nullopt for other text.
std::optional<base::Guid> parse_volume_name(std::string_view text);

/// VPD page 83 as INQUIRY returns it (4-byte header first). kCorrupt when lengths do not add up.
base::Result<std::vector<Designator>> parse_page83(base::Bytes page);
/// The same without the page header, as the array's management gives it.
base::Result<std::vector<Designator>> parse_designators(base::Bytes descriptors);
std::vector<std::byte> encode_designators(const std::vector<Designator>& designators);

}  // namespace umbra::host

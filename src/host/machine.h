// The block devices and mounts of this machine as disks, LUNs and volumes. Reads sysfs, mountinfo, the attach registry
// and, on LUNs only, the devices themselves. Nothing is cached.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "host/host.h"

namespace umbra::host {

struct MountEntry {
    uint64_t device = 0;  ///< dev_t of the file system
    std::string root;     ///< of this mount within the file system
    std::string mount_point;
    std::string options;  ///< of the mount
    std::string fs_type;
    std::string source;
    std::string super_options;
    bool read_only() const;  ///< of the mount or of the file system
    /// Nobody can write to the file system, through whichever mount.
    bool file_system_read_only() const;
};
/// This process's mount namespace, in mount order.
base::Result<std::vector<MountEntry>> read_mounts();
/// Undoes the octal escapes of mountinfo.
std::string unescape_mount(std::string_view text);
std::vector<MountEntry> parse_mountinfo(std::string_view text);

class Machine {
public:
    /// `attach_dir`: where the files of this host's own initiator are; loop devices over others' files are not LUNs.
    explicit Machine(std::string attach_dir) : attach_dir_(std::move(attach_dir)) {}

    // Lists leave out what only the content of a LUN tells when its array does not answer, so that one array does not
    // stop the work on others. Asked for such a LUN itself, they are kUnavailable.
    base::Result<std::vector<Disk>> disks() const;  ///< LUNs only; signatures read
    base::Result<std::vector<Volume>> volumes() const;
    base::Result<std::vector<Volume>> volumes_on(const std::string& disk) const;
    base::Result<Volume> resolve(std::string_view name) const;
    /// The disk of a LUN, by key or by a common identifier; nullopt also while its array does not answer.
    base::Result<std::optional<Disk>> find_lun(const LunIdentity& lun) const;

private:
    struct Lun {
        LunIdentity identity;
        std::string path;
        bool user_space = false;
        bool responds = true;
    };
    std::optional<Lun> lun_of(const std::string& disk_name) const;
    std::vector<std::pair<std::string, Lun>> lun_disks() const;
    void leaves(const std::string& name, std::vector<std::string>& disks, int depth) const;
    base::Result<Volume> volume_of(const std::string& name, const std::vector<MountEntry>& mounts) const;
    Disk disk_of(const std::string& name, const Lun& lun) const;

    std::string attach_dir_;
};

/// The registered facts of a LUN file, from its extended attributes; nullopt when it is not (any more) a served file.
struct LunFileInfo {
    LunIdentity identity;
    std::string url;
    std::string initiator;
    int pid = 0;
    bool read_only = false;
    uint64_t size_bytes = 0;
    uint32_t block_bytes = 512;
    /// A read would end soon, if only with an error. False: the array is away, or has not answered for a while.
    bool responds = true;
};
std::optional<LunFileInfo> read_lun_file(const std::string& file);

/// True when both name the same LUN: equal keys, or an equal identifier of association 0 and a type that identifies.
bool same_lun(const LunIdentity& a, const LunIdentity& b);

/// File system or holder type and UUID on a device, read from it; empty texts when nothing is recognised.
struct Content {
    std::string type;
    std::string uuid;
    bool partition_table = false;
};
base::Result<Content> probe_content(const std::string& device);

}  // namespace umbra::host

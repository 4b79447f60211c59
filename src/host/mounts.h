// Mounting volumes and copies of them; blocking.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/guid.h"
#include "base/result.h"
#include "host/attachments.h"
#include "host/host.h"

namespace umbra::host {

/// A file system mounted so that its device is only read: no journal replay, no superblock update. kUnsupported: no
/// file system of which this is known.
base::Result<void> mount_untouched(const std::string& device, const std::string& fs_type,
                                   const std::string& mount_point);
/// `options`: words as in mountinfo ("rw,noatime,discard"), flags and the file system's own mixed. When it does not
/// take them, it is mounted without those that change nothing but speed, or not at all (kInvalidArgument).
base::Result<void> mount_device(const std::string& device, const std::string& fs_type, const std::string& mount_point,
                                const std::string& options);
/// Without those that change nothing but speed or say what is so anyway, for example "attr2", "logbufs=8".
std::string without_display_options(std::string_view data);
/// kBusy while in use. Success when nothing is mounted there.
base::Result<void> unmount(const std::string& mount_point);
/// Creates a file system on a blank device. kBadState when it holds anything (see is_blank).
base::Result<void> make_file_system(const std::string& device, const std::string& fs_type);
/// False when a signature or a partition table is recognised, or a byte is not zero: of its first 4 MiB and last 1 MiB,
/// or, when `all`, of the whole device.
base::Result<bool> is_blank(const std::string& device, bool all);

base::Result<std::string> mount_shadow_copy(const HostConfig& config, const Volume& volume, const base::Guid& id);
base::Result<void> unmount_shadow_copy(const HostConfig& config, const base::Guid& id);
base::Result<std::string> expose_copy(const HostConfig& config, const base::Guid& id, std::string path);
base::Result<void> unexpose_copy(const HostConfig& config, const std::string& path);

}  // namespace umbra::host

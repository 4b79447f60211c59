// Loop devices and partitions, by ioctl.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"

namespace umbra::host {

/// A free loop device over `file` with direct I/O; "/dev/loopN". `block_bytes` is the logical block size.
base::Result<std::string> attach_loop(const std::string& file, bool read_only, uint32_t block_bytes);
/// Removes partitions first. kBusy while the device or a partition is mounted, claimed, or stays open for longer than
/// `patience` (the device then goes away with its last user).
base::Result<void> detach_loop(const std::string& device, std::chrono::milliseconds patience);
/// Orders the kernel to clear an open loop device with its last user.
base::Result<void> clear_loop(int fd, const std::string& device);
/// Loop devices over the FUSE file that is mounted at `file`, alive or dead. By device and inode number, not by name:
/// other mount namespaces may have other files at the same path.
std::vector<std::string> loops_over(const std::string& file);
/// The same for one loop device ("loop0").
bool is_loop_over(const std::string& name, const std::string& file);

/// Tells the kernel of the partitions that the device's table names (the kernel may know no partition tables itself).
/// Those that it has already and that are unchanged stay.
base::Result<void> add_partitions(const std::string& device);
/// kBusy when one is in use.
base::Result<void> remove_partitions(const std::string& device);
/// Partition numbers and device nodes as the kernel has them.
std::vector<std::pair<uint32_t, std::string>> kernel_partitions(const std::string& device);

/// kBusy when the device is mounted or claimed by anything.
base::Result<void> check_unused(const std::string& device);
/// Writes back and forgets what the page cache holds of the device.
base::Result<void> drop_caches(const std::string& device);

}  // namespace umbra::host

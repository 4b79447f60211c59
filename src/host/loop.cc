#include "host/loop.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <memory>
#include <thread>

#include "host/machine.h"
#include "host/process.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;

namespace {

constexpr int kLoopAttempts = 64;

std::string base_name(const std::string& device) {
    return device.substr(device.rfind('/') + 1);
}

Result<void> partition_ioctl(int fd, int op, uint32_t number, uint64_t start, uint64_t length) {
    blkpg_partition partition{};
    partition.pno = static_cast<int>(number);
    partition.start = static_cast<long long>(start);
    partition.length = static_cast<long long>(length);
    blkpg_ioctl_arg arg{};
    arg.op = op;
    arg.datalen = sizeof partition;
    arg.data = &partition;
    if (::ioctl(fd, BLKPG, &arg) != 0) return fail_errno(errno, "BLKPG");
    return {};
}

uint64_t sysfs_number(const std::string& path) {
    const auto text = read_file(path);
    uint64_t value = 0;
    if (text) std::from_chars(text->data(), text->data() + text->size(), value);
    return value;
}

}  // namespace

Result<std::string> attach_loop(const std::string& file, bool read_only, uint32_t block_bytes) {
    Fd backing(::open(file.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
    if (!backing) return fail_errno(errno, file);
    Fd control(::open("/dev/loop-control", O_RDWR | O_CLOEXEC));
    if (!control) return fail_errno(errno, "/dev/loop-control");
    // Others take free devices too: what is free now may be taken before it is configured.
    for (int attempt = 0; attempt < kLoopAttempts; ++attempt) {
        const int number = ::ioctl(control.get(), LOOP_CTL_GET_FREE);
        if (number < 0) return fail_errno(errno, "LOOP_CTL_GET_FREE");
        const std::string device = "/dev/loop" + std::to_string(number);
        Fd loop(::open(device.c_str(), (read_only ? O_RDONLY : O_RDWR) | O_CLOEXEC));
        if (!loop) {
            if (errno == ENOENT || errno == ENXIO) {  // the node comes a moment after the device
                std::this_thread::sleep_for(std::chrono::milliseconds(20));
                continue;
            }
            return fail_errno(errno, device);
        }
        loop_config config{};
        config.fd = static_cast<__u32>(backing.get());
        config.block_size = block_bytes;
        config.info.lo_flags = LO_FLAGS_DIRECT_IO | (read_only ? LO_FLAGS_READ_ONLY : 0);
        const std::string label = base_name(file);
        std::memcpy(config.info.lo_file_name, label.data(),
                    std::min(label.size(), sizeof config.info.lo_file_name - 1));
        if (::ioctl(loop.get(), LOOP_CONFIGURE, &config) == 0) {
            loop_info64 info{};
            if (::ioctl(loop.get(), LOOP_GET_STATUS64, &info) == 0 && (info.lo_flags & LO_FLAGS_DIRECT_IO) == 0) {
                // Without it the loop would keep a page cache of its own below the frozen file system.
                ::ioctl(loop.get(), LOOP_CLR_FD);
                return fail(Code::kUnsupported, device + " refuses direct I/O on " + file);
            }
            // A device number that was used before may still have another user's partitions.
            loop.reset();
            UMBRA_TRY(remove_partitions(device));
            return device;
        }
        if (errno != EBUSY && errno != EAGAIN && errno != ENXIO)
            return fail_errno(errno, "LOOP_CONFIGURE of " + device);
    }
    return fail(Code::kBusy, "no loop device could be had");
}

Result<void> detach_loop(const std::string& device, std::chrono::milliseconds patience) {
    UMBRA_TRY(check_unused(device));
    UMBRA_TRY(remove_partitions(device));
    Fd loop(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
    if (!loop) return fail_errno(errno, device);
    if (::fsync(loop.get()) != 0 && errno != EROFS) return fail_errno(errno, "flush of " + device);
    UMBRA_TRY(clear_loop(loop.get(), device));
    loop.reset();
    // The kernel clears it when its last user has closed it.
    const std::string mark = "/sys/block/" + base_name(device) + "/loop/backing_file";
    const auto deadline = std::chrono::steady_clock::now() + patience;
    while (::access(mark.c_str(), F_OK) == 0) {
        if (std::chrono::steady_clock::now() >= deadline) return fail(Code::kBusy, device + " is still open somewhere");
        std::this_thread::sleep_for(std::chrono::milliseconds(10));
    }
    return {};
}

Result<void> clear_loop(int fd, const std::string& device) {
    if (::ioctl(fd, LOOP_CLR_FD) != 0 && errno != ENXIO) return fail_errno(errno, "LOOP_CLR_FD of " + device);
    return {};
}

namespace {

bool backs(const std::string& name, uint64_t device, uint64_t inode) {
    if (::access(("/sys/block/" + name + "/loop/backing_file").c_str(), F_OK) != 0) return false;
    Fd loop(::open(("/dev/" + name).c_str(), O_RDONLY | O_CLOEXEC));
    loop_info64 info{};
    if (!loop || ::ioctl(loop.get(), LOOP_GET_STATUS64, &info) != 0) return false;
    // lo_device has the kernel's own encoding of a device number, which is that of stat for numbers this small.
    return info.lo_device == device && info.lo_inode == inode;
}

// Of what is mounted over the file: stat() of a dead one fails, the mount table knows it still. 0: nothing.
uint64_t mounted_device(const std::string& file) {
    const auto mounts = read_mounts();
    uint64_t device = 0;
    if (!mounts) return device;
    for (const MountEntry& mount : *mounts) {
        if (mount.mount_point == file) device = mount.device;
    }
    return device;
}

constexpr uint64_t kFuseRoot = 1;  // inode of the only file there is

}  // namespace

bool is_loop_over(const std::string& name, const std::string& file) {
    const uint64_t device = mounted_device(file);
    return device != 0 && backs(name, device, kFuseRoot);
}

std::vector<std::string> loops_over(const std::string& file) {
    std::vector<std::string> out;
    const uint64_t device = mounted_device(file);
    if (device == 0) return out;
    for (const std::string& name : list_directory("/sys/block")) {
        if (name.starts_with("loop") && backs(name, device, kFuseRoot)) out.push_back("/dev/" + name);
    }
    return out;
}

std::vector<std::pair<uint32_t, std::string>> kernel_partitions(const std::string& device) {
    std::vector<std::pair<uint32_t, std::string>> out;
    const std::string directory = "/sys/block/" + base_name(device);
    for (const std::string& name : list_directory(directory)) {
        const uint64_t number = sysfs_number(directory + "/" + name + "/partition");
        if (number != 0) out.emplace_back(static_cast<uint32_t>(number), "/dev/" + name);
    }
    std::sort(out.begin(), out.end());
    return out;
}

Result<void> add_partitions(const std::string& device) {
    std::unique_ptr<blkid_struct_probe, void (*)(blkid_probe)> probe(blkid_new_probe_from_filename(device.c_str()),
                                                                     blkid_free_probe);
    if (!probe) return fail_errno(errno, "probe of " + device);
    blkid_probe_enable_superblocks(probe.get(), 0);
    blkid_probe_enable_partitions(probe.get(), 1);
    blkid_partlist list = blkid_probe_get_partitions(probe.get());
    struct Wanted {
        uint32_t number;
        uint64_t start, length;
    };
    std::vector<Wanted> wanted;
    for (int i = 0; list != nullptr && i < blkid_partlist_numof_partitions(list); ++i) {
        blkid_partition partition = blkid_partlist_get_partition(list, i);
        if (blkid_partition_is_extended(partition) != 0) continue;
        wanted.push_back({static_cast<uint32_t>(blkid_partition_get_partno(partition)),
                          static_cast<uint64_t>(blkid_partition_get_start(partition)) * 512,
                          static_cast<uint64_t>(blkid_partition_get_size(partition)) * 512});
    }
    probe.reset();
    Fd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno(errno, device);
    for (const auto& [number, node] : kernel_partitions(device)) {
        const std::string directory = "/sys/block/" + base_name(device) + "/" + base_name(node);
        const uint64_t start = sysfs_number(directory + "/start") * 512;
        const uint64_t length = sysfs_number(directory + "/size") * 512;
        const auto same = std::find_if(wanted.begin(), wanted.end(), [&](const Wanted& w) {
            return w.number == number && w.start == start && w.length == length;
        });
        if (same != wanted.end()) {
            wanted.erase(same);
        } else {
            const auto removed = partition_ioctl(fd.get(), BLKPG_DEL_PARTITION, number, 0, 0);
            if (!removed) return base::with_context(removed.error(), node + " is outdated and in use");
        }
    }
    for (const Wanted& w : wanted) {
        const auto added = partition_ioctl(fd.get(), BLKPG_ADD_PARTITION, w.number, w.start, w.length);
        if (!added) return base::with_context(added.error(), device + " partition " + std::to_string(w.number));
    }
    return {};
}

Result<void> remove_partitions(const std::string& device) {
    const auto partitions = kernel_partitions(device);
    if (partitions.empty()) return {};
    Fd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno(errno, device);
    for (const auto& [number, node] : partitions) {
        const auto removed = partition_ioctl(fd.get(), BLKPG_DEL_PARTITION, number, 0, 0);
        if (!removed) return base::with_context(removed.error(), node);
    }
    return {};
}

Result<void> check_unused(const std::string& device) {
    std::vector<std::string> nodes = {device};
    for (const auto& [number, node] : kernel_partitions(device)) nodes.push_back(node);
    for (const std::string& node : nodes) {
        Fd fd(::open(node.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC));
        if (!fd && errno == EBUSY) return fail(Code::kBusy, node + " is mounted or held by another device");
        if (!fd) return fail_errno(errno, node);
    }
    return {};
}

Result<void> drop_caches(const std::string& device) {
    Fd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno(errno, device);
    if (::ioctl(fd.get(), BLKFLSBUF, 0) != 0) return fail_errno(errno, "BLKFLSBUF of " + device);
    return {};
}

}  // namespace umbra::host

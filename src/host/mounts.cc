#include "host/mounts.h"

#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cerrno>
#include <cstdlib>

#include "host/machine.h"
#include "host/process.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;

namespace {

constexpr const char* kGroup = "umbra";
constexpr uint64_t kHeadBytes = 4u << 20;
constexpr uint64_t kTailBytes = 1u << 20;

// Readable by root and, where there is one, the group umbra.
Result<void> make_private_directory(const std::string& path) {
    UMBRA_TRY(make_directories(path, 0700));
    const group* entry = ::getgrnam(kGroup);
    if (entry != nullptr && (::chown(path.c_str(), 0, entry->gr_gid) != 0 || ::chmod(path.c_str(), 0750) != 0)) {
        return fail_errno(errno, path);
    }
    return {};
}

Result<void> mount_call(const std::string& device, const std::string& mount_point, const std::string& type,
                        unsigned long flags, const std::string& data) {
    if (::mount(device.c_str(), mount_point.c_str(), type.c_str(), flags, data.c_str()) != 0) {
        return fail_errno(errno, "mount of " + device + " at " + mount_point);
    }
    return {};
}

Result<bool> is_mount_point(const std::string& path) {
    UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
    return std::any_of(mounts.begin(), mounts.end(), [&](const MountEntry& m) { return m.mount_point == path; });
}

std::string raw_link(const HostConfig& config, const base::Guid& id) {
    return config.device_dir + "/shadow/" + id.braced();
}

Result<bool> is_zero_range(int fd, uint64_t from, uint64_t to, const std::string& device) {
    base::Buffer buffer(1u << 20);
    while (from < to) {
        const size_t want = static_cast<size_t>(std::min<uint64_t>(buffer.size(), to - from));
        const ssize_t got = ::pread(fd, buffer.data(), want, static_cast<off_t>(from));
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return fail_errno(got < 0 ? errno : EIO, "reading " + device);
        if (!base::is_zero(buffer.span(0, static_cast<size_t>(got)))) return false;
        from += static_cast<uint64_t>(got);
    }
    return true;
}

}  // namespace

std::string without_display_options(std::string_view data) {
    constexpr std::string_view kNames[] = {"attr2",   "noattr2", "inode32",   "inode64", "ikeep",
                                           "noikeep", "largeio", "nolargeio", "logbufs", "logbsize",
                                           "sunit",   "swidth",  "stripe",    "noquota"};
    std::string kept;
    while (!data.empty()) {
        const size_t end = std::min(data.find(','), data.size());
        const std::string_view word = data.substr(0, end);
        data.remove_prefix(std::min(end + 1, data.size()));
        const std::string_view name = word.substr(0, word.find('='));
        if (std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames)) continue;
        kept += (kept.empty() ? "" : ",") + std::string(word);
    }
    return kept;
}

Result<void> mount_untouched(const std::string& device, const std::string& fs_type, const std::string& mount_point) {
    constexpr unsigned long kFlags = MS_RDONLY | MS_NOSUID | MS_NODEV;
    if (fs_type == "ext4" || fs_type == "ext3") return mount_call(device, mount_point, "ext4", kFlags, "noload");
    // The frozen image of XFS has a dirty log by design; replaying it would write, and the UUID is the original's.
    if (fs_type == "xfs") return mount_call(device, mount_point, "xfs", kFlags, "nouuid,norecovery");
    return fail(Code::kUnsupported,
                device + (fs_type.empty() ? std::string(" has no file system that is known")
                                          : ": mounting a copy of " + fs_type + " unchanged is not known"));
}

Result<void> mount_device(const std::string& device, const std::string& fs_type, const std::string& mount_point,
                          const std::string& options) {
    unsigned long flags = 0;
    std::string data;
    std::string_view rest = options;
    while (!rest.empty()) {
        const size_t end = std::min(rest.find(','), rest.size());
        const std::string_view word = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (word.empty() || word == "rw") continue;
        if (word == "ro")
            flags |= MS_RDONLY;
        else if (word == "nosuid")
            flags |= MS_NOSUID;
        else if (word == "nodev")
            flags |= MS_NODEV;
        else if (word == "noexec")
            flags |= MS_NOEXEC;
        else if (word == "noatime")
            flags |= MS_NOATIME;
        else if (word == "nodiratime")
            flags |= MS_NODIRATIME;
        else if (word == "relatime")
            flags |= MS_RELATIME;
        else if (word == "sync")
            flags |= MS_SYNCHRONOUS;
        else if (word == "dirsync")
            flags |= MS_DIRSYNC;
        else if (word == "lazytime")
            flags |= MS_LAZYTIME;
        else if (word == "seclabel")
            continue;
        else
            data += (data.empty() ? "" : ",") + std::string(word);
    }
    const auto mounted = mount_call(device, mount_point, fs_type, flags, data);
    if (mounted || mounted.error().code != Code::kInvalidArgument || data.empty()) return mounted;
    // What a file system shows of itself is not always what it takes back. What changes nothing but speed may go;
    // without the others it would be another file system than before.
    const std::string kept = without_display_options(data);
    if (kept != data) {
        auto again = mount_call(device, mount_point, fs_type, flags, kept);
        if (again || again.error().code != Code::kInvalidArgument) return again;
    }
    return fail(Code::kInvalidArgument,
                mounted.error().message + ": not with the options that it had before (" + data + ")");
}

Result<void> unmount(const std::string& mount_point) {
    if (::umount2(mount_point.c_str(), UMOUNT_NOFOLLOW) != 0 && errno != EINVAL && errno != ENOENT) {
        return fail_errno(errno, "unmount of " + mount_point);
    }
    return {};
}

Result<bool> is_blank(const std::string& device, bool all) {
    UMBRA_ASSIGN(const Content content, probe_content(device));
    if (!content.type.empty() || content.partition_table) return false;
    Fd fd(::open(device.c_str(), O_RDONLY | O_CLOEXEC));
    if (!fd) return fail_errno(errno, device);
    const off_t end = ::lseek(fd.get(), 0, SEEK_END);
    if (end < 0) return fail_errno(errno, device);
    const auto size = static_cast<uint64_t>(end);
    UMBRA_ASSIGN(const bool head, is_zero_range(fd.get(), 0, all ? size : std::min(size, kHeadBytes), device));
    if (!head || all) return head;
    return is_zero_range(fd.get(), size - std::min(size, kTailBytes), size, device);
}

Result<void> make_file_system(const std::string& device, const std::string& fs_type) {
    if (fs_type != "ext4" && fs_type != "xfs") {
        return fail(Code::kInvalidArgument, "file systems that are made here: ext4, xfs; not " + fs_type);
    }
    UMBRA_ASSIGN(const bool blank, is_blank(device, false));
    if (!blank) return fail(Code::kBadState, device + " holds data: no file system is made on it");
    UMBRA_ASSIGN(const Output output, run_program({"mkfs." + fs_type, "-q", device}));
    if (output.status != 0) return fail(Code::kIo, "mkfs." + fs_type + " on " + device + ": " + output.text);
    return {};
}

Result<std::string> mount_shadow_copy(const HostConfig& config, const Volume& volume, const base::Guid& id) {
    UMBRA_TRY(make_private_directory(config.device_dir + "/shadow"));
    const std::string link = raw_link(config, id);
    ::unlink(link.c_str());
    if (::symlink(volume.device.c_str(), link.c_str()) != 0) return fail_errno(errno, link);
    UMBRA_TRY(make_private_directory(config.shadow_dir()));
    const std::string path = config.shadow_dir() + "/" + id.braced();
    UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
    for (const MountEntry& mount : mounts) {
        if (mount.mount_point != path) continue;
        if (mount.device == volume.device_number) return path;
        return fail(Code::kAlreadyExists, path + " is the mount of another volume");
    }
    UMBRA_TRY(make_directories(path, 0700));
    const auto mounted = mount_untouched(volume.device, volume.fs_type, path);
    if (!mounted) {
        ::rmdir(path.c_str());
        return std::unexpected(mounted.error());
    }
    return path;
}

Result<void> unmount_shadow_copy(const HostConfig& config, const base::Guid& id) {
    const std::string path = config.shadow_dir() + "/" + id.braced();
    UMBRA_TRY(unmount(path));
    ::rmdir(path.c_str());
    ::unlink(raw_link(config, id).c_str());
    return {};
}

Result<std::string> expose_copy(const HostConfig& config, const base::Guid& id, std::string path) {
    const std::string shadow = config.shadow_dir() + "/" + id.braced();
    UMBRA_ASSIGN(const bool mounted, is_mount_point(shadow));
    if (!mounted) return fail(Code::kNotFound, "shadow copy " + id.braced() + " is not mounted on this host");
    if (path.empty()) {
        UMBRA_TRY(make_directories(config.exposed_dir(), 0755));
        path = config.exposed_dir() + "/" + id.braced();
        UMBRA_TRY(make_directories(path, 0755));
    }
    if (path.size() > 1 && path.back() == '/') path.pop_back();
    if (path.front() != '/') return fail(Code::kInvalidArgument, path + ": not an absolute path of a directory");
    char real[PATH_MAX];
    if (::realpath(path.c_str(), real) == nullptr) {
        return fail(Code::kInvalidArgument, path + ": no such directory");
    }
    path = real;
    UMBRA_ASSIGN(const bool taken, is_mount_point(path));
    struct stat status{};
    if (taken || ::stat(real, &status) != 0 || !S_ISDIR(status.st_mode) || !list_directory(path).empty()) {
        return fail(Code::kInvalidArgument, path + ": not an empty directory");
    }
    if (::mount(shadow.c_str(), real, nullptr, MS_BIND, nullptr) != 0) return fail_errno(errno, "exposing at " + path);
    return path;
}

Result<void> unexpose_copy(const HostConfig& config, const std::string& given) {
    std::string path = given;
    if (path.size() > 1 && path.back() == '/') path.pop_back();
    UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
    const std::string shadows = config.shadow_dir() + "/";
    uint64_t device = 0;
    for (const MountEntry& mount : mounts) {
        if (mount.mount_point == path) device = mount.device;
    }
    const bool ours =
        !path.starts_with(shadows) && std::any_of(mounts.begin(), mounts.end(), [&](const MountEntry& mount) {
            return device != 0 && mount.device == device && mount.mount_point.starts_with(shadows);
        });
    if (!ours) return fail(Code::kNotFound, path + " is not an exposed shadow copy");
    UMBRA_TRY(unmount(path));
    if (path.starts_with(config.exposed_dir() + "/")) ::rmdir(path.c_str());
    return {};
}

}  // namespace umbra::host

#include "host/machine.h"

#include <blkid/blkid.h>
#include <limits.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdlib>
#include <memory>

#include "host/disk_label.h"
#include "host/iscsi_session.h"
#include "host/loop.h"
#include "host/process.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;

namespace {

constexpr int kMaxLayers = 16;
constexpr uint64_t kStalledMs = 5000;  // requests are open and none is answered

std::string first_line(const Result<std::string>& text) {
    if (!text) return {};
    std::string line = text->substr(0, text->find('\n'));
    while (!line.empty() && line.back() == ' ') line.pop_back();
    return line;
}

uint64_t number_in(const std::string& path) {
    const std::string line = first_line(read_file(path));
    uint64_t value = 0;
    std::from_chars(line.data(), line.data() + line.size(), value);
    return value;
}

// "7:0" in the file `dev` of a sysfs directory.
uint64_t device_number(const std::string& directory) {
    const std::string line = first_line(read_file(directory + "/dev"));
    unsigned major_number = 0;
    unsigned minor_number = 0;
    const size_t colon = line.find(':');
    if (colon == std::string::npos) return 0;
    std::from_chars(line.data(), line.data() + colon, major_number);
    std::from_chars(line.data() + colon + 1, line.data() + line.size(), minor_number);
    return makedev(major_number, minor_number);
}

std::string class_path(const std::string& name) {
    return "/sys/class/block/" + name;
}

bool is_partition(const std::string& name) {
    return ::access((class_path(name) + "/partition").c_str(), F_OK) == 0;
}

// The whole disk that a block device is or lies on.
std::string disk_name(const std::string& name) {
    if (!is_partition(name)) return name;
    char real[PATH_MAX];
    if (::realpath(class_path(name).c_str(), real) == nullptr) return name;
    std::string path(real);
    path.resize(path.rfind('/'));
    return path.substr(path.rfind('/') + 1);
}

std::optional<std::vector<std::byte>> unhex(std::string_view text) {
    if (text.size() % 2 != 0) return std::nullopt;
    std::vector<std::byte> out;
    for (size_t i = 0; i < text.size(); i += 2) {
        unsigned value = 0;
        const auto parsed = std::from_chars(text.data() + i, text.data() + i + 2, value, 16);
        if (parsed.ec != std::errc{} || parsed.ptr != text.data() + i + 2) return std::nullopt;
        out.push_back(static_cast<std::byte>(value));
    }
    return out;
}

std::optional<std::string> xattr(const std::string& file, const char* name) {
    char buffer[32768];
    const ssize_t got = ::getxattr(file.c_str(), name, buffer, sizeof buffer);
    if (got < 0) return std::nullopt;
    return std::string(buffer, static_cast<size_t>(got));
}

bool has_option(std::string_view options, std::string_view wanted) {
    while (!options.empty()) {
        const size_t end = std::min(options.find(','), options.size());
        if (options.substr(0, end) == wanted) return true;
        options.remove_prefix(std::min(end + 1, options.size()));
    }
    return false;
}

// A whole disk that is a volume itself: the kernel knows no partition of it.
bool kernel_disk_is_plain(const std::string& name) {
    for (const std::string& entry : list_directory("/sys/block/" + name)) {
        if (::access(("/sys/block/" + name + "/" + entry + "/partition").c_str(), F_OK) == 0) return false;
    }
    return true;
}

bool freezes(const std::string& fs_type) {
    // Those that are tested. Others may freeze too, but what their frozen image is worth has not been looked at.
    return fs_type == "ext4" || fs_type == "xfs";
}

}  // namespace

bool MountEntry::read_only() const {
    return has_option(options, "ro") || has_option(super_options, "ro");
}

bool MountEntry::file_system_read_only() const {
    return has_option(super_options, "ro");
}

std::string unescape_mount(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        const auto octal = [&](size_t at) { return at < text.size() && text[at] >= '0' && text[at] <= '7'; };
        if (text[i] == '\\' && octal(i + 1) && octal(i + 2) && octal(i + 3)) {
            out += static_cast<char>((text[i + 1] - '0') * 64 + (text[i + 2] - '0') * 8 + (text[i + 3] - '0'));
            i += 3;
        } else {
            out += text[i];
        }
    }
    return out;
}

std::vector<MountEntry> parse_mountinfo(std::string_view text) {
    std::vector<MountEntry> out;
    while (!text.empty()) {
        const size_t end = std::min(text.find('\n'), text.size());
        std::string_view line = text.substr(0, end);
        text.remove_prefix(std::min(end + 1, text.size()));
        std::vector<std::string_view> words;
        while (!line.empty()) {
            const size_t space = std::min(line.find(' '), line.size());
            words.push_back(line.substr(0, space));
            line.remove_prefix(std::min(space + 1, line.size()));
        }
        // id parent major:minor root mount-point options [optional fields] - type source super-options (proc(5))
        const auto dash = std::find(words.begin() + std::min<std::ptrdiff_t>(6, std::ssize(words)), words.end(), "-");
        if (words.size() < 10 || words.end() - dash < 4) continue;
        MountEntry entry;
        unsigned major_number = 0;
        unsigned minor_number = 0;
        const size_t colon = words[2].find(':');
        if (colon == std::string_view::npos) continue;
        std::from_chars(words[2].data(), words[2].data() + colon, major_number);
        std::from_chars(words[2].data() + colon + 1, words[2].data() + words[2].size(), minor_number);
        entry.device = makedev(major_number, minor_number);
        entry.root = unescape_mount(words[3]);
        entry.mount_point = unescape_mount(words[4]);
        entry.options = words[5];
        entry.fs_type = words[static_cast<size_t>(dash - words.begin()) + 1];
        entry.source = unescape_mount(words[static_cast<size_t>(dash - words.begin()) + 2]);
        entry.super_options = words[static_cast<size_t>(dash - words.begin()) + 3];
        out.push_back(std::move(entry));
    }
    return out;
}

Result<std::vector<MountEntry>> read_mounts() {
    UMBRA_ASSIGN(const std::string text, read_file("/proc/self/mountinfo"));
    return parse_mountinfo(text);
}

std::optional<LunFileInfo> read_lun_file(const std::string& file) {
    const auto url = xattr(file, "user.umbra.url");
    const auto inquiry = xattr(file, "user.umbra.inquiry");
    const auto page83 = xattr(file, "user.umbra.vpd83");
    if (!url || !inquiry || !page83) return std::nullopt;
    const auto inquiry_bytes = unhex(*inquiry);
    const auto page83_bytes = unhex(*page83);
    if (!inquiry_bytes || !page83_bytes) return std::nullopt;
    auto identity = make_identity(*inquiry_bytes, {}, *page83_bytes);
    if (!identity) return std::nullopt;
    LunFileInfo out;
    out.identity = std::move(*identity);
    out.identity.serial = xattr(file, "user.umbra.serial").value_or("");
    out.url = *url;
    out.initiator = xattr(file, "user.umbra.initiator").value_or("");
    const std::string pid = xattr(file, "user.umbra.pid").value_or("");
    std::from_chars(pid.data(), pid.data() + pid.size(), out.pid);
    out.read_only = xattr(file, "user.umbra.read_only").value_or("") == "1";
    const std::string size = xattr(file, "user.umbra.size").value_or("");
    std::from_chars(size.data(), size.data() + size.size(), out.size_bytes);
    const std::string block = xattr(file, "user.umbra.block_bytes").value_or("");
    std::from_chars(block.data(), block.data() + block.size(), out.block_bytes);
    const std::string stats = ' ' + xattr(file, "user.umbra.stats").value_or("");
    const auto counter = [&](std::string_view name) {
        const size_t at = stats.find(name);
        uint64_t value = 0;
        if (at != std::string::npos) {
            std::from_chars(stats.data() + at + name.size(), stats.data() + stats.size(), value);
        }
        return value;
    };
    out.responds = counter(" lost=") != 0 || (counter(" connected=") != 0 && counter(" silent_ms=") < kStalledMs);
    return out;
}

bool same_lun(const LunIdentity& a, const LunIdentity& b) {
    if (!a.key().empty() && a.key() == b.key()) return true;
    const auto identifies = [](const Designator& d) {
        return d.association == 0 && (d.type == 1 || d.type == 2 || d.type == 3 || d.type == 8);
    };
    for (const Designator& x : a.designators) {
        if (!identifies(x)) continue;
        for (const Designator& y : b.designators) {
            if (identifies(y) && x.type == y.type && x.id == y.id) return true;
        }
    }
    return false;
}

Result<Content> probe_content(const std::string& device) {
    std::unique_ptr<blkid_struct_probe, void (*)(blkid_probe)> probe(blkid_new_probe_from_filename(device.c_str()),
                                                                     blkid_free_probe);
    if (!probe) return fail_errno(errno != 0 ? errno : EIO, "probe of " + device);
    blkid_probe_enable_superblocks(probe.get(), 1);
    blkid_probe_set_superblocks_flags(probe.get(), BLKID_SUBLKS_TYPE | BLKID_SUBLKS_UUID);
    blkid_probe_enable_partitions(probe.get(), 1);
    const int rc = blkid_do_safeprobe(probe.get());
    Content out;
    if (rc == -2) {
        out.type = "ambivalent";  // more than one signature: somebody's data in any case
        return out;
    }
    if (rc < 0) return fail_errno(EIO, "probe of " + device);
    const char* value = nullptr;
    if (blkid_probe_lookup_value(probe.get(), "TYPE", &value, nullptr) == 0) out.type = value;
    if (blkid_probe_lookup_value(probe.get(), "UUID", &value, nullptr) == 0) out.uuid = value;
    out.partition_table = blkid_probe_lookup_value(probe.get(), "PTTYPE", &value, nullptr) == 0;
    return out;
}

std::optional<Machine::Lun> Machine::lun_of(const std::string& name) const {
    const std::string directory = "/sys/block/" + name;
    if (name.starts_with("loop")) {
        const std::string file = first_line(read_file(directory + "/loop/backing_file"));
        if (file.size() <= attach_dir_.size() + 1 || !file.starts_with(attach_dir_ + "/")) return std::nullopt;
        if (!is_loop_over(name, file)) return std::nullopt;
        auto info = read_lun_file(file);
        if (!info) return std::nullopt;
        return Lun{std::move(info->identity), std::move(info->url), true, info->responds};
    }
    if (name.starts_with("dm-")) {
        // A multipath map is the LUN that all its paths agree on.
        if (!first_line(read_file(directory + "/dm/uuid")).starts_with("mpath-")) return std::nullopt;
        std::optional<Lun> common;
        for (const std::string& slave : list_directory(directory + "/slaves")) {
            auto path = lun_of(slave);
            if (!path || (common && common->identity.key() != path->identity.key())) return std::nullopt;
            common = std::move(path);
        }
        return common;
    }
    const auto page83 = read_file(directory + "/device/vpd_pg83");
    if (!page83) return std::nullopt;
    const auto inquiry = read_file(directory + "/device/inquiry");
    const auto page80 = read_file(directory + "/device/vpd_pg80");
    if (!inquiry) return std::nullopt;
    auto identity = make_identity(base::as_bytes(*inquiry), page80 ? base::as_bytes(*page80) : base::Bytes(),
                                  base::as_bytes(*page83));
    if (!identity || identity->key().empty()) return std::nullopt;
    return Lun{std::move(*identity), {}, false};
}

std::vector<std::pair<std::string, Machine::Lun>> Machine::lun_disks() const {
    std::vector<std::pair<std::string, Lun>> out;
    for (const std::string& name : list_directory("/sys/block")) {
        if (auto lun = lun_of(name)) out.emplace_back(name, std::move(*lun));
    }
    return out;
}

void Machine::leaves(const std::string& name, std::vector<std::string>& disks, int depth) const {
    const std::string disk = disk_name(name);
    const auto slaves = list_directory(class_path(disk) + "/slaves");
    if (slaves.empty() || lun_of(disk)) {
        if (std::find(disks.begin(), disks.end(), disk) == disks.end()) disks.push_back(disk);
        return;
    }
    if (depth >= kMaxLayers) return;
    for (const std::string& slave : slaves) leaves(slave, disks, depth + 1);
}

Result<Volume> Machine::volume_of(const std::string& name, const std::vector<MountEntry>& mounts) const {
    const std::string directory = class_path(name);
    if (::access(directory.c_str(), F_OK) != 0) return fail(Code::kNotFound, "no block device " + name);
    Volume out;
    out.device = "/dev/" + name;
    out.device_number = device_number(directory);
    out.size_bytes = number_in(directory + "/size") * 512;
    out.partition = static_cast<uint32_t>(number_in(directory + "/partition"));
    out.has_holder = !list_directory(directory + "/holders").empty();
    const std::string disk = disk_name(name);
    std::vector<std::string> under;
    leaves(name, under, 0);
    out.layered = under.empty() || under.front() != disk;
    bool all_luns = !under.empty();
    bool responds = true;
    for (const std::string& leaf : under) {
        auto lun = lun_of(leaf);
        if (!lun) {
            all_luns = false;
            continue;
        }
        responds = responds && lun->responds;
        out.luns.push_back(std::move(lun->identity));
    }
    // Partly on local disks: no array can copy it.
    if (!all_luns) out.luns.clear();
    out.disk = "/dev/" + (under.empty() ? disk : under.front());
    if (!out.layered && !out.luns.empty()) {
        const uint64_t start = out.partition == 0 ? 0 : number_in(directory + "/start") * 512;
        out.extents.push_back({0, 0, start, out.size_bytes});
    }
    for (const MountEntry& mount : mounts) {
        if (mount.device != out.device_number) continue;
        (mount.root == "/" ? out.mount_points : out.partial_mounts).push_back(mount.mount_point);
        out.fs_type = mount.fs_type;
        // Of the file system, which all its mounts share: one that is bound read-only elsewhere is written all the
        // same.
        out.mounted_read_only = mount.file_system_read_only();
    }
    if (out.mounted()) {
        // A file system freezes through any directory of it.
        out.mount_point = out.mount_points.empty() ? out.partial_mounts.front() : out.mount_points.front();
        out.freezable = freezes(out.fs_type) && !out.mounted_read_only;
    }
    // Only LUNs are read: a stranger's device may hang for as long as it likes.
    out.content_known = responds;
    if (!out.luns.empty() && responds) {
        if (const auto content = probe_content(out.device)) {
            if (!out.mounted()) out.fs_type = content->type;
            out.fs_uuid = content->uuid;
        }
    }
    if (out.layered) {
        const std::string uuid = first_line(read_file(directory + "/dm/uuid"));
        const std::string md = first_line(read_file(directory + "/md/uuid"));
        out.name = volume_name("layer." + (!uuid.empty() ? uuid : !md.empty() ? md : name), 0);
    } else if (!out.luns.empty()) {
        out.name = volume_name(out.luns.front().key(), out.partition);
    } else {
        out.name = volume_name("local." + disk, out.partition);
    }
    return out;
}

Disk Machine::disk_of(const std::string& name, const Lun& lun) const {
    Disk out;
    out.device = "/dev/" + name;
    out.size_bytes = number_in("/sys/block/" + name + "/size") * 512;
    out.read_only = number_in("/sys/block/" + name + "/ro") != 0;
    out.user_space = lun.user_space;
    out.path = lun.path;
    out.lun = lun.identity;
    if (!lun.responds) return out;
    if (auto signature = read_disk_signature(out.device)) out.signature = std::move(*signature);
    return out;
}

Result<std::vector<Disk>> Machine::disks() const {
    std::vector<Disk> out;
    for (const auto& [name, lun] : lun_disks()) out.push_back(disk_of(name, lun));
    return out;
}

Result<std::optional<Disk>> Machine::find_lun(const LunIdentity& wanted) const {
    for (const auto& [name, lun] : lun_disks()) {
        if (lun.responds && same_lun(lun.identity, wanted)) return disk_of(name, lun);
    }
    return std::nullopt;
}

namespace {
std::unexpected<base::Error> unanswered(const Volume& volume) {
    return fail(Code::kUnavailable, volume.device + ": the array of this LUN does not answer");
}
}  // namespace

Result<std::vector<Volume>> Machine::volumes() const {
    UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
    std::vector<Volume> out;
    for (const std::string& name : list_directory("/sys/class/block")) {
        const std::string directory = class_path(name);
        if (number_in(directory + "/size") == 0 || name.starts_with("ram") || name.starts_with("zram")) continue;
        if (!is_partition(name) && !kernel_disk_is_plain(name)) continue;
        auto volume = volume_of(name, mounts);
        if (!volume) continue;  // gone meanwhile
        // Local devices only where something is on them; a LUN always.
        if (volume->luns.empty() && !volume->mounted() && !volume->has_holder) continue;
        out.push_back(std::move(*volume));
    }
    return out;
}

Result<std::vector<Volume>> Machine::volumes_on(const std::string& disk) const {
    const std::string name = disk.substr(disk.rfind('/') + 1);
    if (::access(("/sys/block/" + name).c_str(), F_OK) != 0) return fail(Code::kNotFound, "no disk " + disk);
    UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
    std::vector<Volume> out;
    for (const std::string& other : list_directory("/sys/class/block")) {
        std::vector<std::string> under;
        leaves(other, under, 0);
        if (std::find(under.begin(), under.end(), name) == under.end()) continue;
        if (!is_partition(other) && other != name && !list_directory(class_path(other) + "/slaves").empty() &&
            lun_of(other))
            continue;
        if (!is_partition(other) && !kernel_disk_is_plain(other)) continue;
        auto volume = volume_of(other, mounts);
        if (!volume) continue;
        if (!volume->content_known) return unanswered(*volume);
        out.push_back(std::move(*volume));
    }
    return out;
}

Result<Volume> Machine::resolve(std::string_view text) const {
    std::string name(text);
    if (name.size() > 1 && (name.back() == '/' || name.back() == '\\')) name.pop_back();
    if (name.empty()) return fail(Code::kInvalidArgument, "an empty volume name");
    if (const auto guid = parse_volume_name(name)) {
        UMBRA_ASSIGN(const std::vector<Volume> all, volumes());
        for (const Volume& volume : all) {
            if (parse_volume_name(volume.name) != guid) continue;
            if (!volume.content_known) return unanswered(volume);
            return volume;
        }
        return fail(Code::kNotFound, "no volume " + name + " on this host");
    }
    if (name.front() != '/') return fail(Code::kNotFound, "neither a path nor a volume name: " + name);
    char real[PATH_MAX];
    if (::realpath(name.c_str(), real) == nullptr) return fail_errno(errno, name);
    struct stat status{};
    UMBRA_ASSIGN(const std::vector<MountEntry> mounts, read_mounts());
    uint64_t wanted = 0;
    // The mount table first: stat() of a mount point may wait for its file system.
    for (const MountEntry& mount : mounts) {
        if (mount.mount_point == real) wanted = mount.root == "/" ? mount.device : 0;  // the last one is on top
    }
    if (wanted == 0) {
        if (::stat(real, &status) != 0) return fail_errno(errno, name);
        if (!S_ISBLK(status.st_mode))
            return fail(Code::kNotFound, name + " is neither a mount point nor a block device");
        wanted = status.st_rdev;
    }
    char link[PATH_MAX];
    const std::string sysfs = "/sys/dev/block/" + std::to_string(major(wanted)) + ":" + std::to_string(minor(wanted));
    if (::realpath(sysfs.c_str(), link) == nullptr) {
        return fail(Code::kNotFound, name + " is not on a block device");
    }
    const std::string path(link);
    auto volume = volume_of(path.substr(path.rfind('/') + 1), mounts);
    if (volume && !volume->content_known) return unanswered(*volume);
    return volume;
}

}  // namespace umbra::host

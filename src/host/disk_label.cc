#include "host/disk_label.h"

#include <fcntl.h>
#include <libfdisk/libfdisk.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "host/process.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;

namespace {

// GPT attribute bits (UEFI 2.10 5.3.3, type-specific ones as Windows uses them).
constexpr uint64_t kGptReadOnly = 1ull << 60;
constexpr uint64_t kGptShadowCopy = 1ull << 61;
constexpr uint64_t kGptHidden = 1ull << 62;
constexpr uint64_t kGptNoDriveLetter = 1ull << 63;
constexpr uint64_t kGptFlags = kGptReadOnly | kGptShadowCopy | kGptHidden | kGptNoDriveLetter;

uint64_t to_gpt(uint32_t flags) {
    return ((flags & kFlagReadOnly) != 0 ? kGptReadOnly : 0) | ((flags & kFlagShadowCopy) != 0 ? kGptShadowCopy : 0) |
           ((flags & kFlagHidden) != 0 ? kGptHidden : 0) | ((flags & kFlagNoDriveLetter) != 0 ? kGptNoDriveLetter : 0);
}
uint32_t from_gpt(uint64_t bits) {
    return ((bits & kGptReadOnly) != 0 ? kFlagReadOnly : 0) | ((bits & kGptShadowCopy) != 0 ? kFlagShadowCopy : 0) |
           ((bits & kGptHidden) != 0 ? kFlagHidden : 0) | ((bits & kGptNoDriveLetter) != 0 ? kFlagNoDriveLetter : 0);
}

class Label {
public:
    static Result<std::unique_ptr<Label>> open(const std::string& device, bool writable) {
        std::unique_ptr<Label> label(new Label(device));
        if (label->context_ == nullptr) return fail(Code::kInternal, "libfdisk made no context");
        fdisk_disable_dialogs(label->context_, 1);
        const int rc = fdisk_assign_device(label->context_, device.c_str(), writable ? 0 : 1);
        if (rc != 0) return fail_errno(-rc, "partition table of " + device);
        label->assigned_ = true;
        return label;
    }
    ~Label() {
        if (assigned_) fdisk_deassign_device(context_, 1);
        if (context_ != nullptr) fdisk_unref_context(context_);
    }
    Label(const Label&) = delete;
    Label& operator=(const Label&) = delete;

    fdisk_context* context() { return context_; }
    TableKind kind() {
        if (fdisk_has_label(context_) == 0) return TableKind::kNone;
        if (fdisk_is_labeltype(context_, FDISK_DISKLABEL_GPT) != 0) return TableKind::kGpt;
        if (fdisk_is_labeltype(context_, FDISK_DISKLABEL_DOS) != 0) return TableKind::kMbr;
        return TableKind::kNone;
    }
    Result<std::string> id() {
        char* text = nullptr;
        const int rc = fdisk_get_disklabel_id(context_, &text);
        if (rc != 0 || text == nullptr) return fail_errno(rc != 0 ? -rc : EIO, "identifier of " + device_);
        std::string out(text);
        std::free(text);
        return out;
    }
    std::vector<size_t> partitions() {
        std::vector<size_t> out;
        for (size_t i = 0; i < fdisk_get_npartitions(context_); ++i) {
            if (fdisk_is_partition_used(context_, i) != 0) out.push_back(i);
        }
        return out;
    }
    Result<void> write() {
        int rc = fdisk_write_disklabel(context_);
        if (rc != 0) return fail_errno(-rc, "writing the partition table of " + device_);
        assigned_ = false;
        rc = fdisk_deassign_device(context_, 0);
        if (rc != 0) return fail_errno(-rc, "flushing the partition table of " + device_);
        Fd fd(::open(device_.c_str(), O_RDONLY | O_CLOEXEC));
        if (!fd) return fail_errno(errno, device_);
        if (::fsync(fd.get()) != 0) return fail_errno(errno, "flushing " + device_);
        return {};
    }

private:
    explicit Label(std::string device) : device_(std::move(device)), context_(fdisk_new_context()) {}
    std::string device_;
    fdisk_context* context_;
    bool assigned_ = false;
};

Result<base::Guid> partition_guid(Label& label, size_t index) {
    fdisk_partition* partition = nullptr;
    int rc = fdisk_get_partition(label.context(), index, &partition);
    if (rc != 0) return fail_errno(-rc, "partition");
    const char* text = fdisk_partition_get_uuid(partition);
    const auto guid = text != nullptr ? base::Guid::parse(text) : std::nullopt;
    fdisk_unref_partition(partition);
    if (!guid) return fail(Code::kCorrupt, "a partition without a GUID");
    return *guid;
}

std::string upper(std::string text) {
    for (char& c : text) c = static_cast<char>(c >= 'a' && c <= 'z' ? c - 'a' + 'A' : c);
    return text;
}

}  // namespace

Result<DiskSignature> read_disk_signature(const std::string& device) {
    UMBRA_ASSIGN(auto label, Label::open(device, false));
    DiskSignature out;
    out.kind = label->kind();
    if (out.kind == TableKind::kNone) return out;
    UMBRA_ASSIGN(const std::string id, label->id());
    if (out.kind == TableKind::kMbr) {
        const std::string_view digits = std::string_view(id).substr(id.starts_with("0x") ? 2 : 0);
        std::from_chars(digits.data(), digits.data() + digits.size(), out.mbr_id, 16);
        return out;
    }
    const auto guid = base::Guid::parse(id);
    if (!guid) return fail(Code::kCorrupt, device + ": unreadable GPT identifier " + id);
    out.gpt_guid = *guid;
    for (const size_t index : label->partitions()) {
        UMBRA_ASSIGN(const base::Guid unique, partition_guid(*label, index));
        out.partition_guids.emplace_back(static_cast<uint32_t>(index + 1), unique);
    }
    return out;
}

Result<void> write_disk_signature(const std::string& device, const DiskSignature& signature) {
    UMBRA_ASSIGN(auto label, Label::open(device, signature.kind != TableKind::kNone));
    if (label->kind() != signature.kind) {
        return fail(Code::kUnsupported, device + " has another kind of partition table than the signature");
    }
    if (signature.kind == TableKind::kNone) return {};
    std::string id = upper(signature.gpt_guid.text());
    if (signature.kind == TableKind::kMbr) {
        char text[16];
        std::snprintf(text, sizeof text, "0x%08x", signature.mbr_id);
        id = text;
    }
    int rc = fdisk_set_disklabel_id_from_string(label->context(), id.c_str());
    if (rc != 0) return fail_errno(-rc, "identifier of " + device);
    for (const auto& [number, guid] : signature.partition_guids) {
        if (number == 0 || fdisk_is_partition_used(label->context(), number - 1) == 0) {
            return fail(Code::kNotFound, device + " has no partition " + std::to_string(number));
        }
        fdisk_partition* partition = fdisk_new_partition();
        fdisk_partition_set_uuid(partition, upper(guid.text()).c_str());
        rc = fdisk_set_partition(label->context(), number - 1, partition);
        fdisk_unref_partition(partition);
        if (rc != 0) return fail_errno(-rc, "GUID of partition " + std::to_string(number) + " of " + device);
    }
    return label->write();
}

Result<LunFlags> read_disk_flags(const std::string& device) {
    UMBRA_ASSIGN(auto label, Label::open(device, false));
    LunFlags out;
    const auto partitions = label->partitions();
    if (label->kind() != TableKind::kGpt || partitions.empty()) return out;
    out.place = FlagPlace::kOnDisk;
    uint64_t common = kGptFlags;
    for (const size_t index : partitions) {
        uint64_t attributes = 0;
        const int rc = fdisk_gpt_get_partition_attrs(label->context(), index, &attributes);
        if (rc != 0) return fail_errno(-rc, "attributes of " + device);
        common &= attributes;
    }
    out.flags = from_gpt(common);
    return out;
}

Result<LunFlags> write_disk_flags(const std::string& device, uint32_t flags) {
    UMBRA_ASSIGN(auto looking, Label::open(device, false));
    LunFlags out;
    if (looking->kind() != TableKind::kGpt || looking->partitions().empty()) return out;
    looking.reset();
    UMBRA_ASSIGN(auto label, Label::open(device, true));
    bool changed = false;
    for (const size_t index : label->partitions()) {
        uint64_t before = 0;
        int rc = fdisk_gpt_get_partition_attrs(label->context(), index, &before);
        if (rc != 0) return fail_errno(-rc, "attributes of " + device);
        const uint64_t after = (before & ~kGptFlags) | to_gpt(flags);
        if (after == before) continue;
        rc = fdisk_gpt_set_partition_attrs(label->context(), index, after);
        if (rc != 0) return fail_errno(-rc, "attributes of " + device);
        changed = true;
    }
    if (changed) UMBRA_TRY(label->write());
    out.place = FlagPlace::kOnDisk;
    out.flags = flags & (kFlagReadOnly | kFlagHidden | kFlagNoDriveLetter | kFlagShadowCopy);
    return out;
}

}  // namespace umbra::host

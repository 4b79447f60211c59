#include "provider/lun_information.h"

#include <cstring>
#include <vector>

#include "provider/text.h"

namespace umbra::provider {

using base::Code;
using base::fail;

namespace {

constexpr ULONG kMaxIdentifiers = 64;
constexpr ULONG kDescriptorVersion = 1;
constexpr size_t kNaaBytes = 16;

struct Designator {
    uint8_t code_set = 0;
    uint8_t type = 0;
    std::string id;
};

/// SPC-4 7.8.6.1: designation descriptors, one behind the other.
base::Result<std::vector<Designator>> decode_page83(const std::string& page) {
    std::vector<Designator> out;
    size_t at = 0;
    while (at < page.size()) {
        if (page.size() - at < 4) return fail(Code::kCorrupt, "page 83 ends within a designator's header");
        auto byte = [&](size_t i) { return static_cast<uint8_t>(page[at + i]); };
        size_t length = byte(3);
        if (page.size() - at - 4 < length) return fail(Code::kCorrupt, "page 83 ends within a designator");
        Designator designator;
        designator.code_set = byte(0) & 0x0F;
        if (designator.code_set > VDSStorageIdCodeSetUtf8)
            return fail(Code::kCorrupt, "page 83 holds a reserved code set");
        designator.type = byte(1) & 0x0F;
        bool of_logical_unit = ((byte(1) >> 4) & 0x03) == 0;
        designator.id = page.substr(at + 4, length);
        if (of_logical_unit) out.push_back(std::move(designator));
        if (out.size() > kMaxIdentifiers) return fail(Code::kCorrupt, "page 83 holds too many designators");
        at += 4 + length;
    }
    if (out.empty()) return fail(Code::kCorrupt, "page 83 holds no designator of the LUN");
    return out;
}

/// INQUIRY fields have a fixed width and are filled with blanks.
std::string padded(std::string text, size_t width) {
    text.resize(width, ' ');
    return text;
}

void free_identifiers(VDS_STORAGE_DEVICE_ID_DESCRIPTOR& descriptor) {
    for (ULONG i = 0; descriptor.m_rgIdentifiers && i < descriptor.m_cIdentifiers; ++i) {
        CoTaskMemFree(descriptor.m_rgIdentifiers[i].m_rgbIdentifier);
    }
    CoTaskMemFree(descriptor.m_rgIdentifiers);
    descriptor = {};
}

void free_strings(VDS_LUN_INFORMATION& information) {
    for (char** text : {&information.m_szVendorId, &information.m_szProductId, &information.m_szProductRevision,
                        &information.m_szSerialNumber}) {
        CoTaskMemFree(*text);
        *text = nullptr;
    }
}

}  // namespace

std::optional<std::string> naa_of(const VDS_LUN_INFORMATION& information) {
    const auto& descriptor = information.m_deviceIdDescriptor;
    if (descriptor.m_rgIdentifiers == nullptr || descriptor.m_cIdentifiers > kMaxIdentifiers) return std::nullopt;
    std::optional<std::string> found;
    for (ULONG i = 0; i < descriptor.m_cIdentifiers; ++i) {
        const VDS_STORAGE_IDENTIFIER& identifier = descriptor.m_rgIdentifiers[i];
        if (identifier.m_Type != VDSStorageIdTypeFCPHName || identifier.m_CodeSet != VDSStorageIdCodeSetBinary)
            continue;
        if (identifier.m_cbIdentifier != kNaaBytes || identifier.m_rgbIdentifier == nullptr) continue;
        std::string hex;
        for (size_t b = 0; b < kNaaBytes; ++b) {
            constexpr char kDigits[] = "0123456789abcdef";
            hex += kDigits[identifier.m_rgbIdentifier[b] >> 4];
            hex += kDigits[identifier.m_rgbIdentifier[b] & 0x0F];
        }
        if (hex[0] != '6') continue;
        if (found && *found != hex) return std::nullopt;
        found = hex;
    }
    return found;
}

void free_lun_information(VDS_LUN_INFORMATION& information) {
    free_strings(information);
    free_identifiers(information.m_deviceIdDescriptor);
    for (ULONG i = 0; information.m_rgInterconnects && i < information.m_cInterconnects; ++i) {
        CoTaskMemFree(information.m_rgInterconnects[i].m_pbPort);
        CoTaskMemFree(information.m_rgInterconnects[i].m_pbAddress);
    }
    CoTaskMemFree(information.m_rgInterconnects);
    information = {};
}

base::Result<void> fill_lun_information(const LunRecord& lun, const ArrayRecord& array,
                                        VDS_LUN_INFORMATION& information) {
    auto decoded = decode_page83(lun.page83);
    if (!decoded) return base::with_context(decoded.error(), "LUN " + lun.name);

    VDS_LUN_INFORMATION fresh{};
    fresh.m_version = VER_VDS_LUN_INFORMATION;
    fresh.m_DeviceType = 0;          // direct access block device
    fresh.m_DeviceTypeModifier = 0;  // not removable
    fresh.m_bCommandQueueing = TRUE;
    fresh.m_szVendorId = task_string(padded(array.vendor_id, 8));
    fresh.m_szProductId = task_string(padded(array.product_id, 16));
    fresh.m_szProductRevision = task_string(padded(array.product_revision, 4));
    fresh.m_szSerialNumber = task_string(lun.serial);
    auto& descriptor = fresh.m_deviceIdDescriptor;
    descriptor.m_version = kDescriptorVersion;
    size_t bytes = decoded->size() * sizeof(VDS_STORAGE_IDENTIFIER);
    descriptor.m_rgIdentifiers = static_cast<VDS_STORAGE_IDENTIFIER*>(CoTaskMemAlloc(bytes));
    bool complete = fresh.m_szVendorId && fresh.m_szProductId && fresh.m_szProductRevision && fresh.m_szSerialNumber &&
                    descriptor.m_rgIdentifiers;
    if (complete) {
        std::memset(descriptor.m_rgIdentifiers, 0, bytes);
        descriptor.m_cIdentifiers = static_cast<ULONG>(decoded->size());
        for (size_t i = 0; i < decoded->size() && complete; ++i) {
            const Designator& designator = (*decoded)[i];
            VDS_STORAGE_IDENTIFIER& to = descriptor.m_rgIdentifiers[i];
            to.m_CodeSet = static_cast<VDS_STORAGE_IDENTIFIER_CODE_SET>(designator.code_set);
            to.m_Type = static_cast<VDS_STORAGE_IDENTIFIER_TYPE>(designator.type);
            to.m_cbIdentifier = static_cast<ULONG>(designator.id.size());
            to.m_rgbIdentifier = reinterpret_cast<BYTE*>(task_string(designator.id));
            complete = to.m_rgbIdentifier != nullptr;
        }
    }
    if (!complete) {
        free_lun_information(fresh);
        return fail(Code::kInternal, "out of memory");
    }
    fresh.m_BusType = information.m_BusType;
    fresh.m_diskSignature = information.m_diskSignature;
    fresh.m_cInterconnects = information.m_cInterconnects;
    fresh.m_rgInterconnects = information.m_rgInterconnects;
    free_strings(information);
    free_identifiers(information.m_deviceIdDescriptor);
    information = fresh;
    return {};
}

}  // namespace umbra::provider

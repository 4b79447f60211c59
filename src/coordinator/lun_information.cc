#include "coordinator/lun_information.h"

#include <algorithm>

namespace umbra::coordinator {

namespace {

bool is_unique_type(uint32_t type) {
    return type == 1 || type == 2 || type == 3 || type == 8;
}

std::string_view text_of(const std::optional<std::string>& text) {
    return text ? std::string_view(*text) : std::string_view();
}

}  // namespace

bool LunInformation::same_lun_as(const LunInformation& other) const {
    return version == other.version && device_type == other.device_type &&
           device_type_modifier == other.device_type_modifier && command_queueing == other.command_queueing &&
           text_of(vendor_id) == text_of(other.vendor_id) && text_of(product_id) == text_of(other.product_id) &&
           text_of(product_revision) == text_of(other.product_revision) &&
           text_of(serial_number) == text_of(other.serial_number) && identifiers == other.identifiers &&
           has_unique_identifier();
}

bool LunInformation::has_unique_identifier() const {
    return std::ranges::any_of(
        identifiers, [](const StorageIdentifier& one) { return is_unique_type(one.type) && !one.id.empty(); });
}

bool LunInformation::shares_identifier_with(const LunInformation& other) const {
    return std::ranges::any_of(identifiers, [&](const StorageIdentifier& one) {
        return is_unique_type(one.type) && !one.id.empty() &&
               std::ranges::find(other.identifiers, one) != other.identifiers.end();
    });
}

std::string LunInformation::key() const {
    return lun_identity(*this).key();
}

LunInformation lun_information(const host::LunIdentity& lun) {
    LunInformation info;
    info.device_type = lun.device_type;
    info.device_type_modifier = lun.device_type_modifier;
    info.command_queueing = lun.command_queueing;
    info.bus_type = kBusTypeIscsi;
    info.vendor_id = lun.vendor_id;
    info.product_id = lun.product_id;
    info.product_revision = lun.product_revision;
    info.serial_number = lun.serial;
    for (const host::Designator& designator : lun.designators) {
        if (designator.association != 0) continue;
        info.identifiers.push_back({designator.code_set, designator.type, designator.id});
    }
    return info;
}

LunInformation lun_information(const host::Disk& disk) {
    LunInformation info = lun_information(disk.lun);
    info.disk_signature = signature_guid(disk.signature);
    return info;
}

host::LunIdentity lun_identity(const LunInformation& lun) {
    host::LunIdentity identity;
    identity.device_type = lun.device_type;
    identity.device_type_modifier = lun.device_type_modifier;
    identity.command_queueing = lun.command_queueing;
    identity.vendor_id = lun.vendor_id.value_or("");
    identity.product_id = lun.product_id.value_or("");
    identity.product_revision = lun.product_revision.value_or("");
    identity.serial = lun.serial_number.value_or("");
    for (const StorageIdentifier& one : lun.identifiers) {
        identity.designators.push_back({static_cast<uint8_t>(one.code_set), static_cast<uint8_t>(one.type), 0, one.id});
    }
    return identity;
}

base::Guid signature_guid(const host::DiskSignature& signature) {
    base::Guid guid;
    switch (signature.kind) {
        case host::TableKind::kNone:
            break;
        case host::TableKind::kMbr:
            base::store_be(guid.bytes.data(), signature.mbr_id);
            break;
        case host::TableKind::kGpt:
            guid = signature.gpt_guid;
            break;
    }
    return guid;
}

}  // namespace umbra::coordinator

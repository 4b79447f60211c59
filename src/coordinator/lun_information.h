// VDS_LUN_INFORMATION as a value, and the rules by which two of them mean the same LUN.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/guid.h"
#include "host/host.h"

namespace umbra::coordinator {

inline constexpr uint32_t kLunInformationVersion = 1;  ///< VER_VDS_LUN_INFORMATION
inline constexpr uint32_t kBusTypeIscsi = 9;           ///< VDSBusTypeiScsi

struct StorageIdentifier {
    uint32_t code_set = 0;
    uint32_t type = 0;
    std::vector<std::byte> id;
    auto operator<=>(const StorageIdentifier&) const = default;
};

struct LunInformation {
    uint32_t version = kLunInformationVersion;
    uint8_t device_type = 0;
    uint8_t device_type_modifier = 0;
    bool command_queueing = false;
    uint32_t bus_type = 0;
    std::optional<std::string> vendor_id;  ///< nullopt is NULL
    std::optional<std::string> product_id;
    std::optional<std::string> product_revision;
    std::optional<std::string> serial_number;
    base::Guid disk_signature;
    uint32_t descriptor_version = 0;
    std::vector<StorageIdentifier> identifiers;  ///< page 83, association 0 only
    bool operator==(const LunInformation&) const = default;

    /// Equal by the rules of GetTargetLuns and FillInLunInfo: bus type, signature and interconnects do not count; NULL
    /// and "" are the same text.
    bool same_lun_as(const LunInformation& other) const;
    /// True with at least one identifier of type 1, 2, 3 or 8: the LUN can be found again on any host.
    bool has_unique_identifier() const;
    /// Some identifier of those types that both have.
    bool shares_identifier_with(const LunInformation& other) const;
    /// For maps and messages: "naa.6…" or the like; empty without a unique identifier.
    std::string key() const;
};

LunInformation lun_information(const host::LunIdentity& lun);
/// With the signature as m_diskSignature: the GPT GUID, or the MBR identifier in the first four bytes.
LunInformation lun_information(const host::Disk& disk);
/// For HostOps::rescan, which compares identifiers.
host::LunIdentity lun_identity(const LunInformation& lun);
base::Guid signature_guid(const host::DiskSignature& signature);

}  // namespace umbra::coordinator

// VDS_LUN_INFORMATION: what names a LUN across hosts. Built from the array's record of a LUN so that every field is
// what an initiator reads from the LUN itself (standard INQUIRY, VPD pages 80 and 83).
#pragma once

#include <optional>
#include <string>

#include "provider/array_client.h"
#include "vdslun.h"

namespace umbra::provider {

/// The LUN's NAA-6 designator (page 83 type 3, binary, 16 bytes) as 32 lowercase hexadecimal digits; nullopt when the
/// structure carries none, or carries two that differ.
std::optional<std::string> naa_of(const VDS_LUN_INFORMATION& information);

/// Frees what the strings, identifiers and interconnects occupy, and zeroes the structure.
void free_lun_information(VDS_LUN_INFORMATION& information);

/// Overwrites everything but bus type, disk signature and interconnects, which stay as they are: those are not the
/// provider's. Old strings and identifiers are freed. kCorrupt when the array's page 83 does not decode, kInternal when
/// memory ran out; the structure is unchanged then.
base::Result<void> fill_lun_information(const LunRecord& lun, const ArrayRecord& array,
                                        VDS_LUN_INFORMATION& information);

}  // namespace umbra::provider

// The designators of a LUN, as page 83 of INQUIRY and the management channel both show them.
#pragma once

#include <cstddef>
#include <vector>

#include "array/presentation.h"

namespace umbra::array {

/// Designation descriptors of association 0 (SPC-4 7.8.6), headers included, in this order: NAA 6, T10 vendor
/// identification, SCSI name string ("naa." and the same 32 digits).
std::vector<std::byte> page83_designators(const ProductStrings& product, const LunIdentity& identity);

}  // namespace umbra::array

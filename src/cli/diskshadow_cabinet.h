// Cabinet files in memory, by libgcab. What is read is untrusted: the headers are checked before the library sees them.
#pragma once

#include <cstddef>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace umbra::cli::diskshadow {

struct CabinetMember {
    std::string name;
    std::string content;
};

struct CabinetLimits {
    size_t file_bytes;
    size_t members;
    size_t member_bytes;
    size_t total_bytes;  ///< of all members, unpacked
};

/// One folder, MSZIP-compressed.
base::Result<std::string> write_cabinet(const std::vector<CabinetMember>& members);

/// Members in their order in the file. Reads single, unsigned cabinets whose folders are stored or MSZIP; kCorrupt for
/// everything else, kInvalidArgument beyond the limits. Nothing is written anywhere.
base::Result<std::vector<CabinetMember>> read_cabinet(std::string_view cabinet, const CabinetLimits& limits);

}  // namespace umbra::cli::diskshadow

// Sizes as people write them: "2G", "512 MiB", "4096". Units are binary.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

#include "base/result.h"

namespace umbra::base {

/// Bytes. Accepts a number (a fraction only with a unit), then B, K, M, G, T, P with optional "iB" or "B"; either case.
Result<uint64_t> parse_size(std::string_view text);
/// "2 GiB", "1.5 MiB", "512 B".
std::string format_size(uint64_t bytes);

}  // namespace umbra::base

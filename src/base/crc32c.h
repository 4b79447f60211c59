// CRC32C (Castagnoli), as iSCSI digests (RFC 7143 §13.1) and every format of ours use it.
#pragma once

#include <cstdint>

#include "base/bytes.h"

namespace umbra::base {

/// CRC32C of `bytes`, continuing from `seed` (the CRC of what came before, 0 at the start).
uint32_t crc32c(Bytes bytes, uint32_t seed = 0);

}  // namespace umbra::base

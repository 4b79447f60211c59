#include "base/crc32c.h"

#include <isa-l/crc.h>

namespace umbra::base {

uint32_t crc32c(Bytes bytes, uint32_t seed) {
    return ~crc32_iscsi(reinterpret_cast<unsigned char*>(const_cast<std::byte*>(bytes.data())),
                        static_cast<int>(bytes.size()), ~seed);
}

}  // namespace umbra::base

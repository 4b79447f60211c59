// What the workload writes: every 512-byte sector names the write and its own place, so that any sector tells where it
// belongs and which version it is.
#pragma once

#include <array>
#include <cstring>

#include "base/bytes.h"

namespace umbra::simulation {

inline constexpr size_t kSectorBytes = 512;

/// Numbers a write; 0 is "never written".
using Stamp = uint64_t;

inline void fill_sector(std::byte* into, Stamp stamp, uint64_t sector) {
    std::array<uint64_t, kSectorBytes / 8> words;
    words[0] = stamp;
    words[1] = sector;
    uint64_t x = stamp * 0x9e3779b97f4a7c15u + sector;
    for (size_t i = 2; i < words.size(); ++i) {
        x = x * 6364136223846793005u + 1442695040888963407u;
        words[i] = x ^ (x >> 29);
    }
    std::memcpy(into, words.data(), kSectorBytes);
}

inline bool is_sector(const std::byte* bytes, Stamp stamp, uint64_t sector) {
    uint64_t first = 0;
    std::memcpy(&first, bytes, sizeof first);
    if (first != stamp) return false;
    std::array<std::byte, kSectorBytes> expected;
    fill_sector(expected.data(), stamp, sector);
    return std::memcmp(bytes, expected.data(), kSectorBytes) == 0;
}

}  // namespace umbra::simulation

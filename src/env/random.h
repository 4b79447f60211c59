// Randomness as a seam: seeded in simulation, from the kernel in production.
#pragma once

#include <cstdint>

#include "base/check.h"
#include "base/guid.h"

namespace umbra::env {

class Random {
public:
    virtual ~Random() = default;
    virtual uint64_t next() = 0;

    /// Uniform in [0, bound); bound > 0.
    uint64_t below(uint64_t bound) {
        UMBRA_CHECK(bound > 0);
        const uint64_t limit = UINT64_MAX - UINT64_MAX % bound;
        uint64_t value = next();
        while (value >= limit) value = next();
        return value % bound;
    }
    /// True once in `n` on average.
    bool one_in(uint64_t n) { return below(n) == 0; }
    base::Guid guid() {
        const uint64_t high = next();
        const uint64_t low = next();
        return base::Guid::from_random(high, low);
    }
};

/// xoshiro256** seeded by splitmix64: the same sequence for the same seed on every platform.
class SeededRandom final : public Random {
public:
    explicit SeededRandom(uint64_t seed) {
        for (uint64_t& word : state_) {
            seed += 0x9e3779b97f4a7c15u;
            uint64_t z = seed;
            z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
            z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
            word = z ^ (z >> 31);
        }
    }
    uint64_t next() override {
        const auto rotl = [](uint64_t x, int k) { return (x << k) | (x >> (64 - k)); };
        const uint64_t result = rotl(state_[1] * 5, 7) * 9;
        const uint64_t t = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= t;
        state_[3] = rotl(state_[3], 45);
        return result;
    }

private:
    uint64_t state_[4];
};

}  // namespace umbra::env

// 128-bit identifiers (RFC 9562), in the order in which they are printed.
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>

#include "base/bytes.h"

namespace umbra::base {

struct Guid {
    std::array<std::byte, 16> bytes{};  ///< big-endian, as printed

    auto operator<=>(const Guid&) const = default;
    bool is_null() const { return *this == Guid{}; }

    /// "3f2504e0-4f89-41d3-9a0c-0305e82c3301"
    std::string text() const;
    /// "{3f2504e0-…}"
    std::string braced() const { return "{" + text() + "}"; }
    /// Accepts both forms, either case. Nothing else.
    static std::optional<Guid> parse(std::string_view text);
    /// A version 4 UUID from two random words.
    static Guid from_random(uint64_t high, uint64_t low);
    /// A version 5 UUID: SHA-1 of `space` and `name`.
    static Guid from_name(const Guid& space, std::string_view name);
};

}  // namespace umbra::base

template <>
struct std::hash<umbra::base::Guid> {
    size_t operator()(const umbra::base::Guid& guid) const noexcept {
        return umbra::base::load_le<uint64_t>(guid.bytes.data()) ^ umbra::base::load_le<uint64_t>(guid.bytes.data() + 8);
    }
};

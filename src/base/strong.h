// Integers that do not mix: `struct LunTag; using LunId = StrongInt<LunTag>;`
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace umbra::base {

template <class Tag, class Int = uint64_t>
struct StrongInt {
    Int value{};

    constexpr StrongInt() = default;
    constexpr explicit StrongInt(Int v) : value(v) {}
    constexpr auto operator<=>(const StrongInt&) const = default;
    constexpr explicit operator bool() const { return value != Int{}; }
};

}  // namespace umbra::base

template <class Tag, class Int>
struct std::hash<umbra::base::StrongInt<Tag, Int>> {
    size_t operator()(umbra::base::StrongInt<Tag, Int> id) const noexcept { return std::hash<Int>()(id.value); }
};

#include "base/size_text.h"

#include <cctype>
#include <charconv>
#include <cmath>

#include <fmt/format.h>

namespace umbra::base {

namespace {
constexpr std::string_view kUnits = "BKMGTP";
}

Result<uint64_t> parse_size(std::string_view text) {
    const auto bad = [&] {
        return fail(Code::kInvalidArgument,
                    fmt::format("'{}' is not a size: write a number of bytes, or one with K, M, G, T or P", text));
    };
    double number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, std::chars_format::fixed);
    if (error != std::errc() || number < 0) return bad();
    std::string unit;
    for (const char* p = end; p != text.data() + text.size(); ++p) {
        if (*p != ' ') unit += static_cast<char>(std::toupper(static_cast<unsigned char>(*p)));
    }
    size_t power = 0;
    if (!unit.empty()) {
        power = kUnits.find(unit[0]);
        if (power == std::string_view::npos) return bad();
        const std::string rest = unit.substr(1);
        if (!(rest.empty() || (power > 0 && (rest == "B" || rest == "IB")))) return bad();
    }
    const double bytes = std::ldexp(number, static_cast<int>(10 * power));
    if (bytes >= 9.0e18 || bytes != std::floor(bytes)) return bad();
    return static_cast<uint64_t>(bytes);
}

std::string format_size(uint64_t bytes) {
    size_t power = 0;
    double value = static_cast<double>(bytes);
    while (value >= 1024 && power + 1 < kUnits.size()) {
        value /= 1024;
        ++power;
    }
    if (power == 0) return fmt::format("{} B", bytes);
    const double rounded = std::round(value * 10) / 10;
    if (rounded == std::floor(rounded)) return fmt::format("{:.0f} {}iB", rounded, kUnits[power]);
    return fmt::format("{:.1f} {}iB", rounded, kUnits[power]);
}

}  // namespace umbra::base

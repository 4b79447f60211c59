#include "array/names.h"

#include <algorithm>

#include "base/utf8.h"

namespace umbra::array {

using base::Code;
using base::fail;
using base::Result;

namespace {

bool is_digit(char c) {
    return c >= '0' && c <= '9';
}
bool is_letter(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}
bool is_hex(char c) {
    return is_digit(c) || (c >= 'a' && c <= 'f');
}

bool is_year_month(std::string_view text) {
    return text.size() == 7 && std::ranges::all_of(text.substr(0, 4), is_digit) && text[4] == '-' &&
           std::ranges::all_of(text.substr(5), is_digit);
}

/// "iqn.yyyy-mm.domain", already in lower case.
bool is_authority(std::string_view text) {
    if (!text.starts_with("iqn.") || text.size() < 13) return false;
    if (!is_year_month(text.substr(4, 7)) || text[11] != '.') return false;
    const std::string_view domain = text.substr(12);
    return std::ranges::all_of(domain, [](char c) { return is_digit(c) || is_letter(c) || c == '.' || c == '-'; }) &&
           domain.front() != '.' && domain.back() != '.';
}

}  // namespace

Result<void> check_name(std::string_view name) {
    const bool allowed = std::ranges::all_of(
        name, [](char c) { return is_digit(c) || is_letter(c) || c == '.' || c == '_' || c == '-'; });
    if (name.empty() || name.size() > kMaxNameBytes || !allowed || name.front() == '.' || name.front() == '-') {
        return fail(Code::kInvalidArgument,
                    "\"" + std::string(name.substr(0, 2 * kMaxNameBytes)) +
                        "\" is no name: 1 to 64 of A-Z a-z 0-9 . _ -, not beginning with . or -");
    }
    return {};
}

Result<std::string> normalize_iscsi_name(std::string_view name) {
    std::string lower(name);
    std::ranges::transform(lower, lower.begin(),
                           [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
    const auto refuse = [&] {
        return fail(Code::kInvalidArgument,
                    "\"" + base::to_valid_utf8(lower.substr(0, kMaxIscsiNameBytes)) + "\" is no iSCSI name");
    };
    if (lower.size() > kMaxIscsiNameBytes) return refuse();
    if (lower.starts_with("eui.")) {
        if (lower.size() != 20 || !std::ranges::all_of(lower.substr(4), is_hex)) return refuse();
        return lower;
    }
    if (lower.starts_with("naa.")) {
        const size_t digits = lower.size() - 4;
        if ((digits != 16 && digits != 32) || !std::ranges::all_of(lower.substr(4), is_hex)) return refuse();
        return lower;
    }
    const size_t colon = lower.find(':');
    if (!is_authority(lower.substr(0, colon))) return refuse();
    const bool printable = std::ranges::all_of(lower, [](char c) {
        return static_cast<unsigned char>(c) >= 0x80 || is_digit(c) || is_letter(c) || c == '.' || c == '-' || c == ':';
    });
    if (!printable || !base::is_utf8(lower)) return refuse();
    return lower;
}

Result<std::string> normalize_initiator(std::string_view name) {
    if (name == "*") return std::string("*");
    return normalize_iscsi_name(name);
}

Result<void> check_iqn_authority(std::string_view authority) {
    if (authority.size() > kMaxIscsiNameBytes - 32 || !is_authority(authority)) {
        return fail(Code::kInvalidArgument,
                    "\"" + std::string(authority) + "\" is no IQN authority, as in iqn.2026-01.com.example");
    }
    return {};
}

}  // namespace umbra::array

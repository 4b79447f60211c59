#include "base/utf8.h"

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace umbra::base {

namespace {

/// Bytes of the character at the start of `text`, which is not empty; 0 when there is none.
size_t character_bytes(std::string_view text) {
    const auto at = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
    const uint8_t first = at(0);
    if (first < 0x80) return 1;
    // What the second byte may be keeps overlong forms, surrogates and too large values out.
    uint8_t low = 0x80;
    uint8_t high = 0xbf;
    size_t bytes = 0;
    if (first >= 0xc2 && first <= 0xdf) {
        bytes = 2;
    } else if (first >= 0xe0 && first <= 0xef) {
        bytes = 3;
        if (first == 0xe0) low = 0xa0;
        if (first == 0xed) high = 0x9f;
    } else if (first >= 0xf0 && first <= 0xf4) {
        bytes = 4;
        if (first == 0xf0) low = 0x90;
        if (first == 0xf4) high = 0x8f;
    }
    if (bytes == 0 || text.size() < bytes || at(1) < low || at(1) > high) return 0;
    for (size_t i = 2; i < bytes; ++i) {
        if (at(i) < 0x80 || at(i) > 0xbf) return 0;
    }
    return bytes;
}

}  // namespace

bool is_utf8(std::string_view text) {
    while (!text.empty()) {
        const size_t bytes = character_bytes(text);
        if (bytes == 0) return false;
        text.remove_prefix(bytes);
    }
    return true;
}

std::string to_valid_utf8(std::string_view text) {
    std::string out;
    while (!text.empty()) {
        const size_t bytes = character_bytes(text);
        if (bytes == 0) {
            out += "\xef\xbf\xbd";
        } else {
            out += text.substr(0, bytes);
        }
        text.remove_prefix(std::max<size_t>(bytes, 1));
    }
    return out;
}

}  // namespace umbra::base

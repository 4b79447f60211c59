#include "base/guid.h"

#include <openssl/evp.h>

namespace umbra::base {

namespace {
constexpr bool is_dash(size_t i) { return i == 8 || i == 13 || i == 18 || i == 23; }

int digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

void stamp(Guid& guid, int version) {
    guid.bytes[6] = (guid.bytes[6] & std::byte{0x0f}) | static_cast<std::byte>(version << 4);
    guid.bytes[8] = (guid.bytes[8] & std::byte{0x3f}) | std::byte{0x80};
}
}  // namespace

std::string Guid::text() const {
    const std::string hex = to_hex(bytes);
    std::string out;
    out.reserve(36);
    for (size_t i = 0; i < hex.size(); ++i) {
        if (i == 8 || i == 12 || i == 16 || i == 20) out += '-';
        out += hex[i];
    }
    return out;
}

std::optional<Guid> Guid::parse(std::string_view text) {
    if (text.size() == 38 && text.front() == '{' && text.back() == '}') text = text.substr(1, 36);
    if (text.size() != 36) return std::nullopt;
    Guid guid;
    size_t nibble = 0;
    for (size_t i = 0; i < 36; ++i) {
        if (is_dash(i)) {
            if (text[i] != '-') return std::nullopt;
            continue;
        }
        const int value = digit(text[i]);
        if (value < 0) return std::nullopt;
        guid.bytes[nibble / 2] |= static_cast<std::byte>(nibble % 2 == 0 ? value << 4 : value);
        ++nibble;
    }
    return guid;
}

Guid Guid::from_random(uint64_t high, uint64_t low) {
    Guid guid;
    store_be(guid.bytes.data(), high);
    store_be(guid.bytes.data() + 8, low);
    stamp(guid, 4);
    return guid;
}

Guid Guid::from_name(const Guid& space, std::string_view name) {
    unsigned char digest[EVP_MAX_MD_SIZE];
    unsigned int length = 0;
    std::string input(as_text(space.bytes));
    input += name;
    UMBRA_CHECK(EVP_Digest(input.data(), input.size(), digest, &length, EVP_sha1(), nullptr) == 1 && length >= 16);
    Guid guid;
    std::memcpy(guid.bytes.data(), digest, 16);
    stamp(guid, 5);
    return guid;
}

}  // namespace umbra::base

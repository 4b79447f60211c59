#include "base/bytes.h"

#include <new>

namespace umbra::base {

Buffer::Buffer(size_t size, bool zero) : size_(size) {
    if (size == 0) return;
    const size_t rounded = (size + kPageBytes - 1) / kPageBytes * kPageBytes;
    data_ = static_cast<std::byte*>(std::aligned_alloc(kPageBytes, rounded));
    if (data_ == nullptr) throw std::bad_alloc();
    if (zero) std::memset(data_, 0, rounded);
}

bool is_zero(Bytes bytes) {
    if (bytes.empty()) return true;
    return bytes[0] == std::byte{0} && std::memcmp(bytes.data(), bytes.data() + 1, bytes.size() - 1) == 0;
}

std::string to_hex(Bytes bytes) {
    static constexpr char kDigits[] = "0123456789abcdef";
    std::string text;
    text.reserve(bytes.size() * 2);
    for (std::byte b : bytes) {
        text += kDigits[std::to_integer<unsigned>(b) >> 4];
        text += kDigits[std::to_integer<unsigned>(b) & 15];
    }
    return text;
}

}  // namespace umbra::base

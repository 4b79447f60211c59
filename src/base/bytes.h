// Byte spans, aligned buffers, and explicit little- and big-endian encoding.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/check.h"

namespace umbra::base {

using Byte = std::byte;
using Bytes = std::span<const std::byte>;
using MutableBytes = std::span<std::byte>;

inline constexpr size_t kPageBytes = 4096;

inline Bytes as_bytes(std::string_view text) {
    return {reinterpret_cast<const std::byte*>(text.data()), text.size()};
}
inline std::string_view as_text(Bytes bytes) {
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// Owned memory aligned to 4 KiB, as O_DIRECT wants. Not zeroed unless asked. Movable.
class Buffer {
public:
    Buffer() = default;
    explicit Buffer(size_t size, bool zero = false);
    Buffer(Buffer&& other) noexcept : data_(std::exchange(other.data_, nullptr)), size_(std::exchange(other.size_, 0)) {}
    Buffer& operator=(Buffer&& other) noexcept {
        if (this != &other) {
            std::free(data_);
            data_ = std::exchange(other.data_, nullptr);
            size_ = std::exchange(other.size_, 0);
        }
        return *this;
    }
    Buffer(const Buffer&) = delete;
    Buffer& operator=(const Buffer&) = delete;
    ~Buffer() { std::free(data_); }

    std::byte* data() { return data_; }
    const std::byte* data() const { return data_; }
    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }
    MutableBytes span() { return {data_, size_}; }
    Bytes span() const { return {data_, size_}; }
    MutableBytes span(size_t at, size_t count) { return span().subspan(at, count); }
    Bytes span(size_t at, size_t count) const { return span().subspan(at, count); }

private:
    std::byte* data_ = nullptr;
    size_t size_ = 0;
};

template <class T>
    requires std::is_unsigned_v<T>
T load_le(const std::byte* at) {
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(value | (static_cast<T>(at[i]) << (8 * i)));
    return value;
}
template <class T>
    requires std::is_unsigned_v<T>
void store_le(std::byte* at, T value) {
    for (size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<std::byte>(value >> (8 * i));
}
template <class T>
    requires std::is_unsigned_v<T>
T load_be(const std::byte* at) {
    T value = 0;
    for (size_t i = 0; i < sizeof(T); ++i) value = static_cast<T>(static_cast<T>(value << 8) | static_cast<T>(at[i]));
    return value;
}
template <class T>
    requires std::is_unsigned_v<T>
void store_be(std::byte* at, T value) {
    for (size_t i = 0; i < sizeof(T); ++i) at[i] = static_cast<std::byte>(value >> (8 * (sizeof(T) - 1 - i)));
}

/// Appends little-endian fields to a byte vector. Strings and blobs carry a 32-bit length.
class Encoder {
public:
    template <class T>
        requires std::is_unsigned_v<T>
    void put(T value) {
        const size_t at = out_.size();
        out_.resize(at + sizeof(T));
        store_le(out_.data() + at, value);
    }
    void put_bytes(Bytes bytes) { out_.insert(out_.end(), bytes.begin(), bytes.end()); }
    void put_blob(Bytes bytes) {
        put(static_cast<uint32_t>(bytes.size()));
        put_bytes(bytes);
    }
    void put_string(std::string_view text) { put_blob(as_bytes(text)); }
    size_t size() const { return out_.size(); }
    std::vector<std::byte>& bytes() { return out_; }
    std::vector<std::byte> take() { return std::move(out_); }

private:
    std::vector<std::byte> out_;
};

/// Reads what Encoder wrote. After a read past the end every further value is zero and ok() is false: check once.
class Decoder {
public:
    explicit Decoder(Bytes bytes) : in_(bytes) {}
    template <class T>
        requires std::is_unsigned_v<T>
    T get() {
        if (!need(sizeof(T))) return 0;
        T value = load_le<T>(in_.data());
        in_ = in_.subspan(sizeof(T));
        return value;
    }
    Bytes get_bytes(size_t count) {
        if (!need(count)) return {};
        Bytes bytes = in_.first(count);
        in_ = in_.subspan(count);
        return bytes;
    }
    Bytes get_blob() { return get_bytes(get<uint32_t>()); }
    std::string get_string() { return std::string(as_text(get_blob())); }
    /// A count that precedes items of at least `item_bytes` each: fails when the rest cannot hold that many.
    size_t get_count(size_t item_bytes) {
        const size_t count = get<uint32_t>();
        if (item_bytes != 0 && count > in_.size() / item_bytes) {
            ok_ = false;
            return 0;
        }
        return count;
    }
    bool ok() const { return ok_; }
    bool at_end() const { return in_.empty(); }
    size_t remaining() const { return in_.size(); }

private:
    bool need(size_t count) {
        if (!ok_ || count > in_.size()) {
            ok_ = false;
            return false;
        }
        return true;
    }
    Bytes in_;
    bool ok_ = true;
};

bool is_zero(Bytes bytes);
/// Lowercase, two digits a byte.
std::string to_hex(Bytes bytes);

}  // namespace umbra::base

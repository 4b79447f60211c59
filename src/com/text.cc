#include "com/text.h"

#include <cstring>
#include <new>

namespace umbra::com {
namespace {

constexpr wchar_t kReplacement = 0xFFFD;
constexpr uint32_t kInvalid = 0xFFFFFFFF;

bool is_scalar(uint32_t value) {
    return value <= 0x10FFFF && (value < 0xD800 || value > 0xDFFF);
}

// The next scalar value and its length, or kInvalid and the length to skip.
uint32_t decode(std::string_view text, size_t at, size_t& length) {
    const auto byte = [&](size_t i) { return static_cast<uint8_t>(text[i]); };
    const uint8_t first = byte(at);
    length = 1;
    if (first < 0x80) return first;
    size_t more = 0;
    uint32_t value = 0;
    uint32_t least = 0;
    if ((first & 0xE0) == 0xC0) {
        more = 1, value = first & 0x1FU, least = 0x80;
    } else if ((first & 0xF0) == 0xE0) {
        more = 2, value = first & 0x0FU, least = 0x800;
    } else if ((first & 0xF8) == 0xF0) {
        more = 3, value = first & 0x07U, least = 0x10000;
    } else {
        return kInvalid;
    }
    for (size_t i = 1; i <= more; ++i) {
        if (at + i >= text.size() || (byte(at + i) & 0xC0) != 0x80) return kInvalid;
        value = value << 6 | (byte(at + i) & 0x3FU);
        length = i + 1;
    }
    return value >= least && is_scalar(value) ? value : kInvalid;
}

void encode(uint32_t value, std::string& out) {
    const auto put = [&](uint32_t byte) { out.push_back(static_cast<char>(byte)); };
    if (value < 0x80) {
        put(value);
    } else if (value < 0x800) {
        put(0xC0 | value >> 6), put(0x80 | (value & 0x3F));
    } else if (value < 0x10000) {
        put(0xE0 | value >> 12), put(0x80 | (value >> 6 & 0x3F)), put(0x80 | (value & 0x3F));
    } else {
        put(0xF0 | value >> 18), put(0x80 | (value >> 12 & 0x3F));
        put(0x80 | (value >> 6 & 0x3F)), put(0x80 | (value & 0x3F));
    }
}

}  // namespace

base::Result<std::wstring> to_wide(std::string_view utf8) {
    std::wstring wide;
    wide.reserve(utf8.size());
    for (size_t at = 0, length = 0; at < utf8.size(); at += length) {
        const uint32_t value = decode(utf8, at, length);
        if (value == kInvalid) {
            return base::fail(base::Code::kInvalidArgument, "text is not UTF-8 at byte " + std::to_string(at));
        }
        wide.push_back(static_cast<wchar_t>(value));
    }
    return wide;
}

std::wstring to_wide_lossy(std::string_view utf8) {
    std::wstring wide;
    wide.reserve(utf8.size());
    for (size_t at = 0, length = 0; at < utf8.size(); at += length) {
        const uint32_t value = decode(utf8, at, length);
        wide.push_back(value == kInvalid ? kReplacement : static_cast<wchar_t>(value));
    }
    return wide;
}

base::Result<std::string> to_utf8(std::wstring_view wide) {
    std::string utf8;
    utf8.reserve(wide.size());
    for (size_t i = 0; i < wide.size(); ++i) {
        const auto value = static_cast<uint32_t>(wide[i]);
        if (!is_scalar(value)) {
            return base::fail(base::Code::kInvalidArgument, "text is not Unicode at character " + std::to_string(i));
        }
        encode(value, utf8);
    }
    return utf8;
}

CoString co_string(std::wstring_view text) {
    CoString copy(static_cast<wchar_t*>(CoTaskMemAlloc((text.size() + 1) * sizeof(wchar_t))));
    if (copy == nullptr) throw std::bad_alloc();
    memcpy(copy.get(), text.data(), text.size() * sizeof(wchar_t));
    copy[text.size()] = 0;
    return copy;
}

base::Result<CoString> co_string_utf8(std::string_view utf8) {
    UMBRA_ASSIGN(const std::wstring wide, to_wide(utf8));
    return co_string(wide);
}

Bstr::Bstr(std::wstring_view text) {
    if (text.size() <= UINT32_MAX) text_ = SysAllocStringLen(text.data(), static_cast<UINT>(text.size()));
    if (text_ == nullptr) throw std::bad_alloc();
}

base::Result<Bstr> Bstr::from_utf8(std::string_view utf8) {
    UMBRA_ASSIGN(const std::wstring wide, to_wide(utf8));
    return Bstr(wide);
}

base::Result<std::string> bstr_to_utf8(BSTR text) {
    if (text == nullptr) return std::string();
    return to_utf8(std::wstring_view(text, SysStringLen(text)));
}

GUID to_guid(const base::Guid& guid) {
    const auto byte = [&](size_t i) { return static_cast<uint32_t>(guid.bytes[i]); };
    GUID result{};
    result.Data1 = byte(0) << 24 | byte(1) << 16 | byte(2) << 8 | byte(3);
    result.Data2 = static_cast<uint16_t>(byte(4) << 8 | byte(5));
    result.Data3 = static_cast<uint16_t>(byte(6) << 8 | byte(7));
    for (size_t i = 0; i < 8; ++i) result.Data4[i] = static_cast<uint8_t>(byte(8 + i));
    return result;
}

base::Guid from_guid(const GUID& guid) {
    base::Guid result;
    const auto put = [&](size_t i, uint32_t value) { result.bytes[i] = static_cast<std::byte>(value & 0xFF); };
    put(0, guid.Data1 >> 24), put(1, guid.Data1 >> 16), put(2, guid.Data1 >> 8), put(3, guid.Data1);
    put(4, static_cast<uint32_t>(guid.Data2 >> 8)), put(5, guid.Data2);
    put(6, static_cast<uint32_t>(guid.Data3 >> 8)), put(7, guid.Data3);
    for (size_t i = 0; i < 8; ++i) put(8 + i, guid.Data4[i]);
    return result;
}

}  // namespace umbra::com

// GUID, its comparison, and the constants that name interfaces and classes.
#pragma once

#include <cstring>

#include "compat/types.h"

/// The first three fields are in host byte order, as on Windows: in memory they differ from the printed order.
typedef struct _GUID {
    uint32_t Data1;
    uint16_t Data2;
    uint16_t Data3;
    uint8_t Data4[8];
} GUID;

typedef GUID IID;
typedef GUID CLSID;
typedef GUID UUID;
typedef GUID* LPGUID;
typedef const GUID* LPCGUID;
typedef IID* LPIID;
typedef CLSID* LPCLSID;
typedef const GUID& REFGUID;
typedef const IID& REFIID;
typedef const CLSID& REFCLSID;

constexpr bool operator==(const GUID& a, const GUID& b) {
    if (a.Data1 != b.Data1 || a.Data2 != b.Data2 || a.Data3 != b.Data3) return false;
    for (int i = 0; i < 8; ++i) {
        if (a.Data4[i] != b.Data4[i]) return false;
    }
    return true;
}
constexpr bool operator!=(const GUID& a, const GUID& b) {
    return !(a == b);
}

constexpr BOOL IsEqualGUID(REFGUID a, REFGUID b) {
    return a == b ? TRUE : FALSE;
}
constexpr BOOL InlineIsEqualGUID(REFGUID a, REFGUID b) {
    return IsEqualGUID(a, b);
}
constexpr BOOL IsEqualIID(REFIID a, REFIID b) {
    return IsEqualGUID(a, b);
}
constexpr BOOL IsEqualCLSID(REFCLSID a, REFCLSID b) {
    return IsEqualGUID(a, b);
}

// Every translation unit that sees it may use it: no INITGUID is needed.
#define DEFINE_GUID(name, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8) \
    inline constexpr GUID name = {l, w1, w2, {b1, b2, b3, b4, b5, b6, b7, b8}}

inline constexpr GUID GUID_NULL = {};
inline constexpr IID IID_NULL = {};
inline constexpr CLSID CLSID_NULL = {};

namespace compat {

constexpr uint32_t hex_digit(char c) {
    if (c >= '0' && c <= '9') return static_cast<uint32_t>(c - '0');
    if (c >= 'a' && c <= 'f') return static_cast<uint32_t>(c - 'a' + 10);
    if (c >= 'A' && c <= 'F') return static_cast<uint32_t>(c - 'A' + 10);
    throw "not a hexadecimal digit";  // makes a bad literal an error of compilation
}
constexpr uint32_t hex_number(const char* at, int digits) {
    uint32_t value = 0;
    for (int i = 0; i < digits; ++i) value = value * 16 + hex_digit(at[i]);
    return value;
}
/// The GUID that "507c37b4-cf5b-4e95-b0af-14eb9767467e" spells. For literals: evaluated while compiling.
constexpr GUID guid_literal(const char (&text)[37]) {
    if (text[8] != '-' || text[13] != '-' || text[18] != '-' || text[23] != '-') throw "misplaced hyphen";
    GUID guid{};
    guid.Data1 = hex_number(text, 8);
    guid.Data2 = static_cast<uint16_t>(hex_number(text + 9, 4));
    guid.Data3 = static_cast<uint16_t>(hex_number(text + 14, 4));
    for (int i = 0; i < 8; ++i) {
        const int at = 19 + 2 * i + (i >= 2 ? 1 : 0);
        guid.Data4[i] = static_cast<uint8_t>(hex_number(text + at, 2));
    }
    return guid;
}

/// Specialised for every type that has an identifier, by COMPAT_UUID or __CRT_UUID_DECL.
template <class T>
struct Uuid;

template <class T>
struct Bare {
    typedef T type;
};
template <class T>
struct Bare<const T> : Bare<T> {};
template <class T>
struct Bare<volatile T> : Bare<T> {};
template <class T>
struct Bare<const volatile T> : Bare<T> {};
template <class T>
struct Bare<T&> : Bare<T> {};
template <class T>
struct Bare<T&&> : Bare<T> {};
template <class T>
struct Bare<T*> : Bare<T> {};

template <class T>
constexpr const GUID& uuid_of() {
    return Uuid<typename Bare<T>::type>::value;
}

}  // namespace compat

// COMPAT_UUID(type, "8-4-4-4-12") stands after the definition of `type`, outside every namespace.
#define COMPAT_UUID(type, text)                                     \
    template <>                                                     \
    struct compat::Uuid<type> {                                     \
        static constexpr GUID value = ::compat::guid_literal(text); \
    }
// The form that MinGW-w64's headers use; for interfaces of your own.
#define __CRT_UUID_DECL(type, l, w1, w2, b1, b2, b3, b4, b5, b6, b7, b8)             \
    template <>                                                                      \
    struct compat::Uuid<type> {                                                      \
        static constexpr GUID value = {l, w1, w2, {b1, b2, b3, b4, b5, b6, b7, b8}}; \
    };
// An interface with its identifier, also as the constant IID_<interface>.
#define COMPAT_INTERFACE_ID(type, text)                             \
    inline constexpr IID IID_##type = ::compat::guid_literal(text); \
    COMPAT_UUID(type, text)

// The identifier of a type, or of the type that an expression has. Stands in for Microsoft's operator of this name.
#undef __uuidof
#define __uuidof(...) (::compat::uuid_of<__typeof__(__VA_ARGS__)>())

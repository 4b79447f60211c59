// The functions that include/compat declares. No part of the project but the C library is used here.
#include <sys/random.h>

#include <cerrno>
#include <climits>
#include <cstdlib>
#include <cwchar>

#include "compat/com.h"

namespace {

// Four bytes of length, padded so that the text behind them is aligned as malloc aligns.
constexpr size_t kBstrHeader = alignof(std::max_align_t);
constexpr UINT kBstrMaxBytes = UINT_MAX - 64;
constexpr int kGuidTextSize = 39;

BSTR bstr_alloc(size_t bytes) {
    if (bytes > kBstrMaxBytes) return nullptr;
    auto* block = static_cast<char*>(malloc(kBstrHeader + bytes + sizeof(OLECHAR)));
    if (block == nullptr) return nullptr;
    const auto length = static_cast<uint32_t>(bytes);
    memcpy(block + kBstrHeader - sizeof length, &length, sizeof length);
    memset(block + kBstrHeader + bytes, 0, sizeof(OLECHAR));
    return reinterpret_cast<BSTR>(block + kBstrHeader);
}

bool read_hex(const OLECHAR*& at, int digits, uint32_t& value) {
    value = 0;
    for (int i = 0; i < digits; ++i, ++at) {
        uint32_t digit = 0;
        if (*at >= L'0' && *at <= L'9') {
            digit = static_cast<uint32_t>(*at - L'0');
        } else if (*at >= L'a' && *at <= L'f') {
            digit = static_cast<uint32_t>(*at - L'a' + 10);
        } else if (*at >= L'A' && *at <= L'F') {
            digit = static_cast<uint32_t>(*at - L'A' + 10);
        } else {
            return false;
        }
        value = value * 16 + digit;
    }
    return true;
}

bool parse_guid(const OLECHAR* at, GUID& guid) {
    uint32_t value = 0;
    if (*at++ != L'{') return false;
    if (!read_hex(at, 8, value) || *at++ != L'-') return false;
    guid.Data1 = value;
    if (!read_hex(at, 4, value) || *at++ != L'-') return false;
    guid.Data2 = static_cast<uint16_t>(value);
    if (!read_hex(at, 4, value) || *at++ != L'-') return false;
    guid.Data3 = static_cast<uint16_t>(value);
    for (int i = 0; i < 8; ++i) {
        if (i == 2 && *at++ != L'-') return false;
        if (!read_hex(at, 2, value)) return false;
        guid.Data4[i] = static_cast<uint8_t>(value);
    }
    return at[0] == L'}' && at[1] == 0;
}

HRESULT guid_from_string(LPCOLESTR text, GUID* guid, HRESULT malformed) {
    if (guid == nullptr) return E_INVALIDARG;
    *guid = GUID_NULL;
    if (text == nullptr) return S_OK;
    GUID parsed{};
    if (!parse_guid(text, parsed)) return malformed;
    *guid = parsed;
    return S_OK;
}

}  // namespace

LPVOID CoTaskMemAlloc(SIZE_T cb) {
    return malloc(cb == 0 ? 1 : cb);
}

LPVOID CoTaskMemRealloc(LPVOID pv, SIZE_T cb) {
    if (pv != nullptr && cb == 0) {
        free(pv);
        return nullptr;
    }
    return realloc(pv, cb == 0 ? 1 : cb);
}

void CoTaskMemFree(LPVOID pv) {
    free(pv);
}

BSTR SysAllocString(const OLECHAR* psz) {
    if (psz == nullptr) return nullptr;
    const size_t length = wcslen(psz);
    if (length > kBstrMaxBytes / sizeof(OLECHAR)) return nullptr;
    return SysAllocStringLen(psz, static_cast<UINT>(length));
}

BSTR SysAllocStringLen(const OLECHAR* pch, UINT len) {
    if (len > kBstrMaxBytes / sizeof(OLECHAR)) return nullptr;
    BSTR result = bstr_alloc(len * sizeof(OLECHAR));
    if (result != nullptr && pch != nullptr) wmemcpy(result, pch, len);
    return result;
}

BSTR SysAllocStringByteLen(LPCSTR psz, UINT len) {
    BSTR result = bstr_alloc(len);
    if (result != nullptr && psz != nullptr) memcpy(result, psz, len);
    return result;
}

INT SysReAllocStringLen(BSTR* pbstr, const OLECHAR* psz, UINT len) {
    if (pbstr == nullptr) return FALSE;
    BSTR result = SysAllocStringLen(psz, len);
    if (result == nullptr) return FALSE;
    SysFreeString(*pbstr);
    *pbstr = result;
    return TRUE;
}

INT SysReAllocString(BSTR* pbstr, const OLECHAR* psz) {
    if (pbstr == nullptr) return FALSE;
    BSTR result = SysAllocString(psz);
    if (result == nullptr && psz != nullptr) return FALSE;
    SysFreeString(*pbstr);
    *pbstr = result;
    return TRUE;
}

void SysFreeString(BSTR bstr) {
    if (bstr != nullptr) free(reinterpret_cast<char*>(bstr) - kBstrHeader);
}

UINT SysStringByteLen(BSTR bstr) {
    if (bstr == nullptr) return 0;
    uint32_t length = 0;
    memcpy(&length, reinterpret_cast<const char*>(bstr) - sizeof length, sizeof length);
    return length;
}

UINT SysStringLen(BSTR bstr) {
    return SysStringByteLen(bstr) / static_cast<UINT>(sizeof(OLECHAR));
}

HRESULT CoCreateGuid(GUID* pguid) {
    if (pguid == nullptr) return E_INVALIDARG;
    GUID guid{};
    size_t have = 0;
    while (have < sizeof guid) {
        const ssize_t got = getrandom(reinterpret_cast<char*>(&guid) + have, sizeof guid - have, 0);
        if (got < 0 && errno == EINTR) continue;
        if (got <= 0) return E_FAIL;
        have += static_cast<size_t>(got);
    }
    guid.Data3 = static_cast<uint16_t>((guid.Data3 & 0x0FFF) | 0x4000);
    guid.Data4[0] = static_cast<uint8_t>((guid.Data4[0] & 0x3F) | 0x80);
    *pguid = guid;
    return S_OK;
}

int StringFromGUID2(REFGUID rguid, LPOLESTR lpsz, int cchMax) {
    if (lpsz == nullptr || cchMax < kGuidTextSize) return 0;
    swprintf(lpsz, kGuidTextSize, L"{%08X-%04X-%04X-%02X%02X-%02X%02X%02X%02X%02X%02X}", rguid.Data1, rguid.Data2,
             rguid.Data3, rguid.Data4[0], rguid.Data4[1], rguid.Data4[2], rguid.Data4[3], rguid.Data4[4],
             rguid.Data4[5], rguid.Data4[6], rguid.Data4[7]);
    return kGuidTextSize;
}

HRESULT StringFromCLSID(REFCLSID rclsid, LPOLESTR* lplpsz) {
    if (lplpsz == nullptr) return E_INVALIDARG;
    *lplpsz = static_cast<LPOLESTR>(CoTaskMemAlloc(kGuidTextSize * sizeof(OLECHAR)));
    if (*lplpsz == nullptr) return E_OUTOFMEMORY;
    StringFromGUID2(rclsid, *lplpsz, kGuidTextSize);
    return S_OK;
}

HRESULT StringFromIID(REFIID rclsid, LPOLESTR* lplpsz) {
    return StringFromCLSID(rclsid, lplpsz);
}

HRESULT CLSIDFromString(LPCOLESTR lpsz, LPCLSID pclsid) {
    return guid_from_string(lpsz, pclsid, CO_E_CLASSSTRING);
}

HRESULT IIDFromString(LPCOLESTR lpsz, LPIID lpiid) {
    return guid_from_string(lpsz, lpiid, E_INVALIDARG);
}

void VariantInit(VARIANT* pvarg) {
    if (pvarg != nullptr) *pvarg = VARIANT{};
}

HRESULT VariantClear(VARIANT* pvarg) {
    if (pvarg == nullptr) return E_INVALIDARG;
    switch (pvarg->vt) {
        case VT_BSTR:
            SysFreeString(pvarg->bstrVal);
            break;
        case VT_UNKNOWN:
            if (pvarg->punkVal != nullptr) pvarg->punkVal->Release();
            break;
        case VT_EMPTY:
        case VT_NULL:
        case VT_I1:
        case VT_I2:
        case VT_I4:
        case VT_I8:
        case VT_INT:
        case VT_UI1:
        case VT_UI2:
        case VT_UI4:
        case VT_UI8:
        case VT_UINT:
        case VT_R4:
        case VT_R8:
        case VT_DATE:
        case VT_BOOL:
        case VT_ERROR:
        case VT_HRESULT:
            break;
        default:
            if ((pvarg->vt & VT_BYREF) == 0) return DISP_E_BADVARTYPE;
            break;
    }
    *pvarg = VARIANT{};
    return S_OK;
}

HRESULT VariantCopy(VARIANT* pvargDest, const VARIANT* pvargSrc) {
    if (pvargDest == nullptr || pvargSrc == nullptr) return E_INVALIDARG;
    if (pvargDest == pvargSrc) return S_OK;
    VARIANT copy = *pvargSrc;
    if (copy.vt == VT_BSTR && copy.bstrVal != nullptr) {
        copy.bstrVal =
            SysAllocStringByteLen(reinterpret_cast<LPCSTR>(pvargSrc->bstrVal), SysStringByteLen(pvargSrc->bstrVal));
        if (copy.bstrVal == nullptr) return E_OUTOFMEMORY;
    }
    if (copy.vt == VT_UNKNOWN && copy.punkVal != nullptr) copy.punkVal->AddRef();
    const HRESULT cleared = VariantClear(pvargDest);
    if (FAILED(cleared)) {
        VariantClear(&copy);
        return cleared;
    }
    *pvargDest = copy;
    return S_OK;
}

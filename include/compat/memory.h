// Memory that crosses interfaces, BSTR, VARIANT and the text forms of a GUID.
//
// The allocators stand on malloc, so that what one library allocates another may free, whichever copy of these
// functions each of them is linked with.
#pragma once

#include "compat/unknown.h"

extern "C" {

VSSAPI_EXPORT LPVOID CoTaskMemAlloc(SIZE_T cb);
VSSAPI_EXPORT LPVOID CoTaskMemRealloc(LPVOID pv, SIZE_T cb);
VSSAPI_EXPORT void CoTaskMemFree(LPVOID pv);

/// Length-prefixed, NUL-terminated text. A NULL BSTR is an empty one.
typedef OLECHAR* BSTR;
typedef BSTR* LPBSTR;

VSSAPI_EXPORT BSTR SysAllocString(const OLECHAR* psz);
/// `len` characters of `pch`, which may contain NULs; pch == NULL: uninitialised but for the final NUL.
VSSAPI_EXPORT BSTR SysAllocStringLen(const OLECHAR* pch, UINT len);
VSSAPI_EXPORT BSTR SysAllocStringByteLen(LPCSTR psz, UINT len);
VSSAPI_EXPORT INT SysReAllocString(BSTR* pbstr, const OLECHAR* psz);
VSSAPI_EXPORT INT SysReAllocStringLen(BSTR* pbstr, const OLECHAR* psz, UINT len);
VSSAPI_EXPORT void SysFreeString(BSTR bstr);
/// In characters (wchar_t: four bytes each) …
VSSAPI_EXPORT UINT SysStringLen(BSTR bstr);
/// … and in bytes.
VSSAPI_EXPORT UINT SysStringByteLen(BSTR bstr);

/// A random (version 4) GUID from the operating system's generator. E_FAIL when that does not answer.
VSSAPI_EXPORT HRESULT CoCreateGuid(GUID* pguid);
/// Writes "{XXXXXXXX-XXXX-XXXX-XXXX-XXXXXXXXXXXX}" and its NUL, 39 characters, and returns 39; 0 if cchMax is less.
VSSAPI_EXPORT int StringFromGUID2(REFGUID rguid, LPOLESTR lpsz, int cchMax);
/// The same text, allocated by CoTaskMemAlloc.
VSSAPI_EXPORT HRESULT StringFromCLSID(REFCLSID rclsid, LPOLESTR* lplpsz);
VSSAPI_EXPORT HRESULT StringFromIID(REFIID rclsid, LPOLESTR* lplpsz);
/// Reads the braced form. NULL gives CLSID_NULL; anything else CO_E_CLASSSTRING (class names need a registry).
VSSAPI_EXPORT HRESULT CLSIDFromString(LPCOLESTR lpsz, LPCLSID pclsid);
VSSAPI_EXPORT HRESULT IIDFromString(LPCOLESTR lpsz, LPIID lpiid);

}  // extern "C"

typedef unsigned short VARTYPE;
typedef short VARIANT_BOOL;
typedef double DATE;
#define VARIANT_TRUE (static_cast<VARIANT_BOOL>(-1))
#define VARIANT_FALSE (static_cast<VARIANT_BOOL>(0))

enum VARENUM {
    VT_EMPTY = 0,
    VT_NULL = 1,
    VT_I2 = 2,
    VT_I4 = 3,
    VT_R4 = 4,
    VT_R8 = 5,
    VT_DATE = 7,
    VT_BSTR = 8,
    VT_ERROR = 10,
    VT_BOOL = 11,
    VT_UNKNOWN = 13,
    VT_I1 = 16,
    VT_UI1 = 17,
    VT_UI2 = 18,
    VT_UI4 = 19,
    VT_I8 = 20,
    VT_UI8 = 21,
    VT_INT = 22,
    VT_UINT = 23,
    VT_HRESULT = 25,
    VT_LPWSTR = 31,
    VT_CLSID = 72,
    VT_ARRAY = 0x2000,
    VT_BYREF = 0x4000
};

typedef struct tagBRECORD {
    PVOID pvRecord;
    PVOID pRecInfo;
} VARIANT_RECORD;

/// The types that VSS properties use. Arrays, dispatch pointers and currency are not offered.
typedef struct tagVARIANT {
    VARTYPE vt;
    WORD wReserved1;
    WORD wReserved2;
    WORD wReserved3;
    union {
        LONGLONG llVal;
        ULONGLONG ullVal;
        LONG lVal;
        ULONG ulVal;
        INT intVal;
        UINT uintVal;
        SHORT iVal;
        USHORT uiVal;
        CHAR cVal;
        BYTE bVal;
        FLOAT fltVal;
        DOUBLE dblVal;
        DATE date;
        VARIANT_BOOL boolVal;
        SCODE scode;
        BSTR bstrVal;
        IUnknown* punkVal;
        PVOID byref;
        VARIANT_RECORD brecVal;  ///< gives the union its size on 64-bit Windows
    };
} VARIANT, VARIANTARG, *LPVARIANT;

extern "C" {
VSSAPI_EXPORT void VariantInit(VARIANT* pvarg);
/// Frees a string, releases an object, and leaves VT_EMPTY. DISP_E_BADVARTYPE for types that are not offered.
VSSAPI_EXPORT HRESULT VariantClear(VARIANT* pvarg);
VSSAPI_EXPORT HRESULT VariantCopy(VARIANT* pvargDest, const VARIANT* pvargSrc);
}

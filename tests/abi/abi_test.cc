// What the mechanical comparison cannot see: sizes, offsets, and what the macros of the base headers make.
#include <gtest/gtest.h>

#include <cstddef>

#include "vdslun.h"
#include "vsadmin.h"
#include "vsbackup.h"
#include "vsprov.h"

namespace {

// Sizes and offsets of 64-bit Windows; WCHAR enters none of them.
static_assert(sizeof(VDS_STORAGE_IDENTIFIER) == 24 && offsetof(VDS_STORAGE_IDENTIFIER, m_rgbIdentifier) == 16);
static_assert(sizeof(VDS_STORAGE_DEVICE_ID_DESCRIPTOR) == 16);
static_assert(sizeof(VDS_INTERCONNECT) == 32 && offsetof(VDS_INTERCONNECT, m_pbAddress) == 24);
static_assert(sizeof(VDS_LUN_INFORMATION) == 96);
static_assert(offsetof(VDS_LUN_INFORMATION, m_bCommandQueueing) == 8);
static_assert(offsetof(VDS_LUN_INFORMATION, m_BusType) == 12);
static_assert(offsetof(VDS_LUN_INFORMATION, m_szVendorId) == 16);
static_assert(offsetof(VDS_LUN_INFORMATION, m_diskSignature) == 48);
static_assert(offsetof(VDS_LUN_INFORMATION, m_deviceIdDescriptor) == 64);
static_assert(offsetof(VDS_LUN_INFORMATION, m_rgInterconnects) == 88);
static_assert(sizeof(VSS_SNAPSHOT_PROP) == 128);
static_assert(offsetof(VSS_SNAPSHOT_PROP, m_pwszSnapshotDeviceObject) == 40);
static_assert(offsetof(VSS_SNAPSHOT_PROP, m_ProviderId) == 88);
static_assert(offsetof(VSS_SNAPSHOT_PROP, m_tsCreationTimestamp) == 112);
static_assert(offsetof(VSS_SNAPSHOT_PROP, m_eStatus) == 120);
static_assert(sizeof(VSS_PROVIDER_PROP) == 72 && offsetof(VSS_PROVIDER_PROP, m_ClassId) == 56);
static_assert(sizeof(VSS_OBJECT_PROP) == 136 && offsetof(VSS_OBJECT_PROP, Obj) == 8);
static_assert(sizeof(VSS_COMPONENTINFO) == 72 && offsetof(VSS_COMPONENTINFO, dwComponentFlags) == 48);

static_assert(sizeof(VSS_SNAPSHOT_STATE) == 4 && sizeof(VDS_STORAGE_BUS_TYPE) == 4 && sizeof(bool) == 1);
static_assert(VSS_CTX_NAS_ROLLBACK == 0x19 && VSS_CTX_CLIENT_ACCESSIBLE == 0x1D);
static_assert(static_cast<DWORD>(VSS_CTX_ALL) == 0xFFFFFFFF);
static_assert(VER_VDS_LUN_INFORMATION == 1 && VSS_SW_BOOTABLE_STATE == 1);
static_assert(VSS_E_BAD_STATE == static_cast<HRESULT>(0x80042301) && FAILED(VSS_E_BAD_STATE));
static_assert(SUCCEEDED(VSS_S_ASYNC_PENDING) && SUCCEEDED(VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED));

static_assert(__uuidof(IUnknown) == compat::guid_literal("00000000-0000-0000-c000-000000000046"));
static_assert(__uuidof(IVssBackupComponentsEx4) == IID_IVssBackupComponentsEx4);
static_assert(IID_IVssBackupComponentsEx4 != IID_IVssBackupComponentsEx3);

// Codes and flags stand where C++ wants constants.
const char* name_of(HRESULT code) {
    switch (code) {
        case S_OK:
            return "S_OK";
        case VSS_E_BAD_STATE:
            return "VSS_E_BAD_STATE";
        case E_INVALIDARG:
            return "E_INVALIDARG";
        default:
            return "";
    }
}

TEST(Abi, CodesAreConstants) {
    EXPECT_STREQ(name_of(VSS_E_BAD_STATE), "VSS_E_BAD_STATE");
    EXPECT_STREQ(name_of(S_OK), "S_OK");
}

// A porter's own interface, in both ways in which it may be identified.
struct IMine : public IUnknown {
    STDMETHOD(Run)(int* result) PURE;
};
struct ITheirs : public IUnknown {
    STDMETHOD_(ULONG, Count)() PURE;
};

}  // namespace

COMPAT_UUID(IMine, "01020304-0506-0708-090a-0b0c0d0e0f10");
__CRT_UUID_DECL(ITheirs, 0x01020304, 0x0506, 0x0708, 0x09, 0x0a, 0x0b, 0x0c, 0x0d, 0x0e, 0x0f, 0x11)

namespace {

class Mine : public IMine {
public:
    virtual ~Mine() = default;
    STDMETHODIMP QueryInterface(REFIID iid, void** object) override {
        if (object == nullptr) return E_POINTER;
        *object = iid == __uuidof(IMine) || iid == IID_IUnknown ? this : nullptr;
        return *object != nullptr ? S_OK : E_NOINTERFACE;
    }
    STDMETHODIMP_(ULONG) AddRef() override { return 1; }
    STDMETHODIMP_(ULONG) Release() override { return 1; }
    STDMETHODIMP Run(int* result) override {
        *result = 7;
        return S_OK;
    }
};

TEST(Abi, InterfacesOfPorters) {
    Mine mine;
    IUnknown* unknown = &mine;
    IMine* face = nullptr;
    ASSERT_EQ(unknown->QueryInterface(IID_PPV_ARGS(&face)), S_OK);
    int result = 0;
    EXPECT_EQ(face->Run(&result), S_OK);
    EXPECT_EQ(result, 7);
    IMine* again = nullptr;
    EXPECT_EQ(unknown->QueryInterface(&again), S_OK);
    EXPECT_EQ(again, face);
    ITheirs* none = nullptr;
    EXPECT_EQ(unknown->QueryInterface(__uuidof(ITheirs), reinterpret_cast<void**>(&none)), E_NOINTERFACE);
    EXPECT_NE(__uuidof(ITheirs), __uuidof(IMine));
    EXPECT_TRUE(IsEqualIID(__uuidof(face), __uuidof(IMine)));
}

}  // namespace

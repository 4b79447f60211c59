// A provider of no array, whose faults the environment variable TEST_PROVIDER chooses: "crash-commit", "hang-commit",
// "bad-commit", "no-load", "event".
#include <unistd.h>

#include <cstdlib>
#include <cstring>
#include <string_view>

#include "com/class_factory.h"
#include "com/ref_counted.h"
#include "com/text.h"
#include "compat/eventlog.h"
#include "vsprov.h"

namespace {

using umbra::com::Face;

bool told(std::string_view what) {
    const char* fault = std::getenv("TEST_PROVIDER");
    return fault != nullptr && what == fault;
}

class Async final : public umbra::com::RefCounted<IVssAsync> {
public:
    HRESULT STDMETHODCALLTYPE Cancel() override {
        cancelled_ = true;
        return S_OK;
    }
    HRESULT STDMETHODCALLTYPE Wait(DWORD) override { return S_OK; }
    HRESULT STDMETHODCALLTYPE QueryStatus(HRESULT* result, INT*) override {
        *result = cancelled_ ? VSS_S_ASYNC_CANCELLED : VSS_S_ASYNC_PENDING;
        return S_FALSE;  // as some do
    }

private:
    bool cancelled_ = false;
};

class TestProvider final
    : public umbra::com::RefCounted<Face<IVssHardwareSnapshotProviderEx, IVssHardwareSnapshotProvider>,
                                    IVssProviderCreateSnapshotSet, IVssProviderNotifications> {
public:
    HRESULT STDMETHODCALLTYPE AreLunsSupported(LONG count, LONG, VSS_PWSZ* devices, VDS_LUN_INFORMATION* luns,
                                               BOOL* supported) override {
        // Supports what is called /dev/known and has a serial number; normalises the product.
        *supported =
            count == 1 && std::wstring_view(devices[0]) == L"/dev/known" && luns[0].m_szSerialNumber != nullptr;
        if (count == 1) {
            CoTaskMemFree(luns[0].m_szProductId);
            luns[0].m_szProductId = static_cast<char*>(CoTaskMemAlloc(11));
            std::memcpy(luns[0].m_szProductId, "NORMALISED", 11);
        }
        return S_OK;
    }
    HRESULT STDMETHODCALLTYPE FillInLunInfo(VSS_PWSZ, VDS_LUN_INFORMATION*, BOOL* supported) override {
        *supported = TRUE;
        return E_FAIL;
    }
    HRESULT STDMETHODCALLTYPE BeginPrepareSnapshot(VSS_ID, VSS_ID, LONG, LONG, VSS_PWSZ*,
                                                   VDS_LUN_INFORMATION*) override {
        return S_OK;
    }
    HRESULT STDMETHODCALLTYPE GetTargetLuns(LONG count, VSS_PWSZ*, VDS_LUN_INFORMATION* sources,
                                            VDS_LUN_INFORMATION* targets) override {
        for (LONG i = 0; i < count; ++i) {
            targets[i].m_version = sources[i].m_version;
            auto* id = static_cast<VDS_STORAGE_IDENTIFIER*>(CoTaskMemAlloc(sizeof(VDS_STORAGE_IDENTIFIER)));
            id->m_CodeSet = VDSStorageIdCodeSetBinary;
            id->m_Type = VDSStorageIdTypeFCPHName;
            id->m_cbIdentifier = 2;
            id->m_rgbIdentifier = static_cast<BYTE*>(CoTaskMemAlloc(2));
            id->m_rgbIdentifier[0] = 0x60;
            id->m_rgbIdentifier[1] = static_cast<BYTE>(i);
            targets[i].m_deviceIdDescriptor.m_cIdentifiers = 1;
            targets[i].m_deviceIdDescriptor.m_rgIdentifiers = id;
        }
        return S_OK;
    }
    HRESULT STDMETHODCALLTYPE LocateLuns(LONG, VDS_LUN_INFORMATION*) override { return VSS_E_BAD_STATE; }
    HRESULT STDMETHODCALLTYPE OnLunEmpty(VSS_PWSZ, VDS_LUN_INFORMATION*) override { return S_OK; }

    HRESULT STDMETHODCALLTYPE GetProviderCapabilities(ULONGLONG*) override { return E_NOTIMPL; }
    HRESULT STDMETHODCALLTYPE OnLunStateChange(VDS_LUN_INFORMATION*, VDS_LUN_INFORMATION*, DWORD, DWORD) override {
        return S_OK;
    }
    HRESULT STDMETHODCALLTYPE ResyncLuns(VDS_LUN_INFORMATION*, VDS_LUN_INFORMATION*, DWORD,
                                         IVssAsync** async) override {
        *async = umbra::com::make<Async>().detach();
        return S_OK;
    }
    HRESULT STDMETHODCALLTYPE OnReuseLuns(VDS_LUN_INFORMATION*, VDS_LUN_INFORMATION*, DWORD) override {
        return E_NOTIMPL;
    }

    HRESULT STDMETHODCALLTYPE EndPrepareSnapshots(VSS_ID) override { return S_OK; }
    HRESULT STDMETHODCALLTYPE PreCommitSnapshots(VSS_ID) override { return S_OK; }
    HRESULT STDMETHODCALLTYPE CommitSnapshots(VSS_ID) override {
        if (told("crash-commit")) _exit(1);
        while (told("hang-commit")) pause();
        return told("bad-commit") ? S_FALSE : S_OK;
    }
    HRESULT STDMETHODCALLTYPE PostCommitSnapshots(VSS_ID, LONG) override { return S_OK; }
    HRESULT STDMETHODCALLTYPE PreFinalCommitSnapshots(VSS_ID) override { return S_OK; }
    HRESULT STDMETHODCALLTYPE PostFinalCommitSnapshots(VSS_ID) override { return S_OK; }
    HRESULT STDMETHODCALLTYPE AbortSnapshots(VSS_ID) override {
        HANDLE source = RegisterEventSourceW(nullptr, L"TestProvider");
        LPCWSTR texts[] = {L"aborted"};
        ReportEventW(source, EVENTLOG_WARNING_TYPE, 0, 77, nullptr, 1, 0, texts, nullptr);
        DeregisterEventSource(source);
        return S_OK;
    }

    HRESULT STDMETHODCALLTYPE OnLoad(IUnknown*) override { return told("no-load") ? VSS_E_PROVIDER_VETO : S_OK; }
    HRESULT STDMETHODCALLTYPE OnUnload(BOOL) override { return S_OK; }
};

IUnknown* create() {
    return static_cast<IVssHardwareSnapshotProviderEx*>(umbra::com::make<TestProvider>().detach());
}
constexpr umbra::com::ClassEntry kClasses[] = {
    {::compat::guid_literal("2b6d6a50-7c1e-4b55-8f2a-1f7d3c9e4a01"), &create}};

}  // namespace

extern "C" __attribute__((visibility("default"))) HRESULT DllGetClassObject(REFCLSID rclsid, REFIID riid, void** ppv) {
    return umbra::com::get_class_object(kClasses, rclsid, riid, ppv);
}

// Administration of providers.
#pragma once

#include "vss.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

/// Which providers there are. An id outlives updates of its provider.
struct IVssAdmin : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE RegisterProvider(VSS_ID pProviderId, CLSID ClassId, VSS_PWSZ pwszProviderName,
                                                       VSS_PROVIDER_TYPE eProviderType, VSS_PWSZ pwszProviderVersion,
                                                       VSS_ID ProviderVersionId) = 0;
    virtual HRESULT STDMETHODCALLTYPE UnregisterProvider(VSS_ID ProviderId) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryProviders(IVssEnumObject** ppEnum) = 0;
    /// Reserved.
    virtual HRESULT STDMETHODCALLTYPE AbortAllSnapshotsInProgress() = 0;
};
COMPAT_INTERFACE_ID(IVssAdmin, "77ed5996-2f63-11d3-8a39-00c04f72d8e3");

struct IVssAdminEx : public IVssAdmin {
    virtual HRESULT STDMETHODCALLTYPE GetProviderCapability(VSS_ID pProviderId,
                                                            ULONGLONG* pllOriginalCapabilityMask) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetProviderContext(VSS_ID ProviderId, LONG* plContext) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetProviderContext(VSS_ID ProviderId, LONG lContext) = 0;
};
COMPAT_INTERFACE_ID(IVssAdminEx, "7858a9f8-b1fa-41a6-964f-b9b36b8cd8d8");

#pragma GCC diagnostic pop

/// The class that has IVssAdmin and IVssAdminEx.
DEFINE_GUID(CLSID_VSSCoordinator, 0xE579AB5F, 0x1CC4, 0x44B4, 0xBE, 0xD9, 0xDE, 0x09, 0x91, 0xFF, 0x06, 0x23);

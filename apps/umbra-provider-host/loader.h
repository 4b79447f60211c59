// Loads a provider's library and makes its object.
#pragma once

#include <string>

#include "com/ptr.h"
#include "vsprov.h"

namespace umbra::provider_host {

struct LoadedProvider {
    com::Ptr<IVssHardwareSnapshotProvider> hardware;
    com::Ptr<IVssHardwareSnapshotProviderEx> ex;  ///< empty: an older provider
    com::Ptr<IVssProviderCreateSnapshotSet> create_snapshot_set;
    com::Ptr<IVssProviderNotifications> notifications;  ///< optional
    HRESULT on_load = S_OK;
    std::string failure;  ///< not empty: nothing may be called
};

/// dlopen, DllGetClassObject, class factory, QueryInterface, OnLoad. The library is never unloaded.
LoadedProvider load_provider(const std::string& library, const CLSID& class_id);

}  // namespace umbra::provider_host

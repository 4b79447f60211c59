#include "loader.h"

#include <dlfcn.h>
#include <fmt/format.h>

namespace umbra::provider_host {

LoadedProvider load_provider(const std::string& library, const CLSID& class_id) {
    LoadedProvider out;
    void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        out.failure = fmt::format("{}: {}", library, dlerror());
        return out;
    }
    using GetClassObject = HRESULT (*)(REFCLSID, REFIID, void**);
    const auto get_class_object = reinterpret_cast<GetClassObject>(dlsym(handle, "DllGetClassObject"));
    if (get_class_object == nullptr) {
        out.failure = library + " has no DllGetClassObject";
        return out;
    }
    com::Ptr<IClassFactory> factory;
    HRESULT result = get_class_object(class_id, __uuidof(IClassFactory), factory.put_void());
    if (FAILED(result) || !factory) {
        out.failure = fmt::format("{} does not know the class: 0x{:08x}", library, static_cast<uint32_t>(result));
        return out;
    }
    com::Ptr<IUnknown> object;
    result = factory->CreateInstance(nullptr, __uuidof(IUnknown), object.put_void());
    if (FAILED(result) || !object) {
        out.failure = fmt::format("{} made no object: 0x{:08x}", library, static_cast<uint32_t>(result));
        return out;
    }
    out.hardware = object.as<IVssHardwareSnapshotProvider>();
    out.ex = object.as<IVssHardwareSnapshotProviderEx>();
    out.create_snapshot_set = object.as<IVssProviderCreateSnapshotSet>();
    out.notifications = object.as<IVssProviderNotifications>();
    if (out.notifications) out.on_load = out.notifications->OnLoad(nullptr);
    return out;
}

}  // namespace umbra::provider_host

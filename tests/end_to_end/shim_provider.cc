// Our provider as other makers' are: without IVssHardwareSnapshotProviderEx, or with one whose ResyncLuns is not
// implemented. Everything else passes through. UMBRA_SHIM is "LIBRARY:FILE": the provider behind, and where the mode is
// read when it is loaded ("legacy", "notimpl", anything else: as it is).
#include <dlfcn.h>

#include <cstdlib>
#include <fstream>
#include <string>

#include "com/class_factory.h"
#include "com/ref_counted.h"
#include "vsprov.h"

namespace {

using umbra::com::Face;

constexpr CLSID kInner = compat::guid_literal("5d2c1f0e-8b7a-4e39-9c64-2f1b0a9d8e73");

struct Inner {
    IVssHardwareSnapshotProviderEx* provider = nullptr;
    IVssProviderCreateSnapshotSet* sets = nullptr;
    IVssProviderNotifications* notifications = nullptr;

    explicit Inner(const std::string& library) {
        void* handle = dlopen(library.c_str(), RTLD_NOW | RTLD_LOCAL);
        if (handle == nullptr) return;
        using GetClassObject = HRESULT (*)(REFCLSID, REFIID, void**);
        auto get = reinterpret_cast<GetClassObject>(dlsym(handle, "DllGetClassObject"));
        IClassFactory* factory = nullptr;
        if (get == nullptr || FAILED(get(kInner, IID_PPV_ARGS(&factory)))) return;
        if (SUCCEEDED(factory->CreateInstance(nullptr, IID_PPV_ARGS(&provider)))) {
            provider->QueryInterface(IID_PPV_ARGS(&sets));
            provider->QueryInterface(IID_PPV_ARGS(&notifications));
        }
        factory->Release();
    }
    bool complete() const { return sets != nullptr && notifications != nullptr; }
    // Never released: it lives as long as the process, which is killed.
};

template <class Base>
class Forwarding : public Base {
public:
    explicit Forwarding(Inner inner) : inner_(inner) {}
    HRESULT STDMETHODCALLTYPE AreLunsSupported(LONG count, LONG context, VSS_PWSZ* devices, VDS_LUN_INFORMATION* luns,
                                               BOOL* supported) override {
        return inner_.provider->AreLunsSupported(count, context, devices, luns, supported);
    }
    HRESULT STDMETHODCALLTYPE FillInLunInfo(VSS_PWSZ device, VDS_LUN_INFORMATION* lun, BOOL* supported) override {
        return inner_.provider->FillInLunInfo(device, lun, supported);
    }
    HRESULT STDMETHODCALLTYPE BeginPrepareSnapshot(VSS_ID set, VSS_ID snapshot, LONG context, LONG count,
                                                   VSS_PWSZ* devices, VDS_LUN_INFORMATION* luns) override {
        return inner_.provider->BeginPrepareSnapshot(set, snapshot, context, count, devices, luns);
    }
    HRESULT STDMETHODCALLTYPE GetTargetLuns(LONG count, VSS_PWSZ* devices, VDS_LUN_INFORMATION* sources,
                                            VDS_LUN_INFORMATION* targets) override {
        return inner_.provider->GetTargetLuns(count, devices, sources, targets);
    }
    HRESULT STDMETHODCALLTYPE LocateLuns(LONG count, VDS_LUN_INFORMATION* luns) override {
        return inner_.provider->LocateLuns(count, luns);
    }
    HRESULT STDMETHODCALLTYPE OnLunEmpty(VSS_PWSZ device, VDS_LUN_INFORMATION* lun) override {
        return inner_.provider->OnLunEmpty(device, lun);
    }
    HRESULT STDMETHODCALLTYPE EndPrepareSnapshots(VSS_ID set) override { return inner_.sets->EndPrepareSnapshots(set); }
    HRESULT STDMETHODCALLTYPE PreCommitSnapshots(VSS_ID set) override { return inner_.sets->PreCommitSnapshots(set); }
    HRESULT STDMETHODCALLTYPE CommitSnapshots(VSS_ID set) override { return inner_.sets->CommitSnapshots(set); }
    HRESULT STDMETHODCALLTYPE PostCommitSnapshots(VSS_ID set, LONG count) override {
        return inner_.sets->PostCommitSnapshots(set, count);
    }
    HRESULT STDMETHODCALLTYPE PreFinalCommitSnapshots(VSS_ID set) override {
        return inner_.sets->PreFinalCommitSnapshots(set);
    }
    HRESULT STDMETHODCALLTYPE PostFinalCommitSnapshots(VSS_ID set) override {
        return inner_.sets->PostFinalCommitSnapshots(set);
    }
    HRESULT STDMETHODCALLTYPE AbortSnapshots(VSS_ID set) override { return inner_.sets->AbortSnapshots(set); }
    HRESULT STDMETHODCALLTYPE OnLoad(IUnknown* callback) override { return inner_.notifications->OnLoad(callback); }
    HRESULT STDMETHODCALLTYPE OnUnload(BOOL force) override { return inner_.notifications->OnUnload(force); }

protected:
    const Inner inner_;
};

using LegacyBase =
    umbra::com::RefCounted<IVssHardwareSnapshotProvider, IVssProviderCreateSnapshotSet, IVssProviderNotifications>;
class Legacy final : public Forwarding<LegacyBase> {
public:
    using Forwarding::Forwarding;
};

using ExBase = umbra::com::RefCounted<Face<IVssHardwareSnapshotProviderEx, IVssHardwareSnapshotProvider>,
                                      IVssProviderCreateSnapshotSet, IVssProviderNotifications>;
class Ex final : public Forwarding<ExBase> {
public:
    Ex(Inner inner, bool resync) : Forwarding(inner), resync_(resync) {}
    HRESULT STDMETHODCALLTYPE GetProviderCapabilities(ULONGLONG* mask) override {
        return inner_.provider->GetProviderCapabilities(mask);
    }
    HRESULT STDMETHODCALLTYPE OnLunStateChange(VDS_LUN_INFORMATION* snapshots, VDS_LUN_INFORMATION* originals,
                                               DWORD count, DWORD flags) override {
        return inner_.provider->OnLunStateChange(snapshots, originals, count, flags);
    }
    HRESULT STDMETHODCALLTYPE ResyncLuns(VDS_LUN_INFORMATION* sources, VDS_LUN_INFORMATION* targets, DWORD count,
                                         IVssAsync** async) override {
        return resync_ ? inner_.provider->ResyncLuns(sources, targets, count, async) : E_NOTIMPL;
    }
    HRESULT STDMETHODCALLTYPE OnReuseLuns(VDS_LUN_INFORMATION* snapshots, VDS_LUN_INFORMATION* originals,
                                          DWORD count) override {
        return inner_.provider->OnReuseLuns(snapshots, originals, count);
    }

private:
    const bool resync_;
};

IUnknown* create() {
    const char* variable = std::getenv("UMBRA_SHIM");
    const std::string shim = variable != nullptr ? variable : "";
    const size_t colon = shim.find(':');
    if (colon == std::string::npos) return nullptr;
    const Inner inner(shim.substr(0, colon));
    if (!inner.complete()) return nullptr;
    std::string mode;
    std::ifstream(shim.substr(colon + 1)) >> mode;
    if (mode == "legacy") return static_cast<IVssHardwareSnapshotProvider*>(umbra::com::make<Legacy>(inner).detach());
    return static_cast<IVssHardwareSnapshotProviderEx*>(umbra::com::make<Ex>(inner, mode != "notimpl").detach());
}
constexpr umbra::com::ClassEntry kClasses[] = {{kInner, &create}};

}  // namespace

extern "C" __attribute__((visibility("default"))) HRESULT DllGetClassObject(REFCLSID rclsid, REFIID riid, void** ppv) {
    return umbra::com::get_class_object(kClasses, rclsid, riid, ppv);
}

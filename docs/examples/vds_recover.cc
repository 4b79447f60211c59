// Finds a LUN by its name and restores its redundancy, as any VDS client does it: nothing but the interfaces of vds.h.
//
//   export UMBRA_ARRAY=unix:/run/umbra/array.sock
//   vds_recover db                    exit 0: recovered (or healthy already), 1: not, 2: wrong usage
//   vds_recover db --no-wait          starts the recovery and leaves: it goes on in the array
#include <dlfcn.h>

#include <chrono>
#include <cstdio>
#include <cstring>
#include <cwchar>
#include <string>
#include <thread>
#include <utility>

#include "vds.h"

namespace {

constexpr CLSID kUmbraVdsProvider = compat::guid_literal("a1f4c6d8-3e2b-4590-8d7c-6b5a49382710");
constexpr auto kPollInterval = std::chrono::milliseconds(200);

/// A reference that releases itself.
template <class T>
struct Ref {
    T* p = nullptr;
    Ref() = default;
    Ref(Ref&& other) noexcept : p(std::exchange(other.p, nullptr)) {}
    Ref(const Ref&) = delete;
    ~Ref() {
        if (p) p->Release();
    }
    T* operator->() const { return p; }
    explicit operator bool() const { return p != nullptr; }
    T** put() {
        if (p) p->Release();
        p = nullptr;
        return &p;
    }
};

const char* meaning(HRESULT hr) {
    switch (static_cast<ULONG>(hr)) {
        case static_cast<ULONG>(S_OK):
            return "the LUN is healthy";
        case static_cast<ULONG>(VDS_E_PROVIDER_CACHE_CORRUPT):
            return "the array does not answer, or contradicts itself";
        case static_cast<ULONG>(VDS_E_OBJECT_DELETED):
            return "the LUN is gone";
        case static_cast<ULONG>(VDS_E_OBJECT_STATUS_FAILED):
            return "the LUN has failed: restore it from a copy";
        case static_cast<ULONG>(VDS_E_ANOTHER_CALL_IN_PROGRESS):
            return "another operation works on the LUN: wait for it";
        case static_cast<ULONG>(VDS_E_INVALID_OPERATION):
            return "the LUN is not fault tolerant: nothing to recover from";
        case static_cast<ULONG>(VDS_E_NOT_ENOUGH_DRIVE):
            return "no drive to recover to: add one";
        case static_cast<ULONG>(VDS_E_NOT_ENOUGH_SPACE):
            return "too little free space to recover to: add a drive";
        case static_cast<ULONG>(VDS_E_OPERATION_CANCELED):
            return "cancelled";
    }
    return "see umbra events";
}

int failed(const char* step, HRESULT hr) {
    std::fprintf(stderr, "%s: 0x%08X, %s\n", step, static_cast<unsigned>(hr), meaning(hr));
    return 1;
}

/// What a VDS service does for its clients: load the provider and tell it so.
HRESULT load_provider(Ref<IVdsHwProvider>& provider) {
    void* library = dlopen("libumbra-hwprv.so", RTLD_NOW | RTLD_LOCAL);
    if (library == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        return E_FAIL;
    }
    using GetClassObject = HRESULT (*)(REFCLSID, REFIID, void**);
    auto get_class_object = reinterpret_cast<GetClassObject>(dlsym(library, "DllGetClassObject"));
    if (get_class_object == nullptr) return E_FAIL;
    Ref<IClassFactory> factory;
    HRESULT hr = get_class_object(kUmbraVdsProvider, IID_PPV_ARGS(factory.put()));
    if (SUCCEEDED(hr)) hr = factory->CreateInstance(nullptr, IID_PPV_ARGS(provider.put()));
    Ref<IVdsProviderPrivate> control;
    if (SUCCEEDED(hr)) hr = provider->QueryInterface(IID_PPV_ARGS(control.put()));
    if (SUCCEEDED(hr)) hr = control->OnLoad(nullptr, nullptr);
    return hr;
}

/// The LUN called `name` of any subsystem; VDS_E_OBJECT_NOT_FOUND when there is none.
HRESULT find_lun(IVdsHwProvider* provider, const std::wstring& name, Ref<IVdsLun>& found) {
    Ref<IEnumVdsObject> subsystems;
    HRESULT hr = provider->QuerySubSystems(subsystems.put());
    if (FAILED(hr)) return hr;
    Ref<IUnknown> object;
    ULONG fetched = 0;
    while (subsystems->Next(1, object.put(), &fetched) == S_OK) {
        Ref<IVdsSubSystem> subsystem;
        Ref<IEnumVdsObject> luns;
        hr = object->QueryInterface(IID_PPV_ARGS(subsystem.put()));
        if (SUCCEEDED(hr)) hr = subsystem->QueryLuns(luns.put());
        if (FAILED(hr)) return hr;
        while (luns->Next(1, object.put(), &fetched) == S_OK) {
            Ref<IVdsLun> lun;
            VDS_LUN_PROP properties{};
            hr = object->QueryInterface(IID_PPV_ARGS(lun.put()));
            if (SUCCEEDED(hr)) hr = lun->GetProperties(&properties);
            if (FAILED(hr)) continue;  // deleted while we look
            bool same = properties.pwszFriendlyName && name == properties.pwszFriendlyName;
            CoTaskMemFree(properties.pwszFriendlyName);
            CoTaskMemFree(properties.pwszIdentification);
            CoTaskMemFree(properties.pwszUnmaskingList);
            if (!same) continue;
            std::swap(found.p, lun.p);
            return S_OK;
        }
    }
    return VDS_E_OBJECT_NOT_FOUND;
}

HRESULT watch(IVdsAsync* async) {
    HRESULT result = VDS_E_OPERATION_PENDING;
    ULONG percent = 0;
    for (;;) {
        HRESULT hr = async->QueryStatus(&result, &percent);
        if (FAILED(hr)) return hr;
        std::fprintf(stderr, "\rrecovering: %u %%", percent);
        if (result != VDS_E_OPERATION_PENDING) break;
        std::this_thread::sleep_for(kPollInterval);
    }
    std::fprintf(stderr, "\n");
    // Two results: whether the call worked, and how the operation ended.
    VDS_ASYNC_OUTPUT output{};
    HRESULT hr = async->Wait(&result, &output);
    return FAILED(hr) ? hr : result;
}

}  // namespace

int main(int argc, char** argv) {
    bool wait = argc != 3 || std::strcmp(argv[2], "--no-wait") != 0;
    if (argc < 2 || argc > 3 || (argc == 3 && wait)) {
        std::fprintf(stderr, "usage: vds_recover LUN [--no-wait]\n");
        return 2;
    }
    std::wstring name;
    for (const char* c = argv[1]; *c; ++c) name += static_cast<unsigned char>(*c);  // LUN names are ASCII

    Ref<IVdsHwProvider> provider;
    if (HRESULT hr = load_provider(provider); FAILED(hr)) return failed("loading the provider", hr);
    Ref<IVdsLun> lun;
    HRESULT hr = find_lun(provider.p, name, lun);
    if (hr == VDS_E_PROVIDER_CACHE_CORRUPT) {
        // The documented cure, once.
        if (SUCCEEDED(hr = provider->Reenumerate()) && SUCCEEDED(hr = provider->Refresh())) {
            hr = find_lun(provider.p, name, lun);
        }
    }
    if (hr == VDS_E_OBJECT_NOT_FOUND) {
        std::fprintf(stderr, "no LUN %s on any array that answers\n", argv[1]);
        return 1;
    }
    if (FAILED(hr)) return failed("looking for the LUN", hr);
    Ref<IVdsAsync> async;
    hr = lun->Recover(async.put());
    if (FAILED(hr)) return failed("Recover", hr);
    if (!wait) return 0;
    hr = watch(async.p);
    if (FAILED(hr)) return failed("recovery", hr);
    std::printf("%s: %s\n", argv[1], meaning(hr));
    return 0;
}

// Calls of the public interfaces, one a line of standard input, each answered by one line: so a test can do things to
// the processes around between any two calls.
//
//   com_calls vss                     libvssapi, as a requester
//   com_calls provider LIBRARY        IVssHardwareSnapshotProviderEx, as umbra-provider-host loads it
//   com_calls vds LIBRARY             IVdsHwProvider and IVdsLun, as a VDS service loads it
//
// An answer is words NAME=VALUE: "hr" is what the method returned, "async" how its IVssAsync or IVdsAsync ended, both
// as eight hexadecimal digits; "text" is last and goes to the end of the line. The word "oom" before a command makes
// the first allocation within the method fail, "null" passes NULL for its IVssAsync or IVdsAsync.
#include <dlfcn.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <iostream>
#include <map>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "vds.h"
#include "vsbackup.h"
#include "vsprov.h"
#include "vsserror.h"

namespace {
thread_local bool fail_next = false;

void* allocate(std::size_t bytes) {
    if (fail_next) {
        fail_next = false;
        throw std::bad_alloc();
    }
    void* memory = std::malloc(bytes == 0 ? 1 : bytes);
    if (memory == nullptr) throw std::bad_alloc();
    return memory;
}
}  // namespace

// Used by the libraries too: theirs are resolved to the program's. All forms that are freed by the plain delete.
void* operator new(std::size_t bytes) {
    return allocate(bytes);
}
void* operator new[](std::size_t bytes) {
    return allocate(bytes);
}
void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return std::malloc(bytes == 0 ? 1 : bytes);
}
void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return std::malloc(bytes == 0 ? 1 : bytes);
}
void operator delete(void* memory) noexcept {
    std::free(memory);
}
void operator delete[](void* memory) noexcept {
    std::free(memory);
}
void operator delete(void* memory, const std::nothrow_t&) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, const std::nothrow_t&) noexcept {
    std::free(memory);
}
void operator delete(void* memory, std::size_t) noexcept {
    std::free(memory);
}
void operator delete[](void* memory, std::size_t) noexcept {
    std::free(memory);
}

namespace {

constexpr CLSID kHardwareProvider = compat::guid_literal("5d2c1f0e-8b7a-4e39-9c64-2f1b0a9d8e73");
constexpr CLSID kVdsProvider = compat::guid_literal("a1f4c6d8-3e2b-4590-8d7c-6b5a49382710");

using Words = std::vector<std::string>;

std::string hex(HRESULT code) {
    std::array<char, 16> text{};
    std::snprintf(text.data(), text.size(), "%08X", static_cast<unsigned>(code));
    return text.data();
}

// Volumes, files and identifiers of the tests are ASCII.
std::wstring wide(const std::string& text) {
    return {text.begin(), text.end()};
}
std::string narrow(const wchar_t* text) {
    std::string out;
    for (; text != nullptr && *text != 0; ++text) out += *text < 128 ? static_cast<char>(*text) : '?';
    return out;
}

std::string print(const GUID& id) {
    std::array<char, 48> text{};
    std::snprintf(text.data(), text.size(), "%08x-%04x-%04x-%02x%02x-%02x%02x%02x%02x%02x%02x",
                  static_cast<unsigned>(id.Data1), id.Data2, id.Data3, id.Data4[0], id.Data4[1], id.Data4[2],
                  id.Data4[3], id.Data4[4], id.Data4[5], id.Data4[6], id.Data4[7]);
    return text.data();
}
GUID parse(const std::string& text) {
    GUID id{};
    std::array<unsigned, 11> part{};
    std::sscanf(text.c_str(), "%8x-%4x-%4x-%2x%2x-%2x%2x%2x%2x%2x%2x", &part[0], &part[1], &part[2], &part[3], &part[4],
                &part[5], &part[6], &part[7], &part[8], &part[9], &part[10]);
    id.Data1 = part[0];
    id.Data2 = static_cast<WORD>(part[1]);
    id.Data3 = static_cast<WORD>(part[2]);
    for (size_t i = 0; i < 8; ++i) id.Data4[i] = static_cast<BYTE>(part[3 + i]);
    return id;
}

/// What a line asks for beside its call.
struct Options {
    bool null = false;
    bool no_memory = false;
    void arm() const { fail_next = no_memory; }
};

std::string ended(IVssAsync* async) {
    if (async == nullptr) return {};
    HRESULT result = S_OK;
    HRESULT hr = async->Wait(INFINITE);
    if (SUCCEEDED(hr)) hr = async->QueryStatus(&result, nullptr);
    async->Release();
    return " async=" + hex(FAILED(hr) ? hr : result);
}

// --- Requester -------------------------------------------------------------------------------------------------------

class Requester {
public:
    ~Requester() { release(); }

    std::string run(const Words& words, const Options& options) {
        const std::string& call = words[0];
        const auto argument = [&](size_t i) { return i < words.size() ? words[i] : std::string(); };
        if (call == "create") {
            release();
            return answer(CreateVssBackupComponents(&object_));
        }
        if (call == "release") {
            release();
            return "hr=00000000";
        }
        if (object_ == nullptr) return "hr=none text=no object";
        if (call == "backup" || call == "restore") {
            BSTR xml = words.size() > 1 ? read(words[1]) : nullptr;
            const HRESULT hr =
                call == "backup" ? object_->InitializeForBackup(xml) : object_->InitializeForRestore(xml);
            SysFreeString(xml);
            return answer(hr);
        }
        if (call == "context") return answer(object_->SetContext(std::stol(argument(1), nullptr, 0)));
        if (call == "state") return answer(object_->SetBackupState(false, false, VSS_BT_FULL));
        if (call == "start") {
            VSS_ID set{};
            const HRESULT hr = object_->StartSnapshotSet(&set);
            return answer(hr, " id=" + print(set));
        }
        if (call == "add") {
            VSS_ID snapshot{};
            std::wstring volume = wide(argument(1));
            const HRESULT hr = object_->AddToSnapshotSet(volume.data(), GUID_NULL, &snapshot);
            return answer(hr, " id=" + print(snapshot));
        }
        if (call == "do") return with_async(options, [&](IVssAsync** async) { return object_->DoSnapshotSet(async); });
        if (call == "import") {
            return with_async(options, [&](IVssAsync** async) { return object_->ImportSnapshots(async); });
        }
        if (call == "save") return save(argument(1));
        if (call == "delete") {
            LONG count = 0;
            VSS_ID failed{};
            return answer(object_->DeleteSnapshots(parse(argument(1)), VSS_OBJECT_SNAPSHOT_SET, 1, &count, &failed));
        }
        if (call == "recover_add" || call == "recover") return recover(words, options);
        return "hr=none text=unknown call";
    }

private:
    void release() {
        if (object_ != nullptr) object_->Release();
        object_ = nullptr;
    }
    static std::string answer(HRESULT hr, const std::string& more = {}) {
        std::string line = "hr=" + hex(hr) + more;
        if (SUCCEEDED(hr)) return line;
        BSTR text = nullptr;
        UmbraGetLastErrorText(&text);
        line += " text=" + narrow(text);
        SysFreeString(text);
        return line;
    }
    template <class Call>
    static std::string with_async(const Options& options, Call call) {
        IVssAsync* async = nullptr;
        options.arm();
        const HRESULT hr = call(options.null ? nullptr : &async);
        fail_next = false;
        return answer(hr, ended(async));
    }
    static BSTR read(const std::string& path) {
        std::ifstream file(path, std::ios::binary);
        std::ostringstream text;
        text << file.rdbuf();
        return SysAllocString(wide(text.str()).c_str());
    }
    std::string save(const std::string& path) {
        BSTR xml = nullptr;
        const HRESULT hr = object_->SaveAsXML(&xml);
        if (SUCCEEDED(hr)) std::ofstream(path, std::ios::binary) << narrow(xml);
        SysFreeString(xml);
        return answer(hr);
    }
    std::string recover(const Words& words, const Options& options) {
        IVssBackupComponentsEx3* ex = nullptr;
        const HRESULT found = object_->QueryInterface(IID_PPV_ARGS(&ex));
        if (FAILED(found)) return answer(found);
        std::string line;
        if (words[0] == "recover_add") {
            std::wstring volume = words.size() > 2 ? wide(words[2]) : std::wstring();
            line =
                answer(ex->AddSnapshotToRecoverySet(parse(words.at(1)), 0, volume.empty() ? nullptr : volume.data()));
        } else {
            const auto flags = static_cast<DWORD>(words.size() > 1 ? std::stoul(words[1], nullptr, 0) : 0);
            line = with_async(options, [&](IVssAsync** async) { return ex->RecoverSet(flags, async); });
        }
        ex->Release();
        return line;
    }

    IVssBackupComponents* object_ = nullptr;
};

// --- Providers -------------------------------------------------------------------------------------------------------

template <class T>
HRESULT load(const char* library, const CLSID& class_id, T** out) {
    void* handle = dlopen(library, RTLD_NOW | RTLD_LOCAL);
    if (handle == nullptr) {
        std::fprintf(stderr, "%s\n", dlerror());
        return E_FAIL;
    }
    using GetClassObject = HRESULT (*)(REFCLSID, REFIID, void**);
    auto get = reinterpret_cast<GetClassObject>(dlsym(handle, "DllGetClassObject"));
    if (get == nullptr) return E_FAIL;
    IClassFactory* factory = nullptr;
    HRESULT hr = get(class_id, IID_PPV_ARGS(&factory));
    if (FAILED(hr)) return hr;
    hr = factory->CreateInstance(nullptr, __uuidof(T), reinterpret_cast<void**>(out));
    factory->Release();
    return hr;
}

/// A LUN as a coordinator describes it: by its page 83 identifier, here 32 hexadecimal digits.
struct LunDescription {
    explicit LunDescription(const std::string& naa) {
        for (size_t i = 0; i + 1 < naa.size() && i / 2 < bytes.size(); i += 2) {
            bytes[i / 2] = static_cast<BYTE>(std::stoul(naa.substr(i, 2), nullptr, 16));
        }
    }
    /// Everything that hangs off it is the receiver's: providers may replace it.
    VDS_LUN_INFORMATION make() const {
        VDS_LUN_INFORMATION lun{};
        lun.m_version = VER_VDS_LUN_INFORMATION;
        lun.m_BusType = VDSBusTypeiScsi;
        auto* identifier = static_cast<VDS_STORAGE_IDENTIFIER*>(CoTaskMemAlloc(sizeof(VDS_STORAGE_IDENTIFIER)));
        identifier->m_CodeSet = VDSStorageIdCodeSetBinary;
        identifier->m_Type = VDSStorageIdTypeFCPHName;
        identifier->m_cbIdentifier = static_cast<ULONG>(bytes.size());
        identifier->m_rgbIdentifier = static_cast<BYTE*>(CoTaskMemAlloc(bytes.size()));
        std::memcpy(identifier->m_rgbIdentifier, bytes.data(), bytes.size());
        lun.m_deviceIdDescriptor.m_cIdentifiers = 1;
        lun.m_deviceIdDescriptor.m_rgIdentifiers = identifier;
        return lun;
    }
    std::array<BYTE, 16> bytes{};
};

void free_lun(VDS_LUN_INFORMATION& lun) {
    for (char* text : {lun.m_szVendorId, lun.m_szProductId, lun.m_szProductRevision, lun.m_szSerialNumber}) {
        CoTaskMemFree(text);
    }
    for (ULONG i = 0; i < lun.m_deviceIdDescriptor.m_cIdentifiers; ++i) {
        CoTaskMemFree(lun.m_deviceIdDescriptor.m_rgIdentifiers[i].m_rgbIdentifier);
    }
    CoTaskMemFree(lun.m_deviceIdDescriptor.m_rgIdentifiers);
    lun = {};
}

class HardwareProvider {
public:
    explicit HardwareProvider(const char* library) { loaded_ = load(library, kHardwareProvider, &provider_); }
    ~HardwareProvider() {
        if (provider_ != nullptr) provider_->Release();
    }
    std::string run(const Words& words, const Options& options) {
        const std::string& call = words[0];
        if (call == "load") {
            IVssProviderNotifications* notifications = nullptr;
            HRESULT hr = loaded_;
            if (SUCCEEDED(hr)) hr = provider_->QueryInterface(IID_PPV_ARGS(&notifications));
            if (SUCCEEDED(hr)) {
                hr = notifications->OnLoad(nullptr);
                notifications->Release();
            }
            return "hr=" + hex(hr);
        }
        if (call == "supported") {
            std::wstring device;
            VSS_PWSZ devices[] = {device.data()};
            VDS_LUN_INFORMATION lun = LunDescription(words.at(2)).make();
            BOOL supported = 2;
            const HRESULT hr = provider_->AreLunsSupported(1, static_cast<LONG>(std::stoul(words.at(1), nullptr, 0)),
                                                           devices, &lun, &supported);
            free_lun(lun);
            return "hr=" + hex(hr) + " supported=" + std::to_string(supported);
        }
        if (call == "resync") {
            VDS_LUN_INFORMATION source = LunDescription(words.at(1)).make();
            VDS_LUN_INFORMATION target = LunDescription(words.at(2)).make();
            IVssAsync* async = nullptr;
            options.arm();
            const HRESULT hr = provider_->ResyncLuns(&source, &target, 1, options.null ? nullptr : &async);
            fail_next = false;
            free_lun(source);
            free_lun(target);
            return "hr=" + hex(hr) + ended(async);
        }
        return "hr=none text=unknown call";
    }

private:
    HRESULT loaded_ = S_OK;
    IVssHardwareSnapshotProviderEx* provider_ = nullptr;
};

class Vds {
public:
    explicit Vds(const char* library) { loaded_ = load(library, kVdsProvider, &provider_); }
    ~Vds() {
        if (lun_ != nullptr) lun_->Release();
        if (provider_ != nullptr) provider_->Release();
    }
    std::string run(const Words& words, const Options& options) {
        const std::string& call = words[0];
        if (call == "load") {
            IVdsProviderPrivate* control = nullptr;
            HRESULT hr = loaded_;
            if (SUCCEEDED(hr)) hr = provider_->QueryInterface(IID_PPV_ARGS(&control));
            if (SUCCEEDED(hr)) {
                hr = control->OnLoad(nullptr, nullptr);
                control->Release();
            }
            return "hr=" + hex(hr);
        }
        if (call == "reenumerate") return "hr=" + hex(provider_->Reenumerate());
        if (call == "refresh") return "hr=" + hex(provider_->Refresh());
        if (call == "find") return "hr=" + hex(find(wide(words.at(1))));
        if (call == "recover" || call == "begin") {
            IVdsAsync* async = nullptr;
            options.arm();
            const HRESULT hr = lun_->Recover(options.null ? nullptr : &async);
            fail_next = false;
            std::string line = "hr=" + hex(hr);
            if (async != nullptr && call == "recover") {
                HRESULT result = S_OK;
                VDS_ASYNC_OUTPUT output{};
                const HRESULT waited = async->Wait(&result, &output);
                line += " async=" + hex(FAILED(waited) ? waited : result);
            }
            if (async != nullptr) async->Release();
            return line;
        }
        return "hr=none text=unknown call";
    }

private:
    HRESULT find(const std::wstring& name) {
        if (lun_ != nullptr) lun_->Release();
        lun_ = nullptr;
        IEnumVdsObject* subsystems = nullptr;
        HRESULT hr = provider_->QuerySubSystems(&subsystems);
        if (FAILED(hr)) return hr;
        IUnknown* object = nullptr;
        ULONG fetched = 0;
        while (lun_ == nullptr && subsystems->Next(1, &object, &fetched) == S_OK) {
            IVdsSubSystem* subsystem = nullptr;
            hr = object->QueryInterface(IID_PPV_ARGS(&subsystem));
            object->Release();
            if (FAILED(hr)) continue;
            IEnumVdsObject* luns = nullptr;
            hr = subsystem->QueryLuns(&luns);
            subsystem->Release();
            if (FAILED(hr)) continue;
            while (lun_ == nullptr && luns->Next(1, &object, &fetched) == S_OK) {
                IVdsLun* lun = nullptr;
                VDS_LUN_PROP properties{};
                if (SUCCEEDED(object->QueryInterface(IID_PPV_ARGS(&lun))) &&
                    SUCCEEDED(lun->GetProperties(&properties))) {
                    if (properties.pwszFriendlyName != nullptr && name == properties.pwszFriendlyName) {
                        lun_ = lun;
                        lun = nullptr;
                    }
                    CoTaskMemFree(properties.pwszFriendlyName);
                    CoTaskMemFree(properties.pwszIdentification);
                    CoTaskMemFree(properties.pwszUnmaskingList);
                }
                if (lun != nullptr) lun->Release();
                object->Release();
            }
            luns->Release();
        }
        subsystems->Release();
        if (lun_ != nullptr) return S_OK;
        return FAILED(hr) ? hr : VDS_E_OBJECT_NOT_FOUND;
    }

    HRESULT loaded_ = S_OK;
    IVdsHwProvider* provider_ = nullptr;
    IVdsLun* lun_ = nullptr;
};

template <class Face>
int serve(Face& face) {
    std::string line;
    while (std::getline(std::cin, line)) {
        std::istringstream in(line);
        Words words;
        Options options;
        for (std::string word; in >> word;) {
            if (words.empty() && word == "oom") {
                options.no_memory = true;
            } else if (words.empty() && word == "null") {
                options.null = true;
            } else {
                words.push_back(word);
            }
        }
        if (words.empty()) continue;
        std::cout << face.run(words, options) << std::endl;
    }
    return 0;
}

}  // namespace

int main(int argc, char** argv) {
    const std::string face = argc > 1 ? argv[1] : "";
    if (face == "vss" && argc == 2) {
        Requester requester;
        return serve(requester);
    }
    if (face == "provider" && argc == 3) {
        HardwareProvider provider(argv[2]);
        return serve(provider);
    }
    if (face == "vds" && argc == 3) {
        Vds vds(argv[2]);
        return serve(vds);
    }
    std::fprintf(stderr, "usage: com_calls vss | provider LIBRARY | vds LIBRARY\n");
    return 2;
}

#include "com/class_factory.h"

#include "com/hresult.h"
#include "vsserror.h"

namespace umbra::com {
namespace {

class ClassFactory final : public RefCounted<IClassFactory> {
public:
    explicit ClassFactory(const ClassEntry& entry) : entry_(entry) {}

    HRESULT CreateInstance(IUnknown* outer, REFIID iid, void** object) override {
        if (object == nullptr) return E_POINTER;
        *object = nullptr;
        if (outer != nullptr) return CLASS_E_NOAGGREGATION;
        return guard([&]() -> HRESULT {
            auto created = Ptr<IUnknown>::adopt(entry_.create());
            if (!created) return E_OUTOFMEMORY;
            return created->QueryInterface(iid, object);
        });
    }

    HRESULT LockServer(BOOL lock) override {
        live_objects().fetch_add(lock ? 1 : -1, std::memory_order_relaxed);
        return S_OK;
    }

private:
    const ClassEntry& entry_;
};

}  // namespace

HRESULT get_class_object(std::span<const ClassEntry> classes, REFCLSID id, REFIID iid, void** object) {
    if (object == nullptr) return E_POINTER;
    *object = nullptr;
    for (const ClassEntry& entry : classes) {
        if (entry.id != id) continue;
        return guard([&]() -> HRESULT { return make<ClassFactory>(entry)->QueryInterface(iid, object); });
    }
    return CLASS_E_CLASSNOTAVAILABLE;
}

HRESULT can_unload_now() {
    return live_objects().load(std::memory_order_relaxed) == 0 ? S_OK : S_FALSE;
}

}  // namespace umbra::com

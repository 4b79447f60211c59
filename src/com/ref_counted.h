// IUnknown for our classes.
#pragma once

#include <atomic>
#include <type_traits>

#include "com/ptr.h"

// The destructor of a reference counted class is virtual; those of its interfaces must not be.
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

namespace umbra::com {

/// Objects of this library that are alive: what DllCanUnloadNow asks.
std::atomic<long>& live_objects();

/// An interface of a class, and the interfaces that it extends: Face<IVssBackupComponentsEx, IVssBackupComponents>.
template <class Interface, class... Extended>
struct Face {
    static_assert((std::is_base_of_v<Extended, Interface> && ...));
    using type = Interface;
    static bool answers(REFIID iid) { return iid == __uuidof(Interface) || (... || (iid == __uuidof(Extended))); }
};

namespace internal {
template <class T>
struct AsFace {
    using face = Face<T>;
};
template <class... T>
struct AsFace<Face<T...>> {
    using face = Face<T...>;
};
template <class T>
using face_of = typename AsFace<T>::face;
}  // namespace internal

/// class Provider final : public RefCounted<Face<IVssHardwareSnapshotProviderEx, IVssHardwareSnapshotProvider>,
///                                          IVssProviderNotifications> { … };
/// Starts with one reference, which com::make() takes. IUnknown is that of the first interface. Thread-safe.
template <class First, class... Rest>
class RefCounted : public internal::face_of<First>::type, public internal::face_of<Rest>::type... {
public:
    RefCounted() { live_objects().fetch_add(1, std::memory_order_relaxed); }
    RefCounted(const RefCounted&) = delete;
    RefCounted& operator=(const RefCounted&) = delete;

    HRESULT STDMETHODCALLTYPE QueryInterface(REFIID iid, void** object) override {
        if (object == nullptr) return E_POINTER;
        *object = nullptr;
        if (iid == IID_IUnknown) {
            *object = static_cast<typename internal::face_of<First>::type*>(this);
        } else {
            (void)(answer<First>(iid, object) || ... || answer<Rest>(iid, object));
        }
        if (*object == nullptr) return E_NOINTERFACE;
        AddRef();
        return S_OK;
    }
    ULONG STDMETHODCALLTYPE AddRef() override { return references_.fetch_add(1, std::memory_order_relaxed) + 1; }
    ULONG STDMETHODCALLTYPE Release() override {
        const ULONG left = references_.fetch_sub(1, std::memory_order_acq_rel) - 1;
        if (left == 0) delete this;
        return left;
    }

protected:
    virtual ~RefCounted() { live_objects().fetch_sub(1, std::memory_order_relaxed); }

private:
    template <class T>
    bool answer(REFIID iid, void** object) {
        using face = internal::face_of<T>;
        if (!face::answers(iid)) return false;
        *object = static_cast<typename face::type*>(this);
        return true;
    }

    std::atomic<ULONG> references_{1};
};

template <class T, class... Args>
Ptr<T> make(Args&&... args) {
    return Ptr<T>::adopt(new T(std::forward<Args>(args)...));
}

}  // namespace umbra::com

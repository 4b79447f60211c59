// IUnknown, IClassFactory, and QueryInterface with types.
#pragma once

#include "compat/guid.h"
#include "compat/hresult.h"

// Interfaces have no virtual destructor: it would take slots of the vtable that the ABI gives to methods.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

struct IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryInterface(REFIID riid, void** ppvObject) = 0;
    virtual ULONG STDMETHODCALLTYPE AddRef() = 0;
    virtual ULONG STDMETHODCALLTYPE Release() = 0;

    template <class Q>
    HRESULT QueryInterface(Q** pp) {
        return QueryInterface(__uuidof(Q), reinterpret_cast<void**>(pp));
    }
};
COMPAT_INTERFACE_ID(IUnknown, "00000000-0000-0000-c000-000000000046");
typedef IUnknown* LPUNKNOWN;

struct IClassFactory : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE CreateInstance(IUnknown* pUnkOuter, REFIID riid, void** ppvObject) = 0;
    virtual HRESULT STDMETHODCALLTYPE LockServer(BOOL fLock) = 0;
};
COMPAT_INTERFACE_ID(IClassFactory, "00000001-0000-0000-c000-000000000046");
typedef IClassFactory* LPCLASSFACTORY;

#pragma GCC diagnostic pop

/// What IID_PPV_ARGS needs: accepts only pointers to pointers to interfaces.
template <class T>
void** IID_PPV_ARGS_Helper(T** pp) {
    (void)static_cast<IUnknown*>(*pp);
    return reinterpret_cast<void**>(pp);
}
#define IID_PPV_ARGS(pp) __uuidof(**(pp)), IID_PPV_ARGS_Helper(pp)

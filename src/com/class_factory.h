// What a library's DllGetClassObject and DllCanUnloadNow do.
#pragma once

#include <span>

#include "com/ref_counted.h"

namespace umbra::com {

struct ClassEntry {
    CLSID id;
    /// A new object with one reference, as its IUnknown. May throw; nullptr is E_OUTOFMEMORY.
    IUnknown* (*create)();
};

/// `object` gets a class factory for `id`. CLASS_E_CLASSNOTAVAILABLE: not in the list. The list outlives the factory.
HRESULT get_class_object(std::span<const ClassEntry> classes, REFCLSID id, REFIID iid, void** object);

/// S_OK when no object of this library is alive and no factory is locked, else S_FALSE.
HRESULT can_unload_now();

}  // namespace umbra::com

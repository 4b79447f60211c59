// An object whose vtable is a table of functions that write down which slot was called.
#pragma once

#include <gtest/gtest.h>

#include <array>
#include <utility>

#include "compat/com.h"

inline int called = -1;

template <int slot>
HRESULT record() {
    called = slot;
    return S_OK;
}

using Entry = HRESULT (*)();
inline constexpr int kSlots = 80;  ///< more than any interface has

template <int... slots>
constexpr std::array<Entry, kSlots> table_of(std::integer_sequence<int, slots...>) {
    return {&record<slots>...};
}
inline constexpr std::array<Entry, kSlots> kTable = table_of(std::make_integer_sequence<int, kSlots>());

class Object {
public:
    template <class Interface>
    Interface& as() {
        static_assert(sizeof(Interface) == sizeof(void*), "an interface is a pointer to its table and nothing else");
        return *reinterpret_cast<Interface*>(this);
    }

private:
    const Entry* table_ = kTable.data();
};

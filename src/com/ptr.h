// Owning pointer to a COM object.
#pragma once

#include <utility>

#include "compat/unknown.h"

namespace umbra::com {

/// Holds one reference, or nothing.
template <class T>
class Ptr {
public:
    Ptr() = default;
    Ptr(std::nullptr_t) {}
    Ptr(const Ptr& other) : object_(other.object_) {
        if (object_ != nullptr) object_->AddRef();
    }
    Ptr(Ptr&& other) noexcept : object_(std::exchange(other.object_, nullptr)) {}
    template <class U>
        requires std::is_convertible_v<U*, T*>
    Ptr(Ptr<U>&& other) noexcept : object_(other.detach()) {}
    ~Ptr() { reset(); }
    Ptr& operator=(Ptr other) noexcept {
        std::swap(object_, other.object_);
        return *this;
    }

    /// Takes over a reference that the caller owns.
    static Ptr adopt(T* object) {
        Ptr result;
        result.object_ = object;
        return result;
    }
    /// Adds a reference of its own.
    static Ptr retain(T* object) {
        if (object != nullptr) object->AddRef();
        return adopt(object);
    }

    T* get() const { return object_; }
    T* operator->() const { return object_; }
    T& operator*() const { return *object_; }
    explicit operator bool() const { return object_ != nullptr; }

    void reset() {
        if (T* object = std::exchange(object_, nullptr)) object->Release();
    }
    /// Gives the reference away, as an out-parameter does.
    [[nodiscard]] T* detach() { return std::exchange(object_, nullptr); }
    /// For calls that return an object: `f(p.put())`.
    T** put() {
        reset();
        return &object_;
    }
    void** put_void() { return reinterpret_cast<void**>(put()); }

    /// The same object's other interface; empty if it has none.
    template <class U>
    Ptr<U> as() const {
        Ptr<U> other;
        if (object_ != nullptr && FAILED(object_->QueryInterface(__uuidof(U), other.put_void()))) return {};
        return other;
    }

private:
    T* object_ = nullptr;
};

}  // namespace umbra::com

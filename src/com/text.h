// UTF-8 inside, wchar_t (UTF-32) at the COM edge; GUIDs likewise.
#pragma once

#include <cstdlib>
#include <memory>
#include <string>
#include <string_view>

#include "base/guid.h"
#include "base/result.h"
#include "compat/com.h"

namespace umbra::com {

/// kInvalidArgument: not UTF-8 (overlong forms, surrogates and values above U+10FFFF included).
base::Result<std::wstring> to_wide(std::string_view utf8);
/// kInvalidArgument: not Unicode scalar values.
base::Result<std::string> to_utf8(std::wstring_view wide);
/// Text from elsewhere that has to be shown come what may: U+FFFD stands for what does not decode.
std::wstring to_wide_lossy(std::string_view utf8);

struct CoTaskMemDeleter {
    void operator()(void* memory) const { CoTaskMemFree(memory); }
};
/// Memory from CoTaskMemAlloc. release() hands it to a caller.
using CoString = std::unique_ptr<wchar_t[], CoTaskMemDeleter>;

/// A copy by CoTaskMemAlloc. Throws std::bad_alloc, which guard turns into E_OUTOFMEMORY.
CoString co_string(std::wstring_view text);
base::Result<CoString> co_string_utf8(std::string_view utf8);

/// An owned BSTR.
class Bstr {
public:
    Bstr() = default;
    /// Throws std::bad_alloc.
    explicit Bstr(std::wstring_view text);
    Bstr(const Bstr&) = delete;
    Bstr(Bstr&& other) noexcept : text_(other.detach()) {}
    Bstr& operator=(Bstr other) noexcept {
        std::swap(text_, other.text_);
        return *this;
    }
    ~Bstr() { SysFreeString(text_); }
    static base::Result<Bstr> from_utf8(std::string_view utf8);

    BSTR get() const { return text_; }
    BSTR* put() {
        SysFreeString(detach());
        return &text_;
    }
    [[nodiscard]] BSTR detach() { return std::exchange(text_, nullptr); }
    std::wstring_view view() const {
        return text_ == nullptr ? std::wstring_view() : std::wstring_view(text_, SysStringLen(text_));
    }

private:
    BSTR text_ = nullptr;
};

/// NULL is "".
base::Result<std::string> bstr_to_utf8(BSTR text);

GUID to_guid(const base::Guid& guid);
base::Guid from_guid(const GUID& guid);

}  // namespace umbra::com

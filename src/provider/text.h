// Text that crosses this library's interfaces.
#pragma once

#include <string>
#include <string_view>

#include "com/text.h"

namespace umbra::provider {

/// A NUL-terminated copy by CoTaskMemAlloc; NULL when memory ran out.
inline char* task_string(std::string_view text) {
    auto* copy = static_cast<char*>(CoTaskMemAlloc(text.size() + 1));
    if (copy) {
        std::memcpy(copy, text.data(), text.size());
        copy[text.size()] = '\0';
    }
    return copy;
}

/// A copy by CoTaskMemAlloc of text that was shown elsewhere already. Throws std::bad_alloc.
inline LPWSTR task_wide(std::string_view utf8) {
    return com::co_string(com::to_wide_lossy(utf8)).release();
}

/// The UUID that the array gave; GUID_NULL when it is none.
inline GUID parse_com_guid(std::string_view text) {
    auto guid = base::Guid::parse(text);
    return guid ? com::to_guid(*guid) : GUID_NULL;
}

}  // namespace umbra::provider

// Text from outside that must be UTF-8.
#pragma once

#include <string>
#include <string_view>

namespace umbra::base {

/// Well-formed UTF-8 (Unicode 3.9, table 3-7): no overlong forms, no surrogates, nothing above U+10FFFF.
bool is_utf8(std::string_view text);
/// Each byte that is part of nothing well-formed becomes U+FFFD.
std::string to_valid_utf8(std::string_view text);

}  // namespace umbra::base

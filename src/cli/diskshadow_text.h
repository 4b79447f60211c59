// Lines of diskshadow: scripts cut into lines, words, and %name% replaced. Pure functions.
#pragma once

#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace umbra::cli::diskshadow {

constexpr size_t kMaxScriptBytes = 16U << 20U;
constexpr size_t kMaxLineBytes = 32U << 10U;

/// Compares as keywords and alias names are compared: letters of ASCII in either case are equal.
bool same_word(std::string_view a, std::string_view b);
/// Orders names so that those that same_word() holds equal are equivalent.
struct WordLess {
    using is_transparent = void;
    bool operator()(std::string_view a, std::string_view b) const;
};
std::string lower(std::string_view text);
std::string trimmed(std::string_view text);

/// The lines of a script: ends are LF or CRLF, the last line may lack one, a UTF-8 byte order mark is skipped. The line
/// that is empty because the file ends is not among them. kInvalidArgument for UTF-16, NUL bytes, and beyond the
/// limits.
base::Result<std::vector<std::string>> split_lines(std::string_view script);

/// Words are separated by blanks and tabs; double quotes group, and are removed. kInvalidArgument: a quote is left
/// open.
base::Result<std::vector<std::string>> split_words(std::string_view line);

/// A comment or nothing at all: runs as nothing.
bool is_comment_or_blank(std::string_view line);

struct Substitution {
    std::string name;  ///< as written, without the percent signs
    std::string value;
};
struct Expanded {
    std::string line;
    std::vector<Substitution> substitutions;  ///< in order of appearance
};
using Lookup = std::function<std::optional<std::string>(std::string_view name)>;

/// Replaces each %name% once, left to right; values are not searched again. A percent sign that starts no name
/// (letters, digits and _ - . ( ) up to the next percent sign) stands for itself. kNotFound: a name has no value; a
/// script that went on with the text "%name%" would create or delete the wrong thing.
base::Result<Expanded> expand(std::string_view line, const Lookup& lookup);

}  // namespace umbra::cli::diskshadow

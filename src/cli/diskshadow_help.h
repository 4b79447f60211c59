// Help of diskshadow, and what the keyboard completes.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace umbra::cli::diskshadow {

/// The block of one command: "set context", "expose". Empty if there is none of that name.
std::string help_of(std::string_view command);
/// All commands, one line each.
std::string help_overview();
/// The command line.
std::string usage();

/// Keywords that may stand next in `line`, whose last word is being typed.
std::vector<std::string> completions(std::string_view line);

}  // namespace umbra::cli::diskshadow

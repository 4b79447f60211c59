// What %name% stands for in diskshadow: aliases, script parameters and the environment.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/diskshadow_text.h"

namespace umbra::cli::diskshadow {

struct Alias {
    std::string name;
    std::string value;
    bool operator==(const Alias&) const = default;
};

/// Alias names are compared without regard to case, as are environment variables when no exact match exists.
class Variables {
public:
    using Environment = std::map<std::string, std::string, std::less<>>;

    explicit Variables(Environment environment) : environment_(std::move(environment)) {}

    /// Letters, digits and _ - . ( ), at most 128 of them: what expand() can refer to.
    static bool is_valid_name(std::string_view name);

    /// An alias that somebody typed or that CREATE made. It hides an environment variable of that name.
    void set_alias(std::string_view name, std::string value);
    /// An alias from a metadata file, which is input from outside: false and nothing done when the environment has a
    /// variable of that name (in any case, unless the value is a GUID). Only GUIDs are exported to child processes.
    bool load_alias(std::string_view name, std::string value);
    void clear_aliases() { aliases_.clear(); }

    /// %DISKSH_PARAM_<number>%, also exported. Numbers start at 1.
    void set_parameter(size_t number, std::string value);

    std::optional<std::string> get(std::string_view name) const;
    /// All aliases, in order of their names.
    std::vector<Alias> aliases() const;
    /// The name of the first alias with that value (GUIDs in either case).
    std::optional<std::string> alias_of(std::string_view value) const;
    /// NAME=value, for execve().
    std::vector<std::string> child_environment() const;

private:
    struct Entry {
        std::string value;
        bool exported = true;
    };
    Environment environment_;
    std::map<std::string, Entry, WordLess> aliases_;
};

}  // namespace umbra::cli::diskshadow

#include "cli/diskshadow_variables.h"

#include <algorithm>

#include "base/guid.h"

namespace umbra::cli::diskshadow {

namespace {

constexpr size_t kMaxNameBytes = 128;

}  // namespace

bool Variables::is_valid_name(std::string_view name) {
    if (name.empty() || name.size() > kMaxNameBytes) return false;
    return std::ranges::all_of(name, [](char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
               std::string_view("_-.()").find(c) != std::string_view::npos;
    });
}

void Variables::set_alias(std::string_view name, std::string value) {
    aliases_.erase(std::string(name));  // so that the newest spelling of the name is the one that is shown
    aliases_.emplace(std::string(name), Entry{std::move(value), true});
}

bool Variables::load_alias(std::string_view name, std::string value) {
    const bool is_id = base::Guid::parse(value).has_value();
    for (const auto& [variable, ignored] : environment_) {
        if (variable == name || (!is_id && same_word(variable, name))) return false;
    }
    aliases_.erase(std::string(name));
    aliases_.emplace(std::string(name), Entry{std::move(value), is_id});
    return true;
}

void Variables::set_parameter(size_t number, std::string value) {
    environment_["DISKSH_PARAM_" + std::to_string(number)] = std::move(value);
}

std::optional<std::string> Variables::get(std::string_view name) const {
    if (const auto alias = aliases_.find(name); alias != aliases_.end()) return alias->second.value;
    if (const auto exact = environment_.find(name); exact != environment_.end()) return exact->second;
    for (const auto& [key, value] : environment_) {
        if (same_word(key, name)) return value;
    }
    return std::nullopt;
}

std::vector<Alias> Variables::aliases() const {
    std::vector<Alias> out;
    for (const auto& [name, entry] : aliases_) out.push_back({name, entry.value});
    return out;
}

std::optional<std::string> Variables::alias_of(std::string_view value) const {
    for (const auto& [name, entry] : aliases_) {
        if (same_word(entry.value, value)) return name;
    }
    return std::nullopt;
}

std::vector<std::string> Variables::child_environment() const {
    Environment merged = environment_;
    for (const auto& [name, entry] : aliases_) {
        if (!entry.exported) continue;
        merged[name] = entry.value;
    }
    std::vector<std::string> out;
    out.reserve(merged.size());
    for (const auto& [name, value] : merged) {
        std::string entry = name;
        entry += '=';
        entry += value;
        out.push_back(std::move(entry));
    }
    return out;
}

}  // namespace umbra::cli::diskshadow

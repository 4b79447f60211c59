#include "provider/config.h"

#include <toml++/toml.h>

#include <cstdlib>
#include <fstream>
#include <sstream>

namespace umbra::provider {

using base::Code;
using base::fail;

namespace {

constexpr size_t kMaxConfigBytes = 1u << 20;

}  // namespace

bool is_iscsi_name(std::string_view name) {
    if (name.size() > 223 || name.size() < 5) return false;
    if (!name.starts_with("iqn.") && !name.starts_with("eui.") && !name.starts_with("naa.")) return false;
    for (char c : name) {
        auto byte = static_cast<unsigned char>(c);
        bool plain = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == ':';
        // eui. and naa. carry upper-case hexadecimal digits; iqn. may carry UTF-8.
        if (!plain && !(c >= 'A' && c <= 'Z') && byte < 0x80) return false;
    }
    return true;
}

base::Result<ProviderConfig> parse_config(std::string_view text, std::string_view source_name) {
    std::string where(source_name);
    toml::table root;
    try {
        root = toml::parse(text, source_name);
    } catch (const toml::parse_error& error) {
        return fail(Code::kInvalidArgument, where + ", line " + std::to_string(error.source().begin.line) + ": " +
                                                std::string(error.description()));
    }
    for (const auto& [key, value] : root) {
        if (key.str() != "provider" && key.str() != "array") {
            return fail(Code::kInvalidArgument, where + ": unknown section " + std::string(key.str()));
        }
    }
    ProviderConfig config;
    const toml::table* provider = root["provider"].as_table();
    if (provider == nullptr) return fail(Code::kInvalidArgument, where + ": section [provider] is missing");
    for (const auto& [key, value] : *provider) {
        if (key.str() == "initiator" || key.str() == "machine") {
            auto field = value.value_exact<std::string>();
            if (!field)
                return fail(Code::kInvalidArgument, where + ": " + std::string(key.str()) + " must be a string");
            (key.str() == "initiator" ? config.initiator : config.machine) = *field;
        } else if (key.str() == "commit_timeout_ms") {
            auto ms = value.value_exact<int64_t>();
            if (!ms || *ms < 100 || *ms > 9000) {
                return fail(Code::kInvalidArgument, where + ": commit_timeout_ms must be from 100 to 9000");
            }
            config.commit_timeout = std::chrono::milliseconds(*ms);
        } else if (key.str() == "min_free_bytes") {
            auto bytes = value.value_exact<int64_t>();
            if (!bytes || *bytes < 0)
                return fail(Code::kInvalidArgument, where + ": min_free_bytes must not be negative");
            config.min_free_bytes = static_cast<uint64_t>(*bytes);
        } else {
            return fail(Code::kInvalidArgument, where + ": unknown key provider." + std::string(key.str()));
        }
    }
    if (!is_iscsi_name(config.initiator)) {
        return fail(Code::kInvalidArgument, where + ": provider.initiator \"" + config.initiator +
                                                "\" is not an iSCSI name (iqn.…, eui.… or naa.…)");
    }
    if (config.machine.empty()) config.machine = config.initiator;
    const toml::array* arrays = root["array"].as_array();
    if (arrays == nullptr || arrays->empty())
        return fail(Code::kInvalidArgument, where + ": no [[array]] is configured");
    for (const toml::node& node : *arrays) {
        const toml::table* table = node.as_table();
        auto address = table ? (*table)["address"].value_exact<std::string>() : std::nullopt;
        if (!address || address->empty()) {
            return fail(Code::kInvalidArgument, where + ": each [[array]] needs an address");
        }
        config.arrays.push_back(*address);
    }
    return config;
}

base::Result<ProviderConfig> load_config() {
    const char* path = std::getenv("UMBRA_PROVIDER_CONFIG");
    if (path == nullptr || *path == '\0') {
        const char* array = std::getenv("UMBRA_ARRAY");
        if (array == nullptr || *array == '\0') {
            return fail(Code::kNotFound,
                        "neither UMBRA_PROVIDER_CONFIG nor UMBRA_ARRAY is set: the provider does not know its arrays");
        }
        ProviderConfig config;
        config.arrays.push_back(array);
        return config;
    }
    std::ifstream file(path, std::ios::binary);
    if (!file) return base::fail_errno(errno, std::string("cannot read ") + path);
    std::string text(kMaxConfigBytes + 1, '\0');
    file.read(text.data(), static_cast<std::streamsize>(text.size()));
    text.resize(static_cast<size_t>(file.gcount()));
    if (text.size() > kMaxConfigBytes) return fail(Code::kInvalidArgument, std::string(path) + " is larger than 1 MiB");
    return parse_config(text, path);
}

}  // namespace umbra::provider

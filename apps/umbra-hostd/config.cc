#include "config.h"

#include <fmt/format.h>
#include <toml++/toml.h>
#include <unistd.h>

#include <filesystem>
#include <set>

namespace umbra::hostd {

namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr const char* kProviderId = "c3a9e2b4-1d5f-4876-b0c2-7e94d1f6a358";
constexpr const char* kProviderClass = "5d2c1f0e-8b7a-4e39-9c64-2f1b0a9d8e73";
constexpr const char* kProviderVersionId = "91c0a7d2-54be-4f0e-8a35-6d1e2b7f9c40";

std::string host_name() {
    char name[256] = {};
    if (gethostname(name, sizeof name - 1) != 0 || name[0] == '\0') return "localhost";
    return name;
}

/// An iSCSI name allows lowercase letters, digits, '-', '.' and ':'.
std::string initiator_for(const std::string& machine) {
    std::string name = "iqn.2025-01.org.umbra:";
    for (char c : machine) {
        if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        const bool allowed = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '.';
        name += allowed ? c : '-';
    }
    return name;
}

std::string absolute(const std::string& path, const std::string& directory) {
    return path.empty() || path.front() == '/' ? path : directory + "/" + path;
}
std::string absolute_address(const std::string& address, const std::string& directory) {
    constexpr std::string_view kUnix = "unix:";
    if (!address.starts_with(kUnix)) return address;
    return std::string(kUnix) + absolute(address.substr(kUnix.size()), directory);
}

std::string beside(const std::string& name, const std::string& program_directory) {
    const std::string path = program_directory + "/" + name;
    return access(path.c_str(), X_OK) == 0 ? path : name;  // else looked for in PATH
}
std::string library_path(const std::string& program_directory) {
    for (const char* one : {"/../lib/libumbra-hwprv.so", "/../lib/x86_64-linux-gnu/libumbra-hwprv.so"}) {
        const std::string path = program_directory + one;
        if (access(path.c_str(), R_OK) == 0) return std::filesystem::weakly_canonical(path).string();
    }
    return "libumbra-hwprv.so";
}

/// A table whose keys are taken one by one; what is left over is unknown.
class Table {
public:
    Table(const toml::table* table, std::string name) : table_(table), name_(std::move(name)) {}

    Result<std::string> text(const char* key, std::string fallback) {
        return get<std::string>(key, std::move(fallback), "text");
    }
    Result<bool> flag(const char* key, bool fallback) { return get<bool>(key, fallback, "true or false"); }
    Result<int64_t> number(const char* key, int64_t fallback, int64_t low, int64_t high) {
        UMBRA_ASSIGN(const int64_t value, get<int64_t>(key, fallback, "a number"));
        if (value < low || value > high) {
            return fail(Code::kInvalidArgument, fmt::format("{}.{} must be {} to {}", name_, key, low, high));
        }
        return value;
    }
    Result<std::vector<std::string>> list(const char* key, std::vector<std::string> fallback) {
        taken_.insert(key);
        const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
        if (node == nullptr) return fallback;
        std::vector<std::string> out;
        const toml::array* array = node->as_array();
        if (array == nullptr) return fail(Code::kInvalidArgument, name_ + "." + key + " must be a list of texts");
        for (const toml::node& one : *array) {
            const auto value = one.value_exact<std::string>();
            if (!value) return fail(Code::kInvalidArgument, name_ + "." + key + " must be a list of texts");
            out.push_back(*value);
        }
        return out;
    }
    const toml::table* table(const char* key) {
        taken_.insert(key);
        return table_ == nullptr ? nullptr : table_->get_as<toml::table>(key);
    }
    Result<void> end() const {
        if (table_ == nullptr) return {};
        for (const auto& [key, node] : *table_) {
            if (!taken_.contains(std::string(key.str()))) {
                return fail(Code::kInvalidArgument, fmt::format("unknown key {}.{}", name_, key.str()));
            }
        }
        return {};
    }

private:
    template <class T>
    Result<T> get(const char* key, T fallback, const char* what) {
        taken_.insert(key);
        const toml::node* node = table_ == nullptr ? nullptr : table_->get(key);
        if (node == nullptr) return fallback;
        const auto value = node->value_exact<T>();
        if (!value) return fail(Code::kInvalidArgument, fmt::format("{}.{} must be {}", name_, key, what));
        return *value;
    }
    const toml::table* table_;
    std::string name_;
    std::set<std::string> taken_;
};

Result<ProviderConfig> parse_provider(const toml::table* table, const Config& config, const std::string& directory,
                                      const std::string& program_directory) {
    Table in(table, "provider");
    ProviderConfig out;
    const auto guid = [&](const char* key, const char* fallback) -> Result<base::Guid> {
        UMBRA_ASSIGN(const std::string text, in.text(key, fallback));
        const auto parsed = base::Guid::parse(text);
        if (!parsed || parsed->is_null())
            return fail(Code::kInvalidArgument, fmt::format("provider.{} is no GUID", key));
        return *parsed;
    };
    UMBRA_ASSIGN(out.id, guid("id", kProviderId));
    UMBRA_ASSIGN(out.class_id, guid("class", kProviderClass));
    UMBRA_ASSIGN(out.version_id, guid("version_id", kProviderVersionId));
    UMBRA_ASSIGN(out.name, in.text("name", "Umbra hardware provider"));
    UMBRA_ASSIGN(out.version, in.text("version", "0.1.0"));
    UMBRA_ASSIGN(const std::string library, in.text("library", ""));
    out.library = library.empty() ? library_path(program_directory) : absolute(library, directory);
    UMBRA_ASSIGN(const std::vector<std::string> arrays, in.list("arrays", {config.host.array_address}));
    for (const std::string& array : arrays) out.arrays.push_back(absolute_address(array, directory));
    if (const toml::table* environment = in.table("environment"); environment != nullptr) {
        for (const auto& [key, node] : *environment) {
            const auto value = node.value_exact<std::string>();
            if (!value) return fail(Code::kInvalidArgument, "provider.environment holds texts");
            out.environment[std::string(key.str())] = *value;
        }
    }
    UMBRA_TRY(in.end());
    return out;
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::string& directory, const std::string& program_directory) {
    toml::table root;
    try {
        root = toml::parse(text);
    } catch (const toml::parse_error& error) {
        return fail(Code::kInvalidArgument, fmt::format("line {}: {}", error.source().begin.line, error.description()));
    }
    for (const auto& [key, node] : root) {
        if (key.str() != "hostd" && key.str() != "array" && key.str() != "iscsi" && key.str() != "limits" &&
            key.str() != "provider") {
            return fail(Code::kInvalidArgument, fmt::format("unknown section {}", key.str()));
        }
    }
    Config out;
    Table hostd(root.get_as<toml::table>("hostd"), "hostd");
    UMBRA_ASSIGN(out.machine, hostd.text("machine", ""));
    if (out.machine.empty()) out.machine = host_name();
    UMBRA_ASSIGN(const std::string socket, hostd.text("socket", "host.sock"));
    out.socket = absolute(socket, directory);
    UMBRA_ASSIGN(out.group, hostd.text("group", "umbra"));
    UMBRA_ASSIGN(const std::string state, hostd.text("state", "host-state"));
    out.state_dir = absolute(state, directory);
    out.host.state_dir = out.state_dir;
    UMBRA_ASSIGN(const std::string run, hostd.text("run", "/run/umbra"));
    out.host.run_dir = absolute(run, directory);
    UMBRA_ASSIGN(const std::string devices, hostd.text("devices", "/dev/umbra"));
    out.host.device_dir = absolute(devices, directory);
    UMBRA_ASSIGN(out.safe_mode, hostd.flag("safe_mode", false));
    UMBRA_TRY(hostd.end());

    Table array(root.get_as<toml::table>("array"), "array");
    UMBRA_ASSIGN(const std::string address, array.text("address", "unix:array.sock"));
    out.host.array_address = absolute_address(address, directory);
    UMBRA_TRY(array.end());

    Table iscsi(root.get_as<toml::table>("iscsi"), "iscsi");
    UMBRA_ASSIGN(out.host.initiator_iqn, iscsi.text("initiator", ""));
    if (out.host.initiator_iqn.empty()) out.host.initiator_iqn = initiator_for(out.machine);
    UMBRA_ASSIGN(out.host.portals, iscsi.list("portals", {"127.0.0.1:3260"}));
    UMBRA_TRY(iscsi.end());

    Table limits(root.get_as<toml::table>("limits"), "limits");
    UMBRA_ASSIGN(const int64_t freeze, limits.number("freeze_ms", 60'000, 100, 60'000));
    UMBRA_ASSIGN(const int64_t commit, limits.number("commit_ms", 10'000, 100, 10'000));
    UMBRA_ASSIGN(const int64_t arrival, limits.number("arrival_ms", 30'000, 100, 600'000));
    UMBRA_TRY(limits.end());
    out.freeze_limit = std::chrono::milliseconds(freeze);
    out.commit_window = std::chrono::milliseconds(commit);
    out.arrival_limit = std::chrono::milliseconds(arrival);

    out.host.initiator_program = beside("umbra-initiator", program_directory);
    out.host.freezer_program = beside("umbra-freezer", program_directory);
    out.provider_host_program = beside("umbra-provider-host", program_directory);

    const toml::node* providers = root.get("provider");
    if (providers == nullptr) {
        UMBRA_ASSIGN(ProviderConfig ours, parse_provider(nullptr, out, directory, program_directory));
        out.providers.push_back(std::move(ours));
        return out;
    }
    const toml::array* list = providers->as_array();
    if (list == nullptr) return fail(Code::kInvalidArgument, "providers are written as [[provider]]");
    for (const toml::node& one : *list) {
        if (one.as_table() == nullptr) return fail(Code::kInvalidArgument, "providers are written as [[provider]]");
        UMBRA_ASSIGN(ProviderConfig provider, parse_provider(one.as_table(), out, directory, program_directory));
        for (const ProviderConfig& other : out.providers) {
            if (other.id == provider.id) return fail(Code::kInvalidArgument, "two providers have one id");
        }
        out.providers.push_back(std::move(provider));
    }
    return out;
}

std::string default_config() {
    return fmt::format(
        R"(# umbra-hostd. Every key is shown with its default; relative paths start at this file's directory.
[hostd]
machine = "{}"
socket = "host.sock"          # requesters: UMBRA_HOST=unix:…; 0660
group = "umbra"               # who may use the socket beside root; ignored when there is no such group
state = "host-state"          # directory of the coordinator's state; never on a volume that is shadowed
run = "/run/umbra"            # mounts of shadow copies, attached LUNs
devices = "/dev/umbra"
safe_mode = false             # refuses resynchronisation

[array]
address = "unix:array.sock"   # management, for attach, detach and the provider

[iscsi]
initiator = "{}"
portals = ["127.0.0.1:3260"]

[limits]
freeze_ms = 60000             # PreCommitSnapshots to thaw; 60000 at most
commit_ms = 10000             # file systems frozen; 10000 at most
arrival_ms = 30000            # LUNs that were presented show up

[[provider]]                  # one section each, asked in this order
id = "{}"
class = "{}"
version_id = "{}"
name = "Umbra hardware provider"
version = "0.1.0"
library = ""                  # libumbra-hwprv.so beside this installation's programs
arrays = ["unix:array.sock"]
environment = {{}}              # added to the provider's process
)",
        host_name(), initiator_for(host_name()), kProviderId, kProviderClass, kProviderVersionId);
}

}  // namespace umbra::hostd

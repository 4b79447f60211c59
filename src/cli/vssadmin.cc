#include "cli/vssadmin.h"

#include <fmt/format.h>

#include <algorithm>
#include <expected>
#include <map>
#include <optional>

#include "cli/diskshadow_codes.h"
#include "cli/diskshadow_print.h"
#include "cli/diskshadow_text.h"
#include "vss.h"

namespace umbra::cli::vssadmin {

using diskshadow::CallFailure;
using diskshadow::Requester;
using diskshadow::same_word;
using diskshadow::Shadow;

namespace {

/// An error is the text to show.
using Status = std::expected<void, std::string>;

struct Filters {
    std::optional<std::string> volume;
    std::optional<base::Guid> shadow;
    std::optional<base::Guid> set;
};

constexpr std::string_view kUsage =
    "The commands are:\n\n"
    "List Providers     Lists the registered shadow copy providers\n"
    "List Shadows       [/For=<volume>] [/Shadow=<shadow ID> | /Set=<set ID>]\n"
    "                   Lists existing shadow copies\n"
    "List Volumes       Lists the volumes that can have shadow copies\n"
    "List Writers       Lists the writers and their states\n";

std::string explain(const Services& services, const CallFailure& failure) {
    const auto cause = failure.cause ? *failure.cause : services.last_error_text();
    return fmt::format("Error: {} failed with 0x{} ({}).\n{}", failure.call, diskshadow::code_number(failure.code),
                       diskshadow::code_name(failure.code), cause.empty() ? "" : cause + "\n");
}

std::expected<std::unique_ptr<Requester>, std::string> open(const Services& services) {
    auto requester = Requester::for_backup(services.create);
    if (!requester) return std::unexpected(explain(services, requester.error()));
    if (auto set = (*requester)->set_context(VSS_CTX_ALL); !set) return std::unexpected(explain(services, set.error()));
    return std::move(*requester);
}

std::string_view state_words(int state) {
    switch (static_cast<VSS_WRITER_STATE>(state)) {
        case VSS_WS_STABLE:
            return "Stable";
        case VSS_WS_WAITING_FOR_FREEZE:
            return "Waiting for freeze";
        case VSS_WS_WAITING_FOR_THAW:
            return "Frozen";
        case VSS_WS_WAITING_FOR_POST_SNAPSHOT:
            return "Waiting for post-snapshot";
        case VSS_WS_WAITING_FOR_BACKUP_COMPLETE:
            return "Waiting for completion";
        case VSS_WS_UNKNOWN:
        case VSS_WS_COUNT:
            return "Unknown";
        case VSS_WS_FAILED_AT_IDENTIFY:
        case VSS_WS_FAILED_AT_PREPARE_BACKUP:
        case VSS_WS_FAILED_AT_PREPARE_SNAPSHOT:
        case VSS_WS_FAILED_AT_FREEZE:
        case VSS_WS_FAILED_AT_THAW:
        case VSS_WS_FAILED_AT_POST_SNAPSHOT:
        case VSS_WS_FAILED_AT_BACKUP_COMPLETE:
        case VSS_WS_FAILED_AT_PRE_RESTORE:
        case VSS_WS_FAILED_AT_POST_RESTORE:
        case VSS_WS_FAILED_AT_BACKUPSHUTDOWN:
            return "Failed";
    }
    return "Unknown";
}

std::string_view type_word(int type) {
    switch (static_cast<VSS_PROVIDER_TYPE>(type)) {
        case VSS_PROV_SYSTEM:
            return "System";
        case VSS_PROV_SOFTWARE:
            return "Software";
        case VSS_PROV_HARDWARE:
            return "Hardware";
        case VSS_PROV_FILESHARE:
            return "Fileshare";
        case VSS_PROV_UNKNOWN:
            break;
    }
    return "Unknown";
}

std::string_view context_word(uint32_t attributes) {
    constexpr uint32_t kContextBits = VSS_VOLSNAP_ATTR_PERSISTENT | VSS_VOLSNAP_ATTR_CLIENT_ACCESSIBLE |
                                      VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE | VSS_VOLSNAP_ATTR_NO_WRITERS;
    switch (static_cast<LONG>(attributes & kContextBits)) {
        case VSS_CTX_BACKUP:
            return "Backup";
        case VSS_CTX_FILE_SHARE_BACKUP:
            return "FileShareBackup";
        case VSS_CTX_NAS_ROLLBACK:
            return "NasRollback";
        case VSS_CTX_APP_ROLLBACK:
            return "ApplicationRollback";
        case VSS_CTX_CLIENT_ACCESSIBLE:
            return "ClientAccessible";
        case VSS_CTX_CLIENT_ACCESSIBLE_WRITERS:
            return "ClientAccessibleWriters";
        default:
            return "Unknown";
    }
}

std::string attribute_list(uint32_t attributes) {
    static constexpr std::pair<uint32_t, std::string_view> kWords[] = {
        {VSS_VOLSNAP_ATTR_PERSISTENT, "Persistent"},
        {VSS_VOLSNAP_ATTR_CLIENT_ACCESSIBLE, "Client-accessible"},
        {VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE, "No auto release"},
        {VSS_VOLSNAP_ATTR_NO_WRITERS, "No writers"},
        {VSS_VOLSNAP_ATTR_TRANSPORTABLE, "Transportable"},
        {VSS_VOLSNAP_ATTR_HARDWARE_ASSISTED, "Hardware assisted"},
        {VSS_VOLSNAP_ATTR_DIFFERENTIAL, "Differential"},
        {VSS_VOLSNAP_ATTR_PLEX, "Plex"},
        {VSS_VOLSNAP_ATTR_IMPORTED, "Imported"},
        {VSS_VOLSNAP_ATTR_EXPOSED_LOCALLY, "Exposed locally"},
        {VSS_VOLSNAP_ATTR_EXPOSED_REMOTELY, "Exposed remotely"},
        {VSS_VOLSNAP_ATTR_AUTORECOVER, "Auto recovered"},
    };
    std::string out;
    for (const auto& [bit, word] : kWords) {
        if ((attributes & bit) != 0) out += fmt::format("{}{}", out.empty() ? "" : ", ", word);
    }
    return out;
}

Status list_providers(const Services& services) {
    const auto requester = open(services);
    if (!requester) return std::unexpected(requester.error());
    const auto providers = (*requester)->providers();
    if (!providers) return std::unexpected(explain(services, providers.error()));
    for (const auto& provider : *providers) {
        services.write(fmt::format("Provider name: '{}'\n   Provider type: {}\n   Provider Id: {}\n   Version: {}\n\n",
                                   provider.name, type_word(provider.type), provider.id.braced(), provider.version));
    }
    return {};
}

Status list_writers(const Services& services) {
    auto requester = Requester::for_backup(services.create);
    if (!requester) return std::unexpected(explain(services, requester.error()));
    if (auto gathered = (*requester)->gather_writer_metadata(); !gathered) {
        return std::unexpected(explain(services, gathered.error()));
    }
    const auto writers = (*requester)->writer_status();
    if (!writers) return std::unexpected(explain(services, writers.error()));
    for (const auto& writer : *writers) {
        services.write(fmt::format(
            "Writer name: '{}'\n   Writer Id: {}\n   Writer Instance Id: {}\n   State: [{}] {}\n   Last error: {}\n\n",
            writer.name, writer.writer.braced(), writer.instance.braced(), writer.state, state_words(writer.state),
            writer.failure == S_OK ? "No error" : diskshadow::code_name(writer.failure)));
    }
    return {};
}

Status list_volumes(const Services& services) {
    const auto volumes = services.volumes();
    if (!volumes) return std::unexpected(fmt::format("Error: {}.\n", volumes.error().message));
    for (const auto& volume : *volumes) {
        const auto path = volume.mount_points.empty() ? volume.device : volume.mount_points.front();
        services.write(fmt::format("Volume path: {}\n    Volume name: {}\n", path, volume.canonical));
    }
    return {};
}

std::string without_trailing_slash(std::string text) {
    while (text.size() > 1 && (text.ends_with('/') || text.ends_with('\\'))) text.pop_back();
    return text;
}

// The canonical name of what the user called a volume.
std::expected<std::string, std::string> canonical(const std::string& name, const std::vector<VolumeName>& volumes) {
    if (name.starts_with("\\\\?\\Volume{")) return name;
    const auto wanted = without_trailing_slash(name);
    for (const auto& volume : volumes) {
        const bool mounted = std::ranges::any_of(
            volume.mount_points, [&](const std::string& point) { return without_trailing_slash(point) == wanted; });
        if (mounted || volume.device == wanted) return volume.canonical;
    }
    return std::unexpected(fmt::format("Error: {} is not a volume of this host.\n", name));
}

std::string shadow_text(const Shadow& shadow, const std::map<std::string, std::string>& paths,
                        const std::map<base::Guid, std::string>& providers) {
    const auto path = paths.find(shadow.volume);
    const auto provider = providers.find(shadow.provider);
    return fmt::format(
        "      Shadow Copy ID: {}\n"
        "         Original Volume: {}{}\n"
        "         Shadow Copy Volume: {}\n"
        "         Originating Machine: {}\n"
        "         Service Machine: {}\n"
        "         Provider: '{}'\n"
        "         Type: {}\n"
        "         Attributes: {}\n\n",
        shadow.id.braced(), path == paths.end() ? "" : "(" + path->second + ")", shadow.volume, shadow.device,
        shadow.originating_machine, shadow.service_machine,
        provider == providers.end() ? shadow.provider.braced() : provider->second, context_word(shadow.attributes),
        attribute_list(shadow.attributes));
}

Status list_shadows(const Services& services, const Filters& filters) {
    const auto requester = open(services);
    if (!requester) return std::unexpected(requester.error());
    auto shadows = (*requester)->shadows();
    if (!shadows) return std::unexpected(explain(services, shadows.error()));
    // Names are decoration unless one is asked for: a host without its volume list still lists its shadow copies.
    const auto volumes = services.volumes();
    const auto known = volumes.value_or(std::vector<VolumeName>{});
    if (filters.volume) {
        const auto name = canonical(*filters.volume, known);
        if (!name)
            return std::unexpected(volumes ? name.error() : fmt::format("Error: {}.\n", volumes.error().message));
        std::erase_if(*shadows, [&](const Shadow& shadow) {
            return !same_word(without_trailing_slash(shadow.volume), without_trailing_slash(*name));
        });
    }
    if (filters.shadow) std::erase_if(*shadows, [&](const Shadow& shadow) { return shadow.id != *filters.shadow; });
    if (filters.set) std::erase_if(*shadows, [&](const Shadow& shadow) { return shadow.set != *filters.set; });
    if (shadows->empty()) {
        services.write("No items found that satisfy the query.\n");
        return {};
    }
    std::map<std::string, std::string> paths;
    for (const auto& volume : known) {
        if (!volume.mount_points.empty()) paths[volume.canonical] = volume.mount_points.front();
    }
    std::map<base::Guid, std::string> names;
    const auto providers = (*requester)->providers();
    if (!providers) return std::unexpected(explain(services, providers.error()));
    for (const auto& provider : *providers) names[provider.id] = provider.name;
    std::vector<base::Guid> shown;
    for (const auto& first : *shadows) {
        if (std::ranges::find(shown, first.set) != shown.end()) continue;
        shown.push_back(first.set);
        services.write(
            fmt::format("Contents of shadow copy set ID: {}\n   Contained {} shadow copies at creation time: {}\n",
                        first.set.braced(), first.count_in_set, diskshadow::local_time_of_timestamp(first.created)));
        for (const auto& shadow : *shadows) {
            if (shadow.set == first.set) services.write(shadow_text(shadow, paths, names));
        }
    }
    return {};
}

std::expected<Filters, std::string> parse_filters(const std::vector<std::string>& words) {
    Filters filters;
    for (const auto& word : words) {
        const size_t equals = word.find('=');
        const bool is_switch = word.size() > 1 && (word[0] == '/' || word[0] == '-') && equals != std::string::npos;
        if (!is_switch) return std::unexpected(fmt::format("Error: {} is not understood.\n\n{}", word, kUsage));
        const auto name = word.substr(1, equals - 1);
        const auto value = word.substr(equals + 1);
        if (same_word(name, "for") && !filters.volume && !value.empty()) {
            filters.volume = value;
            continue;
        }
        const auto id = base::Guid::parse(value);
        const bool shadow = same_word(name, "shadow");
        if (!shadow && !same_word(name, "set")) {
            return std::unexpected(fmt::format("Error: {} is not understood.\n\n{}", word, kUsage));
        }
        if (!id) return std::unexpected(fmt::format("Error: {} is not an ID.\n", value));
        (shadow ? filters.shadow : filters.set) = *id;
    }
    return filters;
}

Status dispatch(const std::vector<std::string>& words, const Services& services) {
    if (words.size() < 2 || !same_word(words[0], "list")) {
        return std::unexpected(
            fmt::format("Error: the command is not offered. DISKSHADOW creates, deletes and reverts.\n\n{}", kUsage));
    }
    const std::vector<std::string> rest(words.begin() + 2, words.end());
    if (same_word(words[1], "shadows")) {
        const auto filters = parse_filters(rest);
        if (!filters) return std::unexpected(filters.error());
        return list_shadows(services, *filters);
    }
    if (!rest.empty()) return std::unexpected(fmt::format("Error: {} is not understood.\n\n{}", rest.front(), kUsage));
    if (same_word(words[1], "providers")) return list_providers(services);
    if (same_word(words[1], "volumes")) return list_volumes(services);
    if (same_word(words[1], "writers")) return list_writers(services);
    return std::unexpected(fmt::format("Error: {} cannot be listed.\n\n{}", words[1], kUsage));
}

}  // namespace

int run(const std::vector<std::string>& arguments, const Services& services) {
    services.write(
        "vssadmin 1.1 - Volume Shadow Copy Service administrative command-line tool\n"
        "(C) Copyright 2026 the Umbra authors\n\n");
    const bool help = arguments.empty() || arguments[0] == "/?" || arguments[0] == "-?" || arguments[0] == "--help";
    if (help) {
        services.write(kUsage);
        return 0;
    }
    const auto status = dispatch(arguments, services);
    if (status) return 0;
    services.write(status.error());
    return 1;
}

}  // namespace umbra::cli::vssadmin

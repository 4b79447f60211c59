// SET and ADD.
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>

#include "cli/diskshadow_print.h"
#include "cli/diskshadow_shell.h"
#include "cli/diskshadow_text.h"

namespace umbra::cli::diskshadow {

namespace {

struct ContextWord {
    std::string_view words;
    uint32_t context;
};
constexpr ContextWord kContexts[] = {
    {"clientaccessible", VSS_CTX_CLIENT_ACCESSIBLE},   {"persistent", VSS_CTX_APP_ROLLBACK},
    {"persistent nowriters", VSS_CTX_NAS_ROLLBACK},    {"volatile", VSS_CTX_BACKUP},
    {"volatile nowriters", VSS_CTX_FILE_SHARE_BACKUP},
};

struct OptionWord {
    std::string_view word;
    uint32_t bit;
    uint32_t excludes;
};
constexpr uint32_t kRecoveryBits = VSS_VOLSNAP_ATTR_ROLLBACK_RECOVERY | VSS_VOLSNAP_ATTR_TXF_RECOVERY;
constexpr OptionWord kOptions[] = {
    {"differential", VSS_VOLSNAP_ATTR_DIFFERENTIAL, VSS_VOLSNAP_ATTR_PLEX},
    {"plex", VSS_VOLSNAP_ATTR_PLEX, VSS_VOLSNAP_ATTR_DIFFERENTIAL},
    {"transportable", VSS_VOLSNAP_ATTR_TRANSPORTABLE, 0},
    {"rollbackrecover", VSS_VOLSNAP_ATTR_ROLLBACK_RECOVERY, VSS_VOLSNAP_ATTR_NO_AUTORECOVERY},
    {"txfrecover", VSS_VOLSNAP_ATTR_TXF_RECOVERY, VSS_VOLSNAP_ATTR_NO_AUTORECOVERY},
    {"noautorecover", VSS_VOLSNAP_ATTR_NO_AUTORECOVERY, kRecoveryBits},
};

std::string without_trailing_separator(std::string text) {
    while (text.size() > 1 && (text.ends_with('/') || text.ends_with('\\'))) text.pop_back();
    return text;
}

// The device number behind a mount point or a device node: equal for two names of one volume. 0 where there is none.
dev_t device_of(const std::string& name) {
    struct stat info{};
    if (!name.starts_with('/') || ::stat(name.c_str(), &info) != 0) return 0;
    return S_ISBLK(info.st_mode) ? info.st_rdev : info.st_dev;
}

bool same_volume(const std::string& a, const std::string& b) {
    if (same_word(without_trailing_separator(a), without_trailing_separator(b))) return true;
    const auto device = device_of(a);
    return device != 0 && device == device_of(b);
}

}  // namespace

Shell::Status Shell::set(const Words& arguments) {
    if (arguments.empty()) {
        list_settings();
        return {};
    }
    const Words rest(arguments.begin() + 1, arguments.end());
    if (same_word(arguments[0], "context")) return set_context(rest);
    if (same_word(arguments[0], "option")) return set_option(rest);
    if (same_word(arguments[0], "metadata")) return set_metadata(rest);
    if (same_word(arguments[0], "verbose")) return set_verbose(rest);
    return help_failure("set");
}

Shell::Status Shell::set_context(const Words& arguments) {
    std::string words;
    for (const auto& word : arguments) words += (words.empty() ? "" : " ") + lower(word);
    for (const auto& [spelling, context] : kContexts) {
        if (words != spelling) continue;
        context_ = context;
        drop_unused_backup();
        return {};
    }
    return help_failure("set context");
}

// Options add up over several commands; of those that exclude each other the last command's stays.
Shell::Status Shell::set_option(const Words& arguments) {
    uint32_t named = 0;
    uint32_t excluded = 0;
    for (const auto& argument : arguments) {
        const auto* option = std::ranges::find_if(kOptions, [&](const auto& o) { return same_word(argument, o.word); });
        if (option == std::end(kOptions)) return help_failure("set option");
        named |= option->bit;
        excluded |= option->excludes;
    }
    if (named == 0 || (named & excluded) != 0) return help_failure("set option");
    options_ = (options_ & ~excluded) | named;
    drop_unused_backup();
    return {};
}

Shell::Status Shell::set_metadata(const Words& arguments) {
    if (arguments.empty()) return help_failure("set metadata");
    if (arguments.size() > 1) return help_failure("set metadata");
    const auto path = absolute(arguments[0]);
    if (auto writable = check_writable(path); !writable) return refuse(writable.error().message);
    struct stat info{};
    if (::stat(path.c_str(), &info) == 0) show("The existing file will be overwritten.\n");
    metadata_file_ = path;
    return {};
}

Shell::Status Shell::set_verbose(const Words& arguments) {
    if (arguments.size() != 1) return help_failure("set verbose");
    if (same_word(arguments[0], "on")) {
        verbose_ = true;
    } else if (same_word(arguments[0], "off")) {
        verbose_ = false;
    } else {
        return help_failure("set verbose");
    }
    return {};
}

void Shell::list_settings() {
    std::string context = "unknown";
    for (const auto& [spelling, value] : kContexts) {
        if (value == context_) context = spelling;
    }
    std::string options;
    for (const auto& option : kOptions) {
        if ((options_ & option.bit) != 0) options += fmt::format("{}{}", options.empty() ? "" : " ", option.word);
    }
    show(fmt::format("Context: {}\nOptions: {}\nVerbose: {}\nMetadata file: {}\nBackup type: {}\n", context,
                     options.empty() ? "none" : options, verbose_ ? "on" : "off",
                     metadata_file_.empty() ? "chosen by CREATE, in the current directory" : metadata_file_,
                     in_backup_ ? "full" : "copy"));
}

Shell::Status Shell::add(const Words& arguments) {
    if (arguments.empty()) {
        list_additions();
        return {};
    }
    const Words rest(arguments.begin() + 1, arguments.end());
    if (same_word(arguments[0], "volume")) return add_volume(rest);
    if (same_word(arguments[0], "alias")) return add_alias(rest);
    if (same_word(arguments[0], "shadow")) return add_shadow(rest);
    return help_failure("add");
}

void Shell::list_additions() {
    for (const auto& volume : volumes_) {
        show(fmt::format("Volume {} alias {}    GUID {}\n", volume.name, volume.alias.empty() ? "none" : volume.alias,
                         volume.canonical.empty() ? "not known before CREATE" : volume.canonical));
    }
    show(fmt::format("{} volume{} in Shadow Copy Set.\n", volumes_.size(), volumes_.size() == 1 ? "" : "s"));
    const auto aliases = variables_.aliases();
    if (aliases.empty()) show("No Diskshadow aliases in the environment.\n");
    for (const auto& alias : aliases) show(fmt::format("Alias {} = {}\n", alias.name, alias.value));
}

// A set that was not created yet is begun anew with the new settings.
void Shell::drop_unused_backup() {
    if (!created_) backup_.reset();
}

Shell::Status Shell::add_alias(const Words& arguments) {
    if (arguments.size() != 2) return help_failure("add alias");
    if (!Variables::is_valid_name(arguments[0])) {
        return refuse(fmt::format("{} cannot be an alias: names have letters, digits and _ - . ( ).", arguments[0]));
    }
    variables_.set_alias(arguments[0], arguments[1]);
    return {};
}

Shell::Status Shell::add_volume(const Words& arguments) {
    if (arguments.empty() || arguments.size() % 2 == 0) return help_failure("add volume");
    Volume volume;
    volume.name = absolute(arguments[0]);
    for (size_t i = 1; i < arguments.size(); i += 2) {
        if (same_word(arguments[i], "alias") && volume.alias.empty()) {
            volume.alias = arguments[i + 1];
        } else if (same_word(arguments[i], "provider") && volume.provider.is_null()) {
            auto provider = parse_id(arguments[i + 1]);
            if (!provider) return std::unexpected(provider.error());
            volume.provider = *provider;
        } else {
            return help_failure("add volume");
        }
    }
    if (volume.name.empty()) return help_failure("add volume");
    if (volume.name.starts_with("\\\\") && !volume.name.starts_with("\\\\?\\")) {
        return refuse("Shadow copies of network shares are not offered.");
    }
    if (!volume.alias.empty() && !Variables::is_valid_name(volume.alias)) {
        return refuse(fmt::format("{} cannot be an alias: names have letters, digits and _ - . ( ).", volume.alias));
    }
    if (created_ && in_backup_) return refuse("END BACKUP has to come before the volumes of another set.");
    if (created_) start_new_set();
    if (!backup_) {
        auto backup = new_backup();
        if (!backup) return fail(backup.error());
        backup_ = std::move(*backup);
    }
    auto supported = backup_->is_volume_supported(volume.name, volume.provider);
    if (!supported && (supported.error().code == VSS_E_OBJECT_NOT_FOUND || supported.error().code == E_INVALIDARG)) {
        // Not a volume: perhaps a path on one.
        const auto mount_point = services_.mount_point_of(volume.name);
        if (!mount_point.empty() && !same_volume(mount_point, "/") && mount_point != volume.name) {
            supported = backup_->is_volume_supported(mount_point, volume.provider);
            volume.name = mount_point;
        }
    }
    if (!supported) return fail(supported.error());
    if (!*supported) {
        return fail(
            CallFailure{"IVssBackupComponents::IsVolumeSupported",
                        volume.provider.is_null() ? VSS_E_VOLUME_NOT_SUPPORTED : VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER,
                        "no provider makes shadow copies of this volume with these settings"});
    }
    for (const auto& other : volumes_) {
        if (same_volume(other.name, volume.name)) {
            return refuse(fmt::format("The volume {} has already been added.", volume.name));
        }
        if (!volume.alias.empty() && same_word(other.alias, volume.alias)) {
            return refuse(fmt::format("The alias {} has already been given to {}.", volume.alias, other.name));
        }
    }
    volumes_.push_back(std::move(volume));
    return {};
}

}  // namespace umbra::cli::diskshadow

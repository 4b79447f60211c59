// BEGIN and END BACKUP, CREATE.
#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <filesystem>

#include "cli/diskshadow_print.h"
#include "cli/diskshadow_shell.h"

namespace umbra::cli::diskshadow {

bool Shell::writers_in_context() const {
    return (context_ & VSS_VOLSNAP_ATTR_NO_WRITERS) == 0;
}

Called<std::unique_ptr<Requester>> Shell::new_backup() {
    auto requester = Requester::for_backup(services_.create);
    if (!requester) return requester;
    if (auto set = (*requester)->set_context(static_cast<int32_t>(context_ | options_)); !set) {
        return std::unexpected(set.error());
    }
    backup_has_writers_ = writers_in_context();
    return requester;
}

// The set that exists stays as long as it would: its object is kept until RESET or EXIT.
void Shell::start_new_set() {
    if (backup_) held_.push_back(std::move(backup_));
    backup_.reset();
    volumes_.clear();
    created_ = false;
}

Shell::Status Shell::begin(const Words& arguments) {
    if (arguments.size() != 1) return help_failure("begin");
    if (same_word(arguments[0], "backup")) return begin_backup();
    if (same_word(arguments[0], "restore")) return begin_restore();
    return help_failure("begin");
}

Shell::Status Shell::end(const Words& arguments) {
    if (arguments.size() != 1) return help_failure("end");
    if (same_word(arguments[0], "backup")) return end_backup();
    if (same_word(arguments[0], "restore")) return end_restore();
    return help_failure("end");
}

Shell::Status Shell::begin_backup() {
    if (in_backup_) return refuse("BEGIN BACKUP has already been commanded.");
    if (created_) start_new_set();
    in_backup_ = true;
    return {};
}

Shell::Status Shell::end_backup() {
    if (!in_backup_) {
        show("Note: BEGIN BACKUP was not commanded, there is no backup to end.\n");
        return {};
    }
    if (!created_) return refuse("CREATE has not made a shadow copy set since BEGIN BACKUP.");
    if (backup_has_writers_) {
        if (auto done = backup_->backup_complete(); !done) return fail(done.error());
    }
    in_backup_ = false;
    return {};
}

std::string Shell::metadata_path() const {
    if (!metadata_file_.empty()) return metadata_file_;
    const time_t now = services_.now();
    struct tm parts{};
    ::localtime_r(&now, &parts);
    return absolute(fmt::format("{:04}-{:02}-{:02}_{}-{:02}-{:02}_{}.cab", parts.tm_year + 1900, parts.tm_mon + 1,
                                parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec,
                                short_host_name(services_.host_name)));
}

Shell::Status Shell::create(const Words& arguments) {
    if (!arguments.empty()) return help_failure("create");
    if (created_) return refuse("The shadow copy set has been created. ADD VOLUME starts another one.");
    if (volumes_.empty()) return refuse("No volume has been added to the shadow copy set.");
    const auto path = metadata_path();
    if (auto writable = check_writable(path); !writable) return refuse(writable.error().message);
    if (!backup_) {
        auto backup = new_backup();
        if (!backup) return fail(backup.error());
        backup_ = std::move(*backup);
    }
    base::Guid set;
    if (auto made = create_set(*backup_, set); !made) {
        // A failed object is of no further use. The volumes stay, for another attempt.
        auto failure = fail(made.error());
        backup_->abort();
        backup_.reset();
        return failure;
    }
    created_ = true;
    publish_aliases(set);
    if (auto saved = save_metadata(set, path); !saved) return saved;
    const bool transportable = (options_ & VSS_VOLSNAP_ATTR_TRANSPORTABLE) != 0;
    std::vector<Shadow> shadows;
    for (auto& volume : volumes_) {
        auto shadow = backup_->shadow(volume.shadow);
        if (!shadow && transportable && shadow.error().code == VSS_E_OBJECT_NOT_FOUND) continue;
        if (!shadow) return fail(shadow.error());
        volume_names_[shadow->volume] = volume.name;
        volume.canonical = shadow->volume;
        shadows.push_back(std::move(*shadow));
    }
    show("\n");
    if (shadows.empty()) {
        show(fmt::format("The shadow copy set {} is transportable: it is listed where it is imported, from {}.\n",
                         set.braced(), std::filesystem::path(path).filename().string()));
        return {};
    }
    show_shadows(shadows, fmt::format("Querying all shadow copies with the shadow copy set ID {}", set.braced()));
    return {};
}

Called<> Shell::create_set(Requester& requester, base::Guid& set) {
    if (auto done = requester.set_backup_state(in_backup_); !done) return done;
    if (backup_has_writers_) {
        if (auto done = requester.gather_writer_metadata(); !done) return done;
    }
    auto started = requester.start_set();
    if (!started) return std::unexpected(started.error());
    set = *started;
    for (auto& volume : volumes_) {
        auto id = requester.add_volume(volume.name, volume.provider);
        if (!id) return std::unexpected(id.error());
        volume.shadow = *id;
    }
    if (backup_has_writers_) {
        if (auto done = requester.prepare_for_backup(); !done) return done;
    }
    return requester.do_set();
}

void Shell::publish_aliases(const base::Guid& set) {
    size_t number = 0;
    for (auto& volume : volumes_) {
        if (volume.alias.empty()) volume.alias = fmt::format("VSS_SHADOW_{}", ++number);
        variables_.set_alias(volume.alias, volume.shadow.braced());
        show(fmt::format("Alias {} for shadow ID {} set as environment variable.\n", volume.alias,
                         volume.shadow.braced()));
    }
    variables_.set_alias(kSetAlias, set.braced());
    show(fmt::format("Alias {} for shadow set ID {} set as environment variable.\n", kSetAlias, set.braced()));
}

Shell::Status Shell::save_metadata(const base::Guid& set, const std::string& path) {
    const auto failed = [&](const std::string& text) -> Status {
        auto message =
            fmt::format("{}The shadow copy set {} exists, but {} was not written.\n", text, set.braced(), path);
        if ((options_ & VSS_VOLSNAP_ATTR_TRANSPORTABLE) != 0) {
            message +=
                fmt::format("Without it the set cannot be imported: DELETE SHADOWS SET {} removes it.\n", set.braced());
        }
        return std::unexpected(Failure{message});
    };
    auto document = backup_->document();
    if (!document) return failed(explain(document.error()));
    Metadata metadata;
    metadata.set = set;
    metadata.machine = services_.host_name;
    for (const auto& volume : volumes_) metadata.shadows.push_back({volume.shadow, volume.name});
    metadata.document = std::move(*document);
    metadata.aliases = variables_.aliases();
    if (auto saved = save_cab(path, metadata); !saved) {
        return failed(fmt::format("The last operation failed.\n\t- {}\n", saved.error().message));
    }
    if (verbose_) {
        const auto name = std::filesystem::path(path).filename().string();
        for (const auto& member : member_names(metadata)) {
            show(fmt::format("Inserted file {} into .cab file {}\n", member, name));
        }
    }
    return {};
}

}  // namespace umbra::cli::diskshadow

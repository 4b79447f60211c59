// What is done with shadow copies: LOAD METADATA, IMPORT, EXPOSE, MASK, BREAK, REVERT, RESYNC, restores.
#include <fmt/format.h>

#include <filesystem>

#include "cli/diskshadow_print.h"
#include "cli/diskshadow_shell.h"

namespace umbra::cli::diskshadow {

namespace {

// Failures before the array was asked for anything: what is on this host is not of this import.
bool nothing_was_presented(HRESULT code) {
    return code == VSS_E_BAD_STATE || code == VSS_E_INVALID_XML_DOCUMENT || code == E_ACCESSDENIED ||
           code == VSS_E_NONTRANSPORTABLE_BCD || code == VSS_E_PROVIDER_NOT_REGISTERED;
}

constexpr std::string_view kNoMetadata = "No metadata has been loaded. LOAD METADATA has to come first.";

bool is_drive_path(const std::string& text) {
    return text.size() >= 2 && text[1] == ':' && ((text[0] | 0x20) >= 'a' && (text[0] | 0x20) <= 'z');
}

// What is neither a path nor a drive letter names a share.
bool is_share_name(const std::string& text) {
    return !is_drive_path(text) && text.find('/') == std::string::npos && text != "." && text != "..";
}

}  // namespace

Shell::Status Shell::load(const Words& arguments) {
    if (arguments.size() != 2 || !same_word(arguments[0], "metadata")) return help_failure("load metadata");
    if (in_restore_) return refuse("END RESTORE has to come before other metadata is loaded.");
    const auto path = absolute(arguments[1]);
    auto metadata = load_cab(path);
    if (!metadata) return fail(metadata.error());
    if (verbose_) {
        const auto name = std::filesystem::path(path).filename().string();
        for (const auto& member : member_names(*metadata)) {
            show(fmt::format("Extracted file {} from .cab file {}\n", member, name));
        }
    }
    restore_.reset();
    recovery_shadows_ = 0;
    for (const auto& alias : metadata->aliases) {
        if (variables_.load_alias(alias.name, alias.value)) {
            show(fmt::format("Alias {} for value {} set as environment variable.\n", alias.name, alias.value));
        } else {
            show(fmt::format("Note: alias {} of the metadata file is not set, it would hide an environment variable.\n",
                             alias.name));
        }
    }
    loaded_ = std::move(*metadata);
    return {};
}

Shell::Status Shell::import(const Words& arguments) {
    if (!arguments.empty()) return help_failure("import");
    if (!loaded_) return refuse(kNoMetadata);
    auto requester = Requester::for_backup(services_.create, loaded_->document);
    if (!requester) return fail(requester.error());
    if (auto set = (*requester)->set_context(VSS_CTX_ALL); !set) return fail(set.error());
    const auto imported = (*requester)->import_set();
    auto& kept = *held_.emplace_back(std::move(*requester));
    if (!imported && imported.error().code != VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED) {
        held_.pop_back();
        if (nothing_was_presented(imported.error().code)) return fail(imported.error());
        const std::string set = loaded_->set.braced();
        return std::unexpected(
            Failure{fmt::format("{}\nLUNs of the set may stay presented to this host: IMPORT can be tried again, and\n"
                                "`umbra shadow cleanup {}` gives them back. DELETE SHADOWS SET {}\n"
                                "would destroy the shadow copies themselves.\n",
                                explain(imported.error()), loaded_->set.text(), set)});
    }
    const auto alias = fmt::format("Import_{}", ++imports_);
    variables_.set_alias(alias, loaded_->set.braced());
    show(fmt::format("Alias {} for shadow set ID {} set as environment variable.\n\n", alias, loaded_->set.braced()));
    std::vector<Shadow> shadows;
    for (const auto& recorded : loaded_->shadows) {
        auto shadow = kept.shadow(recorded.id);
        if (!shadow && shadow.error().code == VSS_E_OBJECT_NOT_FOUND) continue;
        if (!shadow) return fail(shadow.error());
        if ((shadow->attributes & VSS_VOLSNAP_ATTR_IMPORTED) != 0) shadows.push_back(std::move(*shadow));
    }
    show_shadows(shadows,
                 fmt::format("Querying all shadow copies with the shadow copy set ID {}", loaded_->set.braced()));
    if (!imported) return fail(imported.error());
    return {};
}

Shell::Status Shell::expose(const Words& arguments) {
    if (arguments.size() != 2 || arguments[1].empty()) return help_failure("expose");
    const auto id = parse_id(arguments[0]);
    if (!id) return std::unexpected(id.error());
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    const bool remotely = is_share_name(arguments[1]);
    const auto where = remotely || is_drive_path(arguments[1]) ? arguments[1] : absolute(arguments[1]);
    auto exposed = (*requester)->expose(*id, where, remotely);
    if (!exposed) return fail(exposed.error());
    show(fmt::format("The shadow copy was successfully exposed as {}.\n", exposed->empty() ? where : *exposed));
    return {};
}

Shell::Status Shell::unexpose(const Words& arguments) {
    if (arguments.size() != 1) return help_failure("unexpose");
    auto id = base::Guid::parse(arguments[0]);
    if (!id) {
        auto shadow = exposed_at(arguments[0]);
        if (!shadow) return std::unexpected(shadow.error());
        if (!*shadow) return refuse(fmt::format("No shadow copy is exposed as {}.", arguments[0]));
        id = (*shadow)->id;
    }
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    if (auto done = (*requester)->unexpose(*id); !done) return fail(done.error());
    show("The shadow copy is no longer exposed.\n");
    return {};
}

Shell::Status Shell::mask(const Words& arguments) {
    if (arguments.size() != 1) return help_failure("mask");
    const auto set = parse_id(arguments[0]);
    if (!set) return std::unexpected(set.error());
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    if (auto done = (*requester)->break_set_ex(*set, VSS_BREAKEX_FLAG_MASK_LUNS); !done) return fail(done.error());
    return {};
}

Shell::Status Shell::break_set(const Words& arguments) {
    const bool writable = arguments.size() == 2 && same_word(arguments[0], "writable");
    if (arguments.empty() || (arguments.size() != 1 && !writable)) return help_failure("break");
    const auto set = parse_id(arguments.back());
    if (!set) return std::unexpected(set.error());
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    auto done =
        writable ? (*requester)->break_set_ex(*set, VSS_BREAKEX_FLAG_MAKE_READ_WRITE) : (*requester)->break_set(*set);
    if (!done) return fail(done.error());
    return {};
}

Shell::Status Shell::revert(const Words& arguments) {
    if (arguments.size() != 1) return help_failure("revert");
    const auto id = parse_id(arguments[0]);
    if (!id) return std::unexpected(id.error());
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    const auto shadow = (*requester)->shadow(*id);
    if (!shadow) return fail(shadow.error());
    if (auto started = (*requester)->revert(*id); !started) return fail(started.error());
    if (auto done = (*requester)->wait_for_revert(shadow->volume); !done) return fail(done.error());
    show(fmt::format("The volume {} was reverted to the shadow copy {}.\n", shadow->volume, id->braced()));
    return {};
}

std::expected<Requester*, Shell::Failure> Shell::restore() {
    if (!loaded_) return std::unexpected(Failure{fmt::format("{}\n", kNoMetadata)});
    if (!restore_) {
        auto requester = Requester::for_restore(services_.create, loaded_->document);
        if (!requester) return std::unexpected(Failure{explain(requester.error())});
        restore_ = std::move(*requester);
        recovery_shadows_ = 0;
    }
    return restore_.get();
}

Shell::Status Shell::add_shadow(const Words& arguments) {
    if (arguments.empty() || arguments.size() > 2) return help_failure("add shadow");
    const auto id = parse_id(arguments[0]);
    if (!id) return std::unexpected(id.error());
    const auto requester = restore();
    if (!requester) return std::unexpected(requester.error());
    // A destination is taken as it is: guessing the volume of a path could overwrite the wrong one.
    std::optional<std::string> destination;
    if (arguments.size() == 2) destination = absolute(arguments[1]);
    if (auto added = (*requester)->add_to_recovery_set(*id, destination); !added) return fail(added.error());
    ++recovery_shadows_;
    return {};
}

Shell::Status Shell::resync(const Words& arguments) {
    uint32_t flags = 0;
    for (const auto& argument : arguments) {
        if (same_word(argument, "novolcheck")) {
            flags |= VSS_RECOVERY_NO_VOLUME_CHECK;
        } else if (same_word(argument, "revert_originalsig")) {
            flags |= VSS_RECOVERY_REVERT_IDENTITY_ALL;
        } else {
            return help_failure("resync");
        }
    }
    if (!loaded_) return refuse(kNoMetadata);
    if (!restore_ || recovery_shadows_ == 0)
        return refuse("No shadow copy has been added. ADD SHADOW has to come first.");
    if (auto done = restore_->recover_set(flags); !done) return fail(done.error());
    show(fmt::format("{} shadow cop{} written back.\n", recovery_shadows_,
                     recovery_shadows_ == 1 ? "y was" : "ies were"));
    recovery_shadows_ = 0;
    if (!in_restore_) restore_.reset();
    return {};
}

Shell::Status Shell::begin_restore() {
    if (in_restore_) return refuse("BEGIN RESTORE has already been commanded.");
    const auto requester = restore();
    if (!requester) return std::unexpected(requester.error());
    if (auto done = (*requester)->gather_writer_metadata(); !done) return fail(done.error());
    if (auto done = (*requester)->pre_restore(); !done) return fail(done.error());
    in_restore_ = true;
    return {};
}

Shell::Status Shell::end_restore() {
    if (!in_restore_) return refuse("BEGIN RESTORE has not been commanded.");
    if (auto done = restore_->post_restore(); !done) return fail(done.error());
    in_restore_ = false;
    if (recovery_shadows_ == 0) restore_.reset();
    return {};
}

Shell::Status Shell::simulate(const Words& arguments) {
    if (arguments.size() != 1 || !same_word(arguments[0], "restore")) return help_failure("simulate");
    return refuse("SIMULATE RESTORE is not offered yet: components of writers are not selected by this version.");
}

Shell::Status Shell::writer(const Words& arguments) {
    const bool known =
        arguments.size() == 2 && (same_word(arguments[0], "verify") || same_word(arguments[0], "exclude"));
    if (!known) return help_failure("writer");
    return refuse("WRITER is not offered yet: components of writers are not selected by this version.");
}

}  // namespace umbra::cli::diskshadow

// LIST and DELETE SHADOWS.
#include <fmt/format.h>

#include <algorithm>

#include "cli/diskshadow_print.h"
#include "cli/diskshadow_shell.h"

namespace umbra::cli::diskshadow {

namespace {

std::string without_trailing_separator(std::string text) {
    while (text.size() > 1 && (text.ends_with('/') || text.ends_with('\\'))) text.pop_back();
    return text;
}

}  // namespace

Shell::Status Shell::list(const Words& arguments) {
    if (arguments.empty()) return help_failure("list");
    const Words rest(arguments.begin() + 1, arguments.end());
    if (same_word(arguments[0], "shadows")) return list_shadows(rest);
    if (same_word(arguments[0], "providers") && rest.empty()) return list_providers();
    if (!same_word(arguments[0], "writers") || rest.size() > 1) return help_failure("list");
    if (rest.size() == 1 && same_word(rest[0], "status")) return list_writer_status();
    if (rest.empty() || same_word(rest[0], "metadata") || same_word(rest[0], "detailed")) {
        return refuse("LIST WRITERS METADATA and DETAILED are not offered yet. LIST WRITERS STATUS is.");
    }
    return help_failure("list");
}

// "[…]" behind a volume: where it is mounted as far as this run knows, or that it is not here.
std::string Shell::volume_note(const Shadow& shadow) {
    if (const auto known = volume_names_.find(shadow.volume); known != volume_names_.end())
        return "[" + known->second + "]";
    const auto requester = query();
    if (!requester) return {};
    const auto here = (*requester)->is_volume_supported(shadow.volume, base::Guid{});
    const bool missing = !here && here.error().code == VSS_E_OBJECT_NOT_FOUND;
    return missing ? "[volume not on this machine]" : "";
}

void Shell::show_shadows(const std::vector<Shadow>& shadows, std::string_view header) {
    show(fmt::format("{}\n\n", header));
    if (shadows.empty()) show("No shadow copies found.\n");
    for (const auto& shadow : shadows) {
        // The name that CREATE gives goes before others that the set has.
        const bool usual = same_word(variables_.get(kSetAlias).value_or(""), shadow.set.braced());
        const auto set_alias = usual ? std::string(kSetAlias) : variables_.alias_of(shadow.set.braced());
        show(shadow_block(shadow, {variables_.alias_of(shadow.id.braced()), set_alias, volume_note(shadow)}));
    }
    show(fmt::format("Number of shadow copies listed: {}\n", shadows.size()));
}

Shell::Status Shell::list_shadows(const Words& arguments) {
    const bool all = arguments.size() == 1 && same_word(arguments[0], "all");
    const bool one_set = arguments.size() == 2 && same_word(arguments[0], "set");
    const bool one = arguments.size() == 2 && same_word(arguments[0], "id");
    if (!all && !one_set && !one) return help_failure("list");
    base::Guid wanted;
    if (!all) {
        const auto id = parse_id(arguments[1]);
        if (!id) return std::unexpected(id.error());
        wanted = *id;
    }
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    if (one) {
        auto shadow = (*requester)->shadow(wanted);
        if (!shadow) return fail(shadow.error());
        show_shadows({*shadow}, fmt::format("Querying the shadow copy with the ID {}", wanted.braced()));
        return {};
    }
    auto shadows = (*requester)->shadows();
    if (!shadows) return fail(shadows.error());
    if (one_set) std::erase_if(*shadows, [&](const Shadow& shadow) { return shadow.set != wanted; });
    show_shadows(*shadows,
                 all ? std::string("Querying all shadow copies on the computer ...")
                     : fmt::format("Querying all shadow copies with the shadow copy set ID {}", wanted.braced()));
    return {};
}

Shell::Status Shell::list_providers() {
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    const auto providers = (*requester)->providers();
    if (!providers) return fail(providers.error());
    for (const auto& provider : *providers) show(provider_block(provider));
    show(fmt::format("{} provider{} registered.\n", providers->size(), providers->size() == 1 ? "" : "s"));
    return {};
}

Shell::Status Shell::list_writer_status() {
    // An object of its own: writers are gathered once in the life of one.
    auto requester = Requester::for_backup(services_.create);
    if (!requester) return fail(requester.error());
    if (auto gathered = (*requester)->gather_writer_metadata(); !gathered) return fail(gathered.error());
    const auto writers = (*requester)->writer_status();
    if (!writers) return fail(writers.error());
    show("Listing writer status ...\n\n");
    for (const auto& writer : *writers) show(writer_status_block(writer));
    show(fmt::format("{} writer{} listed.\n", writers->size(), writers->size() == 1 ? "" : "s"));
    return {};
}

std::expected<std::optional<Shadow>, Shell::Failure> Shell::exposed_at(const std::string& where) {
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    const auto shadows = (*requester)->shadows();
    if (!shadows) return std::unexpected(Failure{explain(shadows.error())});
    const auto as_typed = without_trailing_separator(where);
    const auto as_path = without_trailing_separator(absolute(where));
    for (const auto& shadow : *shadows) {
        if (!shadow.exposed_name) continue;
        const auto name = without_trailing_separator(*shadow.exposed_name);
        if (name == as_path || name == as_typed) return shadow;
    }
    return std::nullopt;
}

std::expected<std::vector<Shadow>, Shell::Failure> Shell::shadows_of_volume(const std::string& volume) {
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    auto name = absolute(volume);
    if (!name.starts_with("\\\\?\\Volume{")) {
        const auto known = std::ranges::find_if(volume_names_, [&](const auto& entry) {
            return without_trailing_separator(entry.second) == without_trailing_separator(name);
        });
        if (known == volume_names_.end()) {
            return std::unexpected(
                Failure{"The volume has to be given by the name that LIST SHADOWS shows as original volume name.\n"});
        }
        name = known->first;
    }
    auto shadows = (*requester)->shadows();
    if (!shadows) return std::unexpected(Failure{explain(shadows.error())});
    std::erase_if(*shadows, [&](const Shadow& shadow) {
        return !same_word(without_trailing_separator(shadow.volume), without_trailing_separator(name));
    });
    return std::move(*shadows);
}

std::string Shell::deletion_line(const Shadow& shadow) {
    return fmt::format("Deleting shadow copy {} on volume {} from provider {} [Attributes: 0x{:08x}]...\n",
                       shadow.id.braced(), shadow.volume, shadow.provider.braced(), shadow.attributes);
}

Shell::Status Shell::delete_shadows(const Words& arguments) {
    if (arguments.size() < 2 || !same_word(arguments[0], "shadows")) return help_failure("delete");
    const auto& how = arguments[1];
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    if (same_word(how, "all") && arguments.size() == 2) {
        auto shadows = (*requester)->shadows();
        if (!shadows) return fail(shadows.error());
        return delete_each(*shadows);
    }
    if (arguments.size() != 3) return help_failure("delete");
    const auto& what = arguments[2];
    if (same_word(how, "volume") || same_word(how, "oldest")) {
        auto shadows = shadows_of_volume(what);
        if (!shadows) return std::unexpected(shadows.error());
        if (same_word(how, "oldest") && !shadows->empty()) {
            const auto oldest = std::ranges::min_element(*shadows, {}, &Shadow::created);
            *shadows = {*oldest};
        }
        return delete_each(*shadows);
    }
    if (same_word(how, "exposed")) {
        auto shadow = exposed_at(what);
        if (!shadow) return std::unexpected(shadow.error());
        return delete_each(*shadow ? std::vector<Shadow>{**shadow} : std::vector<Shadow>{});
    }
    if (!same_word(how, "set") && !same_word(how, "id")) return help_failure("delete");
    const auto id = parse_id(what);
    if (!id) return std::unexpected(id.error());
    if (same_word(how, "set")) return delete_set(*id);
    auto shadow = (*requester)->shadow(*id);
    if (!shadow && shadow.error().code != VSS_E_OBJECT_NOT_FOUND) return fail(shadow.error());
    if (shadow) return delete_each({*shadow});
    // What was left by a failed import is not listed, but can be deleted.
    const auto deletion = (*requester)->delete_shadow(*id);
    if (deletion.failure) return fail(*deletion.failure);
    show(fmt::format("\nNumber of shadow copies deleted: {}\n", deletion.deleted));
    return {};
}

// By the set's ID and not one by one: the set may be one that a failed import left, whose members are not listed.
Shell::Status Shell::delete_set(const base::Guid& set) {
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    const auto shadows = (*requester)->shadows();
    if (!shadows) return fail(shadows.error());
    for (const auto& shadow : *shadows) {
        if (shadow.set == set) show(deletion_line(shadow));
    }
    const auto deletion = (*requester)->delete_set(set);
    show(fmt::format("\nNumber of shadow copies deleted: {}\n", deletion.deleted));
    if (!deletion.failure) return {};
    auto failure = explain(*deletion.failure);
    if (!deletion.not_deleted.is_null()) {
        failure += fmt::format("The shadow copy {} was not deleted.\n", deletion.not_deleted.braced());
    }
    return std::unexpected(Failure{failure});
}

Shell::Status Shell::delete_each(const std::vector<Shadow>& shadows) {
    const auto requester = query();
    if (!requester) return std::unexpected(requester.error());
    if (shadows.empty()) show("No shadow copies found.\n");
    int deleted = 0;
    for (const auto& shadow : shadows) {
        show(deletion_line(shadow));
        const auto deletion = (*requester)->delete_shadow(shadow.id);
        deleted += deletion.deleted;
        if (!deletion.failure) continue;
        return std::unexpected(
            Failure{fmt::format("\nNumber of shadow copies deleted: {}\n{}The shadow copy {} was not "
                                "deleted.\n",
                                deleted, explain(*deletion.failure), shadow.id.braced())});
    }
    show(fmt::format("\nNumber of shadow copies deleted: {}\n", deleted));
    return {};
}

}  // namespace umbra::cli::diskshadow

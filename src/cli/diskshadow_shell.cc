#include "cli/diskshadow_shell.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/diskshadow_help.h"
#include "cli/diskshadow_print.h"
#include "cli/diskshadow_text.h"

namespace umbra::cli::diskshadow {

namespace {

constexpr std::string_view kPrompt = "DISKSHADOW> ";

std::string without_trailing_blanks(std::string_view text) {
    const size_t last = text.find_last_not_of(" \t");
    return std::string(text.substr(0, last == std::string_view::npos ? 0 : last + 1));
}

}  // namespace

Shell::Shell(Services services, Variables variables)
    : services_(std::move(services)), variables_(std::move(variables)) {}

Shell::~Shell() = default;

int Shell::run_script(const std::vector<std::string>& lines) {
    show(banner(services_.host_name, services_.now()));
    for (const auto& line : lines) {
        const auto echo = without_trailing_blanks("-> " + line);
        show(echo + "\n");
        const auto next = run_line(line);
        if (next == Next::kContinue) continue;
        leave();
        return next == Next::kExit ? 0 : 1;
    }
    show("->\n");
    leave();
    return 0;
}

int Shell::run_interactive(const std::function<std::optional<std::string>(const std::string& prompt)>& read,
                           bool attended) {
    show(banner(services_.host_name, services_.now()));
    bool failed = false;
    bool first = true;
    while (true) {
        if (!first) show("\n");
        first = false;
        const auto line = read(std::string(kPrompt));
        if (!line) {
            show("\n");
            break;
        }
        const auto next = run_line(*line);
        if (next == Next::kFailed || next == Next::kFailedAndExit) failed = true;
        if (next == Next::kFailedAndExit) {
            leave();
            return 1;
        }
        if (next == Next::kExit) break;
    }
    leave();
    return failed && !attended ? 1 : 0;
}

Shell::Next Shell::run_line(const std::string& line) {
    if (is_comment_or_blank(line)) return Next::kContinue;
    const auto expanded = expand(line, [&](std::string_view name) { return variables_.get(name); });
    Status status;
    bool exits = false;
    if (!expanded) {
        status = fail(expanded.error());
    } else {
        for (const auto& [name, value] : expanded->substitutions) show(fmt::format("-> %{}% = {}\n", name, value));
        const auto words = split_words(expanded->line);
        if (!words) {
            status = fail(words.error());
        } else {
            exits = words->size() == 1 && same_word(words->front(), "exit");
            status = run_words(*words);
        }
    }
    if (status) return exits ? Next::kExit : Next::kContinue;
    show(status.error().text);
    return status.error().quits ? Next::kFailedAndExit : Next::kFailed;
}

Shell::Status Shell::run_words(const Words& words) {
    struct Command {
        std::string_view word;
        Handler run;
    };
    static constexpr Command kCommands[] = {
        {"set", &Shell::set},       {"add", &Shell::add},
        {"begin", &Shell::begin},   {"end", &Shell::end},
        {"create", &Shell::create}, {"exec", &Shell::exec},
        {"load", &Shell::load},     {"import", &Shell::import},
        {"expose", &Shell::expose}, {"unexpose", &Shell::unexpose},
        {"mask", &Shell::mask},     {"break", &Shell::break_set},
        {"revert", &Shell::revert}, {"resync", &Shell::resync},
        {"list", &Shell::list},     {"delete", &Shell::delete_shadows},
        {"writer", &Shell::writer}, {"simulate", &Shell::simulate},
        {"reset", &Shell::reset},   {"exit", &Shell::exit},
        {"help", &Shell::help},     {"?", &Shell::help},
    };
    for (const auto& command : kCommands) {
        if (same_word(words.front(), command.word)) return (this->*command.run)({words.begin() + 1, words.end()});
    }
    return std::unexpected(
        Failure{fmt::format("{} is not a command. The commands are:\n\n{}", words.front(), help_overview())});
}

void Shell::note_open_backup() {
    if (in_backup_) show("Note: END BACKUP was not commanded, writers not notified BackupComplete.\n");
}

void Shell::leave() {
    if (!in_backup_) return;
    note_open_backup();
    show("DiskShadow is exiting.\n");
}

Shell::Status Shell::help_failure(std::string_view command) {
    return std::unexpected(Failure{help_of(command)});
}

Shell::Status Shell::refuse(std::string_view sentence) {
    return std::unexpected(Failure{fmt::format("{}\n", sentence)});
}

std::string Shell::explain(CallFailure failure) const {
    if (!failure.cause) failure.cause = services_.last_error_text();
    return failure_text(failure);
}

Shell::Status Shell::fail(const CallFailure& failure) const {
    return std::unexpected(Failure{explain(failure)});
}

Shell::Status Shell::fail(const base::Error& error) {
    return std::unexpected(Failure{fmt::format("The last operation failed.\n\t- {}\n", error.message)});
}

std::expected<base::Guid, Shell::Failure> Shell::parse_id(const std::string& word) const {
    const auto id = base::Guid::parse(word);
    if (id && !id->is_null()) return *id;
    return std::unexpected(
        Failure{fmt::format("{} is not an ID. IDs look like {}; the name of an alias is put between percent signs.\n",
                            word, "{3f2504e0-4f89-41d3-9a0c-0305e82c3301}")});
}

std::string Shell::absolute(const std::string& path) const {
    if (path.empty() || path.starts_with('/') || path.starts_with('\\')) return path;
    return services_.directory + (services_.directory.ends_with('/') ? "" : "/") + path;
}

std::expected<Requester*, Shell::Failure> Shell::query() {
    if (query_) return query_.get();
    auto requester = Requester::for_backup(services_.create);
    if (!requester) return std::unexpected(Failure{explain(requester.error())});
    if (auto set = (*requester)->set_context(VSS_CTX_ALL); !set) return std::unexpected(Failure{explain(set.error())});
    query_ = std::move(*requester);
    return query_.get();
}

Shell::Status Shell::help(const Words& arguments) {
    if (arguments.empty()) {
        show(help_overview());
        return {};
    }
    std::string command;
    for (const auto& word : arguments) command += (command.empty() ? "" : " ") + lower(word);
    auto text = help_of(command);
    if (text.empty()) text = help_of(lower(arguments.front()));
    if (text.empty()) text = help_overview();
    show(text);
    return {};
}

Shell::Status Shell::exit(const Words& arguments) {
    return arguments.empty() ? Status{} : help_failure("exit");
}

Shell::Status Shell::reset(const Words& arguments) {
    if (!arguments.empty()) return help_failure("reset");
    note_open_backup();
    backup_.reset();
    query_.reset();
    restore_.reset();
    held_.clear();
    volumes_.clear();
    volume_names_.clear();
    loaded_.reset();
    variables_.clear_aliases();
    metadata_file_.clear();
    context_ = VSS_CTX_BACKUP;
    options_ = 0;
    recovery_shadows_ = 0;
    imports_ = 0;
    verbose_ = in_backup_ = created_ = in_restore_ = false;
    return {};
}

Shell::Status Shell::exec(const Words& arguments) {
    if (arguments.size() != 1 || arguments.front().empty()) return help_failure("exec");
    const auto status = services_.run_program(arguments.front(), variables_.child_environment());
    if (!status) {
        return std::unexpected(Failure{fmt::format("The last operation failed.\n\t- {}\n", status.error()), true});
    }
    if (*status != 0) {
        return std::unexpected(Failure{
            fmt::format("The last operation failed.\n\t- {} ended with exit code {}.\n", arguments.front(), *status),
            true});
    }
    return {};
}

}  // namespace umbra::cli::diskshadow

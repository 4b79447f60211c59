// What the commands of `umbra` share: where they write, how they ask, and how they join the grammar. Commands run
// without a process of their own in tests.
#pragma once

#include <functional>
#include <iosfwd>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace CLI {
class App;
}

namespace umbra::cli {

/// Where a command talks to its caller.
struct Console {
    std::ostream& out;
    std::ostream& err;
    bool interactive = false;  ///< a person can answer: standard input and standard error are a terminal
    bool progress = false;     ///< standard error is a terminal: progress bars make sense
    /// Shows the question and returns the line that was typed; empty at end of input.
    std::function<std::string(const std::string& question)> ask;
    std::function<std::string(const char* name)> environment;  ///< value of a variable, empty when unset
};

struct Context {
    explicit Context(Console& c) : console(c) {}
    Console& console;
    bool json = false;          ///< --json: one JSON document on standard output
    bool yes = false;           ///< --yes: destroy without asking
    std::string array_address;  ///< --array, else UMBRA_ARRAY
    std::string host_address;   ///< --host, else UMBRA_HOST
    /// What the parsed subcommand does; set by its CLI11 callback, run after parsing. The value is the exit status.
    std::function<base::Result<int>()> action;
    std::vector<std::shared_ptr<void>> keep;  ///< what the callbacks refer to; lives as long as the context
};

/// True when --yes was given or a person answers "yes" to `what` ("delete LUN db and its data"). Else it has said why
/// nothing is done, and the command returns kExitNotConfirmed.
bool confirm(Context& context, const std::string& what);

/// Adds subcommands; the callbacks of these set context.action. `context` outlives the parser.
using CommandSet = void (*)(CLI::App& app, Context& context);
void add_array_commands(CLI::App& app, Context& context);
/// "array init", which needs the store; after add_array_commands.
void add_array_init(CLI::App& app, Context& context);

/// Parses `arguments` (without the program's name), runs the command, prints an error as "umbra: code: message" and
/// returns the exit status.
int run_umbra(const std::vector<std::string>& arguments, Console& console, const std::vector<CommandSet>& sets);

}  // namespace umbra::cli

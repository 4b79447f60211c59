#include <CLI/CLI.hpp>
#include <ostream>

#include "cli/command.h"
#include "cli/exit_code.h"

namespace umbra::cli {

bool confirm(Context& context, const std::string& what) {
    if (context.yes) return true;
    if (!context.console.interactive) {
        context.console.err << "umbra: this would " << what << ": not done without --yes\n";
        return false;
    }
    if (context.console.ask("This will " + what + ". Type yes to go on: ") == "yes") return true;
    context.console.err << "umbra: nothing was done\n";
    return false;
}

int run_umbra(const std::vector<std::string>& arguments, Console& console, const std::vector<CommandSet>& sets) {
    Context context(console);
    CLI::App app("Administers Umbra arrays and hosts.", "umbra");
    app.require_subcommand(1);
    app.fallthrough();
    app.add_flag("--json", context.json, "Print one JSON document");
    app.add_flag("--yes", context.yes, "Destroy data without asking");
    app.add_option("--array", context.array_address, "The array's management socket (default: $UMBRA_ARRAY)");
    app.add_option("--host", context.host_address, "The host daemon's socket (default: $UMBRA_HOST)");
    for (const CommandSet set : sets) set(app, context);

    try {
        app.parse(std::vector<std::string>(arguments.rbegin(), arguments.rend()));
    } catch (const CLI::ParseError& error) {
        const int status = app.exit(error, console.out, console.err);
        return status == 0 ? kExitOk : kExitUsage;
    }
    if (context.array_address.empty()) context.array_address = console.environment("UMBRA_ARRAY");
    if (context.host_address.empty()) context.host_address = console.environment("UMBRA_HOST");
    if (!context.action) {
        console.err << app.help();
        return kExitUsage;
    }
    const base::Result<int> status = context.action();
    if (status) return *status;
    console.err << "umbra: " << status.error().text() << "\n";
    return exit_code(status.error().code);
}

}  // namespace umbra::cli

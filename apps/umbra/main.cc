// umbra: the commands of every part, in one grammar.
#include <sys/ioctl.h>
#include <unistd.h>

#include <cstdlib>
#include <iostream>
#include <string>
#include <vector>

#include "cli/command.h"
#ifdef UMBRA_HAVE_HOST_COMMANDS
#include "cli/host_commands.h"
#endif

int main(int argc, char** argv) {
    using namespace umbra::cli;
    Console console{std::cout, std::cerr, false, false, {}, {}};
    console.progress = isatty(STDERR_FILENO) == 1;
    console.interactive = console.progress && isatty(STDIN_FILENO) == 1;
    console.ask = [](const std::string& question) {
        std::cerr << question << std::flush;
        std::string line;
        std::getline(std::cin, line);
        return line;
    };
    console.environment = [](const char* name) {
        const char* value = std::getenv(name);
        return std::string(value == nullptr ? "" : value);
    };
    const std::vector<CommandSet> sets{
        add_array_commands,
#ifdef UMBRA_HAVE_ARRAY_INIT
        add_array_init,
#endif
#ifdef UMBRA_HAVE_HOST_COMMANDS
        add_host_commands,
        add_shadow_commands,
#endif
    };
    return run_umbra(std::vector<std::string>(argv + 1, argv + argc), console, sets);
}

// umbra-freezer: the watchdog that freezes and thaws file systems for umbra-hostd. Not meant to be started by hand.
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "host/freezer.h"

int main(int argc, char** argv) {
    umbra::host::FreezerOptions options;
    umbra::host::FreezeTarget next;
    for (int i = 1; i < argc; ++i) {
        const std::string_view arg = argv[i];
        if (i + 1 >= argc) {
            options.socket = -1;
            break;
        }
        const char* value = argv[++i];
        if (arg == "--socket") {
            options.socket = std::atoi(value);
        } else if (arg == "--state") {
            options.state_file = value;
        } else if (arg == "--abort-grace-ms") {
            options.abort_grace = std::chrono::milliseconds(std::atoll(value));
        } else if (arg == "--abort") {
            next.abort_path = value;
        } else if (arg == "--device") {
            next.device = std::strtoull(value, nullptr, 10);
        } else if (arg == "--mount" || arg == "--raw" || arg == "--claim") {
            next.path = value;
            next.raw = arg != "--mount";
            next.claim = arg == "--claim";
            options.targets.push_back(next);
            next = {};
        } else {
            options.socket = -1;
            break;
        }
    }
    if (options.socket < 0 || options.state_file.empty()) {
        std::fputs(
            "usage: umbra-freezer --socket N --state FILE [--abort-grace-ms MS] {[--abort FILE] [--device NUMBER] "
            "--mount "
            "DIR | --raw DEVICE | --claim DEVICE}…\n",
            stderr);
        return 2;
    }
    return umbra::host::run_freezer(options);
}

// simrun: the array's store under simulation, seed by seed.
#include <fmt/core.h>

#include <charconv>
#include <cstring>
#include <string>
#include <string_view>
#include <thread>

#include "simulation/factories.h"
#include "simulation/harness.h"

namespace {

constexpr std::string_view kUsage =
    "simrun --seed N [-v]            run one seed in this process; -v prints its trace to stderr\n"
    "simrun --seeds FIRST COUNT      run many, print each failing seed and its cause\n"
    "  --jobs N                      seeds at a time (default: processors)\n"
    "  --store NAME                  what is tested (default: {})\n"
    "  --faults none|within|beyond   instead of what each seed chooses\n"
    "  --power-cuts N                instead of what each seed chooses\n"
    "  --operations N                per run between restarts, instead of what each seed chooses\n"
    "  --marks                       print coverage marks at the end\n";

bool parse(const char* text, uint64_t* value) {
    const char* end = text + std::strlen(text);
    const auto [stop, error] = std::from_chars(text, end, *value);
    return error == std::errc() && stop == end && text != end;
}

int usage(const std::string& problem) {
    fmt::print(stderr, "simrun: {}\n", problem);
    fmt::print(stderr, fmt::runtime(kUsage), umbra::simulation::factory_names());
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    using namespace umbra::simulation;
    Options options;
    bool many = false;
    bool one = false;
    bool marks = false;
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t jobs = std::max(1u, std::thread::hardware_concurrency());
    std::string store;
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        const auto number = [&](uint64_t* value) { return i + 1 < argc && parse(argv[++i], value); };
        if (argument == "--help" || argument == "-h") {
            fmt::print(fmt::runtime(kUsage), factory_names());
            return 0;
        }
        if (argument == "-v") {
            options.verbose = true;
        } else if (argument == "--marks") {
            marks = true;
        } else if (argument == "--seed") {
            if (!number(&options.seed)) return usage("--seed needs a number");
            one = true;
        } else if (argument == "--seeds") {
            if (!number(&first) || !number(&count)) return usage("--seeds needs the first seed and a count");
            many = true;
        } else if (argument == "--jobs") {
            if (!number(&jobs) || jobs == 0 || jobs > 256) return usage("--jobs needs a number from 1 to 256");
        } else if (argument == "--operations") {
            if (!number(&options.operations)) return usage("--operations needs a number");
        } else if (argument == "--power-cuts") {
            uint64_t cuts = 0;
            if (!number(&cuts) || cuts > 100) return usage("--power-cuts needs a number up to 100");
            options.power_cuts = static_cast<unsigned>(cuts);
        } else if (argument == "--store" && i + 1 < argc) {
            store = argv[++i];
        } else if (argument == "--faults" && i + 1 < argc) {
            const std::string_view mode = argv[++i];
            if (mode == "none") {
                options.faults = FaultMode::kNone;
            } else if (mode == "within") {
                options.faults = FaultMode::kWithin;
            } else if (mode == "beyond") {
                options.faults = FaultMode::kBeyond;
            } else {
                return usage("--faults is one of none, within, beyond");
            }
        } else {
            return usage(fmt::format("unknown argument {}", argument));
        }
    }
    if (one == many) return usage("give --seed or --seeds");
    const auto factory = find_factory(store);
    if (!factory) return usage(fmt::format("no store is called {}", store));

    if (one) {
        const Outcome outcome = run_seed(factory(), options, [&](const std::string& cause) {
            fmt::print("seed {} failed: {}\nseeds: 0 passed, 1 failed\n", options.seed, cause);
            std::fflush(nullptr);
            std::_Exit(1);
        });
        if (marks) {
            for (const auto& [name, times] : outcome.marks) fmt::print("{:40} {}\n", name, times);
        }
        fmt::print("seed {}: {} operations, trace {:016x}\nseeds: 1 passed, 0 failed\n", options.seed,
                   outcome.operations, outcome.trace_hash);
        std::fflush(nullptr);
        std::_Exit(0);  // coroutines that the end of a run cut off are not worth freeing
    }
    const SeedsResult result = run_seeds(factory, first, count, static_cast<unsigned>(jobs), options, stdout);
    if (marks) {
        for (const auto& [name, times] : result.marks) fmt::print("{:40} {}\n", name, times);
    }
    fmt::print("seeds: {} passed, {} failed\n", result.passed, result.failed);
    return result.failed == 0 && result.passed == count ? 0 : 1;
}

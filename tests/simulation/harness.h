// One seed: an array under simulation, several clients, faults and power cuts, and an oracle that knows what is legal.
#pragma once

#include <cstdint>
#include <cstdio>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/block_device.h"
#include "env/environment.h"
#include "lun/backend.h"
#include "sim/drive.h"
#include "sim/trace.h"

namespace umbra::simulation {

using Drives = std::vector<env::BlockDevice*>;

/// The store under test. `drives` outlive what is made of them. After a power cut every call must end (with an error),
/// close() included, and destroying the backend after close() must leave nothing running.
struct Factory {
    /// Makes an empty array on drives that hold anything.
    std::function<env::Task<base::Result<void>>(env::Environment, Drives)> format;
    /// Opens it, recovering from a crash. Drives that are gone are passed too: their status() says so.
    std::function<env::Task<base::Result<std::unique_ptr<lun::Backend>>>(env::Environment, Drives, lun::EventSink)>
        open;
    /// The power has gone (the drives have lost it already). For stores that keep their "disk" elsewhere.
    std::function<void()> on_power_cut;
    /// What this store offers, so that the workload asks for no more.
    std::vector<lun::LunType> types = {lun::LunType::kSimple, lun::LunType::kMirror, lun::LunType::kParity};
};

enum class FaultMode : uint8_t {
    kNone,    ///< power cuts only
    kWithin,  ///< one drive at a time is bad: redundant volumes must not notice
    kBeyond,  ///< several are: errors are legal, wrong bytes are not
};

struct Options {
    uint64_t seed = 1;
    bool verbose = false;
    /// Overrides what the seed chooses.
    std::optional<FaultMode> faults;
    std::optional<unsigned> power_cuts;
    uint64_t operations = 0;  ///< per run between two restarts; 0: by the seed
};

struct Outcome {
    bool passed = false;
    std::string cause;  ///< of a failure
    uint64_t trace_hash = 0;
    uint64_t operations = 0;
    std::map<std::string, uint64_t> marks;
};

/// Runs one seed in this process. A violation ends it at once: `fail` is called with the cause and does not return.
Outcome run_seed(const Factory& factory, const Options& options, const std::function<void(const std::string&)>& fail);

/// Runs one seed in a process of its own: CHECK failures, signals and hangs become its cause.
Outcome run_seed_isolated(const std::function<Factory()>& factory, const Options& options, unsigned timeout_s = 120);

struct SeedsResult {
    uint64_t passed = 0;
    uint64_t failed = 0;
    std::map<std::string, uint64_t> marks;
};
/// Seeds first … first + count - 1, `jobs` at a time; one in 20 runs twice and must repeat itself. Prints each failing
/// seed and its cause to `out`.
SeedsResult run_seeds(const std::function<Factory()>& factory, uint64_t first, uint64_t count, unsigned jobs,
                      const Options& options, std::FILE* out);

}  // namespace umbra::simulation

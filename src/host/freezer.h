// Freezing file systems with a watchdog in a process of its own. FIFREEZE has no timeout and outlives whoever called
// it: so a process that does nothing else, holds everything it needs, and is locked in memory, thaws when its time is
// up, when its parent is gone, or when it is told to. See docs/decisions/0051.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/guid.h"
#include "base/result.h"
#include "host/host.h"

namespace umbra::host {

struct FreezeTarget {
    std::string path;        ///< mount point, or block device when `raw`
    bool raw = false;        ///< nothing mounted: written back at the freeze, not held
    std::string abort_path;  ///< "/sys/fs/fuse/connections/N/abort" of the initiator below; empty when there is none
    uint64_t device = 0;     ///< dev_t that must be behind `path`; 0: not looked at
    bool claim = false;      ///< raw: nobody can mount it until the watchdog ends; an error when somebody has
};

struct FreezerOptions {
    int socket = -1;                                 ///< SOCK_SEQPACKET to the parent
    std::string state_file;                          ///< names the targets while any may be frozen; not on one of them
    std::chrono::milliseconds abort_grace{120'000};  ///< a thaw that hangs longer aborts the FUSE connection below it
    std::vector<FreezeTarget> targets;
};
/// The watchdog itself; returns the process's exit status.
int run_freezer(const FreezerOptions& options);

/// The parent's side. Methods block; freeze() and thaw() may run at the same time.
class FreezeWatch {
public:
    /// Starts `program` (umbra-freezer), waits until it holds everything, and writes dirty data back.
    static base::Result<std::unique_ptr<FreezeWatch>> start(const std::string& program, const std::string& state_dir,
                                                            const base::Guid& set, std::vector<FreezeTarget> targets,
                                                            std::chrono::milliseconds abort_grace);
    /// Thaws if need be and ends the process.
    ~FreezeWatch();
    base::Result<void> freeze(const FreezeLimits& limits);
    bool is_frozen() const;
    base::Result<void> thaw();
    pid_t pid() const;

private:
    struct State;
    explicit FreezeWatch(std::shared_ptr<State> state) : state_(std::move(state)) {}
    static void listen(std::shared_ptr<State> state);
    static void take_over(const std::shared_ptr<State>& state);
    std::shared_ptr<State> state_;
};

/// Thaws what the state files of an earlier run name; waits for watchdogs that are still at it. Paths that were frozen.
base::Result<std::vector<std::string>> thaw_leftovers(const std::string& state_dir);

}  // namespace umbra::host

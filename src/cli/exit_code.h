// What the exit status of our tools means. Listed for people in docs/operating/exit-codes.md.
#pragma once

#include "base/result.h"

namespace umbra::cli {

enum ExitCode : int {
    kExitOk = 0,
    kExitFailed = 1,       ///< refused in this state, or failed
    kExitUsage = 2,        ///< the command line is wrong
    kExitNotFound = 3,     ///< a named object does not exist
    kExitBusy = 4,         ///< somebody holds it: later it may work
    kExitUnreachable = 5,  ///< the daemon does not answer
    kExitPermission = 6,
    kExitNotConfirmed = 7,  ///< it destroys data, and neither --yes nor an answer at a terminal was given
    kExitNoSpace = 8,       ///< not enough space or drives
    kExitDamage = 9,        ///< data is unreadable, a drive or LUN has failed, or bytes do not decode
    kExitCancelled = 10,
    kExitInternal = 70,
};

int exit_code(base::Code code);

}  // namespace umbra::cli

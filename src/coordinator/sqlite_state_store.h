// The state in one SQLite file (docs/format/host-state.md).
#pragma once

#include <memory>
#include <string>

#include "coordinator/state_store.h"

namespace umbra::coordinator {

/// Creates the file when it is missing; its directory must exist. kVersion: written by a newer build. kBusy: another
/// process has it open. Every apply() is synchronised to the disk.
base::Result<std::unique_ptr<StateStore>> open_sqlite_state_store(std::string path);

}  // namespace umbra::coordinator

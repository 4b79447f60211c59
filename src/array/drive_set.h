// The array's drives, opened: the one place where the array meets the store that keeps its volumes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "array/config.h"
#include "base/guid.h"
#include "env/environment.h"
#include "env/file_device.h"
#include "lun/backend.h"

namespace umbra::array {

struct OpenedArray {
    std::unique_ptr<lun::Backend> backend;
    std::vector<std::string> missing;  ///< drives that were named and are not there
};

/// Opens the array from whichever of its drives are there. `degraded`: also without a majority of them, on an
/// administrator's word. `env` and `disks` outlive the backend. Errors: kBusy (another daemon has a drive), those of
/// lun::open_array().
env::Task<base::Result<OpenedArray>> open_backend(env::Environment& env, env::DiskIo& disks, Config config,
                                                  bool degraded, lun::EventSink events);

struct FormattedDrive {
    std::string name;
    std::string path;
    uint64_t size_bytes = 0;
    std::string held;  ///< what it held before; empty: nothing
};
struct FormattedArray {
    base::Guid id;
    std::vector<FormattedDrive> drives;
};

struct FormatOptions {
    /// Also of drives that hold something.
    bool force = false;
    /// Asked, when a drive holds something, with all drives locked and nothing written. False: nothing is.
    std::function<bool(const std::vector<FormattedDrive>&)> confirm;
    ContentLimits limits;
};

/// Makes a new array of all configured drives. kBadState: a drive holds something and `force` is not given; kCancelled:
/// it was not confirmed. Nothing has been written in either case.
env::Task<base::Result<FormattedArray>> format_drives(env::Environment& env, env::DiskIo& disks, Config config,
                                                      FormatOptions options);

}  // namespace umbra::array

// What a drive says of itself, for whoever is about to overwrite it.
#pragma once

#include <cstddef>
#include <string>

#include "base/guid.h"
#include "base/result.h"
#include "env/block_device.h"
#include "env/task.h"

namespace umbra::lun {

struct DriveLabel {
    base::Guid array;
    std::string name;  ///< of this drive
    size_t drives = 0;
};
/// kNotFound: the drive is of no array; kCorrupt, kVersion: it has a label of ours that cannot be used.
env::Task<base::Result<DriveLabel>> read_drive_label(env::BlockDevice& device);

}  // namespace umbra::lun

// Partition tables as identities and as carriers of LUN flags (libfdisk).
#pragma once

#include <string>

#include "base/result.h"
#include "host/host.h"

namespace umbra::host {

base::Result<DiskSignature> read_disk_signature(const std::string& device);
/// Does not look at other disks. kUnsupported: another kind of table.
base::Result<void> write_disk_signature(const std::string& device, const DiskSignature& signature);
base::Result<LunFlags> read_disk_flags(const std::string& device);
/// Both copies of the GPT, then flushed to the device.
base::Result<LunFlags> write_disk_flags(const std::string& device, uint32_t flags);

}  // namespace umbra::host

// One iSCSI LUN as one file: libiscsi below, FUSE above, one thread, everything asynchronous. A loop device over the
// file is then an ordinary disk. Runs in a process of its own (umbra-initiator); see docs/decisions/0050.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "host/iscsi_session.h"

namespace umbra::host {

struct LunFileOptions {
    IscsiPath path;
    std::string initiator;   ///< IQN of this host
    std::string file;        ///< existing regular file that the LUN is mounted over
    std::string expect_key;  ///< LunIdentity::key(); another LUN there is refused
    bool read_only = false;
    int absent_patience_ms = 60'000;  ///< the array answers without this LUN: then every request fails
    int ready_fd = -1;  ///< gets one line when the file is mounted ("ready") or could not be ("error code text")
};

/// Serves until the file is unmounted, then logs out. The process ignores SIGTERM meanwhile: a mounted file system
/// stands on it. Extended attributes of the file (all text): user.umbra.naa, .key, .serial, .url, .initiator, .pid,
/// .read_only, .inquiry, .vpd83 (hex), .size, .block_bytes, .stats. They are answered at once, also while the array is
/// away; .stats says "connected=0" then, and "silent_ms=" is how long open requests have had no answer.
base::Result<void> serve_lun_file(const LunFileOptions& options);

}  // namespace umbra::host

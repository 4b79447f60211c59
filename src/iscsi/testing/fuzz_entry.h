// What a hostile peer may send, whole: entry points of the fuzzers and of the test that runs them on a fixed corpus.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umbra::iscsi::testing {

/// Bytes on a connection of a running target, after a login when the first byte is odd. The target must neither crash
/// nor keep anything of the connection once it is closed, and must still serve another initiator.
void fuzz_connection(const uint8_t* data, size_t size);
/// CDBs with their data against a device server.
void fuzz_commands(const uint8_t* data, size_t size);

}  // namespace umbra::iscsi::testing

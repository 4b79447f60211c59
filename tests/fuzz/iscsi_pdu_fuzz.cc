// libFuzzer: bytes on a connection of a running iSCSI target.
#include "iscsi/testing/fuzz_entry.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    umbra::iscsi::testing::fuzz_connection(data, size);
    return 0;
}

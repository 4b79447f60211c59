// libFuzzer: CDBs and their data against the SCSI device server.
#include "iscsi/testing/fuzz_entry.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    umbra::iscsi::testing::fuzz_commands(data, size);
    return 0;
}

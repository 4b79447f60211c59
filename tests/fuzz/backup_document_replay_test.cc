// The seeds of the fuzzer, in every build: accepted or refused as their names say.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>

#include "coordinator/document.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size);

namespace umbra::coordinator {
namespace {

TEST(BackupDocument, SeedsAreAcceptedOrRefusedAsNamed) {
    size_t good = 0;
    size_t bad = 0;
    for (const auto& entry : std::filesystem::directory_iterator(UMBRA_CORPUS)) {
        const std::string name = entry.path().filename();
        SCOPED_TRACE(name);
        std::ifstream in(entry.path(), std::ios::binary);
        const std::string text((std::istreambuf_iterator<char>(in)), std::istreambuf_iterator<char>());
        const bool accepted = parse_document(text).has_value();
        EXPECT_EQ(accepted, name.starts_with("good"));
        ++(accepted ? good : bad);
        LLVMFuzzerTestOneInput(reinterpret_cast<const uint8_t*>(text.data()), text.size());
    }
    EXPECT_GE(good, 4u);
    EXPECT_GE(bad, 10u);
}

}  // namespace
}  // namespace umbra::coordinator

// Metadata files come from other hosts. Run with -detect_leaks=0: libgcab loses its unpacker's state when data is
// damaged.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "cli/diskshadow_cab.h"
#include "cli/diskshadow_text.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace umbra::cli::diskshadow;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    if (const auto metadata = decode_cab(bytes)) {
        const auto again = encode_cab(*metadata);
        UMBRA_CHECK(again.has_value());
        UMBRA_CHECK(decode_cab(*again).value() == *metadata);
    }
    if (const auto lines = split_lines(bytes)) {
        for (const auto& line : *lines) {
            (void)expand(line, [](std::string_view) { return "value"; });
            (void)split_words(line);
        }
    }
    return 0;
}

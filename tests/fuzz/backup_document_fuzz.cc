// Backup Components Documents come from other hosts, and from whoever can write a file. What is accepted must survive
// its own text unchanged: requesters pass on what SaveAsXML made of it.
#include <cstddef>
#include <cstdint>
#include <string_view>

#include "base/check.h"
#include "coordinator/document.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
    using namespace umbra::coordinator;
    const std::string_view bytes(reinterpret_cast<const char*>(data), size);
    const auto document = parse_document(bytes);
    if (!document) return 0;
    const std::string text = write_document(*document);
    const auto again = parse_document(text);
    UMBRA_CHECK(again.has_value());
    UMBRA_CHECK(*again == *document);
    UMBRA_CHECK(write_document(*again) == text);
    if (document->set) {
        for (const SnapshotRecord& snapshot : document->set->snapshots) {
            UMBRA_CHECK(document->set->find(snapshot.id) != nullptr);
            UMBRA_CHECK(snapshot.targets.size() == snapshot.sources.size());
        }
    }
    return 0;
}

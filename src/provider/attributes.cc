#include "provider/attributes.h"

namespace umbra::provider {

namespace {

constexpr size_t kSnapshotsPerAttribute = 27;  // (36 + 1) * 27 < 1 KiB
constexpr size_t kMaxLunName = 64;

}  // namespace

void add_snapshot_attributes(const std::vector<std::string>& snapshots,
                             std::map<std::string, std::string>& attributes) {
    for (size_t i = 0; i < snapshots.size(); ++i) {
        size_t part = i / kSnapshotsPerAttribute;
        std::string key = kAttrSnapshot;
        if (part > 0) key += "." + std::to_string(part + 1);
        std::string& value = attributes[key];
        value += (value.empty() ? "" : ",") + snapshots[i];
    }
}

std::string shadow_lun_name(const std::string& source, const std::string& set, size_t index) {
    std::string compact;
    for (char c : set) {
        if (c != '-') compact += c;
    }
    std::string tail = "-shadow-" + compact.substr(0, 16) + "-" + std::to_string(index);
    // A snapshot's name holds an '@', which a LUN's must not.
    std::string head = source.substr(0, source.find('@'));
    return head.substr(0, kMaxLunName - tail.size()) + tail;
}

}  // namespace umbra::provider

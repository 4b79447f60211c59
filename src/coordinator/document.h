// The Backup Components Document: what passes from a creation to an import or a resynchronisation, on any host.
// docs/format/backup-components-document.md. It is input from outside: the parser refuses what it does not know.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/guid.h"
#include "base/result.h"
#include "coordinator/codes.h"
#include "coordinator/state_store.h"

namespace umbra::coordinator {

inline constexpr size_t kMaximumDocumentBytes = 16u << 20;
inline constexpr size_t kMaximumLunsPerSnapshot = 256;
inline constexpr size_t kMaximumIdentifiersPerLun = 64;
inline constexpr size_t kMaximumExtentsPerSnapshot = 4096;
inline constexpr size_t kMaximumComponents = 4096;

struct DocumentComponent {
    base::Guid writer;
    base::Guid instance;
    uint32_t type = 0;
    std::string logical_path;
    std::string name;
    bool backup_succeeded = false;
    bool operator==(const DocumentComponent&) const = default;
};

/// The part of a SetRecord that travels.
struct DocumentSet {
    base::Guid id;
    uint32_t context = 0;
    uint32_t snapshots_created = 0;
    std::vector<SnapshotRecord> snapshots;
    bool operator==(const DocumentSet&) const = default;
    const SnapshotRecord* find(const base::Guid& snapshot) const;
};

struct Document {
    uint32_t backup_type = 0;
    bool select_components = false;
    bool bootable_system_state = false;
    bool partial_file_support = false;
    std::vector<DocumentComponent> components;
    std::optional<DocumentSet> set;
    bool operator==(const Document&) const = default;
};

std::string write_document(const Document& document);
/// kCorrupt: not well-formed, or anything that the format does not know, twice, missing or out of its limits.
/// kVersion: a later version.
base::Result<Document> parse_document(std::string_view xml);

}  // namespace umbra::coordinator

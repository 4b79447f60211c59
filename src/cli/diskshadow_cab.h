// The metadata file of diskshadow: a cabinet that carries a shadow copy set to another host.
// docs/format/diskshadow-cab.md.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/guid.h"
#include "base/result.h"
#include "cli/diskshadow_variables.h"

namespace umbra::cli::diskshadow {

constexpr size_t kMaxCabBytes = 64U << 20U;
constexpr size_t kMaxMemberBytes = 16U << 20U;
constexpr size_t kMaxMembers = 256;
constexpr size_t kMaxAliases = 1024;
constexpr size_t kMaxShadows = 64;

/// One shadow copy as CREATE recorded it: for listings after import, never trusted to name a LUN.
struct RecordedShadow {
    base::Guid id;
    std::string volume;  ///< as the user named it
    bool operator==(const RecordedShadow&) const = default;
};

struct Metadata {
    base::Guid set;
    std::string machine;                       ///< where it was created
    std::vector<RecordedShadow> shadows;       ///< in the order of ADD VOLUME
    std::string document;                      ///< IVssBackupComponents::SaveAsXML, UTF-8
    std::vector<std::string> writer_metadata;  ///< IVssExamineWriterMetadata::SaveAsXML, UTF-8
    std::vector<Alias> aliases;
    bool operator==(const Metadata&) const = default;
};

/// The names of the members, in their order in the cabinet: Manifest.xml, BCDocument.xml, WM0.xml …, Dis<hex>.tmp.
std::vector<std::string> member_names(const Metadata& metadata);

base::Result<std::string> encode_cab(const Metadata& metadata);
/// Decodes in memory only. kCorrupt: not a cabinet of ours or damaged; kVersion: of a version that is not known;
/// kInvalidArgument: beyond the limits above.
base::Result<Metadata> decode_cab(std::string_view cab);

/// Where the file can be created: its directory exists and is writable, and its name is not a directory's.
base::Result<> check_writable(const std::string& path);
/// Replaces `path` durably and at once: a crash leaves the old file or the new one.
base::Result<> save_cab(const std::string& path, const Metadata& metadata);
base::Result<Metadata> load_cab(const std::string& path);

}  // namespace umbra::cli::diskshadow

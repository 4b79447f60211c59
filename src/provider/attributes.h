// What the provider writes into the array's record of a shadow copy. See docs/format/shadow-copy-attributes.md.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace umbra::provider {

inline constexpr char kAttrPrefix[] = "vss.";
inline constexpr char kAttrSet[] = "vss.set";                      ///< UUID of the shadow copy set
inline constexpr char kAttrSnapshot[] = "vss.snapshot";            ///< UUIDs of its shadow copies; ".2" … continue it
inline constexpr char kAttrState[] = "vss.state";                  ///< "creating" or "created"
inline constexpr char kAttrContext[] = "vss.context";              ///< decimal
inline constexpr char kAttrTransportable[] = "vss.transportable";  ///< "yes" or "no"
inline constexpr char kAttrCreator[] = "vss.creator";              ///< initiator name of the host that made it
inline constexpr char kAttrCreatorMachine[] = "vss.creator.machine";
inline constexpr char kAttrSource[] = "vss.source";      ///< NAA identifier of the original
inline constexpr char kAttrImporter[] = "vss.importer";  ///< initiator name of the host that imported it
inline constexpr char kAttrImporterMachine[] = "vss.importer.machine";
inline constexpr char kAttrBrokenFrom[] = "vss.broken-from";  ///< after a break: the set that it was part of
inline constexpr char kAttrBrokenBy[] = "vss.broken-by";      ///< initiator name of the host that broke it off

inline constexpr char kStateCreating[] = "creating";
inline constexpr char kStateCreated[] = "created";

/// The shadow copies that one LUN carries, 27 to an attribute of at most 1 KiB.
void add_snapshot_attributes(const std::vector<std::string>& snapshots, std::map<std::string, std::string>& attributes);

/// A LUN name of at most 64 characters, unique by the set: "db-shadow-1f0c…-0".
std::string shadow_lun_name(const std::string& source, const std::string& set, size_t index);

}  // namespace umbra::provider

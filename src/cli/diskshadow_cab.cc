#include "cli/diskshadow_cab.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <charconv>
#include <filesystem>
#include <map>
#include <pugixml.hpp>
#include <set>
#include <sstream>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "cli/diskshadow_cabinet.h"

namespace umbra::cli::diskshadow {

using base::Code;
using base::fail;
using base::Result;

namespace {

constexpr int kVersion = 1;
constexpr std::string_view kManifestName = "Manifest.xml";
constexpr std::string_view kDocumentName = "BCDocument.xml";
constexpr const char* kManifestRoot = "DiskShadowManifest";
constexpr const char* kEnvironmentRoot = "DiskShadowEnvironment";

std::string writer_member_name(size_t index) {
    return fmt::format("WM{}.xml", index);
}

// The digits differ between sets, so that two files that were unpacked side by side do not overwrite each other.
std::string environment_member_name(const base::Guid& set) {
    return fmt::format("Dis{:X}.tmp", base::crc32c(base::as_bytes(set.text())) & 0xFFFFU);
}

std::string xml_text(const pugi::xml_document& document) {
    std::ostringstream out;
    document.save(out, "  ");
    return out.str();
}

std::string environment_xml(const Metadata& metadata) {
    pugi::xml_document document;
    auto root = document.append_child(kEnvironmentRoot);
    root.append_attribute("version") = kVersion;
    for (const auto& alias : metadata.aliases) {
        auto node = root.append_child("Alias");
        node.append_attribute("name") = alias.name.c_str();
        node.append_attribute("value") = alias.value.c_str();
    }
    return xml_text(document);
}

std::string manifest_xml(const Metadata& metadata, const std::vector<CabinetMember>& members) {
    pugi::xml_document document;
    auto root = document.append_child(kManifestRoot);
    root.append_attribute("version") = kVersion;
    root.append_attribute("machine") = metadata.machine.c_str();
    auto set = root.append_child("ShadowCopySet");
    set.append_attribute("id") = metadata.set.text().c_str();
    for (const auto& shadow : metadata.shadows) {
        auto node = set.append_child("ShadowCopy");
        node.append_attribute("id") = shadow.id.text().c_str();
        node.append_attribute("volume") = shadow.volume.c_str();
    }
    for (const auto& member : members) {
        auto node = root.append_child("Member");
        node.append_attribute("name") = member.name.c_str();
        node.append_attribute("bytes") = static_cast<unsigned long long>(member.content.size());
        node.append_attribute("crc32c") = fmt::format("{:08x}", base::crc32c(base::as_bytes(member.content))).c_str();
    }
    return xml_text(document);
}

Result<pugi::xml_node> parse_root(pugi::xml_document& document, const std::string& content, const std::string& member,
                                  const char* root_name) {
    // No document type declarations and no entities of its own: pugixml expands none.
    const auto parsed = document.load_buffer(content.data(), content.size(), pugi::parse_default, pugi::encoding_utf8);
    if (!parsed)
        return fail(Code::kCorrupt, fmt::format("{} is not well-formed XML: {}", member, parsed.description()));
    const auto root = document.document_element();
    if (std::string_view(root.name()) != root_name) {
        return fail(Code::kCorrupt,
                    fmt::format("{} does not start with <{}>: not written by this diskshadow", member, root_name));
    }
    const std::string_view version = root.attribute("version").value();
    if (version != std::to_string(kVersion)) {
        return fail(Code::kVersion, fmt::format("{} is of version \"{}\"; this diskshadow reads version {}", member,
                                                version, kVersion));
    }
    return root;
}

Result<base::Guid> parse_id(const pugi::xml_node& node) {
    auto id = base::Guid::parse(node.attribute("id").value());
    if (!id || id->is_null())
        return fail(Code::kCorrupt, fmt::format("<{}> in the manifest has no valid id", node.name()));
    return *id;
}

// Checks every member against the manifest: nothing more, nothing less, nothing changed.
Result<> check_members(const pugi::xml_node& root, const std::map<std::string, const CabinetMember*>& members) {
    size_t listed = 0;
    std::set<std::string> seen;
    for (const auto& node : root.children("Member")) {
        const std::string name = node.attribute("name").value();
        const auto found = members.find(name);
        if (found == members.end()) return fail(Code::kCorrupt, fmt::format("the member \"{}\" is missing", name));
        if (!seen.insert(name).second) return fail(Code::kCorrupt, fmt::format("the manifest lists {} twice", name));
        const std::string& content = found->second->content;
        const auto crc = fmt::format("{:08x}", base::crc32c(base::as_bytes(content)));
        if (std::to_string(content.size()) != node.attribute("bytes").value() ||
            crc != node.attribute("crc32c").value()) {
            return fail(Code::kCorrupt,
                        fmt::format("{} is damaged: size or checksum differ from the manifest's", name));
        }
        ++listed;
    }
    if (listed + 1 != members.size()) return fail(Code::kCorrupt, "it has members that the manifest does not list");
    return {};
}

Result<> read_manifest(const pugi::xml_node& root, Metadata& out) {
    out.machine = root.attribute("machine").value();
    const auto set = root.child("ShadowCopySet");
    UMBRA_ASSIGN(out.set, parse_id(set));
    for (const auto& node : set.children("ShadowCopy")) {
        UMBRA_ASSIGN(const auto id, parse_id(node));
        out.shadows.push_back({id, node.attribute("volume").value()});
        if (out.shadows.size() > kMaxShadows) return fail(Code::kInvalidArgument, "more than 64 shadow copies");
    }
    return {};
}

Result<> read_environment(const std::string& content, const std::string& member, Metadata& out) {
    pugi::xml_document document;
    UMBRA_ASSIGN(const auto root, parse_root(document, content, member, kEnvironmentRoot));
    for (const auto& node : root.children("Alias")) {
        Alias alias{node.attribute("name").value(), node.attribute("value").value()};
        if (!Variables::is_valid_name(alias.name) || alias.value.size() > kMaxLineBytes) {
            return fail(Code::kCorrupt, fmt::format("{} has an alias that is not valid", member));
        }
        out.aliases.push_back(std::move(alias));
        if (out.aliases.size() > kMaxAliases) return fail(Code::kInvalidArgument, "more than 1024 aliases");
    }
    return {};
}

Result<> write_fully(int fd, std::string_view bytes, const std::string& path) {
    while (!bytes.empty()) {
        const ssize_t n = ::write(fd, bytes.data(), bytes.size());
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return base::fail_errno(errno, "cannot write " + path);
        bytes.remove_prefix(static_cast<size_t>(n));
    }
    if (::fsync(fd) != 0) return base::fail_errno(errno, "cannot flush " + path);
    return {};
}

std::string directory_of(const std::string& path) {
    const auto parent = std::filesystem::path(path).parent_path().string();
    return parent.empty() ? "." : parent;
}

Result<> sync_directory(const std::string& directory) {
    const int fd = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return base::fail_errno(errno, "cannot open " + directory);
    const int result = ::fsync(fd);
    const int error = errno;
    ::close(fd);
    if (result != 0 && error != EINVAL) return base::fail_errno(error, "cannot flush " + directory);
    return {};
}

}  // namespace

std::vector<std::string> member_names(const Metadata& metadata) {
    std::vector<std::string> names{std::string(kManifestName), std::string(kDocumentName)};
    for (size_t i = 0; i < metadata.writer_metadata.size(); ++i) names.push_back(writer_member_name(i));
    names.push_back(environment_member_name(metadata.set));
    return names;
}

Result<std::string> encode_cab(const Metadata& metadata) {
    const auto names = member_names(metadata);
    if (names.size() > kMaxMembers) return fail(Code::kInvalidArgument, "more writers than a metadata file can hold");
    std::vector<CabinetMember> members;
    members.push_back({names[1], metadata.document});
    for (size_t i = 0; i < metadata.writer_metadata.size(); ++i) {
        members.push_back({names[i + 2], metadata.writer_metadata[i]});
    }
    members.push_back({names.back(), environment_xml(metadata)});
    members.insert(members.begin(), {names[0], manifest_xml(metadata, members)});
    for (const auto& member : members) {
        if (member.content.size() > kMaxMemberBytes) {
            return fail(Code::kInvalidArgument, fmt::format("{} is larger than 16 MiB", member.name));
        }
    }
    UMBRA_ASSIGN(auto cab, write_cabinet(members));
    if (cab.size() > kMaxCabBytes) return fail(Code::kInvalidArgument, "the metadata file is larger than 64 MiB");
    return cab;
}

Result<Metadata> decode_cab(std::string_view cab) {
    const CabinetLimits limits{kMaxCabBytes, kMaxMembers, kMaxMemberBytes, kMaxCabBytes};
    UMBRA_ASSIGN(const auto all, read_cabinet(cab, limits));
    std::map<std::string, const CabinetMember*> members;
    for (const auto& member : all) {
        if (!members.emplace(member.name, &member).second) {
            return fail(Code::kCorrupt, fmt::format("it has two members \"{}\"", member.name));
        }
    }
    const auto manifest = members.find(std::string(kManifestName));
    if (manifest == members.end())
        return fail(Code::kCorrupt, "it has no Manifest.xml: not a diskshadow metadata file");
    pugi::xml_document document;
    UMBRA_ASSIGN(const auto root, parse_root(document, manifest->second->content, manifest->first, kManifestRoot));
    UMBRA_TRY(check_members(root, members));
    Metadata out;
    UMBRA_TRY(read_manifest(root, out));
    size_t used = 1;
    const auto take = [&](const std::string& name) -> const std::string* {
        const auto found = members.find(name);
        if (found == members.end()) return nullptr;
        ++used;
        return &found->second->content;
    };
    const auto* bcd = take(std::string(kDocumentName));
    if (bcd == nullptr) return fail(Code::kCorrupt, "it has no BCDocument.xml");
    out.document = *bcd;
    while (const auto* writer = take(writer_member_name(out.writer_metadata.size())))
        out.writer_metadata.push_back(*writer);
    const auto environment_name = environment_member_name(out.set);
    const auto* environment = take(environment_name);
    if (environment == nullptr) return fail(Code::kCorrupt, fmt::format("it has no {}", environment_name));
    UMBRA_TRY(read_environment(*environment, environment_name, out));
    if (used != members.size()) return fail(Code::kCorrupt, "it has members that this version does not know");
    return out;
}

Result<> check_writable(const std::string& path) {
    if (path.empty() || path.ends_with('/')) return fail(Code::kInvalidArgument, "No filename was specified.");
    struct stat info{};
    if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
        return fail(Code::kInvalidArgument, "No filename was specified.");
    }
    const auto directory = directory_of(path);
    if (::stat(directory.c_str(), &info) != 0 || !S_ISDIR(info.st_mode)) {
        return fail(Code::kNotFound, fmt::format("The directory {} does not exist.", directory));
    }
    // A trial instead of access(): the superuser passes access() on a read-only file system's files.
    auto probe = fmt::format("{}/.diskshadow-XXXXXX", directory);
    const int fd = ::mkostemp(probe.data(), O_CLOEXEC);
    if (fd < 0) {
        return fail(Code::kPermissionDenied, "The metadata file name path specifies a directory that is read-only.");
    }
    ::close(fd);
    ::unlink(probe.c_str());
    return {};
}

Result<> save_cab(const std::string& path, const Metadata& metadata) {
    UMBRA_ASSIGN(const auto cab, encode_cab(metadata));
    const auto directory = directory_of(path);
    auto temporary = fmt::format("{}/.diskshadow-XXXXXX", directory);
    const int fd = ::mkostemp(temporary.data(), O_CLOEXEC);
    if (fd < 0) return base::fail_errno(errno, "cannot create a file in " + directory);
    auto written = write_fully(fd, cab, temporary);
    ::close(fd);
    if (written && ::rename(temporary.c_str(), path.c_str()) != 0)
        written = base::fail_errno(errno, "cannot create " + path);
    if (!written) {
        ::unlink(temporary.c_str());
        return written;
    }
    return sync_directory(directory);
}

Result<Metadata> load_cab(const std::string& path) {
    const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return base::fail_errno(errno, "cannot open " + path);
    struct stat info{};
    std::string cab;
    Result<> read = {};
    if (::fstat(fd, &info) != 0 || !S_ISREG(info.st_mode)) {
        read = fail(Code::kInvalidArgument, path + " is not a regular file");
    } else if (static_cast<uint64_t>(info.st_size) > kMaxCabBytes) {
        read = fail(Code::kInvalidArgument, path + " is larger than 64 MiB");
    }
    while (read) {
        char chunk[65536];
        const ssize_t n = ::read(fd, chunk, sizeof chunk);
        if (n == 0) break;
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            read = base::fail_errno(errno, "cannot read " + path);
        } else {
            cab.append(chunk, static_cast<size_t>(n));
            if (cab.size() > kMaxCabBytes) read = fail(Code::kInvalidArgument, path + " is larger than 64 MiB");
        }
    }
    ::close(fd);
    if (!read) return std::unexpected(read.error());
    auto decoded = decode_cab(cab);
    if (!decoded) return base::with_context(decoded.error(), path);
    return decoded;
}

}  // namespace umbra::cli::diskshadow

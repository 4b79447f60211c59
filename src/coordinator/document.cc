#include "coordinator/document.h"

#include <fmt/format.h>
#include <pugixml.hpp>

#include <algorithm>
#include <charconv>
#include <limits>
#include <set>
#include <sstream>

namespace umbra::coordinator {

namespace {

using base::Code;
using base::fail;
using base::Guid;
using base::Result;
using pugi::xml_node;

constexpr const char* kNamespace = "urn:umbra:vss:backup-components:1";
constexpr size_t kMaximumText = 4096;
constexpr size_t kMaximumIdentifierBytes = 4096;
constexpr size_t kMaximumPartitionGuids = 256;

/// INQUIRY text may hold any byte; XML may not: everything but printable ASCII is \xHH, and `\` doubled.
std::string escape(std::string_view text) {
    std::string out;
    for (const char c : text) {
        const auto byte = static_cast<unsigned char>(c);
        if (c == '\\') {
            out += "\\\\";
        } else if (byte < 0x20 || byte > 0x7e) {
            out += fmt::format("\\x{:02x}", byte);
        } else {
            out += c;
        }
    }
    return out;
}

int hex_digit(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    return -1;
}

std::optional<std::string> unescape(std::string_view text) {
    std::string out;
    for (size_t i = 0; i < text.size(); ++i) {
        const char c = text[i];
        if (static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e) return std::nullopt;
        if (c != '\\') {
            out += c;
        } else if (i + 1 < text.size() && text[i + 1] == '\\') {
            out += '\\';
            ++i;
        } else if (i + 3 < text.size() && text[i + 1] == 'x' && hex_digit(text[i + 2]) >= 0 &&
                   hex_digit(text[i + 3]) >= 0) {
            out += static_cast<char>(hex_digit(text[i + 2]) * 16 + hex_digit(text[i + 3]));
            i += 3;
        } else {
            return std::nullopt;
        }
    }
    return out;
}

std::optional<std::vector<std::byte>> from_hex(std::string_view text) {
    if (text.size() % 2 != 0 || text.size() / 2 > kMaximumIdentifierBytes) return std::nullopt;
    std::vector<std::byte> out;
    for (size_t i = 0; i < text.size(); i += 2) {
        const int high = hex_digit(text[i]);
        const int low = hex_digit(text[i + 1]);
        if (high < 0 || low < 0) return std::nullopt;
        out.push_back(static_cast<std::byte>(high * 16 + low));
    }
    return out;
}

// --- Writing ---------------------------------------------------------------------------------------------------------

void set_text(xml_node node, const char* name, const std::string& value) {
    node.append_attribute(name) = value.c_str();
}
void set_flag(xml_node node, const char* name, bool value) {
    node.append_attribute(name) = value ? "yes" : "no";
}
void set_number(xml_node node, const char* name, uint64_t value) {
    node.append_attribute(name) = static_cast<unsigned long long>(value);
}
void set_hex(xml_node node, const char* name, uint32_t value) {
    set_text(node, name, fmt::format("0x{:08x}", value));
}

void write_signature(xml_node parent, const host::DiskSignature& signature) {
    xml_node node = parent.append_child("signature");
    switch (signature.kind) {
        case host::TableKind::kNone:
            set_text(node, "kind", "none");
            break;
        case host::TableKind::kMbr:
            set_text(node, "kind", "mbr");
            set_hex(node, "id", signature.mbr_id);
            break;
        case host::TableKind::kGpt:
            set_text(node, "kind", "gpt");
            set_text(node, "guid", signature.gpt_guid.text());
            for (const auto& [number, guid] : signature.partition_guids) {
                xml_node partition = node.append_child("partition");
                set_number(partition, "number", number);
                set_text(partition, "guid", guid.text());
            }
            break;
    }
}

xml_node write_lun(xml_node parent, const LunInformation& lun) {
    xml_node node = parent.append_child("lun");
    set_number(node, "version", lun.version);
    set_number(node, "device-type", lun.device_type);
    set_number(node, "device-type-modifier", lun.device_type_modifier);
    set_flag(node, "command-queueing", lun.command_queueing);
    set_number(node, "bus-type", lun.bus_type);
    if (lun.vendor_id) set_text(node, "vendor", escape(*lun.vendor_id));
    if (lun.product_id) set_text(node, "product", escape(*lun.product_id));
    if (lun.product_revision) set_text(node, "revision", escape(*lun.product_revision));
    if (lun.serial_number) set_text(node, "serial", escape(*lun.serial_number));
    set_text(node, "signature", lun.disk_signature.text());
    set_number(node, "descriptor-version", lun.descriptor_version);
    for (const StorageIdentifier& one : lun.identifiers) {
        xml_node identifier = node.append_child("identifier");
        set_number(identifier, "code-set", one.code_set);
        set_number(identifier, "type", one.type);
        set_text(identifier, "value", base::to_hex(one.id));
    }
    return node;
}

void write_snapshot(xml_node parent, const SnapshotRecord& snapshot) {
    xml_node node = parent.append_child("snapshot");
    set_text(node, "id", snapshot.id.text());
    set_text(node, "provider", snapshot.provider.text());
    set_hex(node, "attributes", snapshot.attributes);
    set_number(node, "created", static_cast<uint64_t>(snapshot.created));
    set_text(node, "original-volume", snapshot.original_volume);
    set_text(node, "originating-machine", snapshot.originating_machine);
    set_number(node, "partition", snapshot.partition);
    set_number(node, "volume-bytes", snapshot.volume_bytes);
    set_flag(node, "layered", snapshot.layered);
    xml_node sources = node.append_child("source-luns");
    for (const SourceLun& source : snapshot.sources) write_signature(write_lun(sources, source.lun), source.signature);
    xml_node targets = node.append_child("target-luns");
    for (const LunInformation& target : snapshot.targets) write_lun(targets, target);
    xml_node extents = node.append_child("extents");
    for (const host::VolumeExtent& extent : snapshot.extents) {
        xml_node one = extents.append_child("extent");
        set_number(one, "lun", extent.lun);
        set_number(one, "volume-offset", extent.volume_offset);
        set_number(one, "lun-offset", extent.lun_offset);
        set_number(one, "length", extent.length);
    }
}

// --- Reading ---------------------------------------------------------------------------------------------------------

/// One element: takes its attributes and children by name, and in the end knows whether something was left over.
class Element {
public:
    explicit Element(xml_node node) : node_(node) {}

    Result<std::string> text(const char* name) {
        UMBRA_ASSIGN(std::optional<std::string> value, optional_text(name));
        if (!value) return fail(Code::kCorrupt, where() + " has no " + name);
        return std::move(*value);
    }
    Result<std::optional<std::string>> optional_text(const char* name) {
        taken_.insert(name);
        const pugi::xml_attribute attribute = node_.attribute(name);
        if (!attribute) return std::optional<std::string>();
        std::string value = attribute.value();
        if (value.size() > kMaximumText) return fail(Code::kCorrupt, where() + ": " + name + " is too long");
        return std::optional(std::move(value));
    }
    Result<std::optional<std::string>> optional_escaped(const char* name) {
        UMBRA_ASSIGN(std::optional<std::string> value, optional_text(name));
        if (!value) return value;
        auto plain = unescape(*value);
        if (!plain) return bad(name, *value);
        return std::optional(std::move(*plain));
    }
    Result<uint64_t> number(const char* name, uint64_t maximum) {
        UMBRA_ASSIGN(const std::string value, text(name));
        uint64_t out = 0;
        const auto [end, error] = std::from_chars(value.data(), value.data() + value.size(), out);
        if (error != std::errc() || end != value.data() + value.size() || out > maximum) return bad(name, value);
        return out;
    }
    Result<uint32_t> number32(const char* name) {
        UMBRA_ASSIGN(const uint64_t value, number(name, std::numeric_limits<uint32_t>::max()));
        return static_cast<uint32_t>(value);
    }
    Result<uint32_t> hex(const char* name) {
        UMBRA_ASSIGN(const std::string value, text(name));
        uint32_t out = 0;
        if (value.size() < 3 || value.size() > 10 || !value.starts_with("0x")) return bad(name, value);
        const auto [end, error] = std::from_chars(value.data() + 2, value.data() + value.size(), out, 16);
        if (error != std::errc() || end != value.data() + value.size()) return bad(name, value);
        return out;
    }
    Result<bool> flag(const char* name) {
        UMBRA_ASSIGN(const std::string value, text(name));
        if (value != "yes" && value != "no") return bad(name, value);
        return value == "yes";
    }
    Result<Guid> guid(const char* name, bool may_be_null) {
        UMBRA_ASSIGN(const std::string value, text(name));
        const auto parsed = Guid::parse(value);
        if (!parsed || (parsed->is_null() && !may_be_null)) return bad(name, value);
        return *parsed;
    }
    /// The only child of that name.
    Result<xml_node> child(const char* name) {
        UMBRA_ASSIGN(const std::vector<xml_node> found, children(name, 1));
        if (found.empty()) return fail(Code::kCorrupt, where() + " has no <" + name + ">");
        return found.front();
    }
    Result<std::vector<xml_node>> children(const char* name, size_t maximum) {
        taken_.insert(std::string("<") + name);
        std::vector<xml_node> found;
        for (xml_node node : node_.children(name)) {
            if (found.size() == maximum) return fail(Code::kCorrupt, where() + " has too many <" + name + ">");
            found.push_back(node);
        }
        return found;
    }
    Result<void> end() {
        std::set<std::string> seen;
        for (const pugi::xml_attribute attribute : node_.attributes()) {
            if (!taken_.contains(attribute.name()))
                return fail(Code::kCorrupt, where() + ": unknown " + attribute.name());
            if (!seen.insert(attribute.name()).second)
                return fail(Code::kCorrupt, where() + ": " + attribute.name() + " twice");
        }
        for (const xml_node node : node_.children()) {
            if (node.type() != pugi::node_element)
                return fail(Code::kCorrupt, where() + " holds text or a declaration");
            if (!taken_.contains(std::string("<") + node.name())) {
                return fail(Code::kCorrupt, where() + ": unknown <" + node.name() + ">");
            }
        }
        return {};
    }

private:
    std::string where() const { return std::string("<") + node_.name() + ">"; }
    std::unexpected<base::Error> bad(const char* name, const std::string& value) const {
        return fail(Code::kCorrupt, where() + ": " + name + " cannot be \"" + value.substr(0, 80) + "\"");
    }
    xml_node node_;
    std::set<std::string> taken_;
};

Result<host::DiskSignature> parse_signature(xml_node node) {
    Element in(node);
    host::DiskSignature out;
    UMBRA_ASSIGN(const std::string kind, in.text("kind"));
    if (kind == "mbr") {
        out.kind = host::TableKind::kMbr;
        UMBRA_ASSIGN(out.mbr_id, in.hex("id"));
    } else if (kind == "gpt") {
        out.kind = host::TableKind::kGpt;
        UMBRA_ASSIGN(out.gpt_guid, in.guid("guid", false));
        UMBRA_ASSIGN(const std::vector<xml_node> partitions, in.children("partition", kMaximumPartitionGuids));
        for (const xml_node partition : partitions) {
            Element one(partition);
            UMBRA_ASSIGN(const uint32_t number, one.number32("number"));
            UMBRA_ASSIGN(const Guid guid, one.guid("guid", true));
            UMBRA_TRY(one.end());
            out.partition_guids.emplace_back(number, guid);
        }
    } else if (kind != "none") {
        return fail(Code::kCorrupt, "a signature of unknown kind " + kind);
    }
    UMBRA_TRY(in.end());
    return out;
}

Result<LunInformation> parse_lun(xml_node node, host::DiskSignature* signature) {
    Element in(node);
    LunInformation out;
    UMBRA_ASSIGN(const uint64_t version, in.number("version", kLunInformationVersion));
    if (version != kLunInformationVersion) return fail(Code::kCorrupt, "<lun> of version 0");
    UMBRA_ASSIGN(const uint64_t type, in.number("device-type", 255));
    UMBRA_ASSIGN(const uint64_t modifier, in.number("device-type-modifier", 255));
    out.device_type = static_cast<uint8_t>(type);
    out.device_type_modifier = static_cast<uint8_t>(modifier);
    UMBRA_ASSIGN(out.command_queueing, in.flag("command-queueing"));
    UMBRA_ASSIGN(out.bus_type, in.number32("bus-type"));
    UMBRA_ASSIGN(out.vendor_id, in.optional_escaped("vendor"));
    UMBRA_ASSIGN(out.product_id, in.optional_escaped("product"));
    UMBRA_ASSIGN(out.product_revision, in.optional_escaped("revision"));
    UMBRA_ASSIGN(out.serial_number, in.optional_escaped("serial"));
    UMBRA_ASSIGN(out.disk_signature, in.guid("signature", true));
    UMBRA_ASSIGN(out.descriptor_version, in.number32("descriptor-version"));
    UMBRA_ASSIGN(const std::vector<xml_node> identifiers, in.children("identifier", kMaximumIdentifiersPerLun));
    for (const xml_node identifier : identifiers) {
        Element one(identifier);
        StorageIdentifier value;
        UMBRA_ASSIGN(const uint64_t code_set, one.number("code-set", 15));
        UMBRA_ASSIGN(const uint64_t kind, one.number("type", 15));
        UMBRA_ASSIGN(const std::string hex, one.text("value"));
        auto bytes = from_hex(hex);
        if (!bytes || bytes->empty()) return fail(Code::kCorrupt, "an <identifier> without a value");
        value.code_set = static_cast<uint32_t>(code_set);
        value.type = static_cast<uint32_t>(kind);
        value.id = std::move(*bytes);
        UMBRA_TRY(one.end());
        out.identifiers.push_back(std::move(value));
    }
    if (signature != nullptr) {
        UMBRA_ASSIGN(const xml_node found, in.child("signature"));
        UMBRA_ASSIGN(*signature, parse_signature(found));
    }
    UMBRA_TRY(in.end());
    if (!out.has_unique_identifier()) return fail(Code::kCorrupt, "a <lun> that no identifier names");
    return out;
}

Result<SnapshotRecord> parse_snapshot(xml_node node) {
    Element in(node);
    SnapshotRecord out;
    UMBRA_ASSIGN(out.id, in.guid("id", false));
    UMBRA_ASSIGN(out.provider, in.guid("provider", false));
    UMBRA_ASSIGN(out.attributes, in.hex("attributes"));
    UMBRA_ASSIGN(const uint64_t created, in.number("created", std::numeric_limits<int64_t>::max()));
    out.created = static_cast<int64_t>(created);
    UMBRA_ASSIGN(out.original_volume, in.text("original-volume"));
    if (!host::parse_volume_name(out.original_volume)) {
        return fail(Code::kCorrupt, "<snapshot>: original-volume is not a volume name");
    }
    UMBRA_ASSIGN(out.originating_machine, in.text("originating-machine"));
    UMBRA_ASSIGN(out.partition, in.number32("partition"));
    UMBRA_ASSIGN(out.volume_bytes, in.number("volume-bytes", std::numeric_limits<int64_t>::max()));
    UMBRA_ASSIGN(out.layered, in.flag("layered"));
    UMBRA_ASSIGN(const xml_node sources, in.child("source-luns"));
    UMBRA_ASSIGN(const xml_node targets, in.child("target-luns"));
    UMBRA_ASSIGN(const xml_node extents, in.child("extents"));
    UMBRA_TRY(in.end());

    Element source_list(sources);
    UMBRA_ASSIGN(const std::vector<xml_node> source_luns, source_list.children("lun", kMaximumLunsPerSnapshot));
    UMBRA_TRY(source_list.end());
    for (const xml_node lun : source_luns) {
        SourceLun source;
        UMBRA_ASSIGN(source.lun, parse_lun(lun, &source.signature));
        out.sources.push_back(std::move(source));
    }
    Element target_list(targets);
    UMBRA_ASSIGN(const std::vector<xml_node> target_luns, target_list.children("lun", kMaximumLunsPerSnapshot));
    UMBRA_TRY(target_list.end());
    for (const xml_node lun : target_luns) {
        UMBRA_ASSIGN(LunInformation target, parse_lun(lun, nullptr));
        out.targets.push_back(std::move(target));
    }
    if (out.sources.empty() || out.sources.size() != out.targets.size()) {
        return fail(Code::kCorrupt, "<snapshot>: source and target LUNs do not pair");
    }
    Element extent_list(extents);
    UMBRA_ASSIGN(const std::vector<xml_node> extent_nodes, extent_list.children("extent", kMaximumExtentsPerSnapshot));
    UMBRA_TRY(extent_list.end());
    for (const xml_node extent_node : extent_nodes) {
        Element one(extent_node);
        host::VolumeExtent extent;
        constexpr uint64_t kLimit = std::numeric_limits<int64_t>::max();
        UMBRA_ASSIGN(const uint64_t lun, one.number("lun", out.sources.size() - 1));
        extent.lun = static_cast<uint32_t>(lun);
        UMBRA_ASSIGN(extent.volume_offset, one.number("volume-offset", kLimit));
        UMBRA_ASSIGN(extent.lun_offset, one.number("lun-offset", kLimit));
        UMBRA_ASSIGN(extent.length, one.number("length", kLimit));
        UMBRA_TRY(one.end());
        out.extents.push_back(extent);
    }
    return out;
}

Result<DocumentSet> parse_set(xml_node node) {
    Element in(node);
    DocumentSet out;
    UMBRA_ASSIGN(out.id, in.guid("id", false));
    UMBRA_ASSIGN(out.context, in.hex("context"));
    UMBRA_ASSIGN(const uint64_t count, in.number("count", vss::kMaximumVolumes));
    out.snapshots_created = static_cast<uint32_t>(count);
    UMBRA_ASSIGN(const std::vector<xml_node> snapshots, in.children("snapshot", vss::kMaximumVolumes));
    UMBRA_TRY(in.end());
    for (const xml_node node_of_one : snapshots) {
        UMBRA_ASSIGN(SnapshotRecord snapshot, parse_snapshot(node_of_one));
        if (out.find(snapshot.id) != nullptr) return fail(Code::kCorrupt, "a <snapshot> twice");
        out.snapshots.push_back(std::move(snapshot));
    }
    return out;
}

Result<DocumentComponent> parse_component(xml_node node) {
    Element in(node);
    DocumentComponent out;
    UMBRA_ASSIGN(out.writer, in.guid("writer", false));
    UMBRA_ASSIGN(out.instance, in.guid("instance", false));
    UMBRA_ASSIGN(const uint64_t type, in.number("type", 2));
    out.type = static_cast<uint32_t>(type);
    UMBRA_ASSIGN(out.logical_path, in.text("path"));
    UMBRA_ASSIGN(out.name, in.text("name"));
    UMBRA_ASSIGN(out.backup_succeeded, in.flag("backup-succeeded"));
    UMBRA_TRY(in.end());
    return out;
}

Result<Document> parse_root(xml_node root) {
    if (std::string_view(root.name()) != "backup-components")
        return fail(Code::kCorrupt, "not a Backup Components Document");
    Element in(root);
    UMBRA_ASSIGN(const std::string space, in.text("xmlns"));
    UMBRA_ASSIGN(const uint32_t version, in.number32("version"));
    if (space != kNamespace || version != 1) {
        return fail(Code::kVersion, "a Backup Components Document of a version that this build does not know");
    }
    Document out;
    UMBRA_ASSIGN(const xml_node backup, in.child("backup"));
    Element backup_in(backup);
    UMBRA_ASSIGN(out.backup_type, backup_in.number32("type"));
    UMBRA_ASSIGN(out.select_components, backup_in.flag("select-components"));
    UMBRA_ASSIGN(out.bootable_system_state, backup_in.flag("bootable-system-state"));
    UMBRA_ASSIGN(out.partial_file_support, backup_in.flag("partial-files"));
    UMBRA_TRY(backup_in.end());
    UMBRA_ASSIGN(const xml_node components, in.child("components"));
    Element component_list(components);
    UMBRA_ASSIGN(const std::vector<xml_node> nodes, component_list.children("component", kMaximumComponents));
    UMBRA_TRY(component_list.end());
    for (const xml_node node : nodes) {
        UMBRA_ASSIGN(DocumentComponent component, parse_component(node));
        out.components.push_back(std::move(component));
    }
    UMBRA_ASSIGN(const std::vector<xml_node> sets, in.children("snapshot-set", 1));
    UMBRA_TRY(in.end());
    if (!sets.empty()) {
        UMBRA_ASSIGN(out.set, parse_set(sets.front()));
    }
    return out;
}

}  // namespace

const SnapshotRecord* DocumentSet::find(const Guid& snapshot) const {
    const auto found = std::ranges::find(snapshots, snapshot, &SnapshotRecord::id);
    return found == snapshots.end() ? nullptr : &*found;
}

std::string write_document(const Document& document) {
    pugi::xml_document xml;
    xml_node root = xml.append_child("backup-components");
    set_text(root, "xmlns", kNamespace);
    set_number(root, "version", 1);
    xml_node backup = root.append_child("backup");
    set_number(backup, "type", document.backup_type);
    set_flag(backup, "select-components", document.select_components);
    set_flag(backup, "bootable-system-state", document.bootable_system_state);
    set_flag(backup, "partial-files", document.partial_file_support);
    xml_node components = root.append_child("components");
    for (const DocumentComponent& component : document.components) {
        xml_node node = components.append_child("component");
        set_text(node, "writer", component.writer.text());
        set_text(node, "instance", component.instance.text());
        set_number(node, "type", component.type);
        set_text(node, "path", component.logical_path);
        set_text(node, "name", component.name);
        set_flag(node, "backup-succeeded", component.backup_succeeded);
    }
    if (document.set) {
        xml_node set = root.append_child("snapshot-set");
        set_text(set, "id", document.set->id.text());
        set_hex(set, "context", document.set->context);
        set_number(set, "count", document.set->snapshots_created);
        for (const SnapshotRecord& snapshot : document.set->snapshots) write_snapshot(set, snapshot);
    }
    std::ostringstream out;
    xml.save(out, "  ", pugi::format_default, pugi::encoding_utf8);
    return std::move(out).str();
}

Result<Document> parse_document(std::string_view text) {
    if (text.size() > kMaximumDocumentBytes) return fail(Code::kCorrupt, "the document is larger than 16 MiB");
    if (text.find('\0') != std::string_view::npos) return fail(Code::kCorrupt, "the document holds a zero byte");
    pugi::xml_document xml;
    // Comments, document types and processing instructions are parsed so that they are seen, and refused.
    constexpr unsigned kFlags =
        (pugi::parse_default | pugi::parse_doctype | pugi::parse_pi | pugi::parse_comments | pugi::parse_declaration);
    const pugi::xml_parse_result parsed = xml.load_buffer(text.data(), text.size(), kFlags, pugi::encoding_utf8);
    if (!parsed) return fail(Code::kCorrupt, fmt::format("{} at byte {}", parsed.description(), parsed.offset));
    xml_node root;
    for (const xml_node node : xml.children()) {
        if (node.type() == pugi::node_declaration && !root) continue;
        if (node.type() != pugi::node_element || root) {
            return fail(Code::kCorrupt, "the document holds more than one element, or something that is none");
        }
        root = node;
    }
    return parse_root(root);
}

}  // namespace umbra::coordinator

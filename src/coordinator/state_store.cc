#include "coordinator/state_store.h"

#include <algorithm>

#include "base/bytes.h"

namespace umbra::coordinator {

using base::Code;
using base::Decoder;
using base::Encoder;
using base::fail;

std::string_view to_string(SetState state) {
    switch (state) {
        case SetState::kCreating:
            return "creating";
        case SetState::kCreated:
            return "created";
        case SetState::kTransported:
            return "transported";
        case SetState::kImporting:
            return "importing";
        case SetState::kImported:
            return "imported";
        case SetState::kImportFailed:
            return "import failed";
        case SetState::kBreaking:
            return "breaking";
        case SetState::kUndelivered:
            return "undelivered";
        case SetState::kUnconfirmed:
            return "unconfirmed";
    }
    return "unknown";
}

namespace {

constexpr uint16_t kRecordVersion = 1;

void put(Encoder& out, const base::Guid& guid) {
    out.put_bytes(guid.bytes);
}
base::Guid get_guid(Decoder& in) {
    base::Guid guid;
    const base::Bytes bytes = in.get_bytes(guid.bytes.size());
    if (bytes.size() == guid.bytes.size()) std::ranges::copy(bytes, guid.bytes.begin());
    return guid;
}

void put(Encoder& out, bool value) {
    out.put<uint8_t>(value ? 1 : 0);
}

void put(Encoder& out, const std::optional<std::string>& text) {
    put(out, text.has_value());
    out.put_string(text.value_or(""));
}
std::optional<std::string> get_optional(Decoder& in) {
    const bool present = in.get<uint8_t>() != 0;
    std::string text = in.get_string();
    if (!present) return std::nullopt;
    return text;
}

void put(Encoder& out, const LunInformation& lun) {
    out.put<uint32_t>(lun.version);
    out.put<uint8_t>(lun.device_type);
    out.put<uint8_t>(lun.device_type_modifier);
    put(out, lun.command_queueing);
    out.put<uint32_t>(lun.bus_type);
    put(out, lun.vendor_id);
    put(out, lun.product_id);
    put(out, lun.product_revision);
    put(out, lun.serial_number);
    put(out, lun.disk_signature);
    out.put<uint32_t>(lun.descriptor_version);
    out.put<uint32_t>(static_cast<uint32_t>(lun.identifiers.size()));
    for (const StorageIdentifier& one : lun.identifiers) {
        out.put<uint32_t>(one.code_set);
        out.put<uint32_t>(one.type);
        out.put_blob(one.id);
    }
}
LunInformation get_lun(Decoder& in) {
    LunInformation lun;
    lun.version = in.get<uint32_t>();
    lun.device_type = in.get<uint8_t>();
    lun.device_type_modifier = in.get<uint8_t>();
    lun.command_queueing = in.get<uint8_t>() != 0;
    lun.bus_type = in.get<uint32_t>();
    lun.vendor_id = get_optional(in);
    lun.product_id = get_optional(in);
    lun.product_revision = get_optional(in);
    lun.serial_number = get_optional(in);
    lun.disk_signature = get_guid(in);
    lun.descriptor_version = in.get<uint32_t>();
    const size_t count = in.get_count(12);
    for (size_t i = 0; i < count; ++i) {
        StorageIdentifier one;
        one.code_set = in.get<uint32_t>();
        one.type = in.get<uint32_t>();
        const base::Bytes id = in.get_blob();
        one.id.assign(id.begin(), id.end());
        lun.identifiers.push_back(std::move(one));
    }
    return lun;
}

void put(Encoder& out, const host::LunIdentity& lun) {
    out.put<uint8_t>(lun.device_type);
    out.put<uint8_t>(lun.device_type_modifier);
    put(out, lun.command_queueing);
    out.put_string(lun.vendor_id);
    out.put_string(lun.product_id);
    out.put_string(lun.product_revision);
    out.put_string(lun.serial);
    out.put<uint32_t>(static_cast<uint32_t>(lun.designators.size()));
    for (const host::Designator& one : lun.designators) {
        out.put<uint8_t>(one.code_set);
        out.put<uint8_t>(one.type);
        out.put<uint8_t>(one.association);
        out.put_blob(one.id);
    }
}
host::LunIdentity get_identity(Decoder& in) {
    host::LunIdentity lun;
    lun.device_type = in.get<uint8_t>();
    lun.device_type_modifier = in.get<uint8_t>();
    lun.command_queueing = in.get<uint8_t>() != 0;
    lun.vendor_id = in.get_string();
    lun.product_id = in.get_string();
    lun.product_revision = in.get_string();
    lun.serial = in.get_string();
    const size_t count = in.get_count(7);
    for (size_t i = 0; i < count; ++i) {
        host::Designator one;
        one.code_set = in.get<uint8_t>();
        one.type = in.get<uint8_t>();
        one.association = in.get<uint8_t>();
        const base::Bytes id = in.get_blob();
        one.id.assign(id.begin(), id.end());
        lun.designators.push_back(std::move(one));
    }
    return lun;
}

void put(Encoder& out, const host::DiskSignature& signature) {
    out.put<uint8_t>(static_cast<uint8_t>(signature.kind));
    out.put<uint32_t>(signature.mbr_id);
    put(out, signature.gpt_guid);
    out.put<uint32_t>(static_cast<uint32_t>(signature.partition_guids.size()));
    for (const auto& [number, guid] : signature.partition_guids) {
        out.put<uint32_t>(number);
        put(out, guid);
    }
}
host::DiskSignature get_signature(Decoder& in) {
    host::DiskSignature signature;
    signature.kind = static_cast<host::TableKind>(std::min<uint8_t>(in.get<uint8_t>(), 2));
    signature.mbr_id = in.get<uint32_t>();
    signature.gpt_guid = get_guid(in);
    const size_t count = in.get_count(20);
    for (size_t i = 0; i < count; ++i) {
        const uint32_t number = in.get<uint32_t>();
        signature.partition_guids.emplace_back(number, get_guid(in));
    }
    return signature;
}

void put(Encoder& out, const SnapshotRecord& snapshot) {
    put(out, snapshot.id);
    put(out, snapshot.provider);
    out.put<uint32_t>(snapshot.attributes);
    out.put<uint64_t>(static_cast<uint64_t>(snapshot.created));
    out.put_string(snapshot.original_volume);
    out.put_string(snapshot.originating_machine);
    out.put_string(snapshot.service_machine);
    out.put<uint32_t>(snapshot.partition);
    out.put<uint64_t>(snapshot.volume_bytes);
    put(out, snapshot.layered);
    out.put<uint32_t>(static_cast<uint32_t>(snapshot.sources.size()));
    for (const SourceLun& source : snapshot.sources) {
        put(out, source.lun);
        put(out, source.signature);
    }
    out.put<uint32_t>(static_cast<uint32_t>(snapshot.targets.size()));
    for (const LunInformation& target : snapshot.targets) put(out, target);
    out.put<uint32_t>(static_cast<uint32_t>(snapshot.extents.size()));
    for (const host::VolumeExtent& extent : snapshot.extents) {
        out.put<uint32_t>(extent.lun);
        out.put<uint64_t>(extent.volume_offset);
        out.put<uint64_t>(extent.lun_offset);
        out.put<uint64_t>(extent.length);
    }
    out.put_string(snapshot.device_object);
    out.put_string(snapshot.exposed_path);
}
SnapshotRecord get_snapshot(Decoder& in) {
    SnapshotRecord snapshot;
    snapshot.id = get_guid(in);
    snapshot.provider = get_guid(in);
    snapshot.attributes = in.get<uint32_t>();
    snapshot.created = static_cast<int64_t>(in.get<uint64_t>());
    snapshot.original_volume = in.get_string();
    snapshot.originating_machine = in.get_string();
    snapshot.service_machine = in.get_string();
    snapshot.partition = in.get<uint32_t>();
    snapshot.volume_bytes = in.get<uint64_t>();
    snapshot.layered = in.get<uint8_t>() != 0;
    const size_t sources = in.get_count(60);
    for (size_t i = 0; i < sources; ++i) {
        SourceLun source;
        source.lun = get_lun(in);
        source.signature = get_signature(in);
        snapshot.sources.push_back(std::move(source));
    }
    const size_t targets = in.get_count(40);
    for (size_t i = 0; i < targets; ++i) snapshot.targets.push_back(get_lun(in));
    const size_t extents = in.get_count(28);
    for (size_t i = 0; i < extents; ++i) {
        host::VolumeExtent extent;
        extent.lun = in.get<uint32_t>();
        extent.volume_offset = in.get<uint64_t>();
        extent.lun_offset = in.get<uint64_t>();
        extent.length = in.get<uint64_t>();
        snapshot.extents.push_back(extent);
    }
    snapshot.device_object = in.get_string();
    snapshot.exposed_path = in.get_string();
    return snapshot;
}

base::Result<void> check_version(Decoder& in, const char* what) {
    const uint16_t version = in.get<uint16_t>();
    if (!in.ok()) return fail(Code::kCorrupt, std::string(what) + " record is empty");
    if (version != kRecordVersion) {
        return fail(Code::kVersion, std::string(what) + " record of version " + std::to_string(version));
    }
    return {};
}
base::Result<void> check_end(const Decoder& in, const char* what) {
    if (!in.ok() || !in.at_end()) return fail(Code::kCorrupt, std::string(what) + " record does not decode");
    return {};
}

}  // namespace

std::vector<std::byte> encode(const SetRecord& set) {
    Encoder out;
    out.put<uint16_t>(kRecordVersion);
    put(out, set.id);
    out.put<uint8_t>(static_cast<uint8_t>(set.state));
    out.put<uint32_t>(set.context);
    out.put<uint32_t>(set.snapshots_created);
    out.put<uint32_t>(set.break_flags);
    put(out, set.holds_point);
    out.put<uint32_t>(static_cast<uint32_t>(set.snapshots.size()));
    for (const SnapshotRecord& snapshot : set.snapshots) put(out, snapshot);
    return out.take();
}

base::Result<SetRecord> decode_set(base::Bytes bytes) {
    Decoder in(bytes);
    UMBRA_TRY(check_version(in, "set"));
    SetRecord set;
    set.id = get_guid(in);
    const uint8_t state = in.get<uint8_t>();
    if (state < 1 || state > static_cast<uint8_t>(SetState::kUnconfirmed)) {
        return fail(Code::kCorrupt, "set record of unknown state " + std::to_string(state));
    }
    set.state = static_cast<SetState>(state);
    set.context = in.get<uint32_t>();
    set.snapshots_created = in.get<uint32_t>();
    set.break_flags = in.get<uint32_t>();
    set.holds_point = in.get<uint8_t>() != 0;
    const size_t snapshots = in.get_count(100);
    for (size_t i = 0; i < snapshots; ++i) set.snapshots.push_back(get_snapshot(in));
    UMBRA_TRY(check_end(in, "set"));
    return set;
}

std::vector<std::byte> encode(const Intent& intent) {
    Encoder out;
    out.put<uint16_t>(kRecordVersion);
    put(out, intent.id);
    out.put<uint8_t>(static_cast<uint8_t>(intent.kind));
    put(out, intent.set);
    out.put_string(intent.disk);
    put(out, intent.lun);
    out.put<uint32_t>(intent.flags);
    put(out, intent.provider);
    out.put<uint8_t>(static_cast<uint8_t>(intent.phase));
    out.put<uint32_t>(intent.recover_flags);
    out.put<uint32_t>(static_cast<uint32_t>(intent.destinations.size()));
    for (const Intent::Destination& one : intent.destinations) {
        put(out, one.source);
        put(out, one.target);
        out.put_string(one.disk);
        put(out, one.released.lun);
        out.put_string(one.released.path);
        put(out, one.released.read_only);
        out.put<uint32_t>(static_cast<uint32_t>(one.released.mounts.size()));
        for (const host::ReleasedDisk::Mount& mount : one.released.mounts) {
            out.put<uint32_t>(mount.partition);
            out.put_string(mount.mount_point);
            out.put_string(mount.fs_type);
            out.put_string(mount.options);
        }
        put(out, one.former);
        put(out, one.original);
    }
    return out.take();
}

base::Result<Intent> decode_intent(base::Bytes bytes) {
    Decoder in(bytes);
    UMBRA_TRY(check_version(in, "intent"));
    Intent intent;
    intent.id = get_guid(in);
    const uint8_t kind = in.get<uint8_t>();
    if (kind < 1 || kind > 3) return fail(Code::kCorrupt, "intent of unknown kind " + std::to_string(kind));
    intent.kind = static_cast<Intent::Kind>(kind);
    intent.set = get_guid(in);
    intent.disk = in.get_string();
    intent.lun = get_lun(in);
    intent.flags = in.get<uint32_t>();
    intent.provider = get_guid(in);
    const uint8_t phase = in.get<uint8_t>();
    if (phase < 1 || phase > 4) return fail(Code::kCorrupt, "intent of unknown phase " + std::to_string(phase));
    intent.phase = static_cast<Intent::Phase>(phase);
    intent.recover_flags = in.get<uint32_t>();
    const size_t destinations = in.get_count(100);
    for (size_t i = 0; i < destinations; ++i) {
        Intent::Destination one;
        one.source = get_lun(in);
        one.target = get_lun(in);
        one.disk = in.get_string();
        one.released.lun = get_identity(in);
        one.released.path = in.get_string();
        one.released.read_only = in.get<uint8_t>() != 0;
        const size_t mounts = in.get_count(16);
        for (size_t m = 0; m < mounts; ++m) {
            host::ReleasedDisk::Mount mount;
            mount.partition = in.get<uint32_t>();
            mount.mount_point = in.get_string();
            mount.fs_type = in.get_string();
            mount.options = in.get_string();
            one.released.mounts.push_back(std::move(mount));
        }
        one.former = get_signature(in);
        one.original = get_signature(in);
        intent.destinations.push_back(std::move(one));
    }
    UMBRA_TRY(check_end(in, "intent"));
    return intent;
}

std::vector<std::byte> encode(const RegisteredProvider& provider) {
    Encoder out;
    out.put<uint16_t>(kRecordVersion);
    put(out, provider.id);
    out.put_string(provider.name);
    out.put_string(provider.version);
    put(out, provider.version_id);
    put(out, provider.class_id);
    out.put_string(provider.library);
    out.put<uint32_t>(static_cast<uint32_t>(provider.environment.size()));
    for (const auto& [name, value] : provider.environment) {
        out.put_string(name);
        out.put_string(value);
    }
    return out.take();
}

base::Result<RegisteredProvider> decode_provider(base::Bytes bytes) {
    Decoder in(bytes);
    UMBRA_TRY(check_version(in, "provider"));
    RegisteredProvider provider;
    provider.id = get_guid(in);
    provider.name = in.get_string();
    provider.version = in.get_string();
    provider.version_id = get_guid(in);
    provider.class_id = get_guid(in);
    provider.library = in.get_string();
    const size_t count = in.get_count(8);
    for (size_t i = 0; i < count; ++i) {
        std::string name = in.get_string();
        provider.environment.emplace(std::move(name), in.get_string());
    }
    UMBRA_TRY(check_end(in, "provider"));
    return provider;
}

}  // namespace umbra::coordinator

#include "array_rpc/convert.h"

#include "base/bytes.h"
#include "base/utf8.h"

namespace umbra::array_rpc {

using base::Code;
using base::fail;
using base::Result;

void to_proto(const array::LunRef& from, pb::LunRef* to) {
    switch (from.by) {
        case array::LunRef::By::kName:
            to->set_name(from.text);
            return;
        case array::LunRef::By::kId:
            to->set_id(from.text);
            return;
        case array::LunRef::By::kNaa:
            to->set_naa(from.text);
            return;
    }
}

Result<array::LunRef> from_proto(const pb::LunRef& from) {
    switch (from.ref_case()) {
        case pb::LunRef::kName:
            return array::LunRef::name(from.name());
        case pb::LunRef::kId:
            return array::LunRef::id(from.id());
        case pb::LunRef::kNaa:
            return array::LunRef::naa(from.naa());
        case pb::LunRef::REF_NOT_SET:
            break;
    }
    return fail(Code::kInvalidArgument, "the request names no LUN");
}

pb::LunKind to_proto(array::LunKind kind) {
    switch (kind) {
        case array::LunKind::kLun:
            return pb::LUN_KIND_LUN;
        case array::LunKind::kSnapshot:
            return pb::LUN_KIND_SNAPSHOT;
        case array::LunKind::kShadowCopy:
            return pb::LUN_KIND_SHADOW_COPY;
    }
    return pb::LUN_KIND_UNSPECIFIED;
}

Result<array::LunKind> from_proto(pb::LunKind kind) {
    switch (kind) {
        case pb::LUN_KIND_LUN:
            return array::LunKind::kLun;
        case pb::LUN_KIND_SNAPSHOT:
            return array::LunKind::kSnapshot;
        case pb::LUN_KIND_SHADOW_COPY:
            return array::LunKind::kShadowCopy;
        default:
            return fail(Code::kInvalidArgument, "the request has no known kind of LUN");
    }
}

void to_proto(const array::LunView& from, pb::Lun* to) {
    to->set_name(from.name);
    to->set_id(from.id);
    to->set_naa(from.naa);
    to->set_serial(from.serial);
    to->set_kind(to_proto(from.kind));
    to->set_type(from.type);
    to->set_size_bytes(from.size_bytes);
    to->set_width(from.width);
    to->set_health(from.health);
    to->set_origin(from.origin);
    to->set_created_unix_ms(from.created_unix_ms);
    for (const array::MaskView& mask : from.masks) {
        pb::Mask* out = to->add_masks();
        out->set_initiator(mask.initiator);
        out->set_target_iqn(mask.target_iqn);
        out->set_lun(mask.lun);
    }
    for (const array::LunPathView& path : from.paths) {
        pb::LunPath* out = to->add_paths();
        out->set_target_iqn(path.target_iqn);
        out->set_lun(path.lun);
        out->set_portal(path.portal);
    }
    for (const array::PlexView& plex : from.plexes) {
        pb::Plex* out = to->add_plexes();
        out->set_id(plex.id);
        out->set_health(plex.health);
        out->mutable_drives()->Assign(plex.drives.begin(), plex.drives.end());
    }
    to->set_flags(from.flags);
    to->mutable_attributes()->insert(from.attributes.begin(), from.attributes.end());
    to->set_mapped_bytes(from.mapped_bytes);
    to->set_page83(std::string(base::as_text(from.page83)));
    to->set_failed_task(from.failed_task);
    to->set_generation(from.generation);
    to->set_write_protected(from.write_protected);
}

array::LunView from_proto(const pb::Lun& from) {
    array::LunView to;
    to.name = from.name();
    to.id = from.id();
    to.naa = from.naa();
    to.serial = from.serial();
    to.kind = from_proto(from.kind()).value_or(array::LunKind::kLun);
    to.type = from.type();
    to.size_bytes = from.size_bytes();
    to.width = from.width();
    to.health = from.health();
    to.origin = from.origin();
    to.created_unix_ms = from.created_unix_ms();
    for (const pb::Mask& mask : from.masks()) {
        to.masks.push_back({mask.initiator(), mask.target_iqn(), static_cast<uint16_t>(mask.lun())});
    }
    for (const pb::LunPath& path : from.paths()) {
        to.paths.push_back({path.target_iqn(), static_cast<uint16_t>(path.lun()), path.portal()});
    }
    for (const pb::Plex& plex : from.plexes()) {
        to.plexes.push_back({plex.id(), plex.health(), {plex.drives().begin(), plex.drives().end()}});
    }
    to.flags = from.flags();
    to.attributes = {from.attributes().begin(), from.attributes().end()};
    to.mapped_bytes = from.mapped_bytes();
    const base::Bytes page = base::as_bytes(from.page83());
    to.page83.assign(page.begin(), page.end());
    to.failed_task = from.failed_task();
    to.generation = from.generation();
    to.write_protected = from.write_protected();
    return to;
}

void to_proto(const array::StatusView& from, pb::ArrayStatus* to) {
    to->set_id(from.id);
    to->set_name(from.name);
    to->set_version(from.version);
    to->set_state(from.state);
    to->set_raw_bytes(from.raw_bytes);
    to->set_free_bytes(from.free_bytes);
    to->set_live_bytes(from.live_bytes);
    to->set_drives(from.drives);
    to->set_drives_online(from.drives_online);
    to->set_luns(from.luns);
    for (const array::TargetView& target : from.targets) {
        pb::Target* out = to->add_targets();
        out->set_iqn(target.iqn);
        out->set_is_default(target.is_default);
    }
    to->mutable_portals()->Assign(from.portals.begin(), from.portals.end());
    to->set_vendor_id(from.vendor_id);
    to->set_product_id(from.product_id);
    to->set_product_revision(from.product_revision);
}

array::StatusView from_proto(const pb::ArrayStatus& from) {
    array::StatusView to;
    to.id = from.id();
    to.name = from.name();
    to.version = from.version();
    to.state = from.state();
    to.raw_bytes = from.raw_bytes();
    to.free_bytes = from.free_bytes();
    to.live_bytes = from.live_bytes();
    to.drives = from.drives();
    to.drives_online = from.drives_online();
    to.luns = from.luns();
    for (const pb::Target& target : from.targets()) to.targets.push_back({target.iqn(), target.is_default()});
    to.portals = {from.portals().begin(), from.portals().end()};
    to.vendor_id = from.vendor_id();
    to.product_id = from.product_id();
    to.product_revision = from.product_revision();
    return to;
}

void to_proto(const array::DriveView& from, pb::Drive* to) {
    to->set_name(from.name);
    to->set_id(from.id);
    to->set_path(from.path);
    to->set_size_bytes(from.size_bytes);
    to->set_used_bytes(from.used_bytes);
    to->set_state(from.state);
    to->set_read_errors(from.read_errors);
    to->set_checksum_errors(from.checksum_errors);
    to->set_repaired_blocks(from.repaired_blocks);
    to->set_index(from.index);
}

array::DriveView from_proto(const pb::Drive& from) {
    array::DriveView to;
    to.name = from.name();
    to.id = from.id();
    to.path = from.path();
    to.size_bytes = from.size_bytes();
    to.used_bytes = from.used_bytes();
    to.state = from.state();
    to.read_errors = from.read_errors();
    to.checksum_errors = from.checksum_errors();
    to.repaired_blocks = from.repaired_blocks();
    to.index = from.index();
    return to;
}

void to_proto(const array::TaskView& from, pb::Task* to) {
    to->set_id(from.id);
    to->set_kind(from.kind);
    to->set_object(from.object);
    to->set_object_naa(from.object_naa);
    to->set_source_naa(from.source_naa);
    to->set_state(to_string(from.state));
    to->set_percent(from.percent);
    to->set_done_bytes(from.done_bytes);
    to->set_total_bytes(from.total_bytes);
    to->set_bytes_per_second(from.bytes_per_second);
    to->set_seconds_left(from.seconds_left);
    to->set_error_code(from.error_code);
    to->set_error(base::to_valid_utf8(from.error));
    to->set_result(from.result);
    to->set_started_unix_ms(from.started_unix_ms);
    to->set_ended_unix_ms(from.ended_unix_ms);
}

array::TaskView from_proto(const pb::Task& from) {
    array::TaskView to;
    to.id = from.id();
    to.kind = from.kind();
    to.object = from.object();
    to.object_naa = from.object_naa();
    to.source_naa = from.source_naa();
    to.state = array::TaskState::kFailed;
    for (const auto state : {array::TaskState::kRunning, array::TaskState::kDone, array::TaskState::kCancelled}) {
        if (from.state() == to_string(state)) to.state = state;
    }
    to.percent = from.percent();
    to.done_bytes = from.done_bytes();
    to.total_bytes = from.total_bytes();
    to.bytes_per_second = from.bytes_per_second();
    to.seconds_left = from.seconds_left();
    to.error_code = from.error_code();
    to.error = from.error();
    to.result = from.result();
    to.started_unix_ms = from.started_unix_ms();
    to.ended_unix_ms = from.ended_unix_ms();
    return to;
}

void to_proto(const array::EventView& from, pb::Event* to) {
    to->set_sequence(from.sequence);
    to->set_unix_ms(from.unix_ms);
    to->set_id(from.id);
    to->set_severity(from.severity);
    to->set_message(base::to_valid_utf8(from.message));
    to->set_lun(from.lun);
    to->set_drive(from.drive);
}

array::EventView from_proto(const pb::Event& from) {
    return {from.sequence(), from.unix_ms(), from.id(), from.severity(), from.message(), from.lun(), from.drive()};
}

void to_proto(const array::SessionView& from, pb::Session* to) {
    // proto3: text that is no UTF-8 would make the whole answer unreadable.
    to->set_initiator(base::to_valid_utf8(from.initiator));
    to->set_target_iqn(base::to_valid_utf8(from.target_iqn));
    to->set_peer(from.peer);
    to->set_isid(from.isid);
    to->mutable_luns()->Assign(from.luns.begin(), from.luns.end());
}

array::SessionView from_proto(const pb::Session& from) {
    return {from.initiator(), from.target_iqn(), from.peer(), from.isid(), {from.luns().begin(), from.luns().end()}};
}

void to_proto(const array::UpdateLun& from, pb::UpdateLunRequest* to) {
    if (from.flags) to->set_flags(*from.flags);
    to->mutable_set_attributes()->insert(from.set_attributes.begin(), from.set_attributes.end());
    to->mutable_remove_attributes()->Assign(from.remove_attributes.begin(), from.remove_attributes.end());
    to->mutable_expect_attributes()->insert(from.expect_attributes.begin(), from.expect_attributes.end());
    to->set_break_shadow_copy(from.break_shadow_copy);
    if (from.write_protect) to->set_write_protect(*from.write_protect);
}

Result<array::UpdateLun> from_proto(const pb::UpdateLunRequest& from) {
    array::UpdateLun to;
    if (from.has_flags()) to.flags = from.flags();
    to.set_attributes = {from.set_attributes().begin(), from.set_attributes().end()};
    to.remove_attributes = {from.remove_attributes().begin(), from.remove_attributes().end()};
    to.expect_attributes = {from.expect_attributes().begin(), from.expect_attributes().end()};
    to.break_shadow_copy = from.break_shadow_copy();
    if (from.has_write_protect()) to.write_protect = from.write_protect();
    return to;
}

void to_proto(const array::SnapshotItem& from, pb::CreateSnapshotsRequest::Item* to) {
    to_proto(from.source, to->mutable_source());
    to->set_name(from.name);
    to->mutable_attributes()->insert(from.attributes.begin(), from.attributes.end());
    to->set_flags(from.flags);
    to->set_write_protect(from.write_protect);
}

Result<array::SnapshotItem> from_proto(const pb::CreateSnapshotsRequest::Item& from) {
    array::SnapshotItem to;
    UMBRA_ASSIGN(to.source, from_proto(from.source()));
    to.name = from.name();
    to.attributes = {from.attributes().begin(), from.attributes().end()};
    to.flags = from.flags();
    to.write_protect = from.write_protect();
    return to;
}

}  // namespace umbra::array_rpc

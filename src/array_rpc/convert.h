// Views and requests of the array, to and from the messages of proto/array.proto.
#pragma once

#include "array.pb.h"
#include "array/view.h"
#include "base/result.h"

namespace umbra::array_rpc {

namespace pb = umbra::array::v1;

void to_proto(const array::LunRef& from, pb::LunRef* to);
void to_proto(const array::LunView& from, pb::Lun* to);
void to_proto(const array::StatusView& from, pb::ArrayStatus* to);
void to_proto(const array::DriveView& from, pb::Drive* to);
void to_proto(const array::TaskView& from, pb::Task* to);
void to_proto(const array::EventView& from, pb::Event* to);
void to_proto(const array::SessionView& from, pb::Session* to);
void to_proto(const array::UpdateLun& from, pb::UpdateLunRequest* to);
void to_proto(const array::SnapshotItem& from, pb::CreateSnapshotsRequest::Item* to);
pb::LunKind to_proto(array::LunKind kind);

// kInvalidArgument: what a stranger may have left out or made up.
base::Result<array::LunRef> from_proto(const pb::LunRef& from);
base::Result<array::LunKind> from_proto(pb::LunKind kind);
base::Result<array::UpdateLun> from_proto(const pb::UpdateLunRequest& from);
base::Result<array::SnapshotItem> from_proto(const pb::CreateSnapshotsRequest::Item& from);

array::LunView from_proto(const pb::Lun& from);
array::StatusView from_proto(const pb::ArrayStatus& from);
array::DriveView from_proto(const pb::Drive& from);
array::TaskView from_proto(const pb::Task& from);
array::EventView from_proto(const pb::Event& from);
array::SessionView from_proto(const pb::Session& from);

}  // namespace umbra::array_rpc

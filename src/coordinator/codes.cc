#include "coordinator/codes.h"

#include <fmt/format.h>

namespace umbra::coordinator {

std::string vss::name(ComCode code) {
    switch (code) {
        case kOk:
            return "S_OK";
        case kFalse:
            return "S_FALSE";
        case kNotImplemented:
            return "E_NOTIMPL";
        case kAbort:
            return "E_ABORT";
        case kFail:
            return "E_FAIL";
        case kEUnexpected:
            return "E_UNEXPECTED";
        case kAccessDenied:
            return "E_ACCESSDENIED";
        case kOutOfMemory:
            return "E_OUTOFMEMORY";
        case kInvalidArgument:
            return "E_INVALIDARG";
        case kBadState:
            return "VSS_E_BAD_STATE";
        case kUnexpected:
            return "VSS_E_UNEXPECTED";
        case kProviderAlreadyRegistered:
            return "VSS_E_PROVIDER_ALREADY_REGISTERED";
        case kProviderNotRegistered:
            return "VSS_E_PROVIDER_NOT_REGISTERED";
        case kProviderVeto:
            return "VSS_E_PROVIDER_VETO";
        case kProviderInUse:
            return "VSS_E_PROVIDER_IN_USE";
        case kObjectNotFound:
            return "VSS_E_OBJECT_NOT_FOUND";
        case kAsyncPending:
            return "VSS_S_ASYNC_PENDING";
        case kAsyncFinished:
            return "VSS_S_ASYNC_FINISHED";
        case kAsyncCancelled:
            return "VSS_S_ASYNC_CANCELLED";
        case kVolumeNotSupported:
            return "VSS_E_VOLUME_NOT_SUPPORTED";
        case kObjectAlreadyExists:
            return "VSS_E_OBJECT_ALREADY_EXISTS";
        case kVolumeNotSupportedByProvider:
            return "VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER";
        case kUnexpectedProviderError:
            return "VSS_E_UNEXPECTED_PROVIDER_ERROR";
        case kInvalidXmlDocument:
            return "VSS_E_INVALID_XML_DOCUMENT";
        case kMaximumVolumesReached:
            return "VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED";
        case kFlushWritesTimeout:
            return "VSS_E_FLUSH_WRITES_TIMEOUT";
        case kHoldWritesTimeout:
            return "VSS_E_HOLD_WRITES_TIMEOUT";
        case kSnapshotSetInProgress:
            return "VSS_E_SNAPSHOT_SET_IN_PROGRESS";
        case kMaximumSnapshotsReached:
            return "VSS_E_MAXIMUM_NUMBER_OF_SNAPSHOTS_REACHED";
        case kUnsupportedContext:
            return "VSS_E_UNSUPPORTED_CONTEXT";
        case kVolumeInUse:
            return "VSS_E_VOLUME_IN_USE";
        case kInsufficientStorage:
            return "VSS_E_INSUFFICIENT_STORAGE";
        case kNoSnapshotsImported:
            return "VSS_E_NO_SNAPSHOTS_IMPORTED";
        case kSomeSnapshotsNotImported:
            return "VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED";
        case kRevertInProgress:
            return "VSS_E_REVERT_IN_PROGRESS";
        case kUnselectedVolume:
            return "VSS_E_UNSELECTED_VOLUME";
        case kSnapshotNotInSet:
            return "VSS_E_SNAPSHOT_NOT_IN_SET";
        case kNestedVolumeLimit:
            return "VSS_E_NESTED_VOLUME_LIMIT";
        case kBreakRevertIdFailed:
            return "VSS_E_BREAK_REVERT_ID_FAILED";
        case kLegacyProvider:
            return "VSS_E_LEGACY_PROVIDER";
        case kMissingDisk:
            return "VSS_E_MISSING_DISK";
        case kMissingVolume:
            return "VSS_E_MISSING_VOLUME";
        case kDynamicDiskError:
            return "VSS_E_DYNAMIC_DISK_ERROR";
        case kNonTransportableBcd:
            return "VSS_E_NONTRANSPORTABLE_BCD";
        case kCannotRevertDiskId:
            return "VSS_E_CANNOT_REVERT_DISKID";
        case kResyncInProgress:
            return "VSS_E_RESYNC_IN_PROGRESS";
        default:
            return fmt::format("0x{:08X}", code);
    }
}

ComCode to_com_code(base::Code code) {
    switch (code) {
        case base::Code::kInvalidArgument:
            return vss::kInvalidArgument;
        case base::Code::kNotFound:
            return vss::kObjectNotFound;
        case base::Code::kAlreadyExists:
            return vss::kObjectAlreadyExists;
        case base::Code::kBusy:
            return vss::kVolumeInUse;
        case base::Code::kBadState:
            return vss::kBadState;
        case base::Code::kPermissionDenied:
            return vss::kAccessDenied;
        case base::Code::kUnsupported:
            return vss::kVolumeNotSupported;
        case base::Code::kNoSpace:
            return vss::kInsufficientStorage;
        case base::Code::kCancelled:
            return vss::kAsyncCancelled;
        case base::Code::kUnauthenticated:
            return vss::kAccessDenied;
        case base::Code::kCorrupt:
        case base::Code::kVersion:
        case base::Code::kNoDrive:
        case base::Code::kMediaError:
        case base::Code::kDeviceFailed:
        case base::Code::kWriteProtected:
        case base::Code::kTimedOut:
        case base::Code::kUnavailable:
        case base::Code::kMiscompare:
        case base::Code::kIo:
        case base::Code::kInternal:
            return vss::kUnexpected;
    }
    return vss::kUnexpected;
}

}  // namespace umbra::coordinator

// The numbers of vss.h and vsserror.h that the coordinator speaks in. Plain numbers: HRESULT itself lives at the edges.
#pragma once

#include <cstdint>
#include <expected>
#include <string>
#include <utility>

#include "base/result.h"

namespace umbra::coordinator {

/// The value of an HRESULT: bit 31 set means failure.
using ComCode = uint32_t;

namespace vss {

inline constexpr ComCode kOk = 0;
inline constexpr ComCode kFalse = 1;
inline constexpr ComCode kNotImplemented = 0x80004001;
inline constexpr ComCode kAbort = 0x80004004;
inline constexpr ComCode kFail = 0x80004005;
inline constexpr ComCode kEUnexpected = 0x8000FFFF;
inline constexpr ComCode kAccessDenied = 0x80070005;
inline constexpr ComCode kOutOfMemory = 0x8007000E;
inline constexpr ComCode kInvalidArgument = 0x80070057;

inline constexpr ComCode kBadState = 0x80042301;
inline constexpr ComCode kUnexpected = 0x80042302;
inline constexpr ComCode kProviderAlreadyRegistered = 0x80042303;
inline constexpr ComCode kProviderNotRegistered = 0x80042304;
inline constexpr ComCode kProviderVeto = 0x80042306;
inline constexpr ComCode kProviderInUse = 0x80042307;
inline constexpr ComCode kObjectNotFound = 0x80042308;
inline constexpr ComCode kAsyncPending = 0x00042309;
inline constexpr ComCode kAsyncFinished = 0x0004230A;
inline constexpr ComCode kAsyncCancelled = 0x0004230B;
inline constexpr ComCode kVolumeNotSupported = 0x8004230C;
inline constexpr ComCode kObjectAlreadyExists = 0x8004230D;
inline constexpr ComCode kVolumeNotSupportedByProvider = 0x8004230E;
inline constexpr ComCode kUnexpectedProviderError = 0x8004230F;
inline constexpr ComCode kInvalidXmlDocument = 0x80042311;
inline constexpr ComCode kMaximumVolumesReached = 0x80042312;
inline constexpr ComCode kFlushWritesTimeout = 0x80042313;
inline constexpr ComCode kHoldWritesTimeout = 0x80042314;
inline constexpr ComCode kSnapshotSetInProgress = 0x80042316;
inline constexpr ComCode kMaximumSnapshotsReached = 0x80042317;
inline constexpr ComCode kUnsupportedContext = 0x8004231B;
inline constexpr ComCode kVolumeInUse = 0x8004231D;
inline constexpr ComCode kInsufficientStorage = 0x8004231F;
inline constexpr ComCode kNoSnapshotsImported = 0x80042320;
inline constexpr ComCode kSomeSnapshotsNotImported = 0x00042321;
inline constexpr ComCode kRevertInProgress = 0x80042325;
inline constexpr ComCode kUnselectedVolume = 0x8004232A;
inline constexpr ComCode kSnapshotNotInSet = 0x8004232B;
inline constexpr ComCode kNestedVolumeLimit = 0x8004232C;
inline constexpr ComCode kBreakRevertIdFailed = 0x800423F6;
inline constexpr ComCode kLegacyProvider = 0x800423F7;
inline constexpr ComCode kMissingDisk = 0x800423F8;
inline constexpr ComCode kMissingVolume = 0x800423FA;
inline constexpr ComCode kDynamicDiskError = 0x800423FC;
inline constexpr ComCode kNonTransportableBcd = 0x800423FD;
inline constexpr ComCode kCannotRevertDiskId = 0x800423FE;
inline constexpr ComCode kResyncInProgress = 0x800423FF;

inline bool failed(ComCode code) {
    return (code & 0x80000000u) != 0;
}
/// "VSS_E_BAD_STATE", or "0x…" for a number without a name.
std::string name(ComCode code);

// _VSS_VOLUME_SNAPSHOT_ATTRIBUTES
inline constexpr uint32_t kAttrPersistent = 0x1;
inline constexpr uint32_t kAttrNoAutoRecovery = 0x2;
inline constexpr uint32_t kAttrClientAccessible = 0x4;
inline constexpr uint32_t kAttrNoAutoRelease = 0x8;
inline constexpr uint32_t kAttrNoWriters = 0x10;
inline constexpr uint32_t kAttrTransportable = 0x20;
inline constexpr uint32_t kAttrNotSurfaced = 0x40;
inline constexpr uint32_t kAttrNotTransacted = 0x80;
inline constexpr uint32_t kAttrHardwareAssisted = 0x10000;
inline constexpr uint32_t kAttrDifferential = 0x20000;
inline constexpr uint32_t kAttrPlex = 0x40000;
inline constexpr uint32_t kAttrImported = 0x80000;
inline constexpr uint32_t kAttrExposedLocally = 0x100000;
inline constexpr uint32_t kAttrExposedRemotely = 0x200000;
inline constexpr uint32_t kAttrRollbackRecovery = 0x800000;
inline constexpr uint32_t kAttrTxfRecovery = 0x2000000;

// _VSS_SNAPSHOT_CONTEXT
inline constexpr uint32_t kContextBackup = 0;
inline constexpr uint32_t kContextFileShareBackup = 0x10;
inline constexpr uint32_t kContextNasRollback = 0x19;
inline constexpr uint32_t kContextAppRollback = 0x09;
inline constexpr uint32_t kContextClientAccessible = 0x1D;
inline constexpr uint32_t kContextClientAccessibleWriters = 0x0D;
inline constexpr uint32_t kContextAll = 0xFFFFFFFF;
/// The bits that make up a context; the rest modifies it.
inline constexpr uint32_t kContextMask = 0x1D;
/// What a requester may add to a context.
inline constexpr uint32_t kContextModifiers = kAttrNoAutoRecovery | kAttrTransportable | kAttrNotTransacted |
                                              kAttrDifferential | kAttrPlex | kAttrRollbackRecovery | kAttrTxfRecovery;

// VSS_OBJECT_TYPE
inline constexpr uint32_t kObjectNone = 1;
inline constexpr uint32_t kObjectSnapshotSet = 2;
inline constexpr uint32_t kObjectSnapshot = 3;
inline constexpr uint32_t kObjectProvider = 4;

// VSS_SNAPSHOT_STATE
inline constexpr uint32_t kSnapshotPreparing = 1;
inline constexpr uint32_t kSnapshotCreated = 12;

inline constexpr uint32_t kProviderTypeHardware = 3;

// _VSS_HARDWARE_OPTIONS
inline constexpr uint32_t kBreakMaskLuns = 0x1;
inline constexpr uint32_t kBreakMakeReadWrite = 0x2;
inline constexpr uint32_t kBreakRevertIdentityAll = 0x4;
inline constexpr uint32_t kBreakRevertIdentityNone = 0x8;
inline constexpr uint32_t kNotifyReadWrite = 0x100;
inline constexpr uint32_t kDoMaskLuns = 0x800;

// VSS_RECOVERY_OPTIONS
inline constexpr uint32_t kRecoverRevertIdentityAll = 0x100;
inline constexpr uint32_t kRecoverNoVolumeCheck = 0x200;

inline constexpr size_t kMaximumVolumes = 64;

}  // namespace vss

/// A refused or failed call: the number for programs, a sentence for people.
struct Failure {
    ComCode code = vss::kUnexpected;
    std::string message;
};

template <class T = void>
using Answer = std::expected<T, Failure>;

[[nodiscard]] inline std::unexpected<Failure> refuse(ComCode code, std::string message) {
    return std::unexpected(Failure{code, std::move(message)});
}

/// The one translation of our errors to VSS codes, for errors without a cause that the documents name.
ComCode to_com_code(base::Code code);
[[nodiscard]] inline std::unexpected<Failure> refuse(const base::Error& error) {
    return std::unexpected(Failure{to_com_code(error.code), error.text()});
}

}  // namespace umbra::coordinator

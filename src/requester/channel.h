// The coordinator's channel, without gRPC in sight: one call of proto/vss.proto is one method here.
#pragma once

#include <chrono>
#include <memory>
#include <string>

#include "com/hresult.h"
#include "vss.pb.h"

// Method, request, reply.
#define VSS_CHANNEL_CALLS(X)                                                  \
    X(CloseSession, SessionRequest, StatusReply)                              \
    X(InitializeForBackup, InitializeRequest, StatusReply)                    \
    X(InitializeForRestore, InitializeRequest, StatusReply)                   \
    X(SetContext, SetContextRequest, StatusReply)                             \
    X(SetBackupState, SetBackupStateRequest, StatusReply)                     \
    X(SetRestoreState, SetRestoreStateRequest, StatusReply)                   \
    X(SelectWriters, SelectWritersRequest, StatusReply)                       \
    X(GatherWriterMetadata, SessionRequest, OperationReply)                   \
    X(GetWriterMetadata, SessionRequest, WriterMetadataReply)                 \
    X(GatherWriterStatus, SessionRequest, OperationReply)                     \
    X(GetWriterStatus, SessionRequest, WriterStatusReply)                     \
    X(GetWriterComponents, SessionRequest, WriterComponentsReply)             \
    X(EditComponent, EditComponentRequest, StatusReply)                       \
    X(StartSnapshotSet, StartSnapshotSetRequest, IdReply)                     \
    X(AddToSnapshotSet, AddToSnapshotSetRequest, IdReply)                     \
    X(PrepareForBackup, SessionRequest, OperationReply)                       \
    X(DoSnapshotSet, SessionRequest, OperationReply)                          \
    X(BackupComplete, SessionRequest, OperationReply)                         \
    X(AbortBackup, SessionRequest, StatusReply)                               \
    X(PreRestore, SessionRequest, OperationReply)                             \
    X(PostRestore, SessionRequest, OperationReply)                            \
    X(SaveAsXML, SessionRequest, XmlReply)                                    \
    X(GetSnapshotProperties, SnapshotRequest, SnapshotReply)                  \
    X(Query, QueryRequest, QueryReply)                                        \
    X(DeleteSnapshots, DeleteSnapshotsRequest, DeleteSnapshotsReply)          \
    X(BreakSnapshotSet, BreakSnapshotSetRequest, StatusReply)                 \
    X(BreakSnapshotSetEx, BreakSnapshotSetRequest, OperationReply)            \
    X(ImportSnapshots, SessionRequest, OperationReply)                        \
    X(ExposeSnapshot, ExposeSnapshotRequest, ExposeSnapshotReply)             \
    X(UnexposeSnapshot, SnapshotRequest, StatusReply)                         \
    X(IsVolumeSupported, IsVolumeSupportedRequest, BoolReply)                 \
    X(IsVolumeSnapshotted, IsVolumeSupportedRequest, VolumeSnapshottedReply)  \
    X(AddSnapshotToRecoverySet, AddSnapshotToRecoverySetRequest, StatusReply) \
    X(RecoverSet, RecoverSetRequest, OperationReply)                          \
    X(RevertToSnapshot, RevertToSnapshotRequest, StatusReply)                 \
    X(QueryRevertStatus, IsVolumeSupportedRequest, OperationReply)            \
    X(QueryOperation, OperationRequest, OperationState)                       \
    X(WaitOperation, WaitOperationRequest, OperationState)                    \
    X(CancelOperation, OperationRequest, StatusReply)                         \
    X(ReleaseOperation, OperationRequest, StatusReply)

namespace umbra::requester {

namespace proto = ::umbra::vss::v1;

/// A connection to umbra-hostd. Thread-safe. Calls block until the coordinator answers; what it refuses is in the
/// reply's status. Failures of these functions are failures of the connection: VSS_E_UNEXPECTED, or E_ACCESSDENIED when
/// the socket or the coordinator does not let this user in.
class Channel {
public:
    virtual ~Channel() = default;

    /// The session's id. It lives as long as this channel or until CloseSession. Called at most once.
    virtual com::Result<std::string> open_session() = 0;

#define VSS_CHANNEL_METHOD(method, request, reply) \
    virtual com::Result<proto::reply> method(const proto::request& message) = 0;
    VSS_CHANNEL_CALLS(VSS_CHANNEL_METHOD)
#undef VSS_CHANNEL_METHOD
};

struct ConnectOptions {
    std::string address;  ///< "unix:/path/of/socket"
    /// A socket that is missing or refuses is tried again for this long.
    std::chrono::milliseconds patience{10'000};
};
com::Result<std::shared_ptr<Channel>> connect(const ConnectOptions& options);

/// UMBRA_HOST, or its default.
std::string address_from_environment();

}  // namespace umbra::requester

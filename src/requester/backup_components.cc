#include "requester/backup_components.h"

#include <atomic>

#include "com/ref_counted.h"
#include "requester/async.h"
#include "requester/convert.h"
#include "requester/enum_object.h"
#include "vsserror.h"

namespace umbra::requester {
namespace {

using Edit = proto::EditComponentRequest;
using com::Result;

Result<std::string> optional_text(const wchar_t* text) {
    if (text == nullptr) return std::string();
    return text_argument(text);
}

// A document from a caller.
Result<std::string> document(BSTR xml) {
    auto utf8 = com::bstr_to_utf8(xml);
    if (!utf8) return com::fail(VSS_E_INVALID_XML_DOCUMENT, utf8.error().message);
    return *utf8;
}

HRESULT success(const proto::Status& status) {
    return static_cast<HRESULT>(status.hresult());
}

class BackupComponents final
    : public com::RefCounted<com::Face<IVssBackupComponentsEx4, IVssBackupComponentsEx3, IVssBackupComponentsEx2,
                                       IVssBackupComponentsEx, IVssBackupComponents>> {
public:
    BackupComponents(std::shared_ptr<Channel> channel, std::string session)
        : channel_(std::move(channel)), session_(std::move(session)) {}

    // Failures have nobody left to tell; the coordinator releases the session by itself when the connection ends.
    ~BackupComponents() override { (void)channel_->CloseSession(request<proto::SessionRequest>()); }

    // --- IVssBackupComponents ---

    HRESULT GetWriterComponentsCount(UINT* count) override {
        return frame(
            [&]() -> Result<> {
                UMBRA_ASSIGN(const auto reply, channel_->GetWriterComponents(request<proto::SessionRequest>()));
                UMBRA_TRY(check(reply.status()));
                *count = static_cast<UINT>(reply.writers_size());
                return {};
            },
            count);
    }

    HRESULT GetWriterComponents(UINT index, IVssWriterComponentsExt** writer) override {
        return frame(
            [&]() -> Result<> {
                UMBRA_ASSIGN(const auto reply, channel_->GetWriterComponents(request<proto::SessionRequest>()));
                UMBRA_TRY(check(reply.status()));
                UMBRA_TRY(in_range(index, reply.writers_size(), "writer with components"));
                return com::fail(E_NOTIMPL, "components in a document cannot be examined yet");
            },
            writer);
    }

    HRESULT InitializeForBackup(BSTR xml) override {
        return frame([&]() -> Result<HRESULT> {
            auto message = request<proto::InitializeRequest>();
            if (xml != nullptr) {
                UMBRA_ASSIGN(*message.mutable_xml(), document(xml));
            }
            return finish(channel_->InitializeForBackup(message));
        });
    }

    HRESULT SetBackupState(bool select_components, bool bootable, VSS_BACKUP_TYPE type, bool partial) override {
        return frame([&]() -> Result<HRESULT> {
            if (type < VSS_BT_UNDEFINED || type > VSS_BT_OTHER) return com::fail(E_INVALIDARG, "unknown backup type");
            auto message = request<proto::SetBackupStateRequest>();
            message.set_select_components(select_components);
            message.set_backup_bootable_system_state(bootable);
            message.set_backup_type(static_cast<uint32_t>(type));
            message.set_partial_file_support(partial);
            return finish(channel_->SetBackupState(message));
        });
    }

    HRESULT InitializeForRestore(BSTR xml) override {
        return frame([&]() -> Result<HRESULT> {
            if (xml == nullptr) return com::fail(E_INVALIDARG, "InitializeForRestore needs a document");
            auto message = request<proto::InitializeRequest>();
            UMBRA_ASSIGN(*message.mutable_xml(), document(xml));
            return finish(channel_->InitializeForRestore(message));
        });
    }

    HRESULT SetRestoreState(VSS_RESTORE_TYPE type) override {
        return frame([&]() -> Result<HRESULT> {
            if (type < VSS_RTYPE_UNDEFINED || type > VSS_RTYPE_OTHER) {
                return com::fail(E_INVALIDARG, "unknown restore type");
            }
            auto message = request<proto::SetRestoreStateRequest>();
            message.set_restore_type(static_cast<uint32_t>(type));
            return finish(channel_->SetRestoreState(message));
        });
    }

    HRESULT GatherWriterMetadata(IVssAsync** async) override {
        metadata_freed_ = false;
        return start(async, [&] { return channel_->GatherWriterMetadata(request<proto::SessionRequest>()); });
    }

    HRESULT GetWriterMetadataCount(UINT* count) override {
        return frame(
            [&]() -> Result<> {
                UMBRA_ASSIGN(const auto reply, writer_metadata());
                *count = static_cast<UINT>(reply.writers_size());
                return {};
            },
            count);
    }

    HRESULT GetWriterMetadata(UINT index, VSS_ID* instance, IVssExamineWriterMetadata** metadata) override {
        return examine(index, instance, metadata);
    }

    HRESULT FreeWriterMetadata() override {
        return frame([&]() -> Result<> {
            UMBRA_TRY(writer_metadata());
            metadata_freed_ = true;
            return {};
        });
    }

    HRESULT AddComponent(VSS_ID instance, VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name) override {
        return edit(Edit::EDIT_ADD_COMPONENT, writer, type, path, name, [&](Edit& message) -> Result<> {
            message.set_instance(guid_to_proto(instance));
            return {};
        });
    }

    HRESULT PrepareForBackup(IVssAsync** async) override {
        return start(async, [&] { return channel_->PrepareForBackup(request<proto::SessionRequest>()); });
    }

    HRESULT AbortBackup() override {
        return frame([&] { return finish(channel_->AbortBackup(request<proto::SessionRequest>())); });
    }

    HRESULT GatherWriterStatus(IVssAsync** async) override {
        status_freed_ = false;
        return start(async, [&] { return channel_->GatherWriterStatus(request<proto::SessionRequest>()); });
    }

    HRESULT GetWriterStatusCount(UINT* count) override {
        return frame(
            [&]() -> Result<> {
                UMBRA_ASSIGN(const auto reply, writer_status());
                *count = static_cast<UINT>(reply.writers_size());
                return {};
            },
            count);
    }

    HRESULT FreeWriterStatus() override {
        return frame([&]() -> Result<> {
            UMBRA_TRY(writer_status());
            status_freed_ = true;
            return {};
        });
    }

    HRESULT GetWriterStatus(UINT index, VSS_ID* instance, VSS_ID* writer, BSTR* name, VSS_WRITER_STATE* state,
                            HRESULT* failure) override {
        return GetWriterStatusEx(index, instance, writer, name, state, failure, nullptr, nullptr);
    }

    HRESULT SetBackupSucceeded(VSS_ID instance, VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                               bool succeeded) override {
        return edit(Edit::EDIT_SET_BACKUP_SUCCEEDED, writer, type, path, name, [&](Edit& message) -> Result<> {
            message.set_instance(guid_to_proto(instance));
            message.set_flag(succeeded);
            return {};
        });
    }

    HRESULT SetBackupOptions(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                             LPCWSTR options) override {
        return edit_text(Edit::EDIT_SET_BACKUP_OPTIONS, writer, type, path, name, options);
    }

    HRESULT SetSelectedForRestore(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                                  bool selected) override {
        return edit_flag(Edit::EDIT_SET_SELECTED_FOR_RESTORE, writer, type, path, name, selected);
    }

    HRESULT SetRestoreOptions(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                              LPCWSTR options) override {
        return edit_text(Edit::EDIT_SET_RESTORE_OPTIONS, writer, type, path, name, options);
    }

    HRESULT SetAdditionalRestores(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                                  bool more) override {
        return edit_flag(Edit::EDIT_SET_ADDITIONAL_RESTORES, writer, type, path, name, more);
    }

    HRESULT SetPreviousBackupStamp(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                                   LPCWSTR stamp) override {
        return edit_text(Edit::EDIT_SET_PREVIOUS_BACKUP_STAMP, writer, type, path, name, stamp);
    }

    HRESULT SaveAsXML(BSTR* xml) override {
        return frame(
            [&]() -> Result<> {
                UMBRA_ASSIGN(const auto reply, channel_->SaveAsXML(request<proto::SessionRequest>()));
                UMBRA_TRY(check(reply.status()));
                UMBRA_ASSIGN(com::Bstr text, com::Bstr::from_utf8(reply.xml()));
                *xml = text.detach();
                return {};
            },
            xml);
    }

    HRESULT BackupComplete(IVssAsync** async) override {
        return start(async, [&] { return channel_->BackupComplete(request<proto::SessionRequest>()); });
    }

    HRESULT AddAlternativeLocationMapping(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                                          LPCWSTR file_path, LPCWSTR file_spec, bool recursive,
                                          LPCWSTR destination) override {
        return edit(Edit::EDIT_ADD_ALTERNATIVE_LOCATION, writer, type, path, name, [&](Edit& message) -> Result<> {
            message.set_flag(recursive);
            return add_texts(message, {file_path, file_spec, destination});
        });
    }

    HRESULT AddRestoreSubcomponent(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name, LPCWSTR sub_path,
                                   LPCWSTR sub_name, bool repair) override {
        return edit(Edit::EDIT_ADD_RESTORE_SUBCOMPONENT, writer, type, path, name, [&](Edit& message) -> Result<> {
            message.set_flag(repair);
            return add_texts(message, {sub_path, sub_name});
        });
    }

    HRESULT SetFileRestoreStatus(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                                 VSS_FILE_RESTORE_STATUS status) override {
        return edit(Edit::EDIT_SET_FILE_RESTORE_STATUS, writer, type, path, name, [&](Edit& message) -> Result<> {
            if (status < VSS_RS_NONE || status > VSS_RS_FAILED) return com::fail(E_INVALIDARG, "unknown status");
            message.set_number(static_cast<uint32_t>(status));
            return {};
        });
    }

    HRESULT AddNewTarget(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name, LPCWSTR file_path,
                         LPCWSTR file_name, bool recursive, LPCWSTR alternate_path) override {
        return edit(Edit::EDIT_ADD_NEW_TARGET, writer, type, path, name, [&](Edit& message) -> Result<> {
            message.set_flag(recursive);
            return add_texts(message, {file_path, file_name, alternate_path});
        });
    }

    HRESULT SetRangesFilePath(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name, UINT index,
                              LPCWSTR ranges_file) override {
        return edit(Edit::EDIT_SET_RANGES_FILE_PATH, writer, type, path, name, [&](Edit& message) -> Result<> {
            message.set_number(index);
            return add_texts(message, {ranges_file});
        });
    }

    HRESULT PreRestore(IVssAsync** async) override {
        return start(async, [&] { return channel_->PreRestore(request<proto::SessionRequest>()); });
    }

    HRESULT PostRestore(IVssAsync** async) override {
        return start(async, [&] { return channel_->PostRestore(request<proto::SessionRequest>()); });
    }

    HRESULT SetContext(LONG context) override {
        return frame([&] {
            auto message = request<proto::SetContextRequest>();
            message.set_context(static_cast<uint32_t>(context));
            return finish(channel_->SetContext(message));
        });
    }

    HRESULT StartSnapshotSet(VSS_ID* set) override {
        return frame(
            [&]() -> Result<> {
                UMBRA_ASSIGN(const auto reply, channel_->StartSnapshotSet(request<proto::StartSnapshotSetRequest>()));
                UMBRA_TRY(check(reply.status()));
                UMBRA_ASSIGN(*set, guid_from_proto(reply.id()));
                return {};
            },
            set);
    }

    HRESULT AddToSnapshotSet(VSS_PWSZ volume, VSS_ID provider, VSS_ID* snapshot) override {
        return frame(
            [&]() -> Result<> {
                auto message = request<proto::AddToSnapshotSetRequest>();
                UMBRA_ASSIGN(*message.mutable_volume(), text_argument(volume));
                message.set_provider(guid_to_proto(provider));
                UMBRA_ASSIGN(const auto reply, channel_->AddToSnapshotSet(message));
                UMBRA_TRY(check(reply.status()));
                UMBRA_ASSIGN(*snapshot, guid_from_proto(reply.id()));
                return {};
            },
            snapshot);
    }

    HRESULT DoSnapshotSet(IVssAsync** async) override {
        return start(async, [&] { return channel_->DoSnapshotSet(request<proto::SessionRequest>()); });
    }

    // After a failure the out-parameters say how far it came: they are not cleared.
    HRESULT DeleteSnapshots(VSS_ID object, VSS_OBJECT_TYPE type, BOOL force, LONG* deleted,
                            VSS_ID* nondeleted) override {
        LONG count = 0;
        GUID culprit = GUID_NULL;
        const HRESULT result = frame([&]() -> Result<HRESULT> {
            if (deleted == nullptr || nondeleted == nullptr) return com::fail(E_INVALIDARG, "an out-parameter is NULL");
            if (type != VSS_OBJECT_SNAPSHOT && type != VSS_OBJECT_SNAPSHOT_SET) {
                return com::fail(E_INVALIDARG, "only shadow copies and sets of them can be deleted");
            }
            auto message = request<proto::DeleteSnapshotsRequest>();
            message.set_object(guid_to_proto(object));
            message.set_type(static_cast<uint32_t>(type));
            message.set_force(force != FALSE);
            UMBRA_ASSIGN(const auto reply, channel_->DeleteSnapshots(message));
            UMBRA_ASSIGN(culprit, guid_from_proto(reply.nondeleted()));
            count = static_cast<LONG>(reply.deleted());
            UMBRA_TRY(check(reply.status()));
            return success(reply.status());
        });
        if (deleted != nullptr) *deleted = count;
        if (nondeleted != nullptr) *nondeleted = culprit;
        return result;
    }

    HRESULT ImportSnapshots(IVssAsync** async) override {
        return start(async, [&] { return channel_->ImportSnapshots(request<proto::SessionRequest>()); });
    }

    HRESULT BreakSnapshotSet(VSS_ID set) override {
        return frame([&] {
            auto message = request<proto::BreakSnapshotSetRequest>();
            message.set_set(guid_to_proto(set));
            return finish(channel_->BreakSnapshotSet(message));
        });
    }

    HRESULT GetSnapshotProperties(VSS_ID snapshot, VSS_SNAPSHOT_PROP* properties) override {
        return frame(
            [&]() -> Result<> {
                auto message = request<proto::SnapshotRequest>();
                message.set_snapshot(guid_to_proto(snapshot));
                UMBRA_ASSIGN(const auto reply, channel_->GetSnapshotProperties(message));
                UMBRA_TRY(check(reply.status()));
                return to_properties(reply.snapshot(), *properties);
            },
            properties);
    }

    HRESULT Query(VSS_ID queried, VSS_OBJECT_TYPE queried_type, VSS_OBJECT_TYPE returned_type,
                  IVssEnumObject** objects) override {
        return frame(
            [&]() -> Result<HRESULT> {
                if (queried != GUID_NULL || queried_type != VSS_OBJECT_NONE) {
                    return com::fail(E_INVALIDARG, "Query starts from GUID_NULL and VSS_OBJECT_NONE only");
                }
                if (returned_type != VSS_OBJECT_SNAPSHOT && returned_type != VSS_OBJECT_PROVIDER) {
                    return com::fail(E_INVALIDARG, "Query returns shadow copies or providers");
                }
                auto message = request<proto::QueryRequest>();
                message.set_queried_type(static_cast<uint32_t>(queried_type));
                message.set_returned_type(static_cast<uint32_t>(returned_type));
                UMBRA_ASSIGN(auto reply, channel_->Query(message));
                UMBRA_TRY(check(reply.status()));
                const HRESULT code = success(reply.status());
                *objects = new_enum(std::move(reply));
                return code;
            },
            objects);
    }

    HRESULT IsVolumeSupported(VSS_ID provider, VSS_PWSZ volume, BOOL* supported) override {
        return frame(
            [&]() -> Result<> {
                auto message = request<proto::IsVolumeSupportedRequest>();
                UMBRA_ASSIGN(*message.mutable_volume(), text_argument(volume));
                message.set_provider(guid_to_proto(provider));
                UMBRA_ASSIGN(const auto reply, channel_->IsVolumeSupported(message));
                UMBRA_TRY(check(reply.status()));
                *supported = reply.value() ? TRUE : FALSE;
                return {};
            },
            supported);
    }

    HRESULT DisableWriterClasses(const VSS_ID* ids, UINT count) override {
        return select_writers(proto::SelectWritersRequest::HOW_DISABLE_CLASSES, ids, count);
    }
    HRESULT EnableWriterClasses(const VSS_ID* ids, UINT count) override {
        return select_writers(proto::SelectWritersRequest::HOW_ENABLE_CLASSES, ids, count);
    }
    HRESULT DisableWriterInstances(const VSS_ID* ids, UINT count) override {
        return select_writers(proto::SelectWritersRequest::HOW_DISABLE_INSTANCES, ids, count);
    }

    HRESULT ExposeSnapshot(VSS_ID snapshot, VSS_PWSZ path_from_root, LONG attributes, VSS_PWSZ expose,
                           VSS_PWSZ* exposed) override {
        return frame(
            [&]() -> Result<> {
                auto message = request<proto::ExposeSnapshotRequest>();
                message.set_snapshot(guid_to_proto(snapshot));
                message.set_attributes(static_cast<uint32_t>(attributes));
                if (path_from_root != nullptr) {
                    UMBRA_ASSIGN(*message.mutable_path_from_root(), text_argument(path_from_root));
                }
                if (expose != nullptr) {
                    UMBRA_ASSIGN(*message.mutable_expose(), text_argument(expose));
                }
                UMBRA_ASSIGN(const auto reply, channel_->ExposeSnapshot(message));
                UMBRA_TRY(check(reply.status()));
                *exposed = com::co_string(com::to_wide_lossy(reply.exposed())).release();
                return {};
            },
            exposed);
    }

    HRESULT RevertToSnapshot(VSS_ID snapshot, BOOL force_dismount) override {
        return frame([&] {
            auto message = request<proto::RevertToSnapshotRequest>();
            message.set_snapshot(guid_to_proto(snapshot));
            message.set_force_dismount(force_dismount != FALSE);
            return finish(channel_->RevertToSnapshot(message));
        });
    }

    HRESULT QueryRevertStatus(VSS_PWSZ volume, IVssAsync** async) override {
        return start(async, [&]() -> Result<proto::OperationReply> {
            auto message = request<proto::IsVolumeSupportedRequest>();
            UMBRA_ASSIGN(*message.mutable_volume(), text_argument(volume));
            return channel_->QueryRevertStatus(message);
        });
    }

    // --- IVssBackupComponentsEx ---

    HRESULT GetWriterMetadataEx(UINT index, VSS_ID* instance, IVssExamineWriterMetadataEx** metadata) override {
        return examine(index, instance, metadata);
    }

    HRESULT SetSelectedForRestoreEx(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name, bool selected,
                                    VSS_ID instance) override {
        return edit(Edit::EDIT_SET_SELECTED_FOR_RESTORE, writer, type, path, name, [&](Edit& message) -> Result<> {
            message.set_instance(guid_to_proto(instance));
            message.set_flag(selected);
            return {};
        });
    }

    // --- IVssBackupComponentsEx2 ---

    HRESULT UnexposeSnapshot(VSS_ID snapshot) override {
        return frame([&] {
            auto message = request<proto::SnapshotRequest>();
            message.set_snapshot(guid_to_proto(snapshot));
            return finish(channel_->UnexposeSnapshot(message));
        });
    }

    HRESULT SetAuthoritativeRestore(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                                    bool authoritative) override {
        return edit_flag(Edit::EDIT_SET_AUTHORITATIVE_RESTORE, writer, type, path, name, authoritative);
    }

    HRESULT SetRollForward(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                           VSS_ROLLFORWARD_TYPE roll, LPCWSTR point) override {
        return edit(Edit::EDIT_SET_ROLL_FORWARD, writer, type, path, name, [&](Edit& message) -> Result<> {
            if (roll < VSS_RF_NONE || roll > VSS_RF_PARTIAL)
                return com::fail(E_INVALIDARG, "unknown roll-forward type");
            if (roll == VSS_RF_PARTIAL && point == nullptr) return com::fail(E_INVALIDARG, "the point is NULL");
            message.set_number(static_cast<uint32_t>(roll));
            UMBRA_ASSIGN(*message.add_texts(), optional_text(point));
            return {};
        });
    }

    HRESULT SetRestoreName(VSS_ID writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                           LPCWSTR restore_name) override {
        return edit_text(Edit::EDIT_SET_RESTORE_NAME, writer, type, path, name, restore_name);
    }

    HRESULT BreakSnapshotSetEx(VSS_ID set, DWORD flags, IVssAsync** async) override {
        return start(async, [&] {
            auto message = request<proto::BreakSnapshotSetRequest>();
            message.set_set(guid_to_proto(set));
            message.set_flags(flags);
            return channel_->BreakSnapshotSetEx(message);
        });
    }

    HRESULT PreFastRecovery(VSS_ID, DWORD, IVssAsync** async) override { return reserved(async); }
    HRESULT FastRecovery(VSS_ID, DWORD, IVssAsync** async) override { return reserved(async); }

    // --- IVssBackupComponentsEx3 ---

    HRESULT GetWriterStatusEx(UINT index, VSS_ID* instance, VSS_ID* writer, BSTR* name, VSS_WRITER_STATE* state,
                              HRESULT* failure, HRESULT* application, BSTR* application_message) override {
        return frame(
            [&]() -> Result<> {
                UMBRA_ASSIGN(const auto reply, writer_status());
                UMBRA_TRY(in_range(index, reply.writers_size(), "writer"));
                const proto::WriterState& from = reply.writers(static_cast<int>(index));
                UMBRA_ASSIGN(const GUID instance_id, guid_from_proto(from.instance()));
                UMBRA_ASSIGN(const GUID writer_id, guid_from_proto(from.writer()));
                com::Bstr name_text(com::to_wide_lossy(from.name()));
                com::Bstr message_text(com::to_wide_lossy(from.application_message()));
                *instance = instance_id;
                *writer = writer_id;
                *name = name_text.detach();
                *state = static_cast<VSS_WRITER_STATE>(from.state());
                *failure = static_cast<HRESULT>(from.failure());
                if (application != nullptr) *application = static_cast<HRESULT>(from.application_failure());
                if (application_message != nullptr) *application_message = message_text.detach();
                return {};
            },
            instance, writer, name, state, failure, com::optional(application), com::optional(application_message));
    }

    HRESULT AddSnapshotToRecoverySet(VSS_ID snapshot, DWORD flags, VSS_PWSZ destination) override {
        return frame([&]() -> Result<HRESULT> {
            if (snapshot == GUID_NULL) return com::fail(E_INVALIDARG, "the shadow copy's id is GUID_NULL");
            if (flags != 0) return com::fail(E_INVALIDARG, "AddSnapshotToRecoverySet has no flags");
            auto message = request<proto::AddSnapshotToRecoverySetRequest>();
            message.set_snapshot(guid_to_proto(snapshot));
            if (destination != nullptr) {
                UMBRA_ASSIGN(*message.mutable_destination(), text_argument(destination));
            }
            return finish(channel_->AddSnapshotToRecoverySet(message));
        });
    }

    HRESULT RecoverSet(DWORD flags, IVssAsync** async) override {
        return start(async, [&] {
            auto message = request<proto::RecoverSetRequest>();
            message.set_flags(flags);
            return channel_->RecoverSet(message);
        });
    }

    HRESULT GetSessionId(VSS_ID* session) override {
        return frame(
            [&]() -> Result<> {
                UMBRA_ASSIGN(*session, guid_from_proto(session_));
                return {};
            },
            session);
    }

    // --- IVssBackupComponentsEx4 ---

    HRESULT GetRootAndLogicalPrefixPaths(VSS_PWSZ path, VSS_PWSZ* root, VSS_PWSZ* prefix, BOOL) override {
        return frame(
            [&]() -> Result<> {
                UMBRA_TRY(text_argument(path));
                return com::fail(E_NOTIMPL, "paths of file shares are not offered");
            },
            root, prefix);
    }

private:
    template <class Request>
    Request request() const {
        Request message;
        message.set_session(session_);
        return message;
    }

    static Result<HRESULT> finish(Result<proto::StatusReply> reply) {
        if (!reply) return std::unexpected(std::move(reply).error());
        UMBRA_TRY(check(reply->status()));
        return success(reply->status());
    }

    static Result<> in_range(UINT index, int count, std::string_view what) {
        if (index < static_cast<UINT>(count)) return {};
        return com::fail(VSS_E_OBJECT_NOT_FOUND, "there is no " + std::string(what) + " " + std::to_string(index));
    }

    template <class Call>
    HRESULT start(IVssAsync** async, Call call) {
        return frame(
            [&]() -> Result<HRESULT> {
                UMBRA_ASSIGN(const proto::OperationReply reply, call());
                UMBRA_TRY(check(reply.status()));
                *async = new_async(channel_, reply.operation());
                return success(reply.status());
            },
            async);
    }

    HRESULT reserved(IVssAsync** async) {
        return frame([]() -> Result<> { return com::fail(E_NOTIMPL, "the method is reserved"); }, async);
    }

    Result<proto::WriterMetadataReply> writer_metadata() {
        UMBRA_ASSIGN(auto reply, channel_->GetWriterMetadata(request<proto::SessionRequest>()));
        UMBRA_TRY(check(reply.status()));
        if (metadata_freed_) return com::fail(VSS_E_BAD_STATE, "the writers' metadata has been freed");
        return reply;
    }

    Result<proto::WriterStatusReply> writer_status() {
        UMBRA_ASSIGN(auto reply, channel_->GetWriterStatus(request<proto::SessionRequest>()));
        UMBRA_TRY(check(reply.status()));
        if (status_freed_) return com::fail(VSS_E_BAD_STATE, "the writers' status has been freed");
        return reply;
    }

    template <class Examine>
    HRESULT examine(UINT index, VSS_ID* instance, Examine** metadata) {
        return frame(
            [&]() -> Result<> {
                UMBRA_ASSIGN(const auto reply, writer_metadata());
                UMBRA_TRY(in_range(index, reply.writers_size(), "writer"));
                return com::fail(E_NOTIMPL, "writers' metadata cannot be examined yet");
            },
            instance, metadata);
    }

    HRESULT select_writers(proto::SelectWritersRequest::How how, const VSS_ID* ids, UINT count) {
        return frame([&]() -> Result<HRESULT> {
            if (ids == nullptr || count == 0) return com::fail(E_INVALIDARG, "no writers are named");
            auto message = request<proto::SelectWritersRequest>();
            message.set_how(how);
            for (UINT i = 0; i < count; ++i) message.add_ids(com::from_guid(ids[i]).text());
            return finish(channel_->SelectWriters(message));
        });
    }

    template <class Fill>
    HRESULT edit(Edit::Edit what, const VSS_ID& writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                 Fill fill) {
        return frame([&]() -> Result<HRESULT> {
            if (type != VSS_CT_DATABASE && type != VSS_CT_FILEGROUP) {
                return com::fail(E_INVALIDARG, "unknown component type");
            }
            auto message = request<Edit>();
            message.set_edit(what);
            message.set_writer(guid_to_proto(writer));
            message.set_type(static_cast<uint32_t>(type));
            UMBRA_ASSIGN(*message.mutable_logical_path(), optional_text(path));
            UMBRA_ASSIGN(*message.mutable_name(), text_argument(name));
            UMBRA_TRY(fill(message));
            return finish(channel_->EditComponent(message));
        });
    }

    HRESULT edit_text(Edit::Edit what, const VSS_ID& writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                      LPCWSTR text) {
        return edit(what, writer, type, path, name, [&](Edit& message) { return add_texts(message, {text}); });
    }

    HRESULT edit_flag(Edit::Edit what, const VSS_ID& writer, VSS_COMPONENT_TYPE type, LPCWSTR path, LPCWSTR name,
                      bool flag) {
        return edit(what, writer, type, path, name, [&](Edit& message) -> Result<> {
            message.set_flag(flag);
            return {};
        });
    }

    static Result<> add_texts(Edit& message, std::initializer_list<LPCWSTR> texts) {
        for (LPCWSTR text : texts) {
            UMBRA_ASSIGN(*message.add_texts(), text_argument(text));
        }
        return {};
    }

    const std::shared_ptr<Channel> channel_;
    const std::string session_;
    std::atomic<bool> metadata_freed_{false};
    std::atomic<bool> status_freed_{false};
};

}  // namespace

IVssBackupComponents* new_backup_components(std::shared_ptr<Channel> channel, std::string session) {
    return com::make<BackupComponents>(std::move(channel), std::move(session)).detach();
}

}  // namespace umbra::requester

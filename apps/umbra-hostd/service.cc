#include "service.h"

#include <grpcpp/grpcpp.h>
#include <vss.grpc.pb.h>

#include <cstdio>
#include <cstdlib>
#include <future>
#include <memory>
#include <thread>

#include "coordinator/session.h"

namespace umbra::coordinator {

namespace {

namespace v1 = umbra::vss::v1;
using base::Guid;
using env::Task;
using grpc::ServerContext;
using grpc::Status;

template <class T>
Task<void> deliver(Task<T> task, std::promise<T>* promise) {
    T value = co_await std::move(task);
    promise->set_value(std::move(value));
}

/// Runs `start` on the executor and waits for the task that it returns.
template <class T>
T wait_for(env::Executor& executor, const std::function<Task<T>()>& start) {
    std::promise<T> promise;
    std::future<T> future = promise.get_future();
    executor.post([&] { env::spawn_detached(deliver<T>(start(), &promise)); });
    return future.get();
}
/// The same for what needs no waiting.
template <class F>
auto call_on(env::Executor& executor, F&& function) -> decltype(function()) {
    std::promise<decltype(function())> promise;
    auto future = promise.get_future();
    executor.post([&] { promise.set_value(function()); });
    return future.get();
}

template <class Reply>
void fail_with(Reply* reply, const Failure& failure) {
    reply->mutable_status()->set_hresult(failure.code);
    reply->mutable_status()->set_message(failure.message);
}
template <class Reply>
void succeed(Reply* reply) {
    reply->mutable_status()->set_hresult(vss::kOk);
}
template <class Reply>
void answer(Reply* reply, const Answer<>& result) {
    if (result) {
        succeed(reply);
    } else {
        fail_with(reply, result.error());
    }
}
void answer_operation(v1::OperationReply* reply, const Answer<OperationPtr>& result) {
    if (!result) return fail_with(reply, result.error());
    succeed(reply);
    reply->set_operation((*result)->id.text());
}
Failure no_session() {
    return {vss::kBadState, "there is no such session"};
}

Guid guid(const std::string& text) {
    return Guid::parse(text).value_or(Guid{});
}
std::optional<Guid> strict_guid(const std::string& text) {
    if (text.empty()) return Guid{};
    return Guid::parse(text);
}

void fill(const SnapshotRecord& from, const SetRecord* set, Guid set_id, v1::Snapshot* to) {
    to->set_id(from.id.text());
    to->set_set(set_id.text());
    to->set_snapshots_in_set(set != nullptr ? set->snapshots_created : 0);
    to->set_device_object(from.device_object);
    to->set_original_volume(from.original_volume);
    to->set_originating_machine(from.originating_machine);
    to->set_service_machine(from.service_machine);
    if (!from.exposed_path.empty()) to->set_exposed_name(from.exposed_path);
    to->set_provider(from.provider.text());
    to->set_attributes(from.attributes);
    to->set_created(from.created);
    to->set_state(vss::kSnapshotCreated);
}
void fill(const ProviderInfo& from, v1::Provider* to) {
    to->set_id(from.id.text());
    to->set_name(from.name);
    to->set_type(from.type);
    to->set_version(from.version);
    to->set_version_id(from.version_id.text());
    to->set_class_id(from.class_id.text());
}
void fill(const Operation& from, v1::OperationState* to) {
    to->set_result(from.result);
    to->set_message(from.message);
    to->set_percent(from.percent);
    to->set_step(from.step);
}

/// Ends the session when its stream ends, whatever ends it. Owns itself until OnDone, and after that by whatever it has
/// still posted: nothing depends on the order in which gRPC's threads and the executor get to work. All calls to gRPC
/// are made on the executor, without a lock.
class SessionStream final : public grpc::ServerWriteReactor<v1::SessionOpened>,
                            public std::enable_shared_from_this<SessionStream> {
public:
    static SessionStream* open(ServiceContext& context, std::string client) {
        auto stream = std::make_shared<SessionStream>(context);
        stream->self_ = stream;
        context.executor.post([stream, client = std::move(client)] { stream->begin(client); });
        return stream.get();
    }
    explicit SessionStream(ServiceContext& context) : context_(context) {}

    void OnWriteDone(bool ok) override {
        if (!ok) post_finish();
    }
    void OnCancel() override { post_finish(); }
    void OnDone() override {
        context_.executor.post([stream = std::exchange(self_, nullptr)] { stream->end(); });
    }

private:
    void post_finish() {
        context_.executor.post([stream = shared_from_this()] { stream->finish(Status::OK); });
    }
    // What follows runs on the executor only.
    void begin(const std::string& client) {
        if (finished_) return;
        const SessionPtr session =
            context_.coordinator.open_session(client, [stream = shared_from_this()] { stream->finish(Status::OK); });
        if (!session) return finish(Status(grpc::StatusCode::UNAVAILABLE, "umbra-hostd ends"));
        id_ = session->id();
        opened_.set_session(id_.text());
        StartWrite(&opened_);
    }
    void finish(const Status& status) {
        if (!std::exchange(finished_, true)) Finish(status);
    }
    void end() {
        finished_ = true;
        if (!id_.is_null()) context_.coordinator.abandon_session(id_);
    }

    ServiceContext& context_;
    std::shared_ptr<SessionStream> self_;  // gRPC's hold on the object, from open() to OnDone
    Guid id_;
    v1::SessionOpened opened_;
    bool finished_ = false;
};

class VssService final : public v1::Vss::WithCallbackMethod_OpenSession<v1::Vss::Service> {
public:
    explicit VssService(ServiceContext& context) : context_(context) {}

    grpc::ServerWriteReactor<v1::SessionOpened>* OpenSession(grpc::CallbackServerContext*,
                                                             const v1::OpenSessionRequest* request) override {
        return SessionStream::open(context_, request->client());
    }
    Status CloseSession(ServerContext*, const v1::SessionRequest* request, v1::StatusReply* reply) override {
        const Guid id = guid(request->session());
        wait_for<bool>(context_.executor, [&] { return close(id); });
        succeed(reply);
        return Status::OK;
    }

    Status InitializeForBackup(ServerContext*, const v1::InitializeRequest* request, v1::StatusReply* reply) override {
        return direct(request, reply,
                      [&](Session& session) { return session.initialize_for_backup(xml_of(*request)); });
    }
    Status InitializeForRestore(ServerContext*, const v1::InitializeRequest* request, v1::StatusReply* reply) override {
        return direct(request, reply,
                      [&](Session& session) { return session.initialize_for_restore(xml_of(*request)); });
    }
    Status SetContext(ServerContext*, const v1::SetContextRequest* request, v1::StatusReply* reply) override {
        return direct(request, reply, [&](Session& session) { return session.set_context(request->context()); });
    }
    Status SetBackupState(ServerContext*, const v1::SetBackupStateRequest* request, v1::StatusReply* reply) override {
        return direct(request, reply, [&](Session& session) {
            return session.set_backup_state(request->select_components(), request->backup_bootable_system_state(),
                                            request->backup_type(), request->partial_file_support());
        });
    }
    Status SetRestoreState(ServerContext*, const v1::SetRestoreStateRequest* request, v1::StatusReply* reply) override {
        return direct(request, reply,
                      [&](Session& session) { return session.set_restore_state(request->restore_type()); });
    }
    Status SelectWriters(ServerContext*, const v1::SelectWritersRequest* request, v1::StatusReply* reply) override {
        return direct(request, reply, [](Session& session) { return session.select_writers(); });
    }
    Status GatherWriterMetadata(ServerContext*, const v1::SessionRequest* request, v1::OperationReply* reply) override {
        return operation(request, reply, [](Session& session) { return session.gather_writer_metadata(); });
    }
    Status GetWriterMetadata(ServerContext*, const v1::SessionRequest* request,
                             v1::WriterMetadataReply* reply) override {
        return direct(request, reply, [](Session& session) { return session.get_writer_metadata(); });
    }
    Status GatherWriterStatus(ServerContext*, const v1::SessionRequest* request, v1::OperationReply* reply) override {
        return operation(request, reply, [](Session& session) { return session.gather_writer_status(); });
    }
    Status GetWriterStatus(ServerContext*, const v1::SessionRequest* request, v1::WriterStatusReply* reply) override {
        return direct(request, reply, [](Session& session) { return session.get_writer_status(); });
    }
    Status GetWriterComponents(ServerContext*, const v1::SessionRequest* request,
                               v1::WriterComponentsReply* reply) override {
        return direct(request, reply, [](Session& session) { return session.get_writer_components(); });
    }
    Status EditComponent(ServerContext*, const v1::EditComponentRequest* request, v1::StatusReply* reply) override {
        ComponentEdit edit;
        edit.writer = guid(request->writer());
        using Kind = ComponentEdit::Kind;
        switch (request->edit()) {
            case v1::EditComponentRequest::EDIT_ADD_COMPONENT:
                edit.kind = Kind::kAddComponent;
                break;
            case v1::EditComponentRequest::EDIT_SET_BACKUP_SUCCEEDED:
                edit.kind = Kind::kSetBackupSucceeded;
                break;
            case v1::EditComponentRequest::EDIT_SET_BACKUP_OPTIONS:
            case v1::EditComponentRequest::EDIT_SET_PREVIOUS_BACKUP_STAMP:
                edit.kind = Kind::kOtherBackup;
                break;
            case v1::EditComponentRequest::EDIT_SET_RESTORE_OPTIONS:
                edit.kind = Kind::kEither;
                break;
            case v1::EditComponentRequest::EDIT_SET_SELECTED_FOR_RESTORE:
            case v1::EditComponentRequest::EDIT_SET_ADDITIONAL_RESTORES:
            case v1::EditComponentRequest::EDIT_ADD_RESTORE_SUBCOMPONENT:
            case v1::EditComponentRequest::EDIT_ADD_NEW_TARGET:
            case v1::EditComponentRequest::EDIT_SET_AUTHORITATIVE_RESTORE:
            case v1::EditComponentRequest::EDIT_SET_ROLL_FORWARD:
            case v1::EditComponentRequest::EDIT_SET_RESTORE_NAME:
                edit.kind = Kind::kOtherRestore;
                break;
            case v1::EditComponentRequest::EDIT_ADD_ALTERNATIVE_LOCATION:
            case v1::EditComponentRequest::EDIT_SET_FILE_RESTORE_STATUS:
            case v1::EditComponentRequest::EDIT_SET_RANGES_FILE_PATH:
                edit.kind = Kind::kDuringRestore;
                break;
            default:
                fail_with(reply, {vss::kInvalidArgument, "no such edit"});
                return Status::OK;
        }
        return direct(request, reply, [&](Session& session) { return session.edit_component(edit); });
    }

    Status StartSnapshotSet(ServerContext*, const v1::StartSnapshotSetRequest* request, v1::IdReply* reply) override {
        return awaited<Guid>(
            request, reply,
            [&](Session& session) { return session.start_snapshot_set(std::chrono::milliseconds(request->wait_ms())); },
            [&](const Guid& id) { reply->set_id(id.text()); });
    }
    Status AddToSnapshotSet(ServerContext*, const v1::AddToSnapshotSetRequest* request, v1::IdReply* reply) override {
        const auto provider = strict_guid(request->provider());
        if (!provider) {
            fail_with(reply, {vss::kInvalidArgument, "the provider id is no GUID"});
            return Status::OK;
        }
        return awaited<Guid>(
            request, reply, [&](Session& session) { return session.add_to_snapshot_set(request->volume(), *provider); },
            [&](const Guid& id) { reply->set_id(id.text()); });
    }
    Status PrepareForBackup(ServerContext*, const v1::SessionRequest* request, v1::OperationReply* reply) override {
        return operation(request, reply, [](Session& session) { return session.prepare_for_backup(); });
    }
    Status DoSnapshotSet(ServerContext*, const v1::SessionRequest* request, v1::OperationReply* reply) override {
        return awaited<OperationPtr>(
            request, reply, [](Session& session) { return session.do_snapshot_set(); },
            [&](const OperationPtr& one) { reply->set_operation(one->id.text()); });
    }
    Status BackupComplete(ServerContext*, const v1::SessionRequest* request, v1::OperationReply* reply) override {
        return operation(request, reply, [](Session& session) { return session.backup_complete(); });
    }
    Status AbortBackup(ServerContext*, const v1::SessionRequest* request, v1::StatusReply* reply) override {
        return awaited<void>(request, reply, [](Session& session) { return session.abort_backup(); });
    }
    Status PreRestore(ServerContext*, const v1::SessionRequest* request, v1::OperationReply* reply) override {
        return operation(request, reply, [](Session& session) { return session.pre_restore(); });
    }
    Status PostRestore(ServerContext*, const v1::SessionRequest* request, v1::OperationReply* reply) override {
        return operation(request, reply, [](Session& session) { return session.post_restore(); });
    }
    Status SaveAsXML(ServerContext*, const v1::SessionRequest* request, v1::XmlReply* reply) override {
        return on_session(request, reply, [&](Session& session) {
            const Answer<std::string> xml = session.save_as_xml();
            if (!xml) return fail_with(reply, xml.error());
            succeed(reply);
            reply->set_xml(*xml);
        });
    }

    Status GetSnapshotProperties(ServerContext*, const v1::SnapshotRequest* request,
                                 v1::SnapshotReply* reply) override {
        return on_session(request, reply, [&](Session& session) {
            const Answer<SnapshotRecord> found = session.get_snapshot_properties(guid(request->snapshot()));
            if (!found) return fail_with(reply, found.error());
            succeed(reply);
            fill_snapshot(*found, reply->mutable_snapshot());
        });
    }
    Status Query(ServerContext*, const v1::QueryRequest* request, v1::QueryReply* reply) override {
        return on_session(request, reply, [&](Session& session) {
            const Guid object = guid(request->queried_object());
            if (request->returned_type() == vss::kObjectSnapshot) {
                const auto found = session.query_snapshots(object, request->queried_type());
                if (!found) return fail_with(reply, found.error());
                for (const SnapshotRecord& one : *found) fill_snapshot(one, reply->add_snapshots());
            } else if (request->returned_type() == vss::kObjectProvider) {
                const auto found = session.query_providers(object, request->queried_type());
                if (!found) return fail_with(reply, found.error());
                for (const ProviderInfo& one : *found) fill(one, reply->add_providers());
            } else {
                return fail_with(reply, {vss::kInvalidArgument, "only shadow copies and providers can be asked for"});
            }
            succeed(reply);
        });
    }
    Status DeleteSnapshots(ServerContext*, const v1::DeleteSnapshotsRequest* request,
                           v1::DeleteSnapshotsReply* reply) override {
        const SessionPtr session = find(request->session());
        if (!session) return refused(reply);
        const auto deleted = wait_for<Coordinator::Deleted>(
            context_.executor, [&] { return session->delete_snapshots(guid(request->object()), request->type()); });
        answer(reply, deleted.result);
        reply->set_deleted(deleted.count);
        if (!deleted.failed.is_null()) reply->set_nondeleted(deleted.failed.text());
        return Status::OK;
    }
    Status BreakSnapshotSet(ServerContext*, const v1::BreakSnapshotSetRequest* request,
                            v1::StatusReply* reply) override {
        return awaited<void>(request, reply,
                             [&](Session& session) { return session.break_snapshot_set(guid(request->set()), 0); });
    }
    Status BreakSnapshotSetEx(ServerContext*, const v1::BreakSnapshotSetRequest* request,
                              v1::OperationReply* reply) override {
        return operation(request, reply, [&](Session& session) {
            return session.break_snapshot_set_ex(guid(request->set()), request->flags());
        });
    }
    Status ImportSnapshots(ServerContext*, const v1::SessionRequest* request, v1::OperationReply* reply) override {
        return operation(request, reply, [](Session& session) { return session.import_snapshots(); });
    }
    Status ExposeSnapshot(ServerContext*, const v1::ExposeSnapshotRequest* request,
                          v1::ExposeSnapshotReply* reply) override {
        std::optional<std::string> root;
        std::optional<std::string> target;
        if (request->has_path_from_root()) root = request->path_from_root();
        if (request->has_expose()) target = request->expose();
        return awaited<std::string>(
            request, reply,
            [&](Session& session) {
                return session.expose_snapshot(guid(request->snapshot()), root, request->attributes(), target);
            },
            [&](const std::string& exposed) { reply->set_exposed(exposed); });
    }
    Status UnexposeSnapshot(ServerContext*, const v1::SnapshotRequest* request, v1::StatusReply* reply) override {
        return awaited<void>(request, reply,
                             [&](Session& session) { return session.unexpose_snapshot(guid(request->snapshot())); });
    }
    Status IsVolumeSupported(ServerContext*, const v1::IsVolumeSupportedRequest* request,
                             v1::BoolReply* reply) override {
        return awaited<bool>(
            request, reply,
            [&](Session& session) { return session.is_volume_supported(guid(request->provider()), request->volume()); },
            [&](const bool& supported) { reply->set_value(supported); });
    }
    Status IsVolumeSnapshotted(ServerContext*, const v1::IsVolumeSupportedRequest* request,
                               v1::VolumeSnapshottedReply* reply) override {
        const auto found = wait_for<Answer<bool>>(
            context_.executor, [&] { return context_.coordinator.is_volume_snapshotted(request->volume()); });
        if (!found) {
            fail_with(reply, found.error());
            return Status::OK;
        }
        succeed(reply);
        reply->set_snapshotted(*found);
        return Status::OK;
    }
    Status AddSnapshotToRecoverySet(ServerContext*, const v1::AddSnapshotToRecoverySetRequest* request,
                                    v1::StatusReply* reply) override {
        std::optional<std::string> destination;
        if (request->has_destination()) destination = request->destination();
        return awaited<void>(request, reply, [&](Session& session) {
            return session.add_snapshot_to_recovery_set(guid(request->snapshot()), request->flags(), destination);
        });
    }
    Status RecoverSet(ServerContext*, const v1::RecoverSetRequest* request, v1::OperationReply* reply) override {
        return awaited<OperationPtr>(
            request, reply, [&](Session& session) { return session.recover_set(request->flags()); },
            [&](const OperationPtr& one) { reply->set_operation(one->id.text()); });
    }
    Status RevertToSnapshot(ServerContext*, const v1::RevertToSnapshotRequest* request,
                            v1::StatusReply* reply) override {
        return direct(request, reply,
                      [&](Session& session) { return session.revert_to_snapshot(guid(request->snapshot())); });
    }
    Status QueryRevertStatus(ServerContext*, const v1::IsVolumeSupportedRequest*, v1::OperationReply* reply) override {
        fail_with(reply, {vss::kObjectNotFound, "no revert is running"});
        return Status::OK;
    }

    Status QueryOperation(ServerContext*, const v1::OperationRequest* request, v1::OperationState* reply) override {
        call_on(context_.executor, [&] {
            state_of(guid(request->operation()), reply);
            return true;
        });
        return Status::OK;
    }
    Status WaitOperation(ServerContext*, const v1::WaitOperationRequest* request, v1::OperationState* reply) override {
        wait_for<bool>(context_.executor,
                       [&] { return wait_operation(guid(request->operation()), request->timeout_ms()); });
        const bool over = call_on(context_.executor, [&] {
            state_of(guid(request->operation()), reply);
            return !context_.coordinator.stopping() || reply->result() != vss::kAsyncPending;
        });
        // One who waits on would ask again at once.
        return over ? Status::OK : Status(grpc::StatusCode::UNAVAILABLE, "umbra-hostd ends");
    }
    Status CancelOperation(ServerContext*, const v1::OperationRequest* request, v1::StatusReply* reply) override {
        const ComCode code = call_on(context_.executor,
                                     [&] { return context_.coordinator.cancel_operation(guid(request->operation())); });
        reply->mutable_status()->set_hresult(code);
        return Status::OK;
    }
    Status ReleaseOperation(ServerContext*, const v1::OperationRequest* request, v1::StatusReply* reply) override {
        call_on(context_.executor, [&] {
            context_.coordinator.release_operation(guid(request->operation()));
            return true;
        });
        succeed(reply);
        return Status::OK;
    }

private:
    static std::optional<std::string> xml_of(const v1::InitializeRequest& request) {
        if (!request.has_xml()) return std::nullopt;
        return request.xml();
    }
    SessionPtr find(const std::string& id) {
        return call_on(context_.executor, [&] { return context_.coordinator.find_session(guid(id)); });
    }
    template <class Reply>
    Status refused(Reply* reply) {
        fail_with(reply, no_session());
        return Status::OK;
    }
    /// `work` runs on the executor with the session.
    template <class Request, class Reply, class Work>
    Status on_session(const Request* request, Reply* reply, Work&& work) {
        call_on(context_.executor, [&] {
            const SessionPtr session = context_.coordinator.find_session(guid(request->session()));
            if (session) {
                work(*session);
            } else {
                fail_with(reply, no_session());
            }
            return true;
        });
        return Status::OK;
    }
    template <class Request, class Reply, class Work>
    Status direct(const Request* request, Reply* reply, Work&& work) {
        return on_session(request, reply, [&](Session& session) { answer(reply, work(session)); });
    }
    template <class Request, class Work>
    Status operation(const Request* request, v1::OperationReply* reply, Work&& work) {
        return on_session(request, reply, [&](Session& session) { answer_operation(reply, work(session)); });
    }
    template <class T, class Request, class Reply, class Work, class Use = std::nullptr_t>
    Status awaited(const Request* request, Reply* reply, Work&& work, Use&& use = nullptr) {
        const SessionPtr session = find(request->session());
        if (!session) return refused(reply);
        const auto result = wait_for<Answer<T>>(context_.executor, [&] { return work(*session); });
        if (!result) {
            fail_with(reply, result.error());
            return Status::OK;
        }
        succeed(reply);
        if constexpr (!std::is_void_v<T>) use(*result);
        return Status::OK;
    }
    Task<bool> close(Guid id) {
        co_await context_.coordinator.close_session(id);
        co_return true;
    }
    Task<bool> wait_operation(Guid id, uint32_t timeout_ms) {
        const OperationPtr one = context_.coordinator.find_operation(id);
        if (!one || !one->running()) co_return true;
        constexpr uint32_t kInfinite = 0xffffffff;
        const env::Duration limit = timeout_ms == kInfinite ? env::Duration(std::chrono::hours(24 * 365))
                                                            : env::Duration(std::chrono::milliseconds(timeout_ms));
        const env::Instant until = context_.executor.now() + limit;
        co_await context_.coordinator.wait_operation(one, until);
        co_return true;
    }
    void state_of(const Guid& id, v1::OperationState* reply) {
        const OperationPtr one = context_.coordinator.find_operation(id);
        if (!one) {
            fail_with(reply, {vss::kObjectNotFound, "no such operation"});
            return;
        }
        succeed(reply);
        fill(*one, reply);
    }
    void fill_snapshot(const SnapshotRecord& from, v1::Snapshot* to) {
        for (const auto& [id, set] : context_.coordinator.sets()) {
            for (const SnapshotRecord& one : set.snapshots) {
                if (one.id == from.id) {
                    fill(from, &set, id, to);
                    return;
                }
            }
        }
    }

    ServiceContext& context_;
};

class AdministrationService final : public v1::VssAdministration::Service {
public:
    explicit AdministrationService(ServiceContext& context) : context_(context) {}

    Status GetHostStatus(ServerContext*, const v1::Empty*, v1::HostStatus* reply) override {
        call_on(context_.executor, [&] {
            reply->set_machine(context_.coordinator.options().machine);
            reply->set_version(context_.version);
            reply->set_creation_in_progress(context_.coordinator.creation_in_progress());
            reply->set_sessions(static_cast<uint32_t>(context_.coordinator.session_count()));
            reply->set_safe_mode(context_.coordinator.options().safe_mode);
            return true;
        });
        return Status::OK;
    }
    Status ListShadows(ServerContext*, const v1::ListShadowsRequest*, v1::ListShadowsReply* reply) override {
        call_on(context_.executor, [&] {
            for (const auto& [id, set] : context_.coordinator.sets()) {
                v1::ShadowSet* out = reply->add_sets();
                out->set_id(id.text());
                out->set_state(std::string(to_string(set.state)));
                out->set_context(set.context);
                for (const SnapshotRecord& one : set.snapshots) fill(one, &set, id, out->add_snapshots());
            }
            return true;
        });
        return Status::OK;
    }
    Status CleanupSet(ServerContext*, const v1::CleanupSetRequest* request, v1::CleanupSetReply* reply) override {
        const auto cleaned = wait_for<Answer<uint32_t>>(
            context_.executor, [&] { return context_.coordinator.cleanup_set(guid(request->set())); });
        if (!cleaned) {
            fail_with(reply, cleaned.error());
            return Status::OK;
        }
        succeed(reply);
        reply->set_luns_released(*cleaned);
        return Status::OK;
    }
    Status ListProviders(ServerContext*, const v1::Empty*, v1::ListProvidersReply* reply) override {
        call_on(context_.executor, [&] {
            for (const Surrogate* one : context_.providers()) {
                v1::ProviderInstance* out = reply->add_providers();
                fill(one->info(), out->mutable_provider());
                out->set_library(one->options().library);
                const Surrogate::Status status = one->status();
                out->set_state(status.state);
                out->set_pid(static_cast<uint32_t>(status.pid));
                out->set_restarts(status.starts > 0 ? status.starts - 1 : 0);
                out->set_configured(true);
            }
            return true;
        });
        return Status::OK;
    }
    Status RegisterProvider(ServerContext*, const v1::RegisterProviderRequest*, v1::StatusReply* reply) override {
        fail_with(reply, {vss::kNotImplemented, "providers are registered in host.toml, [[provider]]"});
        return Status::OK;
    }
    Status UnregisterProvider(ServerContext*, const v1::UnregisterProviderRequest*, v1::StatusReply* reply) override {
        fail_with(reply, {vss::kNotImplemented, "providers are registered in host.toml, [[provider]]"});
        return Status::OK;
    }
    Status ListEvents(ServerContext*, const v1::ListEventsRequest* request, v1::ListEventsReply* reply) override {
        const bool ok = call_on(context_.executor, [&] {
            const auto events =
                context_.store.events(request->after(), request->limit() == 0 ? 1000 : request->limit());
            if (!events) return false;
            for (const EventRecord& event : *events) {
                v1::Event* out = reply->add_events();
                out->set_sequence(event.sequence);
                out->set_unix_ms(event.unix_ms);
                out->set_id(event.id);
                out->set_severity(event.severity);
                out->set_text(event.text);
                for (const auto& [name, value] : event.fields) (*out->mutable_fields())[name] = value;
            }
            return true;
        });
        return ok ? Status::OK : Status(grpc::StatusCode::INTERNAL, "the events cannot be read");
    }
    Status ListOperations(ServerContext*, const v1::Empty*, v1::ListOperationsReply* reply) override {
        call_on(context_.executor, [&] {
            for (const OperationPtr& one : context_.coordinator.operations()) {
                v1::Operation* out = reply->add_operations();
                out->set_id(one->id.text());
                out->set_kind(one->kind);
                fill(*one, out->mutable_state());
            }
            return true;
        });
        return Status::OK;
    }

private:
    ServiceContext& context_;
};

Task<void> end_all(Coordinator* coordinator, env::Event* closed) {
    co_await coordinator->stop();
    co_await closed->wait();
}

}  // namespace

void shut_down(env::Loop& loop, grpc::Server& server, Coordinator& coordinator, const ShutdownLimits& limits) {
    env::Event closed(loop);
    const env::TimerId timer = loop.call_at(loop.now() + limits.all, [] {
        // Something hangs in the kernel. The journal makes up for it as after a kill.
        std::fputs("<4>umbra-hostd: not everything ended in time; the next start goes on with it\n", stderr);
        std::_Exit(1);
    });
    // The loop works on for the calls that are still inside while the server lets go of them.
    std::thread closing([&] {
        server.Shutdown(std::chrono::system_clock::now() + limits.calls);
        server.Wait();
        loop.post([&] { closed.set(); });
    });
    const bool ended = loop.run(end_all(&coordinator, &closed));
    UMBRA_CHECK(ended);
    loop.cancel_timer(timer);
    closing.join();
}

std::unique_ptr<grpc::Service> make_vss_service(ServiceContext& context) {
    return std::make_unique<VssService>(context);
}
std::unique_ptr<grpc::Service> make_vss_administration(ServiceContext& context) {
    return std::make_unique<AdministrationService>(context);
}

}  // namespace umbra::coordinator

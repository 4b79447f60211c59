#include "array_rpc/server.h"

#include <grp.h>
#include <grpcpp/server.h>
#include <grpcpp/server_builder.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <atomic>
#include <chrono>

#include "array.grpc.pb.h"
#include "array_rpc/convert.h"
#include "array_rpc/status.h"
#include "env/sync.h"

namespace umbra::array_rpc {

using base::Code;
using base::fail;
using base::Result;
using env::Task;

namespace {

constexpr int kMaxMessageBytes = 4 << 20;  // of requests
constexpr size_t kEventsPerLook = 256;
constexpr uint32_t kMaxEventsPerReply = 1000;
constexpr std::chrono::seconds kShutdownGrace{10};

grpc::Status refuse(grpc::CallbackServerContext* context, const base::Error& error) {
    context->AddTrailingMetadata(kCodeMetadata, std::string(base::to_string(error.code)));
    return to_status(error);
}

/// Counts what is in flight; a permit is given back when it goes.
class Gate {
public:
    explicit Gate(size_t limit) : limit_(limit) {}
    bool enter() {
        if (count_.fetch_add(1) < limit_) return true;
        --count_;
        return false;
    }
    void leave() { --count_; }

private:
    const size_t limit_;
    std::atomic<size_t> count_ = 0;
};

/// A stream of messages to one client. Made on a gRPC thread; everything but the reactor's callbacks happens on the
/// executor. Lives until both the producer and gRPC are done with it.
template <class Message>
class Stream final : public grpc::ServerWriteReactor<Message>, public std::enable_shared_from_this<Stream<Message>> {
public:
    Stream(env::Executor& executor, array::ArrayModel& model, Gate& gate, grpc::CallbackServerContext* context)
        : executor_(executor), model_(model), gate_(gate), context_(context), written_(executor) {}

    void begin() { self_ = this->shared_from_this(); }
    bool cancelled() const { return cancelled_; }

    /// False when the client is gone.
    Task<bool> send(Message message) {
        if (cancelled_) co_return false;
        message_ = std::move(message);
        writing_ = true;
        this->StartWrite(&message_);
        while (writing_) co_await written_.wait();
        co_return write_ok_ && !cancelled_;
    }
    void finish(const Result<void>& outcome) {
        this->Finish(outcome ? grpc::Status::OK : refuse(context_, outcome.error()));
    }

    void OnWriteDone(bool ok) override {
        executor_.post([self = this->shared_from_this(), ok] {
            self->writing_ = false;
            self->write_ok_ = ok;
            self->written_.wake_all();
        });
    }
    void OnCancel() override {
        executor_.post([self = this->shared_from_this()] {
            self->cancelled_ = true;
            self->model_.wake_watchers();
        });
    }
    void OnDone() override {
        gate_.leave();
        executor_.post([self = std::move(self_)] {});
    }

private:
    env::Executor& executor_;
    array::ArrayModel& model_;
    Gate& gate_;
    grpc::CallbackServerContext* context_;
    std::shared_ptr<Stream> self_;  // gRPC's share
    Message message_;
    bool writing_ = false;
    bool write_ok_ = true;
    bool cancelled_ = false;
    env::Event written_;
};

using TaskStream = std::shared_ptr<Stream<pb::Task>>;
using EventStream = std::shared_ptr<Stream<pb::Event>>;

/// What each call does, on the executor.
class Calls {
public:
    Calls(env::Executor& executor, array::ArrayModel& model) : executor_(executor), model_(model) {}

    Task<Result<pb::ArrayStatus>> get_status(pb::GetStatusRequest) {
        pb::ArrayStatus reply;
        to_proto(model_.status(), &reply);
        co_return reply;
    }
    Task<Result<pb::Lun>> create_lun(pb::CreateLunRequest request) {
        array::CreateLun create{request.name(), request.size_bytes(), request.type(), request.width()};
        co_return lun_reply(co_await model_.create_lun(std::move(create)));
    }
    Task<Result<pb::Lun>> get_lun(pb::LunRef request) {
        UMBRA_CO_ASSIGN(const array::LunRef ref, from_proto(request));
        co_return lun_reply(model_.get_lun(ref));
    }
    Task<Result<pb::ListLunsReply>> list_luns(pb::ListLunsRequest request) {
        std::vector<array::LunKind> kinds;
        for (const int kind : request.kinds()) {
            UMBRA_CO_ASSIGN(const array::LunKind known, from_proto(static_cast<pb::LunKind>(kind)));
            kinds.push_back(known);
        }
        co_return luns_reply(model_.list_luns(kinds));
    }
    Task<Result<pb::Empty>> delete_lun(pb::DeleteLunRequest request) {
        UMBRA_CO_ASSIGN(array::LunRef ref, from_proto(request.lun()));
        UMBRA_CO_TRY(co_await model_.delete_lun(std::move(ref), request.force()));
        co_return pb::Empty();
    }
    Task<Result<pb::Lun>> resize_lun(pb::ResizeLunRequest request) {
        UMBRA_CO_ASSIGN(array::LunRef ref, from_proto(request.lun()));
        co_return lun_reply(co_await model_.resize_lun(std::move(ref), request.size_bytes(), request.force()));
    }
    Task<Result<pb::Lun>> rename_lun(pb::RenameLunRequest request) {
        UMBRA_CO_ASSIGN(array::LunRef ref, from_proto(request.lun()));
        co_return lun_reply(co_await model_.rename_lun(std::move(ref), request.name()));
    }
    Task<Result<pb::Lun>> update_lun(pb::UpdateLunRequest request) {
        UMBRA_CO_ASSIGN(array::LunRef ref, from_proto(request.lun()));
        UMBRA_CO_ASSIGN(array::UpdateLun update, from_proto(request));
        co_return lun_reply(co_await model_.update_lun(std::move(ref), std::move(update)));
    }
    Task<Result<pb::ListLunsReply>> create_snapshots(pb::CreateSnapshotsRequest request, array::Wanted wanted) {
        UMBRA_CO_ASSIGN(const array::LunKind kind, from_proto(request.kind()));
        std::vector<array::SnapshotItem> items;
        for (const auto& item : request.items()) {
            UMBRA_CO_ASSIGN(array::SnapshotItem converted, from_proto(item));
            items.push_back(std::move(converted));
        }
        UMBRA_CO_ASSIGN(const std::vector<array::LunView> made,
                        co_await model_.create_snapshots(std::move(items), kind, std::move(wanted)));
        co_return luns_reply(made);
    }
    Task<Result<pb::Task>> resync_lun(pb::ResyncLunRequest request, array::Wanted wanted) {
        array::ResyncLun resync;
        UMBRA_CO_ASSIGN(resync.destination, from_proto(request.destination()));
        UMBRA_CO_ASSIGN(resync.source, from_proto(request.source()));
        resync.force = request.force();
        resync.keep_name = request.keep_name();
        co_return task_reply(co_await model_.resync_lun(std::move(resync), std::move(wanted)));
    }
    Task<Result<pb::Task>> recover_lun(pb::RecoverLunRequest request) {
        UMBRA_CO_ASSIGN(array::LunRef ref, from_proto(request.lun()));
        co_return task_reply(co_await model_.recover_lun(std::move(ref)));
    }
    Task<Result<pb::Lun>> add_mask(pb::MaskRequest request) {
        UMBRA_CO_ASSIGN(array::MaskChange change, mask_change(request));
        co_return lun_reply(co_await model_.add_mask(std::move(change)));
    }
    Task<Result<pb::Lun>> remove_mask(pb::MaskRequest request) {
        UMBRA_CO_ASSIGN(array::MaskChange change, mask_change(request));
        co_return lun_reply(co_await model_.remove_mask(std::move(change)));
    }
    Task<Result<pb::ListSessionsReply>> list_sessions(pb::Empty) {
        pb::ListSessionsReply reply;
        for (const array::SessionView& session : model_.list_sessions()) to_proto(session, reply.add_sessions());
        co_return reply;
    }
    Task<Result<pb::ListDrivesReply>> list_drives(pb::Empty) {
        pb::ListDrivesReply reply;
        for (const array::DriveView& drive : model_.list_drives()) to_proto(drive, reply.add_drives());
        co_return reply;
    }
    Task<Result<pb::Drive>> fail_drive(pb::FailDriveRequest request) {
        UMBRA_CO_ASSIGN(const array::DriveView drive, co_await model_.fail_drive(request.drive(), request.force()));
        pb::Drive reply;
        to_proto(drive, &reply);
        co_return reply;
    }
    Task<Result<pb::Task>> start_scrub(pb::Empty) { co_return task_reply(co_await model_.start_scrub()); }
    Task<Result<pb::ListTasksReply>> list_tasks(pb::Empty) {
        pb::ListTasksReply reply;
        for (const array::TaskView& task : model_.list_tasks()) to_proto(task, reply.add_tasks());
        co_return reply;
    }
    Task<Result<pb::Task>> get_task(pb::TaskRef request) { co_return task_reply(model_.get_task(request.id())); }
    Task<Result<pb::Task>> cancel_task(pb::TaskRef request) { co_return task_reply(model_.cancel_task(request.id())); }
    Task<Result<pb::ListEventsReply>> list_events(pb::ListEventsRequest request) {
        const uint32_t limit =
            request.limit() == 0 ? kMaxEventsPerReply : std::min(request.limit(), kMaxEventsPerReply);
        pb::ListEventsReply reply;
        for (const array::EventView& event : model_.list_events(request.after_sequence(), limit)) {
            to_proto(event, reply.add_events());
        }
        co_return reply;
    }

    Task<void> wait_task(TaskStream stream, pb::TaskRef request) {
        Result<void> outcome;
        while (!stream->cancelled()) {
            const uint64_t version = model_.version();
            const auto task = model_.get_task(request.id());
            if (!task) {
                outcome = std::unexpected(task.error());
                break;
            }
            pb::Task message;
            to_proto(*task, &message);
            const bool sent = co_await stream->send(std::move(message));
            if (!sent || task->ended()) break;
            if (stopping_) {
                outcome = fail(Code::kUnavailable, "the array is stopping");
                break;
            }
            co_await model_.wait_change_or_tick(version);
        }
        stream->finish(outcome);
    }

    Task<void> watch_events(EventStream stream, pb::ListEventsRequest request) {
        uint64_t after = request.after_sequence();
        Result<void> outcome;
        while (!stream->cancelled()) {
            const uint64_t version = model_.version();
            const std::vector<array::EventView> events = model_.list_events(after, kEventsPerLook);
            if (events.empty() && stopping_) {
                outcome = fail(Code::kUnavailable, "the array is stopping");
                break;
            }
            if (events.empty()) co_await model_.wait_change(version);
            bool sent = true;
            for (const array::EventView& event : events) {
                pb::Event message;
                to_proto(event, &message);
                sent = co_await stream->send(std::move(message));
                if (!sent) break;
                after = event.sequence;
            }
            if (!sent) break;
        }
        stream->finish(outcome);
    }

    void stop_streams() {
        stopping_ = true;
        model_.wake_watchers();
    }
    env::Executor& executor() { return executor_; }
    array::ArrayModel& model() { return model_; }

private:
    static Result<pb::Lun> lun_reply(const Result<array::LunView>& lun) {
        if (!lun) return std::unexpected(lun.error());
        pb::Lun reply;
        to_proto(*lun, &reply);
        return reply;
    }
    static Result<pb::Task> task_reply(const Result<array::TaskView>& task) {
        if (!task) return std::unexpected(task.error());
        pb::Task reply;
        to_proto(*task, &reply);
        return reply;
    }
    static pb::ListLunsReply luns_reply(const std::vector<array::LunView>& luns) {
        pb::ListLunsReply reply;
        for (const array::LunView& lun : luns) to_proto(lun, reply.add_luns());
        return reply;
    }
    static Result<array::MaskChange> mask_change(const pb::MaskRequest& request) {
        array::MaskChange change;
        UMBRA_ASSIGN(change.lun, from_proto(request.lun()));
        change.initiator = request.initiator();
        change.target_iqn = request.target_iqn();
        change.force = request.force();
        return change;
    }

    env::Executor& executor_;
    array::ArrayModel& model_;
    bool stopping_ = false;
};

/// The gRPC face: each call is posted to the executor and answered from there. No gRPC thread ever waits.
class Service final : public pb::ArrayManagement::CallbackService {
public:
    explicit Service(Calls& calls) : calls_(calls) {}

    using Context = grpc::CallbackServerContext;
    using Reactor = grpc::ServerUnaryReactor;

    Reactor* GetStatus(Context* c, const pb::GetStatusRequest* q, pb::ArrayStatus* r) override {
        return run(c, q, r, &Calls::get_status);
    }
    Reactor* CreateLun(Context* c, const pb::CreateLunRequest* q, pb::Lun* r) override {
        return run(c, q, r, &Calls::create_lun);
    }
    Reactor* GetLun(Context* c, const pb::LunRef* q, pb::Lun* r) override { return run(c, q, r, &Calls::get_lun); }
    Reactor* ListLuns(Context* c, const pb::ListLunsRequest* q, pb::ListLunsReply* r) override {
        return run(c, q, r, &Calls::list_luns);
    }
    Reactor* DeleteLun(Context* c, const pb::DeleteLunRequest* q, pb::Empty* r) override {
        return run(c, q, r, &Calls::delete_lun);
    }
    Reactor* ResizeLun(Context* c, const pb::ResizeLunRequest* q, pb::Lun* r) override {
        return run(c, q, r, &Calls::resize_lun);
    }
    Reactor* RenameLun(Context* c, const pb::RenameLunRequest* q, pb::Lun* r) override {
        return run(c, q, r, &Calls::rename_lun);
    }
    Reactor* UpdateLun(Context* c, const pb::UpdateLunRequest* q, pb::Lun* r) override {
        return run(c, q, r, &Calls::update_lun);
    }
    Reactor* CreateSnapshots(Context* c, const pb::CreateSnapshotsRequest* q, pb::ListLunsReply* r) override {
        return run(c, q, r, &Calls::create_snapshots);
    }
    Reactor* ResyncLun(Context* c, const pb::ResyncLunRequest* q, pb::Task* r) override {
        return run(c, q, r, &Calls::resync_lun);
    }
    Reactor* RecoverLun(Context* c, const pb::RecoverLunRequest* q, pb::Task* r) override {
        return run(c, q, r, &Calls::recover_lun);
    }
    Reactor* AddMask(Context* c, const pb::MaskRequest* q, pb::Lun* r) override {
        return run(c, q, r, &Calls::add_mask);
    }
    Reactor* RemoveMask(Context* c, const pb::MaskRequest* q, pb::Lun* r) override {
        return run(c, q, r, &Calls::remove_mask);
    }
    Reactor* ListSessions(Context* c, const pb::Empty* q, pb::ListSessionsReply* r) override {
        return run(c, q, r, &Calls::list_sessions);
    }
    Reactor* ListDrives(Context* c, const pb::Empty* q, pb::ListDrivesReply* r) override {
        return run(c, q, r, &Calls::list_drives);
    }
    Reactor* FailDrive(Context* c, const pb::FailDriveRequest* q, pb::Drive* r) override {
        return run(c, q, r, &Calls::fail_drive);
    }
    Reactor* StartScrub(Context* c, const pb::Empty* q, pb::Task* r) override {
        return run(c, q, r, &Calls::start_scrub);
    }
    Reactor* ListTasks(Context* c, const pb::Empty* q, pb::ListTasksReply* r) override {
        return run(c, q, r, &Calls::list_tasks);
    }
    Reactor* GetTask(Context* c, const pb::TaskRef* q, pb::Task* r) override { return run(c, q, r, &Calls::get_task); }
    Reactor* CancelTask(Context* c, const pb::TaskRef* q, pb::Task* r) override {
        return run(c, q, r, &Calls::cancel_task);
    }
    Reactor* ListEvents(Context* c, const pb::ListEventsRequest* q, pb::ListEventsReply* r) override {
        return run(c, q, r, &Calls::list_events);
    }
    grpc::ServerWriteReactor<pb::Task>* WaitTask(Context* c, const pb::TaskRef* q) override {
        return start(c, q, &Calls::wait_task);
    }
    grpc::ServerWriteReactor<pb::Event>* WatchEvents(Context* c, const pb::ListEventsRequest* q) override {
        return start(c, q, &Calls::watch_events);
    }

private:
    template <class Request, class Reply>
    Reactor* run(Context* context, const Request* request, Reply* reply,
                 Task<Result<Reply>> (Calls::*method)(Request)) {
        return enter(context, reply, [this, request, method] { return (calls_.*method)(*request); });
    }
    /// For changes that must not happen after their caller has stopped waiting: it takes their absence for granted.
    template <class Request, class Reply>
    Reactor* run(Context* context, const Request* request, Reply* reply,
                 Task<Result<Reply>> (Calls::*method)(Request, array::Wanted)) {
        return enter(context, reply, [this, context, request, method] {
            return (calls_.*method)(*request, [context] {
                return !context->IsCancelled() && std::chrono::system_clock::now() < context->deadline();
            });
        });
    }

    /// `start` makes the call on the executor. What the context, the request and the reply point to lives until
    /// Finish().
    template <class Reply, class Start>
    Reactor* enter(Context* context, Reply* reply, Start start) {
        Reactor* reactor = context->DefaultReactor();
        if (!calls_in_flight_.enter()) {
            reactor->Finish(refuse(context, {Code::kBusy, "too many calls wait for the array: try again"}));
            return reactor;
        }
        calls_.executor().post(
            [this, context, reply, reactor, start] { env::spawn_detached(answer(context, reply, reactor, start())); });
        return reactor;
    }

    template <class Reply>
    Task<void> answer(Context* context, Reply* reply, Reactor* reactor, Task<Result<Reply>> call) {
        Result<Reply> result = co_await std::move(call);
        calls_in_flight_.leave();
        if (result) {
            *reply = std::move(*result);
            reactor->Finish(grpc::Status::OK);
        } else {
            reactor->Finish(refuse(context, result.error()));
        }
    }

    /// Ends at once with a status.
    template <class Message>
    class Refused final : public grpc::ServerWriteReactor<Message> {
    public:
        explicit Refused(const grpc::Status& status) { this->Finish(status); }
        void OnDone() override { delete this; }
    };

    template <class Message, class Request>
    grpc::ServerWriteReactor<Message>* start(Context* context, const Request* request,
                                             Task<void> (Calls::*method)(std::shared_ptr<Stream<Message>>, Request)) {
        if (!streams_.enter()) {
            return new Refused<Message>(refuse(context, {Code::kBusy, "too many clients wait for the array"}));
        }
        auto stream = std::make_shared<Stream<Message>>(calls_.executor(), calls_.model(), streams_, context);
        stream->begin();
        calls_.executor().post(
            [this, stream, copy = *request, method] { env::spawn_detached((calls_.*method)(stream, copy)); });
        return stream.get();
    }

    Calls& calls_;
    Gate calls_in_flight_{kMaxCallsInFlight};
    Gate streams_{kMaxStreams};
};

}  // namespace

struct ManagementServer::Impl {
    Impl(env::Executor& executor, array::ArrayModel& model) : calls(executor, model), service(calls) {}
    Calls calls;
    Service service;
    std::unique_ptr<grpc::Server> server;
    std::string path;
};

ManagementServer::ManagementServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}

ManagementServer::~ManagementServer() {
    UMBRA_CHECK(impl_->server == nullptr);
}

Result<std::unique_ptr<ManagementServer>> ManagementServer::start(env::Executor& executor, array::ArrayModel& model,
                                                                  const ServerOptions& options) {
    if (!options.address.starts_with("unix:") || options.address.size() <= 5) {
        return fail(Code::kInvalidArgument,
                    "\"" + options.address + "\" is no unix:/path: management listens on nothing else");
    }
    auto impl = std::make_unique<Impl>(executor, model);
    impl->path = options.address.substr(5);
    if (impl->path.size() >= sizeof(sockaddr_un::sun_path)) {
        return fail(Code::kInvalidArgument, "the socket's path is longer than the " +
                                                std::to_string(sizeof(sockaddr_un::sun_path) - 1) +
                                                " bytes that Linux allows: " + impl->path);
    }
    struct stat found{};
    if (lstat(impl->path.c_str(), &found) == 0 && !S_ISSOCK(found.st_mode)) {
        return fail(Code::kInvalidArgument, impl->path + " exists and is no socket");
    }
    grpc::ServerBuilder builder;
    builder.AddListeningPort(options.address, grpc::InsecureServerCredentials());
    builder.SetMaxReceiveMessageSize(kMaxMessageBytes);
    builder.SetMaxSendMessageSize(-1);
    builder.RegisterService(&impl->service);
    // Never open to others, not even between bind() and chmod().
    const mode_t mask = umask(0117);
    impl->server = builder.BuildAndStart();
    umask(mask);
    if (impl->server == nullptr) return fail(Code::kIo, "cannot listen on " + options.address);
    if (const group* owner = getgrnam(options.group.c_str()); owner != nullptr) {
        // Without the right to do so the socket stays the daemon's own.
        if (chown(impl->path.c_str(), static_cast<uid_t>(-1), owner->gr_gid) != 0) errno = 0;
    }
    return std::unique_ptr<ManagementServer>(new ManagementServer(std::move(impl)));
}

void ManagementServer::shutdown() {
    if (impl_->server == nullptr) return;
    impl_->calls.executor().post([calls = &impl_->calls] { calls->stop_streams(); });
    impl_->server->Shutdown(std::chrono::system_clock::now() + kShutdownGrace);
    impl_->server->Wait();
    impl_->server.reset();
    unlink(impl_->path.c_str());
}

}  // namespace umbra::array_rpc

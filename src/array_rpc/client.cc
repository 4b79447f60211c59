#include "array_rpc/client.h"

#include <grpcpp/create_channel.h>

#include <algorithm>
#include <mutex>
#include <set>

#include "array.grpc.pb.h"
#include "array_rpc/convert.h"
#include "array_rpc/status.h"

namespace umbra::array_rpc {

using base::Code;
using base::fail;
using base::Result;

namespace {

constexpr int kMaxMessageBytes = 64 << 20;
constexpr std::chrono::milliseconds kSingleTry{2'000};

std::string_view umbra_code(const grpc::ClientContext& context) {
    const auto& metadata = context.GetServerTrailingMetadata();
    const auto found = metadata.find(kCodeMetadata);
    return found == metadata.end() ? std::string_view() : std::string_view(found->second.data(), found->second.size());
}

}  // namespace

struct ArrayClient::Impl {
    ClientOptions options;
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<pb::ArrayManagement::Stub> stub;
    std::mutex mutex;
    std::set<grpc::ClientContext*> streams;

    Result<void> connect() {
        const auto wait = std::max(options.connect_deadline, kSingleTry);
        const auto deadline = std::chrono::system_clock::now() + wait;
        if (!channel->WaitForConnected(deadline)) {
            return fail(Code::kUnavailable, "no array answers at " + options.address +
                                                ": is umbra-arrayd running, and may you use its socket?");
        }
        return {};
    }

    template <class Request, class Reply>
    using Method = grpc::Status (pb::ArrayManagement::Stub::*)(grpc::ClientContext*, const Request&, Reply*);

    template <class Request, class Reply>
    Result<Reply> call(Method<Request, Reply> method, const Request& request) {
        UMBRA_TRY(connect());
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + options.call_timeout);
        Reply reply;
        const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
        if (!status.ok()) return std::unexpected(from_status(status, umbra_code(context)));
        return reply;
    }

    /// Calls `sink` with each message until it returns false (true is returned) or the stream ends (false).
    template <class Message, class Start, class Sink>
    Result<bool> stream(Start start, Sink sink) {
        UMBRA_TRY(connect());
        grpc::ClientContext context;
        std::unique_ptr<grpc::ClientReader<Message>> reader = start(&context);
        {
            const std::lock_guard lock(mutex);
            streams.insert(&context);
        }
        Message message;
        bool stopped = false;
        while (!stopped && reader->Read(&message)) stopped = !sink(message);
        {
            const std::lock_guard lock(mutex);
            streams.erase(&context);
        }
        if (stopped) context.TryCancel();
        const grpc::Status status = reader->Finish();
        if (stopped) return true;
        if (!status.ok()) return std::unexpected(from_status(status, umbra_code(context)));
        return false;
    }
};

ArrayClient::ArrayClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ArrayClient::~ArrayClient() = default;

Result<std::unique_ptr<ArrayClient>> ArrayClient::make(ClientOptions options) {
    if (!options.address.starts_with("unix:") || options.address.size() <= 5) {
        return fail(Code::kInvalidArgument,
                    "\"" + options.address + "\" is no address of an array: use unix:/path/to/array.sock");
    }
    auto impl = std::make_unique<Impl>();
    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    arguments.SetMaxSendMessageSize(kMaxMessageBytes);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MIN_RECONNECT_BACKOFF_MS, 50);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
    // A channel of its own: another client's failed attempts do not delay this one.
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_ENABLE_HTTP_PROXY, 0);
    impl->channel = grpc::CreateCustomChannel(options.address, grpc::InsecureChannelCredentials(), arguments);
    impl->stub = pb::ArrayManagement::NewStub(impl->channel);
    impl->options = std::move(options);
    return std::unique_ptr<ArrayClient>(new ArrayClient(std::move(impl)));
}

using Stub = pb::ArrayManagement::Stub;

Result<array::StatusView> ArrayClient::status() {
    UMBRA_ASSIGN(const pb::ArrayStatus reply, impl_->call(&Stub::GetStatus, pb::GetStatusRequest()));
    return from_proto(reply);
}

Result<array::LunView> ArrayClient::create_lun(const array::CreateLun& request) {
    pb::CreateLunRequest message;
    message.set_name(request.name);
    message.set_size_bytes(request.size_bytes);
    message.set_type(request.type);
    message.set_width(request.width);
    UMBRA_ASSIGN(const pb::Lun reply, impl_->call(&Stub::CreateLun, message));
    return from_proto(reply);
}

Result<array::LunView> ArrayClient::get_lun(const array::LunRef& lun) {
    pb::LunRef message;
    to_proto(lun, &message);
    UMBRA_ASSIGN(const pb::Lun reply, impl_->call(&Stub::GetLun, message));
    return from_proto(reply);
}

namespace {
std::vector<array::LunView> all(const pb::ListLunsReply& reply) {
    std::vector<array::LunView> result;
    for (const pb::Lun& lun : reply.luns()) result.push_back(from_proto(lun));
    return result;
}
}  // namespace

Result<std::vector<array::LunView>> ArrayClient::list_luns(const std::vector<array::LunKind>& kinds) {
    pb::ListLunsRequest message;
    for (const array::LunKind kind : kinds) message.add_kinds(to_proto(kind));
    UMBRA_ASSIGN(const pb::ListLunsReply reply, impl_->call(&Stub::ListLuns, message));
    return all(reply);
}

Result<void> ArrayClient::delete_lun(const array::LunRef& lun, bool force) {
    pb::DeleteLunRequest message;
    to_proto(lun, message.mutable_lun());
    message.set_force(force);
    UMBRA_TRY(impl_->call(&Stub::DeleteLun, message));
    return {};
}

Result<array::LunView> ArrayClient::resize_lun(const array::LunRef& lun, uint64_t size_bytes, bool force) {
    pb::ResizeLunRequest message;
    to_proto(lun, message.mutable_lun());
    message.set_size_bytes(size_bytes);
    message.set_force(force);
    UMBRA_ASSIGN(const pb::Lun reply, impl_->call(&Stub::ResizeLun, message));
    return from_proto(reply);
}

Result<array::LunView> ArrayClient::rename_lun(const array::LunRef& lun, const std::string& name) {
    pb::RenameLunRequest message;
    to_proto(lun, message.mutable_lun());
    message.set_name(name);
    UMBRA_ASSIGN(const pb::Lun reply, impl_->call(&Stub::RenameLun, message));
    return from_proto(reply);
}

Result<array::LunView> ArrayClient::update_lun(const array::LunRef& lun, const array::UpdateLun& update) {
    pb::UpdateLunRequest message;
    to_proto(update, &message);
    to_proto(lun, message.mutable_lun());
    UMBRA_ASSIGN(const pb::Lun reply, impl_->call(&Stub::UpdateLun, message));
    return from_proto(reply);
}

Result<std::vector<array::LunView>> ArrayClient::create_snapshots(const std::vector<array::SnapshotItem>& items,
                                                                  array::LunKind kind) {
    pb::CreateSnapshotsRequest message;
    for (const array::SnapshotItem& item : items) to_proto(item, message.add_items());
    message.set_kind(to_proto(kind));
    UMBRA_ASSIGN(const pb::ListLunsReply reply, impl_->call(&Stub::CreateSnapshots, message));
    return all(reply);
}

Result<array::TaskView> ArrayClient::resync_lun(const array::ResyncLun& request) {
    pb::ResyncLunRequest message;
    to_proto(request.destination, message.mutable_destination());
    to_proto(request.source, message.mutable_source());
    message.set_force(request.force);
    message.set_keep_name(request.keep_name);
    UMBRA_ASSIGN(const pb::Task reply, impl_->call(&Stub::ResyncLun, message));
    return from_proto(reply);
}

Result<array::TaskView> ArrayClient::recover_lun(const array::LunRef& lun) {
    pb::RecoverLunRequest message;
    to_proto(lun, message.mutable_lun());
    UMBRA_ASSIGN(const pb::Task reply, impl_->call(&Stub::RecoverLun, message));
    return from_proto(reply);
}

namespace {
pb::MaskRequest mask_request(const array::MaskChange& change) {
    pb::MaskRequest message;
    to_proto(change.lun, message.mutable_lun());
    message.set_initiator(change.initiator);
    message.set_target_iqn(change.target_iqn);
    message.set_force(change.force);
    return message;
}
}  // namespace

Result<array::LunView> ArrayClient::add_mask(const array::MaskChange& change) {
    UMBRA_ASSIGN(const pb::Lun reply, impl_->call(&Stub::AddMask, mask_request(change)));
    return from_proto(reply);
}

Result<array::LunView> ArrayClient::remove_mask(const array::MaskChange& change) {
    UMBRA_ASSIGN(const pb::Lun reply, impl_->call(&Stub::RemoveMask, mask_request(change)));
    return from_proto(reply);
}

Result<std::vector<array::SessionView>> ArrayClient::sessions() {
    UMBRA_ASSIGN(const pb::ListSessionsReply reply, impl_->call(&Stub::ListSessions, pb::Empty()));
    std::vector<array::SessionView> result;
    for (const pb::Session& session : reply.sessions()) result.push_back(from_proto(session));
    return result;
}

Result<std::vector<array::DriveView>> ArrayClient::drives() {
    UMBRA_ASSIGN(const pb::ListDrivesReply reply, impl_->call(&Stub::ListDrives, pb::Empty()));
    std::vector<array::DriveView> result;
    for (const pb::Drive& drive : reply.drives()) result.push_back(from_proto(drive));
    return result;
}

Result<array::DriveView> ArrayClient::fail_drive(const std::string& drive, bool force) {
    pb::FailDriveRequest message;
    message.set_drive(drive);
    message.set_force(force);
    UMBRA_ASSIGN(const pb::Drive reply, impl_->call(&Stub::FailDrive, message));
    return from_proto(reply);
}

Result<array::TaskView> ArrayClient::start_scrub() {
    UMBRA_ASSIGN(const pb::Task reply, impl_->call(&Stub::StartScrub, pb::Empty()));
    return from_proto(reply);
}

Result<std::vector<array::TaskView>> ArrayClient::tasks() {
    UMBRA_ASSIGN(const pb::ListTasksReply reply, impl_->call(&Stub::ListTasks, pb::Empty()));
    std::vector<array::TaskView> result;
    for (const pb::Task& task : reply.tasks()) result.push_back(from_proto(task));
    return result;
}

namespace {
pb::TaskRef task_ref(uint64_t id) {
    pb::TaskRef message;
    message.set_id(id);
    return message;
}
}  // namespace

Result<array::TaskView> ArrayClient::get_task(uint64_t id) {
    UMBRA_ASSIGN(const pb::Task reply, impl_->call(&Stub::GetTask, task_ref(id)));
    return from_proto(reply);
}

Result<array::TaskView> ArrayClient::cancel_task(uint64_t id) {
    UMBRA_ASSIGN(const pb::Task reply, impl_->call(&Stub::CancelTask, task_ref(id)));
    return from_proto(reply);
}

Result<array::TaskView> ArrayClient::wait_task(uint64_t id,
                                               const std::function<bool(const array::TaskView&)>& progress) {
    array::TaskView last;
    const pb::TaskRef request = task_ref(id);
    UMBRA_ASSIGN(
        const bool stopped,
        impl_->stream<pb::Task>([&](grpc::ClientContext* context) { return impl_->stub->WaitTask(context, request); },
                                [&](const pb::Task& message) {
                                    last = from_proto(message);
                                    return !progress || progress(last) || last.ended();
                                }));
    if (last.ended() && last.id == id) return last;
    if (stopped) return fail(Code::kCancelled, "no longer waiting for task " + std::to_string(id) + ", which goes on");
    return fail(Code::kUnavailable, "the array went away while task " + std::to_string(id) + " ran");
}

Result<std::vector<array::EventView>> ArrayClient::events(uint64_t after_sequence, uint32_t limit) {
    pb::ListEventsRequest message;
    message.set_after_sequence(after_sequence);
    message.set_limit(limit);
    UMBRA_ASSIGN(const pb::ListEventsReply reply, impl_->call(&Stub::ListEvents, message));
    std::vector<array::EventView> result;
    for (const pb::Event& event : reply.events()) result.push_back(from_proto(event));
    return result;
}

Result<void> ArrayClient::watch_events(uint64_t after_sequence,
                                       const std::function<bool(const array::EventView&)>& sink) {
    pb::ListEventsRequest request;
    request.set_after_sequence(after_sequence);
    UMBRA_ASSIGN(const bool stopped,
                 impl_->stream<pb::Event>(
                     [&](grpc::ClientContext* context) { return impl_->stub->WatchEvents(context, request); },
                     [&](const pb::Event& message) { return sink(from_proto(message)); }));
    if (!stopped) return fail(Code::kUnavailable, "the array went away");
    return {};
}

void ArrayClient::cancel_streams() {
    const std::lock_guard lock(impl_->mutex);
    for (grpc::ClientContext* context : impl_->streams) context->TryCancel();
}

}  // namespace umbra::array_rpc

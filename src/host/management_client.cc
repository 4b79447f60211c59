#include "host/management_client.h"

#include <grpcpp/grpcpp.h>
#include <host.grpc.pb.h>

#include "array_rpc/status.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::Result;

namespace {

// An attach waits for a login and perhaps for mkfs.
constexpr std::chrono::minutes kCallTimeout{10};

AttachmentView view(const v1::Attachment& from) {
    AttachmentView out;
    out.lun = from.lun();
    out.naa = from.naa();
    out.device = from.device();
    out.url = from.url();
    out.mount_points.assign(from.mount_points().begin(), from.mount_points().end());
    out.read_only = from.read_only();
    out.initiator_pid = from.initiator_pid();
    out.state = from.state();
    return out;
}

}  // namespace

struct ManagementClient::Impl {
    std::shared_ptr<grpc::Channel> channel;
    std::unique_ptr<v1::HostManagement::Stub> stub;
    std::chrono::milliseconds patience;

    // The daemon may just be starting.
    Result<void> wait() const {
        if (channel->WaitForConnected(std::chrono::system_clock::now() + patience)) return {};
        return fail(Code::kUnavailable, "umbra-hostd does not answer");
    }

    template <class Method, class Request, class Reply>
    Result<Reply> call(Method method, const Request& request, Reply reply) {
        UMBRA_TRY(wait());
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + kCallTimeout);
        const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
        if (status.ok()) return reply;
        const auto& trailing = context.GetServerTrailingMetadata();
        const auto code = trailing.find(array_rpc::kCodeMetadata);
        const std::string_view text =
            code == trailing.end() ? std::string_view() : std::string_view(code->second.data(), code->second.size());
        return std::unexpected(array_rpc::from_status(status, text));
    }
};

ManagementClient::ManagementClient(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ManagementClient::~ManagementClient() = default;

Result<std::unique_ptr<ManagementClient>> ManagementClient::make(const std::string& address,
                                                                 std::chrono::milliseconds patience) {
    if (!address.starts_with("unix:") || address.size() == 5) {
        return fail(Code::kInvalidArgument,
                    "the host daemon's address must be unix:PATH (--host or UMBRA_HOST), not \"" + address + "\"");
    }
    auto impl = std::make_unique<Impl>();
    impl->channel = grpc::CreateChannel(address, grpc::InsecureChannelCredentials());
    impl->stub = v1::HostManagement::NewStub(impl->channel);
    impl->patience = patience;
    return std::unique_ptr<ManagementClient>(new ManagementClient(std::move(impl)));
}

Result<AttachmentView> ManagementClient::attach(const AttachWish& wish) {
    v1::AttachRequest request;
    request.set_lun(wish.lun);
    request.set_mount_point(wish.mount_point);
    request.set_mkfs(wish.mkfs);
    request.set_read_only(wish.read_only);
    UMBRA_ASSIGN(const v1::Attachment reply, impl_->call(&v1::HostManagement::Stub::Attach, request, v1::Attachment()));
    return view(reply);
}

Result<std::string> ManagementClient::detach(const std::string& lun) {
    v1::DetachRequest request;
    request.set_lun(lun);
    UMBRA_ASSIGN(const v1::DetachReply reply,
                 impl_->call(&v1::HostManagement::Stub::Detach, request, v1::DetachReply()));
    return reply.warning();
}

Result<std::vector<AttachmentView>> ManagementClient::attachments() {
    UMBRA_ASSIGN(const v1::ListAttachmentsReply reply,
                 impl_->call(&v1::HostManagement::Stub::ListAttachments, v1::ListAttachmentsRequest(),
                             v1::ListAttachmentsReply()));
    std::vector<AttachmentView> out;
    for (const auto& attachment : reply.attachments()) out.push_back(view(attachment));
    return out;
}

Result<std::vector<VolumeView>> ManagementClient::volumes(bool all) {
    v1::ListVolumesRequest request;
    request.set_all(all);
    UMBRA_ASSIGN(const v1::ListVolumesReply reply,
                 impl_->call(&v1::HostManagement::Stub::ListVolumes, request, v1::ListVolumesReply()));
    std::vector<VolumeView> out;
    for (const auto& from : reply.volumes()) {
        VolumeView volume;
        volume.name = from.name();
        volume.device = from.device();
        volume.size_bytes = from.size_bytes();
        volume.mount_points.assign(from.mount_points().begin(), from.mount_points().end());
        volume.fs_type = from.fs_type();
        volume.partition = from.partition();
        volume.freezable = from.freezable();
        volume.layered = from.layered();
        volume.luns.assign(from.luns().begin(), from.luns().end());
        out.push_back(std::move(volume));
    }
    return out;
}

}  // namespace umbra::host

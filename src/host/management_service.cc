// gRPC adapter of Management.
#include <grpcpp/grpcpp.h>
#include <host.grpc.pb.h>

#include "array_rpc/status.h"
#include "host/management.h"

namespace umbra::host {

namespace {

namespace v1 = umbra::host::v1;

grpc::Status failed(grpc::ServerContext* context, const base::Error& error) {
    context->AddTrailingMetadata(array_rpc::kCodeMetadata, std::string(base::to_string(error.code)));
    return array_rpc::to_status(error);
}

void fill(const AttachedLun& from, v1::Attachment* to) {
    const Attachment& attachment = from.attachment;
    to->set_lun(from.name);
    to->set_naa(attachment.dead ? field(attachment.notes, "naa") : attachment.lun.naa());
    to->set_device(attachment.device);
    to->set_url(attachment.path.url());
    for (const std::string& mount : from.mount_points) to->add_mount_points(mount);
    to->set_read_only(attachment.read_only);
    to->set_initiator_pid(attachment.pid);
    to->set_state(attachment.dead ? "failed" : "attached");
    to->set_presented_by_attach(from.presented);
}

class ManagementService final : public v1::HostManagement::Service {
public:
    explicit ManagementService(Management& management) : management_(management) {}

    grpc::Status Attach(grpc::ServerContext* context, const v1::AttachRequest* request,
                        v1::Attachment* reply) override {
        AttachWish wish;
        wish.lun = request->lun();
        wish.mount_point = request->mount_point();
        wish.mkfs = request->mkfs();
        wish.read_only = request->read_only();
        const auto attached = management_.attach(wish);
        if (!attached) return failed(context, attached.error());
        fill(*attached, reply);
        return grpc::Status::OK;
    }
    grpc::Status Detach(grpc::ServerContext* context, const v1::DetachRequest* request,
                        v1::DetachReply* reply) override {
        auto warning = management_.detach(request->lun());
        if (!warning) return failed(context, warning.error());
        reply->set_warning(std::move(*warning));
        return grpc::Status::OK;
    }
    grpc::Status ListAttachments(grpc::ServerContext* context, const v1::ListAttachmentsRequest*,
                                 v1::ListAttachmentsReply* reply) override {
        const auto all = management_.list();
        if (!all) return failed(context, all.error());
        for (const AttachedLun& lun : *all) fill(lun, reply->add_attachments());
        return grpc::Status::OK;
    }
    grpc::Status ListVolumes(grpc::ServerContext* context, const v1::ListVolumesRequest* request,
                             v1::ListVolumesReply* reply) override {
        const auto all = management_.volumes(request->all());
        if (!all) return failed(context, all.error());
        for (const Volume& volume : *all) {
            v1::Volume* to = reply->add_volumes();
            to->set_name(volume.name);
            to->set_device(volume.device);
            to->set_size_bytes(volume.size_bytes);
            for (const std::string& mount : volume.mount_points) to->add_mount_points(mount);
            to->set_fs_type(volume.fs_type);
            for (const LunIdentity& lun : volume.luns) to->add_luns(lun.key());
            to->set_partition(volume.partition);
            to->set_freezable(volume.freezable);
            to->set_layered(volume.layered);
        }
        return grpc::Status::OK;
    }

private:
    Management& management_;
};

}  // namespace

std::unique_ptr<grpc::Service> make_management_service(Management& management) {
    return std::make_unique<ManagementService>(management);
}

}  // namespace umbra::host

// Attach and detach as an administrator asks for them, over the array's management; and the gRPC service for them.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "host/attachments.h"

namespace grpc {
class Service;
}

namespace umbra::host {

struct AttachWish {
    std::string lun;          ///< name on the array
    std::string mount_point;  ///< empty: not mounted
    std::string mkfs;         ///< empty: no
    bool read_only = false;
};

struct AttachedLun {
    Attachment attachment;
    std::string name;
    std::vector<std::string> mount_points;
    bool presented = false;  ///< Attach added the mask, Detach removes it
};

/// Thread-safe; calls block.
class Management {
public:
    Management(const HostConfig& config, Attachments& attachments)
        : config_(canonical(config)), attachments_(attachments) {}

    /// Done again with the same wish: success. On an error nothing that it began is left (nor mounted, nor presented).
    /// kBadState: `mkfs` on a LUN that holds anything; kAlreadyExists: the mount point is in use.
    base::Result<AttachedLun> attach(const AttachWish& wish);
    /// By name or NAA. The text is a warning: what could not be undone on the array. kBusy: a mount is in use;
    /// kNotFound.
    base::Result<std::string> detach(const std::string& lun);
    base::Result<std::vector<AttachedLun>> list();
    base::Result<std::vector<Volume>> volumes(bool all);

private:
    base::Result<AttachedLun> describe(Attachment attachment, const std::vector<Volume>& volumes) const;
    base::Result<void> prepare_and_mount(const AttachWish& wish, const Attachment& attachment, uint64_t mapped_bytes);
    std::string withdraw(const std::string& naa, const std::string& target);

    const HostConfig config_;
    Attachments& attachments_;
    std::mutex mutex_;  // one attach or detach at a time
};

/// umbra.host.v1.HostManagement, to be registered with a ServerBuilder. `management` outlives it.
std::unique_ptr<grpc::Service> make_management_service(Management& management);

}  // namespace umbra::host

// The other end of umbra.host.v1.HostManagement.
#pragma once

#include <chrono>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "host/management.h"

namespace umbra::host {

struct AttachmentView {
    std::string lun;
    std::string naa;
    std::string device;
    std::string url;
    std::vector<std::string> mount_points;
    bool read_only = false;
    int initiator_pid = 0;
    std::string state;
};

struct VolumeView {
    std::string name;
    std::string device;
    uint64_t size_bytes = 0;
    std::vector<std::string> mount_points;
    std::string fs_type;
    uint32_t partition = 0;
    bool freezable = false;
    bool layered = false;
    std::vector<std::string> luns;  ///< keys
};

/// Calls block. kUnavailable: umbra-hostd does not answer within `patience`.
class ManagementClient {
public:
    /// `address`: "unix:PATH".
    static base::Result<std::unique_ptr<ManagementClient>> make(
        const std::string& address, std::chrono::milliseconds patience = std::chrono::seconds(10));
    ~ManagementClient();
    ManagementClient(const ManagementClient&) = delete;
    ManagementClient& operator=(const ManagementClient&) = delete;

    base::Result<AttachmentView> attach(const AttachWish& wish);
    base::Result<std::string> detach(const std::string& lun);
    base::Result<std::vector<AttachmentView>> attachments();
    base::Result<std::vector<VolumeView>> volumes(bool all);

private:
    struct Impl;
    explicit ManagementClient(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace umbra::host

// IVssAsync over an operation of the coordinator.
#pragma once

#include <memory>
#include <string>

#include "requester/channel.h"
#include "vss.h"

namespace umbra::requester {

/// Releasing the object gives back the handle; the operation goes on. It may outlive the IVssBackupComponents.
IVssAsync* new_async(std::shared_ptr<Channel> channel, std::string operation);

}  // namespace umbra::requester

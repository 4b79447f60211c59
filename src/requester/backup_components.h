// IVssBackupComponents to Ex4 over the coordinator's channel.
#pragma once

#include <memory>
#include <string>

#include "requester/channel.h"
#include "vsbackup.h"

namespace umbra::requester {

/// `session` is what channel->open_session() gave. The last Release closes the session, and returns when all that this
/// entails (the deletion of auto-release shadow copies, for one) is done.
IVssBackupComponents* new_backup_components(std::shared_ptr<Channel> channel, std::string session);

}  // namespace umbra::requester

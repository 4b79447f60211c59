// The arrays of a configuration, over their management channels.
#pragma once

#include <memory>
#include <vector>

#include "provider/array_client.h"
#include "provider/config.h"

namespace umbra::provider {

/// None of them is contacted yet. `commit_timeout` bounds create_shadow_copies().
base::Result<std::vector<std::shared_ptr<ArrayClient>>> connect_arrays(const ProviderConfig& config);

}  // namespace umbra::provider

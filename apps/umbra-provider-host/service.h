// umbra.provider.v1 over a loaded provider.
#pragma once

#include <memory>

#include "loader.h"

namespace grpc {
class Service;
}

namespace umbra::provider_host {

/// `provider` outlives the service.
std::unique_ptr<grpc::Service> make_provider_service(LoadedProvider& provider);

}  // namespace umbra::provider_host

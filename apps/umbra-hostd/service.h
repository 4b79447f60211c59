// gRPC adapter of the coordinator: umbra.vss.v1.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/coordinator.h"
#include "surrogate.h"

namespace grpc {
class Service;
}

namespace umbra::coordinator {

/// The services call into the coordinator on `executor` from gRPC's threads. All references outlive the server, and the
/// executor runs until the server has been shut down.
struct ServiceContext {
    env::Executor& executor;
    Coordinator& coordinator;
    StateStore& store;
    std::function<std::vector<const Surrogate*>()> providers;
    std::string version;
};

std::unique_ptr<grpc::Service> make_vss_service(ServiceContext& context);
std::unique_ptr<grpc::Service> make_vss_administration(ServiceContext& context);

}  // namespace umbra::coordinator

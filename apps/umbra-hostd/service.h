// gRPC adapter of the coordinator: umbra.vss.v1.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "coordinator/coordinator.h"
#include "env/loop.h"
#include "surrogate.h"

namespace grpc {
class Server;
class Service;
}  // namespace grpc

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

struct ShutdownLimits {
    std::chrono::milliseconds calls{2'000};  ///< calls under way are cancelled after that
    env::Duration all = std::chrono::seconds(30);
};
/// Stops the coordinator and the server, on the loop's thread while nothing else runs it. When that takes longer than
/// `limits.all` the process ends here, with status 1.
void shut_down(env::Loop& loop, grpc::Server& server, Coordinator& coordinator, const ShutdownLimits& limits = {});

}  // namespace umbra::coordinator

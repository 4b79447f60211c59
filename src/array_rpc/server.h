// The management service of an array: gRPC calls in, operations on the array's executor, answers out.
#pragma once

#include <cstddef>
#include <memory>
#include <string>

#include "array/model.h"
#include "base/result.h"
#include "env/executor.h"

namespace umbra::array_rpc {

/// Calls that wait for the array at one time; more are refused with kBusy.
inline constexpr size_t kMaxCallsInFlight = 256;
/// wait_task and watch_events at one time.
inline constexpr size_t kMaxStreams = 64;

struct ServerOptions {
    std::string address;          ///< "unix:/path"
    std::string group = "umbra";  ///< owns the socket, mode 0660, when there is such a group
};

class ManagementServer {
public:
    /// Serves from then on. `executor` and `model` outlive the server. Errors: kInvalidArgument (address), kIo.
    static base::Result<std::unique_ptr<ManagementServer>> start(env::Executor& executor, array::ArrayModel& model,
                                                                 const ServerOptions& options);
    ~ManagementServer();
    ManagementServer(const ManagementServer&) = delete;
    ManagementServer& operator=(const ManagementServer&) = delete;

    /// Takes no more calls, ends streams, lets running calls end, and returns when none is left. Blocks: called from
    /// another thread than the executor's, which goes on running meanwhile.
    void shutdown();

private:
    struct Impl;
    explicit ManagementServer(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace umbra::array_rpc

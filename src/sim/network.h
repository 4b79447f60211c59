// A network in one process: hosts with an address each, streams with latency, small reads, back-pressure, connections
// that break, and hosts that cannot reach each other.
#pragma once

#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "env/random.h"
#include "env/transport.h"
#include "sim/executor.h"
#include "sim/trace.h"

namespace umbra::sim {

struct NetworkOptions {
    uint64_t seed = 1;
    env::Duration latency_min = std::chrono::microseconds(20);
    env::Duration latency_max = std::chrono::microseconds(300);
    size_t window_bytes = 256 * 1024;  ///< sent and not yet read, in each direction: then the writer waits
    size_t max_segment_bytes = 64 * 1024;
    uint32_t disconnect_per_op = 0;  ///< a connection breaks once in so many reads and writes; 0: never
};

class SimNetwork {
public:
    SimNetwork(SimExecutor& executor, Trace& trace, NetworkOptions options);
    ~SimNetwork();
    SimNetwork(const SimNetwork&) = delete;
    SimNetwork& operator=(const SimNetwork&) = delete;

    /// The transport of the host with this address, such as "10.0.0.1". It must not outlive the network.
    std::unique_ptr<env::Transport> host(const std::string& ip);
    /// Breaks every connection between the two, now, and refuses new ones until reconnect().
    void disconnect(const std::string& a, const std::string& b);
    void reconnect(const std::string& a, const std::string& b);
    /// Breaks every connection: operations in flight fail with kUnavailable on both sides.
    void break_all();
    uint64_t broken() const;
    uint64_t connections() const;

    struct State;

private:
    std::shared_ptr<State> state_;
};

}  // namespace umbra::sim

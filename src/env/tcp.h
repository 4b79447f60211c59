// TCP on a Loop. Sockets do not delay small segments, and connections notice a dead peer by keep-alive within 90 s.
#pragma once

#include "env/loop.h"
#include "env/transport.h"

namespace umbra::env {

class TcpTransport final : public Transport {
public:
    /// connect() gives up with kTimedOut after `connect_timeout`.
    explicit TcpTransport(Loop& loop, Duration connect_timeout = std::chrono::seconds(10))
        : loop_(loop), connect_timeout_(connect_timeout) {}
    /// Errors: kInvalidArgument for an address that does not parse, kBusy for one in use.
    base::Result<std::unique_ptr<Listener>> listen(const std::string& address) override;
    /// Errors: kInvalidArgument, kUnavailable, kTimedOut.
    Task<base::Result<std::unique_ptr<Stream>>> connect(std::string address) override;

private:
    Loop& loop_;
    Duration connect_timeout_;
};

}  // namespace umbra::env

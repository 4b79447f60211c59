// The array's iSCSI target (RFC 7143): discovery and normal sessions of one connection each, error recovery level 0.
// All on one executor.
#pragma once

#include <chrono>
#include <cstdint>
#include <list>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "array/presentation.h"
#include "env/executor.h"
#include "env/sync.h"
#include "env/transport.h"
#include "iscsi/scsi_task.h"
#include "scsi/device.h"

namespace umbra::iscsi {

struct Config {
    std::vector<std::string> listen;  ///< "ip:port", "[ip6]:port"; port 0 picks a free one
    /// What SendTargets answers as address; empty: the one that the initiator connected to.
    std::string portal;
    /// More are closed at once. One address gets at most half of them; connections that have not logged in to a target
    /// (login under way, discovery) are at most half of all, and half of what one address gets.
    size_t max_connections = 256;
    uint32_t command_window = 128;          ///< commands of one session in progress
    size_t session_data_bytes = 32u << 20;  ///< solicited and returned data that one session's commands hold in memory
    /// All command data in memory. Half of it is the most for one address, so that whoever stalls with it leaves the
    /// rest to others.
    size_t data_bytes = 512u << 20;
    env::Duration login_timeout = std::chrono::seconds(15);
    /// A connection that was silent for this long is asked whether it lives (NOP-In), and closed after as long again.
    env::Duration idle_probe = std::chrono::seconds(30);
    /// How long stop() waits for initiators to log out.
    env::Duration logout_grace = std::chrono::seconds(2);
};

class Alarm;
class Connection;

class TargetServer {
public:
    /// The references must outlive the server.
    TargetServer(env::Executor& executor, env::Transport& transport, array::Presentation& presentation, Config config);
    ~TargetServer();
    TargetServer(const TargetServer&) = delete;
    TargetServer& operator=(const TargetServer&) = delete;

    /// Listens on every address, or on none: then the error of the first that failed.
    env::Task<base::Result<void>> start();
    /// Asks the initiators to log out, closes what is left after the grace, and returns when no command touches a
    /// volume any more. Once.
    env::Task<void> stop();

    /// Addresses really bound, in the order of the configuration. Empty unless started.
    std::vector<std::string> portals() const;
    /// Normal sessions in full feature phase.
    size_t sessions() const;

private:
    friend class Connection;

    /// What one address has: docs/decisions/0014.
    struct Peer {
        Peer(env::Executor& executor, size_t bytes, ByteBudget* all) : data(executor, bytes, all) {}
        size_t connections = 0;
        ByteBudget data;
    };

    env::Task<void> accept_from(env::Listener* listener);
    bool has_room_for(const std::string& address) const;
    env::Task<void> serve(std::unique_ptr<env::Stream> stream);
    env::Task<void> wake_at(Alarm* alarm, env::Duration delay);

    env::Executor& executor_;
    env::Transport& transport_;
    array::Presentation& presentation_;
    const Config config_;
    scsi::Device device_;
    std::vector<std::unique_ptr<env::Listener>> listeners_;
    std::list<Connection*> connections_;
    ByteBudget data_;
    std::map<std::string, Peer> peers_;  ///< by address; those that have connections
    env::Event changed_;                 ///< woken when a connection changes its state
    env::TaskGroup tasks_;
    uint16_t next_tsih_ = 1;
    uint64_t next_session_id_ = 1;
    bool stopping_ = false;
};

}  // namespace umbra::iscsi

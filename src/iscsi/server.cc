#include "iscsi/server.h"

#include <algorithm>

#include "iscsi/connection.h"

namespace umbra::iscsi {

namespace {
constexpr env::Duration kAcceptRetry = std::chrono::milliseconds(100);

/// "10.0.0.1" of "10.0.0.1:3260".
std::string address_of(const std::string& peer) {
    return peer.substr(0, peer.rfind(':'));
}

size_t half(size_t whole) {
    return std::max<size_t>(whole / 2, 1);
}
}  // namespace

TargetServer::TargetServer(env::Executor& executor, env::Transport& transport, array::Presentation& presentation,
                           Config config)
    : executor_(executor),
      transport_(transport),
      presentation_(presentation),
      config_(std::move(config)),
      device_(executor, presentation),
      data_(executor, config_.data_bytes),
      changed_(executor),
      tasks_(executor) {
    UMBRA_CHECK(config_.command_window > 0 && config_.session_data_bytes > 0 && config_.data_bytes > 0);
}

TargetServer::~TargetServer() {
    UMBRA_CHECK(connections_.empty());
}

env::Task<base::Result<void>> TargetServer::start() {
    std::vector<std::unique_ptr<env::Listener>> listeners;
    for (const std::string& address : config_.listen) {
        auto listener = transport_.listen(address);
        if (!listener) {
            for (auto& other : listeners) other->close();
            co_return base::with_context(std::move(listener).error(), "iSCSI portal " + address);
        }
        listeners.push_back(std::move(*listener));
    }
    listeners_ = std::move(listeners);
    for (auto& listener : listeners_) tasks_.spawn(accept_from(listener.get()));
    co_return base::Result<void>();
}

env::Task<void> TargetServer::accept_from(env::Listener* listener) {
    while (!stopping_) {
        auto stream = co_await listener->accept();
        if (stopping_) co_return;
        if (!stream) {
            if (stream.error().code == base::Code::kUnavailable) co_return;
            // Out of descriptors, say: others may give some back.
            co_await env::sleep_for(executor_, kAcceptRetry);
            continue;
        }
        if (!has_room_for(address_of((*stream)->peer()))) {
            (*stream)->close();
            continue;
        }
        tasks_.spawn(serve(std::move(*stream)));
    }
}

bool TargetServer::has_room_for(const std::string& address) const {
    if (connections_.size() >= config_.max_connections) return false;
    size_t waiting = 0;  // for a login, or only looking around
    size_t waiting_here = 0;
    for (const Connection* connection : connections_) {
        if (!connection->has_no_target()) continue;
        ++waiting;
        if (connection->address() == address) ++waiting_here;
    }
    const size_t share = half(config_.max_connections);
    const auto peer = peers_.find(address);
    const size_t here = peer == peers_.end() ? 0 : peer->second.connections;
    return here < share && waiting < share && waiting_here < half(share);
}

env::Task<void> TargetServer::serve(std::unique_ptr<env::Stream> stream) {
    const std::string address = address_of(stream->peer());
    Peer& peer = peers_.try_emplace(address, executor_, half(config_.data_bytes), &data_).first->second;
    ++peer.connections;
    {
        Connection connection(*this, std::move(stream), address, peer.data);
        connections_.push_back(&connection);
        co_await connection.run();
        connections_.remove(&connection);
    }
    if (--peer.connections == 0) peers_.erase(address);
    changed_.wake_all();
}

env::Task<void> TargetServer::stop() {
    stopping_ = true;
    for (auto& listener : listeners_) listener->close();
    for (Connection* connection : connections_) connection->request_logout(config_.logout_grace);
    const env::Instant deadline = executor_.now() + config_.logout_grace;
    Alarm alarm(executor_);
    env::TaskGroup timer(executor_);
    timer.spawn(wake_at(&alarm, config_.logout_grace));
    while (sessions() > 0 && executor_.now() < deadline) co_await changed_.wait();
    alarm.cancel();
    co_await timer.join();
    for (Connection* connection : connections_) connection->close();
    co_await tasks_.join();
    co_await device_.settle();
    listeners_.clear();
}

env::Task<void> TargetServer::wake_at(Alarm* alarm, env::Duration delay) {
    (void)co_await alarm->sleep(delay);
    changed_.wake_all();
}

std::vector<std::string> TargetServer::portals() const {
    std::vector<std::string> out;
    for (const auto& listener : listeners_) out.push_back(listener->local());
    return out;
}

size_t TargetServer::sessions() const {
    return static_cast<size_t>(std::ranges::count_if(connections_, [](const Connection* connection) {
        return connection->state() == Connection::State::kFullFeature && !connection->identity().discovery;
    }));
}

}  // namespace umbra::iscsi

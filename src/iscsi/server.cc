#include "iscsi/server.h"

#include <algorithm>

#include "iscsi/connection.h"

namespace umbra::iscsi {

namespace {
constexpr env::Duration kAcceptRetry = std::chrono::milliseconds(100);
}

TargetServer::TargetServer(env::Executor& executor, env::Transport& transport, array::Presentation& presentation,
                           Config config)
    : executor_(executor),
      transport_(transport),
      presentation_(presentation),
      config_(std::move(config)),
      device_(executor, presentation),
      changed_(executor),
      tasks_(executor) {
    UMBRA_CHECK(config_.command_window > 0 && config_.session_data_bytes > 0);
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
        if (connections_.size() >= config_.max_connections) {
            (*stream)->close();
            continue;
        }
        tasks_.spawn(serve(std::move(*stream)));
    }
}

env::Task<void> TargetServer::serve(std::unique_ptr<env::Stream> stream) {
    {
        Connection connection(*this, std::move(stream));
        connections_.push_back(&connection);
        co_await connection.run();
        connections_.remove(&connection);
    }
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

void TargetServer::drop_sessions(const std::string& target_iqn, const std::string& initiator) {
    for (Connection* connection : connections_) {
        if (connection->state() != Connection::State::kFullFeature) continue;
        if (connection->identity().target == target_iqn && connection->identity().initiator == initiator) {
            connection->close();
        }
    }
}

}  // namespace umbra::iscsi

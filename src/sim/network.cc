#include "sim/network.h"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <deque>
#include <optional>

#include "base/crc32c.h"
#include "env/sync.h"

namespace umbra::sim {

using base::Code;
using base::Result;
using env::Task;

namespace {

struct Segment {
    env::Instant arrives;
    std::vector<std::byte> bytes;
    size_t taken = 0;
};

/// One direction of a connection.
struct Pipe {
    explicit Pipe(env::Executor& executor) : changed(executor) {}
    std::deque<Segment> segments;
    size_t bytes = 0;  ///< sent and not yet read
    bool writer_closed = false;
    bool reader_closed = false;
    env::Event changed;
};

struct Connection {
    explicit Connection(env::Executor& executor) : pipes{Pipe(executor), Pipe(executor)} {}
    std::string ends[2];  ///< "ip:port" of the side that connected, and of the one that accepted
    Pipe pipes[2];        ///< [i] is written by ends[i]
    bool broken = false;
    void break_now() {
        broken = true;
        for (Pipe& pipe : pipes) pipe.changed.wake_all();
    }
};

struct Backlog {
    explicit Backlog(env::Executor& executor) : changed(executor) {}
    std::deque<std::shared_ptr<Connection>> waiting;
    bool closed = false;
    env::Event changed;
};

std::string ip_of(const std::string& address) {
    return address.substr(0, address.rfind(':'));
}

std::pair<std::string, std::string> pair_of(const std::string& a, const std::string& b) {
    return std::minmax(a, b);
}

}  // namespace

struct SimNetwork::State {
    State(SimExecutor& sim, Trace& log, NetworkOptions chosen)
        : executor(sim), trace(log), options(chosen), random(chosen.seed) {}
    SimExecutor& executor;
    Trace& trace;
    NetworkOptions options;
    env::SeededRandom random;
    std::map<std::string, std::shared_ptr<Backlog>> listeners;
    std::vector<std::weak_ptr<Connection>> connections;
    std::set<std::pair<std::string, std::string>> separated;
    uint64_t broken = 0;
    uint64_t made = 0;
    uint16_t next_port = 40'000;

    env::Duration latency() {
        const auto range = static_cast<uint64_t>((options.latency_max - options.latency_min).count());
        return options.latency_min + env::Duration(static_cast<int64_t>(random.below(range + 1)));
    }
    bool reachable(const std::string& a, const std::string& b) const { return !separated.contains(pair_of(a, b)); }
    template <class Which>
    void break_where(Which which) {
        std::erase_if(connections, [](const auto& weak) { return weak.expired(); });
        for (const auto& weak : connections) {
            const auto connection = weak.lock();
            if (connection->broken || !which(*connection)) continue;
            ++broken;
            trace.mix("break", {broken});
            connection->break_now();
        }
    }
};

namespace {

class SimStream final : public env::Stream {
public:
    SimStream(std::shared_ptr<SimNetwork::State> state, std::shared_ptr<Connection> connection, int side)
        : state_(std::move(state)), connection_(std::move(connection)), side_(side) {}
    ~SimStream() override { close_now(); }

    Task<Result<size_t>> read_some(base::MutableBytes into) override {
        UMBRA_CHECK(!reading_);
        reading_ = true;
        auto result = co_await do_read(into);
        reading_ = false;
        co_return result;
    }

    Task<Result<void>> write_all(std::span<const base::Bytes> from) override {
        UMBRA_CHECK(!writing_);
        writing_ = true;
        auto result = co_await do_write(from);
        writing_ = false;
        co_return result;
    }

    void close() override { close_now(); }
    std::string peer() const override { return connection_->ends[1 - side_]; }
    std::string local() const override { return connection_->ends[side_]; }

private:
    Task<Result<size_t>> do_read(base::MutableBytes into) {
        const auto state = state_;
        const auto connection = connection_;
        Pipe& pipe = connection->pipes[1 - side_];
        maybe_break();
        while (true) {
            if (connection->broken || closed_) co_return gone();
            if (pipe.segments.empty()) {
                if (pipe.writer_closed) co_return size_t{0};
                co_await pipe.changed.wait();
                continue;
            }
            if (pipe.segments.front().arrives > state->executor.now()) {
                co_await env::sleep_until(state->executor, pipe.segments.front().arrives);
                continue;
            }
            Segment& segment = pipe.segments.front();
            size_t count = std::min(into.size(), segment.bytes.size() - segment.taken);
            if (count > 1 && state->random.one_in(4)) count = 1 + state->random.below(count);
            std::memcpy(into.data(), segment.bytes.data() + segment.taken, count);
            segment.taken += count;
            if (segment.taken == segment.bytes.size()) pipe.segments.pop_front();
            pipe.bytes -= count;
            pipe.changed.wake_all();
            state->trace.mix("receive",
                             {count, base::crc32c(into.first(count)), static_cast<uint64_t>(state->executor.now().ns)});
            co_return count;
        }
    }

    Task<Result<void>> do_write(std::span<const base::Bytes> from) {
        const auto state = state_;
        const auto connection = connection_;
        Pipe& pipe = connection->pipes[side_];
        maybe_break();
        for (const base::Bytes& span : from) {
            for (size_t done = 0; done < span.size();) {
                if (connection->broken || closed_ || pipe.reader_closed) co_return gone();
                if (pipe.bytes >= state->options.window_bytes) {
                    co_await pipe.changed.wait();
                    continue;
                }
                const size_t room =
                    std::min(state->options.window_bytes - pipe.bytes, state->options.max_segment_bytes);
                const size_t count = std::min(span.size() - done, room);
                Segment segment;
                segment.arrives = state->executor.now() + state->latency();
                if (!pipe.segments.empty()) segment.arrives = std::max(segment.arrives, pipe.segments.back().arrives);
                segment.bytes.assign(span.begin() + static_cast<ptrdiff_t>(done),
                                     span.begin() + static_cast<ptrdiff_t>(done + count));
                pipe.segments.push_back(std::move(segment));
                pipe.bytes += count;
                pipe.changed.wake_all();
                done += count;
            }
        }
        co_await env::yield(state->executor);
        if (connection->broken || closed_) co_return gone();
        co_return Result<void>();
    }

    void maybe_break() {
        const uint32_t every = state_->options.disconnect_per_op;
        if (every == 0 || connection_->broken || !state_->random.one_in(every)) return;
        ++state_->broken;
        state_->trace.mix("break", {state_->broken});
        connection_->break_now();
    }
    void close_now() {
        if (closed_) return;
        closed_ = true;
        connection_->pipes[side_].writer_closed = true;
        connection_->pipes[1 - side_].reader_closed = true;
        for (Pipe& pipe : connection_->pipes) pipe.changed.wake_all();
    }
    std::unexpected<base::Error> gone() const {
        return base::fail(Code::kUnavailable, fmt::format("connection with {} is gone", peer()));
    }

    std::shared_ptr<SimNetwork::State> state_;
    std::shared_ptr<Connection> connection_;
    int side_;
    bool closed_ = false;
    bool reading_ = false;
    bool writing_ = false;
};

class SimListener final : public env::Listener {
public:
    SimListener(std::shared_ptr<SimNetwork::State> state, std::shared_ptr<Backlog> backlog, std::string local)
        : state_(std::move(state)), backlog_(std::move(backlog)), local_(std::move(local)) {}
    ~SimListener() override { close_now(); }

    Task<Result<std::unique_ptr<env::Stream>>> accept() override {
        const auto state = state_;
        const auto backlog = backlog_;
        while (backlog->waiting.empty() && !backlog->closed) co_await backlog->changed.wait();
        if (backlog->closed) co_return base::fail(Code::kUnavailable, "the listener was closed");
        auto connection = std::move(backlog->waiting.front());
        backlog->waiting.pop_front();
        co_return std::unique_ptr<env::Stream>(std::make_unique<SimStream>(state, std::move(connection), 1));
    }
    void close() override { close_now(); }
    std::string local() const override { return local_; }

private:
    void close_now() {
        if (backlog_->closed) return;
        backlog_->closed = true;
        for (const auto& connection : backlog_->waiting) connection->break_now();
        backlog_->waiting.clear();
        backlog_->changed.wake_all();
        state_->listeners.erase(local_);
    }
    std::shared_ptr<SimNetwork::State> state_;
    std::shared_ptr<Backlog> backlog_;
    std::string local_;
};

class SimTransport final : public env::Transport {
public:
    SimTransport(std::shared_ptr<SimNetwork::State> state, std::string ip)
        : state_(std::move(state)), ip_(std::move(ip)) {}

    Result<std::unique_ptr<env::Listener>> listen(const std::string& address) override {
        const auto port = port_of(address);
        if (!port) return base::fail(Code::kInvalidArgument, fmt::format("\"{}\" is not an address", address));
        const std::string host = ip_of(address);
        if (host != ip_ && host != "0.0.0.0") {
            return base::fail(Code::kInvalidArgument, fmt::format("{} is not an address of host {}", address, ip_));
        }
        const std::string bound = fmt::format("{}:{}", ip_, *port == 0 ? state_->next_port++ : *port);
        if (state_->listeners.contains(bound)) return base::fail(Code::kBusy, fmt::format("{} is in use", bound));
        auto backlog = std::make_shared<Backlog>(state_->executor);
        state_->listeners[bound] = backlog;
        return std::make_unique<SimListener>(state_, std::move(backlog), bound);
    }

    Task<Result<std::unique_ptr<env::Stream>>> connect(std::string address) override {
        const auto state = state_;
        const std::string ip = ip_;
        if (!port_of(address))
            co_return base::fail(Code::kInvalidArgument, fmt::format("\"{}\" is not an address", address));
        co_await env::sleep_for(state->executor, state->latency() * 2);
        const auto found = state->listeners.find(address);
        if (found == state->listeners.end() || !state->reachable(ip, ip_of(address))) {
            co_return base::fail(Code::kUnavailable, fmt::format("cannot connect to {}", address));
        }
        auto connection = std::make_shared<Connection>(state->executor);
        connection->ends[0] = fmt::format("{}:{}", ip, state->next_port++);
        connection->ends[1] = address;
        state->connections.push_back(connection);
        ++state->made;
        state->trace.mix("connect", {state->made});
        found->second->waiting.push_back(connection);
        found->second->changed.wake_all();
        co_return std::unique_ptr<env::Stream>(std::make_unique<SimStream>(state, std::move(connection), 0));
    }

private:
    static std::optional<uint16_t> port_of(const std::string& address) {
        const size_t colon = address.rfind(':');
        if (colon == std::string::npos) return std::nullopt;
        uint16_t port = 0;
        const char* end = address.data() + address.size();
        const auto [stop, error] = std::from_chars(address.data() + colon + 1, end, port);
        if (error != std::errc() || stop != end) return std::nullopt;
        return port;
    }
    std::shared_ptr<SimNetwork::State> state_;
    std::string ip_;
};

}  // namespace

SimNetwork::SimNetwork(SimExecutor& executor, Trace& trace, NetworkOptions options)
    : state_(std::make_shared<State>(executor, trace, options)) {
    UMBRA_CHECK(options.window_bytes > 0 && options.max_segment_bytes > 0 &&
                options.latency_min <= options.latency_max);
}

SimNetwork::~SimNetwork() = default;

std::unique_ptr<env::Transport> SimNetwork::host(const std::string& ip) {
    return std::make_unique<SimTransport>(state_, ip);
}

void SimNetwork::disconnect(const std::string& a, const std::string& b) {
    state_->separated.insert(pair_of(a, b));
    state_->break_where([&](const Connection& connection) {
        return pair_of(ip_of(connection.ends[0]), ip_of(connection.ends[1])) == pair_of(a, b);
    });
}

void SimNetwork::reconnect(const std::string& a, const std::string& b) {
    state_->separated.erase(pair_of(a, b));
}

void SimNetwork::break_all() {
    state_->break_where([](const Connection&) { return true; });
}

uint64_t SimNetwork::broken() const {
    return state_->broken;
}

uint64_t SimNetwork::connections() const {
    return state_->made;
}

}  // namespace umbra::sim

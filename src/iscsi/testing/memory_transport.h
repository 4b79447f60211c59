// Streams between two ends of one executor, for tests: bounded pipes, delivered in pieces, so that back-pressure and
// split PDUs happen.
#pragma once

#include <algorithm>
#include <cstring>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "env/executor.h"
#include "env/sync.h"
#include "env/transport.h"

namespace umbra::iscsi::testing {

/// One direction.
class Pipe {
public:
    Pipe(env::Executor& executor, size_t capacity) : changed_(executor), capacity_(capacity) {}

    env::Task<base::Result<size_t>> read_some(base::MutableBytes into) {
        while (bytes_.empty() && !broken_ && !ended_) co_await changed_.wait();
        if (broken_) co_return base::fail(base::Code::kUnavailable, "closed");
        const size_t count = std::min({into.size(), bytes_.size(), piece_});
        for (size_t i = 0; i < count; ++i) into[i] = bytes_[i];
        bytes_.erase(bytes_.begin(), bytes_.begin() + static_cast<ptrdiff_t>(count));
        changed_.wake_all();
        co_return count;
    }
    env::Task<base::Result<void>> write(base::Bytes from) {
        while (!from.empty()) {
            if (broken_ || ended_) co_return base::fail(base::Code::kUnavailable, "closed");
            const size_t room = capacity_ - bytes_.size();
            if (room == 0) {
                co_await changed_.wait();
                continue;
            }
            const size_t count = std::min(room, from.size());
            bytes_.insert(bytes_.end(), from.begin(), from.begin() + static_cast<ptrdiff_t>(count));
            from = from.subspan(count);
            changed_.wake_all();
        }
        co_return base::Result<void>();
    }
    /// The reader sees the end after what was written.
    void end() {
        ended_ = true;
        changed_.wake_all();
    }
    void break_off() {
        broken_ = true;
        changed_.wake_all();
    }
    /// At most so many bytes come in one read.
    void set_piece(size_t bytes) { piece_ = bytes; }

private:
    env::Event changed_;
    std::deque<std::byte> bytes_;
    const size_t capacity_;
    size_t piece_ = SIZE_MAX;
    bool ended_ = false;
    bool broken_ = false;
};

class MemoryStream final : public env::Stream {
public:
    // Both ends own both pipes: either may go first.
    MemoryStream(std::shared_ptr<Pipe> in, std::shared_ptr<Pipe> out, std::string local, std::string peer)
        : in_(std::move(in)), out_(std::move(out)), local_(std::move(local)), peer_(std::move(peer)) {}
    ~MemoryStream() override { close(); }
    env::Task<base::Result<size_t>> read_some(base::MutableBytes into) override { return in_->read_some(into); }
    env::Task<base::Result<void>> write_all(std::span<const base::Bytes> from) override {
        return write_spans(out_, from);
    }
    void close() override {
        in_->break_off();
        out_->end();
    }
    std::string peer() const override { return peer_; }
    std::string local() const override { return local_; }
    Pipe& in() { return *in_; }

private:
    static env::Task<base::Result<void>> write_spans(std::shared_ptr<Pipe> out, std::span<const base::Bytes> from) {
        for (const base::Bytes bytes : from) UMBRA_CO_TRY(co_await out->write(bytes));
        co_return base::Result<void>();
    }
    std::shared_ptr<Pipe> in_;
    std::shared_ptr<Pipe> out_;
    const std::string local_;
    const std::string peer_;
};

class MemoryTransport final : public env::Transport {
public:
    explicit MemoryTransport(env::Executor& executor, size_t pipe_bytes = 16384, size_t piece_bytes = SIZE_MAX)
        : executor_(executor), pipe_bytes_(pipe_bytes), piece_bytes_(piece_bytes) {}

    /// Where later connections come from.
    void set_peer(std::string peer) { peer_ = std::move(peer); }

    base::Result<std::unique_ptr<env::Listener>> listen(const std::string& address) override {
        if (listeners_.contains(address)) return base::fail(base::Code::kBusy, address + " is taken");
        auto state = std::make_shared<Backlog>(executor_);
        listeners_[address] = state;
        return std::make_unique<MemoryListener>(std::move(state), address);
    }
    env::Task<base::Result<std::unique_ptr<env::Stream>>> connect(std::string address) override {
        const auto found = listeners_.find(address);
        if (found == listeners_.end() || found->second->closed) {
            co_return base::fail(base::Code::kUnavailable, "nobody listens on " + address);
        }
        auto there = std::make_shared<Pipe>(executor_, pipe_bytes_);
        auto back = std::make_shared<Pipe>(executor_, pipe_bytes_);
        there->set_piece(piece_bytes_);
        back->set_piece(piece_bytes_);
        found->second->waiting.push_back(std::make_unique<MemoryStream>(there, back, address, peer_));
        found->second->changed.wake_all();
        co_return std::unique_ptr<env::Stream>(std::make_unique<MemoryStream>(back, there, peer_, address));
    }

private:
    struct Backlog {
        explicit Backlog(env::Executor& executor) : changed(executor) {}
        env::Event changed;
        std::deque<std::unique_ptr<env::Stream>> waiting;
        bool closed = false;
    };
    class MemoryListener final : public env::Listener {
    public:
        MemoryListener(std::shared_ptr<Backlog> backlog, std::string address)
            : backlog_(std::move(backlog)), address_(std::move(address)) {}
        env::Task<base::Result<std::unique_ptr<env::Stream>>> accept() override {
            while (backlog_->waiting.empty() && !backlog_->closed) co_await backlog_->changed.wait();
            if (backlog_->closed) co_return base::fail(base::Code::kUnavailable, "closed");
            auto stream = std::move(backlog_->waiting.front());
            backlog_->waiting.pop_front();
            co_return std::move(stream);
        }
        void close() override {
            backlog_->closed = true;
            backlog_->changed.wake_all();
        }
        std::string local() const override { return address_; }

    private:
        std::shared_ptr<Backlog> backlog_;
        const std::string address_;
    };

    env::Executor& executor_;
    const size_t pipe_bytes_;
    const size_t piece_bytes_;
    std::string peer_ = "10.0.0.9:999";
    std::map<std::string, std::shared_ptr<Backlog>> listeners_;
};

}  // namespace umbra::iscsi::testing

#include "env/tcp.h"

#include <arpa/inet.h>
#include <fmt/core.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <optional>

namespace umbra::env {

using base::Code;
using base::Result;

namespace {

constexpr int kBacklog = 128;
constexpr unsigned kTurnsBeforeYield = 32;
constexpr size_t kSpansPerCall = 64;
constexpr Duration kNoDescriptorsPause = std::chrono::milliseconds(100);

struct Address {
    sockaddr_storage storage{};
    socklen_t size = 0;
    const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
    sockaddr* get() { return reinterpret_cast<sockaddr*>(&storage); }
};

Result<Address> parse(const std::string& text) {
    const auto bad = [&] {
        return base::fail(
            Code::kInvalidArgument,
            fmt::format("\"{}\" is not an address of the form 192.0.2.1:3260 or [2001:db8::1]:3260", text));
    };
    const size_t colon = text.rfind(':');
    if (colon == std::string::npos) return bad();
    uint16_t port = 0;
    const char* end = text.data() + text.size();
    const auto [stop, error] = std::from_chars(text.data() + colon + 1, end, port);
    if (error != std::errc() || stop != end) return bad();
    std::string host = text.substr(0, colon);
    Address address;
    if (host.size() > 2 && host.front() == '[' && host.back() == ']') {
        auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons(port);
        if (inet_pton(AF_INET6, host.substr(1, host.size() - 2).c_str(), &v6->sin6_addr) != 1) return bad();
        address.size = sizeof *v6;
        return address;
    }
    auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) != 1) return bad();
    address.size = sizeof *v4;
    return address;
}

std::string text_of(const Address& address) {
    std::array<char, INET6_ADDRSTRLEN> host{};
    if (address.storage.ss_family == AF_INET6) {
        const auto* v6 = reinterpret_cast<const sockaddr_in6*>(&address.storage);
        inet_ntop(AF_INET6, &v6->sin6_addr, host.data(), host.size());
        return fmt::format("[{}]:{}", host.data(), ntohs(v6->sin6_port));
    }
    const auto* v4 = reinterpret_cast<const sockaddr_in*>(&address.storage);
    inet_ntop(AF_INET, &v4->sin_addr, host.data(), host.size());
    return fmt::format("{}:{}", host.data(), ntohs(v4->sin_port));
}

std::string local_of(int fd) {
    Address address;
    address.size = sizeof address.storage;
    if (getsockname(fd, address.get(), &address.size) != 0) return "unknown";
    return text_of(address);
}

void set_option(int fd, int level, int option, int value) {
    (void)setsockopt(fd, level, option, &value, sizeof value);  // a tuning, never a condition
}

void tune(int fd) {
    set_option(fd, IPPROTO_TCP, TCP_NODELAY, 1);
    set_option(fd, SOL_SOCKET, SO_KEEPALIVE, 1);
    set_option(fd, IPPROTO_TCP, TCP_KEEPIDLE, 30);
    set_option(fd, IPPROTO_TCP, TCP_KEEPINTVL, 15);
    set_option(fd, IPPROTO_TCP, TCP_KEEPCNT, 4);
}

class TcpStream final : public Stream {
public:
    TcpStream(Loop& loop, int fd, std::string peer)
        : loop_(loop), fd_(fd), watch_(loop), peer_(std::move(peer)), local_(local_of(fd)) {}
    ~TcpStream() override { close_now(); }
    Result<void> start() { return watch_.start(fd_); }

    Task<Result<size_t>> read_some(base::MutableBytes into) override {
        if (++turns_ % kTurnsBeforeYield == 0) co_await yield(loop_);
        while (fd_ >= 0) {
            const ssize_t count = recv(fd_, into.data(), into.size(), 0);
            if (count >= 0) co_return static_cast<size_t>(count);
            if (errno == EINTR) continue;
            if (errno != EAGAIN && errno != EWOULDBLOCK) co_return broken(errno);
            co_await watch_.readable();
        }
        co_return closed();
    }

    Task<Result<void>> write_all(std::span<const base::Bytes> from) override {
        if (++turns_ % kTurnsBeforeYield == 0) co_await yield(loop_);
        size_t span = 0;
        size_t done_of_span = 0;
        while (fd_ >= 0) {
            std::array<iovec, kSpansPerCall> vectors;
            size_t count = 0;
            for (size_t i = span; i < from.size() && count < kSpansPerCall; ++i) {
                const base::Bytes rest = i == span ? from[i].subspan(done_of_span) : from[i];
                if (rest.empty()) continue;
                vectors[count++] = {const_cast<std::byte*>(rest.data()), rest.size()};
            }
            if (count == 0) co_return Result<void>();
            msghdr message{};
            message.msg_iov = vectors.data();
            message.msg_iovlen = count;
            const ssize_t sent = sendmsg(fd_, &message, MSG_NOSIGNAL);
            if (sent < 0) {
                if (errno == EINTR) continue;
                if (errno != EAGAIN && errno != EWOULDBLOCK) co_return broken(errno);
                co_await watch_.writable();
                continue;
            }
            auto left = static_cast<size_t>(sent);
            while (span < from.size() && left >= from[span].size() - done_of_span) {
                left -= from[span].size() - done_of_span;
                done_of_span = 0;
                ++span;
            }
            done_of_span += left;
        }
        co_return closed();
    }

    void close() override { close_now(); }
    std::string peer() const override { return peer_; }
    std::string local() const override { return local_; }

private:
    void close_now() {
        if (fd_ < 0) return;
        watch_.stop();
        ::close(std::exchange(fd_, -1));
    }
    std::unexpected<base::Error> closed() const {
        return base::fail(Code::kUnavailable, fmt::format("connection with {} was closed", peer_));
    }
    std::unexpected<base::Error> broken(int error) const {
        return base::fail(Code::kUnavailable, fmt::format("connection with {}: {}", peer_, std::strerror(error)));
    }

    Loop& loop_;
    int fd_;
    FdWatch watch_;
    std::string peer_;
    std::string local_;
    unsigned turns_ = 0;
};

class TcpListener final : public Listener {
public:
    TcpListener(Loop& loop, int fd) : loop_(loop), fd_(fd), watch_(loop), local_(local_of(fd)) {}
    ~TcpListener() override { close_now(); }
    Result<void> start() { return watch_.start(fd_); }

    Task<Result<std::unique_ptr<Stream>>> accept() override {
        while (fd_ >= 0) {
            Address peer;
            peer.size = sizeof peer.storage;
            const int fd = accept4(fd_, peer.get(), &peer.size, SOCK_CLOEXEC | SOCK_NONBLOCK);
            if (fd >= 0) {
                tune(fd);
                auto stream = std::make_unique<TcpStream>(loop_, fd, text_of(peer));
                auto started = stream->start();
                if (!started) co_return std::unexpected(started.error());
                co_return std::unique_ptr<Stream>(std::move(stream));
            }
            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                co_await watch_.readable();
            } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
                // The connection stays in the backlog until a descriptor is free again.
                const TimerId timer = loop_.call_at(loop_.now() + kNoDescriptorsPause, [this] { watch_.wake(); });
                co_await watch_.readable();
                loop_.cancel_timer(timer);
            } else if (errno == EBADF || errno == EINVAL || errno == ENOTSOCK) {
                co_return base::fail_errno(errno, fmt::format("cannot accept on {}", local_));
            }
            // Else the connection broke before it was taken: the next one.
        }
        co_return base::fail(Code::kUnavailable, fmt::format("listener on {} was closed", local_));
    }

    void close() override { close_now(); }
    std::string local() const override { return local_; }

private:
    void close_now() {
        if (fd_ < 0) return;
        watch_.stop();
        ::close(std::exchange(fd_, -1));
    }
    Loop& loop_;
    int fd_;
    FdWatch watch_;
    std::string local_;
};

}  // namespace

Result<std::unique_ptr<Listener>> TcpTransport::listen(const std::string& address) {
    UMBRA_ASSIGN(const Address where, parse(address));
    const int fd = socket(where.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) return base::fail_errno(errno, fmt::format("cannot create a socket for {}", address));
    set_option(fd, SOL_SOCKET, SO_REUSEADDR, 1);
    if (where.storage.ss_family == AF_INET6) set_option(fd, IPPROTO_IPV6, IPV6_V6ONLY, 1);
    if (bind(fd, where.get(), where.size) != 0 || ::listen(fd, kBacklog) != 0) {
        const int error = errno;
        close(fd);
        if (error == EADDRINUSE) {
            return base::fail(Code::kBusy, fmt::format("{} is in use by another program", address));
        }
        return base::fail_errno(error, fmt::format("cannot listen on {}", address));
    }
    auto listener = std::make_unique<TcpListener>(loop_, fd);
    UMBRA_TRY(listener->start());
    return listener;
}

Task<Result<std::unique_ptr<Stream>>> TcpTransport::connect(std::string address) {
    auto where = parse(address);
    if (!where) co_return std::unexpected(where.error());
    const int fd = socket(where->storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) co_return base::fail_errno(errno, fmt::format("cannot create a socket for {}", address));
    tune(fd);
    int error = 0;
    if (::connect(fd, where->get(), where->size) != 0) error = errno;
    if (error == EINPROGRESS || error == EINTR) {
        FdWatch watch(loop_);
        auto started = watch.start(fd);
        if (!started) {
            close(fd);
            co_return std::unexpected(started.error());
        }
        const Instant deadline = loop_.now() + connect_timeout_;
        const TimerId timer = loop_.call_at(deadline, [&watch] { watch.wake(); });
        while (true) {
            Address peer;
            peer.size = sizeof peer.storage;
            socklen_t size = sizeof error;
            getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
            if (error != 0 || getpeername(fd, peer.get(), &peer.size) == 0) break;
            if (loop_.now() >= deadline) {
                error = ETIMEDOUT;
                break;
            }
            co_await watch.writable();
        }
        loop_.cancel_timer(timer);
    }
    if (error != 0) {
        close(fd);
        const Code code = error == ETIMEDOUT ? Code::kTimedOut : Code::kUnavailable;
        co_return base::fail(code, fmt::format("cannot connect to {}: {}", address, std::strerror(error)));
    }
    auto stream = std::make_unique<TcpStream>(loop_, fd, text_of(*where));
    auto started = stream->start();
    if (!started) co_return std::unexpected(started.error());
    co_return std::unique_ptr<Stream>(std::move(stream));
}

}  // namespace umbra::env

#include "env/loop.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <string>
#include <thread>

#include "env/sync.h"
#include "env/tcp.h"

namespace umbra::env {
namespace {

using base::Buffer;
using base::Bytes;
using base::Code;
using base::MutableBytes;
using base::Result;
using namespace std::chrono_literals;

struct LoopTest : testing::Test {
    std::unique_ptr<Loop> loop = std::move(*Loop::create());
    TcpTransport tcp{*loop};
};

Task<void> sleeper(Loop& loop, Duration duration, std::vector<int>& log, int id) {
    co_await sleep_for(loop, duration);
    log.push_back(id);
}

TEST_F(LoopTest, TimersFireInOrderAndNotEarly) {
    std::vector<int> log;
    TaskGroup group(*loop);
    const Instant start = loop->now();
    group.spawn(sleeper(*loop, 20ms, log, 2));
    group.spawn(sleeper(*loop, 1ms, log, 1));
    group.spawn(sleeper(*loop, 20ms, log, 3));
    EXPECT_TRUE(loop->run(group.join()));
    EXPECT_EQ(log, (std::vector<int>{1, 2, 3}));
    EXPECT_GE(loop->now() - start, 20ms);
}

TEST_F(LoopTest, CancelledTimersDoNotFire) {
    bool fired = false;
    const TimerId id = loop->call_at(loop->now(), [&] { fired = true; });
    EXPECT_TRUE(loop->cancel_timer(id));
    EXPECT_FALSE(loop->cancel_timer(id));
    std::vector<int> log;
    loop->run(sleeper(*loop, 1ms, log, 1));
    EXPECT_FALSE(fired);
}

TEST_F(LoopTest, RunsWhatOtherThreadsPost) {
    constexpr int kThreads = 4;
    constexpr int kEach = 10'000;
    int count = 0;
    std::vector<std::thread> threads;
    for (int i = 0; i < kThreads; ++i) {
        threads.emplace_back([&] {
            for (int j = 0; j < kEach; ++j) {
                loop->post([&] {
                    if (++count == kThreads * kEach) loop->stop();
                });
            }
        });
    }
    loop->run();
    for (auto& thread : threads) thread.join();
    EXPECT_EQ(count, kThreads * kEach);
}

TEST_F(LoopTest, StopsFromAnotherThread) {
    std::thread stopper([&] { loop->stop(); });
    loop->run();
    stopper.join();
}

TEST_F(LoopTest, CallsSignalHandlers) {
    int seen = 0;
    const std::array<int, 1> signals{SIGUSR1};
    ASSERT_TRUE(loop->handle_signals(signals, [&](int number) {
        seen = number;
        loop->stop();
    }));
    ASSERT_EQ(kill(getpid(), SIGUSR1), 0);
    loop->run();
    EXPECT_EQ(seen, SIGUSR1);
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGUSR1);
    pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
}

TEST_F(LoopTest, KernelRandomDoesNotRepeat) {
    KernelRandom random;
    std::set<uint64_t> seen;
    for (int i = 0; i < 1000; ++i) seen.insert(random.next());
    EXPECT_EQ(seen.size(), 1000u);
}

Task<void> echo(std::unique_ptr<Stream> stream) {
    Buffer buffer(65536);
    while (true) {
        auto count = co_await stream->read_some(buffer.span());
        if (!count || *count == 0) co_return;
        const std::array<Bytes, 1> spans{buffer.span(0, *count)};
        auto written = co_await stream->write_all(spans);
        if (!written) co_return;
    }
}

Task<void> serve(Listener& listener, TaskGroup& group) {
    while (true) {
        auto stream = co_await listener.accept();
        if (!stream) co_return;
        group.spawn(echo(std::move(*stream)));
    }
}

Task<void> send_all(Stream& stream, Bytes bytes, Result<void>* out) {
    // Many spans, empty and odd ones among them, so that partial sends end inside each kind.
    std::vector<Bytes> spans;
    for (size_t at = 0, size = 1; at < bytes.size(); at += size, size = (size * 7 + 3) % 20'011) {
        spans.push_back(bytes.subspan(at, std::min(size, bytes.size() - at)));
        if (size == 0) size = 1;
        if (spans.size() % 5 == 0) spans.emplace_back();
    }
    *out = co_await stream.write_all(spans);
}

Task<void> client(TcpTransport& tcp, Loop& loop, std::string address, size_t bytes, uint64_t seed, bool* same) {
    auto stream = co_await tcp.connect(address);
    if (!stream) co_return;
    Buffer out(bytes);
    Buffer in(bytes, true);
    SeededRandom random(seed);
    for (auto& byte : out.span()) byte = static_cast<std::byte>(random.next());
    Result<void> sent;
    TaskGroup group(loop);
    group.spawn(send_all(**stream, out.span(), &sent));
    size_t done = 0;
    while (done < bytes) {
        auto count = co_await (*stream)->read_some(in.span().subspan(done));
        if (!count || *count == 0) break;
        done += *count;
    }
    co_await group.join();
    *same = sent && done == bytes && std::memcmp(in.data(), out.data(), bytes) == 0;
}

Task<void> clients(TcpTransport& tcp, Loop& loop, Listener& listener, TaskGroup& server, std::array<bool, 8>& same) {
    TaskGroup group(loop);
    for (size_t i = 0; i < same.size(); ++i)
        group.spawn(client(tcp, loop, listener.local(), 3'000'000 + i, i, &same[i]));
    co_await group.join();
    listener.close();
    co_await server.join();
}

TEST_F(LoopTest, TcpCarriesBytesBothWaysAtOnce) {
    for (const std::string address : {"127.0.0.1:0", "[::1]:0"}) {
        auto listener = tcp.listen(address);
        if (!listener && address[0] == '[') continue;  // a host without IPv6
        ASSERT_TRUE(listener) << listener.error().text();
        TaskGroup server(*loop);
        server.spawn(serve(**listener, server));
        std::array<bool, 8> same{};
        loop->run(clients(tcp, *loop, **listener, server, same));
        EXPECT_THAT(same, testing::Each(true));
    }
}

Task<void> expect_connect(TcpTransport& tcp, std::string address, Code* code) {
    auto stream = co_await tcp.connect(address);
    *code = stream ? Code::kInternal : stream.error().code;
}

TEST_F(LoopTest, TcpRefusesBadAddressesAndAbsentPeers) {
    for (const char* bad :
         {"", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536", "127.0.0.1:1x", "localhost:1", "[::1:1", "::1:1", "[]:1"}) {
        EXPECT_EQ(tcp.listen(bad).error().code, Code::kInvalidArgument) << bad;
        Code code{};
        loop->run(expect_connect(tcp, bad, &code));
        EXPECT_EQ(code, Code::kInvalidArgument) << bad;
    }
    auto listener = *tcp.listen("127.0.0.1:0");
    EXPECT_EQ(tcp.listen(listener->local()).error().code, Code::kBusy);
    const std::string address = listener->local();
    listener->close();
    Code code{};
    loop->run(expect_connect(tcp, address, &code));
    EXPECT_EQ(code, Code::kUnavailable);
}

Task<void> read_until_error(Stream& stream, Code* code) {
    Buffer buffer(4096);
    auto count = co_await stream.read_some(buffer.span());
    *code = count ? Code::kInternal : count.error().code;
}

Task<void> write_until_error(Stream& stream, Code* code) {
    Buffer buffer(1 << 20, true);
    const std::array<Bytes, 1> spans{buffer.span()};
    while (true) {
        auto written = co_await stream.write_all(spans);
        if (written) continue;
        *code = written.error().code;
        co_return;
    }
}

Task<void> close_under_way(TcpTransport& tcp, Loop& loop, Listener& listener, Code* read_code, Code* write_code) {
    auto connected = co_await tcp.connect(listener.local());
    auto accepted = co_await listener.accept();
    TaskGroup group(loop);
    group.spawn(read_until_error(**connected, read_code));
    group.spawn(write_until_error(**connected, write_code));  // blocks: the other side does not read
    co_await yield(loop);
    (*connected)->close();
    co_await group.join();
}

TEST_F(LoopTest, ClosingEndsTheReadAndTheWriteInFlight) {
    auto listener = *tcp.listen("127.0.0.1:0");
    Code read_code{};
    Code write_code{};
    loop->run(close_under_way(tcp, *loop, *listener, &read_code, &write_code));
    EXPECT_EQ(read_code, Code::kUnavailable);
    EXPECT_EQ(write_code, Code::kUnavailable);
}

Task<void> peer_closes(TcpTransport& tcp, Listener& listener, size_t* count) {
    auto connected = co_await tcp.connect(listener.local());
    {
        auto accepted = co_await listener.accept();
        EXPECT_EQ((*accepted)->local(), (*connected)->peer());
        EXPECT_EQ((*accepted)->peer(), (*connected)->local());
    }
    Buffer buffer(4096);
    auto result = co_await (*connected)->read_some(buffer.span());
    *count = result ? *result : 99;
}

TEST_F(LoopTest, ReadsZeroAtTheEndOfTheStream) {
    auto listener = *tcp.listen("127.0.0.1:0");
    size_t count = 99;
    loop->run(peer_closes(tcp, *listener, &count));
    EXPECT_EQ(count, 0u);
}

}  // namespace
}  // namespace umbra::env

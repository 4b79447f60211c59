#include "sim/network.h"

#include <gtest/gtest.h>

#include <array>

#include "env/sync.h"

namespace umbra::sim {
namespace {

using base::Buffer;
using base::Bytes;
using base::Code;
using base::Result;
using env::Listener;
using env::Stream;
using env::Task;
using env::TaskGroup;

Task<void> echo(std::unique_ptr<Stream> stream) {
    Buffer buffer(20'000);
    while (true) {
        auto count = co_await stream->read_some(buffer.span());
        if (!count || *count == 0) co_return;
        const std::array<Bytes, 1> spans{buffer.span(0, *count)};
        auto sent = co_await stream->write_all(spans);
        if (!sent) co_return;
    }
}

Task<void> serve(Listener& listener, TaskGroup& group) {
    while (true) {
        auto stream = co_await listener.accept();
        if (!stream) co_return;
        group.spawn(echo(std::move(*stream)));
    }
}

Task<void> send(Stream& stream, Bytes bytes, Result<void>* out) {
    const std::array<Bytes, 2> spans{bytes.first(bytes.size() / 3), bytes.subspan(bytes.size() / 3)};
    *out = co_await stream.write_all(spans);
}

Task<void> client(SimExecutor& executor, env::Transport& transport, std::string address, size_t bytes, int* good) {
    auto stream = co_await transport.connect(address);
    if (!stream) co_return;
    Buffer out(bytes);
    Buffer in(bytes, true);
    env::SeededRandom random(bytes);
    for (auto& byte : out.span()) byte = static_cast<std::byte>(random.next());
    Result<void> sent;
    TaskGroup group(executor);
    group.spawn(send(**stream, out.span(), &sent));
    size_t done = 0;
    while (done < bytes) {
        auto count = co_await (*stream)->read_some(in.span().subspan(done));
        if (!count || *count == 0) break;
        done += *count;
    }
    co_await group.join();
    *good += sent && done == bytes && std::memcmp(in.data(), out.data(), bytes) == 0;
}

Task<void> all_clients(SimExecutor& executor, SimNetwork& network, Listener& listener, TaskGroup& server, int* good) {
    auto transport = network.host("10.0.0.2");
    TaskGroup group(executor);
    for (size_t i = 0; i < 5; ++i) group.spawn(client(executor, *transport, listener.local(), 400'000 + i, good));
    co_await group.join();
    listener.close();
    co_await server.join();
}

uint64_t run(uint64_t seed, uint32_t disconnect_per_op, int* good, uint64_t* broken) {
    SimExecutor executor;
    Trace trace;
    NetworkOptions options;
    options.seed = seed;
    options.window_bytes = 30'000;
    options.disconnect_per_op = disconnect_per_op;
    SimNetwork network(executor, trace, options);
    auto server_host = network.host("10.0.0.1");
    auto listener = *server_host->listen("10.0.0.1:3260");
    TaskGroup server(executor);
    server.spawn(serve(*listener, server));
    executor.run(all_clients(executor, network, *listener, server, good));
    *broken = network.broken();
    return trace.hash();
}

TEST(SimNetwork, CarriesBytesBothWaysUnderBackPressure) {
    int good = 0;
    uint64_t broken = 0;
    const uint64_t hash = run(1, 0, &good, &broken);
    EXPECT_EQ(good, 5);
    EXPECT_EQ(broken, 0u);
    int again = 0;
    EXPECT_EQ(run(1, 0, &again, &broken), hash);
    EXPECT_NE(run(2, 0, &again, &broken), hash);
}

TEST(SimNetwork, ConnectionsBreakAndNothingHangs) {
    uint64_t all_broken = 0;
    for (uint64_t seed = 1; seed <= 20; ++seed) {
        int good = 0;
        uint64_t broken = 0;
        run(seed, 60, &good, &broken);
        EXPECT_LE(good, 5);
        all_broken += broken;
    }
    EXPECT_GT(all_broken, 20u);
}

Task<void> read_code(Stream& stream, Code* code) {
    Buffer buffer(4096);
    auto count = co_await stream.read_some(buffer.span());
    *code = count ? Code::kInternal : count.error().code;
}

Task<void> separate(SimExecutor& executor, SimNetwork& network, Code* reading, Code* refused, bool* again) {
    auto server = network.host("10.0.0.1");
    auto client = network.host("10.0.0.2");
    auto listener = *server->listen("0.0.0.0:0");
    auto stream = *co_await client->connect(listener->local());
    auto accepted = *co_await listener->accept();
    EXPECT_EQ(stream->peer(), accepted->local());
    EXPECT_EQ(stream->local(), accepted->peer());
    TaskGroup group(executor);
    group.spawn(read_code(*stream, reading));
    network.disconnect("10.0.0.2", "10.0.0.1");
    co_await group.join();
    auto second = co_await client->connect(listener->local());
    *refused = second ? Code::kInternal : second.error().code;
    network.reconnect("10.0.0.1", "10.0.0.2");
    auto third = co_await client->connect(listener->local());
    *again = third.has_value();
}

TEST(SimNetwork, SeparatedHostsCannotReachEachOther) {
    SimExecutor executor;
    Trace trace;
    SimNetwork network(executor, trace, {});
    Code reading{};
    Code refused{};
    bool again = false;
    executor.run(separate(executor, network, &reading, &refused, &again));
    EXPECT_EQ(reading, Code::kUnavailable);
    EXPECT_EQ(refused, Code::kUnavailable);
    EXPECT_TRUE(again);
    EXPECT_EQ(network.connections(), 2u);
}

Task<void> half_close(SimNetwork& network, std::vector<size_t>* counts, Code* late) {
    auto server = network.host("10.0.0.1");
    auto listener = *server->listen("10.0.0.1:1");
    auto client = *co_await server->connect("10.0.0.1:1");
    auto accepted = *co_await listener->accept();
    Buffer buffer(100, true);
    const std::array<Bytes, 1> spans{buffer.span()};
    auto sent = co_await client->write_all(spans);
    EXPECT_TRUE(sent);
    client->close();
    Buffer into(4096);
    size_t total = 0;
    while (true) {
        auto count = co_await accepted->read_some(into.span());
        EXPECT_TRUE(count);
        if (!count || *count == 0) break;
        total += *count;
    }
    counts->push_back(total);
    auto back = co_await accepted->write_all(spans);
    *late = back ? Code::kInternal : back.error().code;
}

TEST(SimNetwork, WhatWasSentBeforeTheCloseArrives) {
    SimExecutor executor;
    Trace trace;
    SimNetwork network(executor, trace, {});
    std::vector<size_t> counts;
    Code late{};
    executor.run(half_close(network, &counts, &late));
    EXPECT_EQ(counts, (std::vector<size_t>{100}));
    EXPECT_EQ(late, Code::kUnavailable);
}

}  // namespace
}  // namespace umbra::sim

#include "iscsi/testing/fuzz_entry.h"

#include <memory>
#include <vector>

#include "base/check.h"
#include "iscsi/server.h"
#include "iscsi/testing/initiator.h"
#include "iscsi/testing/memory_transport.h"
#include "scsi/testing/scsi_harness.h"
#include "sim/executor.h"

namespace umbra::iscsi::testing {

namespace {

constexpr const char* kPortal = "10.0.0.1:3260";

env::Task<void> swallow(Initiator* initiator, bool* ended) {
    while (true) {
        const auto pdu = co_await initiator->receive();
        if (!pdu) break;
    }
    *ended = true;
}

env::Task<void> attack(env::Transport* transport, std::vector<std::byte> bytes, bool log_in, env::Executor* executor) {
    auto stream = co_await transport->connect(kPortal);
    UMBRA_CHECK(stream);
    Initiator initiator(std::move(*stream));
    if (log_in) {
        std::vector<KeyValue> keys;
        keys.emplace_back("InitiatorName", "iqn.2026-01.test:fuzz");
        keys.emplace_back("TargetName", scsi::testing::kTarget);
        keys.emplace_back("InitialR2T", "No");
        const auto answer = co_await initiator.log_in(std::move(keys), 1);
        UMBRA_CHECK(answer && answer->header.half(36) == 0);
    }
    bool ended = false;
    env::TaskGroup reading(*executor);
    reading.spawn(swallow(&initiator, &ended));
    base::Bytes all(bytes);
    (void)co_await initiator.stream().write_all(std::span<const base::Bytes>(&all, 1));
    initiator.stream().close();
    co_await reading.join();
}

env::Task<void> still_serves(env::Transport* transport) {
    auto stream = co_await transport->connect(kPortal);
    UMBRA_CHECK(stream);
    Initiator initiator(std::move(*stream));
    std::vector<KeyValue> keys;
    keys.emplace_back("InitiatorName", "iqn.2026-01.test:good");
    keys.emplace_back("SessionType", "Discovery");
    const auto answer = co_await initiator.log_in(std::move(keys), 1);
    UMBRA_CHECK(answer && answer->header.half(36) == 0);
}

env::Task<void> start(TargetServer* server) {
    const auto started = co_await server->start();
    UMBRA_CHECK(started);
}

}  // namespace

void fuzz_connection(const uint8_t* data, size_t size) {
    if (size == 0) return;
    sim::SimExecutor executor;
    scsi::testing::MemoryPresentation presentation;
    presentation.add_lun(1, 1u << 20);
    MemoryTransport transport(executor);
    Config config;
    config.listen = {kPortal};
    config.command_window = 8;
    config.session_data_bytes = 4u << 20;
    TargetServer server(executor, transport, presentation, config);
    executor.run(start(&server));
    const auto* bytes = reinterpret_cast<const std::byte*>(data);
    executor.run(attack(&transport, std::vector<std::byte>(bytes + 1, bytes + size), (data[0] & 1) != 0, &executor));
    executor.run(still_serves(&transport));
    executor.run(server.stop());
    UMBRA_CHECK(server.sessions() == 0 && presentation.sessions().empty());
}

void fuzz_commands(const uint8_t* data, size_t size) {
    scsi::testing::Harness harness;
    harness.presentation.add_lun(0, 1u << 20);
    harness.presentation.add_lun(1, 1u << 20).volume->set_writable(false);
    scsi::Nexus* nexus = harness.open();
    harness.run_clean(nexus, 0, {0, 0, 0, 0, 0, 0});
    // Each command: LUN, length of its data in units of 32 bytes, CDB, data.
    constexpr size_t kHeader = 2 + 16;
    for (size_t at = 0; at + kHeader <= size;) {
        const uint16_t lun = data[at] % 3;
        const size_t wanted = size_t{data[at + 1]} * 32;
        const std::vector<uint8_t> cdb(data + at + 2, data + at + kHeader);
        at += kHeader;
        const size_t count = std::min(wanted, size - at);
        const auto* bytes = reinterpret_cast<const std::byte*>(data) + at;
        const auto out = harness.run(nexus, lun, cdb, std::vector<std::byte>(bytes, bytes + count));
        at += count;
        UMBRA_CHECK(out.answer);
        UMBRA_CHECK(out.status != scsi::Status::kCheckCondition || out.key != 0);
        UMBRA_CHECK(out.status == scsi::Status::kGood || out.data.empty());
    }
}

}  // namespace umbra::iscsi::testing

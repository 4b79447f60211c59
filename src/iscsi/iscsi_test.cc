#include <gtest/gtest.h>

#include <algorithm>
#include <functional>

#include "env/random.h"
#include "iscsi/limits.h"
#include "iscsi/login.h"
#include "iscsi/server.h"
#include "iscsi/testing/fuzz_entry.h"
#include "iscsi/testing/initiator.h"
#include "iscsi/testing/memory_transport.h"
#include "scsi/testing/scsi_harness.h"

namespace umbra::iscsi {
namespace {

using namespace testing;
using env::Task;
using scsi::testing::cdb10;
using scsi::testing::kTarget;
using scsi::testing::pattern;

constexpr const char* kPortal = "10.0.0.1:3260";
const std::vector<uint8_t> kTestUnitReady{0, 0, 0, 0, 0, 0};

Task<void> start(TargetServer* server, bool* ok) {
    const auto started = co_await server->start();
    *ok = started.has_value();
}

struct IscsiTest : ::testing::Test {
    void begin(Config config = {}, size_t piece = SIZE_MAX) {
        transport = std::make_unique<MemoryTransport>(executor, 16384, piece);
        config.listen = {kPortal};
        presentation.add_lun(1, 16u << 20);
        server = std::make_unique<TargetServer>(executor, *transport, presentation, config);
        bool ok = false;
        executor.run(start(server.get(), &ok));
        ASSERT_TRUE(ok);
    }
    ~IscsiTest() override {
        if (server) executor.run(server->stop());
        EXPECT_TRUE(presentation.sessions().empty());
    }
    void run(Task<void> task) { executor.run(std::move(task)); }

    sim::SimExecutor executor;
    scsi::testing::MemoryPresentation presentation;
    std::unique_ptr<MemoryTransport> transport;
    std::unique_ptr<TargetServer> server;
};

std::vector<KeyValue> normal_keys(std::vector<KeyValue> more = {}, const std::string& name = "iqn.2026-01.test:a") {
    std::vector<KeyValue> keys{{"InitiatorName", name}, {"TargetName", kTarget}};
    keys.insert(keys.end(), more.begin(), more.end());
    return keys;
}

Task<void> connect(IscsiTest* test, std::unique_ptr<Initiator>* into) {
    auto stream = co_await test->transport->connect(kPortal);
    UMBRA_CHECK(stream);
    *into = std::make_unique<Initiator>(std::move(*stream));
}

/// Logged in, unit attention taken.
Task<void> open_session(IscsiTest* test, std::vector<KeyValue> more, uint8_t isid, std::unique_ptr<Initiator>* into) {
    co_await connect(test, into);
    Initiator& initiator = **into;
    auto keys = normal_keys(std::move(more));
    const auto answer = co_await initiator.log_in(std::move(keys), isid);
    UMBRA_CHECK(answer && answer->header.half(36) == 0);
    const Header ready = initiator.command(kTestUnitReady, 1, 0x81, 0, 1);
    std::vector<std::byte> none;
    (void)co_await initiator.send(ready, none);
    const auto attention = co_await initiator.receive();
    UMBRA_CHECK(attention && attention->header.byte(3) == 2);
}

Task<void> login_status(IscsiTest* test, std::vector<KeyValue> keys, uint16_t* status, std::string* text) {
    std::unique_ptr<Initiator> initiator;
    co_await connect(test, &initiator);
    const auto answer = co_await initiator->log_in(std::move(keys), 1);
    *status = answer ? answer->header.half(36) : 0xffff;
    if (answer && text != nullptr) *text = std::string(base::as_text(answer->data));
}

TEST_F(IscsiTest, LoginNegotiates) {
    begin();
    uint16_t status = 0;
    std::string text;
    run(login_status(this,
                     normal_keys({{"HeaderDigest", "CRC32C,None"},
                                  {"DataDigest", "Other,None"},
                                  {"MaxConnections", "8"},
                                  {"InitialR2T", "No"},
                                  {"ImmediateData", "Yes"},
                                  {"MaxBurstLength", "16776192"},
                                  {"FirstBurstLength", "262144"},
                                  {"DefaultTime2Wait", "2"},
                                  {"DefaultTime2Retain", "20"},
                                  {"MaxOutstandingR2T", "4"},
                                  {"ErrorRecoveryLevel", "2"},
                                  {"DataPDUInOrder", "No"},
                                  {"DataSequenceInOrder", "Yes"},
                                  {"MaxRecvDataSegmentLength", "0x2000"},
                                  {"TaskReporting", "FastAbort,RFC3720"},
                                  {"iSCSIProtocolLevel", "2"},
                                  {"IFMarker", "Yes"},
                                  {"X-com.example.key", "1"}}),
                     &status, &text));
    EXPECT_EQ(status, 0);
    const auto keys = parse_text(base::as_bytes(text));
    ASSERT_TRUE(keys);
    const std::vector<KeyValue> expected{{"TargetPortalGroupTag", "1"},
                                         {"HeaderDigest", "CRC32C"},
                                         {"DataDigest", "None"},
                                         {"MaxConnections", "1"},
                                         {"InitialR2T", "No"},
                                         {"ImmediateData", "Yes"},
                                         {"MaxBurstLength", "1048576"},
                                         {"FirstBurstLength", "262144"},
                                         {"DefaultTime2Wait", "2"},
                                         {"DefaultTime2Retain", "0"},
                                         {"MaxOutstandingR2T", "4"},
                                         {"ErrorRecoveryLevel", "0"},
                                         {"DataPDUInOrder", "Yes"},
                                         {"DataSequenceInOrder", "Yes"},
                                         {"TaskReporting", "RFC3720"},
                                         {"iSCSIProtocolLevel", "1"},
                                         {"IFMarker", "No"},
                                         {"X-com.example.key", "NotUnderstood"},
                                         {"MaxRecvDataSegmentLength", "262144"}};
    EXPECT_EQ(*keys, expected);
}

TEST_F(IscsiTest, LoginRefuses) {
    begin();
    const std::vector<std::pair<std::vector<KeyValue>, uint16_t>> cases{
        {{{"TargetName", kTarget}}, 0x0207},
        {{{"InitiatorName", "iqn.2026-01.test:a"}}, 0x0207},
        {{{"InitiatorName", "not a name"}, {"TargetName", kTarget}}, 0x0200},
        {normal_keys({}, "iqn.2026-01.test:\xff\xfe"), 0x0200},  // no UTF-8
        {normal_keys({{"SessionType", "Strange"}}), 0x0209},
        {{{"InitiatorName", "iqn.2026-01.test:a"}, {"TargetName", "iqn.2026-01.test:other"}}, 0x0203},
        {normal_keys({{"MaxBurstLength", "0"}}), 0x0200},
        {normal_keys({{"InitialR2T", "Maybe"}}), 0x0200},
        {normal_keys({{"AuthMethod", "None"}}), 0x020b},  // not in the operational stage
        {normal_keys({{"InitialR2T", "No"}, {"InitialR2T", "Yes"}}), 0x0200}};
    for (const auto& [keys, expected] : cases) {
        uint16_t status = 0;
        run(login_status(this, keys, &status, nullptr));
        EXPECT_EQ(status, expected);
    }
    EXPECT_EQ(server->sessions(), 0u);
}

TEST(Login, SecurityStageTakesNoneOnly) {
    struct Everyone final : LoginPolicy {
        LoginStatus admit(const LoginIdentity&) override { return LoginStatus::kSuccess; }
    } policy;
    LoginMachine none(policy);
    auto keys = normal_keys({{"AuthMethod", "CHAP,None"}});
    auto reply = none.handle(Initiator::login(0, 1), Initiator::text(keys));
    EXPECT_EQ(reply.status, LoginStatus::kSuccess);
    EXPECT_NE(reply.text.find("AuthMethod=None"), std::string::npos);
    EXPECT_EQ(reply.header.flags(), 0x81);
    EXPECT_FALSE(reply.finished);
    reply = none.handle(Initiator::login(1, 3), {});
    EXPECT_TRUE(reply.finished);
    LoginMachine chap(policy);
    keys.back().second = "CHAP";
    EXPECT_EQ(chap.handle(Initiator::login(0, 1), Initiator::text(keys)).status, LoginStatus::kAuthenticationFailure);
    // Stages do not go back, and a login does not change its tag.
    LoginMachine back(policy);
    keys.back().second = "None";
    EXPECT_EQ(back.handle(Initiator::login(0, 1), Initiator::text(keys)).status, LoginStatus::kSuccess);
    EXPECT_EQ(back.handle(Initiator::login(0, 1), {}).status, LoginStatus::kInvalidRequest);
    // Text over several requests.
    LoginMachine split(policy);
    const auto text = Initiator::text(normal_keys());
    Header first = Initiator::login(1, 3);
    first.set_byte(1, 0x40 | (1 << 2));
    reply = split.handle(first, base::Bytes(text).first(20));
    EXPECT_EQ(reply.status, LoginStatus::kSuccess);
    EXPECT_FALSE(reply.finished);
    EXPECT_TRUE(split.handle(Initiator::login(1, 3), base::Bytes(text).subspan(20)).finished);
}

Task<void> discover(IscsiTest* test, std::string* found, uint8_t* reject_reason) {
    std::unique_ptr<Initiator> initiator;
    co_await connect(test, &initiator);
    std::vector<KeyValue> keys;
    keys.emplace_back("InitiatorName", "iqn.2026-01.test:a");
    keys.emplace_back("SessionType", "Discovery");
    const auto in = co_await initiator->log_in(std::move(keys), 1);
    UMBRA_CHECK(in && in->header.half(36) == 0);
    Header request(Opcode::kTextRequest);
    request.set_word(16, 5);
    request.set_word(20, kReservedTag);
    request.set_word(24, initiator->cmd_sn++);
    std::vector<KeyValue> ask;
    ask.emplace_back("SendTargets", "All");
    auto text = Initiator::text(ask);
    (void)co_await initiator->send(request, std::move(text));
    const auto answer = co_await initiator->receive();
    UMBRA_CHECK(answer && answer->header.is(Opcode::kTextResponse));
    *found = std::string(base::as_text(answer->data));
    const Header read = initiator->command(cdb10(0x28, 0, 1), 6, 0xc1, 512, 1);
    std::vector<std::byte> none;
    (void)co_await initiator->send(read, none);
    const auto refused = co_await initiator->receive();
    UMBRA_CHECK(refused && refused->header.is(Opcode::kReject));
    *reject_reason = refused->header.byte(2);
}

TEST_F(IscsiTest, DiscoveryNamesTheAddressOfTheConnectionAndReachesNoLun) {
    begin();
    std::string found;
    uint8_t reason = 0;
    run(discover(this, &found, &reason));
    EXPECT_EQ(found, std::string("TargetName=") + kTarget + '\0' + "TargetAddress=" + kPortal + ",1" + '\0');
    EXPECT_EQ(reason, static_cast<uint8_t>(RejectReason::kProtocolError));
}

struct WriteResult {
    uint8_t status = 0xff;
    uint8_t flags = 0;
    uint32_t residual = 0;
    uint32_t r2ts = 0;
    std::vector<std::byte> data;
};

struct WritePlan {
    uint32_t lba = 0;
    uint16_t blocks = 0;
    uint32_t expected = 0;  ///< announced
    uint32_t immediate = 0;
    uint32_t unsolicited = 0;  ///< by Data-Out before any R2T
    uint32_t segment = 8192;
};

Task<void> write_blocks(Initiator* initiator, uint32_t itt, WritePlan plan, std::vector<std::byte> data,
                        WriteResult* result) {
    const bool more = plan.unsolicited > 0;
    const Header command = initiator->command(cdb10(0x2a, plan.lba, plan.blocks), itt,
                                              static_cast<uint8_t>((more ? 0 : 0x80) | 0x21), plan.expected, 1);
    std::vector<std::byte> first(data.begin(), data.begin() + plan.immediate);
    (void)co_await initiator->send(command, std::move(first));
    uint32_t sent = plan.immediate;
    uint32_t sn = 0;
    const uint32_t unsolicited_end = plan.immediate + plan.unsolicited;
    while (sent < unsolicited_end) {
        const uint32_t count = std::min(plan.segment, unsolicited_end - sent);
        Header out(Opcode::kDataOut, sent + count == unsolicited_end ? kFinal : 0);
        out.set_word(16, itt);
        out.set_word(20, kReservedTag);
        out.set_word(36, sn++);
        out.set_word(40, sent);
        std::vector<std::byte> piece(data.begin() + sent, data.begin() + sent + count);
        (void)co_await initiator->send(out, std::move(piece));
        sent += count;
    }
    while (true) {
        const auto pdu = co_await initiator->receive();
        UMBRA_CHECK(pdu);
        if (pdu->header.is(Opcode::kScsiResponse)) {
            result->status = pdu->header.byte(3);
            result->flags = pdu->header.flags();
            result->residual = pdu->header.word(44);
            result->data = pdu->data;
            co_return;
        }
        UMBRA_CHECK(pdu->header.is(Opcode::kR2t));
        UMBRA_CHECK(pdu->header.word(36) == result->r2ts);
        ++result->r2ts;
        const uint32_t offset = pdu->header.word(40);
        const uint32_t length = pdu->header.word(44);
        uint32_t data_sn = 0;
        for (uint32_t at = offset; at < offset + length;) {
            const uint32_t count = std::min(plan.segment, offset + length - at);
            Header out(Opcode::kDataOut, at + count == offset + length ? kFinal : 0);
            out.set_word(16, itt);
            out.set_word(20, pdu->header.ttt());
            out.set_word(36, data_sn++);
            out.set_word(40, at);
            std::vector<std::byte> piece(data.begin() + at, data.begin() + at + count);
            (void)co_await initiator->send(out, std::move(piece));
            at += count;
        }
    }
}

Task<void> read_blocks(Initiator* initiator, uint32_t itt, uint32_t lba, uint16_t blocks, uint32_t expected,
                       uint32_t max_burst, WriteResult* result) {
    const Header command = initiator->command(cdb10(0x28, lba, blocks), itt, 0xc1, expected, 1);
    std::vector<std::byte> none;
    (void)co_await initiator->send(command, none);
    uint32_t sn = 0;
    while (true) {
        const auto pdu = co_await initiator->receive();
        UMBRA_CHECK(pdu);
        result->flags = pdu->header.flags();
        result->residual = pdu->header.word(44);
        result->status = pdu->header.byte(3);
        if (pdu->header.is(Opcode::kScsiResponse)) co_return;
        UMBRA_CHECK(pdu->header.is(Opcode::kDataIn));
        UMBRA_CHECK(pdu->header.word(36) == sn++);
        UMBRA_CHECK(pdu->header.word(40) == result->data.size());
        result->data.insert(result->data.end(), pdu->data.begin(), pdu->data.end());
        // A sequence ends at each burst.
        UMBRA_CHECK(result->data.size() % max_burst != 0 || pdu->header.final());
        if ((pdu->header.flags() & 1) != 0) co_return;
    }
}

// All ways of bringing the data, with all digests and pieces: what is written is what is read.
Task<void> write_and_read(IscsiTest* test, std::vector<KeyValue> more, Digests digests, bool unsolicited) {
    std::unique_ptr<Initiator> initiator;
    co_await connect(test, &initiator);
    auto keys = normal_keys(std::move(more));
    const auto in = co_await initiator->log_in(std::move(keys), 7);
    UMBRA_CHECK(in && in->header.half(36) == 0);
    initiator->set_digests(digests);
    const Header ready = initiator->command(kTestUnitReady, 1, 0x81, 0, 1);
    std::vector<std::byte> none;
    (void)co_await initiator->send(ready, none);
    const auto attention = co_await initiator->receive();
    UMBRA_CHECK(attention);
    uint32_t itt = 10;
    for (const uint16_t blocks : {1, 7, 8, 64, 255, 1000}) {
        const auto bytes = static_cast<uint32_t>(blocks * 512);
        for (const uint32_t immediate : {0u, 512u, 8192u}) {
            WritePlan plan;
            plan.lba = itt * 3;
            plan.blocks = blocks;
            plan.expected = bytes;
            plan.immediate = std::min({immediate, bytes, 65536u});
            if (unsolicited) plan.unsolicited = std::min(bytes, 65536u) - plan.immediate;
            plan.segment = 4096 + itt * 4;
            WriteResult wrote;
            auto data = pattern(bytes, static_cast<uint8_t>(itt));
            co_await write_blocks(initiator.get(), itt++, plan, data, &wrote);
            EXPECT_EQ(wrote.status, 0);
            EXPECT_EQ(wrote.residual, 0u);
            WriteResult read;
            co_await read_blocks(initiator.get(), itt++, plan.lba, blocks, bytes, 16384, &read);
            EXPECT_EQ(read.status, 0);
            EXPECT_TRUE(read.data == data) << blocks << " blocks, " << immediate << " immediate";
        }
    }
}

TEST_F(IscsiTest, DataByEveryRoad) {
    begin({}, 1000);
    for (const bool unsolicited : {false, true}) {
        for (const int digests : {0, 1, 2, 3}) {
            const Digests used{(digests & 1) != 0, (digests & 2) != 0};
            run(write_and_read(this,
                               {{"InitialR2T", unsolicited ? "No" : "Yes"},
                                {"FirstBurstLength", "65536"},
                                {"MaxBurstLength", "16384"},
                                {"MaxOutstandingR2T", "3"},
                                {"MaxRecvDataSegmentLength", "5000"},
                                {"HeaderDigest", used.header ? "CRC32C" : "None"},
                                {"DataDigest", used.data ? "CRC32C" : "None"}},
                               used, false));
            if (unsolicited) {
                run(write_and_read(this,
                                   {{"InitialR2T", "No"},
                                    {"FirstBurstLength", "65536"},
                                    {"MaxBurstLength", "65536"},
                                    {"MaxRecvDataSegmentLength", "5000"},
                                    {"HeaderDigest", used.header ? "CRC32C" : "None"},
                                    {"DataDigest", used.data ? "CRC32C" : "None"}},
                                   used, true));
            }
        }
    }
}

Task<void> residuals(IscsiTest* test) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &initiator);
    WriteResult under;
    co_await read_blocks(initiator.get(), 20, 0, 2, 4096, 1u << 20, &under);
    EXPECT_EQ(under.flags & 0x06, 0x02);
    EXPECT_EQ(under.residual, 4096u - 1024);
    EXPECT_EQ(under.data.size(), 1024u);
    WriteResult over;
    co_await read_blocks(initiator.get(), 21, 0, 8, 512, 1u << 20, &over);
    EXPECT_EQ(over.flags & 0x06, 0x04);
    EXPECT_EQ(over.residual, 4096u - 512);
    EXPECT_EQ(over.data.size(), 512u);
    // A write that announces less than the CDB says writes what it brings, and no block more.
    WritePlan plan;
    plan.lba = 100;
    plan.blocks = 4;
    plan.expected = 1024;
    plan.immediate = 1024;
    WriteResult wrote;
    auto data = pattern(1024, 9);
    co_await write_blocks(initiator.get(), 22, plan, data, &wrote);
    EXPECT_EQ(wrote.status, 0);
    EXPECT_EQ(wrote.flags & 0x06, 0x04);
    EXPECT_EQ(wrote.residual, 1024u);
    WriteResult back;
    co_await read_blocks(initiator.get(), 23, 100, 4, 2048, 1u << 20, &back);
    data.resize(2048);
    EXPECT_TRUE(back.data == data);
}

TEST_F(IscsiTest, Residuals) {
    begin();
    run(residuals(this));
}

Task<void> out_of_order(IscsiTest* test) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &initiator);
    std::vector<std::byte> none;
    // Two commands in the wrong order run in the right one; one beyond the window and an old one are ignored.
    const uint32_t sn = initiator->cmd_sn;
    Header later = initiator->command(kTestUnitReady, 32, 0x81, 0, 1);
    Header earlier = initiator->command(kTestUnitReady, 31, 0x81, 0, 1);
    later.set_word(24, sn + 1);
    earlier.set_word(24, sn);
    Header far = later;
    far.set_word(16, 33);
    far.set_word(24, sn + 500);
    Header old = later;
    old.set_word(16, 34);
    old.set_word(24, sn - 1);
    (void)co_await initiator->send(far, none);
    (void)co_await initiator->send(old, none);
    (void)co_await initiator->send(later, none);
    (void)co_await initiator->send(earlier, none);
    const auto first = co_await initiator->receive();
    const auto second = co_await initiator->receive();
    UMBRA_CHECK(first && second);
    EXPECT_EQ(first->header.itt(), 31u);
    EXPECT_EQ(second->header.itt(), 32u);
    EXPECT_EQ(second->header.word(28), sn + 2);
    EXPECT_EQ(second->header.word(24), first->header.word(24) + 1);
    // Nothing else came: the next answer is the ping's.
    const Header nop = initiator->immediate(Opcode::kNopOut, 40);
    auto echo = pattern(100, 3);
    (void)co_await initiator->send(nop, echo);
    const auto pong = co_await initiator->receive();
    UMBRA_CHECK(pong);
    EXPECT_TRUE(pong->header.is(Opcode::kNopIn));
    EXPECT_TRUE(pong->data == echo);
}

TEST_F(IscsiTest, CommandsRunInTheOrderOfTheirNumbers) {
    begin();
    run(out_of_order(this));
}

// --- with a volume that waits ----------------------------------------------------------------------------------------

env::Event* the_gate = nullptr;
int inside = 0;
Task<base::Result<void>> wait_at_gate(lun::testing::Operation, uint64_t, uint64_t) {
    ++inside;
    co_await the_gate->wait();
    --inside;
    co_return base::Result<void>();
}

struct GatedTest : IscsiTest {
    GatedTest() : gate(executor) {
        the_gate = &gate;
        inside = 0;
    }
    ~GatedTest() override { gate.set(); }
    void close_gate() { presentation.at(1).volume->set_hook(wait_at_gate); }
    env::Event gate;
};

Task<void> abort_task(GatedTest* test) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &initiator);
    test->close_gate();
    const Header write = initiator->command(cdb10(0x2a, 0, 1), 50, 0xa1, 512, 1);
    auto data = pattern(512, 1);
    (void)co_await initiator->send(write, data);
    Header abort = initiator->immediate(Opcode::kTaskManagementRequest, 51, 0x81);
    abort.set_half(8, 1);
    abort.set_word(20, 50);
    std::vector<std::byte> none;
    (void)co_await initiator->send(abort, none);
    // The window is open meanwhile, and pings are answered.
    const Header nop = initiator->immediate(Opcode::kNopOut, 52);
    (void)co_await initiator->send(nop, none);
    const auto pong = co_await initiator->receive();
    UMBRA_CHECK(pong);
    EXPECT_TRUE(pong->header.is(Opcode::kNopIn)) << "answered before the write had ended";
    EXPECT_EQ(inside, 1);
    test->gate.set();
    const auto done = co_await initiator->receive();
    UMBRA_CHECK(done);
    EXPECT_TRUE(done->header.is(Opcode::kTaskManagementResponse));
    EXPECT_EQ(done->header.byte(2), 0);
    EXPECT_EQ(inside, 0);
    // A task that is not there.
    abort.set_word(16, 53);
    (void)co_await initiator->send(abort, none);
    const auto missing = co_await initiator->receive();
    UMBRA_CHECK(missing);
    EXPECT_EQ(missing->header.byte(2), 1);
}

TEST_F(GatedTest, AbortIsAnsweredWhenTheTaskCanDoNothingMore) {
    begin();
    run(abort_task(this));
}

Task<void> log_in_again(GatedTest* test, uint8_t isid, bool* in) {
    std::unique_ptr<Initiator> initiator;
    co_await connect(test, &initiator);
    auto keys = normal_keys();
    const auto answer = co_await initiator->log_in(std::move(keys), isid);
    *in = answer && answer->header.half(36) == 0;
    initiator->stream().close();
}

Task<void> reinstate(GatedTest* test, bool cut) {
    std::unique_ptr<Initiator> old;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &old);
    test->close_gate();
    const Header write = old->command(cdb10(0x2a, 0, 1), 50, 0xa1, 512, 1);
    auto data = pattern(512, 1);
    (void)co_await old->send(write, data);
    while (inside == 0) co_await env::yield(test->executor);
    if (cut) {
        old->stream().close();
        co_await env::sleep_for(test->executor, std::chrono::milliseconds(1));
    }
    bool in = false;
    env::TaskGroup group(test->executor);
    group.spawn(log_in_again(test, cut ? 2 : 1, &in));
    co_await env::sleep_for(test->executor, std::chrono::milliseconds(100));
    EXPECT_FALSE(in) << "logged in while a write of the old session could still take effect";
    test->gate.set();
    co_await group.join();
    EXPECT_TRUE(in);
}

TEST_F(GatedTest, ReinstatementWaitsForTheOldSessionsWrites) {
    begin();
    run(reinstate(this, false));
}

TEST_F(GatedTest, ALoginAfterACutWaitsForTheOldSessionsWrites) {
    begin();
    run(reinstate(this, true));
}

Task<void> fill_window(GatedTest* test, uint32_t window) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &initiator);
    test->close_gate();
    std::vector<std::byte> none;
    for (uint32_t i = 0; i < window; ++i) {
        const Header read = initiator->command(cdb10(0x28, i, 1), 100 + i, 0xc1, 512, 1);
        (void)co_await initiator->send(read, none);
    }
    // One too many is ignored, not run.
    const Header extra = initiator->command(cdb10(0x28, 99, 1), 999, 0xc1, 512, 1);
    --initiator->cmd_sn;
    (void)co_await initiator->send(extra, none);
    const Header nop = initiator->immediate(Opcode::kNopOut, 52);
    (void)co_await initiator->send(nop, none);
    const auto pong = co_await initiator->receive();
    UMBRA_CHECK(pong);
    EXPECT_EQ(pong->header.word(32) + 1, pong->header.word(28)) << "the window is not closed";
    EXPECT_EQ(inside, static_cast<int>(window));
    test->gate.set();
    for (uint32_t i = 0; i < window; ++i) {
        const auto data = co_await initiator->receive();
        UMBRA_CHECK(data);
        EXPECT_EQ(data->header.itt(), 100 + i);
        EXPECT_EQ(data->header.word(32) - data->header.word(28), i);
    }
}

TEST_F(GatedTest, TheWindowBoundsWhatRuns) {
    Config config;
    config.command_window = 4;
    begin(config);
    run(fill_window(this, 4));
}

// --- wrong data ------------------------------------------------------------------------------------------------------

Task<void> wrong_data(IscsiTest* test) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    more.emplace_back("InitialR2T", "No");
    more.emplace_back("DataDigest", "CRC32C");
    co_await connect(test, &initiator);
    auto keys = normal_keys(std::move(more));
    (void)co_await initiator->log_in(std::move(keys), 1);
    Digests digests;
    digests.data = true;
    initiator->set_digests(digests);
    std::vector<std::byte> none;
    const Header ready = initiator->command(kTestUnitReady, 1, 0x81, 0, 1);
    (void)co_await initiator->send(ready, none);
    (void)co_await initiator->receive();

    // A DataSN that leaves one out: the task ends with an error, nothing is written.
    const Header write = initiator->command(cdb10(0x2a, 0, 2), 60, 0x21, 1024, 1);
    (void)co_await initiator->send(write, none);
    Header out(Opcode::kDataOut);
    out.set_word(16, 60);
    out.set_word(20, kReservedTag);
    out.set_word(36, 1);
    auto data = pattern(1024, 1);
    (void)co_await initiator->send(out, data);
    auto answer = co_await initiator->receive();
    UMBRA_CHECK(answer);
    EXPECT_EQ(answer->header.byte(3), 2);
    EXPECT_EQ(answer->data.at(2 + 2), std::byte{0x0b});
    EXPECT_EQ(answer->data.at(2 + 12), std::byte{0x47});

    // More than was announced.
    const Header small = initiator->command(cdb10(0x2a, 0, 1), 61, 0x21, 512, 1);
    (void)co_await initiator->send(small, none);
    out.set_word(16, 61);
    out.set_word(36, 0);
    (void)co_await initiator->send(out, data);
    answer = co_await initiator->receive();
    UMBRA_CHECK(answer);
    EXPECT_EQ(answer->header.byte(3), 2);

    // A wrong digest of the data.
    const Header good = initiator->command(cdb10(0x2a, 0, 1), 62, 0x21, 512, 1);
    (void)co_await initiator->send(good, none);
    out.set_word(16, 62);
    out.set_data_bytes(512);
    std::vector<std::byte> raw(out.bytes.begin(), out.bytes.end());
    raw.resize(raw.size() + 512 + 4, std::byte{0x11});
    const base::Bytes bytes(raw);
    (void)co_await initiator->stream().write_all(std::span<const base::Bytes>(&bytes, 1));
    int checks = 0;
    int rejects = 0;
    for (int i = 0; i < 2; ++i) {
        answer = co_await initiator->receive();
        UMBRA_CHECK(answer);
        if (answer->header.is(Opcode::kReject)) ++rejects;
        if (answer->header.is(Opcode::kScsiResponse) && answer->header.byte(3) == 2) ++checks;
    }
    EXPECT_EQ(rejects, 1);
    EXPECT_EQ(checks, 1);
    EXPECT_EQ(test->presentation.at(1).volume->mapped_bytes(), 0u);

    // An operation that nobody knows is rejected; data for a task that is not there is dropped; the session lives.
    Header unknown(Opcode::kNopOut);
    unknown.set_byte(0, 0x40 | 0x1c);
    (void)co_await initiator->send(unknown, none);
    answer = co_await initiator->receive();
    UMBRA_CHECK(answer && answer->header.is(Opcode::kReject));
    EXPECT_EQ(answer->header.byte(2), static_cast<uint8_t>(RejectReason::kCommandNotSupported));
    out.set_word(16, 4711);
    (void)co_await initiator->send(out, data);
    const Header again = initiator->command(kTestUnitReady, 70, 0x81, 0, 1);
    (void)co_await initiator->send(again, none);
    answer = co_await initiator->receive();
    UMBRA_CHECK(answer);
    EXPECT_EQ(answer->header.itt(), 70u);
    EXPECT_EQ(answer->header.byte(3), 0);
    // A data segment beyond what was announced ends the connection.
    Header huge = initiator->command(kTestUnitReady, 71, 0x81, 0, 1);
    huge.set_data_bytes(0xffffff);
    const base::Bytes head(huge.bytes);
    (void)co_await initiator->stream().write_all(std::span<const base::Bytes>(&head, 1));
    answer = co_await initiator->receive();
    EXPECT_FALSE(answer);
}

TEST_F(IscsiTest, WrongDataWritesNothing) {
    begin();
    run(wrong_data(this));
}

Task<void> late_answer(IscsiTest* test, uint8_t function) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    more.emplace_back("InitialR2T", "No");
    co_await open_session(test, more, 1, &initiator);
    std::vector<std::byte> none;
    // It fails at once, and its answer waits for the data that the initiator has announced.
    const Header write = initiator->command(cdb10(0x2a, 0x7fffff, 2), 60, 0x21, 1024, 1);
    (void)co_await initiator->send(write, none);
    Header reset = initiator->immediate(Opcode::kTaskManagementRequest, 61, static_cast<uint8_t>(0x80 | function));
    reset.set_half(8, 1);
    (void)co_await initiator->send(reset, none);
    const auto done = co_await initiator->receive();
    UMBRA_CHECK(done);
    EXPECT_TRUE(done->header.is(Opcode::kTaskManagementResponse));
    EXPECT_EQ(done->header.byte(2), 0);
    Header out(Opcode::kDataOut);
    out.set_word(16, 60);
    out.set_word(20, kReservedTag);
    auto data = pattern(1024, 1);
    (void)co_await initiator->send(out, data);
    const Header nop = initiator->immediate(Opcode::kNopOut, 62);
    (void)co_await initiator->send(nop, none);
    const auto next = co_await initiator->receive();
    UMBRA_CHECK(next);
    EXPECT_TRUE(next->header.is(Opcode::kNopIn)) << "a task was answered after the reset that ended it";
}

TEST_F(IscsiTest, NoTaskAnswersAfterTheResetThatEndedIt) {
    begin();
    for (const uint8_t function : {2, 4, 5, 6}) run(late_answer(this, function));
}

/// A PDU whose data has a wrong digest.
Task<void> send_damaged(Initiator* initiator, Header header, uint32_t bytes) {
    header.set_data_bytes(bytes);
    std::vector<std::byte> raw(header.bytes.begin(), header.bytes.end());
    raw.resize(raw.size() + bytes + 4, std::byte{0x11});
    const base::Bytes all(raw);
    (void)co_await initiator->stream().write_all(std::span<const base::Bytes>(&all, 1));
}

Task<void> damaged_commands(IscsiTest* test) {
    std::unique_ptr<Initiator> initiator;
    co_await connect(test, &initiator);
    std::vector<KeyValue> more;
    more.emplace_back("DataDigest", "CRC32C");
    auto keys = normal_keys(std::move(more));
    (void)co_await initiator->log_in(std::move(keys), 1);
    Digests digests;
    digests.data = true;
    initiator->set_digests(digests);
    std::vector<std::byte> none;
    const Header ready = initiator->command(kTestUnitReady, 1, 0x81, 0, 1);
    (void)co_await initiator->send(ready, none);
    (void)co_await initiator->receive();

    // Immediate data: the command ends with an error and writes nothing.
    const Header write = initiator->command(cdb10(0x2a, 0, 1), 60, 0xa1, 512, 1);
    co_await send_damaged(initiator.get(), write, 512);
    int rejects = 0;
    int checks = 0;
    for (int i = 0; i < 2; ++i) {
        const auto answer = co_await initiator->receive();
        UMBRA_CHECK(answer);
        if (answer->header.is(Opcode::kReject)) ++rejects;
        if (answer->header.is(Opcode::kScsiResponse) && answer->data.at(2 + 12) == std::byte{0x47}) ++checks;
    }
    EXPECT_EQ(rejects, 1);
    EXPECT_EQ(checks, 1);
    EXPECT_EQ(test->presentation.at(1).volume->mapped_bytes(), 0u);

    // A ping: rejected, and its number is used up.
    Header ping(Opcode::kNopOut);
    ping.set_word(16, 61);
    ping.set_word(20, kReservedTag);
    ping.set_word(24, initiator->cmd_sn++);
    co_await send_damaged(initiator.get(), ping, 64);
    const auto rejected = co_await initiator->receive();
    UMBRA_CHECK(rejected);
    EXPECT_TRUE(rejected->header.is(Opcode::kReject));
    EXPECT_EQ(rejected->header.byte(2), static_cast<uint8_t>(RejectReason::kDataDigestError));

    const Header again = initiator->command(kTestUnitReady, 62, 0x81, 0, 1);
    (void)co_await initiator->send(again, none);
    const Header nop = initiator->immediate(Opcode::kNopOut, 63);
    (void)co_await initiator->send(nop, none);
    const auto answer = co_await initiator->receive();
    UMBRA_CHECK(answer);
    EXPECT_EQ(answer->header.itt(), 62u) << "the session stands still";
}

TEST_F(IscsiTest, DamagedCommandsDoNotStopTheSession) {
    begin();
    run(damaged_commands(this));
}

Task<void> plug_a_hole(IscsiTest* test) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &initiator);
    std::vector<std::byte> none;
    const uint32_t lost = initiator->cmd_sn++;
    const Header ready = initiator->command(kTestUnitReady, 60, 0x81, 0, 1);
    (void)co_await initiator->send(ready, none);
    Header abort = initiator->immediate(Opcode::kTaskManagementRequest, 61, 0x81);
    abort.set_half(8, 1);
    abort.set_word(20, 59);
    abort.set_word(32, lost);
    (void)co_await initiator->send(abort, none);
    bool ready_answered = false;
    bool aborted = false;
    for (int i = 0; i < 2; ++i) {
        const auto pdu = co_await initiator->receive();
        UMBRA_CHECK(pdu);
        if (pdu->header.is(Opcode::kScsiResponse) && pdu->header.itt() == 60) ready_answered = true;
        if (pdu->header.is(Opcode::kTaskManagementResponse)) {
            EXPECT_EQ(pdu->header.byte(2), 0);
            aborted = true;
        }
        if (!aborted && !ready_answered) break;
        if (aborted && !ready_answered && i == 0) {
            // Nothing more may come: a ping tells.
            const Header nop = initiator->immediate(Opcode::kNopOut, 62);
            (void)co_await initiator->send(nop, none);
        }
    }
    EXPECT_TRUE(aborted);
    EXPECT_TRUE(ready_answered) << "the number of an aborted command that never came stays open";
}

TEST_F(IscsiTest, AbortingWhatNeverCamePlugsItsNumber) {
    begin();
    run(plug_a_hole(this));
}

// --- what one peer can take ------------------------------------------------------------------------------------------

Task<void> fill_connections(IscsiTest* test) {
    std::vector<std::unique_ptr<Initiator>> idle;
    const auto come_from = [&](const char* peer) {
        test->transport->set_peer(peer);
        idle.emplace_back();
    };
    // Eight in all: four of one address, of which two may be without a target; four without a target in all.
    for (const char* peer : {"10.0.0.9:1", "10.0.0.9:2", "10.0.0.8:1", "10.0.0.8:2"}) {
        come_from(peer);
        co_await connect(test, &idle.back());
    }
    co_await env::sleep_for(test->executor, std::chrono::milliseconds(1));
    uint16_t status = 0;
    test->transport->set_peer("10.0.0.9:3");
    auto keys = normal_keys();
    co_await login_status(test, keys, &status, nullptr);
    EXPECT_EQ(status, 0xffff) << "one address has all that may be logging in";
    test->transport->set_peer("10.0.0.7:1");
    co_await login_status(test, keys, &status, nullptr);
    EXPECT_EQ(status, 0xffff) << "more without a target than there is room for";
    // Those that log in make room for others.
    uint8_t isid = 10;
    for (auto& initiator : idle) {
        const auto answer = co_await initiator->log_in(keys, isid++);
        UMBRA_CHECK(answer && answer->header.half(36) == 0);
    }
    for (const char* peer : {"10.0.0.9:4", "10.0.0.9:5"}) {
        come_from(peer);
        co_await connect(test, &idle.back());
        const auto answer = co_await idle.back()->log_in(keys, isid++);
        UMBRA_CHECK(answer && answer->header.half(36) == 0);
    }
    test->transport->set_peer("10.0.0.9:6");
    co_await login_status(test, keys, &status, nullptr);
    EXPECT_EQ(status, 0xffff) << "one address has more than its half";
    test->transport->set_peer("10.0.0.7:2");
    co_await login_status(test, keys, &status, nullptr);
    EXPECT_EQ(status, 0) << "another address finds no room";
    for (auto& initiator : idle) initiator->stream().close();
}

TEST_F(IscsiTest, OneAddressDoesNotTakeAllConnections) {
    Config config;
    config.max_connections = 8;
    begin(config);
    run(fill_connections(this));
}

Task<void> fill_memory(GatedTest* test) {
    std::unique_ptr<Initiator> greedy;
    std::unique_ptr<Initiator> other;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &greedy);
    test->transport->set_peer("10.0.0.8:1");
    co_await open_session(test, more, 2, &other);
    test->close_gate();
    constexpr uint32_t kBytes = 65536;
    const auto data = pattern(kBytes, 1);
    for (uint32_t i = 0; i < 5; ++i) {
        const Header write = greedy->command(cdb10(0x2a, 128 * i, 128), 100 + i, 0xa1, kBytes, 1);
        (void)co_await greedy->send(write, data);
    }
    const auto refused = co_await greedy->receive();
    UMBRA_CHECK(refused);
    EXPECT_EQ(refused->header.itt(), 104u);
    EXPECT_EQ(refused->header.byte(3), 0x08) << "not BUSY";
    EXPECT_EQ(inside, 4);
    // Whoever comes from elsewhere still has room.
    const Header write = other->command(cdb10(0x2a, 1024, 128), 100, 0xa1, kBytes, 1);
    (void)co_await other->send(write, data);
    while (inside < 5) co_await env::yield(test->executor);
    test->gate.set();
    for (uint32_t i = 0; i < 4; ++i) {
        const auto answer = co_await greedy->receive();
        UMBRA_CHECK(answer);
        EXPECT_EQ(answer->header.byte(3), 0);
    }
    const auto good = co_await other->receive();
    UMBRA_CHECK(good);
    EXPECT_EQ(good->header.byte(3), 0);
    // What was given back can be had again.
    const Header again = greedy->command(cdb10(0x2a, 0, 128), 110, 0xa1, kBytes, 1);
    (void)co_await greedy->send(again, data);
    const auto answer = co_await greedy->receive();
    UMBRA_CHECK(answer);
    EXPECT_EQ(answer->header.byte(3), 0);
}

TEST_F(GatedTest, UnsolicitedDataHasABound) {
    Config config;
    config.data_bytes = 8 * 65536;
    begin(config);
    run(fill_memory(this));
}

Task<void> ping_without_reading(IscsiTest* test, int* sent) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &initiator);
    const auto data = pattern(65536, 1);
    for (; *sent < 1000; ++*sent) {
        Header nop(Opcode::kNopOut);
        nop.set_word(16, static_cast<uint32_t>(1000 + *sent));
        nop.set_word(20, kReservedTag);
        nop.set_word(24, initiator->cmd_sn++);
        const bool taken = co_await initiator->send(nop, data);
        if (!taken) co_return;
    }
}

TEST_F(IscsiTest, WhoSendsPingsAndReadsNoAnswersIsCutOff) {
    begin();
    int sent = 0;
    run(ping_without_reading(this, &sent));
    EXPECT_LT(sent, 100);
}

// --- ends ------------------------------------------------------------------------------------------------------------

Task<void> log_out(IscsiTest* test) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &initiator);
    EXPECT_EQ(test->server->sessions(), 1u);
    EXPECT_EQ(test->presentation.sessions().size(), 1u);
    EXPECT_EQ(test->presentation.sessions().begin()->second.initiator, "iqn.2026-01.test:a");
    const Header request = initiator->immediate(Opcode::kLogoutRequest, 80);
    std::vector<std::byte> none;
    (void)co_await initiator->send(request, none);
    const auto answer = co_await initiator->receive();
    UMBRA_CHECK(answer);
    EXPECT_TRUE(answer->header.is(Opcode::kLogoutResponse));
    EXPECT_EQ(answer->header.byte(2), 0);
    // The target closes by itself if the initiator does not.
    const auto end = co_await initiator->receive();
    EXPECT_FALSE(end);
    co_await env::sleep_for(test->executor, std::chrono::milliseconds(1));
    EXPECT_EQ(test->server->sessions(), 0u);
    EXPECT_TRUE(test->presentation.sessions().empty());
}

TEST_F(IscsiTest, Logout) {
    begin();
    run(log_out(this));
}

Task<void> fall_silent(IscsiTest* test, int* probes) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &initiator);
    while (true) {
        const auto pdu = co_await initiator->receive();
        if (!pdu) break;
        EXPECT_TRUE(pdu->header.is(Opcode::kNopIn));
        ++*probes;
        if (*probes == 1) {
            // The first is answered.
            Header answer = initiator->immediate(Opcode::kNopOut, kReservedTag);
            answer.set_word(20, pdu->header.ttt());
            std::vector<std::byte> none;
            (void)co_await initiator->send(answer, none);
        }
    }
}

TEST_F(IscsiTest, ADeadPeerIsNoticed) {
    begin();
    int probes = 0;
    run(fall_silent(this, &probes));
    EXPECT_EQ(probes, 2);
    EXPECT_EQ(server->sessions(), 0u);
}

Task<void> say_nothing(IscsiTest* test) {
    std::unique_ptr<Initiator> initiator;
    co_await connect(test, &initiator);
    const auto pdu = co_await initiator->receive();
    EXPECT_FALSE(pdu);
}

TEST_F(IscsiTest, ALoginHasItsTime) {
    begin();
    const auto before = executor.now();
    run(say_nothing(this));
    EXPECT_EQ(executor.now() - before, std::chrono::seconds(15));
}

Task<void> see_shutdown(IscsiTest* test, uint8_t* event) {
    std::unique_ptr<Initiator> initiator;
    std::vector<KeyValue> more;
    co_await open_session(test, more, 1, &initiator);
    env::TaskGroup group(test->executor);
    group.spawn(test->server->stop());
    const auto message = co_await initiator->receive();
    UMBRA_CHECK(message);
    EXPECT_TRUE(message->header.is(Opcode::kAsyncMessage));
    *event = message->header.byte(36);
    const auto end = co_await initiator->receive();
    EXPECT_FALSE(end);
    co_await group.join();
    test->server.reset();
}

TEST_F(IscsiTest, StoppingAsksForALogoutFirst) {
    begin();
    uint8_t event = 0;
    run(see_shutdown(this, &event));
    EXPECT_EQ(event, 1);
}

// --- text, hostile bytes ---------------------------------------------------------------------------------------------

TEST(Text, ParsesStrictly) {
    EXPECT_TRUE(parse_text(base::as_bytes(std::string_view("a=1\0b=\0", 7))));
    EXPECT_FALSE(parse_text(base::as_bytes("noequals")));
    EXPECT_FALSE(parse_text(base::as_bytes("=value")));
    EXPECT_FALSE(parse_text(base::as_bytes(std::string_view("a=1\0a=2\0", 8))));
    EXPECT_FALSE(parse_text(base::as_bytes("a b=1")));
    EXPECT_FALSE(parse_text(base::as_bytes(std::string(64, 'k') + "=1")));
    EXPECT_FALSE(parse_text(base::as_bytes("k=" + std::string(kMaxValueBytes + 1, 'v'))));
    EXPECT_TRUE(valid_iscsi_name("iqn.2026-01.test:a"));
    EXPECT_FALSE(valid_iscsi_name("iqn.2026-01.test:A"));
    EXPECT_TRUE(valid_iscsi_name("iqn.2026-01.test:\xc3\xa4"));
    EXPECT_FALSE(valid_iscsi_name("iqn.2026-01.test:\xff\xfe"));
    EXPECT_FALSE(valid_iscsi_name("iqn.2026-01.test:\xc3"));
    EXPECT_FALSE(valid_iscsi_name("iqn.2026-01.te st"));
    EXPECT_FALSE(valid_iscsi_name("iqn." + std::string(kMaxIscsiNameBytes, 'a')));
}

TEST(Hostile, RandomConnections) {
    env::SeededRandom random(42);
    for (int round = 0; round < 300; ++round) {
        std::vector<uint8_t> bytes(1 + random.below(2000));
        for (auto& byte : bytes) byte = static_cast<uint8_t>(random.next());
        bytes[0] = static_cast<uint8_t>(round & 1);
        // Half of them are PDUs with plausible lengths, so that they get past the framing.
        if (round % 4 >= 2) {
            constexpr uint8_t kOpcodes[] = {0x00, 0x01, 0x02, 0x04, 0x05, 0x06, 0x10, 0x40, 0x41, 0x42, 0x44, 0x46};
            for (size_t at = 1; at + 48 <= bytes.size();) {
                bytes[at] = kOpcodes[random.below(std::size(kOpcodes))];
                bytes[at + 4] = 0;
                bytes[at + 5] = 0;
                bytes[at + 6] = 0;
                bytes[at + 7] = static_cast<uint8_t>(4 * random.below(32));
                for (size_t i = 8; i < 16; ++i) bytes[at + i] = 0;
                bytes[at + 9] = static_cast<uint8_t>(random.below(2));
                for (size_t i = 16; i < 19; ++i) bytes[at + i] = 0;
                bytes[at + 19] = static_cast<uint8_t>(random.below(4));
                for (size_t i = 20; i < 22; ++i) bytes[at + i] = random.one_in(4) ? 0xff : 0;
                for (size_t i = 24; i < 28; ++i) bytes[at + i] = 0;
                bytes[at + 27] = static_cast<uint8_t>(1 + random.below(6));
                at += 48 + bytes[at + 7];
            }
        }
        fuzz_connection(bytes.data(), bytes.size());
    }
}

TEST(Hostile, RandomCommands) {
    env::SeededRandom random(43);
    for (int round = 0; round < 200; ++round) {
        std::vector<uint8_t> bytes;
        for (int command = 0; command < 20; ++command) {
            const size_t at = bytes.size();
            bytes.resize(at + 18);
            for (size_t i = 0; i < 18; ++i) bytes[at + i] = random.one_in(2) ? static_cast<uint8_t>(random.next()) : 0;
            bytes[at + 1] = static_cast<uint8_t>(random.below(40));
            const auto known = scsi::all_commands();
            if (!random.one_in(4)) bytes[at + 2] = known[random.below(known.size())].opcode;
            for (int i = 0; i < bytes[at + 1] * 32; ++i) bytes.push_back(static_cast<uint8_t>(random.next()));
        }
        fuzz_commands(bytes.data(), bytes.size());
    }
}

}  // namespace
}  // namespace umbra::iscsi

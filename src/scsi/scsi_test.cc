#include <gtest/gtest.h>

#include <map>
#include <set>

#include "env/random.h"
#include "scsi/limits.h"
#include "scsi/reservations.h"
#include "scsi/testing/scsi_harness.h"

namespace umbra::scsi {
namespace {

using namespace testing;

constexpr uint64_t kLunBytes = 64u << 20;
constexpr uint32_t kLunBlocks = kLunBytes / 512;
const std::vector<uint8_t> kTestUnitReady{0, 0, 0, 0, 0, 0};

struct ScsiTest : ::testing::Test {
    ScsiTest() { harness.presentation.add_lun(1, kLunBytes); }
    lun::testing::MemoryVolume& volume(uint16_t lun = 1) { return *harness.presentation.at(lun).volume; }
    Nexus* ready(std::string initiator = "iqn.2026-01.test:a", std::string isid = "0x1") {
        Nexus* nexus = harness.open(std::move(initiator), std::move(isid));
        for (const auto& lun : harness.presentation.luns(kTarget, nexus->names().initiator)) {
            harness.run_clean(nexus, lun.number, kTestUnitReady);
        }
        return nexus;
    }
    std::vector<std::byte> content(uint64_t offset, size_t bytes, uint16_t lun = 1) {
        std::vector<std::byte> out(bytes);
        harness.executor.run(read_into(&volume(lun), offset, &out));
        return out;
    }
    static env::Task<void> read_into(lun::Volume* volume, uint64_t offset, std::vector<std::byte>* out) {
        const auto done = co_await volume->read(offset, *out);
        EXPECT_TRUE(done);
    }
    Harness harness;
};

TEST_F(ScsiTest, FirstCommandMeetsPowerOnOnceForEachNexus) {
    Nexus* a = harness.open();
    Nexus* b = harness.open("iqn.2026-01.test:b");
    EXPECT_EQ(harness.run(a, 1, {0x12, 0, 0, 0, 96, 0}).status, Status::kGood);  // INQUIRY neither reports nor clears
    EXPECT_EQ(harness.run(a, 1, kTestUnitReady).sense(), 0x062900u);
    EXPECT_EQ(harness.run(a, 1, kTestUnitReady).status, Status::kGood);
    EXPECT_EQ(harness.run(b, 1, kTestUnitReady).sense(), 0x062900u);
}

TEST_F(ScsiTest, RequestSenseTakesThePendingAttention) {
    Nexus* nexus = harness.open();
    const auto first = harness.run(nexus, 1, {0x03, 0, 0, 0, 252, 0});
    ASSERT_EQ(first.data.size(), 18u);
    EXPECT_EQ(first.data[2], std::byte{6});
    EXPECT_EQ(first.data[12], std::byte{0x29});
    EXPECT_EQ(harness.run(nexus, 1, kTestUnitReady).status, Status::kGood);
    const auto descriptor = harness.run(nexus, 1, {0x03, 1, 0, 0, 252, 0});
    EXPECT_EQ(descriptor.data[0], std::byte{0x72});
}

TEST_F(ScsiTest, MaskedLunsDoNotExist) {
    harness.presentation.add_lun(5, kLunBytes, "iqn.2026-01.test:b");
    Nexus* a = ready();
    Nexus* b = ready("iqn.2026-01.test:b");
    EXPECT_EQ(harness.run(a, 5, kTestUnitReady).sense(), 0x052500u);
    EXPECT_EQ(harness.run(a, 5, cdb10(0x28, 0, 1)).sense(), 0x052500u);
    EXPECT_EQ(harness.run(a, 5, cdb10(0x2a, 0, 1), pattern(512, 1)).sense(), 0x052500u);
    EXPECT_EQ(volume(5).mapped_bytes(), 0u);
    EXPECT_EQ(harness.run(b, 5, cdb10(0x2a, 0, 1), pattern(512, 1)).status, Status::kGood);
    const std::vector<uint8_t> report{0xa0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0};
    EXPECT_EQ(harness.run(a, 1, report).data.size(), 16u);
    EXPECT_EQ(harness.run(b, 1, report).data.size(), 24u);
    EXPECT_EQ(harness.run(a, 0, report).data.size(), 16u);  // also where LUN 0 is missing
    // INQUIRY answers qualifier 3, type 1Fh.
    EXPECT_EQ(harness.run(a, 5, {0x12, 0, 0, 0, 96, 0}).data.at(0), std::byte{0x7f});
    EXPECT_EQ(harness.run(b, 5, {0x12, 0, 0, 0, 96, 0}).data.at(0), std::byte{0});
    // A mask that goes takes effect with the next command; one that comes is told.
    harness.presentation.at(5).initiators = {"iqn.2026-01.test:a"};
    harness.presentation.tell_luns_changed("iqn.2026-01.test:a");
    harness.presentation.tell_luns_changed("iqn.2026-01.test:b");
    EXPECT_EQ(harness.run(b, 5, cdb10(0x28, 0, 1)).sense(), 0x052500u);
    EXPECT_EQ(harness.run(a, 1, kTestUnitReady).sense(), 0x063f0eu);
    EXPECT_EQ(harness.run(b, 1, report).data.size(), 16u);
    EXPECT_EQ(harness.run(b, 1, kTestUnitReady).status, Status::kGood);  // REPORT LUNS cleared it
}

TEST_F(ScsiTest, LunFieldsOfOtherFormsReachNothing) {
    Nexus* nexus = ready();
    const std::vector<std::array<uint8_t, 8>> wrong{
        {0x01, 0x01}, {0x80, 0x01}, {0xc1, 0x01}, {0x00, 0x01, 0x00, 0x01}, {0, 1, 0, 0, 0, 0, 0, 1}};
    for (const auto& field : wrong) {
        ReadyData none;
        Command command;
        for (size_t i = 0; i < 8; ++i) command.lun[i] = std::byte{field[i]};
        command.data_out = &none;
        Response response;
        harness.executor.run(Harness::execute(&harness.device(), nexus, &command, &response, nullptr));
        EXPECT_EQ(Harness::outcome(response).sense(), 0x052500u);
    }
    for (const uint16_t number : {0, 1, 255, 256, 1000, 16383}) EXPECT_EQ(decode_lun(encode_lun(number)), number);
    EXPECT_EQ(decode_lun({std::byte{0x40}, std::byte{7}}), 7);
}

TEST_F(ScsiTest, AttentionsOfTheArray) {
    Nexus* a = ready();
    Nexus* b = ready("iqn.2026-01.test:b");
    const std::map<array::UnitAttentionCause, uint32_t> expected{
        {array::UnitAttentionCause::kReportedLunsChanged, 0x063f0e},
        {array::UnitAttentionCause::kCapacityChanged, 0x062a09},
        {array::UnitAttentionCause::kModeParametersChanged, 0x062a01},
        {array::UnitAttentionCause::kInquiryDataChanged, 0x063f03},
        {array::UnitAttentionCause::kThinSoftThreshold, 0x063807}};
    for (const auto& [cause, sense] : expected) {
        harness.presentation.tell_attention(1, cause);
        harness.presentation.tell_attention(1, cause);  // the same is told once
        for (Nexus* nexus : {a, b}) {
            EXPECT_EQ(harness.run(nexus, 1, kTestUnitReady).sense(), sense);
            EXPECT_EQ(harness.run(nexus, 1, kTestUnitReady).status, Status::kGood);
        }
    }
}

TEST_F(ScsiTest, CapacityFollowsTheVolume) {
    Nexus* nexus = ready();
    const std::vector<uint8_t> capacity16{0x9e, 0x10, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 32, 0, 0};
    auto out = harness.run(nexus, 1, capacity16);
    ASSERT_EQ(out.data.size(), 32u);
    EXPECT_EQ(base::load_be<uint64_t>(out.data.data()), kLunBlocks - 1);
    EXPECT_EQ(base::load_be<uint32_t>(out.data.data() + 8), 512u);
    EXPECT_EQ(out.data[13], std::byte{3});
    EXPECT_EQ(out.data[14], std::byte{0xc0});
    volume().resize(uint64_t{3} << 40);
    out = harness.run(nexus, 1, capacity16);
    EXPECT_EQ(base::load_be<uint64_t>(out.data.data()), (uint64_t{3} << 40) / 512 - 1);
    EXPECT_EQ(base::load_be<uint32_t>(harness.run(nexus, 1, cdb10(0x25, 0, 0)).data.data()), 0xffffffffu);
}

TEST_F(ScsiTest, VitalProductData) {
    Nexus* nexus = ready();
    const auto page = [&](uint8_t code, uint16_t allocation = 1024) {
        return harness.run(nexus, 1,
                           {0x12, 1, code, static_cast<uint8_t>(allocation >> 8), static_cast<uint8_t>(allocation), 0});
    };
    const auto supported = page(0);
    ASSERT_GT(supported.data.size(), 4u);
    for (size_t i = 4; i < supported.data.size(); ++i) {
        const auto code = std::to_integer<uint8_t>(supported.data[i]);
        const auto one = page(code);
        ASSERT_EQ(one.status, Status::kGood);
        EXPECT_EQ(one.data[1], supported.data[i]);
        EXPECT_EQ(base::load_be<uint16_t>(&one.data[2]) + 4u, one.data.size());
        EXPECT_EQ(page(code, 6).data.size(), 6u);
    }
    EXPECT_EQ(page(0x99).sense(), 0x052400u);
    // Page 83 begins with the 16-byte NAA designator of the LUN.
    const auto id = page(0x83);
    EXPECT_EQ(id.data[4], std::byte{0x01});
    EXPECT_EQ(id.data[5], std::byte{0x03});
    EXPECT_EQ(id.data[7], std::byte{16});
    const auto& naa = harness.presentation.at(1).identity->naa;
    EXPECT_TRUE(std::equal(naa.begin(), naa.end(), &id.data[8]));
    const std::string text(base::as_text(id.data));
    EXPECT_NE(text.find("naa.6025"), std::string::npos);
    EXPECT_NE(text.find(std::string(kTarget) + ",t,0x0001"), std::string::npos);
    // Our own page carries the flags.
    harness.presentation.at(1).identity->flags = array::kLunHidden | array::kLunShadowCopy;
    const auto own = page(0xc0);
    EXPECT_EQ(base::as_text(base::Bytes(own.data).subspan(4, 8)), "UMBRALUN");
    EXPECT_EQ(base::load_be<uint32_t>(&own.data[16]), array::kLunHidden | array::kLunShadowCopy);
    EXPECT_TRUE(std::equal(&own.data[20], &own.data[36], harness.presentation.at(1).identity->id.bytes.begin()));
    // And which run of the array this is, and which content: both behind the name.
    const size_t name = std::to_integer<size_t>(own.data[37]);
    ASSERT_EQ(own.data.size(), 38 + name + 24);
    EXPECT_EQ(own.data[12], std::byte{2});
    EXPECT_TRUE(std::equal(&own.data[38 + name], &own.data[54 + name], harness.presentation.run_id().bytes.begin()));
    harness.presentation.at(1).identity->content_generation = 0x0102030405060708;
    harness.presentation.restart();
    const auto later = page(0xc0);
    EXPECT_FALSE(std::equal(&own.data[38 + name], &own.data[54 + name], &later.data[38 + name]));
    EXPECT_EQ(base::load_be<uint64_t>(&later.data[54 + name]), 0x0102030405060708u);
    // What the limits page says is what the commands accept.
    const auto limits = page(0xb0);
    EXPECT_EQ(base::load_be<uint32_t>(&limits.data[8]), kMaxTransferBlocks);
    EXPECT_EQ(harness.run(nexus, 1, cdb16(0x88, 0, kMaxTransferBlocks)).status, Status::kGood);
    EXPECT_EQ(harness.run(nexus, 1, cdb16(0x88, 0, kMaxTransferBlocks + 1)).sense(), 0x052400u);
    EXPECT_EQ(base::load_be<uint64_t>(&limits.data[36]), kMaxWriteSameBlocks);
    EXPECT_EQ(harness.run(nexus, 1, cdb16(0x93, 0, kMaxWriteSameBlocks + 1), pattern(512, 0)).sense(), 0x052400u);
}

TEST_F(ScsiTest, ModeSense) {
    Nexus* nexus = ready();
    auto out = harness.run(nexus, 1, {0x1a, 0, 0x3f, 0, 255, 0});
    ASSERT_EQ(out.data.size(), 4u + 8 + 20 + 12);
    EXPECT_EQ(std::to_integer<size_t>(out.data[0]) + 1, out.data.size());
    EXPECT_EQ(out.data[2], std::byte{0x10});
    EXPECT_EQ(out.data[12], std::byte{0x08});
    EXPECT_EQ(out.data[14], std::byte{0x04});  // WCE
    harness.presentation.at(1).identity->write_protected = true;
    out = harness.run(nexus, 1, {0x5a, 0x18, 0x08, 0, 0, 0, 0, 1, 0, 0});
    ASSERT_EQ(out.data.size(), 8u + 20);
    EXPECT_EQ(out.data[3], std::byte{0x90});
    // Nothing can be changed, nothing saved.
    out = harness.run(nexus, 1, {0x1a, 0x08, 0x48, 0, 255, 0});
    EXPECT_TRUE(base::is_zero(base::Bytes(out.data).subspan(6)));
    EXPECT_EQ(harness.run(nexus, 1, {0x1a, 0, 0xc8, 0, 255, 0}).sense(), 0x053900u);
    EXPECT_EQ(harness.run(nexus, 1, {0x1a, 0, 0x1c, 0, 255, 0}).sense(), 0x052400u);
    EXPECT_EQ(harness.run(nexus, 1, {0x15, 0x10, 0, 0, 0, 0}).sense(), 0x052000u);  // MODE SELECT
}

TEST_F(ScsiTest, WriteProtectedLunsTakeNoChange) {
    Nexus* nexus = ready();
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x2a, 0, 1), pattern(512, 9)).status, Status::kGood);
    harness.presentation.at(1).identity->write_protected = true;
    for (int round = 0; round < 2; ++round) {
        for (const CommandSpec& spec : all_commands()) {
            if (!spec.changes_medium) continue;
            std::vector<uint8_t> cdb(spec.cdb_bytes);
            cdb[0] = spec.opcode;
            const auto out = harness.run(nexus, 1, cdb, pattern(512, 1));
            EXPECT_EQ(out.sense(), 0x072700u) << spec.name;
            EXPECT_FALSE(out.fetched) << spec.name;
        }
        // The second time it is the volume, a snapshot, that cannot be written.
        harness.presentation.at(1).identity->write_protected = false;
        volume().set_writable(false);
    }
    EXPECT_EQ(content(0, 512), pattern(512, 9));
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x35, 0, 0)).status, Status::kGood);
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x28, 0, 1)).data, pattern(512, 9));
}

TEST_F(ScsiTest, RangesAreCheckedBeforeDataIsAskedFor) {
    Nexus* nexus = ready();
    const std::vector<std::vector<uint8_t>> beyond{
        cdb10(0x28, kLunBlocks, 1),      cdb10(0x28, kLunBlocks, 0),        cdb10(0x28, kLunBlocks - 1, 2),
        cdb10(0x2a, kLunBlocks, 1),      cdb10(0x2a, 0xffffffff, 2),        cdb16(0x8a, UINT64_MAX, 1),
        cdb16(0x8a, UINT64_MAX, 0xffff), cdb16(0x88, uint64_t{1} << 55, 1), cdb10(0x2f, kLunBlocks - 1, 2),
        cdb16(0x91, kLunBlocks, 1),      cdb16(0x93, kLunBlocks - 1, 2),    cdb16(0x8e, kLunBlocks, 1),
        {0x08, 0x1f, 0xff, 0xff, 0, 0},  {0x0a, 0x1f, 0xff, 0xff, 0, 0}};
    for (const auto& cdb : beyond) {
        const auto out = harness.run(nexus, 1, cdb, pattern(1024, 1));
        EXPECT_EQ(out.sense(), 0x052100u) << int{cdb[0]};
        EXPECT_FALSE(out.fetched);
    }
    EXPECT_EQ(volume().mapped_bytes(), 0u);
}

TEST_F(ScsiTest, ProtectionAndNacaAreRefused) {
    Nexus* nexus = ready();
    for (const uint8_t opcode : {0x28, 0x2a, 0x2e, 0x2f, 0x41}) {
        EXPECT_EQ(harness.run(nexus, 1, cdb10(opcode, 0, 1, 0x20), pattern(512, 1)).sense(), 0x052400u) << int{opcode};
    }
    for (const CommandSpec& spec : all_commands()) {
        std::vector<uint8_t> cdb(spec.cdb_bytes);
        cdb[0] = spec.opcode;
        if (spec.service_action >= 0) cdb[1] = static_cast<uint8_t>(spec.service_action);
        cdb.back() = 0x04;
        EXPECT_EQ(harness.run(nexus, 1, cdb, pattern(512, 1)).sense(), 0x052400u) << spec.name;
    }
}

TEST_F(ScsiTest, UnknownCommandsAndServiceActions) {
    Nexus* nexus = ready();
    std::set<uint8_t> known;
    for (const CommandSpec& spec : all_commands()) known.insert(spec.opcode);
    for (unsigned opcode = 0; opcode < 256; ++opcode) {
        if (known.contains(static_cast<uint8_t>(opcode))) continue;
        EXPECT_EQ(harness.run(nexus, 1, {static_cast<uint8_t>(opcode)}, pattern(512, 1)).sense(), 0x052000u) << opcode;
    }
    EXPECT_EQ(harness.run(nexus, 1, {0x9e, 0x11}).sense(), 0x052400u);
    EXPECT_EQ(harness.run(nexus, 1, {0x5e, 0x04}).sense(), 0x052400u);
}

TEST_F(ScsiTest, EveryErrorOfTheArrayHasItsAnswer) {
    Nexus* nexus = ready();
    static base::Code code;
    volume().set_hook(+[](lun::testing::Operation, uint64_t, uint64_t) -> env::Task<base::Result<void>> {
        co_return base::fail(code, "injected");
    });
    for (int i = 0; i <= static_cast<int>(base::Code::kInternal); ++i) {
        code = static_cast<base::Code>(i);
        const Failure expected = failure_for(code);
        const auto check = [&](const Outcome& out) {
            EXPECT_EQ(out.status, expected.status) << base::to_string(code);
            EXPECT_NE(out.status, Status::kGood);
            if (expected.status == Status::kCheckCondition) {
                EXPECT_EQ(out.key, static_cast<uint8_t>(expected.sense.key));
                EXPECT_EQ(out.asc, expected.sense.asc);
            }
            EXPECT_TRUE(out.data.empty());
        };
        check(harness.run(nexus, 1, cdb10(0x28, 0, 1)));
        check(harness.run(nexus, 1, cdb10(0x2a, 0, 1), pattern(512, 1)));
        check(harness.run(nexus, 1, cdb10(0x35, 0, 0)));
        check(harness.run(nexus, 1, cdb10(0x2f, 0, 1)));
        check(harness.run(nexus, 1, cdb16(0x93, 0, 8), pattern(512, 1)));
        check(harness.run(nexus, 1, cdb16(0x93, 0, 8), std::vector<std::byte>(512)));
    }
    EXPECT_EQ(failure_for(base::Code::kNoSpace).sense.ascq, 0x07);
    EXPECT_EQ(failure_for(base::Code::kMediaError).sense.key, SenseKey::kMediumError);
}

TEST_F(ScsiTest, CompareAndWrite) {
    Nexus* nexus = ready();
    const auto old = pattern(1024, 3);
    const auto fresh = pattern(1024, 77);
    harness.run(nexus, 1, cdb10(0x2a, 8, 2), old);
    std::vector<uint8_t> cdb = cdb16(0x89, 8, 0);
    cdb[13] = 2;
    auto both = old;
    both.insert(both.end(), fresh.begin(), fresh.end());
    auto wrong = both;
    wrong[700] ^= std::byte{1};
    auto out = harness.run(nexus, 1, cdb, wrong);
    EXPECT_EQ(out.sense(), 0x0e1d00u);
    EXPECT_TRUE(out.valid);
    EXPECT_EQ(out.information, 700u);
    EXPECT_EQ(content(8 * 512, 1024), old);
    EXPECT_EQ(harness.run(nexus, 1, cdb, both).status, Status::kGood);
    EXPECT_EQ(content(8 * 512, 1024), fresh);
    both.resize(2047);
    EXPECT_EQ(harness.run(nexus, 1, cdb, both).sense(), 0x052400u);
    cdb[13] = kMaxCompareAndWriteBlocks + 1;
    EXPECT_EQ(harness.run(nexus, 1, cdb, std::vector<std::byte>(2 * 512 * (kMaxCompareAndWriteBlocks + 1))).sense(),
              0x052400u);
}

TEST_F(ScsiTest, UnmapChecksTheWholeListFirst) {
    Nexus* nexus = ready();
    harness.run(nexus, 1, cdb10(0x2a, 0, 64), pattern(64 * 512, 5));
    const auto list = [](std::vector<std::pair<uint64_t, uint32_t>> ranges) {
        std::vector<std::byte> out(8 + ranges.size() * 16);
        base::store_be(out.data(), static_cast<uint16_t>(out.size() - 2));
        base::store_be(out.data() + 2, static_cast<uint16_t>(ranges.size() * 16));
        for (size_t i = 0; i < ranges.size(); ++i) {
            base::store_be(out.data() + 8 + 16 * i, ranges[i].first);
            base::store_be(out.data() + 16 + 16 * i, ranges[i].second);
        }
        return out;
    };
    const auto unmap = [&](std::vector<std::byte> data) {
        return harness.run(nexus, 1, cdb10(0x42, 0, static_cast<uint16_t>(data.size())), data);
    };
    EXPECT_EQ(unmap(list({{0, 8}, {kLunBlocks - 1, 2}})).sense(), 0x052100u);
    EXPECT_EQ(content(0, 64 * 512), pattern(64 * 512, 5));
    EXPECT_EQ(unmap(list({{8, 8}, {20, 3}, {kLunBlocks, 0}})).status, Status::kGood);
    auto expected = pattern(64 * 512, 5);
    std::fill(expected.begin() + 8 * 512, expected.begin() + 16 * 512, std::byte{0});
    std::fill(expected.begin() + 20 * 512, expected.begin() + 23 * 512, std::byte{0});
    EXPECT_EQ(content(0, 64 * 512), expected);
    EXPECT_EQ(volume().mapped_bytes(), 7u * 4096);
    // Lengths that do not fit together.
    auto odd = list({{0, 8}});
    base::store_be(odd.data() + 2, uint16_t{15});
    EXPECT_EQ(unmap(odd).sense(), 0x052600u);
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x42, 0, 7), std::vector<std::byte>(7)).sense(), 0x051a00u);
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x42, 0, 24), std::vector<std::byte>(8)).sense(), 0x051a00u);
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x42, 0, 0)).status, Status::kGood);
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x42, 0, 24, 1), list({{0, 8}})).sense(), 0x052400u);
    EXPECT_EQ(unmap(list(std::vector<std::pair<uint64_t, uint32_t>>(kMaxUnmapDescriptors + 1, {0, 1}))).sense(),
              0x052600u);
    EXPECT_EQ(content(0, 64 * 512), expected);
}

TEST_F(ScsiTest, LbaStatusBeginsWhereItWasAsked) {
    Nexus* nexus = ready();
    harness.run(nexus, 1, cdb10(0x2a, 8, 16), pattern(16 * 512, 5));
    const auto status = [&](uint64_t lba, uint32_t allocation) {
        auto cdb = cdb16(0x9e, lba, allocation, 0x12);
        return harness.run(nexus, 1, cdb);
    };
    const auto all = status(0, 8 + 16 * 8);
    ASSERT_EQ(all.data.size(), 8u + 3 * 16);
    EXPECT_EQ(base::load_be<uint32_t>(all.data.data()), 4u + 3 * 16);
    const uint64_t starts[] = {0, 8, 24};
    const uint32_t counts[] = {8, 16, kLunBlocks - 24};
    for (size_t i = 0; i < 3; ++i) {
        EXPECT_EQ(base::load_be<uint64_t>(&all.data[8 + 16 * i]), starts[i]);
        EXPECT_EQ(base::load_be<uint32_t>(&all.data[16 + 16 * i]), counts[i]);
        EXPECT_EQ(all.data[20 + 16 * i], i == 1 ? std::byte{0} : std::byte{1});
    }
    const auto one = status(13, 24);
    ASSERT_EQ(one.data.size(), 24u);
    EXPECT_EQ(base::load_be<uint64_t>(&one.data[8]), 13u);
    EXPECT_EQ(base::load_be<uint32_t>(&one.data[16]), 11u);
    EXPECT_EQ(status(kLunBlocks, 24).sense(), 0x052100u);
    EXPECT_EQ(status(0, 23).sense(), 0x052400u);
}

TEST_F(ScsiTest, VerifyComparesAndTellsWhere) {
    Nexus* nexus = ready();
    harness.run(nexus, 1, cdb10(0x2a, 0, 2048), pattern(2048 * 512, 5));
    auto data = pattern(2048 * 512, 5);
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x2f, 0, 2048, 0x02), data).status, Status::kGood);
    data[600'001] ^= std::byte{4};
    const auto out = harness.run(nexus, 1, cdb10(0x2f, 0, 2048, 0x02), data);
    EXPECT_EQ(out.sense(), 0x0e1d00u);
    EXPECT_EQ(out.information, 600'001u);
    harness.run(nexus, 1, cdb16(0x93, 0, 100), pattern(512, 9));
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x2f, 0, 100, 0x06), pattern(512, 9)).status, Status::kGood);
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x2f, 0, 101, 0x06), pattern(512, 9)).sense(), 0x0e1d00u);
    EXPECT_EQ(harness.run(nexus, 1, cdb10(0x2f, 0, 1, 0x04), pattern(512, 9)).sense(), 0x052400u);
}

TEST_F(ScsiTest, FlushAndForceUnitAccessReachTheVolume) {
    Nexus* nexus = ready();
    harness.run(nexus, 1, cdb10(0x2a, 0, 1), pattern(512, 1));
    EXPECT_EQ(volume().fua_writes(), 0u);
    harness.run(nexus, 1, cdb10(0x2a, 0, 1, 0x08), pattern(512, 1));
    EXPECT_EQ(volume().fua_writes(), 1u);
    harness.run(nexus, 1, cdb10(0x2e, 0, 1), pattern(512, 1));  // WRITE AND VERIFY is for the medium
    EXPECT_EQ(volume().fua_writes(), 2u);
    EXPECT_EQ(volume().flushes(), 0u);
    harness.run(nexus, 1, cdb10(0x35, 0, 0));
    harness.run(nexus, 1, cdb16(0x91, 0, 0, 0x02));  // also with IMMED
    EXPECT_EQ(volume().flushes(), 2u);
    harness.run(nexus, 1, cdb10(0x28, 0, 1, 0x08));
    EXPECT_EQ(volume().flushes(), 3u);
    harness.run(nexus, 1, {0x1b, 0, 0, 0, 0, 0});
    EXPECT_EQ(volume().flushes(), 4u);
}

// Every way to write and to read, against a plain copy of what should be there.
TEST_F(ScsiTest, RandomCommandsAgainstAModel) {
    for (const uint64_t seed : {1, 2, 3, 4, 5, 6, 7, 8}) {
        env::SeededRandom random(seed);
        Harness one;
        one.presentation.add_lun(3, 1u << 20);
        Nexus* nexus = one.open();
        one.run_clean(nexus, 3, kTestUnitReady);
        constexpr uint32_t kBlocks = 2048;
        std::vector<std::byte> model(kBlocks * 512);
        for (int step = 0; step < 400; ++step) {
            const auto lba = static_cast<uint32_t>(random.below(kBlocks));
            const auto blocks = static_cast<uint16_t>(1 + random.below(std::min<uint64_t>(kBlocks - lba, 200)));
            const size_t bytes = size_t{blocks} * 512;
            std::byte* at = model.data() + size_t{lba} * 512;
            std::vector<std::byte> data(bytes);
            for (auto& byte : data) byte = static_cast<std::byte>(random.next());
            Outcome out;
            switch (random.below(10)) {
                case 0:
                    out = one.run(nexus, 3, cdb10(0x2a, lba, blocks), data);
                    break;
                case 1:
                    out = one.run(nexus, 3, cdb16(0x8a, lba, blocks, 0x08), data);
                    break;
                case 2: {
                    std::vector<uint8_t> cdb{0xaa,
                                             0,
                                             0,
                                             0,
                                             static_cast<uint8_t>(lba >> 8),
                                             static_cast<uint8_t>(lba),
                                             0,
                                             0,
                                             static_cast<uint8_t>(blocks >> 8),
                                             static_cast<uint8_t>(blocks),
                                             0,
                                             0};
                    out = one.run(nexus, 3, cdb, data);
                    break;
                }
                case 3: {
                    if (blocks > 255) continue;
                    out = one.run(nexus, 3,
                                  {0x0a, 0, static_cast<uint8_t>(lba >> 8), static_cast<uint8_t>(lba),
                                   static_cast<uint8_t>(blocks), 0},
                                  data);
                    break;
                }
                case 4: {
                    const std::vector<std::byte> block(data.begin(), data.begin() + 512);
                    for (size_t i = 0; i < bytes; i += 512)
                        std::copy(block.begin(), block.end(), data.begin() + static_cast<ptrdiff_t>(i));
                    out = one.run(nexus, 3, random.one_in(2) ? cdb10(0x41, lba, blocks) : cdb16(0x93, lba, blocks),
                                  block);
                    break;
                }
                case 5: {
                    std::fill(data.begin(), data.end(), std::byte{0});
                    out = random.one_in(2)
                              ? one.run(nexus, 3, cdb16(0x93, lba, blocks, 0x09))
                              : one.run(nexus, 3, cdb10(0x41, lba, blocks, 0x08), std::vector<std::byte>(512));
                    break;
                }
                case 6: {
                    std::fill(data.begin(), data.end(), std::byte{0});
                    std::vector<std::byte> list(24);
                    base::store_be(list.data(), uint16_t{22});
                    base::store_be(list.data() + 2, uint16_t{16});
                    base::store_be(list.data() + 8, uint64_t{lba});
                    base::store_be(list.data() + 16, uint32_t{blocks});
                    out = one.run(nexus, 3, cdb10(0x42, 0, 24), list);
                    break;
                }
                default: {
                    const uint64_t form = random.below(3);
                    if (form == 0) out = one.run(nexus, 3, cdb10(0x28, lba, blocks));
                    if (form == 1) out = one.run(nexus, 3, cdb16(0x88, lba, blocks));
                    if (form == 2) {
                        out = one.run(nexus, 3,
                                      {0xa8, 0, 0, 0, static_cast<uint8_t>(lba >> 8), static_cast<uint8_t>(lba), 0, 0,
                                       static_cast<uint8_t>(blocks >> 8), static_cast<uint8_t>(blocks), 0, 0});
                    }
                    ASSERT_EQ(out.status, Status::kGood);
                    ASSERT_EQ(out.data.size(), bytes);
                    ASSERT_TRUE(std::equal(out.data.begin(), out.data.end(), at))
                        << "seed " << seed << " step " << step;
                    continue;
                }
            }
            ASSERT_EQ(out.status, Status::kGood) << "seed " << seed << " step " << step;
            std::copy(data.begin(), data.end(), at);
        }
        const auto all = one.run(nexus, 3, cdb10(0x28, 0, kBlocks));
        ASSERT_EQ(all.data, model) << "seed " << seed;
    }
}

// --- task management -------------------------------------------------------------------------------------------------

struct Gate {
    explicit Gate(env::Executor& executor) : open(executor) {}
    env::Event open;
    int inside = 0;
};
Gate* the_gate = nullptr;  // what the hook, a function without state, waits for

env::Task<base::Result<void>> wait_at_gate(lun::testing::Operation, uint64_t, uint64_t) {
    ++the_gate->inside;
    co_await the_gate->open.wait();
    --the_gate->inside;
    co_return base::Result<void>();
}

struct Running {
    Running(Harness& harness, Nexus* nexus, const std::vector<uint8_t>& cdb, std::vector<std::byte> bytes = {},
            TaskAttribute attribute = TaskAttribute::kSimple)
        : data(std::move(bytes)) {
        command.lun = encode_lun(1);
        Harness::set_cdb(command, cdb);
        command.data_out = &data;
        command.attribute = attribute;
        env::spawn_detached(Harness::execute(&harness.device(), nexus, &command, &response, &done));
    }
    ReadyData data;
    Command command;
    Response response;
    bool done = false;
};

void settle(Harness& harness) {
    while (harness.executor.step()) {
    }
}

struct TaskManagementTest : ScsiTest {
    TaskManagementTest() : gate(harness.executor) {
        the_gate = &gate;
        volume().set_hook(wait_at_gate);
    }
    ~TaskManagementTest() override { the_gate = nullptr; }
    void open_gate() {
        gate.open.set();
        settle(harness);
    }
    Gate gate;
};

env::Task<void> reset(Device* device, Nexus* nexus, bool* done) {
    const auto result = co_await device->reset_logical_unit(nexus, encode_lun(1));
    EXPECT_EQ(result, TaskManagementResult::kComplete);
    *done = true;
}

TEST_F(TaskManagementTest, ResetWaitsForWhatTouchesTheVolumeAndTellsOthers) {
    Nexus* a = ready();
    Nexus* b = ready("iqn.2026-01.test:b");
    Running mine(harness, a, cdb10(0x2a, 0, 1), pattern(512, 1));
    Running theirs(harness, b, cdb10(0x2a, 8, 1), pattern(512, 2));
    settle(harness);
    ASSERT_EQ(gate.inside, 2);
    bool over = false;
    env::spawn_detached(reset(&harness.device(), a, &over));
    settle(harness);
    EXPECT_FALSE(over) << "the reset was answered while a write could still take effect";
    open_gate();
    EXPECT_TRUE(over);
    EXPECT_TRUE(mine.done);
    EXPECT_FALSE(mine.response.answer);
    EXPECT_TRUE(theirs.done);
    EXPECT_TRUE(theirs.response.answer);
    EXPECT_EQ(theirs.response.status, Status::kTaskAborted);
    EXPECT_EQ(harness.run(a, 1, kTestUnitReady).sense(), 0x062903u);
    EXPECT_EQ(harness.run(b, 1, kTestUnitReady).sense(), 0x062903u);
}

TEST_F(TaskManagementTest, OrderedCommandsWaitForOlderOnes) {
    Nexus* nexus = ready();
    Running first(harness, nexus, cdb10(0x2a, 0, 1), pattern(512, 1));
    Running ordered(harness, nexus, cdb10(0x2a, 0, 1), pattern(512, 2), TaskAttribute::kOrdered);
    Running after(harness, nexus, cdb10(0x2a, 0, 1), pattern(512, 3));
    Running head(harness, nexus, cdb10(0x28, 100, 1), {}, TaskAttribute::kHeadOfQueue);
    settle(harness);
    EXPECT_EQ(gate.inside, 2);  // the first and the head of queue
    EXPECT_FALSE(ordered.data.fetched());
    EXPECT_FALSE(after.data.fetched());
    open_gate();
    EXPECT_TRUE(first.done && ordered.done && after.done && head.done);
    EXPECT_EQ(content(0, 512), pattern(512, 3));
}

TEST_F(TaskManagementTest, AnAbortedCommandThatWaitsForItsTurnNeverBegins) {
    Nexus* nexus = ready();
    Running first(harness, nexus, cdb10(0x2a, 0, 1), pattern(512, 1));
    Running ordered(harness, nexus, cdb10(0x2a, 0, 1), pattern(512, 2), TaskAttribute::kOrdered);
    settle(harness);
    harness.device().abort(&ordered.command, Abort::kSilent);
    settle(harness);
    EXPECT_TRUE(ordered.done);
    EXPECT_FALSE(ordered.response.answer);
    EXPECT_FALSE(ordered.data.fetched());
    EXPECT_FALSE(first.done);
    open_gate();
    EXPECT_EQ(first.response.status, Status::kGood);
    EXPECT_EQ(content(0, 512), pattern(512, 1));
}

env::Task<void> close_nexus(Device* device, Nexus* nexus, bool* done) {
    co_await device->close_nexus(nexus);
    *done = true;
}

TEST_F(TaskManagementTest, NexusLossWaitsForItsCommandsOnly) {
    auto a = harness.device().open_nexus({"iqn.2026-01.test:a", "iqn.2026-01.test:a,i,0x9", kTarget});
    harness.run_clean(a.get(), 1, kTestUnitReady);
    EXPECT_EQ(harness.run(a.get(), 1, {0x16, 0, 0, 0, 0, 0}).status, Status::kGood);  // RESERVE
    Nexus* b = harness.open("iqn.2026-01.test:b");
    harness.run(b, 1, kTestUnitReady);
    EXPECT_EQ(harness.run(b, 1, kTestUnitReady).status, Status::kReservationConflict);
    Running mine(harness, a.get(), cdb10(0x2a, 0, 1), pattern(512, 1));
    settle(harness);
    bool closed = false;
    env::spawn_detached(close_nexus(&harness.device(), a.get(), &closed));
    settle(harness);
    EXPECT_FALSE(closed);
    open_gate();
    EXPECT_TRUE(closed);
    EXPECT_FALSE(mine.response.answer);
    EXPECT_EQ(harness.run(b, 1, kTestUnitReady).status, Status::kGood);  // the reservation went with its nexus
}

// --- commands that wait for their initiator --------------------------------------------------------------------------

/// Data that the initiator holds back.
class HeldData final : public DataOut {
public:
    HeldData(env::Executor& executor, std::vector<std::byte> data) : changed_(executor), data_(std::move(data)) {}
    env::Task<base::Result<base::MutableBytes>> fetch(size_t bytes) override {
        while (!sent_ && !(cancelled_ && heeds_cancel_)) co_await changed_.wait();
        if (cancelled_ && heeds_cancel_) co_return base::fail(base::Code::kCancelled, "cancelled");
        co_return base::MutableBytes(data_).first(std::min(bytes, data_.size()));
    }
    size_t announced() const override { return data_.size(); }
    env::Task<base::Result<void>> reserve(size_t) override {
        while (!sent_ && !(cancelled_ && heeds_cancel_)) co_await changed_.wait();
        if (cancelled_ && heeds_cancel_) co_return base::fail(base::Code::kCancelled, "cancelled");
        co_return base::Result<void>();
    }
    void cancel() override {
        cancelled_ = true;
        changed_.wake_all();
    }
    void send() {
        sent_ = true;
        changed_.wake_all();
    }
    void ignore_cancel() { heeds_cancel_ = false; }

private:
    env::Event changed_;
    std::vector<std::byte> data_;
    bool sent_ = false;
    bool cancelled_ = false;
    bool heeds_cancel_ = true;
};

struct Waiting {
    Waiting(Harness& harness, Nexus* nexus, const std::vector<uint8_t>& cdb, std::vector<std::byte> bytes,
            TaskAttribute attribute = TaskAttribute::kSimple)
        : data(harness.executor, std::move(bytes)) {
        command.lun = encode_lun(1);
        Harness::set_cdb(command, cdb);
        command.data_out = &data;
        command.attribute = attribute;
        env::spawn_detached(Harness::execute(&harness.device(), nexus, &command, &response, &done));
        settle(harness);
        EXPECT_FALSE(done);
    }
    HeldData data;
    Command command;
    Response response;
    bool done = false;
};

env::Task<void> end_access(MemoryPresentation* presentation, bool* done) {
    co_await presentation->end_access(1);
    *done = true;
}

/// Every command that changes the medium with data from the initiator, and the data with which it would.
std::vector<std::pair<std::vector<uint8_t>, std::vector<std::byte>>> changes_with_data() {
    std::vector<uint8_t> swap = cdb16(0x89, 0, 0);
    swap[13] = 1;
    std::vector<std::byte> both(512);
    const auto fresh = pattern(512, 9);
    both.insert(both.end(), fresh.begin(), fresh.end());
    std::vector<std::byte> list(24);
    base::store_be(list.data(), uint16_t{22});
    base::store_be(list.data() + 2, uint16_t{16});
    base::store_be(list.data() + 16, uint32_t{64});
    return {{cdb10(0x2a, 0, 1), fresh},
            {cdb10(0x2e, 0, 1), fresh},
            {cdb10(0x41, 0, 8), fresh},
            {swap, both},
            {cdb10(0x42, 0, 24), list}};
}

TEST_F(ScsiTest, DataThatComesAfterTheMaskWentChangesNothing) {
    const auto plans = changes_with_data();
    for (const auto& [cdb, bytes] : plans) {
        Nexus* a = ready();
        // Something to lose behind the first blocks, which COMPARE AND WRITE wants to be zeros.
        harness.run_clean(a, 1, cdb10(0x2a, 8, 8), pattern(4096, 5));
        const auto before = content(0, 8192);
        Waiting command(harness, a, cdb, bytes);
        command.data.ignore_cancel();
        harness.presentation.at(1).initiators.clear();
        command.data.send();
        settle(harness);
        EXPECT_TRUE(command.done);
        EXPECT_EQ(Harness::outcome(command.response).sense(), 0x052500u) << int{cdb[0]};
        EXPECT_EQ(content(0, 8192), before) << int{cdb[0]};
        harness.presentation.at(1).initiators = {"*"};
    }
}

TEST_F(ScsiTest, DataThatComesAfterWriteProtectionChangesNothing) {
    const auto plans = changes_with_data();
    for (const auto& [cdb, bytes] : plans) {
        Nexus* a = ready();
        Waiting command(harness, a, cdb, bytes);
        command.data.ignore_cancel();
        // As the array does it: a new identity, not a change of the one that the command has seen.
        auto& lun = harness.presentation.at(1);
        const auto open = lun.identity;
        lun.identity = std::make_shared<array::LunIdentity>(*open);
        lun.identity->write_protected = true;
        command.data.send();
        settle(harness);
        EXPECT_TRUE(command.done);
        EXPECT_EQ(Harness::outcome(command.response).sense(), 0x072700u) << int{cdb[0]};
        EXPECT_EQ(volume().mapped_bytes(), 0u) << int{cdb[0]};
        lun.identity = open;
    }
}

TEST_F(ScsiTest, NothingIsReadForWhoLostTheLunWhileItWaitedForMemory) {
    Nexus* a = ready();
    harness.run(a, 1, cdb10(0x2a, 0, 1), pattern(512, 5));
    Waiting read(harness, a, cdb10(0x28, 0, 1), {});
    harness.presentation.at(1).initiators.clear();
    read.data.send();
    settle(harness);
    EXPECT_TRUE(read.done);
    EXPECT_EQ(Harness::outcome(read.response).sense(), 0x052500u);
    EXPECT_TRUE(read.response.data_in.empty());
}

TEST_F(TaskManagementTest, WithdrawnAccessEndsWhatWaitsAndWaitsForWhatWrites) {
    Nexus* a = ready();
    Nexus* b = ready("iqn.2026-01.test:b");
    Running inside(harness, a, cdb10(0x2a, 0, 1), pattern(512, 1));
    Running others(harness, b, cdb10(0x2a, 8, 1), pattern(512, 2));
    Waiting held(harness, a, cdb10(0x2a, 16, 1), pattern(512, 3));
    settle(harness);
    ASSERT_EQ(gate.inside, 2);
    harness.presentation.at(1).initiators = {"iqn.2026-01.test:b"};
    bool over = false;
    env::spawn_detached(end_access(&harness.presentation, &over));
    settle(harness);
    EXPECT_TRUE(held.done);
    EXPECT_EQ(held.response.status, Status::kTaskAborted);
    EXPECT_FALSE(over) << "said to be over while a write could still land";
    open_gate();
    EXPECT_TRUE(over);
    EXPECT_TRUE(inside.done);
    EXPECT_EQ(others.response.status, Status::kGood);
    EXPECT_TRUE(base::is_zero(content(16 * 512, 512)));
}

TEST_F(TaskManagementTest, WriteProtectionWaitsForWritesOnly) {
    Nexus* a = ready();
    Running write(harness, a, cdb10(0x2a, 0, 1), pattern(512, 1));
    Running read(harness, a, cdb10(0x28, 0, 1));
    settle(harness);
    harness.presentation.at(1).identity->write_protected = true;
    bool over = false;
    env::spawn_detached(end_access(&harness.presentation, &over));
    settle(harness);
    EXPECT_FALSE(over);
    open_gate();
    EXPECT_TRUE(over);
    EXPECT_EQ(read.response.status, Status::kGood);
}

TEST_F(ScsiTest, AnOrderedCommandWithoutItsDataStopsNobodyElse) {
    Nexus* a = ready();
    Nexus* b = ready("iqn.2026-01.test:b");
    Waiting stalled(harness, a, cdb10(0x2a, 0, 1), pattern(512, 1), TaskAttribute::kOrdered);
    ReadyData none;
    Command ready_b;
    ready_b.lun = encode_lun(1);
    ready_b.data_out = &none;
    Response response;
    bool done = false;
    env::spawn_detached(Harness::execute(&harness.device(), b, &ready_b, &response, &done));
    settle(harness);
    EXPECT_TRUE(done) << "an initiator that sends nothing holds up another";
    EXPECT_EQ(response.status, Status::kGood);
    // What the control mode page says is what is done: TST = 001b.
    EXPECT_EQ(harness.run(b, 1, {0x1a, 0x08, 0x0a, 0, 255, 0}).data.at(4 + 2) & std::byte{0xe0}, std::byte{0x20});
    stalled.data.send();
    settle(harness);
    EXPECT_TRUE(stalled.done);
    EXPECT_EQ(stalled.response.status, Status::kGood);
}

env::Task<void> clear_task_set(Device* device, Nexus* nexus, bool* done) {
    const auto result = co_await device->abort_task_set(nexus, encode_lun(1));
    EXPECT_EQ(result, TaskManagementResult::kComplete);
    *done = true;
}

TEST_F(ScsiTest, ATaskSetIsOfOneNexus) {
    Nexus* a = ready();
    Nexus* b = ready("iqn.2026-01.test:b");
    Waiting mine(harness, a, cdb10(0x2a, 0, 1), pattern(512, 1));
    Waiting theirs(harness, b, cdb10(0x2a, 8, 1), pattern(512, 2));
    bool over = false;
    env::spawn_detached(clear_task_set(&harness.device(), a, &over));
    settle(harness);
    EXPECT_TRUE(over);
    EXPECT_TRUE(mine.done);
    EXPECT_FALSE(mine.response.answer);
    EXPECT_FALSE(theirs.done);
    theirs.data.send();
    settle(harness);
    EXPECT_EQ(theirs.response.status, Status::kGood);
}

// --- reservations ----------------------------------------------------------------------------------------------------

std::vector<std::byte> prout_data(uint64_t key, uint64_t action_key, uint8_t flags = 0) {
    std::vector<std::byte> out(24);
    base::store_be(out.data(), key);
    base::store_be(out.data() + 8, action_key);
    out[20] = std::byte{flags};
    return out;
}
std::vector<uint8_t> prout(uint8_t action, uint8_t type = 0) {
    return {0x5f, action, type, 0, 0, 0, 0, 0, 24, 0};
}

TEST_F(ScsiTest, WriteExclusiveKeepsOthersFromWriting) {
    Nexus* a = ready();
    Nexus* b = ready("iqn.2026-01.test:b");
    EXPECT_EQ(harness.run(a, 1, prout(0), prout_data(0, 0xa)).status, Status::kGood);
    EXPECT_EQ(harness.run(a, 1, prout(1, 1), prout_data(0xa, 0)).status, Status::kGood);
    EXPECT_EQ(harness.run(b, 1, cdb10(0x2a, 0, 1), pattern(512, 1)).status, Status::kReservationConflict);
    EXPECT_EQ(harness.run(b, 1, cdb16(0x93, 0, 8, 0x09)).status, Status::kReservationConflict);
    EXPECT_EQ(harness.run(b, 1, cdb10(0x42, 0, 0)).status, Status::kReservationConflict);
    EXPECT_EQ(harness.run(b, 1, cdb10(0x28, 0, 1)).status, Status::kGood);
    EXPECT_EQ(harness.run(b, 1, kTestUnitReady).status, Status::kGood);
    EXPECT_EQ(harness.run(b, 1, prout(1, 1), prout_data(0, 0)).status, Status::kReservationConflict);
    EXPECT_EQ(harness.run(a, 1, cdb10(0x2a, 0, 1), pattern(512, 1)).status, Status::kGood);
    EXPECT_EQ(harness.run(a, 1, {0x16, 0, 0, 0, 0, 0}).status, Status::kReservationConflict);  // RESERVE(6)
    // The same initiator through another port is another registrant.
    Nexus* a2 = ready("iqn.2026-01.test:a", "0x2");
    EXPECT_EQ(harness.run(a2, 1, cdb10(0x2a, 0, 1), pattern(512, 1)).status, Status::kReservationConflict);
    // Preempting by a registrant takes it over, and the loser is told.
    EXPECT_EQ(harness.run(b, 1, prout(0), prout_data(0, 0xb)).status, Status::kGood);
    EXPECT_EQ(harness.run(b, 1, prout(4, 3), prout_data(0xb, 0xa)).status, Status::kGood);
    EXPECT_EQ(harness.run(a, 1, kTestUnitReady).sense(), 0x062a05u);
    EXPECT_EQ(harness.run(a, 1, cdb10(0x28, 0, 1)).status, Status::kReservationConflict);
    EXPECT_EQ(harness.run(b, 1, cdb10(0x28, 0, 1)).status, Status::kGood);
    const auto held = harness.run(b, 1, {0x5e, 1, 0, 0, 0, 0, 0, 1, 0, 0});
    ASSERT_EQ(held.data.size(), 24u);
    EXPECT_EQ(base::load_be<uint64_t>(&held.data[8]), 0xbu);
    EXPECT_EQ(held.data[21], std::byte{3});
}

TEST_F(ScsiTest, ReservationsThatPersistDo) {
    Nexus* a = ready();
    EXPECT_EQ(harness.run(a, 1, prout(0), prout_data(0, 0xa, 1)).status, Status::kGood);
    EXPECT_EQ(harness.run(a, 1, prout(1, 5), prout_data(0xa, 0)).status, Status::kGood);
    harness.restart();
    Nexus* b = ready("iqn.2026-01.test:b");
    EXPECT_EQ(harness.run(b, 1, cdb10(0x2a, 0, 1), pattern(512, 1)).status, Status::kReservationConflict);
    a = ready();
    EXPECT_EQ(harness.run(a, 1, cdb10(0x2a, 0, 1), pattern(512, 1)).status, Status::kGood);
    // Without APTPL they go with the daemon.
    EXPECT_EQ(harness.run(a, 1, prout(6), prout_data(0, 0xa, 0)).status, Status::kGood);
    EXPECT_TRUE(harness.presentation.reservation_records().empty());
    harness.restart();
    b = ready("iqn.2026-01.test:b");
    EXPECT_EQ(harness.run(b, 1, cdb10(0x2a, 0, 1), pattern(512, 1)).status, Status::kGood);
}

TEST_F(ScsiTest, AReservationThatCannotBeSavedIsNotMade) {
    Nexus* a = ready();
    harness.presentation.fail_saving(true);
    EXPECT_EQ(harness.run(a, 1, prout(0), prout_data(0, 0xa, 1)).sense(), 0x072707u);
    EXPECT_EQ(harness.run(a, 1, {0x5e, 0, 0, 0, 0, 0, 0, 1, 0, 0}).data.size(), 8u);
    harness.presentation.fail_saving(false);
    EXPECT_EQ(harness.run(a, 1, prout(0), prout_data(0, 0xa, 1)).status, Status::kGood);
}

TEST_F(ScsiTest, AnUnreadableRecordLocksTheMediumUntilItIsWrittenAnew) {
    harness.presentation.reservation_records()[harness.presentation.at(1).identity->id] = "garbage, not a record";
    harness.restart();
    Nexus* a = ready();
    EXPECT_EQ(harness.run(a, 1, cdb10(0x28, 0, 1)).sense(), 0x044400u);
    EXPECT_EQ(harness.run(a, 1, cdb10(0x2a, 0, 1), pattern(512, 1)).sense(), 0x044400u);
    EXPECT_EQ(harness.run(a, 1, prout(6), prout_data(0, 0xa, 0)).status, Status::kGood);
    EXPECT_EQ(harness.run(a, 1, cdb10(0x28, 0, 1)).status, Status::kGood);
    EXPECT_TRUE(harness.presentation.reservation_records().empty());
}

TEST(Reservations, RecordsSurviveAndDamageIsSeen) {
    ReservationState state;
    for (uint64_t i = 1; i <= 5; ++i) {
        PersistentReserveRequest request;
        request.from = {"iqn.x:" + std::to_string(i) + ",i,0x1", "iqn.t"};
        request.action_key = i;
        request.aptpl = true;
        EXPECT_FALSE(state.apply(request).failure);
    }
    PersistentReserveRequest reserve;
    reserve.action = PersistentReserveOut::kReserve;
    reserve.from = {"iqn.x:2,i,0x1", "iqn.t"};
    reserve.key = 2;
    reserve.type = 6;
    EXPECT_FALSE(state.apply(reserve).failure);
    const std::string record = state.encode();
    const auto back = ReservationState::decode(record);
    ASSERT_TRUE(back);
    EXPECT_EQ(back->registrations(), state.registrations());
    EXPECT_TRUE(back->is_holder(reserve.from));
    EXPECT_EQ(back->encode(), record);
    for (size_t i = 0; i < record.size(); ++i) {
        std::string damaged = record;
        damaged[i] = static_cast<char>(damaged[i] ^ 0x10);
        EXPECT_FALSE(ReservationState::decode(damaged)) << i;
        if (i > 0) {
            EXPECT_FALSE(ReservationState::decode(record.substr(0, i))) << i;
        }
    }
}

// The conflict table of SPC-4 5.13.1, by type and relation.
TEST(Reservations, WhoMayDoWhat) {
    const RegistrantId holder{"a", "t"}, member{"b", "t"}, stranger{"c", "t"};
    for (const uint8_t type : {1, 3, 5, 6, 7, 8}) {
        ReservationState state;
        for (const RegistrantId& who : {holder, member}) {
            PersistentReserveRequest request;
            request.from = who;
            request.action_key = 1;
            ASSERT_FALSE(state.apply(request).failure);
        }
        PersistentReserveRequest request;
        request.action = PersistentReserveOut::kReserve;
        request.from = holder;
        request.key = 1;
        request.type = type;
        ASSERT_FALSE(state.apply(request).failure);
        const bool write_only = type == 1 || type == 5 || type == 7;
        const bool members = type >= 5;
        EXPECT_TRUE(state.allows(holder, Access::kWrites));
        EXPECT_EQ(state.allows(member, Access::kWrites), members) << int{type};
        EXPECT_EQ(state.allows(member, Access::kReads), members || write_only) << int{type};
        EXPECT_FALSE(state.allows(stranger, Access::kWrites));
        EXPECT_EQ(state.allows(stranger, Access::kReads), write_only) << int{type};
        EXPECT_TRUE(state.allows(stranger, Access::kStatus));
        // The holder leaves: a reservation of one ends, one of all goes on.
        PersistentReserveRequest leave;
        leave.from = holder;
        leave.key = 1;
        const auto outcome = state.apply(leave);
        ASSERT_FALSE(outcome.failure);
        EXPECT_EQ(state.type().has_value(), type >= 7) << int{type};
        EXPECT_EQ(outcome.attentions.size(), type == 5 || type == 6 ? 1u : 0u) << int{type};
    }
}

TEST(Opcodes, TableAgreesWithTheCommandGroups) {
    for (const CommandSpec& spec : all_commands()) {
        EXPECT_EQ(cdb_length(std::byte{spec.opcode}), spec.cdb_bytes) << spec.name;
        EXPECT_EQ(spec.usage[0], spec.opcode) << spec.name;
        EXPECT_EQ(spec.usage[spec.cdb_bytes - 1], 0x04) << spec.name;
    }
}

TEST(Sense, Formats) {
    Sense sense = sense::kMiscompare;
    sense.information = 0x1'0000'0001;
    EXPECT_EQ(encode_fixed(sense)[0], std::byte{0x70});  // too large for 32 bits: left out
    const auto descriptor = encode_descriptor(sense);
    EXPECT_EQ(base::load_be<uint64_t>(&descriptor[12]), 0x1'0000'0001u);
    sense.information = 5;
    EXPECT_EQ(encode_fixed(sense)[0], std::byte{0xf0});
}

}  // namespace
}  // namespace umbra::scsi

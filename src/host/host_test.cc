// The parts that need neither root nor devices.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>
#include <deque>
#include <random>

#include "host/host.h"
#include "host/iscsi_session.h"
#include "host/machine.h"
#include "host/process.h"
#include "host/testing/fake_host.h"
#include "host/write_journal.h"
#include "sim/executor.h"

namespace umbra::host {
namespace {

using ::testing::ElementsAre;
using ::testing::IsEmpty;

std::vector<std::byte> bytes(std::initializer_list<int> values) {
    std::vector<std::byte> out;
    for (const int value : values) out.push_back(static_cast<std::byte>(value));
    return out;
}

TEST(WriteJournal, KeepsWhatFitsInOrderAndForgetsWhatIsDurable) {
    constexpr size_t kRing = 1000;
    WriteJournal journal(kRing, 8);
    std::mt19937_64 random(7);
    std::deque<std::vector<std::byte>> model;
    uint64_t begin = 0;
    int refused = 0;
    for (int step = 0; step < 20'000; ++step) {
        if (random() % 3 != 0) {
            const size_t size = random() % 5 == 0 ? 0 : 1 + random() % 400;
            std::vector<std::byte> data(size);
            for (std::byte& b : data) b = static_cast<std::byte>(random());
            const bool added = journal.add(1, 7, 9, data.data(), size);
            if (added) {
                model.push_back(data);
            } else {
                ++refused;
                // Only for want of room: skipping to the start of the ring wastes less than one item.
                EXPECT_TRUE(model.size() == 8 || journal.bytes() + 2 * size > kRing) << step;
            }
        } else {
            const uint64_t upto = begin + random() % (model.size() + 3);
            journal.forget(upto);
            for (; begin < upto && !model.empty(); ++begin) model.pop_front();
        }
        ASSERT_EQ(journal.begin(), begin);
        ASSERT_EQ(journal.end(), begin + model.size());
        for (size_t i = 0; i < model.size(); ++i) {
            const auto& entry = journal.at(begin + i);
            if (model[i].empty()) {
                ASSERT_EQ(entry.data, nullptr);
            } else {
                ASSERT_EQ(std::memcmp(entry.data, model[i].data(), model[i].size()), 0) << step;
            }
        }
    }
    EXPECT_GT(refused, 100);
    journal.forget(journal.end());
    EXPECT_EQ(journal.bytes(), 0u);
    EXPECT_TRUE(journal.add(1, 0, 1, std::vector<std::byte>(kRing).data(), kRing));
    EXPECT_FALSE(journal.add(1, 0, 1, nullptr, 0) && journal.add(1, 0, 1, std::vector<std::byte>(1).data(), 1));
}

TEST(PageC0, OnlyOursAndOnlyWhenItTells) {
    std::vector<std::byte> page(38 + 3 + 24);
    page[1] = std::byte{0xc0};
    std::memcpy(&page[4], "UMBRALUN", 8);
    page[12] = std::byte{2};
    page[37] = std::byte{3};
    page[41] = std::byte{0xaa};
    page[64] = std::byte{5};
    const auto state = parse_page_c0(page);
    ASSERT_TRUE(state);
    EXPECT_EQ(state->run.bytes[0], std::byte{0xaa});
    EXPECT_EQ(state->content, 5u);
    for (size_t size = 0; size < page.size(); ++size) EXPECT_FALSE(parse_page_c0(base::Bytes(page).first(size)));
    page[12] = std::byte{1};
    EXPECT_FALSE(parse_page_c0(page));
    page[12] = std::byte{2};
    page[5] = std::byte{'X'};
    EXPECT_FALSE(parse_page_c0(page));
}

TEST(Page83, RoundTripAndKey) {
    const auto page = bytes({0x00, 0x83, 0x00, 28,                                 //
                             0x02, 0x01, 0x00, 4,  'A',  'B', ' ', 0,              //
                             0x01, 0x03, 0x00, 8,  0x30, 0,   0,   0, 0, 0, 0, 1,  //
                             0x01, 0x14, 0x00, 4,  0,    0,   0,   1});
    const auto parsed = parse_page83(page);
    ASSERT_TRUE(parsed);
    ASSERT_EQ(parsed->size(), 3u);
    EXPECT_EQ((*parsed)[2].association, 1);
    EXPECT_EQ((*parsed)[2].type, 4);
    const auto encoded = encode_designators(*parsed);
    EXPECT_TRUE(std::equal(encoded.begin(), encoded.end(), page.begin() + 4, page.end()));
    LunIdentity lun;
    lun.designators = *parsed;
    EXPECT_EQ(lun.key(), "naa.3000000000000001");
    EXPECT_EQ(lun.naa(), "3000000000000001");
}

TEST(Page83, LongerNaaIsPreferredAndPortsNameNoLun) {
    LunIdentity lun;
    lun.designators.push_back({1, 3, 0, bytes({0x30, 0, 0, 0, 0, 0, 0, 1})});
    lun.designators.push_back({1, 3, 0, bytes({0x60, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2})});
    EXPECT_EQ(lun.naa(), "60000000000000010000000000000002");
    LunIdentity port;
    port.designators.push_back({1, 3, 1, bytes({0x30, 0, 0, 0, 0, 0, 0, 1})});
    EXPECT_EQ(port.key(), "");
    LunIdentity named;
    named.designators.push_back({2, 1, 0, bytes({'I', 'E', 'T', ' ', ' ', 0})});
    EXPECT_EQ(named.key(), "t10.IET");
}

TEST(Page83, EveryCutIsRefused) {
    const auto page = bytes({0x00, 0x83, 0x00, 12, 0x01, 0x03, 0x00, 8, 0x30, 0, 0, 0, 0, 0, 0, 1});
    for (size_t size = 0; size < page.size(); ++size) {
        EXPECT_FALSE(parse_page83(base::Bytes(page).first(size))) << size;
    }
    EXPECT_TRUE(parse_page83(page));
    auto lying = page;
    lying[7] = std::byte{9};
    EXPECT_FALSE(parse_page83(lying));
}

TEST(VolumeName, IsStableAndTellsPartitionsApart) {
    // Part of the format: other hosts and later versions must compute the same.
    EXPECT_EQ(volume_name("naa.60000000000000010000000000000002", 0),
              "\\\\?\\Volume{ec2feca5-e147-5baa-a46d-f805263f41fc}\\");
    EXPECT_NE(volume_name("naa.6", 0), volume_name("naa.6", 1));
    EXPECT_NE(volume_name("naa.61", 1), volume_name("naa.6", 11));
    const std::string name = volume_name("naa.6", 1);
    const auto guid = parse_volume_name(name);
    ASSERT_TRUE(guid);
    EXPECT_EQ(parse_volume_name(name.substr(0, name.size() - 1)), guid);
    EXPECT_EQ(parse_volume_name(name.substr(0, name.size() - 1) + "/"), guid);
    std::string lower = name;
    lower[4] = 'v';
    EXPECT_EQ(parse_volume_name(lower), guid);
    for (const char* wrong :
         {"", "/srv/db", "\\\\?\\Volume", "\\\\?\\Volume{}\\", "\\\\?\\Volume{6f0b9a52-2f55-5c0e-9d8e-6d5b3a41c7f1",
          "\\\\?\\Volume6f0b9a52-2f55-5c0e-9d8e-6d5b3a41c7f1\\", "C:\\"}) {
        EXPECT_FALSE(parse_volume_name(wrong)) << wrong;
    }
}

TEST(IscsiPath, ParsesWhatItPrints) {
    const IscsiPath path{"127.0.0.1:3260", "iqn.2026-01.test:arr", 7};
    const auto again = IscsiPath::parse(path.url());
    ASSERT_TRUE(again);
    EXPECT_EQ(again->portal, path.portal);
    EXPECT_EQ(again->target, path.target);
    EXPECT_EQ(again->lun, 7u);
    for (const char* wrong :
         {"", "iscsi://", "iscsi://p", "iscsi://p/t", "iscsi://p//1", "iscsi:///t/1", "iscsi://p/t/", "iscsi://p/t/x",
          "iscsi://p/t/1x", "iscsi://p/t/-1", "iscsi://p/t/16384", "http://p/t/1"}) {
        EXPECT_FALSE(IscsiPath::parse(wrong)) << wrong;
    }
}

TEST(Mountinfo, EscapesOptionalFieldsAndNonsense) {
    const auto mounts = parse_mountinfo(
        "36 35 98:0 /mnt1 /mnt2 rw,noatime master:1 shared:2 - ext3 /dev/root rw,errors=continue\n"
        "37 35 7:1 / /a\\040b\\134c ro,nosuid - xfs /dev/loop1 rw,attr2\n"
        "not a mount\n"
        "38 35 7:2 / /x rw\n"
        "39 35 7 / /x rw - ext4 /dev/loop2 rw\n");
    ASSERT_EQ(mounts.size(), 2u);
    EXPECT_EQ(mounts[0].root, "/mnt1");
    EXPECT_EQ(mounts[0].fs_type, "ext3");
    EXPECT_FALSE(mounts[0].read_only());
    EXPECT_EQ(mounts[1].mount_point, "/a b\\c");
    EXPECT_TRUE(mounts[1].read_only());
}

TEST(Fields, RoundTrip) {
    const Fields fields = {{"name", "db"}, {"url", "iscsi://a/b=c/1"}, {"empty", ""}};
    EXPECT_EQ(parse_fields(format_fields(fields)), fields);
    EXPECT_EQ(field(fields, "url"), "iscsi://a/b=c/1");
    EXPECT_EQ(field(fields, "none"), "");
}

TEST(SameLun, NeedsACommonIdentifierOfTheUnit) {
    LunIdentity a = testing::fake_lun(1);
    LunIdentity b = testing::fake_lun(2);
    EXPECT_FALSE(same_lun(a, b));
    b.designators.push_back(a.designators.front());
    EXPECT_TRUE(same_lun(a, b));
    LunIdentity port = testing::fake_lun(3);
    port.designators.front().association = 1;
    LunIdentity other = testing::fake_lun(3);
    EXPECT_FALSE(same_lun(port, other));
}

env::Task<void> freeze_too_long(testing::FakeHost* host, env::Executor* executor, bool* done) {
    const auto volume = co_await host->resolve("/srv/db/");
    EXPECT_TRUE(volume);
    if (!volume) co_return;
    EXPECT_TRUE(volume->freezable);
    base::Guid set = base::Guid::from_random(1, 2);
    std::vector<Volume> volumes = {*volume};
    EXPECT_TRUE(co_await host->prepare_freeze(set, volumes));
    FreezeLimits limits;
    EXPECT_TRUE(co_await host->freeze(set, limits));
    EXPECT_TRUE(host->is_frozen(set));
    EXPECT_THAT(host->frozen(), ElementsAre("/srv/db"));
    co_await env::sleep_for(*executor, limits.hold);
    EXPECT_FALSE(host->is_frozen(set));
    EXPECT_THAT(host->frozen(), IsEmpty());
    const auto thawed = co_await host->thaw(set);
    EXPECT_TRUE(!thawed && thawed.error().code == base::Code::kTimedOut);
    *done = true;
}

TEST(FakeHost, ItsWatchdogThawsOnTime) {
    sim::SimExecutor executor;
    testing::FakeHost host(executor);
    host.add_disk(testing::fake_lun(1), "/srv/db");
    bool done = false;
    executor.run(freeze_too_long(&host, &executor, &done));
    EXPECT_TRUE(done);
}

}  // namespace
}  // namespace umbra::host

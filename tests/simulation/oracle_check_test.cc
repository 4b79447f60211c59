// The oracle itself: a right store passes, and each way of being wrong is noticed.
#include <fmt/core.h>
#include <gtest/gtest.h>

#include "simulation/harness.h"
#include "simulation/model_store.h"

namespace umbra::simulation {
namespace {

TEST(Oracle, ARightStorePasses) {
    const auto result = run_seeds([] { return model_factory(); }, 1, 120, 2, Options{}, stdout);
    EXPECT_EQ(result.failed, 0u);
    EXPECT_EQ(result.passed, 120u);
    // A workload that did not do these things would prove nothing.
    for (const char* mark : {"call.create",
                             "call.remove",
                             "call.resize",
                             "call.snapshot",
                             "call.snapshot_of_several",
                             "call.resync",
                             "call.resync_cancelled",
                             "call.recover",
                             "call.scrub",
                             "call.update_meta",
                             "compare.match",
                             "compare.miscompare",
                             "cut.in_open",
                             "cut.in_work",
                             "fault.fail_drive",
                             "fault.vanish",
                             "fault.plan",
                             "open_call.happened",
                             "open_call.not",
                             "verified.snapshot_of_several",
                             "drive.crash"}) {
        EXPECT_GT(result.marks.contains(mark) ? result.marks.at(mark) : 0, 0u) << mark;
    }
}

class PlantedBugTest : public testing::TestWithParam<PlantedBug> {};

TEST_P(PlantedBugTest, IsNoticed) {
    constexpr uint64_t kMostSeeds = 400;
    constexpr uint64_t kBatch = 8;
    std::FILE* sink = std::fopen("/dev/null", "w");
    for (uint64_t seed = 20; seed < 20 + kMostSeeds; seed += kBatch) {
        const auto result = run_seeds([] { return model_factory(GetParam()); }, seed, kBatch, 2, Options{}, sink);
        if (result.failed == 0) continue;
        RecordProperty("seeds", static_cast<int>(seed + kBatch - 1));
        std::fclose(sink);
        return;
    }
    std::fclose(sink);
    FAIL() << to_string(GetParam()) << " went unnoticed in " << kMostSeeds << " seeds";
}

INSTANTIATE_TEST_SUITE_P(All, PlantedBugTest, testing::ValuesIn(all_planted_bugs()),
                         [](const auto& bug) { return to_string(bug.param); });

}  // namespace
}  // namespace umbra::simulation

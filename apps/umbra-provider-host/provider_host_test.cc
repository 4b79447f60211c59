// The surrogate process, with a provider that misbehaves on demand, seen through the coordinator's own client.
#include <gtest/gtest.h>
#include <signal.h>

#include "env/loop.h"
#include "surrogate.h"

namespace umbra::coordinator {
namespace {

using base::Guid;

class ProviderHostTest : public ::testing::Test {
protected:
    void make(std::string fault, std::string library = TEST_PROVIDER,
              std::string class_id = "2b6d6a50-7c1e-4b55-8f2a-1f7d3c9e4a01") {
        SurrogateOptions options;
        options.program = PROVIDER_HOST;
        options.library = std::move(library);
        options.environment["TEST_PROVIDER"] = std::move(fault);
        options.info.id = Guid::from_random(1, 1);
        options.info.class_id = *Guid::parse(class_id);
        provider = make_surrogate(*loop, std::move(options), [this](const ProviderInfo&, ReportedEvent event) {
            events.push_back(std::move(event));
            if (on_event) on_event();
        });
    }
    template <class T>
    T run(env::Task<T> task) {
        std::optional<T> out;
        struct Into {
            static env::Task<void> go(env::Task<T> inner, std::optional<T>* result) {
                T value = co_await std::move(inner);
                result->emplace(std::move(value));
            }
        };
        EXPECT_TRUE(loop->run(Into::go(std::move(task), &out)));
        return std::move(*out);
    }
    static LunInformation lun() {
        LunInformation one;
        one.serial_number = "S1";
        one.product_id = "product";
        one.identifiers.push_back({1, 3, {std::byte{0x60}, std::byte{1}}});
        return one;
    }

    std::unique_ptr<env::Loop> loop = *env::Loop::create();
    std::vector<ReportedEvent> events;
    std::function<void()> on_event;
    std::unique_ptr<Surrogate> provider;
};

TEST_F(ProviderHostTest, CallsCrossTheProcessUnchanged) {
    make("");
    EXPECT_EQ(run(provider->has_ex()), (std::expected<bool, std::string>(true)));
    std::vector<std::string> known{"/dev/known"};
    std::vector<LunInformation> luns{lun()};
    const SupportReply supported = run(provider->are_luns_supported(0, known, luns));
    EXPECT_EQ(supported.lost, "");
    EXPECT_TRUE(supported.supported);
    ASSERT_EQ(supported.luns.size(), 1u);
    EXPECT_EQ(supported.luns[0].product_id, "NORMALISED");
    EXPECT_EQ(supported.luns[0].serial_number, "S1");
    EXPECT_EQ(supported.luns[0].vendor_id, std::nullopt) << "NULL stays NULL";
    std::vector<std::string> other{"/dev/other"};
    EXPECT_FALSE(run(provider->are_luns_supported(0, other, luns)).supported);
    const LunsReply targets = run(provider->get_target_luns(known, luns));
    ASSERT_EQ(targets.luns.size(), 1u);
    EXPECT_EQ(targets.luns[0].key(), "naa.6000");
    const SupportReply filled = run(provider->fill_in_lun_info("/dev/known", lun()));
    EXPECT_TRUE(filled.supported);
    EXPECT_EQ(filled.code, vss::kFail);
    EXPECT_EQ(run(provider->locate_luns(luns)).code, vss::kBadState);
}

TEST_F(ProviderHostTest, AsyncOfResyncLuns) {
    make("");
    std::vector<LunInformation> luns{lun()};
    const AsyncReply started = run(provider->resync_luns(luns, luns));
    ASSERT_NE(started.async, 0u);
    AsyncState state = run(provider->query_async(started.async));
    EXPECT_EQ(state.code, vss::kOk);
    EXPECT_EQ(state.result, vss::kAsyncPending);
    EXPECT_EQ(state.percent, -1);
    EXPECT_EQ(run(provider->cancel_async(started.async)).code, vss::kOk);
    EXPECT_EQ(run(provider->query_async(started.async)).result, vss::kAsyncCancelled);
}

TEST_F(ProviderHostTest, ACrashLosesTheCallAndTheNextOneStartsAfresh) {
    make("crash-commit");
    EXPECT_EQ(run(provider->pre_commit_snapshots(Guid::from_random(2, 2))).code, vss::kOk);
    EXPECT_NE(run(provider->commit_snapshots(Guid::from_random(2, 2))).lost, "");
    EXPECT_EQ(run(provider->abort_snapshots(Guid::from_random(2, 2))).lost, "");
    EXPECT_EQ(provider->status().starts, 2u);
}

TEST_F(ProviderHostTest, AHangEndsWhenItIsGivenUp) {
    make("hang-commit");
    EXPECT_EQ(run(provider->pre_commit_snapshots(Guid::from_random(2, 2))).code, vss::kOk);
    loop->call_at(loop->now() + std::chrono::milliseconds(100), [this] { provider->give_up("test"); });
    EXPECT_NE(run(provider->commit_snapshots(Guid::from_random(2, 2))).lost, "");
}

TEST_F(ProviderHostTest, ABadCodeIsPassedOnAsItIs) {
    make("bad-commit");
    EXPECT_EQ(run(provider->commit_snapshots(Guid::from_random(2, 2))).code, vss::kFalse);
}

TEST_F(ProviderHostTest, AKilledProcessIsStartedAgain) {
    make("");
    EXPECT_EQ(run(provider->pre_commit_snapshots(Guid::from_random(2, 2))).lost, "");
    ASSERT_EQ(kill(provider->status().pid, SIGKILL), 0);
    (void)run(provider->pre_commit_snapshots(Guid::from_random(2, 2)));
    EXPECT_EQ(run(provider->pre_commit_snapshots(Guid::from_random(2, 2))).lost, "");
}

TEST_F(ProviderHostTest, LibrariesThatCannotBeUsed) {
    make("no-load");
    EXPECT_NE(run(provider->abort_snapshots({})).lost.find("VSS_E_PROVIDER_VETO"), std::string::npos);
    EXPECT_EQ(provider->status().state, "failed");
    make("", "/nowhere/lib.so");
    EXPECT_NE(run(provider->abort_snapshots({})).lost.find("/nowhere/lib.so"), std::string::npos);
    make("", TEST_PROVIDER, "11111111-1111-4111-8111-111111111111");
    EXPECT_NE(run(provider->abort_snapshots({})).lost.find("does not know the class"), std::string::npos);
}

TEST_F(ProviderHostTest, EventsOfTheProviderArrive) {
    make("");
    EXPECT_EQ(run(provider->abort_snapshots(Guid::from_random(2, 2))).code, vss::kOk);
    while (events.empty()) {
        on_event = [this] { loop->stop(); };
        loop->run();
    }
    EXPECT_EQ(events[0].id, 77u);
    EXPECT_EQ(events[0].text, "aborted");
}

}  // namespace
}  // namespace umbra::coordinator

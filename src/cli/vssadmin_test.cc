#include "cli/vssadmin.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <ctime>

#include "cli/testing/fake_vss.h"

namespace umbra::cli::vssadmin {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

constexpr auto kDb = "\\\\?\\Volume{40000000-0000-4000-8000-000000000001}\\";
constexpr auto kLog = "\\\\?\\Volume{40000000-0000-4000-8000-000000000002}\\";

class VssadminTest : public ::testing::Test {
protected:
    void SetUp() override {
        ::setenv("TZ", "UTC", 1);
        ::tzset();
        for (const char* volume : {kDb, kLog}) {
            testing::FakeShadow shadow;
            shadow.set = set_;
            shadow.id = vss_.next_id();
            shadow.count_in_set = 2;
            shadow.volume = volume;
            shadow.machine = "alpha.example.org";
            shadow.attributes = 0x9 | 0x10000 | 0x20000;
            shadow.created = vss_.now;
            shadow.here = true;
            vss_.shadows.push_back(shadow);
        }
    }

    int run(const std::vector<std::string>& arguments) {
        output_.clear();
        Services services;
        services.create = [this](IVssBackupComponents** out) { return vss_.create(out); };
        services.last_error_text = [this] { return vss_.last_error_text; };
        services.volumes = [this]() -> base::Result<std::vector<VolumeName>> {
            if (!reachable_) return base::fail(base::Code::kUnavailable, "umbra-hostd does not answer");
            return std::vector<VolumeName>{{kDb, {"/srv/db"}, "/dev/loop0"}, {kLog, {}, "/dev/loop1"}};
        };
        services.write = [this](std::string_view text) { output_ += text; };
        return vssadmin::run(arguments, services);
    }

    testing::FakeVss vss_;
    base::Guid set_ = *base::Guid::parse("{50000000-0000-4000-8000-000000000001}");
    bool reachable_ = true;
    std::string output_;
};

TEST_F(VssadminTest, ListsShadowsBySet) {
    EXPECT_EQ(run({"list", "shadows"}), 0);
    EXPECT_THAT(output_, HasSubstr("Contents of shadow copy set ID: {50000000-0000-4000-8000-000000000001}\n"
                                   "   Contained 2 shadow copies at creation time: 9/5/2024 8:53:20 AM\n"
                                   "      Shadow Copy ID: {30000000-0000-4000-8000-000000000001}\n"
                                   "         Original Volume: (/srv/db)\\\\?\\Volume{40000000-0000-4000-8000-"
                                   "000000000001}\\\n"));
    EXPECT_THAT(output_,
                HasSubstr("         Provider: 'Fake hardware provider'\n"
                          "         Type: ApplicationRollback\n"
                          "         Attributes: Persistent, No auto release, Hardware assisted, Differential\n"));
    EXPECT_EQ(output_.find("Contents"), output_.rfind("Contents"));
}

TEST_F(VssadminTest, FiltersByVolumeShadowAndSet) {
    EXPECT_EQ(run({"LIST", "Shadows", "/For=/srv/db/"}), 0);
    EXPECT_THAT(output_, HasSubstr("-000000000001}\n"));
    EXPECT_THAT(output_, Not(HasSubstr(kLog)));
    EXPECT_EQ(run({"list", "shadows", "-for=/dev/loop1"}), 0);
    EXPECT_THAT(output_, Not(HasSubstr(kDb)));
    EXPECT_EQ(run({"list", "shadows", "/shadow={30000000-0000-4000-8000-000000000002}"}), 0);
    EXPECT_THAT(output_, Not(HasSubstr(kDb)));
    EXPECT_EQ(run({"list", "shadows", "/set={50000000-0000-4000-8000-000000000009}"}), 0);
    EXPECT_THAT(output_, HasSubstr("No items found that satisfy the query.\n"));
    EXPECT_EQ(run({"list", "shadows", "/for=/nowhere"}), 1);
    EXPECT_EQ(run({"list", "shadows", "/shadow=x"}), 1);
}

TEST_F(VssadminTest, ListsProvidersWritersVolumes) {
    EXPECT_EQ(run({"list", "providers"}), 0);
    EXPECT_THAT(output_, HasSubstr("Provider name: 'Fake hardware provider'\n   Provider type: Hardware\n"
                                   "   Provider Id: {10000000-0000-4000-8000-00000000000a}\n   Version: 1.0.0.7\n"));
    EXPECT_EQ(run({"list", "writers"}), 0);
    EXPECT_THAT(output_, HasSubstr("Writer name: 'Fake Writer'\n"));
    EXPECT_THAT(output_, HasSubstr("   State: [1] Stable\n   Last error: No error\n"));
    EXPECT_EQ(run({"list", "volumes"}), 0);
    EXPECT_THAT(output_, HasSubstr("Volume path: /srv/db\n    Volume name: \\\\?\\Volume{40000000"));
    EXPECT_THAT(output_, HasSubstr("Volume path: /dev/loop1\n"));
}

TEST_F(VssadminTest, FailuresAreToldAndCount) {
    reachable_ = false;
    EXPECT_EQ(run({"list", "volumes"}), 1);
    EXPECT_THAT(output_, HasSubstr("Error: umbra-hostd does not answer.\n"));
    EXPECT_EQ(run({"list", "shadows"}), 0);
    EXPECT_EQ(run({"list", "shadows", "/for=/srv/db"}), 1);
    vss_.failures["Query"] = VSS_E_UNEXPECTED;
    vss_.last_error_text = "the state file is damaged";
    EXPECT_EQ(run({"list", "providers"}), 1);
    EXPECT_THAT(output_, HasSubstr("failed with 0x80042302 (VSS_E_UNEXPECTED).\nthe state file is damaged\n"));
}

TEST_F(VssadminTest, OtherCommandsAreRefused) {
    EXPECT_EQ(run({}), 0);
    EXPECT_EQ(run({"/?"}), 0);
    for (const std::vector<std::string>& wrong :
         std::vector<std::vector<std::string>>{{"delete", "shadows", "/all"},
                                               {"create", "shadow", "/for=/srv/db"},
                                               {"list"},
                                               {"list", "shadowstorage"},
                                               {"list", "providers", "/all"},
                                               {"list", "shadows", "all"},
                                               {"list", "shadows", "/colour=red"}}) {
        EXPECT_EQ(run(wrong), 1) << wrong.front();
        EXPECT_EQ(vss_.shadows.size(), 2U);
    }
}

}  // namespace
}  // namespace umbra::cli::vssadmin

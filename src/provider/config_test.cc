#include "provider/config.h"

#include <gtest/gtest.h>

namespace umbra::provider {
namespace {

constexpr char kGood[] = R"(
[provider]
initiator = "iqn.2025-01.org.umbra:host-a"
machine = "host-a"
commit_timeout_ms = 700
min_free_bytes = 4096
[[array]]
address = "unix:/run/a.sock"
[[array]]
address = "unix:/run/b.sock"
)";

TEST(Config, ReadsEverything) {
    auto config = parse_config(kGood, "test");
    ASSERT_TRUE(config) << config.error().text();
    EXPECT_EQ(config->initiator, "iqn.2025-01.org.umbra:host-a");
    EXPECT_EQ(config->machine, "host-a");
    EXPECT_EQ(config->commit_timeout.count(), 700);
    EXPECT_EQ(config->min_free_bytes, 4096u);
    EXPECT_EQ(config->arrays, (std::vector<std::string>{"unix:/run/a.sock", "unix:/run/b.sock"}));
}

TEST(Config, RefusesWhatIsWrongAndSaysWhere) {
    auto refused = [](std::string text, const std::string& why) {
        auto config = parse_config(text, "the-file");
        ASSERT_FALSE(config) << text;
        EXPECT_EQ(config.error().code, base::Code::kInvalidArgument);
        EXPECT_NE(config.error().message.find("the-file"), std::string::npos) << config.error().message;
        EXPECT_NE(config.error().message.find(why), std::string::npos) << config.error().message;
    };
    std::string array = "\n[[array]]\naddress = \"unix:a\"\n";
    refused("[provider", "line 1");
    refused(array, "[provider] is missing");
    refused("[provider]\ninitiator = \"host-a\"" + array, "not an iSCSI name");
    refused("[provider]\ninitiator = 7" + array, "initiator must be a string");
    refused("[provider]\ninitiator = \"iqn.2025-01.a:b\"\nspeed = 3" + array, "provider.speed");
    refused("[provider]\ninitiator = \"iqn.2025-01.a:b\"\ncommit_timeout_ms = 9001" + array, "commit_timeout_ms");
    refused("[provider]\ninitiator = \"iqn.2025-01.a:b\"\nmin_free_bytes = -1" + array, "min_free_bytes");
    refused("[provider]\ninitiator = \"iqn.2025-01.a:b\"", "no [[array]]");
    refused("[provider]\ninitiator = \"iqn.2025-01.a:b\"\n[[array]]\nname = \"x\"", "needs an address");
    refused("[other]\n", "unknown section other");
}

TEST(Config, IscsiNames) {
    EXPECT_TRUE(is_iscsi_name("iqn.2025-01.org.umbra:a"));
    EXPECT_TRUE(is_iscsi_name("eui.02004567A425678D"));
    EXPECT_TRUE(is_iscsi_name("naa.52004567BA64678D"));
    EXPECT_FALSE(is_iscsi_name("iqn."));
    EXPECT_FALSE(is_iscsi_name("iqn.2025-01.a b"));
    EXPECT_FALSE(is_iscsi_name("iqn.2025-01.a;b"));
    EXPECT_FALSE(is_iscsi_name("*"));
    EXPECT_FALSE(is_iscsi_name("iqn." + std::string(224, 'a')));
}

}  // namespace
}  // namespace umbra::provider

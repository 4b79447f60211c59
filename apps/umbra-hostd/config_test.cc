#include "config.h"

#include <gtest/gtest.h>

namespace umbra::hostd {
namespace {

TEST(HostConfig, PrintedDefaultsAreTheDefaults) {
    const auto printed = parse_config(default_config(), "/etc/umbra", "/usr/bin");
    ASSERT_TRUE(printed) << printed.error().text();
    const auto empty = parse_config("", "/etc/umbra", "/usr/bin");
    ASSERT_TRUE(empty) << empty.error().text();
    for (const Config* config : {&*printed, &*empty}) {
        EXPECT_EQ(config->socket, "/etc/umbra/host.sock");
        EXPECT_EQ(config->state_dir, "/etc/umbra/host-state");
        EXPECT_EQ(config->host.array_address, "unix:/etc/umbra/array.sock");
        EXPECT_EQ(config->host.run_dir, "/run/umbra");
        EXPECT_EQ(config->machine, printed->machine);
        EXPECT_EQ(config->host.initiator_iqn, printed->host.initiator_iqn);
        ASSERT_EQ(config->providers.size(), 1u);
        EXPECT_EQ(config->providers[0].id, printed->providers[0].id);
        EXPECT_EQ(config->providers[0].library, printed->providers[0].library);
        EXPECT_EQ(config->providers[0].arrays, std::vector<std::string>{"unix:/etc/umbra/array.sock"});
    }
}

TEST(HostConfig, RefusesWhatItDoesNotKnow) {
    EXPECT_FALSE(parse_config("[hostd]\nsokcet = \"x\"", "/", "/"));
    EXPECT_FALSE(parse_config("[host]\n", "/", "/"));
    EXPECT_FALSE(parse_config("[hostd]\nsocket = 3", "/", "/"));
    EXPECT_FALSE(parse_config("[limits]\nfreeze_ms = 60001", "/", "/")) << "downwards only";
    EXPECT_FALSE(parse_config("[limits]\ncommit_ms = 10001", "/", "/"));
    EXPECT_FALSE(parse_config("[[provider]]\nid = \"x\"", "/", "/"));
    EXPECT_FALSE(parse_config("[[provider]]\n[[provider]]\n", "/", "/")) << "one id";
    EXPECT_FALSE(parse_config("[hostd", "/", "/"));
}

}  // namespace
}  // namespace umbra::hostd

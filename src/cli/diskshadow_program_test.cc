#include "cli/diskshadow_program.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/testing/fake_vss.h"

namespace umbra::cli::diskshadow {
namespace {

using Words = std::vector<std::string>;

TEST(CommandLine, SwitchesInAllSpellings) {
    EXPECT_EQ(parse_command_line({"/s", "a.dsh"})->script, "a.dsh");
    EXPECT_EQ(parse_command_line({"-S", "a.dsh"})->script, "a.dsh");
    EXPECT_EQ(parse_command_line({"/l", "log", "/s", "a.dsh"})->log, "log");
    EXPECT_EQ(parse_command_line({"/log", "log"})->log, "log");
    EXPECT_TRUE(parse_command_line({"/?"})->help);
    EXPECT_FALSE(parse_command_line({})->script);
}

// Paths start with a slash on Linux, so that only the exact switch is one behind the script's name.
TEST(CommandLine, BehindTheScriptNearlyEverythingIsAParameter) {
    const auto line = parse_command_line({"/s", "take.dsh", "/srv/db", "/L", "/log", "-x", "/s", "set.cab"});
    ASSERT_TRUE(line);
    EXPECT_EQ(line->parameters, (Words{"/srv/db", "/L", "/log", "-x", "/s", "set.cab"}));
    EXPECT_FALSE(line->log);
    const auto logged = parse_command_line({"/s", "take.dsh", "/srv/db", "-l", "x.log", "set.cab"});
    ASSERT_TRUE(logged);
    EXPECT_EQ(logged->parameters, (Words{"/srv/db", "set.cab"}));
    EXPECT_EQ(logged->log, "x.log");
}

TEST(CommandLine, WhatIsNotUnderstoodIsRefused) {
    EXPECT_FALSE(parse_command_line({"/s"}));
    EXPECT_FALSE(parse_command_line({"/l"}));
    EXPECT_FALSE(parse_command_line({"take.dsh"}));
    EXPECT_FALSE(parse_command_line({"/x"}));
    EXPECT_FALSE(parse_command_line({"/l", "a", "/l", "b"}));
    EXPECT_FALSE(parse_command_line({"/s", "a", "/l"}));
}

class ProgramTest : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/umbra-dsh-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        directory_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    std::string path(const std::string& name) const { return directory_ + "/" + name; }
    std::string file(const std::string& name, const std::string& content, int mode = 0600) const {
        std::ofstream(path(name)) << content;
        ::chmod(path(name).c_str(), static_cast<mode_t>(mode));
        return path(name);
    }
    static std::string content(const std::string& name) {
        std::stringstream out;
        out << std::ifstream(name).rdbuf();
        return out.str();
    }
    int run(const Words& arguments) {
        return run_diskshadow(
            arguments, [this](IVssBackupComponents** out) { return vss_.create(out); }, [] { return std::string(); });
    }

    testing::FakeVss vss_;
    std::string directory_;
};

TEST_F(ProgramTest, ChildrenSeeTheEnvironmentAndTheirOutputIsLogged) {
    Screen screen;
    ASSERT_TRUE(screen.open_log(path("log")));
    const auto program = file("copy.sh", "#!/bin/sh\necho \"got $db\"\necho wrong >&2\nexit 4\n", 0700);
    EXPECT_EQ(run_program(program, {"db={1}", "PATH=/bin"}, screen), 4);
    EXPECT_EQ(content(path("log")), "got {1}\nwrong\n");
    EXPECT_EQ(run_program(file("plain", "exit 0\n", 0700), {"PATH=/bin"}, screen), 0);
    EXPECT_EQ(run_program(file("killed", "#!/bin/sh\nkill -9 $$\n", 0700), {"PATH=/bin"}, screen), 128 + 9);
    EXPECT_FALSE(run_program(path("none"), {}, screen));
    EXPECT_FALSE(run_program(file("data", "x", 0600), {}, screen));
}

// A grandchild that keeps the output open must not keep diskshadow: it holds shadow copies and perhaps a freeze's set.
TEST_F(ProgramTest, WhatAChildLeavesRunningIsNotWaitedFor) {
    Screen screen;
    ASSERT_TRUE(screen.open_log(path("log")));
    ASSERT_EQ(::mkfifo(path("hold").c_str(), 0600), 0);
    const int hold = ::open(path("hold").c_str(), O_RDWR | O_CLOEXEC);
    ASSERT_GE(hold, 0);
    // Opened before it goes to the background: a reader that comes after the writer has left would wait for ever.
    const auto program =
        file("back.sh", "#!/bin/sh\nexec 3< " + path("hold") + "\n(read x <&3; echo late) &\necho done\n", 0700);
    EXPECT_EQ(run_program(program, {"PATH=/bin"}, screen), 0);
    EXPECT_EQ(content(path("log")), "done\n");
    ASSERT_EQ(::write(hold, "x\n", 2), 2);
    ::close(hold);
}

TEST_F(ProgramTest, ScriptsRunWithParametersAndLog) {
    vss_.volumes["/srv/db"] = "\\\\?\\Volume{40000000-0000-4000-8000-000000000001}\\";
    const auto script = file("take.dsh", "set metadata %DISKSH_PARAM_2%\r\nadd volume %DISKSH_PARAM_1%\r\ncreate");
    EXPECT_EQ(run({"/s", script, "/srv/db", path("set.cab"), "/l", path("log")}), 0);
    const auto log = content(path("log"));
    EXPECT_NE(log.find("-> add volume %DISKSH_PARAM_1%\n-> %DISKSH_PARAM_1% = /srv/db\n-> create\n"), std::string::npos)
        << log;
    EXPECT_TRUE(log.ends_with("Number of shadow copies listed: 1\n->\n")) << log;
    EXPECT_TRUE(std::filesystem::exists(path("set.cab")));
    EXPECT_EQ(run({"/s", script, "/srv/other", path("set.cab")}), 1);
    EXPECT_EQ(run({"/s", path("none.dsh")}), 1);
    EXPECT_EQ(run({"/s", script, "/l", path("no/such/log")}), 1);
    EXPECT_EQ(run({"/nonsense"}), 1);
    EXPECT_EQ(run({"/?"}), 0);
}

TEST_F(ProgramTest, MountPointsAreFoundFromPathsBelow) {
    EXPECT_EQ(mount_point_of("/proc/self/status"), "/proc");
    EXPECT_EQ(mount_point_of("/"), "/");
    EXPECT_EQ(mount_point_of(path("none")), "");
}

}  // namespace
}  // namespace umbra::cli::diskshadow

// umbra array init on real files: what it takes for an empty drive, and that it asks before it destroys.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <optional>
#include <sstream>

#include "array/config.h"
#include "cli/command.h"
#include "cli/exit_code.h"

namespace umbra::cli {
namespace {

using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;

constexpr uint64_t kMiB = 1 << 20;
constexpr uint64_t kDriveBytes = 64 * kMiB;

struct Outcome {
    int status = 0;
    std::string out;
    std::string err;
};

class InitTest : public ::testing::Test {
protected:
    InitTest() {
        std::string name = (std::filesystem::temp_directory_path() / "umbra-init-XXXXXX").string();
        directory_ = mkdtemp(name.data());
        for (int i = 0; i < 4; ++i) {
            std::ofstream(drive(i)).close();
            std::filesystem::resize_file(drive(i), kDriveBytes);
        }
        std::ofstream(directory_ / "array.toml")
            << "[array]\nname = \"demo\"\ndrives = [\"d0\", \"d1\", \"d2\", \"d3\"]\n"
               "[iscsi]\nlisten = [\"127.0.0.1:0\"]\n"
               "[management]\nsocket = \"array.sock\"\n";
    }
    ~InitTest() override { std::filesystem::remove_all(directory_); }

    std::filesystem::path drive(int i) const { return directory_ / ("d" + std::to_string(i)); }
    void write(int i, uint64_t at, const std::string& bytes) {
        std::fstream file(drive(i), std::ios::in | std::ios::out | std::ios::binary);
        file.seekp(static_cast<std::streamoff>(at));
        file << bytes;
    }
    std::string read(int i, uint64_t at, size_t bytes) {
        std::ifstream file(drive(i), std::ios::binary);
        file.seekg(static_cast<std::streamoff>(at));
        std::string out(bytes, '?');
        file.read(out.data(), static_cast<std::streamsize>(bytes));
        return out;
    }
    /// The first MiB, with both slots of the label.
    std::string start(int i) { return read(i, 0, kMiB); }
    /// `answer`: what a person at the terminal types; none: there is no terminal.
    Outcome init(const std::vector<std::string>& flags = {}, std::optional<std::string> answer = {}) {
        std::ostringstream out;
        std::ostringstream err;
        Console console{out, err, answer.has_value(), false, {}, {}};
        console.ask = [&](const std::string&) {
            ++questions_;
            return *answer;
        };
        console.environment = [](const char*) { return std::string(); };
        std::vector<std::string> arguments{"array", "init", "--config", (directory_ / "array.toml").string()};
        arguments.insert(arguments.end(), flags.begin(), flags.end());
        const int status = run_umbra(arguments, console, {add_array_commands, add_array_init});
        return {status, out.str(), err.str()};
    }

    std::filesystem::path directory_;
    int questions_ = 0;
};

TEST_F(InitTest, FreshFilesAreTakenWithoutAQuestion) {
    const Outcome made = init();
    EXPECT_EQ(made.status, kExitOk) << made.err;
    EXPECT_THAT(made.out, HasSubstr("nothing"));
    EXPECT_NE(start(0).find("UMBRALBL"), std::string::npos);
    EXPECT_EQ(questions_, 0);
}

TEST_F(InitTest, WrittenZerosAreNothing) {
    write(1, 20 * kMiB, std::string(3 * kMiB, '\0'));
    EXPECT_EQ(init().status, kExitOk);
}

TEST_F(InitTest, DataAnywhereIsSeenAndNothingIsWritten) {
    write(2, 40 * kMiB + 4096 + 17, "precious");
    const Outcome refused = init();
    EXPECT_EQ(refused.status, 1);
    EXPECT_THAT(refused.err, HasSubstr(drive(2).string()));
    EXPECT_THAT(refused.err, HasSubstr("--force"));
    for (int i = 0; i < 4; ++i) EXPECT_TRUE(start(i) == std::string(kMiB, '\0')) << i;
    EXPECT_EQ(read(2, 40 * kMiB + 4096 + 17, 8), "precious");
    // A last byte, too.
    write(2, 40 * kMiB + 4096 + 17, std::string(8, '\0'));
    write(3, kDriveBytes - 1, "x");
    EXPECT_EQ(init().status, 1);
}

TEST_F(InitTest, ForceAsksAndNamesTheArrayThatIsThere) {
    ASSERT_EQ(init().status, kExitOk);
    const std::string before = start(0);
    const Outcome plain = init();
    EXPECT_EQ(plain.status, 1);
    EXPECT_THAT(plain.err, HasSubstr("of the Umbra array"));
    const Outcome unattended = init({"--force"});
    EXPECT_EQ(unattended.status, kExitNotConfirmed);
    EXPECT_THAT(unattended.err, HasSubstr("of the Umbra array"));
    EXPECT_THAT(unattended.err, HasSubstr("4 drives hold"));
    EXPECT_THAT(unattended.out, IsEmpty());
    EXPECT_EQ(init({"--force"}, "no").status, kExitNotConfirmed);
    EXPECT_EQ(init({"--yes"}).status, 1) << "--yes is no --force";
    EXPECT_TRUE(start(0) == before);
    EXPECT_EQ(questions_, 1);

    EXPECT_EQ(init({"--force"}, "yes").status, kExitOk);
    EXPECT_FALSE(start(0) == before);
    EXPECT_EQ(questions_, 2);
    const Outcome forced = init({"--force", "--yes"});
    EXPECT_EQ(forced.status, kExitOk);
    EXPECT_THAT(forced.out, HasSubstr("of the Umbra array"));
    EXPECT_EQ(questions_, 2);
}

/// A loop device over a file; empty when there are none to be had here.
class LoopDevice {
public:
    explicit LoopDevice(const std::filesystem::path& file) {
        if (geteuid() != 0) return;
        FILE* pipe = popen(("losetup -f --show " + file.string() + " 2>/dev/null").c_str(), "r");
        if (pipe == nullptr) return;
        std::array<char, 64> line{};
        if (std::fgets(line.data(), line.size(), pipe) != nullptr) path_ = line.data();
        pclose(pipe);
        while (!path_.empty() && path_.back() == '\n') path_.pop_back();
    }
    ~LoopDevice() {
        if (!path_.empty()) (void)!std::system(("losetup -d " + path_).c_str());
    }
    const std::string& path() const { return path_; }

private:
    std::string path_;
};

TEST_F(InitTest, BlockDevicesAreReadWholeOrSampled) {
    array::ContentLimits sampled;
    sampled.whole_bytes = 1 * kMiB;
    sampled.edge_bytes = 2 * kMiB;
    sampled.samples = 61;  // every MiB
    const auto content = [&](uint64_t at, const array::ContentLimits& limits) -> std::optional<std::string> {
        write(0, at, "x");
        const LoopDevice loop(drive(0));
        if (loop.path().empty()) return std::nullopt;
        const auto found = array::describe_content(loop.path(), limits);
        write(0, at, std::string(1, '\0'));
        return found ? *found : found.error().text();
    };
    const auto whole = content(33 * kMiB + 12345, {});
    if (!whole) GTEST_SKIP() << "no loop devices here";
    EXPECT_THAT(*whole, HasSubstr("data at"));
    EXPECT_THAT(*content(1 * kMiB, sampled), HasSubstr("data at"));
    EXPECT_THAT(*content(kDriveBytes - 2 * kMiB, sampled), HasSubstr("data at"));
    EXPECT_THAT(*content(2 * kMiB + 512 * 1024, sampled), IsEmpty()) << "between two samples: what the limits say";
    // 64 MiB in 62 steps: the tenth sample begins at 10 * 1082401 bytes, rounded down to 64 KiB.
    EXPECT_THAT(*content(10 * (kDriveBytes / 62) / 65536 * 65536 + 65535, sampled), HasSubstr("data at"));
    const LoopDevice empty(drive(0));
    const auto nothing = array::describe_content(empty.path());
    ASSERT_TRUE(nothing) << nothing.error().text();
    EXPECT_THAT(*nothing, IsEmpty());
}

}  // namespace
}  // namespace umbra::cli

// Scripts in, text out: the files of tests/cli/diskshadow. The service is a fake with fixed IDs and times.
#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "cli/diskshadow_shell.h"
#include "cli/diskshadow_text.h"
#include "cli/testing/fake_vss.h"

namespace umbra::cli::diskshadow {
namespace {

struct OneRun {
    std::string script;  ///< <script>.dsh gives <script>.txt
    std::vector<std::string> parameters;
    std::string machine = "alpha.example.org";
    std::map<std::string, HRESULT> failures;
    int code = 0;
};

std::string content(const std::string& path) {
    std::ifstream in(path, std::ios::binary);
    EXPECT_TRUE(in) << path;
    std::stringstream out;
    out << in.rdbuf();
    return out.str();
}

class Transcripts : public ::testing::Test {
protected:
    void SetUp() override {
        ::setenv("TZ", "UTC", 1);
        ::tzset();
        char name[] = "/tmp/umbra-transcript-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        directory_ = name;
        start_over();
    }
    void start_over() {
        std::filesystem::remove(directory_ + "/set.cab");
        vss_ = testing::FakeVss();
        vss_.volumes["/srv/db"] = "\\\\?\\Volume{40000000-0000-4000-8000-000000000001}\\";
        vss_.volumes["/srv/log"] = "\\\\?\\Volume{40000000-0000-4000-8000-000000000002}\\";
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }

    void check(const std::vector<OneRun>& runs) {
        for (const auto& run : runs) {
            SCOPED_TRACE(run.script);
            const std::string base = std::string(TRANSCRIPTS) + "/" + run.script;
            std::string output;
            EXPECT_EQ(execute(run, content(base + ".dsh"), output), run.code);
            if (std::getenv("UMBRA_UPDATE_GOLDEN") != nullptr) std::ofstream(base + ".txt", std::ios::binary) << output;
            EXPECT_EQ(output, content(base + ".txt"));
        }
    }

    int execute(const OneRun& run, const std::string& script, std::string& output) {
        vss_.machine = run.machine;
        vss_.failures = run.failures;
        if (run.machine != "alpha.example.org") vss_.volumes.clear();
        Services services;
        services.create = [this](IVssBackupComponents** object) { return vss_.create(object); };
        services.last_error_text = [] { return std::string(); };
        services.write = [&](std::string_view text) { output += text; };
        services.now = [] { return time_t{1'700'000'000}; };
        services.host_name = run.machine;
        services.run_program = [](const std::string&,
                                  const std::vector<std::string>&) -> std::expected<int, std::string> { return 2; };
        services.mount_point_of = [](const std::string&) { return std::string(); };
        services.directory = directory_;
        Variables variables(Variables::Environment{});
        for (size_t i = 0; i < run.parameters.size(); ++i) variables.set_parameter(i + 1, run.parameters[i]);
        const auto lines = split_lines(script);
        EXPECT_TRUE(lines);
        return Shell(std::move(services), std::move(variables)).run_script(*lines);
    }

    testing::FakeVss vss_;
    std::string directory_;
};

TEST_F(Transcripts, Transport) {
    check({{"take", {"/srv/db", "set.cab"}, "alpha.example.org", {}, 0},
           {"import", {"set.cab", "/mnt/copy"}, "beta.example.org", {}, 0},
           {"resync", {"set.cab"}, "alpha.example.org", {}, 0}});
}

TEST_F(Transcripts, LocalBackup) {
    check({{"backup", {}, "alpha.example.org", {}, 0}});
}

TEST_F(Transcripts, Listings) {
    check({{"list", {}, "alpha.example.org", {}, 0}});
}

TEST_F(Transcripts, Settings) {
    check({{"settings", {}, "alpha.example.org", {}, 0}});
}

TEST_F(Transcripts, Failures) {
    check({{"veto", {}, "alpha.example.org", {{"DoSnapshotSet.async", VSS_E_PROVIDER_VETO}}, 1},
           {"twice", {}, "alpha.example.org", {}, 1},
           {"exec", {}, "alpha.example.org", {}, 1},
           {"help", {}, "alpha.example.org", {}, 1}});
}

TEST_F(Transcripts, LineEndsMakeNoDifference) {
    const std::string script = content(std::string(TRANSCRIPTS) + "/backup.dsh");
    ASSERT_EQ(script.find('\r'), std::string::npos);
    const OneRun run{"backup", {}, "alpha.example.org", {}, 0};
    std::string with_lf;
    EXPECT_EQ(execute(run, script, with_lf), 0);
    std::string crlf;
    for (const char c : script) crlf += c == '\n' ? std::string("\r\n") : std::string(1, c);
    start_over();
    std::string with_crlf;
    EXPECT_EQ(execute(run, crlf, with_crlf), 0);
    EXPECT_EQ(with_crlf, with_lf);
    std::string unfinished = script;
    while (unfinished.ends_with('\n')) unfinished.pop_back();
    start_over();
    std::string without_end;
    EXPECT_EQ(execute(run, unfinished, without_end), 0);
    EXPECT_EQ(without_end, with_lf);
}

}  // namespace
}  // namespace umbra::cli::diskshadow

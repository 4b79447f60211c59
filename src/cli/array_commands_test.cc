// The array commands as people and scripts use them, against an array in memory behind a real socket.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <nlohmann/json.hpp>
#include <sstream>

#include "array_rpc/testing/memory_array_server.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/table.h"

namespace umbra::cli {
namespace {

using nlohmann::json;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

TEST(ExitCode, EveryCodeHasOneThatIsNotSuccess) {
    for (int value = 0; value <= static_cast<int>(base::Code::kInternal); ++value) {
        EXPECT_NE(exit_code(static_cast<base::Code>(value)), kExitOk);
    }
    EXPECT_EQ(exit_code(base::Code::kBadState), 1);
    EXPECT_EQ(exit_code(base::Code::kInvalidArgument), 2);
    EXPECT_EQ(exit_code(base::Code::kNotFound), 3);
    EXPECT_EQ(exit_code(base::Code::kUnavailable), 5);
}

TEST(Table, AlignsAndTrims) {
    Table table({{"NAME"}, {"SIZE", Table::Align::kRight}, {"X"}});
    table.add({"db", "2 GiB", "y"});
    table.add({"database", "512 B", ""});
    std::ostringstream out;
    table.print(out);
    EXPECT_EQ(out.str(),
              "NAME       SIZE  X\n"
              "db        2 GiB  y\n"
              "database  512 B\n");
    EXPECT_EQ(format_time(0), "-");
    EXPECT_EQ(format_time(1'800'000'000'123), "2027-01-15 08:00:00");
    EXPECT_EQ(format_seconds(59), "59 s");
    EXPECT_EQ(format_seconds(200), "3 min 20 s");
    EXPECT_EQ(format_seconds(7500), "2 h 5 min");
}

struct Outcome {
    int status = 0;
    std::string out;
    std::string err;
};

class UmbraTest : public ::testing::Test {
protected:
    /// Runs `umbra` with the words of `line` ('*' and names need no quotes here).
    Outcome umbra(const std::string& line) {
        std::ostringstream out;
        std::ostringstream err;
        Console console{out, err, false, false, {}, {}};
        console.interactive = answer_.has_value();
        console.ask = [&](const std::string& question) {
            questions_.push_back(question);
            return *answer_;
        };
        console.environment = [&](const char* name) {
            return std::string(name) == "UMBRA_ARRAY" ? server_.address() : std::string();
        };
        std::istringstream words(line);
        std::vector<std::string> arguments;
        for (std::string word; words >> word;) arguments.push_back(word);
        const int status = run_umbra(arguments, console, {add_array_commands});
        return {status, out.str(), err.str()};
    }
    json umbra_json(const std::string& line) {
        const Outcome outcome = umbra(line + " --json");
        EXPECT_EQ(outcome.status, 0) << line << ": " << outcome.err;
        return json::parse(outcome.out, nullptr, false);
    }
    void ok(const std::string& line) {
        const Outcome outcome = umbra(line);
        EXPECT_EQ(outcome.status, 0) << line << ": " << outcome.err;
    }

    array_rpc::testing::MemoryArrayServer server_;
    std::optional<std::string> answer_;  // what the person at the terminal types; none: no terminal
    std::vector<std::string> questions_;
};

TEST_F(UmbraTest, TheTranscript) {
    EXPECT_EQ(umbra("array wait-ready").out, "array demo is ready\n");
    const Outcome created = umbra("lun create db --size 2G --type parity");
    EXPECT_EQ(created.status, 0) << created.err;
    EXPECT_THAT(created.out, HasSubstr("created LUN db: parity, 2 GiB, width 5, naa 602554d"));
    ok("mask add db --initiator *");

    const json lun = umbra_json("lun show db");
    EXPECT_EQ(lun["name"], "db");
    EXPECT_EQ(lun["size_bytes"], 2147483648u);
    EXPECT_EQ(lun["type"], "parity");
    EXPECT_EQ(lun["health"], "healthy");
    EXPECT_THAT(lun["naa"].get<std::string>(), ::testing::MatchesRegex("[0-9a-f]{32}"));
    ASSERT_EQ(lun["iscsi"].size(), 1u);
    EXPECT_EQ(lun["iscsi"][0]["lun"], 1);
    EXPECT_EQ(lun["iscsi"][0]["portal"], "127.0.0.1:3260");
    EXPECT_THAT(lun["iscsi"][0]["target_iqn"].get<std::string>(), HasSubstr("iqn."));

    EXPECT_EQ(umbra("snapshot create db --name before").out, "created db@before\n");
    const Outcome resynced = umbra("lun resync db --from db@before --wait");
    EXPECT_EQ(resynced.status, 0);
    EXPECT_EQ(resynced.out, "task 1 (resync of db) done: kept the head before it as db@before-resync-1\n");
    const Outcome refused = umbra("snapshot delete db@before");
    EXPECT_EQ(refused.status, kExitNotConfirmed);
    EXPECT_EQ(refused.err, "umbra: this would delete db@before: not done without --yes\n");
    EXPECT_EQ(umbra("snapshot delete db@before --yes").out, "deleted db@before\n");
    EXPECT_EQ(umbra("drive fail d1").out, "drive d1 is failed\n");
    EXPECT_EQ(umbra_json("lun show db")["health"], "failed-redundancy");
    EXPECT_EQ(umbra_json("array status")["state"], "degraded");
    EXPECT_EQ(umbra("lun recover db --wait").out, "task 2 (recover of db) done: db is healthy\n");
    const json drives = umbra_json("drive list");
    ASSERT_EQ(drives.size(), 6u);
    EXPECT_EQ(drives[1]["name"], "d1");
    EXPECT_EQ(drives[1]["state"], "failed");
    const json tasks = umbra_json("task list");
    ASSERT_EQ(tasks.size(), 2u);
    EXPECT_EQ(tasks[1]["state"], "done");
    EXPECT_EQ(tasks[1]["percent"], 100);
    EXPECT_THAT(umbra("task list").out, HasSubstr("db is healthy"));
    EXPECT_THAT(umbra("events").out, HasSubstr("drive.taken-out"));
    EXPECT_THAT(umbra("array status").out, HasSubstr("drives   5 of 6 online"));
}

TEST_F(UmbraTest, ListsArePlainTables) {
    ok("lun create a --size 1G --type simple");
    ok("lun create b --size 1G --type mirror");
    ok("snapshot create a b --name s");
    EXPECT_EQ(umbra("lun list").out,
              "NAME  KIND      TYPE     SIZE  MAPPED  HEALTH   ORIGIN  PRESENTED TO\n"
              "a     lun       simple  1 GiB     0 B  healthy  -       -\n"
              "a@s   snapshot  simple  1 GiB     0 B  healthy  a       -\n"
              "b     lun       mirror  1 GiB     0 B  healthy  -       -\n"
              "b@s   snapshot  mirror  1 GiB     0 B  healthy  b       -\n");
    EXPECT_EQ(umbra_json("snapshot list").size(), 2u);
    EXPECT_EQ(umbra_json("snapshot list b")[0]["name"], "b@s");
    EXPECT_EQ(umbra_json("session list").size(), 0u);
    EXPECT_THAT(umbra("drive list").out, HasSubstr("d5    online  4 GiB"));
}

TEST_F(UmbraTest, WhatDestroysAsks) {
    ok("lun create db --size 1G --type simple");
    EXPECT_EQ(umbra("lun delete db").status, kExitNotConfirmed);
    EXPECT_EQ(umbra("lun resize db --size 512M").status, kExitNotConfirmed);
    EXPECT_EQ(umbra("drive fail d0").status, kExitNotConfirmed);
    EXPECT_EQ(umbra_json("drive list")[0]["state"], "online");
    answer_ = "no";
    EXPECT_EQ(umbra("lun delete db").status, kExitNotConfirmed);
    EXPECT_THAT(questions_, ElementsAre("This will delete lun db (1 GiB) and its data. Type yes to go on: "));
    EXPECT_EQ(umbra_json("lun show db")["size_bytes"], 1073741824u);
    answer_ = "yes";
    ok("lun resize db --size 512M");
    EXPECT_EQ(umbra_json("lun show db")["size_bytes"], 536870912u);
    ok("lun delete db");
    EXPECT_EQ(umbra("lun show db").status, kExitNotFound);
    answer_.reset();
    ok("lun create db --size 1G --type simple");
    ok("drive fail d0 --yes");
    EXPECT_EQ(umbra_json("lun show db")["health"], "failed");
}

TEST_F(UmbraTest, ExitCodesTellWhatWentWrong) {
    EXPECT_EQ(umbra("").status, kExitUsage);
    EXPECT_EQ(umbra("nonsense").status, kExitUsage);
    EXPECT_EQ(umbra("lun create db --size 1G").status, kExitUsage);
    EXPECT_EQ(umbra("lun create db --size 1Q --type simple").status, kExitUsage);
    EXPECT_EQ(umbra("lun create db --size 1G --type raid17").status, kExitUsage);
    EXPECT_EQ(umbra("--help").status, 0);
    EXPECT_EQ(umbra("lun show nope").status, kExitNotFound);
    EXPECT_EQ(umbra("lun show nope").err, "umbra: not_found: no LUN or snapshot named nope\n");
    ok("lun create db --size 1G --type parity");
    EXPECT_EQ(umbra("lun create db --size 1G --type parity").status, kExitFailed);
    EXPECT_EQ(umbra("lun create wide --size 1G --type parity --width 7").status, kExitNoSpace);
    EXPECT_EQ(umbra("lun resync db --from db --wait").status, kExitUsage);
    EXPECT_EQ(umbra("snapshot delete db --yes").status, kExitUsage);
    EXPECT_EQ(umbra("task show 99").status, kExitNotFound);
    EXPECT_EQ(umbra("task wait 99").status, kExitNotFound);
    EXPECT_EQ(umbra("drive fail d9").status, kExitNotFound);
    EXPECT_EQ(umbra("--array tcp:1 lun list").status, kExitUsage);
}

TEST_F(UmbraTest, AFailedTaskFailsTheCommandThatWaited) {
    ok("lun create db --size 1G --type parity --width 6");
    ok("drive fail d1");
    EXPECT_EQ(umbra("array wait-ready").out, "array demo is ready (degraded)\n");
    const Outcome failed = umbra("lun recover db --wait");
    EXPECT_EQ(failed.status, kExitNoSpace);
    EXPECT_THAT(failed.err, HasSubstr("no_drive"));
    EXPECT_THAT(umbra("lun show db").out, HasSubstr("failed      task 1 (recover)"));
    // Not waited for, and over before the answer: told all the same.
    EXPECT_EQ(umbra("lun recover db").status, kExitNoSpace);
}

TEST_F(UmbraTest, ATaskIsWatchedAndCancelled) {
    ok("lun create db --size 1G --type parity");
    ok("snapshot create db --name s");
    server_.hold("resync");
    const Outcome started = umbra("lun resync db --from db@s");
    EXPECT_EQ(started.out, "task 1 (resync of db) runs; umbra task wait 1 waits for it\n");
    EXPECT_THAT(umbra("task show 1").out, HasSubstr("[........................]   0 %"));
    EXPECT_EQ(umbra("lun delete db --yes").status, kExitBusy);
    EXPECT_EQ(umbra("snapshot delete db@s --yes").status, kExitBusy);
    std::thread later([&] { server_.release(); });
    const Outcome cancelled = umbra("task cancel 1");
    later.join();
    // Either the cancellation came in time, or it says that it did not.
    EXPECT_EQ(cancelled.status == 0, umbra_json("task show 1")["state"] == "cancelled");
}

TEST_F(UmbraTest, MasksAreShownAndTakenAway) {
    ok("lun create db --size 1G --type simple");
    EXPECT_EQ(umbra("mask add db --initiator nonsense").status, kExitUsage);
    const Outcome added =
        umbra("mask add db --initiator iqn.2026-01.com.example:Host --target iqn.2026-01.com.example:t2");
    EXPECT_THAT(added.out, HasSubstr("127.0.0.1:3260 iqn.2026-01.com.example:t2 LUN 1"));
    const json lun = umbra_json("lun show db");
    EXPECT_EQ(lun["masks"][0]["initiator"], "iqn.2026-01.com.example:host");
    ok("mask remove db --initiator iqn.2026-01.com.example:host --target iqn.2026-01.com.example:t2");
    EXPECT_EQ(umbra_json("lun show db")["iscsi"].size(), 0u);
    EXPECT_EQ(umbra("mask remove db --initiator *").status, kExitNotFound);
}

}  // namespace
}  // namespace umbra::cli

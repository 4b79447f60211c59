#include "cli/diskshadow_shell.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>

#include "cli/diskshadow_text.h"
#include "cli/testing/fake_vss.h"

namespace umbra::cli::diskshadow {
namespace {

using ::testing::Contains;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using ::testing::Not;
using Calls = std::vector<std::string>;

constexpr auto kCanonicalDb = "\\\\?\\Volume{40000000-0000-4000-8000-000000000001}\\";

class ShellTest : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/umbra-dsh-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        directory_ = name;
        vss_.volumes["/srv/db"] = kCanonicalDb;
        vss_.volumes["/srv/log"] = "\\\\?\\Volume{40000000-0000-4000-8000-000000000002}\\";
    }
    void TearDown() override {
        EXPECT_EQ(vss_.objects, 0) << "an object was not released";
        std::filesystem::remove_all(directory_);
    }

    Services services() {
        Services out;
        out.create = [this](IVssBackupComponents** object) { return vss_.create(object); };
        out.last_error_text = [this] { return vss_.last_error_text; };
        out.write = [this](std::string_view text) { output_ += text; };
        out.now = [] { return time_t{1'700'000'000}; };
        out.host_name = "alpha.example.org";
        out.run_program = [this](const std::string& program,
                                 const std::vector<std::string>& environment) -> std::expected<int, std::string> {
            ran_ = program;
            ran_environment_ = environment;
            return program_status_;
        };
        out.mount_point_of = [](const std::string& path) {
            return path.starts_with("/srv/db/") ? std::string("/srv/db") : std::string();
        };
        out.directory = directory_;
        return out;
    }

    // One run of the program. The exit code; what it said is in output_, what it called in vss_.calls.
    int run(const std::string& script) {
        output_.clear();
        vss_.calls.clear();
        Variables variables(Variables::Environment{{"CAB", directory_ + "/set.cab"}, {"HOME", "/root"}});
        return Shell(services(), std::move(variables)).run_script(split_lines(script).value());
    }

    int interactive(std::vector<std::string> lines, bool attended = true) {
        output_.clear();
        vss_.calls.clear();
        std::ranges::reverse(lines);
        return Shell(services(), Variables(Variables::Environment{}))
            .run_interactive(
                [&](const std::string& prompt) -> std::optional<std::string> {
                    output_ += prompt;
                    if (lines.empty()) return std::nullopt;
                    auto line = lines.back();
                    lines.pop_back();
                    output_ += line + "\n";
                    return line;
                },
                attended);
    }

    testing::FakeVss vss_;
    std::string directory_;
    std::string output_;
    std::string ran_;
    std::vector<std::string> ran_environment_;
    int program_status_ = 0;
};

using FakeVss = testing::FakeVss;

TEST_F(ShellTest, ATransportableBackupMakesTheCallsInOrder) {
    EXPECT_EQ(run("set context persistent\nset option transportable\nset metadata %CAB%\n"
                  "add volume /srv/db alias db\nbegin backup\ncreate\nend backup\n"),
              0)
        << output_;
    EXPECT_THAT(vss_.calls, ElementsAre("CreateVssBackupComponents", "InitializeForBackup", "SetContext 0x29",
                                        "IsVolumeSupported /srv/db", "SetBackupState full", "GatherWriterMetadata",
                                        "StartSnapshotSet", "AddToSnapshotSet /srv/db", "PrepareForBackup",
                                        "DoSnapshotSet", "SaveAsXML", "BackupComplete"));
    const auto metadata = load_cab(directory_ + "/set.cab");
    ASSERT_TRUE(metadata) << metadata.error().text();
    ASSERT_EQ(metadata->shadows.size(), 1U);
    EXPECT_EQ(metadata->shadows[0].volume, "/srv/db");
    EXPECT_THAT(metadata->aliases, Contains(Alias{"db", metadata->shadows[0].id.braced()}));
    EXPECT_THAT(metadata->aliases, Contains(Alias{"VSS_SHADOW_SET", metadata->set.braced()}));
}

TEST_F(ShellTest, ImportExposeOnAnotherHostFromTheFileAlone) {
    ASSERT_EQ(run("set context persistent\nset option transportable\nset metadata %CAB%\n"
                  "add volume /srv/db alias db\ncreate\n"),
              0);
    vss_.machine = "beta.example.org";
    vss_.volumes.clear();
    EXPECT_EQ(run("load metadata %CAB%\nimport\nexpose %db% /mnt/copy\n"), 0) << output_;
    EXPECT_THAT(vss_.calls,
                ElementsAre("CreateVssBackupComponents", "InitializeForBackup document", "SetContext 0xffffffff",
                            "ImportSnapshots", "CreateVssBackupComponents", "InitializeForBackup",
                            "SetContext 0xffffffff", "ExposeSnapshot locally /mnt/copy"));
    EXPECT_THAT(output_, HasSubstr("The shadow copy was successfully exposed as /mnt/copy.\n"));
    EXPECT_THAT(output_, HasSubstr("[volume not on this machine]"));
    EXPECT_THAT(output_, HasSubstr("\t%db%\n"));
    EXPECT_EQ(vss_.shadows.size(), 1U);
}

TEST_F(ShellTest, APartialImportFailsTheScript) {
    ASSERT_EQ(run("set option transportable\nset metadata %CAB%\nadd volume /srv/db alias db\ncreate\n"), 0);
    vss_.failures["ImportSnapshots.async"] = VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED;
    EXPECT_EQ(run("load metadata %CAB%\nimport\nexpose %db% /mnt/copy\n"), 1);
    EXPECT_THAT(output_, HasSubstr("\t- Error text: VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED\n"));
    EXPECT_THAT(vss_.calls, Not(Contains("ExposeSnapshot locally /mnt/copy")));
    vss_.failures["ImportSnapshots.async"] = VSS_E_NO_SNAPSHOTS_IMPORTED;
    EXPECT_EQ(run("load metadata %CAB%\nimport\n"), 1);
    EXPECT_THAT(output_, HasSubstr("umbra shadow cleanup "));
    EXPECT_THAT(output_, HasSubstr("would destroy the shadow copies"));
}

TEST_F(ShellTest, ASecondImportDoesNotAdviseToDeleteWhatTheFirstImported) {
    ASSERT_EQ(run("set option transportable\nset metadata %CAB%\nadd volume /srv/db alias db\ncreate\n"), 0);
    vss_.failures["ImportSnapshots"] = VSS_E_BAD_STATE;
    EXPECT_EQ(run("load metadata %CAB%\nimport\n"), 1);
    EXPECT_THAT(output_, HasSubstr("VSS_E_BAD_STATE"));
    EXPECT_THAT(output_, Not(HasSubstr("DELETE SHADOWS")));
    EXPECT_THAT(output_, Not(HasSubstr("cleanup")));
}

TEST_F(ShellTest, EndBackupGoesByTheContextOfItsSet) {
    EXPECT_EQ(run("begin backup\nadd volume /srv/db alias db\ncreate\nset context volatile nowriters\nend backup\n"), 0)
        << output_;
    EXPECT_EQ(vss_.calls.back(), "BackupComplete");
    vss_.calls.clear();
    EXPECT_EQ(run("reset\nset context volatile nowriters\nbegin backup\nadd volume /srv/db alias db\ncreate\n"
                  "set context volatile\nend backup\n"),
              0)
        << output_;
    EXPECT_THAT(vss_.calls, Not(Contains("BackupComplete")));
}

TEST_F(ShellTest, AScriptStopsAtTheFirstFailure) {
    vss_.failures["DoSnapshotSet.async"] = VSS_E_PROVIDER_VETO;
    EXPECT_EQ(run("begin backup\nadd volume /srv/db\ncreate\nlist shadows all\n"), 1);
    EXPECT_THAT(output_, HasSubstr("The last operation failed.\n\t- Returned HRESULT: 80042306\n"
                                   "\t- Error text: VSS_E_PROVIDER_VETO\n"
                                   "Note: END BACKUP was not commanded, writers not notified BackupComplete.\n"
                                   "DiskShadow is exiting.\n"));
    EXPECT_THAT(output_, Not(HasSubstr("list shadows")));
    EXPECT_FALSE(output_.ends_with("->\n"));
    EXPECT_EQ(vss_.calls.back(), "AbortBackup");
    EXPECT_TRUE(std::filesystem::is_empty(directory_));
}

// Every call that CREATE makes, failed in turn: an error, an abort, no file, nothing left behind.
TEST_F(ShellTest, EachFailingCallOfCreateAbortsTheSet) {
    for (const char* call :
         {"SetBackupState", "GatherWriterMetadata", "GatherWriterMetadata.async", "StartSnapshotSet",
          "AddToSnapshotSet", "PrepareForBackup", "PrepareForBackup.async", "DoSnapshotSet", "DoSnapshotSet.async"}) {
        vss_.failures = {{call, VSS_E_UNEXPECTED}};
        EXPECT_EQ(run("add volume /srv/db\nadd volume /srv/log\ncreate\n"), 1) << call;
        EXPECT_THAT(output_, HasSubstr("\t- Error text: VSS_E_UNEXPECTED\n")) << call;
        EXPECT_EQ(vss_.calls.back(), "AbortBackup") << call;
        EXPECT_TRUE(std::filesystem::is_empty(directory_)) << call;
        EXPECT_THAT(vss_.shadows, IsEmpty()) << call;
    }
}

TEST_F(ShellTest, AfterAFailedCreateTheVolumesAreStillThere) {
    vss_.failures["DoSnapshotSet.async"] = VSS_E_INSUFFICIENT_STORAGE;
    EXPECT_EQ(interactive({"set context persistent", "set option plex", "add volume /srv/db", "create"}), 0);
    EXPECT_THAT(output_, HasSubstr("VSS_E_INSUFFICIENT_STORAGE"));
    // The same again, with the failure gone between two commands.
    output_.clear();
    vss_.calls.clear();
    std::vector<std::string> lines = {"create", "set option differential", "create", "add volume /srv/db",
                                      "set context persistent"};
    Shell(services(), Variables(Variables::Environment{}))
        .run_interactive(
            [&](const std::string&) -> std::optional<std::string> {
                if (lines.size() == 2) vss_.failures.clear();
                if (lines.empty()) return std::nullopt;
                auto line = lines.back();
                lines.pop_back();
                return line;
            },
            true);
    EXPECT_EQ(vss_.shadows.size(), 1U);
    EXPECT_THAT(vss_.calls, Contains("SetContext 0x20009"));
}

TEST_F(ShellTest, NothingIsCreatedWhenTheFileCannotBeWritten) {
    EXPECT_EQ(run("set metadata /proc/x.cab\n"), 1);
    EXPECT_THAT(output_, HasSubstr("The metadata file name path specifies a directory that is read-only.\n"));
    EXPECT_EQ(run("set metadata " + directory_ + "\n"), 1);
    EXPECT_THAT(output_, HasSubstr("No filename was specified.\n"));
    // The directory goes between SET METADATA and CREATE.
    std::filesystem::create_directory(directory_ + "/sub");
    std::vector<std::string> lines = {"create", "add volume /srv/db", "set metadata sub/x.cab"};
    output_.clear();
    vss_.calls.clear();
    Shell(services(), Variables(Variables::Environment{}))
        .run_interactive(
            [&](const std::string&) -> std::optional<std::string> {
                if (lines.empty()) return std::nullopt;
                if (lines.size() == 1) std::filesystem::remove_all(directory_ + "/sub");
                auto line = lines.back();
                lines.pop_back();
                return line;
            },
            true);
    EXPECT_THAT(output_, HasSubstr("does not exist."));
    EXPECT_THAT(vss_.calls, Not(Contains("StartSnapshotSet")));
}

TEST_F(ShellTest, VolatileCopiesGoWhenTheShellGoes) {
    EXPECT_EQ(run("add volume /srv/db\ncreate\nlist shadows all\n"), 0);
    EXPECT_THAT(output_, HasSubstr("Number of shadow copies listed: 1\n->\n"));
    EXPECT_THAT(vss_.shadows, IsEmpty());
    EXPECT_EQ(
        run("add volume /srv/db\ncreate\nadd volume /srv/log\ncreate\nlist shadows all\nreset\nlist shadows all\n"), 0);
    EXPECT_THAT(output_, HasSubstr("Number of shadow copies listed: 2\n"));
    EXPECT_THAT(output_, HasSubstr("Number of shadow copies listed: 0\n"));
}

TEST_F(ShellTest, WithoutWritersTheirEventsAreNotSent) {
    EXPECT_EQ(run("set context volatile nowriters\nbegin backup\nadd volume /srv/db\ncreate\nend backup\n"), 0);
    EXPECT_THAT(vss_.calls, Not(Contains("GatherWriterMetadata")));
    EXPECT_THAT(vss_.calls, Not(Contains("PrepareForBackup")));
    EXPECT_THAT(vss_.calls, Not(Contains("BackupComplete")));
    EXPECT_THAT(vss_.calls, Contains("SetContext 0x10"));
}

TEST_F(ShellTest, ContextsAndOptionsAreThoseOfVss) {
    const std::vector<std::pair<std::string, std::string>> cases = {
        {"set context clientaccessible", "0x1d"},
        {"SET CONTEXT PERSISTENT", "0x9"},
        {"set Context persistent NoWriters", "0x19"},
        {"set context volatile", "0x0"},
        {"set context volatile nowriters", "0x10"},
        {"set context persistent\nset context volatile", "0x0"},
        {"set option differential", "0x20000"},
        {"set option plex transportable", "0x40020"},
        {"set option rollbackrecover txfrecover", "0x2800000"},
        {"set option noautorecover", "0x2"},
        {"set option differential\nset option noautorecover", "0x20002"},
        {"set option differential\nset option plex", "0x40000"},
        {"set option rollbackrecover\nset option noautorecover", "0x2"},
    };
    for (const auto& [lines, context] : cases) {
        EXPECT_EQ(run(lines + "\nadd volume /srv/db\n"), 0) << lines;
        EXPECT_THAT(vss_.calls, Contains(context == "0x0" ? "SetContext 0x0" : "SetContext " + context)) << lines;
    }
    for (const char* wrong : {"set context", "set context transportable", "set context nowriters", "set option",
                              "set option differential plex", "set option noautorecover txfrecover", "set option quick",
                              "set verbose", "set verbose maybe", "set metadata", "set colour"}) {
        EXPECT_EQ(run(wrong), 1) << wrong;
        EXPECT_THAT(output_, HasSubstr("Example: SET ")) << wrong;
    }
}

TEST_F(ShellTest, WrongWordsGiveHelpAndChangeNothing) {
    for (const char* wrong : {"add",
                              "add volume",
                              "add volume /srv/db alias",
                              "add volume /srv/db colour red",
                              "add alias x",
                              "add shadow",
                              "begin",
                              "begin party",
                              "end",
                              "create now",
                              "exec",
                              "exec a b",
                              "load",
                              "load metadata",
                              "import x",
                              "expose",
                              "expose {x}",
                              "unexpose",
                              "mask",
                              "break",
                              "break fast x",
                              "revert",
                              "resync fast",
                              "list",
                              "list shadows",
                              "list shadows set",
                              "list providers all",
                              "list writers all",
                              "delete",
                              "delete shadows",
                              "delete shadows all now",
                              "delete shadows exposed",
                              "writer",
                              "writer verify",
                              "simulate",
                              "reset all",
                              "exit now",
                              "frobnicate",
                              "expose x y",
                              "mask %HOME%",
                              "create \"x"}) {
        const int code = run(wrong);
        EXPECT_EQ(code, std::string(wrong) == "add" ? 0 : 1) << wrong;
        for (const auto& call : vss_.calls)
            EXPECT_TRUE(call == "CreateVssBackupComponents" || call == "InitializeForBackup" ||
                        call.starts_with("SetContext"))
                << wrong << ": " << call;
    }
}

TEST_F(ShellTest, UndefinedNamesStopTheScriptBeforeTheCommandRuns) {
    EXPECT_EQ(run("set metadata %DISKSH_PARAM_2%\n"), 1);
    EXPECT_THAT(output_, HasSubstr("%DISKSH_PARAM_2% is neither an alias nor an environment variable"));
    EXPECT_TRUE(std::filesystem::is_empty(directory_));
    EXPECT_EQ(run("# a comment may say %anything%\n"), 0);
}

TEST_F(ShellTest, TheSameVolumeTwiceIsAnError) {
    EXPECT_EQ(run("add volume /srv/db\nadd volume /srv/db/\n"), 1);
    EXPECT_EQ(run("add volume /srv/db\nadd volume /srv/db\n"), 1);
    EXPECT_THAT(output_, HasSubstr("The volume /srv/db has already been added.\n"));
    EXPECT_EQ(run("add volume /srv/db alias a\nadd volume /srv/log alias A\n"), 1);
}

TEST_F(ShellTest, APathOnAVolumeNamesTheVolume) {
    EXPECT_EQ(run("add volume /srv/db/data/base alias db\nadd\n"), 0);
    EXPECT_THAT(output_, HasSubstr("Volume /srv/db alias db    GUID "));
    EXPECT_EQ(run("add volume /nowhere\n"), 1);
    EXPECT_THAT(output_, HasSubstr("VSS_E_OBJECT_NOT_FOUND"));
}

TEST_F(ShellTest, UnsupportedVolumesAreRefusedWhenAdded) {
    vss_.unsupported.insert("/srv/db");
    EXPECT_EQ(run("add volume /srv/db\n"), 1);
    EXPECT_THAT(output_, HasSubstr("\t- Error text: VSS_E_VOLUME_NOT_SUPPORTED\n"));
    EXPECT_EQ(run("add volume /srv/db provider {10000000-0000-4000-8000-00000000000a}\n"), 1);
    EXPECT_THAT(output_, HasSubstr("\t- Error text: VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER\n"));
    EXPECT_EQ(run("add volume \\\\server\\share\n"), 1);
    EXPECT_THAT(output_, HasSubstr("network shares are not offered"));
}

TEST_F(ShellTest, TheCauseIsShownWhereTheLibraryKnowsIt) {
    vss_.failures["IsVolumeSupported"] = E_ACCESSDENIED;
    vss_.last_error_text = "only root and members of the group umbra may";
    EXPECT_EQ(run("add volume /srv/db\n"), 1);
    EXPECT_THAT(output_, HasSubstr("\t- Error text: E_ACCESSDENIED\n\t- Cause: only root and members"));
    vss_.failures = {{"CreateVssBackupComponents", E_FAIL}};
    EXPECT_EQ(run("list shadows all\n"), 1);
    EXPECT_THAT(output_, HasSubstr("COM call \"CreateVssBackupComponents\" failed.\n"));
}

TEST_F(ShellTest, EndBackupWithoutBeginIsOnlyANote) {
    EXPECT_EQ(run("end backup\nadd volume /srv/db\ncreate\nend backup\n"), 0);
    EXPECT_THAT(vss_.calls, Contains("SetBackupState copy"));
    EXPECT_THAT(vss_.calls, Not(Contains("BackupComplete")));
    EXPECT_EQ(run("begin backup\nend backup\n"), 1);
    EXPECT_EQ(run("begin backup\nbegin backup\n"), 1);
    EXPECT_EQ(run("begin backup\nadd volume /srv/db\ncreate\nadd volume /srv/log\n"), 1);
    EXPECT_EQ(run("begin backup\nadd volume /srv/db\ncreate\nexit\n"), 0);
    EXPECT_TRUE(output_.ends_with("BackupComplete.\nDiskShadow is exiting.\n"));
}

TEST_F(ShellTest, ExecGivesAliasesToTheChildAndItsFailureEndsTheShell) {
    EXPECT_EQ(run("add volume /srv/db alias db\ncreate\nexec ./copy.sh\n"), 0);
    EXPECT_EQ(ran_, "./copy.sh");
    EXPECT_THAT(ran_environment_, Contains(HasSubstr("db={30000000-")));
    EXPECT_THAT(ran_environment_, Contains(HasSubstr("VSS_SHADOW_SET={30000000-")));
    program_status_ = 3;
    EXPECT_EQ(interactive({"exec ./copy.sh", "set verbose on"}), 1);
    EXPECT_THAT(output_, HasSubstr("./copy.sh ended with exit code 3."));
    EXPECT_THAT(output_, Not(HasSubstr("set verbose on")));
}

TEST_F(ShellTest, InteractiveModeGoesOnAfterErrors) {
    EXPECT_EQ(interactive({"frobnicate", "add alias x {1}", "add alias y %x%", "add"}), 0);
    EXPECT_THAT(output_, HasSubstr("\nDISKSHADOW> add alias y %x%\n-> %x% = {1}\n"));
    EXPECT_THAT(output_, HasSubstr("Alias x = {1}\nAlias y = {1}\n"));
    EXPECT_EQ(interactive({"frobnicate"}, false), 1);
    EXPECT_EQ(interactive({"set", "exit", "frobnicate"}, false), 0);
}

class RestoreTest : public ShellTest {
protected:
    void SetUp() override {
        ShellTest::SetUp();
        ASSERT_EQ(run("set context persistent\nset option transportable\nset metadata %CAB%\n"
                      "add volume /srv/db alias db\ncreate\n"),
                  0);
    }
};

TEST_F(RestoreTest, ResyncWritesBackThroughTheRecoverySet) {
    EXPECT_EQ(run("load metadata %CAB%\nadd shadow %db%\nresync\n"), 0) << output_;
    EXPECT_THAT(vss_.calls, ElementsAre("CreateVssBackupComponents", "InitializeForRestore",
                                        "AddSnapshotToRecoverySet NULL", "RecoverSet 0x0"));
    EXPECT_EQ(run("load metadata %CAB%\nadd shadow %db% /srv/log\nresync revert_originalsig NOVOLCHECK\n"), 0);
    EXPECT_THAT(vss_.calls, Contains("AddSnapshotToRecoverySet /srv/log"));
    EXPECT_THAT(vss_.calls, Contains("RecoverSet 0x300"));
}

TEST_F(RestoreTest, ResyncWithinARestoreKeepsTheObject) {
    EXPECT_EQ(run("load metadata %CAB%\nimport\nbegin restore\nadd shadow %db%\nresync\nend restore\n"), 0) << output_;
    const Calls tail(vss_.calls.end() - 6, vss_.calls.end());
    EXPECT_THAT(tail, ElementsAre("InitializeForRestore", "GatherWriterMetadata", "PreRestore",
                                  "AddSnapshotToRecoverySet NULL", "RecoverSet 0x0", "PostRestore"));
}

TEST_F(RestoreTest, ResyncNeedsMetadataAndShadows) {
    EXPECT_EQ(run("resync\n"), 1);
    EXPECT_EQ(run("load metadata %CAB%\nresync\n"), 1);
    EXPECT_EQ(run("add shadow {30000000-0000-4000-8000-000000000002}\n"), 1);
    EXPECT_EQ(run("end restore\n"), 1);
    EXPECT_EQ(run("import\n"), 1);
    EXPECT_THAT(output_, HasSubstr("LOAD METADATA has to come first."));
}

TEST_F(RestoreTest, AFailedResyncCanBeTriedAgainWithoutTheCheck) {
    vss_.failures["RecoverSet"] = VSS_E_UNSELECTED_VOLUME;
    EXPECT_EQ(run("load metadata %CAB%\nadd shadow %db%\nresync\n"), 1);
    EXPECT_THAT(output_, HasSubstr("VSS_E_UNSELECTED_VOLUME"));
    EXPECT_EQ(interactive({"load metadata set.cab", "add shadow %db%", "resync", "resync novolcheck"}), 0);
    EXPECT_EQ(std::ranges::count(vss_.calls, "RecoverSet 0x0"), 1);
    EXPECT_EQ(std::ranges::count(vss_.calls, "RecoverSet 0x200"), 1);
    EXPECT_EQ(std::ranges::count(vss_.calls, "InitializeForRestore"), 1);
}

TEST_F(RestoreTest, BreakMaskRevert) {
    EXPECT_EQ(run("load metadata %CAB%\nimport\nbreak %VSS_SHADOW_SET%\n"), 0);
    EXPECT_EQ(vss_.calls.back(), "BreakSnapshotSet");
    EXPECT_THAT(vss_.shadows, IsEmpty());
    ASSERT_EQ(run("set context persistent\nset option transportable\nset metadata %CAB%\nadd volume /srv/db\ncreate\n"),
              0);
    EXPECT_EQ(run("load metadata %CAB%\nimport\nbreak writable %VSS_SHADOW_SET%\n"), 0);
    EXPECT_EQ(vss_.calls.back(), "BreakSnapshotSetEx 0x2");
    ASSERT_EQ(run("set context persistent\nset option transportable\nset metadata %CAB%\nadd volume /srv/db\ncreate\n"),
              0);
    EXPECT_EQ(run("load metadata %CAB%\nimport\nmask %Import_1%\n"), 0);
    EXPECT_EQ(vss_.calls.back(), "BreakSnapshotSetEx 0x1");
    ASSERT_EQ(run("set context persistent\nset metadata %CAB%\nadd volume /srv/db alias db\ncreate\nrevert %db%\n"), 0);
    EXPECT_THAT(vss_.calls, Contains("RevertToSnapshot"));
    EXPECT_EQ(vss_.calls.back(), std::string("QueryRevertStatus ") + kCanonicalDb);
}

TEST_F(ShellTest, ExposeAndUnexpose) {
    ASSERT_EQ(run("set context persistent\nset metadata %CAB%\nadd volume /srv/db alias db\ncreate\n"
                  "expose %db% \"my copy/x\"\nlist shadows id %db%\nunexpose \"my copy/x/\"\nlist shadows id %db%\n"
                  "expose %db% share1\nunexpose share1\nexpose %db% z:\nunexpose %db%\n"),
              0)
        << output_;
    EXPECT_THAT(vss_.calls, Contains("ExposeSnapshot locally " + directory_ + "/my copy/x"));
    EXPECT_THAT(vss_.calls, Contains("ExposeSnapshot remotely share1"));
    EXPECT_THAT(vss_.calls, Contains("ExposeSnapshot locally z:"));
    EXPECT_THAT(output_, HasSubstr("- Exposed locally as: " + directory_ + "/my copy/x\n"));
    EXPECT_THAT(output_, HasSubstr("- Not exposed\n"));
    EXPECT_EQ(run("unexpose /mnt/nothing\n"), 1);
}

class DeleteTest : public ShellTest {
protected:
    void SetUp() override {
        ShellTest::SetUp();
        for (int i = 0; i < 2; ++i) {
            ASSERT_EQ(
                run("set context persistent\nset metadata %CAB%\nadd volume /srv/db alias db\nadd volume /srv/log\n"
                    "create\nexpose %db% /mnt/" +
                    std::to_string(i) + "\n"),
                0);
        }
        ASSERT_EQ(vss_.shadows.size(), 4U);
    }
};

TEST_F(DeleteTest, All) {
    EXPECT_EQ(run("delete shadows all\n"), 0);
    EXPECT_THAT(vss_.shadows, IsEmpty());
    EXPECT_THAT(output_, HasSubstr("\nNumber of shadow copies deleted: 4\n"));
    EXPECT_THAT(output_, HasSubstr("Deleting shadow copy {30000000-0000-4000-8000-000000000002} on volume "
                                   "\\\\?\\Volume{40000000-0000-4000-8000-000000000001}\\ from provider "
                                   "{10000000-0000-4000-8000-00000000000a} [Attributes: 0x00130009]...\n"));
    EXPECT_EQ(run("delete shadows all\n"), 0);
    EXPECT_THAT(output_, HasSubstr("Number of shadow copies deleted: 0\n"));
}

TEST_F(DeleteTest, VolumeOldestSetIdExposed) {
    const std::string volume = kCanonicalDb;
    EXPECT_EQ(run("delete shadows oldest " + volume + "\n"), 0) << output_;
    ASSERT_EQ(vss_.shadows.size(), 3U);
    EXPECT_EQ(std::ranges::count(vss_.shadows, "/mnt/0", &testing::FakeShadow::exposed), 0);
    EXPECT_EQ(run("delete shadows exposed /mnt/1/\ndelete shadows exposed /mnt/1\n"), 0);
    EXPECT_EQ(vss_.shadows.size(), 2U);
    EXPECT_EQ(run("delete shadows volume " + volume + "\n"), 0);
    EXPECT_EQ(vss_.shadows.size(), 2U);
    EXPECT_EQ(run("delete shadows id " + vss_.shadows[0].id.braced() + "\n"), 0);
    EXPECT_EQ(run("delete shadows set " + vss_.shadows[0].set.braced() + "\n"), 0);
    EXPECT_THAT(vss_.shadows, IsEmpty());
    EXPECT_EQ(run("delete shadows set {30000000-0000-4000-8000-000000000001}\n"), 1);
    EXPECT_EQ(run("delete shadows id {30000000-0000-4000-8000-000000000001}\n"), 1);
    EXPECT_EQ(run("delete shadows volume /srv/db\n"), 1);
}

TEST_F(DeleteTest, StopsAtTheFirstThatFailsAndSaysWhich) {
    vss_.failures["DeleteSnapshots"] = VSS_E_PROVIDER_VETO;
    EXPECT_EQ(run("delete shadows all\n"), 1);
    EXPECT_THAT(output_, HasSubstr("Number of shadow copies deleted: 0\n"));
    EXPECT_THAT(output_, HasSubstr("The shadow copy {30000000-0000-4000-8000-000000000002} was not deleted.\n"));
    EXPECT_EQ(std::ranges::count(vss_.calls, "DeleteSnapshots"), 1);
    EXPECT_EQ(vss_.shadows.size(), 4U);
}

}  // namespace
}  // namespace umbra::cli::diskshadow

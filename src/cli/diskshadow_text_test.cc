#include "cli/diskshadow_text.h"

#include <gtest/gtest.h>

#include <algorithm>

#include "cli/diskshadow_codes.h"
#include "cli/diskshadow_help.h"
#include "cli/diskshadow_print.h"
#include "cli/diskshadow_variables.h"
#include "vsserror.h"

namespace umbra::cli::diskshadow {
namespace {

using Lines = std::vector<std::string>;

TEST(SplitLines, EndsMayBeLfOrCrlfOrMissing) {
    EXPECT_EQ(*split_lines(""), Lines{});
    EXPECT_EQ(*split_lines("a"), Lines{"a"});
    EXPECT_EQ(*split_lines("a\n"), Lines{"a"});
    EXPECT_EQ(*split_lines("a\r\nb\nc"), (Lines{"a", "b", "c"}));
    EXPECT_EQ(*split_lines("create\r\n\r\n \nexit"), (Lines{"create", "", " ", "exit"}));
    EXPECT_EQ(*split_lines("\xef\xbb\xbfset\n"), Lines{"set"});
}

TEST(SplitLines, RefusesWhatIsNotText) {
    EXPECT_FALSE(
        split_lines(std::string_view("\xff\xfe"
                                     "a\0",
                                     4)));
    EXPECT_FALSE(split_lines(std::string_view("a\0b", 3)));
    EXPECT_FALSE(split_lines(std::string(kMaxLineBytes + 1, 'x')));
    EXPECT_TRUE(split_lines(std::string(kMaxLineBytes, 'x')));
    EXPECT_FALSE(split_lines(std::string(kMaxScriptBytes + 1, '\n')));
}

TEST(SplitWords, QuotesGroup) {
    EXPECT_EQ(*split_words("  expose\t\"a b\" c"), (Lines{"expose", "a b", "c"}));
    EXPECT_EQ(*split_words("x\"y z\"w"), Lines{"xy zw"});
    EXPECT_EQ(*split_words("a \"\""), (Lines{"a", ""}));
    EXPECT_EQ(*split_words(""), Lines{});
    EXPECT_FALSE(split_words("a \"b"));
}

TEST(SplitWords, AnyLineEitherFailsOrKeepsEveryOtherCharacter) {
    // Every line of up to six characters of this alphabet.
    const std::string alphabet = "a\" \t#";
    for (size_t length = 0; length <= 6; ++length) {
        std::vector<size_t> digits(length, 0);
        while (true) {
            std::string line;
            for (const size_t d : digits) line += alphabet[d];
            const auto words = split_words(line);
            const auto quotes = std::ranges::count(line, '"');
            ASSERT_EQ(words.has_value(), quotes % 2 == 0) << line;
            if (words) {
                std::string joined;
                for (const auto& word : *words) joined += word;
                std::string letters;
                std::string joined_letters;
                for (const char c : line) letters += c == 'a' || c == '#' ? std::string(1, c) : "";
                for (const char c : joined) joined_letters += c == 'a' || c == '#' ? std::string(1, c) : "";
                ASSERT_EQ(joined_letters, letters) << line;
            }
            size_t i = 0;
            while (i < length && ++digits[i] == alphabet.size()) digits[i++] = 0;
            if (i == length) break;
        }
    }
}

std::optional<std::string> lookup(std::string_view name) {
    if (same_word(name, "db")) return "{guid}";
    if (name == "03_14_2023__10_11_12_log") return "x%db%";
    return std::nullopt;
}

TEST(Expand, ReplacesNamesOnceAndTellsWhich) {
    const auto expanded = expand("expose %DB% /mnt/%03_14_2023__10_11_12_log%", lookup);
    ASSERT_TRUE(expanded);
    EXPECT_EQ(expanded->line, "expose {guid} /mnt/x%db%");
    ASSERT_EQ(expanded->substitutions.size(), 2U);
    EXPECT_EQ(expanded->substitutions[0].name, "DB");
    EXPECT_EQ(expanded->substitutions[0].value, "{guid}");
}

TEST(Expand, PercentSignsThatNameNothingStay) {
    EXPECT_EQ(expand("100% of %", lookup)->line, "100% of %");
    EXPECT_EQ(expand("%%", lookup)->line, "%%");
    EXPECT_EQ(expand("50% %db%", lookup)->line, "50% {guid}");
}

TEST(Expand, AnUnknownNameIsAnError) {
    const auto expanded = expand("delete shadows set %SETT%", lookup);
    ASSERT_FALSE(expanded);
    EXPECT_EQ(expanded.error().code, base::Code::kNotFound);
}

TEST(Variables, AliasesHideTheEnvironmentAndIgnoreCase) {
    Variables variables(Variables::Environment{{"TEMP", "/tmp"}, {"Path", "a"}, {"PATH", "b"}});
    EXPECT_EQ(variables.get("TEMP"), "/tmp");
    EXPECT_EQ(variables.get("temp"), "/tmp");
    EXPECT_EQ(variables.get("PATH"), "b");
    variables.set_alias("Temp", "{1}");
    EXPECT_EQ(variables.get("TEMP"), "{1}");
    variables.set_alias("TEMP", "{2}");
    EXPECT_EQ(variables.aliases(), (std::vector<Alias>{{"TEMP", "{2}"}}));
    EXPECT_EQ(variables.alias_of("{2}"), "TEMP");
    variables.clear_aliases();
    EXPECT_EQ(variables.get("TEMP"), "/tmp");
    variables.set_parameter(2, "x y");
    EXPECT_EQ(variables.get("diskSH_param_2"), "x y");
}

TEST(Variables, AFileCannotChangeWhatChildrenInherit) {
    const std::string guid = "{3f2504e0-4f89-41d3-9a0c-0305e82c3301}";
    Variables variables(Variables::Environment{{"PATH", "/bin"}});
    EXPECT_FALSE(variables.load_alias("Path", "/evil"));
    EXPECT_FALSE(variables.load_alias("PATH", guid));
    EXPECT_FALSE(variables.load_alias("PATH", "/evil"));
    EXPECT_TRUE(variables.load_alias("LD_PRELOAD", "/evil.so"));
    EXPECT_TRUE(variables.load_alias("db", guid));
    variables.set_alias("typed", "anything");
    EXPECT_EQ(variables.get("LD_PRELOAD"), "/evil.so");
    EXPECT_EQ(variables.child_environment(), (std::vector<std::string>{"PATH=/bin", "db=" + guid, "typed=anything"}));
}

TEST(Codes, KnowNames) {
    EXPECT_EQ(code_name(VSS_E_PROVIDER_VETO), "VSS_E_PROVIDER_VETO");
    EXPECT_EQ(code_number(VSS_E_PROVIDER_VETO), "80042306");
    EXPECT_EQ(code_name(VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED), "VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED");
    EXPECT_EQ(code_name(VSS_E_FSS_TIMEOUT), "VSS_E_FSS_TIMEOUT");
    EXPECT_EQ(code_name(E_ACCESSDENIED), "E_ACCESSDENIED");
    EXPECT_EQ(code_number(S_OK), "00000000");
}

TEST(Help, BlocksHaveTheDocumentedForm) {
    EXPECT_EQ(help_of("end"),
              "END { BACKUP | RESTORE }\n\n"
              "        BACKUP                  Ends a full backup.\n"
              "        RESTORE                 Ends a restore.\n\n"
              "        Example: END BACKUP\n");
    EXPECT_TRUE(
        help_of("set context")
            .starts_with("SET CONTEXT { CLIENTACCESSIBLE | PERSISTENT [ NOWRITERS ] | VOLATILE [ NOWRITERS ] }\n\n"));
    EXPECT_EQ(help_of("nonsense"), "");
    EXPECT_NE(help_overview().find("        RESYNC "), std::string::npos);
}

TEST(Help, CompletesTheWordThatIsTyped) {
    EXPECT_EQ(completions("cr"), Lines{"create"});
    EXPECT_EQ(completions("SET CON"), Lines{"context"});
    EXPECT_EQ(completions("set context "), (Lines{"clientaccessible", "persistent", "volatile"}));
    EXPECT_EQ(completions("list shadows "), (Lines{"all", "id", "set"}));
    EXPECT_EQ(completions("create x"), Lines{});
}

TEST(Print, AttributeWordsComeInTheOrderOfWindows) {
    EXPECT_EQ(attribute_words(0x9 | 0x10 | 0x20000), " No_Auto_Release Persistent No_Writers Differential");
    EXPECT_EQ(attribute_words(0x20000), " Auto_Release Differential");
    EXPECT_EQ(attribute_words(0x4000000), " Auto_Release FileShare");
    EXPECT_EQ(attribute_words(0x9 | 0x20 | 0x10000 | 0x40000 | 0x80000),
              " Transportable No_Auto_Release Persistent Hardware Imported Plex");
    EXPECT_EQ(attribute_words(0x1d), " No_Auto_Release Persistent Client_accessible No_Writers");
}

TEST(Print, HostNamesAreShort) {
    EXPECT_EQ(short_host_name("alpha.example.org"), "ALPHA");
    EXPECT_EQ(short_host_name("a-very-long-host-name"), "A-VERY-LONG-HOS");
}

TEST(Print, AllFailuresHaveNumberAndName) {
    EXPECT_EQ(failure_text({"IVssBackupComponents::DoSnapshotSet", VSS_E_PROVIDER_VETO, "the array is full"}),
              "COM call \"IVssBackupComponents::DoSnapshotSet\" failed.\n"
              "The last operation failed.\n"
              "\t- Returned HRESULT: 80042306\n"
              "\t- Error text: VSS_E_PROVIDER_VETO\n"
              "\t- Cause: the array is full\n");
}

}  // namespace
}  // namespace umbra::cli::diskshadow

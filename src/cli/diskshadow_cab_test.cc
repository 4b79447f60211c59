#include "cli/diskshadow_cab.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "base/bytes.h"
#include "cli/diskshadow_cabinet.h"

namespace umbra::cli::diskshadow {
namespace {

using base::Code;
using base::Guid;

Metadata sample() {
    Metadata out;
    out.set = *Guid::parse("{3f2504e0-4f89-41d3-9a0c-0305e82c3301}");
    out.machine = "alpha.example.org";
    out.shadows = {{*Guid::parse("{3f2504e0-4f89-41d3-9a0c-0305e82c3302}"), "/srv/db & <more>"}};
    out.document = "<BCD>gr\xc3\xbc\xc3\x9f dich</BCD>";
    out.writer_metadata = {"<W a=\"1\"/>", ""};
    out.aliases = {{"db", "{3f2504e0-4f89-41d3-9a0c-0305e82c3302}"}, {"path", "a \"quoted\" <value>"}};
    return out;
}

TEST(Cab, KeepsEverything) {
    const auto cab = encode_cab(sample());
    ASSERT_TRUE(cab) << cab.error().text();
    const auto back = decode_cab(*cab);
    ASSERT_TRUE(back) << back.error().text();
    EXPECT_EQ(*back, sample());
}

TEST(Cab, KeepsALargeDocument) {
    auto metadata = sample();
    metadata.document.clear();
    for (int i = 0; i < 200'000; ++i) metadata.document += std::to_string(i * 2654435761U);
    const auto back = decode_cab(encode_cab(metadata).value());
    ASSERT_TRUE(back) << back.error().text();
    EXPECT_EQ(*back, metadata);
}

TEST(Cab, NamesItsMembersAsDiskShadowDoes) {
    const auto names = member_names(sample());
    ASSERT_EQ(names.size(), 5U);
    EXPECT_EQ(names[0], "Manifest.xml");
    EXPECT_EQ(names[1], "BCDocument.xml");
    EXPECT_EQ(names[2], "WM0.xml");
    EXPECT_EQ(names[3], "WM1.xml");
    EXPECT_TRUE(names[4].starts_with("Dis") && names[4].ends_with(".tmp")) << names[4];
}

TEST(Cab, RefusesDocumentsBeyondTheLimit) {
    auto metadata = sample();
    metadata.document.assign(kMaxMemberBytes + 1, 'x');
    EXPECT_FALSE(encode_cab(metadata));
}

std::vector<CabinetMember> members_of(const Metadata& metadata) {
    const CabinetLimits limits{kMaxCabBytes, kMaxMembers, kMaxMemberBytes, kMaxCabBytes};
    return read_cabinet(*encode_cab(metadata), limits).value();
}

std::string replaced(std::string text, const std::string& from, const std::string& to) {
    const size_t at = text.find(from);
    EXPECT_NE(at, std::string::npos) << from;
    return text.replace(at, from.size(), to);
}

TEST(Cab, RefusesOtherVersions) {
    auto members = members_of(sample());
    members[0].content = replaced(members[0].content, "version=\"1\"", "version=\"2\"");
    const auto decoded = decode_cab(*write_cabinet(members));
    ASSERT_FALSE(decoded);
    // The XML declaration has a version, too; the root's has to be the one that was changed.
    EXPECT_TRUE(decoded.error().code == Code::kVersion || decoded.error().code == Code::kCorrupt);
    members = members_of(sample());
    members[0].content = replaced(members[0].content, "Manifest version=\"1\"", "Manifest version=\"2\"");
    EXPECT_EQ(decode_cab(*write_cabinet(members)).error().code, Code::kVersion);
}

TEST(Cab, RefusesMembersThatDoNotMatchTheManifest) {
    auto members = members_of(sample());
    members[1].content[3] ^= 1;
    EXPECT_EQ(decode_cab(*write_cabinet(members)).error().code, Code::kCorrupt);
    members = members_of(sample());
    members.push_back({"../../etc/passwd", "root"});
    EXPECT_EQ(decode_cab(*write_cabinet(members)).error().code, Code::kCorrupt);
    members = members_of(sample());
    members.erase(members.begin() + 1);
    EXPECT_EQ(decode_cab(*write_cabinet(members)).error().code, Code::kCorrupt);
    members = members_of(sample());
    members.erase(members.begin());
    EXPECT_EQ(decode_cab(*write_cabinet(members)).error().code, Code::kCorrupt);
    members = members_of(sample());
    members.push_back(members[1]);
    EXPECT_FALSE(write_cabinet(members)) << "one name, two members";
}

TEST(Cab, EveryCutIsRefused) {
    const auto cab = *encode_cab(sample());
    for (size_t size = 0; size < cab.size(); ++size) {
        ASSERT_FALSE(decode_cab(std::string_view(cab).substr(0, size))) << size;
    }
}

// A changed byte is either refused or harmless (time stamps, reserved fields); it never gives other metadata.
TEST(Cab, NoChangedByteChangesTheContent) {
    const auto cab = *encode_cab(sample());
    const auto expected = sample();
    size_t refused = 0;
    for (size_t at = 0; at < cab.size(); ++at) {
        for (const int bit : {0, 3, 7}) {
            auto bad = cab;
            bad[at] = static_cast<char>(bad[at] ^ (1 << bit));
            const auto decoded = decode_cab(bad);
            if (!decoded) {
                ++refused;
                continue;
            }
            ASSERT_EQ(decoded->set, expected.set) << at;
            ASSERT_EQ(decoded->document, expected.document) << at;
            ASSERT_EQ(decoded->writer_metadata, expected.writer_metadata) << at;
            ASSERT_EQ(decoded->aliases, expected.aliases) << at;
        }
    }
    EXPECT_GT(refused, cab.size());
}

TEST(Cab, AHugeMemberIsRefusedBeforeItIsUnpacked) {
    auto cab = *encode_cab(sample());
    const auto files_at = base::load_le<uint32_t>(reinterpret_cast<const std::byte*>(cab.data()) + 16);
    cab.replace(files_at, 4, "\xff\xff\xff\x7f");
    EXPECT_EQ(decode_cab(cab).error().code, Code::kInvalidArgument);
}

class CabFile : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/umbra-cab-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        directory_ = name;
    }
    void TearDown() override { std::filesystem::remove_all(directory_); }
    std::string path(const std::string& name) const { return directory_ + "/" + name; }
    size_t files() const {
        return static_cast<size_t>(std::distance(std::filesystem::directory_iterator(directory_), {}));
    }

    std::string directory_;
};

TEST_F(CabFile, IsReplacedWhole) {
    ASSERT_TRUE(save_cab(path("a.cab"), sample()));
    auto other = sample();
    other.document = "<Other/>";
    ASSERT_TRUE(save_cab(path("a.cab"), other));
    EXPECT_EQ(load_cab(path("a.cab"))->document, "<Other/>");
    EXPECT_EQ(files(), 1U);
}

TEST_F(CabFile, AFailedSaveKeepsTheOldFile) {
    ASSERT_TRUE(save_cab(path("a.cab"), sample()));
    auto bad = sample();
    bad.document.assign(kMaxMemberBytes + 1, 'x');
    EXPECT_FALSE(save_cab(path("a.cab"), bad));
    EXPECT_EQ(*load_cab(path("a.cab")), sample());
    EXPECT_EQ(files(), 1U);
}

TEST_F(CabFile, SaysWhyItCannotBeWritten) {
    EXPECT_TRUE(check_writable(path("new.cab")));
    EXPECT_EQ(check_writable(directory_).error().message, "No filename was specified.");
    EXPECT_EQ(check_writable(directory_ + "/").error().message, "No filename was specified.");
    EXPECT_EQ(check_writable("").error().message, "No filename was specified.");
    EXPECT_EQ(check_writable(path("none/new.cab")).error().code, Code::kNotFound);
    EXPECT_EQ(check_writable("/proc/new.cab").error().message,
              "The metadata file name path specifies a directory that is read-only.");
    EXPECT_EQ(files(), 0U);
}

TEST_F(CabFile, OnlyRegularFilesAreRead) {
    ASSERT_EQ(::mkfifo(path("pipe").c_str(), 0600), 0);
    EXPECT_FALSE(load_cab(path("pipe")));
    EXPECT_FALSE(load_cab(directory_));
    EXPECT_FALSE(load_cab("/dev/zero"));
    EXPECT_EQ(load_cab(path("none")).error().code, Code::kNotFound);
    std::ofstream(path("text")) << "not a cabinet";
    EXPECT_EQ(load_cab(path("text")).error().code, Code::kCorrupt);
}

}  // namespace
}  // namespace umbra::cli::diskshadow

#include <gtest/gtest.h>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "base/guid.h"
#include "base/result.h"
#include "base/size_text.h"
#include "base/utf8.h"

namespace umbra::base {
namespace {

TEST(Crc32c, VectorsOfRfc7143) {
    std::vector<std::byte> bytes(32);
    EXPECT_EQ(crc32c(bytes), 0x8a9136aau);
    for (auto& b : bytes) b = std::byte{0xff};
    EXPECT_EQ(crc32c(bytes), 0x62a8ab43u);
    for (size_t i = 0; i < bytes.size(); ++i) bytes[i] = static_cast<std::byte>(i);
    EXPECT_EQ(crc32c(bytes), 0x46dd794eu);
    EXPECT_EQ(crc32c(Bytes(bytes).subspan(10), crc32c(Bytes(bytes).first(10))), 0x46dd794eu);
}

TEST(Guid, TextRoundTripAndRefusals) {
    const auto guid = Guid::parse("{3F2504E0-4F89-41d3-9A0C-0305E82C3301}");
    ASSERT_TRUE(guid);
    EXPECT_EQ(guid->text(), "3f2504e0-4f89-41d3-9a0c-0305e82c3301");
    EXPECT_FALSE(Guid::parse("3f2504e0-4f89-41d3-9a0c-0305e82c330"));
    EXPECT_FALSE(Guid::parse("3f2504e04f8-41d3-9a0c-0305e82c3301-00"));
    EXPECT_FALSE(Guid::parse("{3f2504e0-4f89-41d3-9a0c-0305e82c3301"));
    EXPECT_FALSE(Guid::parse("gf2504e0-4f89-41d3-9a0c-0305e82c3301"));
}

TEST(Guid, NameBasedMatchesRfc9562) {
    const auto dns = Guid::parse("6ba7b810-9dad-11d1-80b4-00c04fd430c8");
    EXPECT_EQ(Guid::from_name(*dns, "www.example.com").text(), "2ed6657d-e927-568b-95e1-2665a8aea6a2");
}

TEST(SizeText, ParsesBinaryUnits) {
    EXPECT_EQ(parse_size("2G").value(), 2ull << 30);
    EXPECT_EQ(parse_size("512 MiB").value(), 512ull << 20);
    EXPECT_EQ(parse_size("1.5k").value(), 1536u);
    EXPECT_EQ(parse_size("4096").value(), 4096u);
    for (const char* bad : {"", "G", "-1", "1X", "1.5", "2GiBs", "99999999P", "1e3"})
        EXPECT_FALSE(parse_size(bad)) << bad;
    EXPECT_EQ(format_size(2ull << 30), "2 GiB");
    EXPECT_EQ(format_size(1536), "1.5 KiB");
    EXPECT_EQ(format_size(10), "10 B");
}

TEST(Codec, DecoderStopsAtTheEnd) {
    Encoder encoder;
    encoder.put<uint16_t>(7);
    encoder.put_string("plex");
    const auto bytes = encoder.take();
    Decoder good(bytes);
    EXPECT_EQ(good.get<uint16_t>(), 7);
    EXPECT_EQ(good.get_string(), "plex");
    EXPECT_TRUE(good.ok() && good.at_end());
    Decoder cut(Bytes(bytes).first(bytes.size() - 1));
    cut.get<uint16_t>();
    EXPECT_EQ(cut.get_string(), "");
    EXPECT_FALSE(cut.ok());
    EXPECT_EQ(cut.get<uint64_t>(), 0u);
}

TEST(Utf8, OnlyWellFormedTextPasses) {
    for (const char* good :
         {"", "iqn.2026-01.test:a", "\xc3\xa4", "\xe2\x82\xac", "\xf0\x9f\x98\x80", "\xf4\x8f\xbf\xbf"}) {
        EXPECT_TRUE(is_utf8(good)) << good;
        EXPECT_EQ(to_valid_utf8(good), good);
    }
    // Lone bytes, overlong forms, surrogates, too large values, cut sequences.
    for (const char* bad : {"\xff", "\x80", "\xc3", "\xc0\xaf", "\xe0\x80\xaf", "\xed\xa0\x80", "\xf4\x90\x80\x80",
                            "\xf8\x88\x80\x80\x80", "\xe2\x82", "a\xe2\x82z"}) {
        EXPECT_FALSE(is_utf8(bad)) << testing::PrintToString(std::string(bad));
        EXPECT_TRUE(is_utf8(to_valid_utf8(bad)));
    }
    EXPECT_EQ(to_valid_utf8("a\xff\xfez"), "a\xef\xbf\xbd\xef\xbf\xbdz");
}

TEST(Result, MacrosPropagate) {
    const auto inner = [](bool good) -> Result<int> {
        if (!good) return fail(Code::kBusy, "in use");
        return 3;
    };
    const auto outer = [&](bool good) -> Result<int> {
        UMBRA_ASSIGN(const int x, inner(good));
        UMBRA_TRY(inner(good));
        return x + 1;
    };
    EXPECT_EQ(outer(true).value(), 4);
    EXPECT_EQ(outer(false).error().code, Code::kBusy);
    EXPECT_EQ(outer(false).error().text(), "busy: in use");
}

}  // namespace
}  // namespace umbra::base

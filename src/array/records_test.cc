#include "array/records.h"

#include <gtest/gtest.h>

#include "array/names.h"
#include "array/page83.h"

namespace umbra::array {
namespace {

using base::Code;

LunRecord sample_lun() {
    LunRecord record;
    record.id = base::Guid::from_random(1, 2);
    record.kind = LunKind::kShadowCopy;
    record.name = "db.copy";
    record.parent = base::Guid::from_random(3, 4);
    record.origin = base::Guid::from_random(5, 6);
    record.volume = lun::VolumeId(77);
    for (size_t i = 0; i < 16; ++i) record.naa[i] = static_cast<std::byte>(0x60 + i);
    record.serial = "0123456789abcdef";
    record.flags = kLunHidden | kLunShadowCopy;
    record.write_protected = true;
    record.created_unix_ms = -5;
    record.generation = 9;
    record.content_generation = 4;
    record.attributes = {{"vss.set", "x"}, {"a", "b"}};
    record.masks = {{"*", "iqn.2026-01.internal.umbra:t"}, {"iqn.2026-01.a:b", "iqn.2026-01.internal.umbra:t"}};
    record.numbers = {{"iqn.2026-01.internal.umbra:t", 12}};
    return record;
}

TEST(Records, ComeBackAsTheyWere) {
    const LunRecord lun = sample_lun();
    EXPECT_EQ(decode_lun(encode(lun)).value(), lun);
    const ArrayRecord array{"iqn.2026-01.internal.umbra:t", 0x02554d, 5, 6};
    EXPECT_EQ(decode_array(encode(array)).value(), array);
    const TargetRecord target{"iqn.2026-01.internal.umbra:t", 16384};
    EXPECT_EQ(decode_target(encode(target)).value(), target);
    const TaskRecord task{
        7, "resync", base::Guid::from_random(1, 1), "db", TaskState::kFailed, "no_space", "full", "r", 1, 2, 3};
    EXPECT_EQ(decode_task(encode(task)).value(), task);
    const EventRecord event{9, 10, "lun.created", "info", "text", "db", "d0"};
    const auto back = decode_event(encode(event));
    ASSERT_TRUE(back);
    EXPECT_EQ(back->sequence, 9u);
    EXPECT_EQ(back->drive, "d0");
}

TEST(Records, EveryTruncationAndExtraByteIsRefused) {
    const std::string value = encode(sample_lun());
    for (size_t size = 0; size < value.size(); ++size) {
        const auto decoded = decode_lun(value.substr(0, size));
        ASSERT_FALSE(decoded) << size;
        EXPECT_EQ(decoded.error().code, Code::kCorrupt) << size;
    }
    EXPECT_FALSE(decode_lun(value + "x"));
}

TEST(Records, AnotherKindOrVersionIsRefused) {
    std::string value = encode(sample_lun());
    EXPECT_EQ(decode_task(value).error().code, Code::kCorrupt);
    value[2] = 3;  // version, little-endian
    const auto decoded = decode_lun(value);
    ASSERT_FALSE(decoded);
    EXPECT_EQ(decoded.error().code, Code::kVersion);
}

TEST(Records, ALunOfVersionOneHasTheFirstContent) {
    LunRecord record = sample_lun();
    std::string value = encode(record);
    value.resize(value.size() - 8);
    value[2] = 1;
    record.content_generation = 1;
    EXPECT_EQ(decode_lun(value).value(), record);
    EXPECT_FALSE(decode_lun(value + std::string(8, '\0')));
}

TEST(Records, AHugeCountDoesNotAllocate) {
    LunRecord record = sample_lun();
    record.attributes.clear();
    record.masks.clear();
    record.numbers.clear();
    std::string value = encode(record);
    value.replace(value.size() - 20, 4, "\xff\xff\xff\xff", 4);  // the count of attributes
    EXPECT_EQ(decode_lun(value).error().code, Code::kCorrupt);
}

TEST(Names, OfLuns) {
    for (const char* good : {"db", "a", "A.b_c-9", "0", "_x"}) EXPECT_TRUE(check_name(good)) << good;
    EXPECT_TRUE(check_name(std::string(64, 'x')));
    for (const char* bad : {"", ".a", "-a", "a b", "a/b", "a@b", "ü", "a\n"}) EXPECT_FALSE(check_name(bad)) << bad;
    EXPECT_FALSE(check_name(std::string(65, 'x')));
}

TEST(Names, OfInitiators) {
    EXPECT_EQ(normalize_initiator("*").value(), "*");
    EXPECT_EQ(normalize_initiator("iqn.2026-01.Com.Example:Host-A").value(), "iqn.2026-01.com.example:host-a");
    EXPECT_EQ(normalize_initiator("iqn.1994-05.com.redhat:0123").value(), "iqn.1994-05.com.redhat:0123");
    EXPECT_TRUE(normalize_initiator("eui.02004567A425678D"));
    EXPECT_TRUE(normalize_initiator("naa.52004567ba64678d"));
    for (const char* bad : {"", "**", "iqn.", "iqn.2026.com:x", "iqn.2026-01.:x", "eui.123", "naa.12", "host",
                            "iqn.2026-01.a b:c", "iqn.2026-01.com.example:a;b"}) {
        EXPECT_FALSE(normalize_initiator(bad)) << bad;
    }
    EXPECT_FALSE(normalize_initiator("iqn.2026-01.com.example:" + std::string(223, 'x')));
}

TEST(Page83, Designators) {
    LunIdentity identity;
    for (size_t i = 0; i < 16; ++i) identity.naa[i] = static_cast<std::byte>(0x60 + i);
    identity.serial = "0011223344556677";
    const auto page = page83_designators(ProductStrings{}, identity);
    // NAA: binary, association 0, type 3, 16 bytes.
    ASSERT_GE(page.size(), 20u);
    EXPECT_EQ(base::to_hex(base::Bytes(page).first(4)), "01030010");
    EXPECT_EQ(base::to_hex(base::Bytes(page).subspan(4, 16)), base::to_hex(identity.naa));
    // T10 vendor: ASCII, type 1, eight characters of vendor and the serial number.
    EXPECT_EQ(base::to_hex(base::Bytes(page).subspan(20, 4)), "02010018");
    EXPECT_EQ(base::as_text(base::Bytes(page).subspan(24, 24)), "UMBRA   0011223344556677");
    // SCSI name: UTF-8, type 8, terminated, a multiple of four.
    EXPECT_EQ(base::to_hex(base::Bytes(page).subspan(48, 4)), "03080028");
    EXPECT_EQ(std::string(base::as_text(base::Bytes(page).subspan(52, 40))).c_str(),
              "naa." + base::to_hex(identity.naa));
    EXPECT_EQ(page.size(), 92u);
}

}  // namespace
}  // namespace umbra::array

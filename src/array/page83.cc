#include "array/page83.h"

#include <string>

#include "base/bytes.h"

namespace umbra::array {

namespace {

constexpr uint8_t kCodeSetBinary = 1;
constexpr uint8_t kCodeSetAscii = 2;
constexpr uint8_t kCodeSetUtf8 = 3;
constexpr uint8_t kTypeT10Vendor = 1;
constexpr uint8_t kTypeNaa = 3;
constexpr uint8_t kTypeScsiName = 8;

void append(std::vector<std::byte>& out, uint8_t code_set, uint8_t type, base::Bytes designator) {
    out.push_back(static_cast<std::byte>(code_set));
    out.push_back(static_cast<std::byte>(type));  // PIV 0, association 0
    out.push_back(std::byte{0});
    out.push_back(static_cast<std::byte>(designator.size()));
    out.insert(out.end(), designator.begin(), designator.end());
}

}  // namespace

std::vector<std::byte> page83_designators(const ProductStrings& product, const LunIdentity& identity) {
    std::vector<std::byte> out;
    append(out, kCodeSetBinary, kTypeNaa, identity.naa);

    std::string vendor = product.vendor.substr(0, 8);
    vendor.resize(8, ' ');
    append(out, kCodeSetAscii, kTypeT10Vendor, base::as_bytes(vendor + identity.serial));

    // SPC-4 7.8.6.11: UTF-8, null-terminated, padded with nulls to a multiple of four.
    std::string name = "naa." + base::to_hex(identity.naa);
    name.push_back('\0');
    while (name.size() % 4 != 0) name.push_back('\0');
    append(out, kCodeSetUtf8, kTypeScsiName, base::as_bytes(name));
    return out;
}

}  // namespace umbra::array

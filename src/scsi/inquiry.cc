// INQUIRY and the vital product data pages (SPC-4 6.6, 7.8; SBC-3 6.6). The vendor page C0 is ours:
// docs/format/scsi_vpd_c0.md.
#include "array/page83.h"
#include "scsi/context.h"

namespace umbra::scsi {

using base::Bytes;
using base::MutableBytes;
using base::store_be;

namespace {

constexpr uint8_t kPageSupported = 0x00;
constexpr uint8_t kPageSerial = 0x80;
constexpr uint8_t kPageIdentification = 0x83;
constexpr uint8_t kPageExtended = 0x86;
constexpr uint8_t kPageBlockLimits = 0xb0;
constexpr uint8_t kPageCharacteristics = 0xb1;
constexpr uint8_t kPageProvisioning = 0xb2;
constexpr uint8_t kPageUmbra = 0xc0;
constexpr std::array kPages = {kPageSupported,   kPageSerial,          kPageIdentification, kPageExtended,
                               kPageBlockLimits, kPageCharacteristics, kPageProvisioning,   kPageUmbra};

constexpr uint8_t kProtocolIscsi = 5;
constexpr size_t kMaxSerialBytes = 252;

enum class Association : uint8_t { kTargetPort = 1, kTargetDevice = 2 };
enum class CodeSet : uint8_t { kBinary = 1, kUtf8 = 3 };
enum class DesignatorType : uint8_t { kRelativePort = 4, kScsiName = 8 };

void put_designator(std::vector<std::byte>& out, Association association, CodeSet set, DesignatorType type,
                    Bytes value) {
    out.push_back(static_cast<std::byte>((kProtocolIscsi << 4) | static_cast<uint8_t>(set)));
    out.push_back(
        static_cast<std::byte>(0x80 /* PIV */ | (static_cast<uint8_t>(association) << 4) | static_cast<uint8_t>(type)));
    out.push_back(std::byte{0});
    out.push_back(static_cast<std::byte>(value.size()));
    out.insert(out.end(), value.begin(), value.end());
}

/// A SCSI name string ends in a null and fills a multiple of four bytes (SPC-4 7.8.6.11).
std::vector<std::byte> name_string(std::string_view text) {
    const Bytes bytes = base::as_bytes(text.substr(0, 251));
    std::vector<std::byte> out(bytes.begin(), bytes.end());
    do out.push_back(std::byte{0});
    while (out.size() % 4 != 0);
    return out;
}

std::vector<std::byte> identification(const array::LunIdentity& identity, const array::ProductStrings& product,
                                      const std::string& target) {
    std::vector<std::byte> out = array::page83_designators(product, identity);
    const std::array<std::byte, 4> relative_port{std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}};
    put_designator(out, Association::kTargetPort, CodeSet::kBinary, DesignatorType::kRelativePort, relative_port);
    put_designator(out, Association::kTargetPort, CodeSet::kUtf8, DesignatorType::kScsiName,
                   name_string(target + ",t,0x0001"));
    put_designator(out, Association::kTargetDevice, CodeSet::kUtf8, DesignatorType::kScsiName, name_string(target));
    return out;
}

std::vector<std::byte> block_limits() {
    std::vector<std::byte> out(0x3c);
    std::byte* const page = out.data() - 4;  // offsets below are those of SBC-3 table 174, from the page's start
    page[4] = std::byte{0x01};               // WSNZ: a WRITE SAME count of zero is refused
    page[5] = std::byte{kMaxCompareAndWriteBlocks};
    store_be(page + 6, static_cast<uint16_t>(lun::kPhysicalBlockBytes / lun::kLogicalBlockBytes));
    store_be(page + 8, kMaxTransferBlocks);
    store_be(page + 12, kOptimalTransferBlocks);
    store_be(page + 20, kAdvertisedUnmapBlocks);
    store_be(page + 24, kMaxUnmapDescriptors);
    store_be(page + 28, lun::kPhysicalBlockBytes / lun::kLogicalBlockBytes);
    store_be(page + 32, 0x80000000u);  // UGAVALID, alignment 0
    store_be(page + 36, static_cast<uint64_t>(kMaxWriteSameBlocks));
    return out;
}

std::vector<std::byte> umbra_page(const array::LunIdentity& identity, const base::Guid& run) {
    constexpr size_t kNameBytes = 128;
    std::vector<std::byte> out(32);
    std::memcpy(out.data(), "UMBRALUN", 8);
    out[8] = std::byte{2};  // version
    store_be(&out[12], identity.flags);
    std::memcpy(&out[16], identity.id.bytes.data(), identity.id.bytes.size());
    const Bytes name = base::as_bytes(std::string_view(identity.name).substr(0, kNameBytes));
    out.push_back(std::byte{0});
    out.push_back(static_cast<std::byte>(name.size()));
    out.insert(out.end(), name.begin(), name.end());
    out.insert(out.end(), run.bytes.begin(), run.bytes.end());
    out.resize(out.size() + 8);
    store_be(&out[out.size() - 8], identity.content_generation);
    return out;
}

}  // namespace

Response Device::inquiry(const Context& context) const {
    const uint16_t allocation = base::load_be<uint16_t>(&context.cdb()[3]);
    const uint8_t page = context.byte(2);
    const array::ProductStrings& product = presentation_.product();
    if (context.bit(1, 0x02)) return Response::failed(sense::kInvalidFieldInCdb);  // CMDDT, obsolete
    if (!context.bit(1, 0x01)) {
        if (page != 0) return Response::failed(sense::kInvalidFieldInCdb);
        std::array<std::byte, 74> data{};
        data[2] = std::byte{0x06};  // SPC-4
        data[3] = std::byte{0x12};  // HISUP, response data format 2
        data[4] = std::byte{sizeof(data) - 5};
        data[7] = std::byte{0x02};  // CMDQUE
        put_text(MutableBytes(data).subspan(8, 8), product.vendor);
        put_text(MutableBytes(data).subspan(16, 16), product.product);
        put_text(MutableBytes(data).subspan(32, 4), product.revision);
        const std::array<uint16_t, 4> versions{0x00a0 /* SAM-5 */, 0x0960 /* iSCSI */, 0x0460 /* SPC-4 */,
                                               0x04c0 /* SBC-3 */};
        for (size_t i = 0; i < versions.size(); ++i) store_be(&data[58 + 2 * i], versions[i]);
        return parameter_data(data, allocation);
    }
    std::vector<std::byte> body;
    switch (page) {
        case kPageSupported:
            for (const uint8_t code : kPages) body.push_back(std::byte{code});
            break;
        case kPageSerial: {
            const Bytes serial = base::as_bytes(std::string_view(context.identity.serial).substr(0, kMaxSerialBytes));
            body.assign(serial.begin(), serial.end());
            break;
        }
        case kPageIdentification:
            body = identification(context.identity, product, context.nexus.names().target);
            break;
        case kPageExtended:
            body.resize(0x3c);
            body[1] = std::byte{0x07};  // HEADSUP, ORDSUP, SIMPSUP
            body[2] = std::byte{0x01};  // V_SUP: there is a volatile cache
            body[9] = std::byte{kFixedSenseBytes};
            break;
        case kPageBlockLimits:
            body = block_limits();
            break;
        case kPageCharacteristics:
            body.resize(0x3c);
            body[1] = std::byte{0x01};  // MEDIUM ROTATION RATE: non-rotating
            body[4] = std::byte{0x02};  // FUAB: SYNCHRONIZE CACHE and FUA behave as SBC-3 says
            break;
        case kPageProvisioning:
            body.resize(4);
            body[1] = std::byte{0xe4};  // LBPU, LBPWS, LBPWS10, LBPRZ
            body[2] = std::byte{0x02};  // thin
            break;
        case kPageUmbra:
            body = umbra_page(context.identity, presentation_.run_id());
            break;
        default:
            return Response::failed(sense::kInvalidFieldInCdb);
    }
    std::vector<std::byte> data(4);
    data[1] = std::byte{page};
    store_be(&data[2], static_cast<uint16_t>(body.size()));
    data.insert(data.end(), body.begin(), body.end());
    return parameter_data(data, allocation);
}

}  // namespace umbra::scsi

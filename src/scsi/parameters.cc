// Commands that report: REPORT LUNS, REQUEST SENSE, MODE SENSE, READ CAPACITY, REPORT SUPPORTED OPERATION CODES.
#include "scsi/context.h"

namespace umbra::scsi {

using base::load_be;
using base::store_be;

Response Device::report_luns(Nexus& nexus, const Command& command) {
    const auto allocation = load_be<uint32_t>(&command.cdb[6]);
    const auto select = std::to_integer<uint8_t>(command.cdb[2]);
    if (select > 2 || allocation < 16) return Response::failed(sense::kInvalidFieldInCdb);
    std::vector<std::byte> data(8);
    if (select != 1) {  // there are no well-known logical units
        for (const array::PresentedLun& lun : presentation_.luns(nexus.names().target, nexus.names().initiator)) {
            const auto field = encode_lun(lun.number);
            data.insert(data.end(), field.begin(), field.end());
        }
    }
    store_be(data.data(), static_cast<uint32_t>(data.size() - 8));
    for (auto& [number, state] : nexus.seen_) std::erase(state.attentions, sense::kReportedLunsChanged);
    return parameter_data(data, allocation);
}

Response Device::request_sense(Context& context) {
    Sense report = sense::kNone;
    if (!context.seen.attentions.empty()) {
        report = context.seen.attentions.front();
        context.seen.attentions.pop_front();
    }
    return parameter_data(context.bit(1, 0x01) ? encode_descriptor(report) : encode_fixed(report), context.byte(4));
}

namespace {

constexpr uint8_t kCachingPage = 0x08;
constexpr uint8_t kControlPage = 0x0a;
constexpr uint8_t kAllPages = 0x3f;

void put_page(std::vector<std::byte>& out, uint8_t page, bool changeable) {
    const size_t at = out.size();
    switch (page) {
        case kCachingPage:
            out.resize(at + 20);
            out[at + 1] = std::byte{18};
            if (!changeable) out[at + 2] = std::byte{0x04};  // WCE
            break;
        case kControlPage:
            out.resize(at + 12);
            out[at + 1] = std::byte{10};
            if (!changeable) {
                out[at + 2] = std::byte{0x22};             // TST: a task set for each nexus; GLTSD: nothing is logged
                out[at + 3] = std::byte{0x10};             // unrestricted reordering
                out[at + 5] = std::byte{0x40};             // TAS
                store_be(&out[at + 8], uint16_t{0xffff});  // BUSY TIMEOUT PERIOD: no limit
            }
            break;
        default:
            return;
    }
    out[at] = std::byte{page};
}

}  // namespace

Response Device::mode_sense(const Context& context) const {
    const bool ten = context.spec.kind == CommandKind::kModeSense10;
    const bool no_block_descriptor = context.bit(1, 0x08);
    const bool long_lba = ten && context.bit(1, 0x10);
    const uint8_t control = context.byte(2) >> 6;
    const uint8_t page = context.byte(2) & 0x3f;
    const uint8_t subpage = context.byte(3);
    if (control == 3) return Response::failed(sense::kSavingNotSupported);
    if (page != kCachingPage && page != kControlPage && page != kAllPages) {
        return Response::failed(sense::kInvalidFieldInCdb);
    }
    if (subpage != 0 && subpage != 0xff) return Response::failed(sense::kInvalidFieldInCdb);

    std::vector<std::byte> data(ten ? 8 : 4);
    const uint8_t device_specific = 0x10 | (context.write_protected() ? 0x80 : 0);  // DPOFUA, WP
    size_t descriptor_bytes = 0;
    if (!no_block_descriptor) {
        const uint64_t blocks = context.blocks();
        const size_t at = data.size();
        if (long_lba) {
            descriptor_bytes = 16;
            data.resize(at + 16);
            store_be(&data[at], blocks);
            store_be(&data[at + 12], lun::kLogicalBlockBytes);
        } else {
            descriptor_bytes = 8;
            data.resize(at + 8);
            store_be(&data[at], static_cast<uint32_t>(std::min<uint64_t>(blocks, UINT32_MAX)));
            store_be(&data[at + 4], lun::kLogicalBlockBytes);  // the high byte is reserved, and zero
        }
    }
    const bool changeable = control == 1;
    for (const uint8_t code : {kCachingPage, kControlPage}) {
        if (page == kAllPages || page == code) put_page(data, code, changeable);
    }
    if (ten) {
        store_be(data.data(), static_cast<uint16_t>(data.size() - 2));
        data[3] = std::byte{device_specific};
        data[4] = long_lba ? std::byte{0x01} : std::byte{0};
        store_be(&data[6], static_cast<uint16_t>(descriptor_bytes));
        return parameter_data(data, load_be<uint16_t>(&context.cdb()[7]));
    }
    data[0] = static_cast<std::byte>(data.size() - 1);
    data[2] = std::byte{device_specific};
    data[3] = static_cast<std::byte>(descriptor_bytes);
    return parameter_data(data, context.byte(4));
}

Response Device::read_capacity(const Context& context) const {
    const uint64_t last = context.blocks() - 1;
    if (context.spec.kind == CommandKind::kReadCapacity10) {
        // PMI and its address are obsolete; SBC-2 wants an address without PMI refused.
        if (!context.bit(8, 0x01) && load_be<uint32_t>(&context.cdb()[2]) != 0) {
            return Response::failed(sense::kInvalidFieldInCdb);
        }
        std::array<std::byte, 8> data{};
        store_be(data.data(), static_cast<uint32_t>(std::min<uint64_t>(last, UINT32_MAX)));
        store_be(&data[4], lun::kLogicalBlockBytes);
        return parameter_data(data, data.size());
    }
    std::array<std::byte, 32> data{};
    store_be(data.data(), last);
    store_be(&data[8], lun::kLogicalBlockBytes);
    static_assert(lun::kPhysicalBlockBytes == lun::kLogicalBlockBytes << 3);
    data[13] = std::byte{3};                // 2^3 logical blocks to a physical one
    store_be(&data[14], uint16_t{0xc000});  // LBPME, LBPRZ, lowest aligned LBA 0
    return parameter_data(data, load_be<uint32_t>(&context.cdb()[10]));
}

Response Device::report_supported_opcodes(const Context& context) const {
    const uint8_t options = context.byte(2) & 0x07;
    const bool timeouts = context.bit(2, 0x80);
    const auto allocation = load_be<uint32_t>(&context.cdb()[6]);
    const auto put_timeouts = [](std::vector<std::byte>& out) {
        const size_t at = out.size();
        out.resize(at + 12);  // no nominal nor recommended time-out is stated
        store_be(&out[at], uint16_t{0x0a});
    };
    std::vector<std::byte> data;
    if (options == 0) {
        data.resize(4);
        for (const CommandSpec& spec : all_commands()) {
            const size_t at = data.size();
            data.resize(at + 8);
            data[at] = std::byte{spec.opcode};
            if (spec.service_action != kNoServiceAction) {
                store_be(&data[at + 2], static_cast<uint16_t>(spec.service_action));
                data[at + 5] |= std::byte{0x01};  // SERVACTV
            }
            if (timeouts) data[at + 5] |= std::byte{0x02};  // CTDP
            store_be(&data[at + 6], static_cast<uint16_t>(spec.cdb_bytes));
            if (timeouts) put_timeouts(data);
        }
        store_be(data.data(), static_cast<uint32_t>(data.size() - 4));
        return parameter_data(data, allocation);
    }
    if (options > 3) return Response::failed(sense::kInvalidFieldInCdb);
    const uint8_t opcode = context.byte(3);
    const auto action = load_be<uint16_t>(&context.cdb()[4]);
    const CommandSpec* found = nullptr;
    bool has_actions = false;
    bool exists = false;
    for (const CommandSpec& spec : all_commands()) {
        if (spec.opcode != opcode) continue;
        exists = true;
        if (spec.service_action != kNoServiceAction) has_actions = true;
        if (spec.service_action == kNoServiceAction || spec.service_action == action) {
            if (found == nullptr) found = &spec;
        }
    }
    // SPC-4 6.35.1: 1 is for commands without service actions, 2 for those with, 3 takes both.
    if (exists && ((options == 1 && has_actions) || (options == 2 && !has_actions))) {
        return Response::failed(sense::kInvalidFieldInCdb);
    }
    if (options == 3 && found != nullptr && found->service_action == kNoServiceAction && action != 0) found = nullptr;
    data.resize(4);
    if (found == nullptr) {
        data[1] = std::byte{0x01};  // not supported
        return parameter_data(data, allocation);
    }
    data[1] = static_cast<std::byte>(0x03 | (timeouts ? 0x80 : 0));
    store_be(&data[2], static_cast<uint16_t>(found->cdb_bytes));
    for (size_t i = 0; i < found->cdb_bytes; ++i) data.push_back(std::byte{found->usage[i]});
    if (found->service_action != kNoServiceAction) {
        // The service action field shows its value (SPC-4 6.35.3).
        data[4 + 1] = static_cast<std::byte>(found->service_action);
    }
    if (timeouts) put_timeouts(data);
    return parameter_data(data, allocation);
}

}  // namespace umbra::scsi

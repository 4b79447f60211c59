#include "scsi/opcodes.h"

namespace umbra::scsi {

using base::load_be;

namespace {

using Kind = CommandKind;
constexpr int kNone = kNoServiceAction;
constexpr uint8_t kNaca = 0x04;  // evaluated in every control byte: it must be zero

// clang-format off
constexpr auto kCommands = std::to_array<CommandSpec>({
    {0x00, kNone, Kind::kTestUnitReady, Access::kStatus, false, 6, {0x00, 0, 0, 0, 0, kNaca}, "TEST UNIT READY"},
    {0x03, kNone, Kind::kRequestSense, Access::kAny, false, 6, {0x03, 0x01, 0, 0, 0xff, kNaca}, "REQUEST SENSE"},
    {0x08, kNone, Kind::kRead, Access::kReads, false, 6, {0x08, 0x1f, 0xff, 0xff, 0xff, kNaca}, "READ(6)"},
    {0x0a, kNone, Kind::kWrite, Access::kWrites, true, 6, {0x0a, 0x1f, 0xff, 0xff, 0xff, kNaca}, "WRITE(6)"},
    {0x12, kNone, Kind::kInquiry, Access::kAny, false, 6, {0x12, 0x01, 0xff, 0xff, 0xff, kNaca}, "INQUIRY"},
    {0x16, kNone, Kind::kReserve6, Access::kStatus, false, 6, {0x16, 0, 0, 0, 0, kNaca}, "RESERVE(6)"},
    {0x17, kNone, Kind::kRelease6, Access::kAny, false, 6, {0x17, 0, 0, 0, 0, kNaca}, "RELEASE(6)"},
    {0x1a, kNone, Kind::kModeSense6, Access::kWrites, false, 6, {0x1a, 0x08, 0xff, 0xff, 0xff, kNaca}, "MODE SENSE(6)"},
    {0x1b, kNone, Kind::kStartStopUnit, Access::kWrites, false, 6, {0x1b, 0x01, 0, 0x0f, 0xf7, kNaca}, "START STOP UNIT"},
    {0x1e, kNone, Kind::kPreventAllow, Access::kStatus, false, 6, {0x1e, 0, 0, 0, 0x03, kNaca}, "PREVENT ALLOW MEDIUM REMOVAL"},
    {0x25, kNone, Kind::kReadCapacity10, Access::kStatus, false, 10, {0x25, 0, 0, 0, 0, 0, 0, 0, 0, kNaca}, "READ CAPACITY(10)"},
    {0x28, kNone, Kind::kRead, Access::kReads, false, 10, {0x28, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}, "READ(10)"},
    {0x2a, kNone, Kind::kWrite, Access::kWrites, true, 10, {0x2a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}, "WRITE(10)"},
    {0x2e, kNone, Kind::kWriteAndVerify, Access::kWrites, true, 10, {0x2e, 0xf6, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}, "WRITE AND VERIFY(10)"},
    {0x2f, kNone, Kind::kVerify, Access::kReads, false, 10, {0x2f, 0xf6, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}, "VERIFY(10)"},
    {0x35, kNone, Kind::kSynchronizeCache, Access::kWrites, false, 10, {0x35, 0x02, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}, "SYNCHRONIZE CACHE(10)"},
    {0x41, kNone, Kind::kWriteSame, Access::kWrites, true, 10, {0x41, 0xf8, 0xff, 0xff, 0xff, 0xff, 0, 0xff, 0xff, kNaca}, "WRITE SAME(10)"},
    {0x42, kNone, Kind::kUnmap, Access::kWrites, true, 10, {0x42, 0x01, 0, 0, 0, 0, 0, 0xff, 0xff, kNaca}, "UNMAP"},
    {0x5a, kNone, Kind::kModeSense10, Access::kWrites, false, 10, {0x5a, 0x18, 0xff, 0xff, 0, 0, 0, 0xff, 0xff, kNaca}, "MODE SENSE(10)"},
    {0x5e, 0x00, Kind::kPersistentReserveIn, Access::kStatus, false, 10, {0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE IN, READ KEYS"},
    {0x5e, 0x01, Kind::kPersistentReserveIn, Access::kStatus, false, 10, {0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE IN, READ RESERVATION"},
    {0x5e, 0x02, Kind::kPersistentReserveIn, Access::kStatus, false, 10, {0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE IN, REPORT CAPABILITIES"},
    {0x5e, 0x03, Kind::kPersistentReserveIn, Access::kStatus, false, 10, {0x5e, 0x1f, 0, 0, 0, 0, 0, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE IN, READ FULL STATUS"},
    {0x5f, 0x00, Kind::kPersistentReserveOut, Access::kStatus, false, 10, {0x5f, 0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE OUT, REGISTER"},
    {0x5f, 0x01, Kind::kPersistentReserveOut, Access::kStatus, false, 10, {0x5f, 0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE OUT, RESERVE"},
    {0x5f, 0x02, Kind::kPersistentReserveOut, Access::kStatus, false, 10, {0x5f, 0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE OUT, RELEASE"},
    {0x5f, 0x03, Kind::kPersistentReserveOut, Access::kStatus, false, 10, {0x5f, 0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE OUT, CLEAR"},
    {0x5f, 0x04, Kind::kPersistentReserveOut, Access::kStatus, false, 10, {0x5f, 0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE OUT, PREEMPT"},
    {0x5f, 0x05, Kind::kPersistentReserveOut, Access::kStatus, false, 10, {0x5f, 0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE OUT, PREEMPT AND ABORT"},
    {0x5f, 0x06, Kind::kPersistentReserveOut, Access::kStatus, false, 10, {0x5f, 0x1f, 0xff, 0, 0, 0xff, 0xff, 0xff, 0xff, kNaca}, "PERSISTENT RESERVE OUT, REGISTER AND IGNORE EXISTING KEY"},
    {0x88, kNone, Kind::kRead, Access::kReads, false, 16, {0x88, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "READ(16)"},
    {0x89, kNone, Kind::kCompareAndWrite, Access::kWrites, true, 16, {0x89, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0xff, 0, kNaca}, "COMPARE AND WRITE"},
    {0x8a, kNone, Kind::kWrite, Access::kWrites, true, 16, {0x8a, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "WRITE(16)"},
    {0x8e, kNone, Kind::kWriteAndVerify, Access::kWrites, true, 16, {0x8e, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "WRITE AND VERIFY(16)"},
    {0x8f, kNone, Kind::kVerify, Access::kReads, false, 16, {0x8f, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "VERIFY(16)"},
    {0x91, kNone, Kind::kSynchronizeCache, Access::kWrites, false, 16, {0x91, 0x02, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "SYNCHRONIZE CACHE(16)"},
    {0x93, kNone, Kind::kWriteSame, Access::kWrites, true, 16, {0x93, 0xf9, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "WRITE SAME(16)"},
    {0x9e, 0x10, Kind::kReadCapacity16, Access::kStatus, false, 16, {0x9e, 0x1f, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "READ CAPACITY(16)"},
    {0x9e, 0x12, Kind::kGetLbaStatus, Access::kReads, false, 16, {0x9e, 0x1f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "GET LBA STATUS"},
    {0xa0, kNone, Kind::kReportLuns, Access::kAny, false, 12, {0xa0, 0, 0xff, 0, 0, 0, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "REPORT LUNS"},
    {0xa3, 0x0c, Kind::kReportSupportedOpcodes, Access::kWrites, false, 12, {0xa3, 0x1f, 0x87, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "REPORT SUPPORTED OPERATION CODES"},
    {0xa8, kNone, Kind::kRead, Access::kReads, false, 12, {0xa8, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "READ(12)"},
    {0xaa, kNone, Kind::kWrite, Access::kWrites, true, 12, {0xaa, 0xf8, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "WRITE(12)"},
    {0xae, kNone, Kind::kWriteAndVerify, Access::kWrites, true, 12, {0xae, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "WRITE AND VERIFY(12)"},
    {0xaf, kNone, Kind::kVerify, Access::kReads, false, 12, {0xaf, 0xf6, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0, kNaca}, "VERIFY(12)"},
});
// clang-format on

}  // namespace

std::span<const CommandSpec> all_commands() {
    return kCommands;
}

const CommandSpec* find_command(std::span<const std::byte, 16> cdb, bool* known_opcode) {
    *known_opcode = false;
    for (const CommandSpec& spec : kCommands) {
        if (spec.opcode != std::to_integer<uint8_t>(cdb[0])) continue;
        *known_opcode = true;
        if (spec.service_action == kNoServiceAction) return &spec;
        if (spec.service_action == (std::to_integer<int>(cdb[1]) & 0x1f)) return &spec;
    }
    return nullptr;
}

size_t cdb_length(std::byte opcode) {
    switch (std::to_integer<unsigned>(opcode) >> 5) {
        case 0:
            return 6;
        case 1:
        case 2:
            return 10;
        case 4:
            return 16;
        case 5:
            return 12;
        default:
            return 0;
    }
}

BlockRange decode_range(std::span<const std::byte, 16> cdb) {
    switch (cdb_length(cdb[0])) {
        case 6: {
            const uint32_t lba = load_be<uint32_t>(cdb.data()) & 0x1fffff;
            const uint64_t blocks = std::to_integer<uint64_t>(cdb[4]);
            return {lba, blocks == 0 ? 256 : blocks};
        }
        case 10:
            return {load_be<uint32_t>(&cdb[2]), load_be<uint16_t>(&cdb[7])};
        case 12:
            return {load_be<uint32_t>(&cdb[2]), load_be<uint32_t>(&cdb[6])};
        case 16:
            return {load_be<uint64_t>(&cdb[2]), load_be<uint32_t>(&cdb[10])};
        default:
            return {};
    }
}

}  // namespace umbra::scsi

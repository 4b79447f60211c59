// The commands that the device server knows, as a table: decoding, reservation checks and REPORT SUPPORTED OPERATION
// CODES all read it.
#pragma once

#include <array>
#include <cstdint>
#include <span>

#include "base/bytes.h"

namespace umbra::scsi {

enum class CommandKind : uint8_t {
    kTestUnitReady,
    kRequestSense,
    kInquiry,
    kReserve6,
    kRelease6,
    kModeSense6,
    kModeSense10,
    kStartStopUnit,
    kPreventAllow,
    kReadCapacity10,
    kReadCapacity16,
    kRead,
    kWrite,
    kWriteAndVerify,
    kVerify,
    kSynchronizeCache,
    kWriteSame,
    kUnmap,
    kCompareAndWrite,
    kPersistentReserveIn,
    kPersistentReserveOut,
    kGetLbaStatus,
    kReportLuns,
    kReportSupportedOpcodes,
};

/// What a command is to a reservation that another nexus holds (SPC-4 5.13.1, SBC-3 4.18; SPC-2 for RESERVE).
enum class Access : uint8_t {
    kAny,     ///< allowed whatever the reservation
    kStatus,  ///< conflicts with RESERVE(6) only
    kReads,   ///< allowed also beside a Write Exclusive persistent reservation
    kWrites,  ///< everything else: only the holder, or registrants where the type admits them
};

inline constexpr int kNoServiceAction = -1;

struct CommandSpec {
    uint8_t opcode;
    int service_action;  ///< low five bits of byte 1, or kNoServiceAction
    CommandKind kind;
    Access access;
    bool changes_medium;  ///< refused on a write-protected LUN
    uint8_t cdb_bytes;
    std::array<uint8_t, 16> usage;  ///< CDB usage data (SPC-4 6.35.3): the bits that are evaluated
    const char* name;
};

std::span<const CommandSpec> all_commands();
/// The row for a CDB; nullptr when the operation code, or its service action, is not supported. `known_opcode`
/// tells the two apart: the answers are INVALID COMMAND OPERATION CODE and INVALID FIELD IN CDB.
const CommandSpec* find_command(std::span<const std::byte, 16> cdb, bool* known_opcode);
/// Length by the operation code's group (SPC-4 4.3); 0 for groups that we do not take.
size_t cdb_length(std::byte opcode);

/// Logical block address and count of any READ, WRITE, VERIFY, SYNCHRONIZE CACHE or WRITE SAME, by group.
struct BlockRange {
    uint64_t lba = 0;
    uint64_t blocks = 0;
};
BlockRange decode_range(std::span<const std::byte, 16> cdb);

}  // namespace umbra::scsi

// What the logical units accept, in one place; the VPD pages advertise these numbers. See docs/limits.md.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umbra::scsi {

/// One READ, WRITE, VERIFY or WRITE AND VERIFY (page B0: MAXIMUM TRANSFER LENGTH). 8 MiB.
inline constexpr uint32_t kMaxTransferBlocks = 16384;
inline constexpr uint32_t kOptimalTransferBlocks = 2048;  // 1 MiB
/// COMPARE AND WRITE. 64 KiB, the unit that the store writes all or nothing.
inline constexpr uint32_t kMaxCompareAndWriteBlocks = 128;
/// Sum over all descriptors of one UNMAP. 4 GiB.
inline constexpr uint32_t kMaxUnmapBlocks = 8u << 20;
inline constexpr uint32_t kMaxUnmapDescriptors = 256;
/// One WRITE SAME. 64 MiB: one that repeats data really writes it.
inline constexpr uint32_t kMaxWriteSameBlocks = 128u << 10;
/// Pieces in which long VERIFY and WRITE SAME commands work; an abort takes effect between two.
inline constexpr uint32_t kPieceBytes = 256u << 10;
inline constexpr size_t kMaxLbaStatusDescriptors = 256;
/// Registrations of one LUN's persistent reservations, over all initiators.
inline constexpr size_t kMaxRegistrations = 256;
inline constexpr size_t kMaxReservationRecordBytes = 256u << 10;
/// Parameter lists of PERSISTENT RESERVE OUT and UNMAP.
inline constexpr uint32_t kMaxParameterListBytes = 8192;
inline constexpr uint16_t kMaxLunNumber = 16383;

}  // namespace umbra::scsi

// What the logical units accept, in one place; the VPD pages advertise these numbers. See docs/limits.md.
#pragma once

#include <cstddef>
#include <cstdint>

namespace umbra::scsi {

/// One READ, WRITE, VERIFY or WRITE AND VERIFY (page B0: MAXIMUM TRANSFER LENGTH). 16 MiB.
inline constexpr uint32_t kMaxTransferBlocks = 32768;
inline constexpr uint32_t kOptimalTransferBlocks = 2048;  // 1 MiB
/// COMPARE AND WRITE: 64 KiB, what the store writes all or nothing where it does not cross a multiple of that. Towards
/// other commands it is always atomic.
inline constexpr uint32_t kMaxCompareAndWriteBlocks = 128;
/// Sum over all descriptors of one UNMAP: what page B0 says (512 MiB), and what is taken (4 GiB).
inline constexpr uint32_t kAdvertisedUnmapBlocks = 1u << 20;
inline constexpr uint32_t kMaxUnmapBlocks = 8u << 20;
inline constexpr uint32_t kMaxUnmapDescriptors = 256;
/// One WRITE SAME. One that repeats data really writes it.
inline constexpr uint32_t kMaxWriteSameBlocks = kMaxTransferBlocks;
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

// The seam between the array and whatever stores its volumes. Nothing above this directory knows how a volume is
// stored; nothing below knows names, page 83, masks or initiators. Everything here runs on one executor.
//
// A *volume* is a head (writable) or a snapshot (read-only) of one array. Its id is chosen by the caller from
// allocate_id() and never reused. The array's LUN identities point at volumes.
//
// Each changing call takes a MetaBatch: records of the array (key -> value) that become durable in the same atomic step
// as the operation, or not at all. When a changing call has returned success, its effect survives any crash.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/guid.h"
#include "base/result.h"
#include "base/strong.h"
#include "env/executor.h"
#include "env/task.h"

namespace umbra::lun {

using base::Bytes;
using base::MutableBytes;
using base::Result;
using env::Task;

struct VolumeIdTag;
using VolumeId = base::StrongInt<VolumeIdTag>;

inline constexpr uint32_t kLogicalBlockBytes = 512;
inline constexpr uint32_t kPhysicalBlockBytes = 4096;
/// A write of at most this many bytes is all or nothing, wherever it begins, also in a crash. A longer one is so in
/// pieces that end at multiples of this.
inline constexpr uint32_t kAtomicWriteBytes = 64 * 1024;
inline constexpr uint64_t kMaxVolumeBytes = 64ull << 40;

enum class LunType : uint8_t { kSimple, kSpan, kStripe, kMirror, kParity, kDoubleParity, kStripedMirror };

struct VolumeSpec {
    LunType type = LunType::kSimple;
    uint64_t size_bytes = 0;  ///< a multiple of 4 KiB, at most kMaxVolumeBytes
    uint32_t width = 0;       ///< drives of one stripe, parity included; 0: min(5, drives - 1), at least 3 for parity
    uint32_t plexes = 0;      ///< mirror only; 0: 2
};

enum class Health : uint8_t {
    kHealthy,
    kRebuilding,        ///< recover runs
    kFailedRedundancy,  ///< a drive or plex is gone, every block still readable
    kFailed,            ///< blocks are lost or unreachable
};
std::string_view to_string(LunType type);
std::string_view to_string(Health health);
/// "simple", "mirror", "parity" …
std::optional<LunType> parse_lun_type(std::string_view text);

struct DriveIdTag;
using DriveIndex = base::StrongInt<DriveIdTag, uint32_t>;  ///< position in the array, never reused

struct PlexInfo {
    base::Guid id;
    Health health = Health::kHealthy;
    std::vector<DriveIndex> drives;
};

struct VolumeInfo {
    VolumeId id;
    VolumeSpec spec;  ///< width and plexes as chosen
    bool writable = false;
    VolumeId origin;  ///< the snapshot that this volume shares blocks with; zero when none
    Health health = Health::kHealthy;
    uint64_t mapped_bytes = 0;  ///< data this volume refers to, shared or not (an estimate between checkpoints)
    std::vector<PlexInfo> plexes;
};

enum class DriveState : uint8_t { kOnline, kFailed, kMissing };
std::string_view to_string(DriveState state);

struct DriveInfo {
    DriveIndex index;
    base::Guid id;
    std::string name;  ///< as configured: file name of the path, "d0"
    std::string path;
    uint64_t size_bytes = 0;
    uint64_t used_bytes = 0;
    DriveState state = DriveState::kOnline;
    uint64_t read_errors = 0;
    uint64_t checksum_errors = 0;
    uint64_t repaired_blocks = 0;
};

struct SpaceInfo {
    uint64_t raw_bytes = 0;   ///< of all online drives, after what the array keeps for itself
    uint64_t free_bytes = 0;  ///< raw space in segments that nothing uses
    uint64_t live_bytes = 0;  ///< raw space of blocks that something refers to
};

struct MetaBatch {
    std::map<std::string, std::optional<std::string>> changes;  ///< nullopt deletes the key
    bool empty() const { return changes.empty(); }
};

/// Shared between a long operation and whoever watches it. Single executor.
struct Progress {
    uint64_t done_bytes = 0;
    uint64_t total_bytes = 0;  ///< 0 while unknown
    bool cancel = false;       ///< set by the watcher; the operation ends with kCancelled while it still can
    bool past_cancel = false;  ///< set by the operation: it can no longer be cancelled
};

/// Something an operator must know. Ids are listed in docs/operating/events.md.
struct Event {
    std::string id;       ///< "drive.failed", "block.repaired", "block.lost" …
    std::string message;  ///< names drive, volume, block and the remedy
    VolumeId volume;
    std::optional<DriveIndex> drive;
};
using EventSink = std::function<void(const Event&)>;

struct WriteOptions {
    bool fua = false;  ///< durable before it returns
};

struct Extent {
    uint64_t offset = 0;
    uint64_t bytes = 0;
    bool mapped = false;
};

/// The data path of one volume. Offsets and lengths are multiples of 512; ranges must lie within size_bytes()
/// (kInvalidArgument). Overlapping calls are allowed: their effects are as if they ran one after the other. Buffers
/// stay valid until the call returns. A write is acknowledged when it can be read; it survives power loss after a later
/// flush() or with fua. After a failed write each block holds its old or its new content.
class Volume {
public:
    virtual ~Volume() = default;
    virtual uint64_t size_bytes() const = 0;
    virtual bool writable() const = 0;
    /// Errors: kMediaError (no good copy), kDeviceFailed (volume failed or array stopped).
    virtual Task<Result<void>> read(uint64_t offset, MutableBytes into) = 0;
    /// Errors: kWriteProtected, kNoSpace (harms nothing), kMediaError (part of a block that cannot be read),
    /// kDeviceFailed.
    virtual Task<Result<void>> write(uint64_t offset, Bytes from, WriteOptions options) = 0;
    /// The range reads as zeros afterwards and gives back the space of whole 4 KiB blocks (UNMAP with LBPRZ, WRITE SAME
    /// of zeros).
    virtual Task<Result<void>> write_zeroes(uint64_t offset, uint64_t bytes, WriteOptions options) = 0;
    /// Atomic: kMiscompare and nothing written when the content differs from `expected` (same size as `from`).
    virtual Task<Result<void>> compare_and_write(uint64_t offset, Bytes expected, Bytes from, WriteOptions options) = 0;
    virtual Task<Result<void>> flush() = 0;
    /// Mapped and unmapped runs that begin at `offset`, at most `max_extents`, in units of 4 KiB blocks.
    virtual Task<Result<std::vector<Extent>>> map_status(uint64_t offset, uint64_t bytes, size_t max_extents) = 0;
};

struct SnapshotRequest {
    VolumeId source;        ///< head or snapshot
    VolumeId id;            ///< from allocate_id()
    bool writable = false;  ///< a writable clone instead of a read-only snapshot
};

struct ResyncRequest {
    VolumeId destination;  ///< a head: keeps its id, gets `source`'s content and size
    VolumeId source;       ///< head or snapshot of the same pool
    VolumeId keep_as;      ///< from allocate_id(): the destination's content before becomes this read-only snapshot
};

class Backend {
public:
    virtual ~Backend() = default;

    virtual base::Guid array_id() const = 0;
    virtual VolumeId allocate_id() = 0;

    /// All records as they are on disk; read once after opening.
    virtual const std::map<std::string, std::string>& meta() const = 0;
    virtual Task<Result<void>> update_meta(MetaBatch batch) = 0;

    /// Errors: kInvalidArgument, kUnsupported (type), kNoDrive (too few online drives), kNoSpace.
    virtual Task<Result<void>> create(VolumeId id, VolumeSpec spec, MetaBatch batch) = 0;
    /// Head or snapshot, in any order; blocks shared with others stay. Space comes back in the background.
    virtual Task<Result<void>> remove(VolumeId id, MetaBatch batch) = 0;
    /// Growing or shrinking; what lies beyond a smaller size is lost and reads as zeros after growing again.
    virtual Task<Result<void>> resize(VolumeId id, uint64_t size_bytes, MetaBatch batch) = 0;
    /// All at one instant, all or none: each holds every write acknowledged before the call and none issued after it
    /// returned. Costs the same whatever the size.
    virtual Task<Result<void>> snapshot(std::vector<SnapshotRequest> requests, MetaBatch batch) = 0;
    /// By metadata alone where the two have the same type and drives, by copying inside the array else. Atomic:
    /// cancelled, failed or crashed, the destination is wholly as before. I/O to the destination waits at the swap.
    virtual Task<Result<void>> resync(ResyncRequest request, MetaBatch batch, Progress& progress) = 0;
    /// Restores redundancy after drive failures, into free space of other drives. Errors: kInvalidArgument (type has no
    /// redundancy), kDeviceFailed (volume failed), kNoDrive (nothing to recover to), kNoSpace, kBusy (already running).
    virtual Task<Result<void>> recover(VolumeId id, Progress& progress) = 0;

    virtual Result<VolumeInfo> info(VolumeId id) const = 0;
    virtual std::vector<VolumeId> volumes() const = 0;
    /// The data path. Handles stay usable until the volume is removed (then kDeviceFailed); several may be open.
    virtual Result<std::shared_ptr<Volume>> open(VolumeId id) = 0;

    virtual std::vector<DriveInfo> drives() const = 0;
    /// Takes a drive out of use at once, as if it had failed; recorded on the others before it returns.
    virtual Task<Result<void>> fail_drive(DriveIndex index) = 0;
    virtual SpaceInfo space() const = 0;

    /// Verifies every allocated block and repairs what redundancy allows; events tell what was found.
    virtual Task<Result<void>> scrub(Progress& progress) = 0;
    /// Flushes everything and stops: later calls fail with kDeviceFailed.
    virtual Task<Result<void>> close() = 0;
};

}  // namespace umbra::lun

// A simulated drive: a durable image, a volatile write cache over it, seeded latencies, power cuts and faults.
//
// A write is in the cache from its submission and readable when it returns. flush() makes durable what was acknowledged
// before the call. At crash() every write that is not durable is, by the seed, kept, lost or torn at the sector size,
// each on its own (so later ones may survive earlier ones). From then on every operation, in flight or new, ends with
// kDeviceFailed, so that the software above can drain and be destroyed; power_on() serves the surviving image.
//
// The contract of env::BlockDevice is checked: alignment, bounds, no overlap in flight, buffers unchanged in flight.
#pragma once

#include <array>
#include <cstdint>
#include <functional>
#include <list>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "env/block_device.h"
#include "env/random.h"
#include "sim/executor.h"
#include "sim/trace.h"

namespace umbra::sim {

inline constexpr size_t kSimBlockBytes = 4096;

/// How often faults happen by themselves: once in so many operations of the kind on average; 0 is never.
struct FaultPlan {
    uint32_t latent_per_write = 0;       ///< a written block turns unreadable until it is written again
    uint32_t latent_per_read = 0;        ///< a block being read turns unreadable
    uint32_t flip_per_write = 0;         ///< a bit changes in a block of this write, or in one written before
    uint32_t lost_per_write = 0;         ///< acknowledged, but the old content stays
    uint32_t misdirected_per_write = 0;  ///< lands elsewhere on the drive
    uint32_t stall_per_op = 0;           ///< the operation takes stall_min … stall_max
    uint32_t error_per_op = 0;     ///< kIo without any effect that can be relied upon (a failed write: old or new)
    uint32_t torn_unreadable = 0;  ///< once in so many blocks torn at a crash: unreadable afterwards
    env::Duration stall_min = std::chrono::milliseconds(200);
    env::Duration stall_max = std::chrono::seconds(8);

    bool any() const {
        return (latent_per_write | latent_per_read | flip_per_write | lost_per_write | misdirected_per_write |
                stall_per_op | error_per_op | torn_unreadable) != 0;
    }
};

/// What was injected, by kind.
struct FaultCounts {
    uint64_t latent = 0;
    uint64_t latent_reads = 0;  ///< reads that hit an unreadable block
    uint64_t healed = 0;
    uint64_t flips = 0;
    uint64_t lost = 0;
    uint64_t misdirected = 0;
    uint64_t stalls = 0;
    uint64_t errors = 0;
    uint64_t vanished = 0;
    uint64_t crashes = 0;
    uint64_t crash_kept = 0;
    uint64_t crash_lost = 0;
    uint64_t crash_torn = 0;
    uint64_t crash_reordered = 0;  ///< a write kept although an earlier one was not
    FaultCounts& operator+=(const FaultCounts& other);
    /// "drive.latent" … into the trace's coverage marks.
    void mark(Trace& trace) const;
    bool silent() const { return (flips | lost | misdirected) != 0; }
};

struct DriveOptions {
    std::string name = "d0";
    uint64_t size_bytes = 64ull << 20;  ///< a multiple of 4 KiB
    uint32_t sector_bytes = 512;        ///< 512 or 4096: the unit at which a crash tears
    uint64_t seed = 1;
    bool random_fill = true;  ///< blocks never written read as seeded noise; else as zeros
    env::Duration latency_min = std::chrono::microseconds(10);
    env::Duration latency_max = std::chrono::microseconds(120);
    uint32_t slow_per_op = 64;  ///< once in so many operations: up to 20 times latency_max
    FaultPlan faults;
};

class SimDrive final : public env::BlockDevice {
public:
    SimDrive(SimExecutor& executor, Trace& trace, DriveOptions options);
    ~SimDrive() override;
    SimDrive(const SimDrive&) = delete;
    SimDrive& operator=(const SimDrive&) = delete;

    base::Result<void> status() const override;
    const env::Geometry& geometry() const override { return geometry_; }
    const std::string& name() const override { return options_.name; }
    env::Task<base::Result<void>> read(uint64_t offset, std::span<const base::MutableBytes> into) override;
    env::Task<base::Result<void>> write(uint64_t offset, std::span<const base::Bytes> from) override;
    env::Task<base::Result<void>> flush() override;
    env::Task<base::Result<void>> discard(uint64_t offset, uint64_t bytes) override;

    /// The power goes now. Idempotent until power_on().
    void crash();
    /// Serves again. Operations submitted before the cut still fail.
    void power_on();
    bool powered() const { return powered_; }

    /// The drive is unplugged: operations fail with kDeviceFailed until reappear(), which finds what it held. With
    /// `lose_cache`, unflushed writes suffer as in a crash.
    void vanish(bool lose_cache);
    void reappear();
    bool present() const { return present_; }
    /// reappear() with the content of an earlier moment: what keep_old_copy() last saw.
    void keep_old_copy();
    void reappear_with_old_copy();

    /// Called for each write and flush once it is submitted; may crash() or vanish() any drive.
    void set_observer(std::function<void()> observer) { observer_ = std::move(observer); }
    void set_faults(FaultPlan plan) { options_.faults = plan; }
    const FaultPlan& faults() const { return options_.faults; }

    /// Faults on demand, at a byte offset; they act on what a read would return now.
    void make_unreadable(uint64_t offset);
    void flip_bit(uint64_t offset, unsigned bit);
    /// An offset of a block that was written some time, by the drive's seed; nothing when none was.
    std::optional<uint64_t> some_written_offset();
    /// Bytes as a read would return them, ignoring unreadable marks. For tests.
    std::vector<std::byte> peek(uint64_t offset, size_t bytes) const;
    /// Overwrites durably, around every rule. For tests.
    void poke(uint64_t offset, base::Bytes bytes);
    /// Blocks that hold written data.
    size_t stored_blocks() const;

    const FaultCounts& counts() const { return counts_; }
    uint64_t bytes_written() const { return bytes_written_; }
    uint64_t bytes_read() const { return bytes_read_; }
    uint64_t flushes() const { return flushes_; }
    size_t in_flight() const { return in_flight_.size(); }

private:
    using Block = std::array<std::byte, kSimBlockBytes>;
    using BlockRef = std::shared_ptr<const Block>;

    /// Sparse vector of blocks, in chunks.
    class Image {
    public:
        explicit Image(size_t blocks) : chunks_((blocks + kChunk - 1) / kChunk) {}
        Image(const Image& other);
        Image& operator=(const Image& other);
        const BlockRef& get(size_t block) const;
        void set(size_t block, BlockRef ref);
        size_t count() const;

    private:
        static constexpr size_t kChunk = 256;
        std::vector<std::unique_ptr<std::array<BlockRef, kChunk>>> chunks_;
    };

    struct CachedWrite {
        uint64_t sequence = 0;
        size_t first_block = 0;
        std::vector<BlockRef> blocks;
        bool acknowledged = false;
    };
    struct InFlight {
        uint64_t offset;
        uint64_t bytes;
        bool is_read;
    };

    env::Duration pick_latency(uint64_t bytes);
    base::Result<void> gone() const;
    bool alive(uint64_t epoch) const { return powered_ && present_ && epoch == epoch_; }
    std::list<InFlight>::iterator begin(uint64_t offset, uint64_t bytes, bool is_read);
    void fill_unwritten(size_t block, std::byte* into) const;
    void copy_block(const Image& image, size_t block, std::byte* into) const;
    void store(uint64_t offset, std::vector<BlockRef> blocks, uint64_t* sequence);
    void maybe_fault_written(size_t first_block, size_t count);
    void change_now(size_t block, BlockRef ref);
    void lose_cache();
    void note_written(size_t block);
    std::unexpected<base::Error> finish(std::string_view what, uint64_t offset, base::Code code, std::string message);

    SimExecutor& executor_;
    Trace& trace_;
    DriveOptions options_;
    env::Geometry geometry_;
    env::SeededRandom random_;
    Image durable_;
    Image view_;
    std::unique_ptr<Image> old_copy_;
    std::list<CachedWrite> cache_;
    std::list<InFlight> in_flight_;
    std::set<size_t> unreadable_;
    std::vector<size_t> written_sample_;
    size_t next_sample_ = 0;
    uint64_t next_sequence_ = 1;
    uint64_t epoch_ = 0;  ///< grows when the power or the drive goes: operations of an older epoch fail
    bool powered_ = true;
    bool present_ = true;
    FaultCounts counts_;
    uint64_t bytes_written_ = 0;
    uint64_t bytes_read_ = 0;
    uint64_t flushes_ = 0;
    std::function<void()> observer_;
};

}  // namespace umbra::sim

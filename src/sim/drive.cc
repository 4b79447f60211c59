#include "sim/drive.h"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>

#include "base/crc32c.h"

namespace umbra::sim {

using base::Code;
using base::Result;
using env::Task;

FaultCounts& FaultCounts::operator+=(const FaultCounts& other) {
    latent += other.latent;
    latent_reads += other.latent_reads;
    healed += other.healed;
    flips += other.flips;
    lost += other.lost;
    misdirected += other.misdirected;
    stalls += other.stalls;
    errors += other.errors;
    vanished += other.vanished;
    crashes += other.crashes;
    crash_kept += other.crash_kept;
    crash_lost += other.crash_lost;
    crash_torn += other.crash_torn;
    crash_reordered += other.crash_reordered;
    return *this;
}

void FaultCounts::mark(Trace& trace) const {
    trace.mark("drive.latent", latent);
    trace.mark("drive.latent_read", latent_reads);
    trace.mark("drive.healed", healed);
    trace.mark("drive.flip", flips);
    trace.mark("drive.lost_write", lost);
    trace.mark("drive.misdirected_write", misdirected);
    trace.mark("drive.stall", stalls);
    trace.mark("drive.error", errors);
    trace.mark("drive.vanished", vanished);
    trace.mark("drive.crash", crashes);
    trace.mark("drive.crash_kept", crash_kept);
    trace.mark("drive.crash_lost", crash_lost);
    trace.mark("drive.crash_torn", crash_torn);
    trace.mark("drive.crash_reordered", crash_reordered);
}

SimDrive::Image::Image(const Image& other) : chunks_(other.chunks_.size()) {
    *this = other;
}

SimDrive::Image& SimDrive::Image::operator=(const Image& other) {
    if (this == &other) return *this;
    for (size_t i = 0; i < chunks_.size(); ++i) {
        if (other.chunks_[i] == nullptr) {
            chunks_[i].reset();
        } else {
            chunks_[i] = std::make_unique<std::array<BlockRef, kChunk>>(*other.chunks_[i]);
        }
    }
    return *this;
}

const SimDrive::BlockRef& SimDrive::Image::get(size_t block) const {
    static const BlockRef kNone;
    const auto& chunk = chunks_[block / kChunk];
    return chunk == nullptr ? kNone : (*chunk)[block % kChunk];
}

void SimDrive::Image::set(size_t block, BlockRef ref) {
    auto& chunk = chunks_[block / kChunk];
    if (chunk == nullptr) chunk = std::make_unique<std::array<BlockRef, kChunk>>();
    (*chunk)[block % kChunk] = std::move(ref);
}

size_t SimDrive::Image::count() const {
    size_t count = 0;
    for (const auto& chunk : chunks_) {
        if (chunk == nullptr) continue;
        for (const auto& ref : *chunk) count += ref != nullptr;
    }
    return count;
}

SimDrive::SimDrive(SimExecutor& executor, Trace& trace, DriveOptions options)
    : executor_(executor),
      trace_(trace),
      options_(std::move(options)),
      random_(options_.seed),
      durable_(options_.size_bytes / kSimBlockBytes),
      view_(options_.size_bytes / kSimBlockBytes) {
    UMBRA_CHECK(options_.size_bytes > 0 && options_.size_bytes % kSimBlockBytes == 0);
    UMBRA_CHECK(options_.sector_bytes == 512 || options_.sector_bytes == kSimBlockBytes);
    UMBRA_CHECK(options_.latency_min <= options_.latency_max);
    geometry_.size_bytes = options_.size_bytes;
    geometry_.sector_bytes = options_.sector_bytes;
}

SimDrive::~SimDrive() {
    UMBRA_CHECK(in_flight_.empty());
}

Result<void> SimDrive::gone() const {
    if (!powered_) return base::fail(Code::kDeviceFailed, fmt::format("drive {} has no power", options_.name));
    if (!present_) return base::fail(Code::kDeviceFailed, fmt::format("drive {} is gone", options_.name));
    return {};
}

Result<void> SimDrive::status() const {
    return gone();
}

env::Duration SimDrive::pick_latency(uint64_t bytes) {
    const auto range = static_cast<uint64_t>((options_.latency_max - options_.latency_min).count());
    int64_t ns = options_.latency_min.count() + static_cast<int64_t>(random_.below(range + 1));
    ns += static_cast<int64_t>(bytes / 2);  // 2 GB/s
    if (options_.slow_per_op != 0 && random_.one_in(options_.slow_per_op)) {
        ns += options_.latency_max.count() * static_cast<int64_t>(random_.below(20));
    }
    const FaultPlan& plan = options_.faults;
    if (plan.stall_per_op != 0 && random_.one_in(plan.stall_per_op)) {
        ++counts_.stalls;
        const auto stall_range = static_cast<uint64_t>((plan.stall_max - plan.stall_min).count());
        ns += plan.stall_min.count() + static_cast<int64_t>(random_.below(stall_range + 1));
    }
    return env::Duration(ns);
}

std::list<SimDrive::InFlight>::iterator SimDrive::begin(uint64_t offset, uint64_t bytes, bool is_read) {
    UMBRA_CHECK(offset % kSimBlockBytes == 0 && bytes % kSimBlockBytes == 0 && bytes > 0);
    UMBRA_CHECK(offset <= options_.size_bytes && bytes <= options_.size_bytes - offset);
    for (const InFlight& other : in_flight_) {
        const bool overlaps = offset < other.offset + other.bytes && other.offset < offset + bytes;
        UMBRA_CHECK(!overlaps || is_read || other.is_read);
    }
    return in_flight_.insert(in_flight_.end(), {offset, bytes, is_read});
}

std::unexpected<base::Error> SimDrive::finish(std::string_view what, uint64_t offset, Code code, std::string message) {
    trace_.mix(what, {offset, static_cast<uint64_t>(code)});
    if (trace_.printing()) {
        trace_.say(fmt::format("{:>12} {} {} {:#x}: {}", executor_.now().ns, options_.name, what, offset, message));
    }
    return base::fail(code, std::move(message));
}

void SimDrive::fill_unwritten(size_t block, std::byte* into) const {
    if (!options_.random_fill) {
        std::memset(into, 0, kSimBlockBytes);
        return;
    }
    uint64_t x = options_.seed * 0x9e3779b97f4a7c15u + block;
    for (size_t i = 0; i < kSimBlockBytes; i += 8) {
        x += 0x9e3779b97f4a7c15u;
        uint64_t z = x;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        base::store_le<uint64_t>(into + i, z ^ (z >> 31));
    }
}

void SimDrive::copy_block(const Image& image, size_t block, std::byte* into) const {
    const BlockRef& ref = image.get(block);
    if (ref == nullptr) {
        fill_unwritten(block, into);
    } else {
        std::memcpy(into, ref->data(), kSimBlockBytes);
    }
}

Task<Result<void>> SimDrive::read(uint64_t offset, std::span<const base::MutableBytes> into) {
    uint64_t bytes = 0;
    for (const auto& span : into) {
        UMBRA_CHECK(span.size() % kSimBlockBytes == 0);
        UMBRA_CHECK(reinterpret_cast<uintptr_t>(span.data()) % base::kPageBytes == 0);
        bytes += span.size();
    }
    const auto operation = begin(offset, bytes, true);
    const uint64_t epoch = epoch_;
    co_await env::sleep_for(executor_, pick_latency(bytes));
    in_flight_.erase(operation);

    std::optional<base::Error> error;
    const size_t first = offset / kSimBlockBytes;
    const size_t last = (offset + bytes) / kSimBlockBytes;
    const FaultPlan& plan = options_.faults;
    if (!alive(epoch)) {
        error = base::Error{Code::kDeviceFailed, fmt::format("drive {} went away", options_.name)};
    } else if (plan.error_per_op != 0 && random_.one_in(plan.error_per_op)) {
        ++counts_.errors;
        error = base::Error{Code::kIo, fmt::format("drive {}: injected error", options_.name)};
    } else {
        if (plan.latent_per_read != 0 && random_.one_in(plan.latent_per_read)) {
            unreadable_.insert(first + random_.below(last - first));
            ++counts_.latent;
        }
        const auto bad = unreadable_.lower_bound(first);
        if (bad != unreadable_.end() && *bad < last) {
            ++counts_.latent_reads;
            error = base::Error{Code::kMediaError, fmt::format("drive {}: block at {:#x} cannot be read", options_.name,
                                                               *bad * kSimBlockBytes)};
        }
    }
    if (error) {
        for (const auto& span : into) std::memset(span.data(), 0xdb, span.size());  // nobody may use these bytes
        co_return finish("read", offset, error->code, error->message);
    }
    uint32_t crc = 0;
    size_t block = first;
    for (const auto& span : into) {
        for (size_t at = 0; at < span.size(); at += kSimBlockBytes) copy_block(view_, block++, span.data() + at);
        crc = base::crc32c(span, crc);
    }
    bytes_read_ += bytes;
    trace_.mix("read", {offset, bytes, crc, static_cast<uint64_t>(executor_.now().ns)});
    if (trace_.printing()) {
        trace_.say(
            fmt::format("{:>12} {} read {:#x} +{} = {:08x}", executor_.now().ns, options_.name, offset, bytes, crc));
    }
    co_return Result<void>();
}

void SimDrive::note_written(size_t block) {
    constexpr size_t kSample = 512;
    if (written_sample_.size() < kSample) {
        written_sample_.push_back(block);
    } else {
        written_sample_[next_sample_++ % kSample] = block;
    }
}

void SimDrive::store(uint64_t offset, std::vector<BlockRef> blocks, uint64_t* sequence) {
    CachedWrite write;
    write.sequence = next_sequence_++;
    write.first_block = offset / kSimBlockBytes;
    for (size_t i = 0; i < blocks.size(); ++i) {
        view_.set(write.first_block + i, blocks[i]);
        if (!unreadable_.empty() && unreadable_.erase(write.first_block + i) != 0) ++counts_.healed;
    }
    write.blocks = std::move(blocks);
    if (sequence != nullptr) *sequence = write.sequence;
    cache_.push_back(std::move(write));
}

void SimDrive::change_now(size_t block, BlockRef ref) {
    view_.set(block, ref);
    // The medium is what changed: the copies of the same content in the cache and in the durable image change with it.
    for (CachedWrite& write : cache_) {
        if (block >= write.first_block && block < write.first_block + write.blocks.size()) {
            write.blocks[block - write.first_block] = ref;
        }
    }
    durable_.set(block, std::move(ref));
}

void SimDrive::maybe_fault_written(size_t first_block, size_t count) {
    const FaultPlan& plan = options_.faults;
    if (plan.latent_per_write != 0 && random_.one_in(plan.latent_per_write)) {
        make_unreadable((first_block + random_.below(count)) * kSimBlockBytes);
    }
    if (plan.flip_per_write != 0 && random_.one_in(plan.flip_per_write)) {
        size_t block = first_block + random_.below(count);
        if (random_.one_in(2) && !written_sample_.empty())
            block = written_sample_[random_.below(written_sample_.size())];
        flip_bit(block * kSimBlockBytes + random_.below(kSimBlockBytes), static_cast<unsigned>(random_.below(8)));
    }
}

Task<Result<void>> SimDrive::write(uint64_t offset, std::span<const base::Bytes> from) {
    uint64_t bytes = 0;
    for (const auto& span : from) {
        UMBRA_CHECK(span.size() % kSimBlockBytes == 0);
        UMBRA_CHECK(reinterpret_cast<uintptr_t>(span.data()) % base::kPageBytes == 0);
        bytes += span.size();
    }
    const auto operation = begin(offset, bytes, false);
    const uint64_t epoch = epoch_;
    if (!alive(epoch)) {
        co_await env::sleep_for(executor_, pick_latency(0));
        in_flight_.erase(operation);
        co_return finish("write", offset, Code::kDeviceFailed, fmt::format("drive {} went away", options_.name));
    }
    const FaultPlan& plan = options_.faults;
    std::vector<BlockRef> blocks;
    blocks.reserve(bytes / kSimBlockBytes);
    uint32_t crc = 0;
    for (const auto& span : from) {
        for (size_t at = 0; at < span.size(); at += kSimBlockBytes) {
            auto block = std::make_shared<Block>();
            std::memcpy(block->data(), span.data() + at, kSimBlockBytes);
            blocks.push_back(std::move(block));
        }
        crc = base::crc32c(span, crc);
    }
    const size_t first = offset / kSimBlockBytes;
    const size_t count = blocks.size();
    uint64_t sequence = 0;
    bool fails = false;
    if (plan.lost_per_write != 0 && random_.one_in(plan.lost_per_write)) {
        ++counts_.lost;
        if (trace_.printing()) trace_.say(fmt::format("FAULT {} loses write {:#x} +{}", options_.name, offset, bytes));
    } else if (plan.misdirected_per_write != 0 && random_.one_in(plan.misdirected_per_write)) {
        ++counts_.misdirected;
        const uint64_t room = options_.size_bytes / kSimBlockBytes - count + 1;
        uint64_t where = random_.below(room);
        if (random_.one_in(2)) where = std::min<uint64_t>(first + 1 + random_.below(16), room - 1);
        if (trace_.printing()) {
            trace_.say(fmt::format("FAULT {} writes {:#x} +{} at {:#x}", options_.name, offset, bytes,
                                   where * kSimBlockBytes));
        }
        store(where * kSimBlockBytes, std::move(blocks), &sequence);
    } else {
        fails = plan.error_per_op != 0 && random_.one_in(plan.error_per_op);
        if (!fails || random_.one_in(2)) store(offset, std::move(blocks), &sequence);
    }
    if (observer_) observer_();
    co_await env::sleep_for(executor_, pick_latency(bytes));
    in_flight_.erase(operation);
    for (auto cached = cache_.rbegin(); cached != cache_.rend(); ++cached) {
        if (cached->sequence != sequence) continue;
        cached->acknowledged = true;  // from here on no later write of these blocks can be undone by this one
        break;
    }
    if (!alive(epoch)) {
        co_return finish("write", offset, Code::kDeviceFailed, fmt::format("drive {} went away", options_.name));
    }
    uint32_t crc_after = 0;
    for (const auto& span : from) crc_after = base::crc32c(span, crc_after);
    UMBRA_CHECK(crc_after == crc);  // the caller changed a buffer that it had lent to the drive
    if (fails) {
        ++counts_.errors;
        co_return finish("write", offset, Code::kIo, fmt::format("drive {}: injected error", options_.name));
    }
    bytes_written_ += bytes;
    note_written(first);
    maybe_fault_written(first, count);
    trace_.mix("write", {offset, bytes, crc, static_cast<uint64_t>(executor_.now().ns)});
    if (trace_.printing()) {
        trace_.say(
            fmt::format("{:>12} {} write {:#x} +{} = {:08x}", executor_.now().ns, options_.name, offset, bytes, crc));
    }
    co_return Result<void>();
}

Task<Result<void>> SimDrive::flush() {
    // What is acknowledged now becomes durable when this returns, not before: a crash in between decides for itself.
    const uint64_t epoch = epoch_;
    std::vector<uint64_t> covered;
    for (const CachedWrite& write : cache_) {
        if (write.acknowledged) covered.push_back(write.sequence);
    }
    const auto operation = in_flight_.insert(in_flight_.end(), {0, 0, true});
    if (observer_) observer_();
    co_await env::sleep_for(executor_, pick_latency(0) * 2);
    in_flight_.erase(operation);
    if (!alive(epoch)) {
        co_return finish("flush", 0, Code::kDeviceFailed, fmt::format("drive {} went away", options_.name));
    }
    const FaultPlan& plan = options_.faults;
    if (plan.error_per_op != 0 && random_.one_in(plan.error_per_op)) {
        ++counts_.errors;
        co_return finish("flush", 0, Code::kIo, fmt::format("drive {}: injected error", options_.name));
    }
    size_t next = 0;
    for (auto write = cache_.begin(); write != cache_.end() && next < covered.size();) {
        while (next < covered.size() && covered[next] < write->sequence) ++next;  // another flush took it
        if (next == covered.size() || covered[next] != write->sequence) {
            ++write;
            continue;
        }
        for (size_t i = 0; i < write->blocks.size(); ++i) durable_.set(write->first_block + i, write->blocks[i]);
        write = cache_.erase(write);
    }
    ++flushes_;
    trace_.mix("flush", {covered.size(), static_cast<uint64_t>(executor_.now().ns)});
    if (trace_.printing()) {
        trace_.say(fmt::format("{:>12} {} flush of {} writes", executor_.now().ns, options_.name, covered.size()));
    }
    co_return Result<void>();
}

Task<Result<void>> SimDrive::discard(uint64_t offset, uint64_t bytes) {
    const auto operation = begin(offset, bytes, false);
    const uint64_t epoch = epoch_;
    if (alive(epoch)) {
        std::vector<BlockRef> blocks(bytes / kSimBlockBytes);
        const size_t first = offset / kSimBlockBytes;
        const uint64_t how = random_.below(3);
        static const BlockRef kZero = std::make_shared<Block>();
        for (size_t i = 0; i < blocks.size(); ++i) {
            if (how == 0) blocks[i] = view_.get(first + i);  // ignored
            if (how == 1) blocks[i] = kZero;
            // 2: reads as never written
        }
        store(offset, std::move(blocks), nullptr);
        cache_.back().acknowledged = true;
    }
    co_await env::sleep_for(executor_, pick_latency(0));
    in_flight_.erase(operation);
    if (!alive(epoch)) {
        co_return finish("discard", offset, Code::kDeviceFailed, fmt::format("drive {} went away", options_.name));
    }
    trace_.mix("discard", {offset, bytes, static_cast<uint64_t>(executor_.now().ns)});
    co_return Result<void>();
}

void SimDrive::lose_cache() {
    // One temper per cut, so that the extremes (all kept, all lost, a clean prefix) are as usual as the mixtures.
    const uint64_t temper = random_.below(8);
    const uint64_t prefix = cache_.empty() ? 0 : random_.below(cache_.size() + 1);
    uint64_t index = 0;
    bool earlier_missing = false;
    for (CachedWrite& write : cache_) {
        enum { kKeep, kLose, kTear } fate = kKeep;
        if (temper == 1) {
            fate = kLose;
        } else if (temper == 2) {
            fate = index < prefix ? kKeep : (index == prefix ? kTear : kLose);
        } else if (temper != 0) {
            const uint64_t dice = random_.below(10);
            fate = dice < 4 ? kKeep : (dice < 7 ? kLose : kTear);
        }
        ++index;
        if (fate == kLose) {
            ++counts_.crash_lost;
            earlier_missing = true;
            continue;
        }
        if (fate == kKeep) {
            ++counts_.crash_kept;
            if (earlier_missing) ++counts_.crash_reordered;
            for (size_t i = 0; i < write.blocks.size(); ++i) durable_.set(write.first_block + i, write.blocks[i]);
            continue;
        }
        ++counts_.crash_torn;
        earlier_missing = true;
        const size_t sectors_per_block = kSimBlockBytes / options_.sector_bytes;
        const size_t sectors = write.blocks.size() * sectors_per_block;
        const uint64_t shape = random_.below(3);  // a prefix, a suffix, or any subset
        const size_t cut = random_.below(sectors + 1);
        for (size_t i = 0; i < write.blocks.size(); ++i) {
            size_t kept = 0;
            std::array<bool, 8> keep{};
            for (size_t s = 0; s < sectors_per_block; ++s) {
                const size_t sector = i * sectors_per_block + s;
                keep[s] = shape == 0 ? sector < cut : (shape == 1 ? sector >= cut : random_.one_in(2));
                kept += keep[s];
            }
            const size_t block = write.first_block + i;
            if (kept == 0) continue;
            if (kept == sectors_per_block) {
                durable_.set(block, write.blocks[i]);
                continue;
            }
            auto mixed = std::make_shared<Block>();
            copy_block(durable_, block, mixed->data());
            Block fresh;
            if (write.blocks[i] == nullptr) {
                fill_unwritten(block, fresh.data());
            } else {
                fresh = *write.blocks[i];
            }
            for (size_t s = 0; s < sectors_per_block; ++s) {
                const size_t at = s * options_.sector_bytes;
                if (keep[s]) std::memcpy(mixed->data() + at, fresh.data() + at, options_.sector_bytes);
            }
            durable_.set(block, std::move(mixed));
            if (options_.faults.torn_unreadable != 0 && random_.one_in(options_.faults.torn_unreadable)) {
                unreadable_.insert(block);
                ++counts_.latent;
            }
        }
    }
    cache_.clear();
    view_ = durable_;
}

void SimDrive::crash() {
    if (!powered_) return;
    powered_ = false;
    ++epoch_;
    ++counts_.crashes;
    lose_cache();
    trace_.mix("crash", {counts_.crash_kept, counts_.crash_lost, counts_.crash_torn});
    if (trace_.printing()) trace_.say(fmt::format("{:>12} {} CRASH", executor_.now().ns, options_.name));
}

void SimDrive::power_on() {
    powered_ = true;
}

void SimDrive::vanish(bool lose_cache) {
    if (!present_) return;
    present_ = false;
    ++epoch_;
    ++counts_.vanished;
    if (lose_cache) this->lose_cache();
    trace_.mix("vanish", {lose_cache});
    if (trace_.printing()) trace_.say(fmt::format("{:>12} {} VANISHES", executor_.now().ns, options_.name));
}

void SimDrive::reappear() {
    present_ = true;
}

void SimDrive::keep_old_copy() {
    old_copy_ = std::make_unique<Image>(durable_);
}

void SimDrive::reappear_with_old_copy() {
    UMBRA_CHECK(!present_ && old_copy_ != nullptr);
    cache_.clear();
    durable_ = *old_copy_;
    view_ = durable_;
    present_ = true;
}

void SimDrive::make_unreadable(uint64_t offset) {
    ++counts_.latent;
    unreadable_.insert(offset / kSimBlockBytes);
    if (trace_.printing()) trace_.say(fmt::format("FAULT {} {:#x} unreadable", options_.name, offset));
}

void SimDrive::flip_bit(uint64_t offset, unsigned bit) {
    const size_t block = offset / kSimBlockBytes;
    auto changed = std::make_shared<Block>();
    copy_block(view_, block, changed->data());
    (*changed)[offset % kSimBlockBytes] ^= static_cast<std::byte>(1u << bit);
    ++counts_.flips;
    change_now(block, std::move(changed));
    if (trace_.printing()) trace_.say(fmt::format("FAULT {} {:#x} bit {} flipped", options_.name, offset, bit));
}

std::optional<uint64_t> SimDrive::some_written_offset() {
    if (written_sample_.empty()) return std::nullopt;
    return written_sample_[random_.below(written_sample_.size())] * kSimBlockBytes;
}

std::vector<std::byte> SimDrive::peek(uint64_t offset, size_t bytes) const {
    std::vector<std::byte> out(bytes);
    Block block;
    for (size_t done = 0; done < bytes;) {
        const size_t at = (offset + done) % kSimBlockBytes;
        const size_t count = std::min(bytes - done, kSimBlockBytes - at);
        copy_block(view_, (offset + done) / kSimBlockBytes, block.data());
        std::memcpy(out.data() + done, block.data() + at, count);
        done += count;
    }
    return out;
}

void SimDrive::poke(uint64_t offset, base::Bytes bytes) {
    for (size_t done = 0; done < bytes.size();) {
        const size_t at = (offset + done) % kSimBlockBytes;
        const size_t count = std::min(bytes.size() - done, kSimBlockBytes - at);
        const size_t block = (offset + done) / kSimBlockBytes;
        auto changed = std::make_shared<Block>();
        copy_block(view_, block, changed->data());
        std::memcpy(changed->data() + at, bytes.data() + done, count);
        change_now(block, std::move(changed));
        done += count;
    }
}

size_t SimDrive::stored_blocks() const {
    return view_.count();
}

}  // namespace umbra::sim

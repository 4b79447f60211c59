// A lun::Volume in memory, for tests and test programs: sparse, thin, with a hook before each operation that can delay
// or fail it. Every call works as the contract in lun/backend.h says; a change takes effect in one step.
#pragma once

#include <algorithm>
#include <array>
#include <cstring>
#include <functional>
#include <map>
#include <string>
#include <utility>
#include <vector>

#include "lun/backend.h"

namespace umbra::lun::testing {

enum class Operation : uint8_t { kRead, kWrite, kWriteZeroes, kCompareAndWrite, kFlush, kMapStatus };

class MemoryVolume final : public Volume {
public:
    /// Called before each operation; an error becomes the operation's result, and nothing is changed.
    using Hook = std::function<Task<Result<void>>(Operation operation, uint64_t offset, uint64_t bytes)>;

    explicit MemoryVolume(uint64_t size_bytes, bool writable = true) : size_(size_bytes), writable_(writable) {
        UMBRA_CHECK(size_bytes % kPhysicalBlockBytes == 0);
    }

    void set_hook(Hook hook) { hook_ = std::move(hook); }
    void set_writable(bool writable) { writable_ = writable; }
    void resize(uint64_t size_bytes) {
        UMBRA_CHECK(size_bytes % kPhysicalBlockBytes == 0);
        blocks_.erase(blocks_.lower_bound(size_bytes / kPhysicalBlockBytes), blocks_.end());
        size_ = size_bytes;
    }
    /// The same content, for snapshots and comparisons.
    void copy_from(const MemoryVolume& other) {
        blocks_ = other.blocks_;
        size_ = other.size_;
    }
    uint64_t mapped_bytes() const { return blocks_.size() * kPhysicalBlockBytes; }
    uint64_t flushes() const { return flushes_; }
    uint64_t fua_writes() const { return fua_writes_; }

    uint64_t size_bytes() const override { return size_; }
    bool writable() const override { return writable_; }

    Task<Result<void>> read(uint64_t offset, MutableBytes into) override {
        UMBRA_CO_TRY(check_range(offset, into.size()));
        if (hook_) UMBRA_CO_TRY(co_await hook_(Operation::kRead, offset, into.size()));
        copy_out(offset, into);
        co_return Result<void>();
    }

    Task<Result<void>> write(uint64_t offset, Bytes from, WriteOptions options) override {
        UMBRA_CO_TRY(check_write(offset, from.size()));
        if (hook_) UMBRA_CO_TRY(co_await hook_(Operation::kWrite, offset, from.size()));
        copy_in(offset, from);
        if (options.fua) ++fua_writes_;
        co_return Result<void>();
    }

    Task<Result<void>> write_zeroes(uint64_t offset, uint64_t bytes, WriteOptions options) override {
        UMBRA_CO_TRY(check_write(offset, bytes));
        if (hook_) UMBRA_CO_TRY(co_await hook_(Operation::kWriteZeroes, offset, bytes));
        const uint64_t end = offset + bytes;
        for (auto it = blocks_.lower_bound(offset / kPhysicalBlockBytes); it != blocks_.end();) {
            const uint64_t start = it->first * kPhysicalBlockBytes;
            if (start >= end) break;
            const uint64_t from = std::max(start, offset) - start;
            const uint64_t to = std::min(start + kPhysicalBlockBytes, end) - start;
            if (to - from == kPhysicalBlockBytes) {
                it = blocks_.erase(it);
            } else {
                std::memset(it->second.data() + from, 0, to - from);
                ++it;
            }
        }
        if (options.fua) ++fua_writes_;
        co_return Result<void>();
    }

    Task<Result<void>> compare_and_write(uint64_t offset, Bytes expected, Bytes from, WriteOptions options) override {
        if (expected.size() != from.size()) co_return base::fail(base::Code::kInvalidArgument, "sizes differ");
        UMBRA_CO_TRY(check_write(offset, from.size()));
        if (hook_) UMBRA_CO_TRY(co_await hook_(Operation::kCompareAndWrite, offset, from.size()));
        std::vector<std::byte> now(expected.size());
        copy_out(offset, now);
        if (!std::equal(now.begin(), now.end(), expected.begin())) {
            co_return base::fail(base::Code::kMiscompare, "the content differs");
        }
        copy_in(offset, from);
        if (options.fua) ++fua_writes_;
        co_return Result<void>();
    }

    Task<Result<void>> flush() override {
        if (hook_) UMBRA_CO_TRY(co_await hook_(Operation::kFlush, 0, 0));
        ++flushes_;
        co_return Result<void>();
    }

    Task<Result<std::vector<Extent>>> map_status(uint64_t offset, uint64_t bytes, size_t max_extents) override {
        UMBRA_CO_TRY(check_range(offset, bytes));
        if (offset % kPhysicalBlockBytes != 0) {
            co_return base::fail(base::Code::kInvalidArgument, "offset is not a multiple of 4 KiB");
        }
        if (hook_) UMBRA_CO_TRY(co_await hook_(Operation::kMapStatus, offset, bytes));
        std::vector<Extent> extents;
        const uint64_t end = offset + bytes;
        for (uint64_t at = offset; at < end;) {
            const uint64_t block = at / kPhysicalBlockBytes;
            auto it = blocks_.lower_bound(block);
            const bool mapped = it != blocks_.end() && it->first == block;
            uint64_t next = block;
            if (mapped) {
                for (; it != blocks_.end() && it->first == next; ++it) ++next;
            } else {
                next = it == blocks_.end() ? (end + kPhysicalBlockBytes - 1) / kPhysicalBlockBytes : it->first;
            }
            const uint64_t stop = std::min(end, next * kPhysicalBlockBytes);
            if (extents.size() == max_extents) break;
            extents.push_back({at, stop - at, mapped});
            at = stop;
        }
        co_return extents;
    }

private:
    using Block = std::array<std::byte, kPhysicalBlockBytes>;

    Result<void> check_range(uint64_t offset, uint64_t bytes) const {
        if (offset % kLogicalBlockBytes != 0 || bytes % kLogicalBlockBytes != 0) {
            return base::fail(base::Code::kInvalidArgument, "range is not a multiple of 512 bytes");
        }
        if (offset > size_ || bytes > size_ - offset) {
            return base::fail(base::Code::kInvalidArgument, "range lies beyond the end of the volume");
        }
        return {};
    }
    Result<void> check_write(uint64_t offset, uint64_t bytes) const {
        if (!writable_) return base::fail(base::Code::kWriteProtected, "the volume is read-only");
        return check_range(offset, bytes);
    }
    void copy_out(uint64_t offset, MutableBytes into) const {
        for (size_t done = 0; done < into.size();) {
            const uint64_t at = offset + done;
            const size_t within = at % kPhysicalBlockBytes;
            const size_t count = std::min<size_t>(into.size() - done, kPhysicalBlockBytes - within);
            const auto found = blocks_.find(at / kPhysicalBlockBytes);
            if (found == blocks_.end()) {
                std::memset(into.data() + done, 0, count);
            } else {
                std::memcpy(into.data() + done, found->second.data() + within, count);
            }
            done += count;
        }
    }
    void copy_in(uint64_t offset, Bytes from) {
        for (size_t done = 0; done < from.size();) {
            const uint64_t at = offset + done;
            const size_t within = at % kPhysicalBlockBytes;
            const size_t count = std::min<size_t>(from.size() - done, kPhysicalBlockBytes - within);
            std::memcpy(blocks_[at / kPhysicalBlockBytes].data() + within, from.data() + done, count);
            done += count;
        }
    }

    std::map<uint64_t, Block> blocks_;
    uint64_t size_;
    bool writable_;
    uint64_t flushes_ = 0;
    uint64_t fua_writes_ = 0;
    Hook hook_;
};

}  // namespace umbra::lun::testing

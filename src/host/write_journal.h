// Writes that the array has acknowledged and not yet made durable, in the order of their answers: what is written again
// when the array comes back without them. All memory is allocated at the start.
#pragma once

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <vector>

#include "base/bytes.h"
#include "base/check.h"

namespace umbra::host {

class WriteJournal {
public:
    struct Entry {
        uint8_t kind = 0;  ///< the caller's
        uint64_t lba = 0;
        uint32_t blocks = 0;
        std::byte* data = nullptr;  ///< null: without data
        size_t taken = 0;           ///< of the ring, skipped bytes included
    };

    WriteJournal(size_t bytes, size_t entries) : ring_(bytes, bytes != 0), entries_(entries) {}

    /// False when there is no room; nothing has changed then. `data` is copied.
    bool add(uint8_t kind, uint64_t lba, uint32_t blocks, const std::byte* data, size_t bytes) {
        if (end_ - begin_ >= entries_.size()) return false;
        size_t skip = 0;
        if (bytes != 0) {
            if (ring_.size() - head_ < bytes) skip = ring_.size() - head_;
            if (skip + bytes > ring_.size() - used_) return false;
        }
        Entry& entry = entries_[end_ % entries_.size()];
        entry = {kind, lba, blocks, nullptr, skip + bytes};
        if (bytes != 0) {
            if (skip != 0) head_ = 0;
            entry.data = ring_.data() + head_;
            std::memcpy(entry.data, data, bytes);
            head_ += bytes;
            if (head_ == ring_.size()) head_ = 0;
            used_ += entry.taken;
        }
        ++end_;
        return true;
    }

    /// Everything numbered below `number` is durable.
    void forget(uint64_t number) {
        for (; begin_ < std::min(number, end_); ++begin_) used_ -= entries_[begin_ % entries_.size()].taken;
        if (begin_ == end_) head_ = 0;
    }

    /// Entries are numbered from begin() to end() - 1; numbers are never used again.
    uint64_t begin() const { return begin_; }
    uint64_t end() const { return end_; }
    bool empty() const { return begin_ == end_; }
    size_t bytes() const { return used_; }
    const Entry& at(uint64_t number) const {
        UMBRA_CHECK(number >= begin_ && number < end_);
        return entries_[number % entries_.size()];
    }
    bool half_full() const { return used_ * 2 >= ring_.size() || (end_ - begin_) * 2 >= entries_.size(); }

private:
    base::Buffer ring_;
    std::vector<Entry> entries_;
    uint64_t begin_ = 0;
    uint64_t end_ = 0;
    size_t head_ = 0;  // where the next data goes
    size_t used_ = 0;
};

}  // namespace umbra::host

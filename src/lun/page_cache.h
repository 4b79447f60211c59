// Map pages as they are on the drives, by virtual block number; never changed, evicted least recently used first.
#pragma once

#include <array>
#include <list>
#include <memory>
#include <unordered_map>

#include "store/format.h"

namespace umbra::lun {

struct CleanPage {
    std::array<std::byte, store::kBlockBytes> bytes{};
};
using CleanPageRef = std::shared_ptr<const CleanPage>;

class PageCache {
public:
    explicit PageCache(size_t capacity) : capacity_(capacity) {}

    CleanPageRef find(uint64_t vbn) {
        const auto found = pages_.find(vbn);
        if (found == pages_.end()) return nullptr;
        recent_.splice(recent_.begin(), recent_, found->second.position);
        return found->second.page;
    }
    void insert(uint64_t vbn, CleanPageRef page) {
        erase(vbn);
        recent_.push_front(vbn);
        pages_[vbn] = {std::move(page), recent_.begin()};
        // Pages that somebody holds are being used to walk a map: they stay.
        for (auto oldest = recent_.end(); pages_.size() > capacity_ && oldest != recent_.begin();) {
            --oldest;
            const auto entry = pages_.find(*oldest);
            if (entry->second.page.use_count() > 1 || *oldest == vbn) continue;
            pages_.erase(entry);
            oldest = recent_.erase(oldest);
        }
    }
    void erase(uint64_t vbn) {
        const auto found = pages_.find(vbn);
        if (found == pages_.end()) return;
        recent_.erase(found->second.position);
        pages_.erase(found);
    }
    size_t size() const { return pages_.size(); }

private:
    struct Entry {
        CleanPageRef page;
        std::list<uint64_t>::iterator position;
    };
    size_t capacity_;
    std::unordered_map<uint64_t, Entry> pages_;
    std::list<uint64_t> recent_;
};

}  // namespace umbra::lun

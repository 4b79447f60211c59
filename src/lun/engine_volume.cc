// Reading and writing volumes.
#include <algorithm>

#include <fmt/format.h>

#include "lun/engine.h"

namespace umbra::lun {

using base::Code;
using base::fail;
using store::EntryKind;
using store::kBlockBytes;
using store::Priority;
using store::Room;

namespace {
constexpr uint64_t kLeafBlocks = store::kPointersPerPage;
constexpr uint64_t kReadStepBlocks = 256;
constexpr int kMaxSpaceAttempts = 64;
constexpr int kMaxLookups = 100000;  // checkpoints may move what is being looked up; so many never do
constexpr uint64_t kAtomicBlocks = kAtomicWriteBytes / kBlockBytes + 1;  // one more when it begins within a block
}  // namespace

Task<Result<void>> Engine::read_blocks(uint64_t id, uint64_t first, uint64_t count, MutableBytes into) {
    for (int attempt = 0; count > 0;) {
        UMBRA_CO_TRY(check_running());
        const uint64_t here = std::min({count, kReadStepBlocks, kLeafBlocks - first % kLeafBlocks});
        const MutableBytes part = into.first(here * kBlockBytes);
        const Node* node = find(id);
        if (node == nullptr || node->deleting) co_return fail(Code::kDeviceFailed, "the volume is gone");
        Result<void> outcome =
            fail(Code::kDeviceFailed, fmt::format("volume {} has failed: too many of its drives are gone", id));
        bool again = false;
        std::vector<store::ReadItem> items(here);
        std::vector<size_t> bad;
        uint64_t items_epoch = 0;
        // The first plex that can read everything; what an earlier one could not is repaired from it.
        for (size_t p = 0; p < node->plexes.size(); ++p) {
            if (!plex_live(node->plexes[p])) continue;
            Pins pins;
            outcome = co_await ensure_path(id, p, first, &pins);
            node = find(id);
            if (node == nullptr || node->deleting) co_return fail(Code::kDeviceFailed, "the volume is gone");
            if (!outcome) continue;
            const uint64_t epoch = store_.commits;
            std::vector<store::ReadItem> mine(here);
            std::vector<store::ReadItem*> wanted;
            bool resident = true;
            for (uint64_t i = 0; i < here; ++i) {
                const Lookup found = lookup(node->plexes[p], node->levels, first + i);
                resident = resident && found.resident;
                mine[i] = {.pointer = found.value,
                           .into = part.subspan(i * kBlockBytes, kBlockBytes),
                           .ok = found.value.is_hole()};
                if (!resident) break;
            }
            if (!resident) {
                again = true;
                break;
            }
            const bool retry = !bad.empty();
            for (uint64_t i = 0; i < here; ++i) {
                const bool needed = !retry || std::find(bad.begin(), bad.end(), i) != bad.end();
                if (!needed) continue;
                if (mine[i].pointer.is_hole()) {
                    std::memset(mine[i].into.data(), 0, kBlockBytes);
                } else {
                    wanted.push_back(&mine[i]);
                }
            }
            const auto done = co_await store_.read(wanted, epoch);
            node = find(id);
            if (node == nullptr || node->deleting) co_return fail(Code::kDeviceFailed, "the volume is gone");
            if (!done && done.error().code == Code::kBusy) {
                again = true;
                break;
            }
            if (!done) {
                outcome = done;
                continue;
            }
            std::vector<size_t> still;
            for (uint64_t i = 0; i < here; ++i) {
                const bool needed = !retry || std::find(bad.begin(), bad.end(), i) != bad.end();
                if (needed && !mine[i].ok) still.push_back(i);
            }
            if (retry) {
                for (const size_t i : bad) {
                    if (mine[i].ok && !mine[i].pointer.is_hole() && items[i].pointer.crc == mine[i].pointer.crc) {
                        co_await store_.rewrite(items[i].pointer, mine[i].into, items_epoch);
                    }
                }
                node = find(id);
                if (node == nullptr || node->deleting) co_return fail(Code::kDeviceFailed, "the volume is gone");
            } else {
                items = std::move(mine);
                items_epoch = epoch;
            }
            if (still.empty()) {
                outcome = Result<void>();
                bad.clear();
                break;
            }
            bad = std::move(still);
            outcome =
                fail(Code::kMediaError, fmt::format("block {} of volume {} has no good copy", first + bad[0], id));
        }
        if (again) {
            if (++attempt > kMaxLookups)
                co_return fail(Code::kInternal, "a map refers to a block that is not in the block table");
            continue;
        }
        if (!outcome) {
            UMBRA_CO_TRY(check_running());
            if (outcome.error().code == Code::kMediaError && first_live(*node) != nullptr)
                event("block.lost", outcome.error().message, id);
            if (first_live(*node) == nullptr)
                outcome =
                    fail(Code::kDeviceFailed, fmt::format("volume {} has failed: too many of its drives are gone", id));
            co_return outcome;
        }
        first += here;
        count -= here;
        into = into.subspan(here * kBlockBytes);
    }
    co_return Result<void>();
}

Task<Result<void>> Engine::write_blocks(uint64_t id, uint64_t first, Bytes from) {
    const uint64_t count = from.size() / kBlockBytes;
    UMBRA_CHECK(count > 0 && count * kBlockBytes == from.size() && count <= kAtomicBlocks);
    int without_space = 0;
    int space_attempts = 0;
    for (;;) {
        UMBRA_CO_TRY(check_running());
        if (dirty_pages_ >= options_.max_dirty_pages || store_.blocks.changes() >= options_.max_changes)
            UMBRA_CO_TRY(co_await checkpoint());
        auto guard = co_await gate_.lock_shared();
        UMBRA_CO_TRY(check_running());
        Node* node = find(id);
        if (node == nullptr || node->deleting) co_return fail(Code::kDeviceFailed, "the volume is gone");
        Pins pins;
        bool path_lost = false;
        for (size_t p = 0; p < node->plexes.size(); ++p) {
            if (!plex_live(node->plexes[p])) continue;
            auto ready = co_await ensure_path(id, p, first, &pins);
            if (ready) ready = co_await ensure_path(id, p, first + count - 1, &pins);
            if (ready) continue;
            if (!plex_live(node->plexes[p])) {  // its drive went while it was read
                path_lost = true;
                break;
            }
            if (ready.error().code != Code::kMediaError || live_streams(*node).size() < 2) co_return ready;
            // This plex cannot say what it maps here: only the others are to be trusted from now on.
            drop_plex(*node, p, "a map page has no good copy");
            path_lost = true;
            break;
        }
        if (path_lost) continue;
        if (!store_.blocks.has_free(count * node->plexes.size())) {
            UMBRA_CO_TRY(co_await store_.blocks.refill(count * node->plexes.size()));
        }
        bool ready = store_.blocks.has_free(count * node->plexes.size());
        bool any = false;
        bool full = false;
        store::Stream* wait_for = nullptr;
        for (size_t p = 0; p < node->plexes.size() && ready; ++p) {
            if (!plex_live(node->plexes[p])) continue;
            any = true;
            ready = lookup(node->plexes[p], node->levels, first).resident &&
                    lookup(node->plexes[p], node->levels, first + count - 1).resident;
            if (!ready) break;
            store::Stream* stream = store_.stream(node->plexes[p].stream);
            switch (stream->make_room(count, count, Priority::kHost)) {
                case Room::kReady:
                    break;
                case Room::kWait:
                    wait_for = stream;
                    ready = false;
                    break;
                case Room::kNoSpace:
                    full = true;
                    ready = false;
                    break;
                case Room::kLost:
                    ready = false;
                    break;
            }
        }
        if (!any)
            co_return fail(Code::kDeviceFailed,
                           fmt::format("volume {} has failed: too many of its drives are gone", id));
        if (wait_for != nullptr) {
            co_await wait_for->progress();
            continue;
        }
        if (full) {
            guard.unlock();
            UMBRA_CO_ASSIGN(const bool freed, co_await make_space());
            if ((!freed && ++without_space >= 2) || ++space_attempts >= kMaxSpaceAttempts) {
                event("pool.full",
                      fmt::format("volume {}: the pool is full; add drives or remove volumes or snapshots", id), id);
                co_return fail(Code::kNoSpace, "the pool is full");
            }
            continue;
        }
        if (!ready) continue;
        // No co_await below: one birth, all blocks in one record of each plex, maps changed together.
        const uint64_t birth = ++store_.birth;
        for (size_t p = 0; p < node->plexes.size(); ++p) {
            if (!plex_live(node->plexes[p])) continue;
            store::Stream* stream = store_.stream(node->plexes[p].stream);
            for (uint64_t i = 0; i < count; ++i) {
                const BlockPtr pointer = stream->append({.kind = EntryKind::kWrite,
                                                         .plex = static_cast<uint8_t>(p),
                                                         .count = 0,
                                                         .crc = 0,
                                                         .volume = id,
                                                         .lba = first + i,
                                                         .vbn = 0,
                                                         .birth = birth},
                                                        from.subspan(i * kBlockBytes, kBlockBytes));
                set_pointer(*node, p, first + i, pointer);
            }
        }
        if (dirty_pages_ >= options_.max_dirty_pages / 2 || store_.blocks.changes() >= options_.max_changes / 2) kick();
        co_return Result<void>();
    }
}

Task<Result<void>> Engine::zero_blocks(uint64_t id, uint64_t first, uint64_t count) {
    const uint64_t end = first + count;
    int without_space = 0;
    while (first < end) {
        UMBRA_CO_TRY(check_running());
        if (dirty_pages_ >= options_.max_dirty_pages || store_.blocks.changes() >= options_.max_changes)
            UMBRA_CO_TRY(co_await checkpoint());
        auto guard = co_await gate_.lock_shared();
        UMBRA_CO_TRY(check_running());
        Node* node = find(id);
        if (node == nullptr || node->deleting) co_return fail(Code::kDeviceFailed, "the volume is gone");
        const uint64_t here = std::min(end - first, kLeafBlocks - first % kLeafBlocks);
        Pins pins;
        bool again = false;
        bool any = false;
        bool full = false;
        bool hole = true;
        uint64_t next = first + here;
        uint64_t hole_end = UINT64_MAX;
        store::Stream* wait_for = nullptr;
        for (size_t p = 0; p < node->plexes.size(); ++p) {
            if (!plex_live(node->plexes[p])) continue;
            const auto ready = co_await ensure_path(id, p, first, &pins);
            if (ready || !plex_live(node->plexes[p])) continue;  // or its drive went while it was read
            if (ready.error().code != Code::kMediaError || live_streams(*node).size() < 2) co_return ready;
            drop_plex(*node, p, "a map page has no good copy");
        }
        for (size_t p = 0; p < node->plexes.size() && !again; ++p) {
            if (!plex_live(node->plexes[p])) continue;
            any = true;
            const Lookup found = lookup(node->plexes[p], node->levels, first);
            if (!found.resident) {
                again = true;
                break;
            }
            if (found.value.is_hole() && found.hole_level > 0) {
                const uint64_t span = 1ull << (8 * found.hole_level);
                hole_end = std::min(hole_end, (first / span + 1) * span);
                continue;
            }
            hole = false;
            switch (store_.stream(node->plexes[p].stream)->make_room(1, 0, Priority::kHost)) {
                case Room::kReady:
                    break;
                case Room::kWait:
                    wait_for = store_.stream(node->plexes[p].stream);
                    again = true;
                    break;
                case Room::kNoSpace:
                    // Giving space back must work on a full pool: it may use the reserve.
                    full =
                        store_.stream(node->plexes[p].stream)->make_room(1, 0, Priority::kBackground) != Room::kReady;
                    again = full;
                    break;
                case Room::kLost:
                    again = true;
                    break;
            }
        }
        if (!any)
            co_return fail(Code::kDeviceFailed,
                           fmt::format("volume {} has failed: too many of its drives are gone", id));
        if (wait_for != nullptr) co_await wait_for->progress();
        if (full) {
            guard.unlock();
            UMBRA_CO_ASSIGN(const bool freed, co_await make_space());
            if (!freed && ++without_space >= 2) co_return fail(Code::kNoSpace, "the pool is full");
        }
        if (again) continue;
        if (hole) {
            first = std::max(next, std::min(hole_end, end));
            continue;
        }
        const uint64_t birth = ++store_.birth;
        for (size_t p = 0; p < node->plexes.size(); ++p) {
            if (!plex_live(node->plexes[p])) continue;
            const Lookup found = lookup(node->plexes[p], node->levels, first);
            if (found.value.is_hole() && found.hole_level > 0) continue;
            store_.stream(node->plexes[p].stream)
                ->append({.kind = EntryKind::kZero,
                          .plex = static_cast<uint8_t>(p),
                          .count = static_cast<uint16_t>(here),
                          .crc = 0,
                          .volume = id,
                          .lba = first,
                          .vbn = 0,
                          .birth = birth},
                         {});
            for (uint64_t i = 0; i < here; ++i) set_pointer(*node, p, first + i, {.vbn = 0, .birth = birth, .crc = 0});
        }
        if (dirty_pages_ >= options_.max_dirty_pages / 2 || store_.blocks.changes() >= options_.max_changes / 2) kick();
        first = next;
    }
    co_return Result<void>();
}

Task<Result<void>> Engine::flush_volume(uint64_t id) {
    UMBRA_CO_TRY(check_running());
    const Node* node = find(id);
    if (node == nullptr || node->deleting) co_return fail(Code::kDeviceFailed, "the volume is gone");
    UMBRA_CO_TRY(co_await flush_streams(live_streams(*node)));
    node = find(id);
    if (node == nullptr || first_live(*node) == nullptr) {
        co_return fail(Code::kDeviceFailed, fmt::format("volume {} has failed: too many of its drives are gone", id));
    }
    co_return Result<void>();
}

/// The handle that callers hold: checks ranges, splits, merges partial blocks.
class EngineVolume final : public Volume {
public:
    EngineVolume(Engine& engine, uint64_t id) : engine_(engine), id_(id) {}

    uint64_t size_bytes() const override {
        const Node* node = engine_.find(id_);
        return node == nullptr ? 0 : node->size_bytes;
    }
    bool writable() const override {
        const Node* node = engine_.find(id_);
        return node != nullptr && node->head;
    }

    Task<Result<void>> read(uint64_t offset, MutableBytes into) override {
        const Engine::Call call(engine_);
        UMBRA_CO_TRY(check(offset, into.size()));
        if (into.empty()) co_return Result<void>();
        const uint64_t first = offset / kBlockBytes;
        const uint64_t last = (offset + into.size() - 1) / kBlockBytes;
        const auto ranges = engine_.find(id_)->ranges;
        auto guard = co_await ranges->lock(first, last - first + 1);  // a read sees a write whole or not at all
        UMBRA_CO_TRY(check(offset, into.size()));
        const bool aligned = offset % kBlockBytes == 0 && into.size() % kBlockBytes == 0 &&
                             reinterpret_cast<uintptr_t>(into.data()) % kBlockBytes == 0;
        if (aligned) {
            co_return co_await engine_.read_blocks(id_, first, last - first + 1, into);
        }
        base::Buffer whole((last - first + 1) * kBlockBytes);
        UMBRA_CO_TRY(co_await engine_.read_blocks(id_, first, last - first + 1, whole.span()));
        std::memcpy(into.data(), whole.data() + offset % kBlockBytes, into.size());
        co_return Result<void>();
    }

    Task<Result<void>> write(uint64_t offset, Bytes from, WriteOptions options) override {
        const Engine::Call call(engine_);
        UMBRA_CO_TRY(check(offset, from.size()));
        UMBRA_CO_TRY(check_writable());
        if (!from.empty()) {
            const uint64_t first = offset / kBlockBytes;
            const uint64_t last = (offset + from.size() - 1) / kBlockBytes;
            const auto ranges = engine_.find(id_)->ranges;
            auto guard = co_await ranges->lock(first, last - first + 1);
            UMBRA_CO_TRY(check(offset, from.size()));
            UMBRA_CO_TRY(co_await write_locked(offset, from));
        }
        if (options.fua) UMBRA_CO_TRY(co_await engine_.flush_volume(id_));
        co_return Result<void>();
    }

    Task<Result<void>> write_zeroes(uint64_t offset, uint64_t bytes, WriteOptions options) override {
        const Engine::Call call(engine_);
        UMBRA_CO_TRY(check(offset, bytes));
        UMBRA_CO_TRY(check_writable());
        if (bytes > 0) {
            const uint64_t first = offset / kBlockBytes;
            const uint64_t last = (offset + bytes - 1) / kBlockBytes;
            const auto ranges = engine_.find(id_)->ranges;
            auto guard = co_await ranges->lock(first, last - first + 1);
            UMBRA_CO_TRY(check(offset, bytes));
            static const base::Buffer zeros(kAtomicWriteBytes, true);
            const uint64_t end = offset + bytes;
            const uint64_t whole_first = (offset + kBlockBytes - 1) / kBlockBytes;
            const uint64_t whole_end = end / kBlockBytes;
            const bool one_step =
                offset % kBlockBytes == 0 && end % kBlockBytes == 0 && first / kLeafBlocks == last / kLeafBlocks;
            if (whole_first > whole_end ||
                (bytes <= kAtomicWriteBytes && !one_step)) {  // all or nothing: written as data
                UMBRA_CO_TRY(co_await write_locked(offset, zeros.span(0, bytes)));
            } else {
                if (offset % kBlockBytes != 0) {
                    UMBRA_CO_TRY(co_await write_locked(offset, zeros.span(0, whole_first * kBlockBytes - offset)));
                }
                if (whole_end > whole_first) {
                    UMBRA_CO_TRY(co_await engine_.zero_blocks(id_, whole_first, whole_end - whole_first));
                }
                if (end % kBlockBytes != 0) {
                    UMBRA_CO_TRY(
                        co_await write_locked(whole_end * kBlockBytes, zeros.span(0, end - whole_end * kBlockBytes)));
                }
            }
        }
        if (options.fua) UMBRA_CO_TRY(co_await engine_.flush_volume(id_));
        co_return Result<void>();
    }

    Task<Result<void>> compare_and_write(uint64_t offset, Bytes expected, Bytes from, WriteOptions options) override {
        const Engine::Call call(engine_);
        UMBRA_CO_TRY(check(offset, from.size()));
        UMBRA_CO_TRY(check_writable());
        if (expected.size() != from.size() || from.empty() || from.size() > kAtomicWriteBytes) {
            co_return fail(Code::kInvalidArgument,
                           fmt::format("compare-and-write takes 512 to {} bytes, as many to compare as to write",
                                       kAtomicWriteBytes));
        }
        {
            const uint64_t first = offset / kBlockBytes;
            const uint64_t last = (offset + from.size() - 1) / kBlockBytes;
            const auto ranges = engine_.find(id_)->ranges;
            auto guard = co_await ranges->lock(first, last - first + 1);
            UMBRA_CO_TRY(check(offset, from.size()));
            base::Buffer whole((last - first + 1) * kBlockBytes);
            UMBRA_CO_TRY(co_await engine_.read_blocks(id_, first, last - first + 1, whole.span()));
            const auto differs = std::mismatch(expected.begin(), expected.end(), whole.data() + offset % kBlockBytes);
            if (differs.first != expected.end()) {
                co_return fail(Code::kMiscompare, fmt::format("{}", differs.first - expected.begin()));
            }
            UMBRA_CO_TRY(co_await write_locked(offset, from));
        }
        if (options.fua) UMBRA_CO_TRY(co_await engine_.flush_volume(id_));
        co_return Result<void>();
    }

    Task<Result<void>> flush() override {
        const Engine::Call call(engine_);
        if (!writable()) {
            UMBRA_CO_TRY(engine_.check_running());
            co_return Result<void>();
        }
        co_return co_await engine_.flush_volume(id_);
    }

    Task<Result<std::vector<Extent>>> map_status(uint64_t offset, uint64_t bytes, size_t max_extents) override {
        const Engine::Call call(engine_);
        UMBRA_CO_TRY(check(offset, bytes));
        std::vector<Extent> extents;
        uint64_t at = offset / kBlockBytes * kBlockBytes;
        const uint64_t end = offset + bytes;
        while (at < end && extents.size() <= max_extents) {
            const Node* node = engine_.find(id_);
            const Plex* live = node == nullptr ? nullptr : engine_.first_live(*node);
            if (live == nullptr) co_return fail(Code::kDeviceFailed, "the volume has failed");
            Engine::Pins pins;
            UMBRA_CO_TRY(co_await engine_.ensure_path(id_, static_cast<size_t>(live - node->plexes.data()),
                                                      at / kBlockBytes, &pins));
            node = engine_.find(id_);
            live = node == nullptr ? nullptr : engine_.first_live(*node);
            if (live == nullptr) continue;
            const Engine::Lookup found = engine_.lookup(*live, node->levels, at / kBlockBytes);
            if (!found.resident) continue;
            uint64_t span = kBlockBytes;
            if (found.hole_level > 0) {
                const uint64_t covered = kBlockBytes << (8 * found.hole_level);
                span = (at / covered + 1) * covered - at;
            }
            span = std::min(span, end - at);
            const bool mapped = !found.value.is_hole();
            if (!extents.empty() && extents.back().mapped == mapped) {
                extents.back().bytes += span;
            } else {
                extents.push_back({.offset = at, .bytes = span, .mapped = mapped});
            }
            at += span;
        }
        if (extents.size() > max_extents) extents.resize(max_extents);
        co_return extents;
    }

private:
    Result<void> check(uint64_t offset, uint64_t bytes) const {
        UMBRA_TRY(engine_.check_running());
        const Node* node = engine_.find(id_);
        if (node == nullptr || node->deleting) return fail(Code::kDeviceFailed, "the volume is gone");
        if (offset % kLogicalBlockBytes != 0 || bytes % kLogicalBlockBytes != 0 || offset > node->size_bytes ||
            bytes > node->size_bytes - offset) {
            return fail(Code::kInvalidArgument,
                        fmt::format("range {}+{} does not lie on whole 512-byte blocks of the volume's {} bytes",
                                    offset, bytes, node->size_bytes));
        }
        return {};
    }
    Result<void> check_writable() const {
        if (!writable()) return fail(Code::kWriteProtected, "a snapshot cannot be written");
        return {};
    }

    /// The range is locked. Splits what is longer than kAtomicWriteBytes; merges partial first and last blocks.
    Task<Result<void>> write_locked(uint64_t offset, Bytes from) {
        while (!from.empty()) {
            const uint64_t room =
                from.size() <= kAtomicWriteBytes ? kAtomicWriteBytes : kAtomicWriteBytes - offset % kAtomicWriteBytes;
            const Bytes part = from.first(std::min<uint64_t>(room, from.size()));
            const uint64_t first = offset / kBlockBytes;
            const uint64_t last = (offset + part.size() - 1) / kBlockBytes;
            if (offset % kBlockBytes == 0 && part.size() % kBlockBytes == 0) {
                UMBRA_CO_TRY(co_await engine_.write_blocks(id_, first, part));
            } else {
                base::Buffer whole((last - first + 1) * kBlockBytes);
                const bool head_partial = offset % kBlockBytes != 0;
                const bool tail_partial = (offset + part.size()) % kBlockBytes != 0;
                if (head_partial || (tail_partial && first == last)) {
                    UMBRA_CO_TRY(co_await engine_.read_blocks(id_, first, 1, whole.span(0, kBlockBytes)));
                }
                if (tail_partial && last != first) {
                    UMBRA_CO_TRY(co_await engine_.read_blocks(id_, last, 1,
                                                              whole.span((last - first) * kBlockBytes, kBlockBytes)));
                }
                std::memcpy(whole.data() + offset % kBlockBytes, part.data(), part.size());
                UMBRA_CO_TRY(co_await engine_.write_blocks(id_, first, whole.span()));
            }
            offset += part.size();
            from = from.subspan(part.size());
        }
        co_return Result<void>();
    }

    Engine& engine_;
    uint64_t id_;
};

Result<std::shared_ptr<Volume>> Engine::open(VolumeId id) {
    UMBRA_TRY(visible(id));
    return std::make_shared<EngineVolume>(*this, id.value);
}

}  // namespace umbra::lun

// Redundancy restored: parity regeneration, mirror resynchronisation; and scrub.
#include <algorithm>
#include <array>

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
constexpr int kMaxLookups = 100000;
/// Metadata pages that scrub reads while checkpoints wait.
constexpr uint64_t kScrubPages = 64;
}  // namespace

Task<Result<void>> Engine::recover(VolumeId id, Progress& progress) {
    const Call call(*this);
    UMBRA_CO_TRY(check_running());
    uint64_t recovery = 0;
    LunType type = LunType::kSimple;
    while (recovery == 0) {
        if (progress.cancel) co_return fail(Code::kCancelled, "cancelled");
        auto guard = co_await gate_.lock();
        UMBRA_CO_TRY(check_running());
        UMBRA_CO_ASSIGN(Node* const node, visible(id));
        type = node->type;
        if (type != LunType::kMirror && type != LunType::kParity) {
            co_return fail(Code::kInvalidArgument,
                           fmt::format("a {} volume has no redundancy to recover", to_string(type)));
        }
        if (node->recovering)
            co_return fail(Code::kBusy, "a recovery of this volume or of one that shares its blocks is running");
        if (health(*node) == Health::kFailed)
            co_return fail(Code::kDeviceFailed,
                           fmt::format("volume {} has failed: nothing is left to recover from", id.value));
        // A removal that has begun to give blocks back is finished first: its map is no longer whole.
        const auto begun = [this](uint64_t of) {
            for (const uint64_t member : lineage(of)) {
                const Node& other = *find(member);
                const bool merging = std::any_of(other.plexes.begin(), other.plexes.end(),
                                                 [](const Plex& p) { return p.dead.merge_begun; });
                if (merging || other.reclaim_cursor > 0 || other.reclaim_plex > 0) return true;
            }
            return false;
        };
        if (begun(id.value)) {
            guard.unlock();  // writes go on between its steps
            UMBRA_CO_TRY(co_await checkpoint());
            continue;
        }
        recovery = ++recoveries_;
        for (const uint64_t member : lineage(id.value)) {
            if (find(member)->recovering == 0) find(member)->recovering = recovery;
        }
    }
    Result<void> done;
    if (type == LunType::kParity) {
        const uint64_t stream = find(id.value)->plexes[0].stream;
        if (stream_degraded(stream)) done = co_await recover_parity(stream, progress);
    } else {
        for (size_t p = 0; p < 2 && done; ++p) {
            bool lost = false;
            for (const uint64_t member : under_recovery(recovery)) lost = lost || !plex_live(find(member)->plexes[p]);
            if (lost) done = co_await recover_mirror(recovery, p, progress);
        }
    }
    for (auto& [other, node] : nodes_) {
        if (node.recovering == recovery) node.recovering = 0;
    }
    reclaim_pending_ = true;
    kick();
    if (done) UMBRA_CO_TRY(co_await checkpoint());
    co_return done;
}

/// Redundancy comes after the room that checkpoints need: without that the array stops.
bool Engine::room_to_rebuild(uint32_t drive) const {
    return store_.drives.at(drive).free_segments > store_.checkpoint_need(drive) + 4;
}

/// Volumes that were in the lineage when the recovery began, and what was copied from them since.
std::set<uint64_t> Engine::under_recovery(uint64_t recovery) const {
    std::set<uint64_t> members;
    for (const auto& [id, node] : nodes_) {
        if (node.recovering == recovery) members.insert(id);
    }
    return members;
}

Task<Result<void>> Engine::recover_parity(uint64_t stream_id, Progress& progress) {
    const auto pick = [this](const std::vector<uint32_t>& in_use) -> std::optional<uint32_t> {
        for (const uint32_t drive : store_.drives.by_free_space()) {
            if (std::find(in_use.begin(), in_use.end(), drive) == in_use.end() && room_to_rebuild(drive)) return drive;
        }
        return std::nullopt;
    };
    // New groups first: they must be whole from now on.
    {
        auto guard = co_await gate_.lock_shared();
        store::Stream* stream = store_.stream(stream_id);
        for (const uint32_t drive : std::vector<uint32_t>(stream->state().drives)) {
            if (store_.drives.online(drive)) continue;
            const auto substitute = pick(stream->state().drives);
            if (!substitute) {
                co_return fail(
                    Code::kNoDrive,
                    fmt::format("no drive outside the stripe has room: the stripe uses {} drives, {} are in use",
                                stream->state().drives.size(), store_.drives.online_count()));
            }
            stream->replace_drive(drive, *substitute);
        }
    }
    // A checkpoint retires dead groups, which need no work, and records the substitution.
    UMBRA_CO_TRY(co_await checkpoint());
    for (bool first_pass = true;; first_pass = false) {
        std::vector<uint32_t> slots;
        for (uint32_t slot = 0; slot < store_.groups.size(); ++slot) {
            const bool mine = store_.groups.in_use(slot) && store_.groups.at(slot).stream == stream_id;
            if (mine && store_.groups.lost_columns(store_.groups.at(slot)) > 0) slots.push_back(slot);
        }
        if (slots.empty()) break;
        if (first_pass) progress.total_bytes = slots.size() * store_.drives.segment_bytes();
        bool moved = false;
        for (const uint32_t slot : slots) {
            if (progress.cancel)
                co_return fail(Code::kCancelled, "cancelled: what was rebuilt stays, the rest is as before");
            auto guard = co_await gate_.lock_shared();
            UMBRA_CO_TRY(check_running());
            if (!store_.groups.in_use(slot)) continue;
            store::Group& group = store_.groups.at(slot);
            if (group.open) store_.stream(stream_id)->close_group();
            co_await store_.stream(stream_id)->drain();  // its last records must be on the drives that are read
            std::vector<uint32_t> in_use;
            std::vector<uint32_t> lost;
            for (const store::Column& column : group.columns) {
                in_use.push_back(column.drive);
                if (!store_.groups.usable(column)) lost.push_back(column.drive);
            }
            if (lost.size() > group.m) co_return fail(Code::kDeviceFailed, "more drives failed than the type bears");
            for (const uint32_t from : lost) {
                const auto to = pick(in_use);
                if (!to) co_return fail(Code::kNoSpace, "no drive outside the stripe has a free segment left");
                auto done = co_await store_.rebuild_column(slot, from, *to);
                if (!done) {
                    if (store_.drives.online(*to)) co_return done;
                    continue;  // the substitute went too: the next pass chooses another
                }
                moved = true;
            }
            progress.done_bytes = std::min(progress.done_bytes + store_.drives.segment_bytes(), progress.total_bytes);
        }
        UMBRA_CO_TRY(co_await checkpoint());
        if (!moved && !first_pass)
            co_return fail(Code::kDeviceFailed, "drives keep failing: the recovery did not get on");
    }
    co_return Result<void>();
}

Task<Result<std::optional<uint64_t>>> Engine::next_difference(uint64_t id, size_t plex, uint64_t base, uint64_t lba) {
    for (int attempt = 0; attempt < kMaxLookups; ++attempt) {
        const Node* node = find(id);
        const Node* other = base == 0 ? nullptr : find(base);
        if (node == nullptr) co_return fail(Code::kDeviceFailed, "the volume is gone");
        const uint64_t end = std::max(node->blocks(), other == nullptr ? 0 : std::min(other->blocks(), node->blocks()));
        if (lba >= end) co_return std::optional<uint64_t>();
        BlockPtr missing;
        bool skipped = false;
        for (uint8_t level = node->levels; level >= 1; --level) {
            const Subtree mine = subtree(node->plexes[plex], node->levels, level, lba);
            const Subtree theirs =
                other == nullptr ? Subtree{} : subtree(other->plexes[plex], other->levels, level, lba);
            if (!mine.resident || !theirs.resident) {
                missing = mine.resident ? theirs.missing : mine.missing;
                break;
            }
            if (mine.same_as(theirs)) {
                const uint64_t span = 1ull << (8 * level);
                lba = (lba / span + 1) * span;
                skipped = true;
                break;
            }
        }
        if (!missing.is_hole()) {
            UMBRA_CO_TRY(co_await load_page(missing, nullptr));
            continue;
        }
        if (!skipped) co_return std::optional(lba);
        attempt = 0;
    }
    co_return fail(Code::kInternal, "a map refers to a page that is not in the block table");
}

/// Copies what `id` differs in from its parent into plex `plex`, on top of the parent's own new plex. False: the budget
/// of blocks was not enough (exclusive mode only).
Task<Result<bool>> Engine::build_plex(uint64_t id, size_t plex, uint64_t stream_id, Progress& progress, bool exclusive,
                                      size_t budget) {
    store::Stream* stream = store_.stream(stream_id);
    uint64_t lba = 0;
    base::Buffer buffer(kBlockBytes);
    for (;;) {
        if (progress.cancel) co_return fail(Code::kCancelled, "cancelled");
        Node* node = find(id);
        if (node == nullptr) co_return fail(Code::kDeviceFailed, "the volume is gone");
        const size_t from = 1 - plex;
        if (!plex_live(node->plexes[from])) co_return fail(Code::kDeviceFailed, "the plex that is copied has failed");
        UMBRA_CO_ASSIGN(const auto next, co_await next_difference(id, from, node->parent, lba));
        if (!next) co_return true;
        lba = *next / store::kPointersPerPage * store::kPointersPerPage;
        // One leaf at a time.
        env::SharedMutex::Guard guard;
        if (!exclusive) guard = co_await gate_.lock_shared();
        UMBRA_CO_TRY(check_running());
        for (uint64_t i = 0; i < store::kPointersPerPage; ++i, ++lba) {
            for (;;) {
                Pins pins;
                node = find(id);
                UMBRA_CO_TRY(co_await ensure_path(id, from, lba, &pins));
                UMBRA_CO_TRY(co_await ensure_path(id, plex, lba, &pins));
                const BlockPtr want = lookup(node->plexes[from], node->levels, lba).value;
                const Lookup have = lookup(node->plexes[plex], node->levels, lba);
                if (!lookup(node->plexes[from], node->levels, lba).resident || !have.resident) continue;
                if (want.is_lost()) {  // lost it stays, and says so: never a hole
                    if (!have.value.is_lost()) {
                        change_path(*node, plex, lba, 1, ++store_.birth);
                        set_pointer(*node, plex, lba, want);
                    }
                    break;
                }
                if ((want.is_hole() && have.value.is_hole()) ||
                    (!have.value.is_lost() && want.is_hole() == have.value.is_hole() &&
                     want.birth == have.value.birth && want.crc == have.value.crc))
                    break;
                if (want.is_hole()) {
                    set_pointer(*node, plex, lba, {.vbn = 0, .birth = want.birth, .crc = 0});
                    break;
                }
                if (exclusive && budget-- == 0) co_return false;
                store::ReadItem item{.pointer = want, .into = buffer.span(), .ok = false};
                std::vector<store::ReadItem*> items{&item};
                const auto read = co_await store_.read(std::move(items), store_.commits);
                if (!read && read.error().code == Code::kBusy) continue;
                UMBRA_CO_TRY(read);
                if (!item.ok) {
                    co_return fail(
                        Code::kMediaError,
                        fmt::format("block {} of volume {} has no good copy: write or discard it, then recover again",
                                    lba, id));
                }
                if (!store_.blocks.has_free(1)) UMBRA_CO_TRY(co_await store_.blocks.refill(64));
                const Room room = stream->make_room(1, 1, Priority::kBackground);
                if (room == Room::kWait) {
                    co_await stream->progress();
                    continue;
                }
                if (room == Room::kLost)
                    co_return fail(Code::kDeviceFailed, "the drive that the plex is built on has failed");
                if (room == Room::kNoSpace) co_return fail(Code::kNoSpace, "no space is left for the new plex");
                node = find(id);
                if (!lookup(node->plexes[plex], node->levels, lba).resident || !store_.blocks.has_free(1)) continue;
                // Not a write record: a crash drops the whole plex, so a replay has nothing to do with it.
                const BlockPtr made = stream->append({.kind = EntryKind::kPage,
                                                      .plex = static_cast<uint8_t>(plex),
                                                      .count = 0,
                                                      .crc = 0,
                                                      .volume = id,
                                                      .lba = lba,
                                                      .vbn = 0,
                                                      .birth = want.birth},
                                                     buffer.span());
                set_pointer(*node, plex, lba, made);
                progress.done_bytes = std::min(progress.done_bytes + kBlockBytes, progress.total_bytes);
                break;
            }
        }
        guard.unlock();
        if (!exclusive &&
            (dirty_pages_ >= options_.max_dirty_pages / 2 || store_.blocks.changes() >= options_.max_changes / 2)) {
            UMBRA_CO_TRY(co_await checkpoint());
        }
    }
}

Task<Result<void>> Engine::recover_mirror(uint64_t recovery, size_t plex, Progress& progress) {
    uint64_t stream_id = 0;
    {
        auto guard = co_await gate_.lock();
        UMBRA_CO_TRY(check_running());
        std::set<uint32_t> used;
        for (const uint64_t member :
             under_recovery(recovery)) {  // what is dropped here must be on the other plex, for every volume
            if (!plex_live(find(member)->plexes[1 - plex])) {
                co_return fail(
                    Code::kDeviceFailed,
                    fmt::format("volume {} of the lineage has only the plex that would be built anew", member));
            }
        }
        for (const uint64_t member : under_recovery(recovery)) {
            const Node& node = *find(member);
            progress.total_bytes += node.mapped_blocks * kBlockBytes;
            if (const store::Stream* other = store_.stream(node.plexes[1 - plex].stream)) {
                used.insert(other->state().drives.begin(), other->state().drives.end());
            }
        }
        std::optional<uint32_t> target;
        for (const uint32_t drive : store_.drives.by_free_space()) {
            if (!used.contains(drive) && room_to_rebuild(drive)) {
                target = drive;
                break;
            }
        }
        if (!target) co_return fail(Code::kNoDrive, "no drive outside the remaining plex has room");
        // The lineage's plex is built anew as a whole: parents first, each on top of its parent's.
        for (const uint64_t member : under_recovery(recovery)) find(member)->plexes[plex].forget();
        stream_id = store_.next_stream_id++;
        store_.add_stream({.id = stream_id,
                           .k = 1,
                           .m = 0,
                           .drives = {*target},
                           .next_sequence = 1,
                           .open_group = {},
                           .next_row = 0});
        for (const uint64_t member : under_recovery(recovery)) find(member)->plexes[plex].stream = stream_id;
        UMBRA_CO_TRY(co_await checkpoint_locked());
    }
    const auto give_up = [](Engine* self, uint64_t number, size_t which) {
        for (const uint64_t member : self->under_recovery(number)) {
            Plex& lost = self->find(member)->plexes[which];
            lost.forget();
            lost.stream = 0;
        }
    };
    const auto begin = [](Node& node, const Node* parent, size_t which, Engine* self) {
        Plex& fresh = node.plexes[which];
        fresh.lost = false;
        fresh.building = true;
        fresh.root = parent == nullptr ? Root{} : parent->plexes[which].root;
        if (parent != nullptr && node.levels > parent->levels)
            self->grow_levels(node, which, parent->levels, node.levels);
    };
    for (;;) {
        // The next volume whose parent is done; heads last, so that writes to them stop only for the last difference.
        std::optional<uint64_t> next;
        bool next_is_head = false;
        for (const uint64_t member : under_recovery(recovery)) {
            const Node& node = *find(member);
            const Node* parent = node.parent == 0 ? nullptr : find(node.parent);
            if (!node.plexes[plex].lost || (parent != nullptr && parent->plexes[plex].lost)) continue;
            if (!next || (next_is_head && !node.head)) {
                next = member;
                next_is_head = node.head;
            }
        }
        if (!next) break;
        Result<bool> built = true;
        if (!next_is_head) {
            {
                auto guard = co_await gate_.lock();
                Node& node = *find(*next);
                begin(node, node.parent == 0 ? nullptr : find(node.parent), plex, this);
            }
            built = co_await build_plex(*next, plex, stream_id, progress, false, 0);
            auto guard = co_await gate_.lock();
            if (built && find(*next) != nullptr) {
                find(*next)->plexes[plex].building = false;
                auto saved = co_await checkpoint_locked();
                if (!saved) built = std::unexpected(saved.error());
            }
        } else {
            auto guard = co_await gate_.lock();
            if (auto running = check_running(); !running) co_return running;
            if (store_.blocks.changes() + dirty_pages_ > 0) UMBRA_CO_TRY(co_await checkpoint_locked());
            Node& node = *find(*next);
            // A snapshot may have been taken while this waited for the gate: it is the head's parent now, and comes
            // first.
            if (const Node* above = node.parent == 0 ? nullptr : find(node.parent);
                above != nullptr && above->plexes[plex].lost)
                continue;
            const size_t budget = std::max<size_t>(64, std::min(options_.max_changes, options_.max_dirty_pages) / 4);
            const Node* parent = node.parent == 0 ? nullptr : find(node.parent);
            begin(node, parent, plex, this);
            built = co_await build_plex(*next, plex, stream_id, progress, true, budget);
            if (built && *built) {
                find(*next)->plexes[plex].building = false;
                auto saved = co_await checkpoint_locked();
                if (!saved) built = std::unexpected(saved.error());
            } else if (built) {
                // Too much to copy while writes wait: copy a snapshot of it first, with writes going on.
                Node& head = *find(*next);
                Plex& fresh = head.plexes[plex];
                snapshot_node(head, next_volume_id_++, ++store_.birth, true);
                // What was copied so far belongs to the snapshot now and is carried on there.
                Node& snapshot = *find(head.parent);
                snapshot.plexes[plex].building = true;
                fresh.lost = true;
                fresh.building = false;
                fresh.root = {};
                auto saved = co_await checkpoint_locked();
                guard.unlock();
                if (!saved) {
                    built = std::unexpected(saved.error());
                } else {
                    const uint64_t snapshot_id = snapshot.id;
                    built = co_await build_plex(snapshot_id, plex, stream_id, progress, false, 0);
                    auto last = co_await gate_.lock();
                    if (built && find(snapshot_id) != nullptr) {
                        find(snapshot_id)->plexes[plex].building = false;
                        saved = co_await checkpoint_locked();
                        if (!saved) built = std::unexpected(saved.error());
                    }
                }
            }
        }
        if (!built) {
            auto guard = co_await gate_.lock();
            give_up(this, recovery, plex);
            if (check_running()) (void)co_await checkpoint_locked();
            co_return std::unexpected(built.error());
        }
    }
    co_return Result<void>();
}

Task<Result<void>> Engine::scrub(Progress& progress) {
    const Call call(*this);
    UMBRA_CO_TRY(check_running());
    {
        // Groups that are still written to would be left out.
        auto guard = co_await gate_.lock_shared();
        for (auto& [id, stream] : store_.streams()) stream->close_group();
    }
    UMBRA_CO_TRY(co_await checkpoint());
    progress.total_bytes = store_.groups.size() * store_.drives.segment_bytes();
    size_t lost = 0;
    for (uint32_t slot = 0; slot < store_.groups.size(); ++slot) {
        if (progress.cancel) co_return fail(Code::kCancelled, "cancelled");
        progress.done_bytes += store_.drives.segment_bytes();
        auto guard = co_await gate_.lock_shared();
        UMBRA_CO_TRY(check_running());
        if (!store_.groups.in_use(slot) || store_.groups.at(slot).open || store_.groups.at(slot).live == 0) continue;
        // Closed since the checkpoint: its last records may be on their way.
        if (store_.groups.at(slot).sealed_at >= store_.checkpoint) continue;
        // Mirrors repair from the other plex, by reading: below. Here what parity can do.
        UMBRA_CO_ASSIGN(const size_t beyond, co_await store_.scrub_group(slot));
        lost += store_.groups.at(slot).m > 0 ? beyond : 0;
    }
    for (uint64_t page = 0; page < store_.meta.total_pages();) {
        if (progress.cancel) co_return fail(Code::kCancelled, "cancelled");
        auto guard = co_await gate_.lock_shared();
        UMBRA_CO_TRY(check_running());
        UMBRA_CO_ASSIGN(const size_t pages, co_await store_.meta.scrub(&page, kScrubPages));
        lost += pages;
    }
    std::vector<uint64_t> ids;
    for (const auto& [id, node] : nodes_) ids.push_back(id);
    for (const uint64_t id : ids) {
        const Node* node = find(id);
        if (node == nullptr || node->type == LunType::kParity) continue;
        const size_t plexes = node->plexes.size();
        for (size_t p = 0; p < plexes; ++p) {
            UMBRA_CO_ASSIGN(const size_t blocks, co_await scrub_plex(id, p, progress));
            lost += blocks;
        }
    }
    event("scrub.done",
          lost == 0 ? "scrub: every block has a good copy" : fmt::format("scrub: {} blocks have no good copy", lost));
    co_return Result<void>();
}

/// Every map page and mapped block of one plex of a volume, but for what it shares with its parent, from the drives:
/// repaired from the other plex, or from memory. The number of blocks without any good copy.
Task<Result<size_t>> Engine::scrub_plex(uint64_t id, size_t plex, Progress& progress) {
    size_t lost = 0;
    base::Buffer buffer(kBlockBytes);
    std::array<uint64_t, 8> checked{};  // by level: the map page that was read last
    for (uint64_t lba = 0;;) {
        if (progress.cancel) co_return fail(Code::kCancelled, "cancelled");
        auto guard = co_await gate_.lock_shared();
        UMBRA_CO_TRY(check_running());
        Node* node = find(id);
        if (node == nullptr || node->deleting || !plex_live(node->plexes[plex])) co_return lost;
        const Node* above = node->parent == 0 ? nullptr : find(node->parent);
        // The map of a volume that is being removed may be full of holes already.
        const uint64_t parent = above == nullptr || above->deleting ? 0 : above->id;
        auto next = co_await next_difference(id, plex, parent, lba);
        if (!next && next.error().code == Code::kMediaError && parent != 0) {
            // Perhaps it is the parent's page.
            next = co_await next_difference(id, plex, 0, lba);
        }
        node = find(id);
        if (node == nullptr) co_return lost;
        if (!next) {
            if (next.error().code != Code::kMediaError) co_return std::unexpected(next.error());
            if (!map_page_lost(*node, plex)) ++lost;  // and what lies below it
            co_return lost;
        }
        if (!*next) co_return lost;
        lba = **next;
        const uint64_t leaf_end = (lba / store::kPointersPerPage + 1) * store::kPointersPerPage;
        Result<bool> whole = co_await scrub_path(id, plex, lba, checked);
        Pins pins;
        if (whole && *whole) {
            const auto loaded = co_await ensure_path(id, plex, lba, &pins);
            if (!loaded) whole = std::unexpected(loaded.error());
        }
        if (!whole) {
            if (whole.error().code != Code::kMediaError) co_return std::unexpected(whole.error());
            node = find(id);
            if (node == nullptr || map_page_lost(*node, plex)) co_return lost;
            ++lost;
            lba = leaf_end;
            continue;
        }
        if (!*whole) continue;  // the map changed: look again
        for (; lba < leaf_end; ++lba) {
            node = find(id);
            if (node == nullptr) co_return lost;
            const Lookup found = lookup(node->plexes[plex], node->levels, lba);
            if (!found.resident) break;
            if (found.value.is_hole()) continue;
            store::ReadItem item{.pointer = found.value, .into = buffer.span(), .ok = false};
            std::vector<store::ReadItem*> items{&item};
            const uint64_t epoch = store_.commits;
            const auto read = co_await store_.read(std::move(items), epoch);
            if (!read && read.error().code == Code::kBusy) break;
            if (read && item.ok) continue;
            const auto good = co_await read_blocks(id, lba, 1, buffer.span());
            if (good) {
                co_await store_.rewrite(found.value, buffer.span(), epoch);
            } else {
                ++lost;
            }
        }
    }
}

/// Takes the plex out of use when there is another; true then.
bool Engine::map_page_lost(Node& node, size_t plex) {
    if (live_streams(node).size() >= 2) {
        drop_plex(node, plex, "a map page has no good copy");
        return true;
    }
    event("block.lost", fmt::format("a map page of volume {} has no good copy", node.id), node.id);
    return false;
}

/// Reads the map pages above `lba` that `checked` does not name, past the cache. False: look the map up again.
Task<Result<bool>> Engine::scrub_path(uint64_t id, size_t plex, uint64_t lba, std::array<uint64_t, 8>& checked) {
    base::Buffer buffer(kBlockBytes);
    for (uint8_t level = find(id)->levels; level >= 1; --level) {
        const Node* node = find(id);
        if (node == nullptr) co_return false;
        const Subtree page = subtree(node->plexes[plex], node->levels, level, lba);
        if (!page.resident) co_return false;
        if (page.pointer.is_lost()) break;  // known: the blocks below are counted one by one
        if (page.dirty != nullptr || page.pointer.is_hole() || checked[level - 1] == page.pointer.vbn) continue;
        const uint64_t epoch = store_.commits;
        const CleanPageRef cached = cache_.find(page.pointer.vbn);
        store::ReadItem item{.pointer = page.pointer, .into = buffer.span(), .ok = false};
        std::vector<store::ReadItem*> items{&item};
        const auto read = co_await store_.read(std::move(items), epoch);
        if (!read && read.error().code == Code::kBusy) co_return false;
        UMBRA_CO_TRY(read);
        if (!item.ok && cached) {
            std::memcpy(buffer.data(), cached->bytes.data(), kBlockBytes);
            co_await store_.rewrite(page.pointer, buffer.span(), epoch);
            item.ok = true;
        }
        if (!item.ok) co_return fail(Code::kMediaError, "a map page has no good copy");
        checked[level - 1] = page.pointer.vbn;
    }
    co_return true;
}

}  // namespace umbra::lun

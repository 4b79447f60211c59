// Checkpoints: everything in memory becomes durable at once; removed volumes give their blocks back in steps.
#include <algorithm>

#include <fmt/format.h>

#include "lun/engine.h"

namespace umbra::lun {

using base::Code;
using base::fail;
using store::EntryKind;
using store::kBlockBytes;
using store::kPointersPerPage;
using store::load_pointer;
using store::Priority;
using store::Room;
using store::store_pointer;

namespace {
constexpr size_t kDeadHeaderBytes = 32;
constexpr size_t kDeadPerPage = (kBlockBytes - kDeadHeaderBytes) / 16;
constexpr uint32_t kObjectsVersion = 2;  // 1: without lost pointers in maps, otherwise the same
}  // namespace

Task<Result<void>> Engine::checkpoint() {
    UMBRA_CO_TRY(check_running());
    const uint64_t begun = checkpoints_begun_;
    auto guard = co_await gate_.lock();
    UMBRA_CO_TRY(check_running());
    // One that began after the call has done its work: a crowd of writers at a limit waits for one, not for one each.
    if (checkpoints_begun_ != begun) co_return Result<void>();
    auto done = co_await checkpoint_locked();
    co_return done;
}

Task<Result<BlockPtr>> Engine::write_page(const Node& node, const Plex& plex, Bytes bytes, uint64_t birth) {
    store::Stream* stream = store_.stream(plex.stream);
    UMBRA_CHECK(stream != nullptr);
    for (;;) {
        if (!store_.blocks.has_free(1)) UMBRA_CO_TRY(co_await store_.blocks.refill(64));
        const Room room = stream->make_room(1, 1, Priority::kCheckpoint);
        if (room == Room::kReady) break;
        if (room == Room::kWait) {
            co_await stream->progress();
            continue;
        }
        if (room == Room::kLost) co_return fail(Code::kDeviceFailed, "the plex lost too many drives");
        co_return fail(Code::kNoSpace, "no segment is left for map pages");
    }
    co_return stream->append({.kind = EntryKind::kPage,
                              .plex = 0,
                              .count = 0,
                              .crc = 0,
                              .volume = node.id,
                              .lba = 0,
                              .vbn = 0,
                              .birth = birth},
                             bytes);
}

Task<Result<BlockPtr>> Engine::write_tree(const Node& node, const Plex& plex, std::shared_ptr<DirtyPage> page) {
    if (page->written) co_return page->self;
    for (auto& [index, kid] : page->kids) {
        UMBRA_CO_ASSIGN(const BlockPtr pointer, co_await write_tree(node, plex, kid));
        store_pointer(page->bytes.data() + index * 16, pointer);
    }
    page->kids.clear();
    UMBRA_CO_ASSIGN(page->self, co_await write_page(node, plex, page->bytes, page->birth));
    page->written = true;
    auto clean = std::make_shared<CleanPage>();
    clean->bytes = page->bytes;
    cache_.insert(page->self.vbn, std::move(clean));
    co_return page->self;
}

Task<Result<void>> Engine::flush_dead_list(Node& node, Plex& plex) {
    while (!plex.dead.tail.empty()) {
        std::array<std::byte, kBlockBytes> bytes{};
        const size_t count = std::min(plex.dead.tail.size(), kDeadPerPage);
        const BlockPtr previous = plex.dead.chains.empty() ? BlockPtr{} : plex.dead.chains.back();
        store_pointer(bytes.data(), previous);
        base::store_le<uint32_t>(bytes.data() + 16, static_cast<uint32_t>(count));
        for (size_t i = 0; i < count; ++i) {
            store_pointer(bytes.data() + kDeadHeaderBytes + i * 16, plex.dead.tail[plex.dead.tail.size() - count + i]);
        }
        UMBRA_CO_ASSIGN(const BlockPtr pointer, co_await write_page(node, plex, bytes, ++store_.birth));
        plex.dead.tail.resize(plex.dead.tail.size() - count);
        if (plex.dead.chains.empty()) {
            plex.dead.chains.push_back(pointer);
        } else {
            plex.dead.chains.back() = pointer;
        }
    }
    co_return Result<void>();
}

Task<Result<std::shared_ptr<store::MetaPage>>> Engine::read_raw(BlockPtr pointer) {
    auto page = std::make_shared<store::MetaPage>();
    base::Buffer buffer(kBlockBytes);
    store::ReadItem item{.pointer = pointer, .into = buffer.span(), .ok = false};
    std::vector<store::ReadItem*> items{&item};
    UMBRA_CO_TRY(co_await store_.read(std::move(items), store_.commits));
    if (!item.ok) co_return fail(Code::kMediaError, "a page has no good copy");
    std::memcpy(page->bytes.data(), buffer.data(), kBlockBytes);
    co_return page;
}

Task<Result<bool>> Engine::reclaim_walk(Node& node, Plex& plex, BlockPtr pointer, uint8_t level, uint64_t first,
                                        uint64_t floor, size_t* budget) {
    if (pointer.is_hole() || pointer.is_lost() || pointer.birth <= floor) co_return true;
    const uint64_t child_blocks = 1ull << (8 * (level - 1));
    auto page = co_await read_raw(pointer);
    if (!page) {
        event("volume.leak",
              fmt::format("a map page of a removed volume cannot be read: its blocks stay in use until the last volume "
                          "that shared them is removed ({})",
                          page.error().message),
              node.id);
        co_return true;
    }
    for (uint32_t i = 0; i < kPointersPerPage; ++i) {
        const uint64_t lba = first + i * child_blocks;
        if (lba + child_blocks <= node.reclaim_cursor) continue;
        if (level > 1 && *budget == 0) co_return false;
        const BlockPtr child = load_pointer((*page)->bytes.data() + i * 16);
        if (level > 1) {
            UMBRA_CO_ASSIGN(const bool done, co_await reclaim_walk(node, plex, child, static_cast<uint8_t>(level - 1),
                                                                   lba, floor, budget));
            if (!done) co_return false;
            continue;
        }
        if (child.is_hole() || child.is_lost() || child.birth <= floor) continue;
        store_.blocks.free(child.vbn);
        if (*budget > 0) --*budget;
    }
    store_.blocks.free(pointer.vbn);
    cache_.erase(pointer.vbn);
    node.reclaim_cursor = std::max(node.reclaim_cursor, first + child_blocks * kPointersPerPage);
    co_return true;
}

Task<Result<void>> Engine::drop_chain(BlockPtr head) {
    while (!head.is_hole()) {
        auto page = co_await read_raw(head);
        store_.blocks.free(head.vbn);
        if (!page) {
            event("volume.leak", "a dead-list page cannot be read: the rest of the list stays in use");
            break;
        }
        head = load_pointer((*page)->bytes.data());
    }
    co_return Result<void>();
}

Task<Result<bool>> Engine::reclaim_leaf(Node& node, size_t* budget) {
    const uint64_t floor = parent_birth(node);
    while (node.reclaim_plex < node.plexes.size()) {
        Plex& plex = node.plexes[node.reclaim_plex];
        if (plex_live(plex)) {
            UMBRA_CO_ASSIGN(const bool done,
                            co_await reclaim_walk(node, plex, plex.root.disk, node.levels, 0, floor, budget));
            if (!done) co_return false;
            for (const BlockPtr& chain : plex.dead.chains) UMBRA_CO_TRY(co_await drop_chain(chain));
            for (const BlockPtr& chain : plex.dead.merging) UMBRA_CO_TRY(co_await drop_chain(chain));
            plex.dead = {};
        }
        ++node.reclaim_plex;
        node.reclaim_cursor = 0;
        if (*budget == 0) co_return false;
    }
    co_return true;
}

Task<Result<bool>> Engine::merge_into_child(Node& gone, Node& child, size_t* budget) {
    const uint64_t floor = parent_birth(gone);
    for (size_t p = 0; p < child.plexes.size(); ++p) {
        Plex& plex = child.plexes[p];
        Plex& old = gone.plexes[p];
        if (!plex_live(plex)) continue;
        DeadList& dead = plex.dead;
        // What the parent's parent does not hold either has no owner left.
        const auto sort_out = [&](const BlockPtr& pointer) {
            if (pointer.birth > floor) {
                store_.blocks.free(pointer.vbn);
                cache_.erase(pointer.vbn);
            } else {
                dead.tail.push_back(pointer);
            }
        };
        if (!dead.merge_begun) {
            dead.merge_begun = true;
            dead.merging = std::exchange(dead.chains, {});
        }
        // What the child replaces while the merge goes on is still listed against `gone`.
        for (const BlockPtr& pointer : std::exchange(dead.tail, {})) sort_out(pointer);
        while (!dead.merging.empty()) {
            if (*budget == 0) co_return false;
            const BlockPtr head = dead.merging.back();
            auto page = co_await read_raw(head);
            store_.blocks.free(head.vbn);
            if (!page) {
                event("volume.leak", "a dead-list page cannot be read: what it lists stays in use", child.id);
                dead.merging.pop_back();
                continue;
            }
            const std::byte* bytes = (*page)->bytes.data();
            const size_t count = std::min<size_t>(base::load_le<uint32_t>(bytes + 16), kDeadPerPage);
            for (size_t i = 0; i < count; ++i) sort_out(load_pointer(bytes + kDeadHeaderBytes + i * 16));
            *budget -= std::min(*budget, count + 1);
            dead.merging.back() = load_pointer(bytes);
            if (dead.merging.back().is_hole()) dead.merging.pop_back();
        }
        UMBRA_CHECK(old.dead.tail.empty() && old.dead.merging.empty());
    }
    for (size_t p = 0; p < child.plexes.size(); ++p) {
        DeadList& dead = child.plexes[p].dead;
        dead.merge_begun = false;
        if (p < gone.plexes.size() && plex_live(child.plexes[p])) {
            // In front: flush_dead_list() extends the last chain.
            auto& chains = gone.plexes[p].dead.chains;
            dead.chains.insert(dead.chains.begin(), chains.begin(), chains.end());
        }
    }
    child.parent = gone.parent;
    co_return true;
}

Task<Result<void>> Engine::reclaim(size_t budget) {
    reclaim_pending_ = false;
    bool again = true;
    while (again) {
        again = false;
        for (auto& [id, node] : nodes_) {
            if (!node.deleting || node.recovering != 0) continue;
            std::vector<uint64_t> kids;
            for (const auto& [other, candidate] : nodes_) {
                if (candidate.parent == id) kids.push_back(other);
            }
            if (kids.size() > 1) continue;
            if (budget == 0) {
                reclaim_pending_ = true;
                co_return Result<void>();
            }
            if (!kids.empty() && find(kids[0])->recovering != 0) continue;
            // A child that is on its way out goes first, unless this volume's list has been begun.
            if (!kids.empty()) {
                const Node& kid = *find(kids[0]);
                const bool begun =
                    std::any_of(kid.plexes.begin(), kid.plexes.end(), [](const Plex& p) { return p.dead.merge_begun; });
                if (kid.deleting && !begun) continue;
            }
            // A list that is being sorted out for this node's own parent must be finished first.
            const bool busy =
                std::any_of(node.plexes.begin(), node.plexes.end(), [](const Plex& p) { return p.dead.merge_begun; });
            if (busy) continue;
            bool done = false;
            if (kids.empty()) {
                UMBRA_CO_ASSIGN(done, co_await reclaim_leaf(node, &budget));
            } else {
                for (Plex& plex : node.plexes) {
                    if (plex_live(plex)) UMBRA_CO_TRY(co_await flush_dead_list(node, plex));
                }
                UMBRA_CO_ASSIGN(done, co_await merge_into_child(node, *find(kids[0]), &budget));
            }
            if (!done) {
                reclaim_pending_ = true;
                co_return Result<void>();
            }
            nodes_.erase(id);
            again = true;
            break;
        }
    }
    co_return Result<void>();
}

Task<Result<void>> Engine::checkpoint_locked() {
    ++checkpoints_begun_;
    const auto run = [](Engine* self) -> Task<Result<void>> {
        // New maps first: their pages have births and locations that everything else refers to.
        for (auto& [id, node] : self->nodes_) {
            for (Plex& plex : node.plexes) {
                if (!plex.lost && !self->plex_live(plex) && !plex.building) plex.lost = true;
                if (plex.lost || self->store_.stream(plex.stream) == nullptr ||
                    self->store_.stream(plex.stream)->lost()) {
                    plex.root.dirty.reset();
                    plex.replaced.clear();
                    plex.dead.tail.clear();
                    continue;
                }
                if (!plex.root.dirty) continue;
                auto written = co_await self->write_tree(node, plex, plex.root.dirty);
                if (!written) {
                    if (written.error().code != Code::kDeviceFailed) co_return std::unexpected(written.error());
                    plex.lost = true;  // its drives went meanwhile
                    plex.root.dirty.reset();
                    plex.replaced.clear();
                    continue;
                }
                plex.root.disk = *written;
            }
        }
        for (auto& [id, node] : self->nodes_) {
            for (Plex& plex : node.plexes) {
                plex.root.dirty.reset();
                for (const auto& page : std::exchange(plex.replaced, {})) {
                    if (page->written) self->dispose(node, plex, page->self);
                }
            }
        }
        self->dirty_pages_ = 0;
        self->dead_entries_ = 0;
        UMBRA_CO_TRY(co_await self->reclaim(self->options_.reclaim_per_checkpoint));
        for (auto& [id, node] : self->nodes_) {
            for (Plex& plex : node.plexes) {
                if (plex.dead.tail.empty()) continue;
                auto done = co_await self->flush_dead_list(node, plex);
                if (!done && done.error().code != Code::kDeviceFailed) co_return done;
                if (!done) plex.dead.tail.clear();
            }
        }
        UMBRA_CO_TRY(co_await self->retire_streams());
        for (auto& [id, stream] : self->store_.streams()) stream->seal();
        for (auto& [id, stream] : self->store_.streams()) co_await stream->drain();
        UMBRA_CO_TRY(co_await self->store_.commit(self->encode_objects()));
        co_return Result<void>();
    };
    auto done = co_await run(this);
    if (!done && !broken_) {
        broken_ = done.error();
        event("store.stopped",
              fmt::format("a checkpoint failed ({}): the array has stopped to keep what is on its drives; restart it",
                          done.error().message));
    }
    if (!done) co_return done;
    pending_snapshots_.clear();
    losses_unrecorded_ = false;
    // Streams that no volume uses: their leftovers are freed now and gone with the next checkpoint.
    std::set<uint64_t> used;
    for (const auto& [id, node] : nodes_) {
        for (const Plex& plex : node.plexes) used.insert(plex.stream);
    }
    std::vector<uint64_t> unused;
    for (const auto& [id, stream] : store_.streams()) {
        if (!used.contains(id)) unused.push_back(id);
    }
    for (const uint64_t id : unused) {
        bool groups = false;
        bool live = false;
        for (uint32_t slot = 0; slot < store_.groups.size(); ++slot) {
            if (!store_.groups.in_use(slot) || store_.groups.at(slot).stream != id) continue;
            groups = true;
            live = live || store_.groups.at(slot).live > 0;
        }
        if (live) {
            UMBRA_CO_TRY(co_await store_.sweep(id));
            reclaim_pending_ = true;
        } else if (!groups) {
            store_.streams().erase(id);
        }
    }
    co_return Result<void>();
}

Task<Result<void>> Engine::retire_streams() {
    std::set<uint64_t> used;
    for (const auto& [id, node] : nodes_) {
        for (const Plex& plex : node.plexes) used.insert(plex.stream);
    }
    for (auto& [id, stream] : store_.streams()) {
        if (!used.contains(id)) stream->close_group();
    }
    co_return Result<void>();
}

namespace {

void put_pointer(base::Encoder& out, const BlockPtr& pointer) {
    out.put(pointer.vbn);
    out.put(pointer.birth);
    out.put(pointer.crc);
}
BlockPtr get_pointer(base::Decoder& in) {
    BlockPtr pointer;
    pointer.vbn = in.get<uint64_t>();
    pointer.birth = in.get<uint64_t>();
    pointer.crc = in.get<uint32_t>();
    return pointer;
}
void put_pointers(base::Encoder& out, const std::vector<BlockPtr>& pointers) {
    out.put(static_cast<uint32_t>(pointers.size()));
    for (const BlockPtr& pointer : pointers) put_pointer(out, pointer);
}
std::vector<BlockPtr> get_pointers(base::Decoder& in) {
    std::vector<BlockPtr> pointers(in.get_count(20));
    for (BlockPtr& pointer : pointers) pointer = get_pointer(in);
    return pointers;
}

}  // namespace

std::vector<std::byte> Engine::encode_objects() const {
    base::Encoder out;
    out.put(kObjectsVersion);
    out.put(next_volume_id_);
    out.put(static_cast<uint32_t>(const_cast<store::Store&>(store_).streams().size()));
    for (const auto& [id, stream] : const_cast<store::Store&>(store_).streams()) {
        const store::StreamState& state = stream->state();
        out.put(state.id);
        out.put(state.k);
        out.put(state.m);
        out.put<uint8_t>(stream->marked_lost() ? 1 : 0);
        out.put(static_cast<uint32_t>(state.drives.size()));
        for (const uint32_t drive : state.drives) out.put(drive);
        out.put(state.next_sequence);
        out.put<uint8_t>(state.open_group ? 1 : 0);
        out.put(state.open_group.value_or(0));
        out.put(state.next_row);
    }
    out.put(static_cast<uint32_t>(nodes_.size()));
    for (const auto& [id, node] : nodes_) {
        out.put(node.id);
        out.put(node.parent);
        out.put(static_cast<uint8_t>((node.head ? 1 : 0) | (node.deleting ? 2 : 0) | (node.temporary ? 4 : 0)));
        out.put(node.snap_birth);
        out.put(node.size_bytes);
        out.put(static_cast<uint8_t>(node.type));
        out.put(node.width);
        out.put(node.levels);
        out.put(node.mapped_blocks);
        out.put(node.reclaim_cursor);
        out.put(node.reclaim_plex);
        out.put(static_cast<uint32_t>(node.plexes.size()));
        for (const Plex& plex : node.plexes) {
            out.put_bytes(plex.id.bytes);
            out.put(plex.stream);
            put_pointer(out, plex.root.disk);
            out.put(
                static_cast<uint8_t>((plex.building ? 1 : 0) | (plex.lost ? 2 : 0) | (plex.dead.merge_begun ? 4 : 0)));
            put_pointers(out, plex.dead.chains);
            put_pointers(out, plex.dead.merging);
        }
    }
    out.put(static_cast<uint32_t>(records_.size()));
    for (const auto& [key, value] : records_) {
        out.put_string(key);
        out.put_string(value);
    }
    return out.take();
}

Result<void> Engine::decode_objects(Bytes bytes) {
    base::Decoder in(bytes);
    const auto version = in.get<uint32_t>();
    if (version == 0 || version > kObjectsVersion)
        return fail(Code::kVersion,
                    fmt::format("objects of version {}, this build knows {}", version, kObjectsVersion));
    next_volume_id_ = in.get<uint64_t>();
    for (size_t i = in.get_count(32); i > 0; --i) {
        store::StreamState state;
        state.id = in.get<uint64_t>();
        state.k = in.get<uint8_t>();
        state.m = in.get<uint8_t>();
        const bool lost = in.get<uint8_t>() != 0;
        state.drives.resize(in.get_count(4));
        for (uint32_t& drive : state.drives) {
            drive = in.get<uint32_t>();
            if (drive >= store_.drives.size()) return fail(Code::kCorrupt, "a stream on an unknown drive");
        }
        state.next_sequence = in.get<uint64_t>();
        const bool open = in.get<uint8_t>() != 0;
        const auto slot = in.get<uint32_t>();
        if (open) state.open_group = slot;
        state.next_row = in.get<uint32_t>();
        if (!in.ok() || state.drives.size() != static_cast<size_t>(state.k) + state.m || state.k == 0) {
            return fail(Code::kCorrupt, "a stream that does not fit together");
        }
        store::Stream& stream = store_.add_stream(std::move(state));
        if (lost) stream.set_lost();
    }
    for (size_t i = in.get_count(64); i > 0; --i) {
        Node node;
        node.id = in.get<uint64_t>();
        node.parent = in.get<uint64_t>();
        const auto flags = in.get<uint8_t>();
        node.head = (flags & 1) != 0;
        node.deleting = (flags & 2) != 0;
        node.temporary = (flags & 4) != 0;
        node.snap_birth = in.get<uint64_t>();
        node.size_bytes = in.get<uint64_t>();
        node.type = static_cast<LunType>(in.get<uint8_t>());
        node.width = in.get<uint8_t>();
        node.levels = in.get<uint8_t>();
        node.mapped_blocks = in.get<uint64_t>();
        node.reclaim_cursor = in.get<uint64_t>();
        node.reclaim_plex = in.get<uint8_t>();
        node.plexes.resize(in.get_count(32));
        for (Plex& plex : node.plexes) {
            const Bytes id = in.get_bytes(plex.id.bytes.size());
            std::copy(id.begin(), id.end(), plex.id.bytes.begin());
            plex.stream = in.get<uint64_t>();
            plex.root.disk = get_pointer(in);
            const auto plex_flags = in.get<uint8_t>();
            plex.building = (plex_flags & 1) != 0;
            plex.lost = (plex_flags & 2) != 0;
            plex.dead.merge_begun = (plex_flags & 4) != 0;
            plex.dead.chains = get_pointers(in);
            plex.dead.merging = get_pointers(in);
        }
        if (!in.ok() || node.levels == 0 || node.levels > 5)
            return fail(Code::kCorrupt, "a volume record that does not fit together");
        node.ranges = std::make_shared<RangeLock>(environment_.executor);
        nodes_.emplace(node.id, std::move(node));
    }
    for (size_t i = in.get_count(8); i > 0; --i) {
        std::string key = in.get_string();
        records_[std::move(key)] = in.get_string();
    }
    if (!in.ok() || !in.at_end()) return fail(Code::kCorrupt, "the array's objects do not decode");
    return {};
}

}  // namespace umbra::lun

// Maps: radix trees of pointers, copied on write in memory and on the drives.
#include <fmt/format.h>

#include "lun/engine.h"

namespace umbra::lun {

using store::kPointersPerPage;
using store::load_pointer;
using store::store_pointer;

namespace {

/// Checkpoints may move what is being looked up; so many never do.
constexpr int kMaxLookups = 100000;

constexpr uint32_t index_at(uint64_t lba, uint8_t level) {  // level 1: leaf
    return static_cast<uint32_t>(lba >> (8 * (level - 1)) & 0xff);
}

}  // namespace

Engine::Subtree Engine::subtree(const Plex& plex, uint8_t levels, uint8_t level, uint64_t lba) {
    Subtree here{.resident = true, .missing = {}, .pointer = plex.root.disk, .dirty = plex.root.dirty.get()};
    if (level >
        levels) {  // a taller tree is compared with this one: below its own capacity this tree is the first child
        return (lba >> (8 * levels)) == 0 ? here : Subtree{};
    }
    if (levels < 8 && (lba >> (8 * levels)) != 0) return Subtree{};
    for (uint8_t at = levels; at > level; --at) {
        const uint32_t index = index_at(lba, at);
        if (here.dirty != nullptr) {
            const auto kid = here.dirty->kids.find(static_cast<uint8_t>(index));
            if (kid != here.dirty->kids.end()) {
                here = {.resident = true, .missing = {}, .pointer = {}, .dirty = kid->second.get()};
            } else {
                here = {.resident = true,
                        .missing = {},
                        .pointer = load_pointer(here.dirty->bytes.data() + index * 16),
                        .dirty = nullptr};
            }
            continue;
        }
        if (here.pointer.is_hole() || here.pointer.is_lost()) return here;
        const CleanPageRef page = cache_.find(here.pointer.vbn);
        if (!page) return {.resident = false, .missing = here.pointer, .pointer = {}, .dirty = nullptr};
        here.pointer = load_pointer(page->bytes.data() + index * 16);
    }
    return here;
}

Engine::Lookup Engine::lookup(const Plex& plex, uint8_t levels, uint64_t lba) {
    Lookup out;
    const DirtyPage* dirty = plex.root.dirty.get();
    BlockPtr pointer = plex.root.disk;
    for (uint8_t level = levels; level >= 1; --level) {
        const uint32_t index = index_at(lba, level);
        if (dirty != nullptr) {
            const auto kid = dirty->kids.find(static_cast<uint8_t>(index));
            if (kid != dirty->kids.end()) {
                dirty = kid->second.get();
                continue;
            }
            pointer = load_pointer(dirty->bytes.data() + index * 16);
            dirty = nullptr;
            continue;
        }
        if (pointer.is_hole()) {
            out.hole_level = level;
            out.value = pointer;
            return out;
        }
        if (pointer.is_lost()) break;
        const CleanPageRef page = cache_.find(pointer.vbn);
        if (!page) {
            out.resident = false;
            out.missing = pointer;
            return out;
        }
        pointer = load_pointer(page->bytes.data() + index * 16);
    }
    out.value = pointer;
    return out;
}

Task<Result<void>> Engine::load_page(BlockPtr pointer, Pins* pins) {
    auto page = std::make_shared<CleanPage>();
    base::Buffer buffer(store::kBlockBytes);
    store::ReadItem item{.pointer = pointer, .into = buffer.span(), .ok = false};
    const uint64_t epoch = store_.commits;
    std::vector<store::ReadItem*> items{&item};
    const auto done = co_await store_.read(std::move(items), epoch);
    if (!done) {
        if (done.error().code == base::Code::kBusy) co_return Result<void>();  // the caller walks again from the root
        co_return done;
    }
    if (!item.ok) co_return base::fail(base::Code::kMediaError, "a map page has no good copy");
    if (store_.commits != epoch) co_return Result<void>();
    std::memcpy(page->bytes.data(), buffer.data(), store::kBlockBytes);
    if (pins != nullptr) pins->push_back(page);
    cache_.insert(pointer.vbn, std::move(page));
    co_return Result<void>();
}

Task<Result<void>> Engine::ensure_path(uint64_t id, size_t plex, uint64_t lba, Pins* pins) {
    for (int attempt = 0; attempt < kMaxLookups; ++attempt) {
        const Node* node = find(id);
        if (node == nullptr || plex >= node->plexes.size())
            co_return base::fail(base::Code::kDeviceFailed, "the volume is gone");
        const Lookup found = lookup(node->plexes[plex], node->levels, lba);
        if (found.resident) co_return Result<void>();
        UMBRA_CO_TRY(co_await load_page(found.missing, pins));
    }
    co_return base::fail(base::Code::kInternal, "a map refers to a page that is not in the block table");
}

std::shared_ptr<DirtyPage> Engine::copy_of(const std::shared_ptr<DirtyPage>& page) {
    auto copy = std::make_shared<DirtyPage>();
    copy->bytes = page->bytes;
    copy->kids = page->kids;
    copy->birth = page->birth;
    ++dirty_pages_;
    return copy;
}

void Engine::set_pointer(Node& node, size_t plex_index, uint64_t lba, BlockPtr pointer) {
    std::byte* at = change_path(node, plex_index, lba, 1, pointer.birth);
    const BlockPtr old = load_pointer(at);
    if (plex_index == 0 || !plex_live(node.plexes[0])) {
        if (old.is_hole() && !pointer.is_hole()) ++node.mapped_blocks;
        if (!old.is_hole() && pointer.is_hole() && node.mapped_blocks > 0) --node.mapped_blocks;
    }
    dispose(node, node.plexes[plex_index], old);
    store_pointer(at, pointer);
}

std::byte* Engine::change_path(Node& node, size_t plex_index, uint64_t lba, uint8_t to, uint64_t birth) {
    Plex& plex = node.plexes[plex_index];
    const auto from_disk = [&](const BlockPtr& on_disk) {
        auto page = std::make_shared<DirtyPage>();
        ++dirty_pages_;
        if (on_disk.is_lost()) {
            for (uint32_t i = 0; i < kPointersPerPage; ++i)
                store_pointer(page->bytes.data() + i * 16, store::kLostBlock);
        } else if (!on_disk.is_hole()) {
            const CleanPageRef clean = cache_.find(on_disk.vbn);
            UMBRA_CHECK(clean != nullptr);
            page->bytes = clean->bytes;
            page->birth = on_disk.birth;
            dispose(node, plex, on_disk);
        }
        return page;
    };
    if (!plex.root.dirty) {
        plex.root.dirty = from_disk(plex.root.disk);
        plex.root.disk = {};
    } else if (plex.root.dirty.use_count() > 1) {
        plex.replaced.push_back(plex.root.dirty);
        plex.root.dirty = copy_of(plex.root.dirty);
    }
    DirtyPage* page = plex.root.dirty.get();
    page->birth = std::max(page->birth, birth);
    for (uint8_t level = node.levels; level > to; --level) {
        const auto index = static_cast<uint8_t>(index_at(lba, level));
        auto kid = page->kids.find(index);
        if (kid == page->kids.end()) {
            auto loaded = from_disk(load_pointer(page->bytes.data() + index * 16));
            store_pointer(page->bytes.data() + index * 16, {});
            kid = page->kids.emplace(index, std::move(loaded)).first;
        } else if (kid->second.use_count() > 1) {
            plex.replaced.push_back(kid->second);
            kid->second = copy_of(kid->second);
        }
        page = kid->second.get();
        page->birth = std::max(page->birth, birth);
    }
    return page->bytes.data() + index_at(lba, to) * 16;
}

void Engine::lose_page(Node& node, size_t plex_index, uint64_t lba, uint64_t birth) {
    Plex& plex = node.plexes[plex_index];
    for (uint8_t level = node.levels; level >= 1; --level) {
        const Subtree page = subtree(plex, node.levels, level, lba);
        UMBRA_CHECK(page.resident);
        if (page.dirty != nullptr || page.pointer.is_hole() || cache_.find(page.pointer.vbn)) continue;
        event("block.lost",
              fmt::format("a map page of volume {} has no good copy: {} KiB from {} KiB on are lost", node.id,
                          4ull << (8 * level), (lba >> (8 * level) << (8 * level)) * 4),
              node.id);
        if (level == node.levels) {
            dispose(node, plex, plex.root.disk);
            plex.root.disk = store::kLostBlock;
        } else {
            std::byte* at = change_path(node, plex_index, lba, static_cast<uint8_t>(level + 1), birth);
            dispose(node, plex, load_pointer(at));
            store_pointer(at, store::kLostBlock);
        }
        return;
    }
}

void Engine::grow_levels(Node& node, size_t plex_index, uint8_t from, uint8_t to) {
    Plex& plex = node.plexes[plex_index];
    for (uint8_t level = from; level < to; ++level) {
        auto top = std::make_shared<DirtyPage>();
        ++dirty_pages_;
        if (plex.root.dirty) {
            top->birth = plex.root.dirty->birth;
            top->kids.emplace(0, plex.root.dirty);
        } else if (!plex.root.disk.is_hole()) {
            top->birth = plex.root.disk.birth;
            store_pointer(top->bytes.data(), plex.root.disk);
        }
        plex.root.dirty = std::move(top);
        plex.root.disk = {};
    }
}

void Engine::dispose(Node& node, Plex& plex, BlockPtr pointer) {
    if (pointer.is_hole() || pointer.is_lost()) return;
    if (pointer.birth > parent_birth(node)) {
        store_.blocks.free(pointer.vbn);
        cache_.erase(pointer.vbn);
    } else {
        plex.dead.tail.push_back(pointer);
        ++dead_entries_;
    }
}

}  // namespace umbra::lun

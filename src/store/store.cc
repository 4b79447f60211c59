#include "store/store.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/crc32c.h"

namespace umbra::store {

using base::Code;
using base::fail;

Store::Store(env::Environment& env_in, StoreOptions options_in)
    : environment(env_in),
      options(std::move(options_in)),
      drives(env_in, options.event),
      meta(drives, options.meta_cache_pages),
      groups(drives, meta),
      blocks(meta, groups),
      log(env_in.executor, drives) {
    meta.keep = [this](uint32_t drive) { return checkpoint_need(drive); };
}

Store::~Store() = default;

Stream& Store::add_stream(StreamState state) {
    const uint64_t id = state.id;
    StreamContext context{.executor = environment.executor,
                          .drives = drives,
                          .groups = groups,
                          .blocks = blocks,
                          .log = log,
                          .next_group_id = next_group_id,
                          .birth = birth,
                          .checkpoint = checkpoint,
                          .checkpoint_need = [this](uint32_t drive) { return checkpoint_need(drive); }};
    return *(streams_[id] = std::make_shared<Stream>(context, std::move(state)));
}

uint32_t Store::checkpoint_need(uint32_t drive) const {
    // Its pages go to any of the drive's streams, each in a group of its own; chunks and the array log come on top.
    const auto pages = static_cast<uint32_t>(options.unwritten_pages());
    const uint32_t records = (pages + kMaxRecordPayload - 1) / kMaxRecordPayload;
    const uint32_t rows = drives.segment_blocks();
    return (pages + records + rows - 1) / rows + drives.at(drive).streams;
}

std::shared_ptr<Stream> Store::hold_stream(uint64_t id) {
    const auto found = streams_.find(id);
    return found == streams_.end() ? nullptr : found->second;
}

Stream* Store::stream(uint64_t id) {
    const auto found = streams_.find(id);
    return found == streams_.end() ? nullptr : found->second.get();
}

namespace {
struct Cell {
    uint32_t slot;
    Column column;
    uint64_t offset;
    ReadItem* item;
};

struct Run {
    std::vector<Cell> cells;
    bool ok = false;
};

Task<void> read_run(Drives& drives, Run* run) {
    std::vector<MutableBytes> spans;
    for (const Cell& cell : run->cells) spans.push_back(cell.item->into);
    const auto done = co_await drives.read(run->cells[0].column.drive, run->cells[0].offset, std::move(spans));
    run->ok = done.has_value();
}
}  // namespace

Task<Result<void>> Store::read(std::vector<ReadItem*> items, uint64_t epoch) {
    std::vector<Cell> cells;
    for (ReadItem* item : items) {
        if (item->pointer.is_lost()) continue;
        UMBRA_CO_ASSIGN(const auto location, co_await blocks.find(item->pointer.vbn));
        if (commits != epoch) co_return fail(Code::kBusy, "a checkpoint came between");
        // Freed by the checkpoint that is being written: the map has another pointer by now.
        if (!location) co_return fail(Code::kBusy, "the block was replaced meanwhile");
        const Group& group = groups.at(location->group);
        if (Stream* owner = stream(group.stream)) {
            if (const std::byte* memory = owner->in_memory(*location)) {
                std::memcpy(item->into.data(), memory, kBlockBytes);
                item->ok = true;
                continue;
            }
        }
        const Column column = groups.column_of(group, location->block);
        if (!groups.usable(column)) {
            continue;  // the slow path reconstructs
        }
        cells.push_back({location->group, column, drives.offset_of(column, location->block / group.k), item});
    }
    // find() may have waited: a block that was in memory then may be on its drive by now, never the other way round.
    std::sort(cells.begin(), cells.end(), [](const Cell& a, const Cell& b) {
        return std::tie(a.column.drive, a.offset) < std::tie(b.column.drive, b.offset);
    });
    std::vector<Run> runs;
    for (const Cell& cell : cells) {
        const bool joins = !runs.empty() && runs.back().cells.back().column.drive == cell.column.drive &&
                           runs.back().cells.back().offset + kBlockBytes == cell.offset &&
                           runs.back().cells.size() < 256;
        if (!joins) runs.emplace_back();
        runs.back().cells.push_back(cell);
        groups.pin(cell.slot);
    }
    env::TaskGroup reads(environment.executor);
    for (Run& run : runs) reads.spawn(read_run(drives, &run));
    co_await reads.join();
    for (Run& run : runs) {
        for (Cell& cell : run.cells) {
            groups.unpin(cell.slot);
            if (!run.ok) continue;
            cell.item->ok = base::crc32c(cell.item->into) == cell.item->pointer.crc;
        }
    }
    for (ReadItem* item : items) {
        if (item->ok || item->pointer.is_lost()) continue;
        UMBRA_CO_TRY(co_await read_slow(item, epoch));
    }
    co_return Result<void>();
}

Task<Result<void>> Store::read_slow(ReadItem* item, uint64_t epoch) {
    if (commits != epoch) co_return fail(Code::kBusy, "a checkpoint came between");
    UMBRA_CO_ASSIGN(const auto location, co_await blocks.find(item->pointer.vbn));
    if (commits != epoch) co_return fail(Code::kBusy, "a checkpoint came between");
    if (!location) co_return fail(Code::kBusy, "the block was replaced meanwhile");
    const uint32_t slot = location->group;
    // The cleaner may have moved it since read() looked: then it is not on the drives yet.
    if (Stream* owner = stream(groups.at(slot).stream)) {
        if (const std::byte* memory = owner->in_memory(*location)) {
            std::memcpy(item->into.data(), memory, kBlockBytes);
            item->ok = true;
            co_return Result<void>();
        }
    }
    groups.pin(slot);
    const Column column = groups.column_of(groups.at(slot), location->block);
    const uint64_t offset = drives.offset_of(column, location->block / groups.at(slot).k);
    bool unreadable = true;
    if (groups.usable(column)) {
        std::vector<MutableBytes> spans{item->into};
        const auto again = co_await drives.read(column.drive, offset, std::move(spans));
        item->ok = again.has_value() && base::crc32c(item->into) == item->pointer.crc;
        unreadable = !again.has_value();
        if (!item->ok && again.has_value()) ++drives.at(column.drive).checksum_errors;
    }
    if (!item->ok) {
        const auto rebuilt = co_await reconstruct(*location, item->pointer, item->into);
        item->ok = rebuilt.has_value() && *rebuilt;
        if (item->ok && groups.usable(column)) {
            const bool repaired = co_await drives.repair(column.drive, offset, item->into);
            if (repaired) {
                options.event("block.repaired",
                              fmt::format("a block of drive {} {} and was repaired from parity",
                                          drives.at(column.drive).member.name,
                                          unreadable ? "could not be read" : "had a wrong checksum"),
                              column.drive);
            }
        }
    }
    groups.unpin(slot);
    co_return Result<void>();
}

Task<Result<bool>> Store::reconstruct(Location location, BlockPtr pointer, MutableBytes into) {
    const Group& group = groups.at(location.group);
    if (group.m == 0) co_return false;
    const uint32_t row = location.block / group.k;
    const uint32_t missing = location.block % group.k;
    base::Buffer other(kBlockBytes);
    std::memset(into.data(), 0, into.size());
    for (size_t c = 0; c < group.columns.size(); ++c) {
        if (c == missing) continue;
        const Column column = group.columns[c];
        if (!groups.usable(column)) co_return false;
        std::vector<MutableBytes> spans{other.span()};
        const auto done = co_await drives.read(column.drive, drives.offset_of(column, row), std::move(spans));
        if (!done) co_return false;
        for (size_t i = 0; i < kBlockBytes; ++i) into[i] ^= other.span()[i];
    }
    co_return base::crc32c(into) == pointer.crc;
}

Task<void> Store::rewrite(BlockPtr pointer, Bytes good, uint64_t epoch) {
    if (pointer.is_lost() || commits != epoch || base::crc32c(good) != pointer.crc) co_return;
    const auto location = co_await blocks.find(pointer.vbn);
    if (commits != epoch || !location || !*location) co_return;
    const uint32_t slot = (*location)->group;
    const Column column = groups.column_of(groups.at(slot), (*location)->block);
    Stream* owner = stream(groups.at(slot).stream);
    if (!groups.usable(column) || (owner != nullptr && owner->in_memory(**location) != nullptr)) co_return;
    groups.pin(slot);
    const bool done =
        co_await drives.repair(column.drive, drives.offset_of(column, (*location)->block / groups.at(slot).k), good);
    groups.unpin(slot);
    if (done) {
        options.event("block.repaired",
                      fmt::format("a block of drive {} was bad and was repaired from another plex",
                                  drives.at(column.drive).member.name),
                      column.drive);
    }
}

Task<Result<std::vector<std::byte>>> Store::load_objects() {
    const uint64_t bytes = drives.label().objects_bytes;
    std::vector<std::byte> out;
    out.reserve(bytes);
    for (uint64_t page = 0; out.size() < bytes; ++page) {
        UMBRA_CO_TRY(co_await meta.ensure(MetaTable::kObjects, page));
        const MetaPage* content = meta.peek(MetaTable::kObjects, page);
        const size_t take = std::min<uint64_t>(kBlockBytes, bytes - out.size());
        out.insert(out.end(), content->bytes.begin(), content->bytes.begin() + static_cast<ptrdiff_t>(take));
    }
    co_return out;
}

Task<Result<size_t>> Store::commit(std::vector<std::byte> objects) {
    for (auto& [id, stream] : streams_) stream->seal();
    for (auto& [id, stream] : streams_) co_await stream->drain();
    UMBRA_CO_TRY(co_await blocks.apply());
    std::vector<uint32_t> dead;
    for (uint32_t slot = 0; slot < groups.size(); ++slot) {
        if (groups.in_use(slot) && !groups.at(slot).open && groups.at(slot).live == 0) dead.push_back(slot);
    }
    for (const uint32_t slot : dead) groups.mark_dying(slot);
    const uint64_t next = checkpoint + 1;
    UMBRA_CO_TRY(log.prepare_half(next));
    for (uint64_t at = 0, page = 0; at < objects.size(); at += kBlockBytes, ++page) {
        const size_t take = std::min<size_t>(kBlockBytes, objects.size() - at);
        // Unchanged pages are left as they are.
        UMBRA_CO_TRY(co_await meta.ensure(MetaTable::kObjects, page));
        const MetaPage* old = meta.peek(MetaTable::kObjects, page);
        if (std::memcmp(old->bytes.data(), objects.data() + at, take) == 0) continue;
        std::memcpy(meta.replace(MetaTable::kObjects, page).bytes.data(), objects.data() + at, take);
    }
    UMBRA_CO_TRY(co_await groups.persist());
    UMBRA_CO_TRY(co_await meta.write_dirty());
    Label label = drives.label();
    label.birth = birth;
    label.next_group_id = next_group_id;
    label.next_stream_id = next_stream_id;
    label.checkpoint = next;
    label.objects_bytes = objects.size();
    log.store_roots(label);
    meta.store_roots(label);
    UMBRA_CO_TRY(co_await drives.commit(std::move(label)));
    checkpoint = next;
    ++commits;
    log.restart(next);
    blocks.committed();
    for (const uint32_t slot : dead) groups.free(slot);
    for (auto& [id, stream] : streams_) stream->mark_durable();
    co_return dead.size();
}

std::optional<uint32_t> Store::cleaning_victim(bool desperate) const {
    std::optional<uint32_t> best;
    double best_ratio = desperate ? 0.98 : 0.75;
    for (uint32_t slot = 0; slot < groups.size(); ++slot) {
        const Group& group = groups.at(slot);
        if (!groups.in_use(slot) || group.open || group.uncleanable || group.live == 0 || group.sealed_at >= checkpoint)
            continue;
        const double ratio = static_cast<double>(group.live) / groups.capacity(group);
        if (ratio < best_ratio) {
            best_ratio = ratio;
            best = slot;
        }
    }
    return best;
}

Task<Result<size_t>> Store::clean(uint32_t slot) {
    Stream* target = stream(groups.at(slot).stream);
    if (target == nullptr || target->lost()) {
        groups.at(slot).uncleanable = true;
        co_return 0;
    }
    groups.pin(slot);
    GroupImage image(drives, groups, slot, 0, std::min(groups.at(slot).rows_used, groups.rows()));
    co_await image.load();
    const auto records = image.scan();
    size_t moved = 0;
    size_t live_seen = 0;
    Result<void> outcome;
    for (const ScannedRecord& record : records) {
        uint32_t payload = 0;
        for (const Entry& entry : record.header.entries) {
            if (!entry.has_payload()) continue;
            const uint32_t index = payload++;
            const Location here{.group = slot, .block = record.row * groups.at(slot).k + 1 + index};
            const auto now = co_await blocks.find(entry.vbn);
            if (!now) {
                outcome = std::unexpected(now.error());
                break;
            }
            if (!*now || **now != here) continue;
            ++live_seen;
            if (!record.payload_ok[index]) continue;
            Room room = target->make_room(1, 1, Priority::kCleaner);
            while (room == Room::kWait) {
                co_await target->progress();
                room = target->make_room(1, 1, Priority::kCleaner);
            }
            if (room != Room::kReady) {
                outcome = fail(room == Room::kLost ? Code::kDeviceFailed : Code::kNoSpace, "no room to move blocks to");
                break;
            }
            target->append({.kind = EntryKind::kMove,
                            .plex = entry.plex,
                            .count = 0,
                            .crc = entry.crc,
                            .volume = entry.volume,
                            .lba = here.pack(),
                            .vbn = entry.vbn,
                            .birth = ++birth},
                           image.block(here.block));
            ++moved;
        }
        if (!outcome) break;
    }
    // What is left cannot be listed or read: picking the group again would not help.
    if (outcome && moved < groups.at(slot).live && live_seen <= moved) groups.at(slot).uncleanable = true;
    if (live_seen > moved) groups.at(slot).uncleanable = true;
    groups.unpin(slot);
    if (!outcome) co_return std::unexpected(outcome.error());
    co_return moved;
}

Task<Result<void>> Store::rebuild_column(uint32_t slot, uint32_t from, uint32_t to) {
    const auto segment = drives.allocate_segment(to);
    if (!segment)
        co_return fail(Code::kNoSpace, fmt::format("drive {} has no free segment", drives.at(to).member.name));
    const Column fresh{.drive = to, .segment = *segment};
    groups.pin(slot);
    const Group& group = groups.at(slot);
    UMBRA_CHECK(!group.open && group.m == 1);
    const auto lost = static_cast<size_t>(
        std::find_if(group.columns.begin(), group.columns.end(), [&](const Column& c) { return c.drive == from; }) -
        group.columns.begin());
    UMBRA_CHECK(lost < group.columns.size());
    const uint32_t rows = std::min(group.rows_used, groups.rows());
    constexpr uint32_t kRowsAtOnce = 64;
    base::Buffer sum(static_cast<size_t>(kRowsAtOnce) * kBlockBytes);
    base::Buffer other(sum.size());
    Result<void> outcome;
    for (uint32_t row = 0; row < rows && outcome; row += kRowsAtOnce) {
        const uint32_t count = std::min(kRowsAtOnce, rows - row);
        const size_t bytes = static_cast<size_t>(count) * kBlockBytes;
        std::memset(sum.data(), 0, bytes);
        for (size_t c = 0; c < group.columns.size(); ++c) {
            if (c == lost) continue;
            const Column column = group.columns[c];
            std::vector<MutableBytes> spans{other.span(0, bytes)};
            auto done = co_await drives.read(column.drive, drives.offset_of(column, row), std::move(spans));
            if (!done) {
                // Block by block; a row with an unreadable block stays wrong here, and its checksums say so.
                for (uint32_t r = 0; r < count; ++r) {
                    MutableBytes one = other.span(static_cast<size_t>(r) * kBlockBytes, kBlockBytes);
                    std::vector<MutableBytes> single{one};
                    done = co_await drives.read(column.drive, drives.offset_of(column, row + r), std::move(single));
                    if (!done) std::memset(one.data(), 0, one.size());
                }
            }
            for (size_t i = 0; i < bytes; ++i) sum.data()[i] ^= other.data()[i];
        }
        std::vector<Bytes> spans{std::as_const(sum).span(0, bytes)};
        outcome = co_await drives.write(to, drives.offset_of(fresh, row), std::move(spans));
    }
    if (outcome) {
        groups.set_column(slot, lost, fresh);
    } else if (drives.online(to)) {
        drives.release_segment(fresh);
    }
    groups.unpin(slot);
    co_return outcome;
}

Task<Result<size_t>> Store::scrub_group(uint32_t slot) {
    groups.pin(slot);
    GroupImage image(drives, groups, slot, 0, std::min(groups.at(slot).rows_used, groups.rows()));
    co_await image.load();
    const auto records = image.scan();
    size_t beyond = 0;
    for (const ScannedRecord& record : records) {
        uint32_t payload = 0;
        for (const Entry& entry : record.header.entries) {
            if (!entry.has_payload()) continue;
            const uint32_t index = payload++;
            if (record.payload_ok[index]) continue;
            const Location here{.group = slot, .block = record.row * groups.at(slot).k + 1 + index};
            const auto now = co_await blocks.find(entry.vbn);
            if (now && *now && **now == here) ++beyond;
        }
        if (record.intact()) (void)co_await image.repair(record);
    }
    if (image.damaged_cells() > beyond) {
        options.event(
            "scrub.repaired",
            fmt::format("scrub repaired {} blocks of group {}", image.damaged_cells() - beyond, groups.at(slot).id),
            std::nullopt);
    }
    groups.unpin(slot);
    co_return beyond;
}

Task<Result<void>> Store::sweep(uint64_t id) {
    std::set<uint32_t> lost;
    for (uint32_t slot = 0; slot < groups.size(); ++slot) {
        if (groups.in_use(slot) && groups.at(slot).stream == id) lost.insert(slot);
    }
    for (uint64_t page = 0; page < blocks.pages(); ++page) UMBRA_CO_TRY(co_await blocks.sweep_page(page, lost));
    co_return Result<void>();
}

}  // namespace umbra::store

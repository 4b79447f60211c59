// Formatting and opening: labels, replay of the logs, and what a crash left behind.
#include <algorithm>

#include <fmt/format.h>

#include "lun/drive_label.h"
#include "lun/engine.h"

namespace umbra::lun {

using base::Code;
using base::fail;
using store::kBlockBytes;
using store::Label;

namespace {

/// Ids of groups that were opened but not recorded before a crash are never used again: a record of theirs must not be
/// mistaken for a new one. More groups than this are not opened between two checkpoints.
constexpr uint64_t kGroupIdsPerRun = 1'000'000;
constexpr uint32_t kMinSegments = 40;

uint32_t default_segment_bytes(uint64_t largest) {
    uint64_t bytes = 1 << 20;
    while (largest / bytes > store::kMaxSegmentsPerDrive) bytes *= 2;
    return static_cast<uint32_t>(bytes);
}

Task<Result<store::DecodedLabel>> read_label(env::BlockDevice& device) {
    Result<store::DecodedLabel> best = fail(Code::kNotFound, "no Umbra label");
    for (uint64_t slot = 0; slot < 2; ++slot) {
        base::Buffer buffer(store::kLabelSlotBytes);
        const uint64_t at = store::kLabelOffset + slot * store::kLabelSlotBytes;
        if (device.geometry().size_bytes < at + store::kLabelSlotBytes) break;
        // The first block tells the length; the rest may never have been written.
        const MutableBytes first[] = {buffer.span(0, kBlockBytes)};
        const auto read = co_await device.read(at, first);
        if (!read) {
            if (!best && best.error().code == Code::kNotFound) best = std::unexpected(read.error());
            continue;
        }
        const uint64_t length = base::load_le<uint32_t>(buffer.data() + 12);
        const uint64_t rounded =
            std::min<uint64_t>((length + kBlockBytes - 1) / kBlockBytes * kBlockBytes, store::kLabelSlotBytes);
        if (base::as_text(buffer.span(0, 8)) != "UMBRALBL") continue;
        if (rounded > kBlockBytes) {
            const MutableBytes rest[] = {buffer.span(kBlockBytes, rounded - kBlockBytes)};
            const auto more = co_await device.read(at + kBlockBytes, rest);
            if (!more) {
                if (!best) best = std::unexpected(more.error());
                continue;
            }
        }
        auto label = store::decode_label(std::as_const(buffer).span(0, std::max<uint64_t>(rounded, kBlockBytes)));
        const bool better = label && (!best || best->label.generation < label->label.generation);
        if (better || (!best && !label)) best = std::move(label);
    }
    co_return best;
}

}  // namespace

Task<Result<DriveLabel>> read_drive_label(env::BlockDevice& device) {
    UMBRA_CO_ASSIGN(const store::DecodedLabel found, co_await read_label(device));
    DriveLabel label;
    label.array = found.label.array_id;
    label.drives = found.label.members.size();
    if (found.drive_index < found.label.members.size()) label.name = found.label.members[found.drive_index].name;
    co_return label;
}

Task<Result<base::Guid>> format_array(env::Environment& environment, std::vector<DriveSpec>& drives,
                                      EngineOptions options) {
    if (drives.empty() || drives.size() > store::kMaxDrives) {
        co_return fail(Code::kInvalidArgument,
                       fmt::format("an array has 1 to {} drives, not {}", store::kMaxDrives, drives.size()));
    }
    uint64_t largest = 0;
    for (const DriveSpec& drive : drives) largest = std::max(largest, drive.device->geometry().size_bytes);
    Label label;
    label.array_id = environment.random.guid();
    label.segment_bytes = options.segment_bytes != 0 ? options.segment_bytes : default_segment_bytes(largest);
    if (label.segment_bytes < store::kMinSegmentBytes || (label.segment_bytes & (label.segment_bytes - 1)) != 0) {
        co_return fail(Code::kInvalidArgument, fmt::format("a segment is a power of two of at least {} bytes, not {}",
                                                           store::kMinSegmentBytes, label.segment_bytes));
    }
    for (const DriveSpec& drive : drives) {
        const uint64_t need = store::kSegmentsOffset + static_cast<uint64_t>(kMinSegments) * label.segment_bytes;
        if (drive.device->geometry().size_bytes < need) {
            co_return fail(Code::kInvalidArgument, fmt::format("drive {} has {} bytes, at least {} are needed",
                                                               drive.name, drive.device->geometry().size_bytes, need));
        }
    }
    Engine engine(environment, std::move(options));
    engine.store_.drives.set_label(label);
    const base::Buffer zeros(kBlockBytes, true);
    for (uint32_t i = 0; i < drives.size(); ++i) {
        for (uint64_t slot = 0; slot < 2; ++slot) {  // an older array's label must not win
            const Bytes spans[] = {zeros.span()};
            UMBRA_CO_TRY(co_await drives[i].device->write(store::kLabelOffset + slot * store::kLabelSlotBytes, spans));
        }
        store::Drive drive;
        drive.member = {.id = environment.random.guid(),
                        .index = i,
                        .size_bytes = drives[i].device->geometry().size_bytes,
                        .failed = false,
                        .name = drives[i].name};
        drive.path = drives[i].path;
        drive.device = std::move(drives[i].device);
        engine.store_.drives.add(std::move(drive));
    }
    auto done = co_await engine.checkpoint_locked();
    co_await engine.store_.drives.join();
    const bool all = engine.store_.drives.online_count() == drives.size();
    for (uint32_t i = 0; i < drives.size(); ++i) drives[i].device = std::move(engine.store_.drives.at(i).device);
    if (!done) co_return std::unexpected(done.error());
    if (!all) co_return fail(Code::kDeviceFailed, "a drive failed while it was formatted");
    co_return label.array_id;
}

Task<Result<std::unique_ptr<Backend>>> open_array(env::Environment& environment, std::vector<DriveSpec> drives,
                                                  EngineOptions options) {
    struct Found {
        DriveSpec* spec;
        store::DecodedLabel label;
    };
    std::vector<Found> found;
    std::string refused;
    for (DriveSpec& spec : drives) {
        auto label = co_await read_label(*spec.device);
        if (label) {
            found.push_back({&spec, std::move(*label)});
            continue;
        }
        if (label.error().code == Code::kVersion)
            co_return base::with_context(label.error(), fmt::format("drive {}", spec.name));
        refused += fmt::format("; {}: {}", spec.name, label.error().message);
    }
    if (found.empty())
        co_return fail(Code::kNotFound,
                       fmt::format("none of {} drives carries an intact Umbra label{}", drives.size(), refused));
    const Found* newest = &found[0];
    for (const Found& candidate : found) {
        if (candidate.label.label.array_id != found[0].label.label.array_id) {
            co_return fail(Code::kInvalidArgument, fmt::format("drive {} belongs to another array than drive {}",
                                                               candidate.spec->name, found[0].spec->name));
        }
        if (candidate.label.label.generation > newest->label.label.generation) newest = &candidate;
    }
    const Label label = newest->label.label;
    auto engine = std::make_unique<Engine>(environment, options);
    store::Store& store = engine->store_;
    store.drives.set_label(label);
    size_t wanted = 0;
    size_t present = 0;
    std::vector<std::string> missing;
    for (const store::Member& member : label.members) {
        store::Drive drive;
        drive.member = member;
        for (Found& candidate : found) {
            if (candidate.label.drive_index != member.index ||
                candidate.label.label.members[member.index].id != member.id)
                continue;
            if (candidate.spec->device == nullptr) {
                co_return fail(Code::kInvalidArgument, fmt::format("drive {} is given twice", candidate.spec->name));
            }
            if (drive.device != nullptr)
                co_return fail(Code::kInvalidArgument,
                               fmt::format("drives {} and {} are the same member", drive.path, candidate.spec->path));
            drive.path = candidate.spec->path;
            drive.member.name = candidate.spec->name;
            if (!member.failed && candidate.spec->device->geometry().size_bytes < member.size_bytes) {
                refused += fmt::format("; {}: has shrunk from {} to {} bytes", candidate.spec->name, member.size_bytes,
                                       candidate.spec->device->geometry().size_bytes);
                continue;
            }
            drive.device = std::move(candidate.spec->device);
        }
        if (!member.failed) ++wanted;
        if (!member.failed && drive.device != nullptr) ++present;
        if (!member.failed && drive.device == nullptr) {
            drive.missing = true;
            drive.member.failed = true;
            missing.push_back(member.name);
        }
        store.drives.add(std::move(drive));
    }
    if (present * 2 <= wanted && !options.allow_degraded) {
        co_return fail(
            Code::kDeviceFailed,
            fmt::format(
                "only {} of the array's {} drives are here (missing: {}{}): a newer state may be on the others. "
                "Connect them, or open with --degraded if they are lost",
                present, wanted, fmt::join(missing, ", "), refused));
    }
    store.birth = label.birth;
    // A replay that a crash cuts short opens groups that nothing records: the next one must not number its own alike.
    store.next_group_id = label.next_group_id + kGroupIdsPerRun + (environment.random.next() & 0xffffffff);
    store.next_stream_id = label.next_stream_id;
    store.checkpoint = label.checkpoint;
    store.log.load(label);
    auto opened = co_await engine->replay();
    if (!opened) {
        for (auto& [id, stream] : store.streams()) co_await stream->drain();
        co_await store.drives.join();
        co_return std::unexpected(opened.error());
    }
    for (const std::string& name : missing) {
        engine->event(
            "drive.missing",
            fmt::format(
                "drive {} was not found and is out of use; run 'umbra lun recover' for each LUN that lost redundancy{}",
                name, refused));
    }
    if (options.background) engine->tasks_.spawn(engine->maintain());
    co_return std::unique_ptr<Backend>(std::move(engine));
}

namespace {

struct ReplayItem {
    uint64_t birth = 0;
    const store::Op* op = nullptr;
    const store::Entry* entry = nullptr;
    uint64_t stream = 0;
    store::Location location;
    bool durable = false;  ///< certainly flushed before the crash
};

}  // namespace

Task<Result<void>> Engine::replay() {
    UMBRA_CO_TRY(co_await store_.meta.load(store_.drives.label()));
    UMBRA_CO_TRY(co_await store_.groups.load());
    UMBRA_CO_TRY(co_await store_.blocks.load());
    UMBRA_CO_ASSIGN(const auto objects, co_await store_.load_objects());
    UMBRA_CO_TRY(decode_objects(objects));
    UMBRA_CO_ASSIGN(const auto ops, co_await store_.log.replay(options_.allow_degraded));

    struct Stretch {
        uint32_t slot;
        uint32_t first_row;
    };
    std::map<uint64_t, std::vector<Stretch>> stretches;
    for (auto& [id, stream] : store_.streams()) {
        if (stream->state().open_group)
            stretches[id].push_back({*stream->state().open_group, stream->state().next_row});
    }
    for (const store::Op& op : ops) {
        store_.birth = std::max(store_.birth, op.birth);
        if (op.kind != store::OpKind::kOpenGroup) continue;
        base::Decoder in(op.body);
        store::Group group;
        group.stream = in.get<uint64_t>();
        group.id = in.get<uint64_t>();
        group.columns.resize(in.get_count(8));
        for (store::Column& column : group.columns) {
            column.drive = in.get<uint32_t>();
            column.segment = in.get<uint32_t>();
            if (column.drive >= store_.drives.size())
                co_return fail(Code::kCorrupt, "the array log opens a group on an unknown drive");
        }
        const auto slot = in.get<uint32_t>();
        const store::Stream* stream = store_.stream(group.stream);
        if (!in.ok() || stream == nullptr || slot > store_.groups.size() + kGroupIdsPerRun)
            co_return fail(Code::kCorrupt, "the array log opens an impossible group");
        group.k = stream->state().k;
        group.m = stream->state().m;
        group.rows_used = store_.groups.rows();
        store_.next_group_id = std::max(store_.next_group_id, group.id + kGroupIdsPerRun);
        const uint64_t owner = group.stream;
        UMBRA_CO_TRY(store_.groups.insert_at(slot, std::move(group)));
        stretches[owner].push_back({slot, 0});
    }

    std::vector<ReplayItem> items;
    std::vector<std::unique_ptr<std::vector<store::ScannedRecord>>> kept;
    for (auto& [id, list] : stretches) {
        store::Stream& stream = *store_.stream(id);
        struct Candidate {
            store::ScannedRecord* record;
            uint32_t slot;
            size_t image;
        };
        std::map<uint64_t, Candidate> by_sequence;
        std::vector<std::unique_ptr<store::GroupImage>> images;
        uint64_t durable = 0;
        if (stream.lost()) continue;
        for (const Stretch& stretch : list) {
            const uint32_t rows = store_.groups.rows() - std::min(store_.groups.rows(), stretch.first_row);
            images.push_back(std::make_unique<store::GroupImage>(store_.drives, store_.groups, stretch.slot,
                                                                 stretch.first_row, rows));
            co_await images.back()->load();
            kept.push_back(std::make_unique<std::vector<store::ScannedRecord>>(images.back()->scan()));
            for (store::ScannedRecord& record : *kept.back()) {
                durable = std::max(durable, record.header.durable_sequence);
                by_sequence[record.header.sequence] = {&record, stretch.slot, images.size() - 1};
            }
        }
        // Where the next record begins if it was written: behind the last one, or at the start of a later group.
        size_t at_image = 0;
        uint32_t at_row = list.front().first_row;
        uint64_t next = stream.state().next_sequence;
        bool unreadable = false;
        for (;; ++next) {
            const auto found = by_sequence.find(next);
            if (found == by_sequence.end()) {
                for (size_t i = at_image; i < images.size() && !unreadable; ++i) {
                    const uint32_t row = i == at_image ? at_row : list[i].first_row;
                    unreadable = row < store_.groups.rows() && images[i]->header_unreadable(row);
                }
                break;
            }
            store::ScannedRecord& record = *found->second.record;
            if (!record.intact() && next > durable && !record.unreadable) break;
            at_image = found->second.image;
            at_row = record.row + (record.header.blocks + stream.state().k - 1) / stream.state().k;
            if (record.intact()) UMBRA_CO_TRY(co_await images[at_image]->repair(record));
            uint32_t payload = 0;
            for (const store::Entry& entry : record.header.entries) {
                const store::Location here{.group = found->second.slot,
                                           .block = record.row * stream.state().k + 1 + payload};
                const bool whole = !entry.has_payload() || record.payload_ok[payload];
                if (entry.has_payload()) ++payload;
                if (entry.kind == store::EntryKind::kMove && !whole) continue;  // the old copy is as good, or better
                items.push_back({.birth = entry.birth,
                                 .op = nullptr,
                                 .entry = &entry,
                                 .stream = id,
                                 .location = here,
                                 .durable = next <= durable});
            }
        }
        stream.restart_after(std::max(next - 1, stream.state().next_sequence - 1));
        if (next - 1 < durable || unreadable) {
            stream.set_lost();
            event("stream.damaged", fmt::format("the end of log {} cannot be read as it was flushed: acknowledged "
                                                "writes are missing, the plex is out of use",
                                                id));
        }
    }
    for (const store::Op& op : ops) {
        if (op.kind != store::OpKind::kOpenGroup)
            items.push_back(
                {.birth = op.birth, .op = &op, .entry = nullptr, .stream = 0, .location = {}, .durable = true});
    }
    // Page writes have no birth of their own in the order of things; they are skipped anyway.
    std::stable_sort(items.begin(), items.end(),
                     [](const ReplayItem& a, const ReplayItem& b) { return a.birth < b.birth; });

    std::map<std::pair<uint64_t, uint64_t>, std::vector<Touch>> touched;
    for (const ReplayItem& item : items) {
        store_.birth = std::max(store_.birth, item.birth);
        if (item.op != nullptr) {
            base::Decoder in(item.op->body);
            if (item.op->kind == store::OpKind::kSnapshot) {
                std::vector<SnapshotRequest> requests(in.get_count(25));
                std::vector<uint64_t> hidden;
                for (SnapshotRequest& request : requests) {
                    request.source = VolumeId(in.get<uint64_t>());
                    request.id = VolumeId(in.get<uint64_t>());
                    hidden.push_back(in.get<uint64_t>());
                    request.writable = in.get<uint8_t>() != 0;
                    if (find(request.source.value) == nullptr)
                        co_return fail(Code::kCorrupt, "the array log takes a snapshot of an unknown volume");
                    next_volume_id_ = std::max({next_volume_id_, request.id.value + 1, hidden.back() + 1});
                }
                apply_snapshots(requests, hidden, item.birth);
            }
            MetaBatch batch;
            for (size_t i = in.get_count(9); i > 0; --i) {
                std::string key = in.get_string();
                const bool set = in.get<uint8_t>() != 0;
                std::string value = in.get_string();
                batch.changes[std::move(key)] = set ? std::optional(std::move(value)) : std::nullopt;
            }
            if (!in.ok()) co_return fail(Code::kCorrupt, "the array log does not decode");
            apply_meta(batch);
            continue;
        }
        const store::Entry& entry = *item.entry;
        if (entry.kind == store::EntryKind::kPage) continue;
        if (entry.kind == store::EntryKind::kMove) {
            UMBRA_CO_ASSIGN(const auto now, co_await store_.blocks.find(entry.vbn));
            if (now && now->pack() == entry.lba) store_.blocks.set(entry.vbn, item.location);
            continue;
        }
        Node* node = find(entry.volume);
        const bool ours = node != nullptr && node->head && entry.plex < node->plexes.size() &&
                          node->plexes[entry.plex].stream == item.stream && plex_live(node->plexes[entry.plex]);
        if (!ours) continue;
        const uint64_t count = entry.kind == store::EntryKind::kZero ? entry.count : 1;
        if (entry.lba + count > (1ull << (8 * node->levels)))
            co_return fail(Code::kCorrupt, "the log writes beyond the end of a volume");
        Pins pins;
        auto ready = co_await ensure_path(entry.volume, entry.plex, entry.lba, &pins);
        if (!ready && ready.error().code == Code::kMediaError) {
            if (live_streams(*node).size() >= 2) {
                drop_plex(*node, entry.plex, "a map page has no good copy");
                continue;
            }
            lose_page(*node, entry.plex, entry.lba, entry.birth);
            ready = co_await ensure_path(entry.volume, entry.plex, entry.lba, &pins);
        }
        UMBRA_CO_TRY(ready);
        if (entry.kind == store::EntryKind::kWrite) {
            store_.blocks.set(entry.vbn, item.location);
            set_pointer(*node, entry.plex, entry.lba, {.vbn = entry.vbn, .birth = entry.birth, .crc = entry.crc});
        } else {
            for (uint64_t i = 0; i < count; ++i)
                set_pointer(*node, entry.plex, entry.lba + i, {.vbn = 0, .birth = entry.birth, .crc = 0});
        }
        if (node->plexes.size() > 1) {
            for (uint64_t i = 0; i < count; ++i) {
                auto& births = touched[{entry.volume, entry.lba + i}];
                births.resize(node->plexes.size());
                births[entry.plex] = {.birth = entry.birth, .durable = item.durable};
            }
        }
    }
    for (auto& [id, stream] : store_.streams()) stream->abandon_group();
    UMBRA_CO_TRY(co_await reconcile_plexes(touched));
    drop_leftovers();
    co_return co_await checkpoint_locked();
}

void Engine::drop_leftovers() {
    std::vector<uint64_t> ids;
    for (auto& [id, node] : nodes_) {
        if (node.temporary) node.deleting = true;
        ids.push_back(id);
    }
    for (const uint64_t id : ids) {
        for (size_t p = 0; p < find(id)->plexes.size(); ++p) {
            const Plex& plex = find(id)->plexes[p];
            if (!plex.building && !(plex.lost && plex.stream != 0)) continue;
            // A plex that was being built, or is lost for one volume of the lineage: out of use for all of them, to be
            // built anew. As long as one of them has no other, nothing is thrown away.
            const auto members = lineage(id);
            const bool spare = std::all_of(members.begin(), members.end(), [&](uint64_t member) {
                const auto& plexes = find(member)->plexes;
                for (size_t other = 0; other < plexes.size(); ++other) {
                    if (other != p && plex_live(plexes[other])) return true;
                }
                return false;
            });
            for (const uint64_t member : members) {
                Plex& theirs = find(member)->plexes[p];
                if (!spare && !theirs.building) continue;
                theirs.forget();
                theirs.stream = 0;
            }
        }
    }
}

/// What both plexes of a mirror map `lba` to. A plex that cannot tell is out of use; nothing then.
Task<Result<std::optional<std::array<BlockPtr, 2>>>> Engine::pointers_of(uint64_t id, uint64_t lba) {
    for (;;) {
        Node* node = find(id);
        if (node == nullptr || live_streams(*node).size() < 2) co_return std::nullopt;
        Pins pins;
        for (size_t p = 0; p < 2; ++p) {
            const auto ready = co_await ensure_path(id, p, lba, &pins);
            if (ready) continue;
            if (ready.error().code != Code::kMediaError) co_return std::unexpected(ready.error());
            drop_plex(*node, p, "a map page has no good copy");
            co_return std::nullopt;
        }
        const Lookup first = lookup(node->plexes[0], node->levels, lba);
        const Lookup second = lookup(node->plexes[1], node->levels, lba);
        if (first.resident && second.resident) co_return std::array{first.value, second.value};
    }
}

/// Whether a block can be read from the plex that `pointer` is of.
Task<Result<bool>> Engine::readable(BlockPtr pointer, MutableBytes into) {
    if (pointer.is_hole()) co_return true;
    store::ReadItem item{.pointer = pointer, .into = into, .ok = false};
    std::vector<store::ReadItem*> items{&item};
    UMBRA_CO_TRY(co_await store_.read(std::move(items), store_.commits));
    co_return item.ok;
}

/// A crash may leave a write on one plex only. The newer of two contents wins; where it cannot be read and was never
/// flushed, the older one is as legal, but only for the whole of the write: a block of each would be torn.
Task<Result<void>> Engine::reconcile_plexes(
    const std::map<std::pair<uint64_t, uint64_t>, std::vector<Touch>>& touched) {
    struct Difference {
        uint64_t volume;
        uint64_t lba;
        size_t newer;
        uint64_t birth;
    };
    struct Write {
        bool newer_readable = true;
        bool older_readable = true;
        bool durable = false;
    };
    std::vector<Difference> differences;
    std::map<std::pair<uint64_t, uint64_t>, Write> writes;  // by volume and birth
    base::Buffer buffer(kBlockBytes);
    for (const auto& [where, births] : touched) {
        const auto [id, lba] = where;
        if (find(id) == nullptr || !find(id)->head) continue;
        UMBRA_CO_ASSIGN(const auto pointers, co_await pointers_of(id, lba));
        if (!pointers) continue;
        const auto& [a, b] = *pointers;
        if (a.birth == b.birth || (a.is_hole() && b.is_hole())) continue;
        const size_t newer = a.birth > b.birth ? 0 : 1;
        const uint64_t birth = std::max(a.birth, b.birth);
        differences.push_back({.volume = id, .lba = lba, .newer = newer, .birth = birth});
        UMBRA_CO_ASSIGN(const bool newer_ok, co_await readable((*pointers)[newer], buffer.span()));
        UMBRA_CO_ASSIGN(const bool older_ok, co_await readable((*pointers)[1 - newer], buffer.span()));
        Write& write = writes[{id, birth}];
        write.newer_readable = write.newer_readable && newer_ok;
        write.older_readable = write.older_readable && older_ok;
        write.durable = write.durable || births[newer].durable;
    }
    for (const Difference& difference : differences) {
        const auto [id, lba, newer, birth] = difference;
        const Write& write = writes.at({id, birth});
        const bool back = !write.newer_readable && !write.durable && write.older_readable;
        if (!write.newer_readable && !back) {
            // The write cannot be had whole from either: errors from now on, not old or torn data.
            if (live_streams(*find(id)).size() < 2) continue;
            drop_plex(*find(id), 1 - newer, "it lacks a write that the other plex cannot read");
            continue;
        }
        const size_t from = back ? 1 - newer : newer;
        UMBRA_CO_TRY(co_await copy_block(id, from, lba, birth));
    }
    co_return Result<void>();
}

/// Makes the other plex of a mirror hold what plex `from` maps `lba` to.
Task<Result<void>> Engine::copy_block(uint64_t id, size_t from, uint64_t lba, uint64_t birth) {
    const size_t to = 1 - from;
    base::Buffer buffer(kBlockBytes);
    for (;;) {
        UMBRA_CO_ASSIGN(const auto pointers, co_await pointers_of(id, lba));
        if (!pointers) co_return Result<void>();
        Node& node = *find(id);
        if ((*pointers)[from].is_hole()) {
            set_pointer(node, to, lba, {.vbn = 0, .birth = birth, .crc = 0});
            co_return Result<void>();
        }
        UMBRA_CO_ASSIGN(const bool ok, co_await readable((*pointers)[from], buffer.span()));
        if (!ok) {
            drop_plex(node, to, "it lacks a write that the other plex cannot read");
            co_return Result<void>();
        }
        if (!store_.blocks.has_free(1)) UMBRA_CO_TRY(co_await store_.blocks.refill(64));
        store::Stream* stream = store_.stream(node.plexes[to].stream);
        const store::Room room = stream->make_room(1, 1, store::Priority::kBackground);
        if (room == store::Room::kWait) {
            co_await stream->progress();
            continue;
        }
        if (room != store::Room::kReady) {
            drop_plex(node, to, "no room to bring it up to date");
            co_return Result<void>();
        }
        if (!lookup(node.plexes[to], node.levels, lba).resident) continue;
        const BlockPtr made = stream->append({.kind = store::EntryKind::kPage,
                                              .plex = static_cast<uint8_t>(to),
                                              .count = 0,
                                              .crc = 0,
                                              .volume = id,
                                              .lba = lba,
                                              .vbn = 0,
                                              .birth = birth},
                                             buffer.span());
        set_pointer(node, to, lba, made);
        co_return Result<void>();
    }
}

}  // namespace umbra::lun

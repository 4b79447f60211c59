// Formatting and opening: labels, replay of the logs, and what a crash left behind.
#include <algorithm>

#include <fmt/format.h>

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
    store.next_group_id = label.next_group_id + kGroupIdsPerRun;
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
                "drive {} was not found and is out of use; run 'umbra lun recover' for each LUN that lost redundancy",
                name));
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
    UMBRA_CO_ASSIGN(const auto ops, co_await store_.log.replay());

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
        bool unreadable_tail = false;
        if (stream.lost()) continue;
        for (const Stretch& stretch : list) {
            const uint32_t rows = store_.groups.rows() - std::min(store_.groups.rows(), stretch.first_row);
            images.push_back(std::make_unique<store::GroupImage>(store_.drives, store_.groups, stretch.slot,
                                                                 stretch.first_row, rows));
            co_await images.back()->load();
            kept.push_back(std::make_unique<std::vector<store::ScannedRecord>>(images.back()->scan()));
            uint32_t next_row = stretch.first_row;
            for (store::ScannedRecord& record : *kept.back()) {
                durable = std::max(durable, record.header.durable_sequence);
                by_sequence[record.header.sequence] = {&record, stretch.slot, images.size() - 1};
                next_row =
                    std::max(next_row, record.row + (record.header.blocks + stream.state().k - 1) / stream.state().k);
            }
            const bool last = &stretch == &list.back();
            if (last && next_row < store_.groups.rows() && images.back()->header_unreadable(next_row))
                unreadable_tail = true;
        }
        uint64_t next = stream.state().next_sequence;
        for (;; ++next) {
            const auto found = by_sequence.find(next);
            if (found == by_sequence.end()) break;
            store::ScannedRecord& record = *found->second.record;
            if (!record.intact() && next > durable) break;
            if (record.intact()) UMBRA_CO_TRY(co_await images[found->second.image]->repair(record));
            uint32_t payload = 0;
            for (const store::Entry& entry : record.header.entries) {
                const store::Location here{.group = found->second.slot,
                                           .block = record.row * stream.state().k + 1 + payload};
                if (entry.has_payload()) ++payload;
                items.push_back({.birth = entry.birth,
                                 .op = nullptr,
                                 .entry = &entry,
                                 .stream = id,
                                 .location = here,
                                 .durable = next <= durable});
            }
        }
        stream.restart_after(std::max(next - 1, stream.state().next_sequence - 1));
        if (next - 1 < durable || unreadable_tail) {
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
        const auto ready = co_await ensure_path(entry.volume, entry.plex, entry.lba, &pins);
        if (!ready) {
            if (ready.error().code != Code::kMediaError) co_return ready;
            node->plexes[entry.plex].lost = true;
            event("plex.lost",
                  fmt::format("a map page of volume {} has no good copy: the plex is out of use", entry.volume),
                  entry.volume);
            continue;
        }
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
    UMBRA_CO_TRY(co_await drop_leftovers());
    UMBRA_CO_TRY(co_await reconcile_plexes(touched));
    co_return co_await checkpoint_locked();
}

Task<Result<void>> Engine::drop_leftovers() {
    std::vector<uint64_t> ids;
    for (auto& [id, node] : nodes_) {
        if (node.temporary) node.deleting = true;
        ids.push_back(id);
    }
    for (const uint64_t id : ids) {
        for (size_t p = 0; p < find(id)->plexes.size(); ++p) {
            const Plex& plex = find(id)->plexes[p];
            if (!plex.building && !(plex.lost && plex.stream != 0)) continue;
            // A plex that was being built, or is lost for one volume of the lineage: out of use for all of them.
            for (const uint64_t member : lineage(id)) {
                Plex& theirs = find(member)->plexes[p];
                theirs.building = false;
                theirs.lost = true;
                theirs.root = {};
                theirs.replaced.clear();
                theirs.dead = {};
                theirs.stream = 0;
            }
        }
    }
    co_return Result<void>();
}

Task<Result<void>> Engine::reconcile_plexes(
    const std::map<std::pair<uint64_t, uint64_t>, std::vector<Touch>>& touched) {
    for (const auto& [where, births] : touched) {
        const auto [id, lba] = where;
        Node* node = find(id);
        if (node == nullptr || !node->head || live_streams(*node).size() < 2) continue;
        for (;;) {
            Pins pins;
            bool resident = true;
            std::vector<BlockPtr> pointers;
            for (size_t p = 0; p < node->plexes.size(); ++p) {
                UMBRA_CO_TRY(co_await ensure_path(id, p, lba, &pins));
                const Lookup found = lookup(node->plexes[p], node->levels, lba);
                resident = resident && found.resident;
                pointers.push_back(found.value);
            }
            if (!resident) continue;
            const size_t newer = pointers[0].birth >= pointers[1].birth ? 0 : 1;
            if (pointers[0].birth == pointers[1].birth || (pointers[0].is_hole() && pointers[1].is_hole())) break;
            const size_t older = 1 - newer;
            if (pointers[newer].is_hole()) {
                set_pointer(*node, older, lba, pointers[newer]);
                break;
            }
            base::Buffer buffer(kBlockBytes);
            store::ReadItem item{.pointer = pointers[newer], .into = buffer.span(), .ok = false};
            std::vector<store::ReadItem*> items{&item};
            UMBRA_CO_TRY(co_await store_.read(std::move(items), store_.commits));
            if (!item.ok && newer < births.size() && births[newer].durable) {
                // What was flushed is gone on one plex and unreadable on the other: an error from now on, not old data.
                event("block.lost", fmt::format("block {} of volume {} has no good copy", lba, id), id);
                node->plexes[older].lost = true;
                break;
            }
            if (!item.ok) {
                // The newer one was never flushed and cannot be read: the older one is legal, and readable.
                store::ReadItem other{
                    .pointer = pointers[older], .into = buffer.span(), .ok = pointers[older].is_hole()};
                if (!other.ok) {
                    std::vector<store::ReadItem*> again{&other};
                    UMBRA_CO_TRY(co_await store_.read(std::move(again), store_.commits));
                }
                if (!other.ok) break;
                if (pointers[older].is_hole()) {
                    set_pointer(*node, newer, lba, {.vbn = 0, .birth = pointers[newer].birth, .crc = 0});
                    break;
                }
            }
            const size_t target = item.ok ? older : newer;
            store::Stream* stream = store_.stream(node->plexes[target].stream);
            if (!store_.blocks.has_free(1)) UMBRA_CO_TRY(co_await store_.blocks.refill(64));
            const store::Room room = stream->make_room(1, 1, store::Priority::kInternal);
            if (room == store::Room::kWait) {
                co_await stream->progress();
                continue;
            }
            if (room != store::Room::kReady) break;
            if (!lookup(node->plexes[target], node->levels, lba).resident) continue;
            const BlockPtr made = stream->append({.kind = store::EntryKind::kPage,
                                                  .plex = static_cast<uint8_t>(target),
                                                  .count = 0,
                                                  .crc = 0,
                                                  .volume = id,
                                                  .lba = lba,
                                                  .vbn = 0,
                                                  .birth = std::max(pointers[0].birth, pointers[1].birth)},
                                                 buffer.span());
            set_pointer(*node, target, lba, made);
            break;
        }
    }
    co_return Result<void>();
}

}  // namespace umbra::lun

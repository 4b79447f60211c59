// Volumes: creation, removal, snapshots, resynchronisation, and the work in the background.
#include "lun/engine.h"

#include <algorithm>

#include <fmt/format.h>

namespace umbra::lun {

using base::Code;
using base::fail;

namespace {

uint8_t levels_for(uint64_t blocks) {
    uint8_t levels = 1;
    while (levels < 5 && (blocks >> (8 * levels)) != 0 && blocks != (1ull << (8 * levels))) ++levels;
    return levels;
}

}  // namespace

Engine::Engine(env::Environment& environment, EngineOptions options)
    : options_(std::move(options)),
      environment_(environment),
      store_(environment, store::StoreOptions{
                              .meta_cache_pages = options_.meta_cache_pages,
                              .unwritten_pages =
                                  [this] { return dirty_pages_ + dead_entries_ / 128 + store_.blocks.changes() / 128; },
                              .event = [this](const std::string& id, const std::string& message,
                                              std::optional<uint32_t> drive) { event(id, message, 0, drive); }}),
      cache_(options_.map_cache_pages),
      gate_(environment.executor),
      space_lock_(environment.executor),
      work_(environment.executor),
      tasks_(environment.executor),
      idle_(environment.executor) {
    store_.drives.on_failed = [this](uint32_t) { kick(); };
}

Engine::~Engine() = default;

void Engine::event(const std::string& id, std::string message, uint64_t volume, std::optional<uint32_t> drive) {
    options_.events({.id = id,
                     .message = std::move(message),
                     .volume = VolumeId(volume),
                     .drive = drive ? std::optional(DriveIndex(*drive)) : std::nullopt});
}

Node* Engine::find(uint64_t id) {
    const auto found = nodes_.find(id);
    return found == nodes_.end() ? nullptr : &found->second;
}
const Node* Engine::find(uint64_t id) const {
    const auto found = nodes_.find(id);
    return found == nodes_.end() ? nullptr : &found->second;
}

Result<Node*> Engine::visible(VolumeId id) {
    Node* node = find(id.value);
    if (node == nullptr || node->deleting || node->temporary)
        return fail(Code::kNotFound, fmt::format("there is no volume {}", id.value));
    return node;
}

Result<void> Engine::check_running() const {
    if (broken_) return fail(Code::kDeviceFailed, "the array has stopped: " + broken_->message);
    if (closing_) return fail(Code::kDeviceFailed, "the array is closed");
    if (store_.drives.stopped()) return fail(Code::kDeviceFailed, "the array has stopped: no drive is left");
    return {};
}

uint64_t Engine::parent_birth(const Node& node) const {
    const Node* parent = node.parent == 0 ? nullptr : find(node.parent);
    return parent == nullptr ? 0 : parent->snap_birth;
}

bool Engine::plex_live(const Plex& plex) const {
    if (plex.building || plex.lost) return false;
    const store::Stream* stream = const_cast<store::Store&>(store_).stream(plex.stream);
    return stream != nullptr && !stream->lost();
}

const Plex* Engine::first_live(const Node& node) const {
    for (const Plex& plex : node.plexes) {
        if (plex_live(plex)) return &plex;
    }
    return nullptr;
}

std::set<uint64_t> Engine::live_streams(const Node& node) const {
    std::set<uint64_t> streams;
    for (const Plex& plex : node.plexes) {
        if (plex_live(plex)) streams.insert(plex.stream);
    }
    return streams;
}

bool Engine::stream_degraded(uint64_t id) const {
    const store::Stream* stream = const_cast<store::Store&>(store_).stream(id);
    if (stream == nullptr || stream->failed_drives() > 0) return true;
    for (uint32_t slot = 0; slot < store_.groups.size(); ++slot) {
        if (!store_.groups.in_use(slot)) continue;
        const store::Group& group = store_.groups.at(slot);
        if (group.stream == id && store_.groups.lost_columns(group) > 0) return true;
    }
    return false;
}

Health Engine::health(const Node& node) const {
    size_t live = 0;
    bool degraded = false;
    for (const Plex& plex : node.plexes) {
        if (!plex_live(plex)) {
            degraded = true;
            continue;
        }
        ++live;
        if (node.type == LunType::kParity && stream_degraded(plex.stream)) degraded = true;
    }
    if (live == 0) return Health::kFailed;
    if (node.recovering != 0) return Health::kRebuilding;
    return degraded ? Health::kFailedRedundancy : Health::kHealthy;
}

/// From now on only the other plexes are trusted for this volume.
void Engine::drop_plex(Node& node, size_t plex, std::string_view reason) {
    node.plexes[plex].lost = true;
    losses_unrecorded_ = true;
    event("plex.lost",
          fmt::format("plex {} of volume {} is out of use, run 'umbra lun recover': {}", plex, node.id, reason),
          node.id);
}

void Engine::apply_meta(const MetaBatch& batch) {
    for (const auto& [key, value] : batch.changes) {
        if (value) {
            records_[key] = *value;
        } else {
            records_.erase(key);
        }
    }
}

namespace {
std::vector<std::byte> encode_meta(const MetaBatch& batch) {
    base::Encoder out;
    out.put(static_cast<uint32_t>(batch.changes.size()));
    for (const auto& [key, value] : batch.changes) {
        out.put_string(key);
        out.put<uint8_t>(value ? 1 : 0);
        out.put_string(value.value_or(""));
    }
    return out.take();
}
}  // namespace

/// Makes an operation that was just applied in memory durable.
Task<Result<void>> Engine::log_op(store::Op op) {
    const uint64_t number = store_.log.append(std::move(op));
    UMBRA_CO_ASSIGN(const bool durable, co_await store_.log.flush(number));
    if (!durable) co_return co_await checkpoint();
    co_return Result<void>();
}

Task<Result<void>> Engine::update_meta(MetaBatch batch) {
    const Call call(*this);
    UMBRA_CO_TRY(check_running());
    if (batch.empty()) co_return Result<void>();
    uint64_t number = 0;
    {
        auto guard = co_await gate_.lock_shared();
        UMBRA_CO_TRY(check_running());
        apply_meta(batch);
        number = store_.log.append({.birth = ++store_.birth, .kind = store::OpKind::kMeta, .body = encode_meta(batch)});
    }
    UMBRA_CO_ASSIGN(const bool durable, co_await store_.log.flush(number));
    if (!durable) UMBRA_CO_TRY(co_await checkpoint());
    co_return Result<void>();
}

Result<std::vector<std::vector<uint32_t>>> Engine::place(const VolumeSpec& spec) {
    const auto order = store_.drives.by_free_space();
    const auto need = [&](size_t count) -> Result<void> {
        if (order.size() < count) {
            return fail(Code::kNoDrive,
                        fmt::format("a {} volume of this shape needs {} drives in use, the array has {}",
                                    to_string(spec.type), count, order.size()));
        }
        return {};
    };
    std::vector<std::vector<uint32_t>> plexes;
    switch (spec.type) {
        case LunType::kSimple:
            UMBRA_TRY(need(1));
            plexes.push_back({order[0]});
            break;
        case LunType::kMirror: {
            const uint32_t count = spec.plexes == 0 ? 2 : spec.plexes;
            if (count != 2) return fail(Code::kUnsupported, "a mirror has exactly 2 plexes in this version");
            UMBRA_TRY(need(count));
            for (uint32_t i = 0; i < count; ++i) plexes.push_back({order[i]});
            break;
        }
        case LunType::kParity: {
            const auto online = static_cast<uint32_t>(order.size());
            const uint32_t width =
                spec.width != 0 ? spec.width : std::max(3u, std::min(5u, online == 0 ? 0 : online - 1));
            if (width < 3 || width > store::kMaxColumns) {
                return fail(Code::kInvalidArgument,
                            fmt::format("a parity volume is 3 to {} drives wide, not {}", store::kMaxColumns, width));
            }
            UMBRA_TRY(need(width));
            plexes.emplace_back(order.begin(), order.begin() + width);
            break;
        }
        case LunType::kSpan:
        case LunType::kStripe:
        case LunType::kDoubleParity:
        case LunType::kStripedMirror:
            return fail(Code::kUnsupported,
                        fmt::format("volumes of type {} are not offered in this version", to_string(spec.type)));
    }
    for (const auto& plex : plexes) {
        for (const uint32_t drive : plex) {
            // What host writes leave alone, and the part of a checkpoint that the new volume adds.
            const uint32_t keep = store_.drives.at(drive).host_margin() + 1;
            if (store_.drives.at(drive).free_segments <= store_.checkpoint_need(drive) + keep) {
                return fail(Code::kNoSpace, fmt::format("drive {} is full", store_.drives.at(drive).member.name));
            }
        }
    }
    return plexes;
}

Task<Result<void>> Engine::create(VolumeId id, VolumeSpec spec, MetaBatch batch) {
    const Call call(*this);
    UMBRA_CO_TRY(check_running());
    if (spec.size_bytes == 0 || spec.size_bytes % kPhysicalBlockBytes != 0 || spec.size_bytes > kMaxVolumeBytes) {
        co_return fail(Code::kInvalidArgument,
                       fmt::format("a volume's size is a multiple of {} bytes from {} to {}, not {}",
                                   kPhysicalBlockBytes, kPhysicalBlockBytes, kMaxVolumeBytes, spec.size_bytes));
    }
    auto guard = co_await gate_.lock();
    UMBRA_CO_TRY(check_running());
    if (find(id.value) != nullptr) co_return fail(Code::kAlreadyExists, fmt::format("volume {} exists", id.value));
    UMBRA_CO_ASSIGN(const auto placement, place(spec));
    Node node;
    node.id = id.value;
    node.head = true;
    node.size_bytes = spec.size_bytes;
    node.type = spec.type;
    node.width = static_cast<uint8_t>(placement[0].size());
    node.levels = levels_for(node.blocks());
    node.ranges = std::make_shared<RangeLock>(environment_.executor);
    for (const auto& drives : placement) {
        const uint64_t stream = store_.next_stream_id++;
        store_.add_stream({.id = stream,
                           .k = static_cast<uint8_t>(spec.type == LunType::kParity ? drives.size() - 1 : drives.size()),
                           .m = static_cast<uint8_t>(spec.type == LunType::kParity ? 1 : 0),
                           .drives = drives,
                           .next_sequence = 1,
                           .open_group = {},
                           .next_row = 0});
        Plex plex;
        plex.id = environment_.random.guid();
        plex.stream = stream;
        node.plexes.push_back(std::move(plex));
    }
    nodes_.emplace(node.id, std::move(node));
    apply_meta(batch);
    co_return co_await checkpoint_locked();
}

Task<Result<void>> Engine::remove(VolumeId id, MetaBatch batch) {
    const Call call(*this);
    UMBRA_CO_TRY(check_running());
    auto guard = co_await gate_.lock();
    UMBRA_CO_TRY(check_running());
    UMBRA_CO_ASSIGN(Node* const node, visible(id));
    node->deleting = true;
    apply_meta(batch);
    UMBRA_CO_TRY(co_await checkpoint_locked());
    kick();
    co_return Result<void>();
}

Task<Result<void>> Engine::resize(VolumeId id, uint64_t size_bytes, MetaBatch batch) {
    const Call call(*this);
    UMBRA_CO_TRY(check_running());
    if (size_bytes == 0 || size_bytes % kPhysicalBlockBytes != 0 || size_bytes > kMaxVolumeBytes) {
        co_return fail(Code::kInvalidArgument, fmt::format("{} is not a possible size", size_bytes));
    }
    UMBRA_CO_ASSIGN(Node * node, visible(id));
    if (!node->head) co_return fail(Code::kWriteProtected, "a snapshot has the size it was taken with");
    // Nothing may move in the part that goes while it is emptied.
    const auto ranges = node->ranges;
    auto range = co_await ranges->lock(0, UINT64_MAX);
    UMBRA_CO_ASSIGN(node, visible(id));
    const uint64_t blocks = size_bytes / kPhysicalBlockBytes;
    const uint64_t before = node->blocks();
    // What lies beyond the end is emptied after shrinking and, should a crash have come between, before growing.
    const uint64_t mapped_end = std::min<uint64_t>(blocks, 1ull << (8 * node->levels));
    if (mapped_end > before) UMBRA_CO_TRY(co_await zero_blocks(id.value, before, mapped_end - before));
    {
        auto guard = co_await gate_.lock();
        UMBRA_CO_TRY(check_running());
        UMBRA_CO_ASSIGN(node, visible(id));
        const uint8_t levels = std::max(node->levels, levels_for(blocks));
        for (size_t p = 0; p < node->plexes.size(); ++p) grow_levels(*node, p, node->levels, levels);
        node->levels = levels;
        node->size_bytes = size_bytes;
        apply_meta(batch);
        UMBRA_CO_TRY(co_await checkpoint_locked());
    }
    if (blocks < before) (void)co_await zero_blocks(id.value, blocks, before - blocks);
    co_return Result<void>();
}

void Engine::snapshot_node(Node& source, uint64_t id, uint64_t birth, bool hidden) {
    Node node;
    node.id = id;
    node.parent = source.parent;
    node.deleting = hidden;
    node.snap_birth = birth;
    node.size_bytes = source.size_bytes;
    node.type = source.type;
    node.width = source.width;
    node.levels = source.levels;
    node.mapped_blocks = source.mapped_blocks;
    node.ranges = std::make_shared<RangeLock>(environment_.executor);
    node.recovering = source.recovering;
    for (Plex& plex : source.plexes) {
        Plex copy;
        copy.id = environment_.random.guid();
        copy.stream = plex.stream;
        copy.root = plex.root;  // a dirty root is shared from now on
        copy.dead = std::exchange(plex.dead, {});
        copy.replaced = std::exchange(plex.replaced, {});
        copy.building = plex.building;
        copy.lost = plex.lost;
        node.plexes.push_back(std::move(copy));
    }
    source.parent = id;
    nodes_.emplace(id, std::move(node));
}

Node& Engine::clone_node(const Node& origin, uint64_t id, bool head) {
    Node node;
    node.id = id;
    node.parent = origin.id;
    node.head = head;
    node.snap_birth = head ? 0 : origin.snap_birth;
    node.size_bytes = origin.size_bytes;
    node.type = origin.type;
    node.width = origin.width;
    node.levels = origin.levels;
    node.mapped_blocks = origin.mapped_blocks;
    node.ranges = std::make_shared<RangeLock>(environment_.executor);
    node.recovering = origin.recovering;
    for (const Plex& plex : origin.plexes) {
        Plex copy;
        copy.id = environment_.random.guid();
        copy.stream = plex.stream;
        copy.lost = plex.lost || plex.building;  // a plex under construction is built for each volume in its turn
        if (!copy.lost) copy.root = plex.root;
        node.plexes.push_back(std::move(copy));
    }
    return nodes_.insert_or_assign(id, std::move(node)).first->second;
}

void Engine::apply_snapshots(const std::vector<SnapshotRequest>& requests, const std::vector<uint64_t>& hidden_ids,
                             uint64_t birth) {
    for (size_t i = 0; i < requests.size(); ++i) {
        Node& source = *find(requests[i].source.value);
        if (!source.head) {
            clone_node(source, requests[i].id.value, requests[i].writable);
            continue;
        }
        if (!requests[i].writable) {
            snapshot_node(source, requests[i].id.value, birth, false);
            continue;
        }
        snapshot_node(source, hidden_ids[i], birth, true);
        clone_node(*find(hidden_ids[i]), requests[i].id.value, true);
    }
}

Task<Result<void>> Engine::flush_streams(std::set<uint64_t> streams) {
    for (const uint64_t id : streams) {
        const auto stream = store_.hold_stream(id);
        if (stream == nullptr) continue;
        const auto done = co_await stream->flush();
        if (done) continue;
        if (done.error().code == Code::kBusy) co_return co_await checkpoint();  // covers every stream
        if (done.error().code != Code::kDeviceFailed || !stream->lost()) co_return done;
        UMBRA_CO_TRY(check_running());  // a plex went: the volume's others must hold
    }
    // What a lost plex lacks must not come back with it after a crash.
    if (losses_unrecorded_) UMBRA_CO_TRY(co_await checkpoint());
    co_return co_await store_.drives.wait_recorded();
}

Task<Result<void>> Engine::snapshot(std::vector<SnapshotRequest> requests, MetaBatch batch) {
    const Call call(*this);
    UMBRA_CO_TRY(check_running());
    std::set<uint64_t> streams;
    uint64_t number = 0;
    MetaBatch undo;
    {
        auto guard = co_await gate_.lock_shared();
        UMBRA_CO_TRY(check_running());
        std::set<uint64_t> sources;
        for (const SnapshotRequest& request : requests) {
            UMBRA_CO_ASSIGN(const Node* const node, visible(request.source));
            if (first_live(*node) == nullptr)
                co_return fail(Code::kDeviceFailed, fmt::format("volume {} has failed", node->id));
            if (find(request.id.value) != nullptr)
                co_return fail(Code::kAlreadyExists, "a volume of the snapshot's id exists");
            if (!sources.insert(request.source.value).second)
                co_return fail(Code::kInvalidArgument, "one volume named twice");
            for (const uint64_t stream : live_streams(*node)) streams.insert(stream);
        }
        std::vector<uint64_t> hidden;
        for (size_t i = 0; i < requests.size(); ++i) hidden.push_back(next_volume_id_++);
        // No co_await from here to the end of the block: this is the instant.
        const uint64_t birth = ++store_.birth;
        apply_snapshots(requests, hidden, birth);
        for (const auto& [key, value] : batch.changes) {
            const auto old = records_.find(key);
            undo.changes[key] = old == records_.end() ? std::nullopt : std::optional(old->second);
        }
        apply_meta(batch);
        base::Encoder body;
        body.put(static_cast<uint32_t>(requests.size()));
        for (size_t i = 0; i < requests.size(); ++i) {
            body.put(requests[i].source.value);
            body.put(requests[i].id.value);
            body.put(hidden[i]);
            body.put<uint8_t>(requests[i].writable ? 1 : 0);
        }
        body.put_bytes(encode_meta(batch));
        // Writes before the instant must be durable before the record is: an empty record now, the real one below.
        for (const uint64_t id : streams) store_.stream(id)->seal();
        pending_snapshots_.push_back({.birth = birth, .kind = store::OpKind::kSnapshot, .body = body.take()});
        number = birth;
    }
    auto flushed = co_await flush_streams(std::move(streams));
    for (const SnapshotRequest& request : requests) {
        const Node* node = find(request.id.value);
        if (flushed && (node == nullptr || first_live(*node) == nullptr)) {
            flushed = fail(Code::kDeviceFailed,
                           fmt::format("volume {} failed while its snapshot was taken", request.source.value));
        }
    }
    if (!flushed) {  // all or none
        for (const SnapshotRequest& request : requests) {
            if (Node* node = find(request.id.value)) node->deleting = true;
        }
        // Only what nobody has changed since.
        std::erase_if(undo.changes, [&](const auto& change) {
            const auto now = records_.find(change.first);
            const auto& ours = batch.changes.at(change.first);
            return (now == records_.end()) != !ours || (ours && now->second != *ours);
        });
        apply_meta(undo);
        std::erase_if(pending_snapshots_, [&](const store::Op& op) { return op.birth == number; });
        reclaim_pending_ = true;
        // A checkpoint may have taken it along meanwhile.
        if (check_running()) (void)co_await checkpoint();
        co_return flushed;
    }
    const auto mine = std::find_if(pending_snapshots_.begin(), pending_snapshots_.end(),
                                   [&](const store::Op& op) { return op.birth == number; });
    if (mine == pending_snapshots_.end()) co_return Result<void>();  // a checkpoint took it along
    store::Op op = std::move(*mine);
    pending_snapshots_.erase(mine);
    co_return co_await log_op(std::move(op));
}

std::set<uint64_t> Engine::lineage(uint64_t id) const {
    uint64_t root = id;
    while (const Node* node = find(root)) {
        if (node->parent == 0 || find(node->parent) == nullptr) break;
        root = node->parent;
    }
    std::set<uint64_t> members{root};
    for (bool grown = true; grown;) {
        grown = false;
        for (const auto& [other, node] : nodes_) {
            if (node.parent != 0 && members.contains(node.parent) && members.insert(other).second) grown = true;
        }
    }
    return members;
}

bool Engine::same_placement(const Node& a, const Node& b) const {
    if (a.type != b.type || a.plexes.size() != b.plexes.size()) return false;
    const auto drives = [&](const Node& node) {
        std::set<std::set<uint32_t>> sets;
        for (const Plex& plex : node.plexes) {
            const store::Stream* stream = const_cast<store::Store&>(store_).stream(plex.stream);
            if (stream == nullptr || !plex_live(plex)) return std::set<std::set<uint32_t>>{};
            sets.insert(std::set<uint32_t>(stream->state().drives.begin(), stream->state().drives.end()));
        }
        return sets;
    };
    const auto of_a = drives(a);
    return !of_a.empty() && of_a == drives(b);
}

/// Waits for the calls on a volume that are under way and keeps others out: what replaces its content takes this before
/// the gate, or a write that has read around its edges would put old bytes into the new content.
Task<std::optional<Engine::HeldIo>> Engine::hold_io(uint64_t id) {
    const Node* node = find(id);
    if (node == nullptr) co_return std::nullopt;
    auto ranges = node->ranges;
    auto guard = co_await ranges->lock(0, UINT64_MAX);
    co_return HeldIo{.ranges = std::move(ranges), .guard = std::move(guard)};
}

Task<Result<void>> Engine::resync(ResyncRequest request, MetaBatch batch, Progress& progress) {
    const Call call(*this);
    UMBRA_CO_TRY(check_running());
    uint64_t source_snapshot = 0;
    {
        const auto held = co_await hold_io(request.destination.value);
        auto guard = co_await gate_.lock();
        UMBRA_CO_TRY(check_running());
        UMBRA_CO_ASSIGN(Node* const destination, visible(request.destination));
        UMBRA_CO_ASSIGN(Node* const source, visible(request.source));
        if (!destination->head) co_return fail(Code::kWriteProtected, "a snapshot cannot be a resync destination");
        if (destination == source) co_return fail(Code::kInvalidArgument, "source and destination are one volume");
        if (first_live(*source) == nullptr) co_return fail(Code::kDeviceFailed, "the source has failed");
        if (find(request.keep_as.value) != nullptr)
            co_return fail(Code::kAlreadyExists, "the id for the kept snapshot is taken");
        progress.total_bytes = source->mapped_blocks * kPhysicalBlockBytes;
        if (same_placement(*destination, *source)) {
            progress.past_cancel = true;
            if (source->head) {
                source_snapshot = next_volume_id_++;
                snapshot_node(*source, source_snapshot, ++store_.birth, true);
            } else {
                source_snapshot = source->id;
            }
            snapshot_node(*destination, request.keep_as.value, ++store_.birth, false);
            const auto ranges = destination->ranges;
            clone_node(*find(source_snapshot), request.destination.value, true).ranges = ranges;
            apply_meta(batch);
            UMBRA_CO_TRY(co_await checkpoint_locked());
            progress.done_bytes = progress.total_bytes;
            co_return Result<void>();
        }
        if (source->head) {
            source_snapshot = next_volume_id_++;
            snapshot_node(*source, source_snapshot, ++store_.birth, false);
            find(source_snapshot)->temporary = true;
        } else {
            source_snapshot = source->id;
        }
    }
    auto done = co_await resync_by_copy(request.destination.value, source_snapshot, request.keep_as.value,
                                        std::move(batch), progress);
    if (Node* hidden = find(source_snapshot); hidden != nullptr && hidden->temporary) {
        hidden->deleting = true;
        reclaim_pending_ = true;
        kick();
    }
    co_return done;
}

Task<Result<void>> Engine::resync_by_copy(uint64_t destination, uint64_t source, uint64_t keep, MetaBatch batch,
                                          Progress& progress) {
    const uint64_t copy = next_volume_id_++;
    {
        auto guard = co_await gate_.lock();
        UMBRA_CO_TRY(check_running());
        const Node* to = find(destination);
        const Node* from = find(source);
        if (to == nullptr || from == nullptr) co_return fail(Code::kNotFound, "a volume was removed meanwhile");
        Node node;
        node.id = copy;
        node.head = true;
        node.temporary = true;
        node.size_bytes = from->size_bytes;
        node.type = to->type;
        node.width = to->width;
        node.levels = levels_for(from->blocks());
        node.ranges = std::make_shared<RangeLock>(environment_.executor);
        for (const Plex& plex : to->plexes) {
            const store::Stream* old = store_.stream(plex.stream);
            if (!plex_live(plex) || old == nullptr) {  // as redundant as the destination is now: recovery restores it
                Plex lost;
                lost.id = environment_.random.guid();
                lost.lost = true;
                node.plexes.push_back(std::move(lost));
                continue;
            }
            store::StreamState state{.id = store_.next_stream_id++,
                                     .k = old->state().k,
                                     .m = old->state().m,
                                     .drives = old->state().drives,
                                     .next_sequence = 1,
                                     .open_group = {},
                                     .next_row = 0};
            Plex fresh;
            fresh.id = environment_.random.guid();
            fresh.stream = state.id;
            store_.add_stream(std::move(state));
            node.plexes.push_back(std::move(fresh));
        }
        if (first_live(node) == nullptr) co_return fail(Code::kDeviceFailed, "the destination has failed");
        nodes_.emplace(copy, std::move(node));
        // The copy's streams must be known to a replay before records name them.
        UMBRA_CO_TRY(co_await checkpoint_locked());
    }
    const auto run = [](Engine* self, uint64_t from_id, uint64_t to_id, Progress* report) -> Task<Result<void>> {
        const uint64_t blocks = self->find(from_id)->blocks();
        constexpr uint64_t kStep = kAtomicWriteBytes / kPhysicalBlockBytes;
        base::Buffer buffer(kAtomicWriteBytes);
        uint64_t lba = 0;
        while (lba < blocks) {
            if (report->cancel) co_return fail(Code::kCancelled, "cancelled: the destination is as it was");
            const Node* from = self->find(from_id);
            const Plex* live = from == nullptr ? nullptr : self->first_live(*from);
            if (live == nullptr) co_return fail(Code::kDeviceFailed, "the source has failed");
            Pins pins;
            UMBRA_CO_TRY(
                co_await self->ensure_path(from_id, static_cast<size_t>(live - from->plexes.data()), lba, &pins));
            from = self->find(from_id);
            live = self->first_live(*from);
            if (live == nullptr) continue;
            const Lookup found = self->lookup(*live, from->levels, lba);
            if (!found.resident) continue;
            if (found.value.is_hole() && found.hole_level > 0) {
                const uint64_t span = 1ull << (8 * found.hole_level);
                lba = (lba / span + 1) * span;
                continue;
            }
            const uint64_t count = std::min(kStep - lba % kStep, blocks - lba);
            const MutableBytes into = buffer.span(0, count * kPhysicalBlockBytes);
            UMBRA_CO_TRY(co_await self->read_blocks(from_id, lba, count, into));
            if (!base::is_zero(into)) {
                auto guard = co_await self->find(to_id)->ranges->lock(lba, count);
                UMBRA_CO_TRY(co_await self->write_blocks(to_id, lba, into));
                report->done_bytes = std::min(report->done_bytes + into.size(), report->total_bytes);
            }
            lba += count;
        }
        co_return Result<void>();
    };
    auto copied = co_await run(this, source, copy, &progress);
    const auto held = co_await hold_io(destination);
    auto guard = co_await gate_.lock();
    if (copied) copied = check_running();
    Node* to = find(destination);
    if (copied && progress.cancel) copied = fail(Code::kCancelled, "cancelled: the destination is as it was");
    if (copied && (to == nullptr || to->deleting))
        copied = fail(Code::kNotFound, "the destination was removed meanwhile");
    if (copied && find(keep) != nullptr) copied = fail(Code::kAlreadyExists, "the id for the kept snapshot is taken");
    Node* made = find(copy);
    if (!copied) {
        if (made != nullptr) {
            made->deleting = true;
            reclaim_pending_ = true;
            kick();
        }
        co_return copied;
    }
    progress.past_cancel = true;
    snapshot_node(*to, keep, ++store_.birth, false);
    const auto ranges = to->ranges;
    Node swapped = std::move(*made);
    nodes_.erase(copy);
    swapped.id = destination;
    swapped.temporary = false;
    swapped.ranges = ranges;
    nodes_.insert_or_assign(destination, std::move(swapped));
    apply_meta(batch);
    UMBRA_CO_TRY(co_await checkpoint_locked());
    progress.done_bytes = progress.total_bytes;
    co_return Result<void>();
}

Result<VolumeInfo> Engine::info(VolumeId id) const {
    const Node* node = find(id.value);
    if (node == nullptr || node->deleting || node->temporary)
        return fail(Code::kNotFound, fmt::format("there is no volume {}", id.value));
    VolumeInfo out;
    out.id = id;
    out.spec = {.type = node->type,
                .size_bytes = node->size_bytes,
                .width = node->width,
                .plexes = static_cast<uint32_t>(node->plexes.size())};
    out.writable = node->head;
    out.origin = VolumeId(node->parent);
    out.health = health(*node);
    out.mapped_bytes = node->mapped_blocks * kPhysicalBlockBytes;
    for (const Plex& plex : node->plexes) {
        PlexInfo info{.id = plex.id, .health = Health::kHealthy, .drives = {}};
        if (plex.building) {
            info.health = Health::kRebuilding;
        } else if (!plex_live(plex)) {
            info.health = Health::kFailed;
        } else if (node->type == LunType::kParity) {
            info.health = health(*node);
        }
        if (const store::Stream* stream = const_cast<store::Store&>(store_).stream(plex.stream)) {
            for (const uint32_t drive : stream->state().drives) info.drives.emplace_back(drive);
        }
        out.plexes.push_back(std::move(info));
    }
    return out;
}

std::vector<VolumeId> Engine::volumes() const {
    std::vector<VolumeId> out;
    for (const auto& [id, node] : nodes_) {
        if (!node.deleting && !node.temporary) out.emplace_back(id);
    }
    return out;
}

std::vector<DriveInfo> Engine::drives() const {
    std::vector<DriveInfo> out;
    for (uint32_t i = 0; i < store_.drives.size(); ++i) {
        const store::Drive& drive = store_.drives.at(i);
        out.push_back(
            {.index = DriveIndex(i),
             .id = drive.member.id,
             .name = drive.member.name,
             .path = drive.path,
             .size_bytes = drive.member.size_bytes,
             .used_bytes = static_cast<uint64_t>(drive.segments - drive.free_segments) * store_.drives.segment_bytes(),
             .state = drive.online    ? DriveState::kOnline
                      : drive.missing ? DriveState::kMissing
                                      : DriveState::kFailed,
             .read_errors = drive.read_errors,
             .checksum_errors = drive.checksum_errors,
             .repaired_blocks = drive.repaired_blocks});
    }
    return out;
}

Task<Result<void>> Engine::fail_drive(DriveIndex index) {
    const Call call(*this);
    UMBRA_CO_TRY(check_running());
    if (index.value >= store_.drives.size())
        co_return fail(Code::kNotFound, fmt::format("there is no drive {}", index.value));
    if (!store_.drives.online(index.value)) co_return fail(Code::kBadState, "the drive is out of use already");
    if (store_.drives.online_count() == 1) co_return fail(Code::kBadState, "this is the last drive in use");
    store_.drives.fail(index.value, "by command");
    co_return co_await store_.drives.wait_recorded();
}

SpaceInfo Engine::space() const {
    SpaceInfo out;
    for (uint32_t i = 0; i < store_.drives.size(); ++i) {
        const store::Drive& drive = store_.drives.at(i);
        if (!drive.online) continue;
        out.raw_bytes += static_cast<uint64_t>(drive.segments) * store_.drives.segment_bytes();
        out.free_bytes += static_cast<uint64_t>(drive.free_segments) * store_.drives.segment_bytes();
    }
    for (uint32_t slot = 0; slot < store_.groups.size(); ++slot) {
        const store::Group& group = store_.groups.at(slot);
        if (group.id != 0)
            out.live_bytes += static_cast<uint64_t>(group.live) * kPhysicalBlockBytes * (group.k + group.m) / group.k;
    }
    return out;
}

void Engine::kick() {
    work_.set();
}

Task<void> Engine::maintain() {
    while (!closing_ && !broken_) {
        co_await work_.wait();
        work_.reset();
        if (closing_ || broken_ || store_.drives.stopped()) break;
        const bool due = dirty_pages_ >= options_.max_dirty_pages / 2 ||
                         store_.blocks.changes() >= options_.max_changes / 2 || reclaim_pending_;
        if (due) (void)co_await checkpoint();
        if (reclaim_pending_ && !broken_) {
            co_await env::yield(environment_.executor);
            kick();
        }
    }
}

/// True when segments came free, or may have: the caller tries again.
Task<Result<bool>> Engine::make_space() {
    auto lock = co_await space_lock_.lock();
    UMBRA_CO_TRY(check_running());
    const auto room = [](const store::Store& store) {
        int64_t sum = 0;
        for (uint32_t i = 0; i < store.drives.size(); ++i) {
            if (!store.drives.online(i)) continue;
            sum += static_cast<int64_t>(store.drives.at(i).free_segments) - store.checkpoint_need(i);
        }
        return sum;
    };
    const int64_t before = room(store_);
    UMBRA_CO_TRY(co_await checkpoint());
    while (reclaim_pending_) UMBRA_CO_TRY(co_await checkpoint());
    UMBRA_CO_TRY(co_await checkpoint());  // what the first one's pages replaced is free only now
    if (room(store_) > before) co_return true;
    for (int i = 0; i < 8; ++i) {
        auto guard = co_await gate_.lock_shared();
        const auto victim = store_.cleaning_victim(true);
        if (!victim) break;
        const auto moved = co_await store_.clean(*victim);
        if (!moved) break;
        // One checkpoint a group when space is this short: its segments must come back before the next one needs some.
        guard.unlock();
        UMBRA_CO_TRY(co_await checkpoint());
        if (room(store_) > before) co_return true;
    }
    co_return room(store_) > before;
}

Task<Result<void>> Engine::close() {
    if (closing_) co_return Result<void>();
    Result<void> done;
    if (check_running()) done = co_await checkpoint();
    closing_ = true;
    kick();
    store_.drives.wake();
    while (calls_ > 0) co_await idle_.wait();
    co_await tasks_.join();
    for (auto& [id, stream] : store_.streams()) co_await stream->drain();
    co_await store_.drives.join();
    co_return done;
}

}  // namespace umbra::lun

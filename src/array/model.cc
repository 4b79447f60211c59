#include "array/model.h"

#include <fmt/format.h>

#include <algorithm>

#include "array/names.h"
#include "array/page83.h"
#include "base/bytes.h"
#include "base/size_text.h"

namespace umbra::array {

using base::Code;
using base::fail;
using base::Guid;
using base::Result;
using env::Task;

namespace {

Result<void> check_attributes(const std::map<std::string, std::string>& attributes) {
    if (attributes.size() > kMaxAttributes) {
        return fail(Code::kInvalidArgument, fmt::format("a LUN has at most {} attributes", kMaxAttributes));
    }
    for (const auto& [key, value] : attributes) {
        if (!check_name(key)) return fail(Code::kInvalidArgument, fmt::format("\"{}\" is no attribute name", key));
        if (value.empty() || value.size() > kMaxAttributeBytes) {
            return fail(Code::kInvalidArgument, fmt::format("attribute {} has {} bytes; 1 to {} are allowed", key,
                                                            value.size(), kMaxAttributeBytes));
        }
    }
    return {};
}

Result<void> check_flags(uint32_t flags) {
    if ((flags & ~kLunFlagsKnown) != 0)
        return fail(Code::kInvalidArgument, fmt::format("flags {:#x} are unknown", flags));
    return {};
}

Result<void> check_size(uint64_t bytes) {
    if (bytes == 0 || bytes % lun::kPhysicalBlockBytes != 0 || bytes > lun::kMaxVolumeBytes) {
        return fail(Code::kInvalidArgument,
                    fmt::format("a LUN's size is a multiple of 4 KiB, at most {}; {} bytes is not",
                                base::format_size(lun::kMaxVolumeBytes), bytes));
    }
    return {};
}

std::string plural(size_t count, const char* what) {
    return fmt::format("{} {}{}", count, what, count == 1 ? "" : "s");
}

}  // namespace

ArrayModel::ArrayModel(env::Environment env, std::unique_ptr<lun::Backend> backend, ModelOptions options)
    : env_(env),
      backend_(std::move(backend)),
      options_(std::move(options)),
      run_id_(env.random.guid()),
      changes_(env.executor),
      changed_(env.executor),
      work_(env.executor) {}

ArrayModel::~ArrayModel() = default;

Task<Result<std::unique_ptr<ArrayModel>>> ArrayModel::open(env::Environment env, std::unique_ptr<lun::Backend> backend,
                                                           ModelOptions options) {
    UMBRA_CO_TRY(check_iqn_authority(options.iqn_authority));
    if (options.company_id > 0xffffff) co_return fail(Code::kInvalidArgument, "a company id has 24 bits");
    std::unique_ptr<ArrayModel> model(new ArrayModel(env, std::move(backend), std::move(options)));
    const Result<void> loaded = co_await model->load();
    // Of each run at least the first event is durable: the next one numbers its own from far behind it.
    co_await model->work_.join();
    if (!loaded) co_return std::unexpected(loaded.error());
    co_return model;
}

Task<Result<void>> ArrayModel::load() {
    UMBRA_CO_TRY(load_records());
    lun::MetaBatch batch;
    if (head_.default_target.empty()) {
        head_.default_target =
            fmt::format("{}:array.{}", options_.iqn_authority, backend_->array_id().text().substr(0, 8));
        head_.company_id = options_.company_id;
        targets_[head_.default_target] = TargetRecord{head_.default_target, 1};
        batch.changes[std::string(kArrayKey)] = encode(head_);
        batch.changes[target_key(head_.default_target)] = encode(targets_[head_.default_target]);
    }
    std::vector<std::string> interrupted;
    for (const auto& [id, task] : tasks_) {
        if (task->record.state != TaskState::kRunning) continue;
        TaskRecord& record = task->record;
        record.state = TaskState::kFailed;
        record.error_code = base::to_string(Code::kUnavailable);
        record.error =
            record.kind == "resync"
                ? "the array stopped while it ran; the destination is wholly as it was before: start it again"
                : "the array stopped while it ran: start it again";
        record.ended_unix_ms = now_ms();
        batch.changes[task_key(id)] = encode(record);
        interrupted.push_back(fmt::format("task {} ({} {}) failed: {}", id, record.kind, record.object, record.error));
    }
    prune_tasks(batch, 0);
    if (!batch.empty()) UMBRA_CO_TRY(co_await backend_->update_meta(std::move(batch)));
    emit("array.started", "info", fmt::format("array {} {} started", options_.name, backend_->array_id().text()));
    for (std::string& message : interrupted) emit("task.interrupted", "warning", std::move(message));
    reconcile();
    co_return Result<void>();
}

Result<void> ArrayModel::load_records() {
    std::map<uint64_t, EventRecord> events;
    for (const auto& [key, value] : backend_->meta()) {
        const auto named = [&](base::Error error) { return base::with_context(std::move(error), "record " + key); };
        if (key == kArrayKey) {
            auto record = decode_array(value);
            if (!record) return named(record.error());
            head_ = *record;
        } else if (key.starts_with(kTargetPrefix)) {
            auto record = decode_target(value);
            if (!record) return named(record.error());
            targets_[record->iqn] = *record;
        } else if (key.starts_with(kLunPrefix)) {
            auto record = decode_lun(value);
            if (!record) return named(record.error());
            if (key != lun_key(record->id)) return fail(Code::kCorrupt, "record " + key + " is of another LUN");
            luns_[record->id].record = std::move(*record);
        } else if (key.starts_with(kTaskPrefix)) {
            auto record = decode_task(value);
            if (!record) return named(record.error());
            auto task = std::make_unique<TaskEntry>();
            task->record = std::move(*record);
            const uint64_t id = task->record.id;
            tasks_[id] = std::move(task);
        } else if (key.starts_with(kEventPrefix)) {
            // A broken event is no reason to keep the array closed.
            auto record = decode_event(value);
            if (record) events[record->sequence] = std::move(*record);
        } else if (key.starts_with(kReservationPrefix)) {
            const auto id = Guid::parse(std::string_view(key).substr(kReservationPrefix.size()));
            if (!id) return fail(Code::kCorrupt, "record " + key + " names no LUN");
            reservations_[*id] = value;
        }
    }
    for (auto& [sequence, event] : events) events_.push_back(std::move(event));
    while (events_.size() > kKeptEvents) events_.pop_front();
    if (!events_.empty()) {
        // Events may have been seen that a crash kept from being recorded: their numbers are not given again.
        const bool clean = events_.back().id == "array.stopped";
        next_event_ = events_.back().sequence + (clean ? 1 : 2 * kKeptEvents);
        recorded_event_ = next_event_ - 1;
    }
    rebuild_index();
    for (const auto& [id, lun] : luns_) {
        if (lun.record.kind == LunKind::kSnapshot && !luns_.contains(lun.record.parent)) {
            return fail(Code::kCorrupt, "snapshot " + id.text() + " belongs to a LUN that has no record");
        }
    }
    return {};
}

void ArrayModel::reconcile() {
    std::set<lun::VolumeId> known;
    for (auto& [id, lun] : luns_) {
        known.insert(lun.record.volume);
        refresh_identity(lun);
        const auto info = backend_->info(lun.record.volume);
        if (!info) {
            emit("lun.volume-missing", "error",
                 fmt::format("LUN {} points at volume {}, which the store does not have ({}); it is not presented",
                             full_name(lun.record), lun.record.volume.value, info.error().message),
                 full_name(lun.record));
            continue;
        }
        if (lun.record.kind == LunKind::kSnapshot) continue;
        auto volume = backend_->open(lun.record.volume);
        if (!volume) {
            emit("lun.unavailable", "error",
                 fmt::format("LUN {} cannot be opened and is not presented: {}", full_name(lun.record),
                             volume.error().message),
                 full_name(lun.record));
            continue;
        }
        lun.volume = std::move(*volume);
    }
    for (const lun::VolumeId volume : backend_->volumes()) {
        if (known.contains(volume)) continue;
        emit("volume.orphaned", "warning",
             fmt::format("the store has a volume {} that no LUN or snapshot points at; it takes up space",
                         volume.value));
    }
}

Task<Result<void>> ArrayModel::close() {
    closing_ = true;
    {
        auto guard = co_await changes_.lock();
        for (const auto& [id, task] : tasks_) {
            if (task->record.state == TaskState::kRunning) task->progress.cancel = true;
        }
    }
    wake_watchers();
    co_await work_.join();
    emit("array.stopped", "info", fmt::format("array {} stopped", options_.name));
    co_await work_.join();
    for (auto& [id, lun] : luns_) lun.volume.reset();
    co_return co_await backend_->close();
}

// Finding and checking.

Result<const ArrayModel::Lun*> ArrayModel::find(const LunRef& ref) const {
    switch (ref.by) {
        case LunRef::By::kName: {
            const auto found = names_.find(ref.text);
            if (found == names_.end())
                return fail(Code::kNotFound, fmt::format("no LUN or snapshot named {}", ref.text));
            return &luns_.at(found->second);
        }
        case LunRef::By::kId: {
            const auto id = Guid::parse(ref.text);
            if (!id) return fail(Code::kInvalidArgument, fmt::format("\"{}\" is no UUID", ref.text));
            const auto found = luns_.find(*id);
            if (found == luns_.end()) return fail(Code::kNotFound, fmt::format("no LUN has the id {}", id->text()));
            return &found->second;
        }
        case LunRef::By::kNaa: {
            for (const auto& [id, lun] : luns_) {
                if (base::to_hex(lun.record.naa) == ref.text) return &lun;
            }
            return fail(Code::kNotFound, fmt::format("no LUN has the NAA identifier {}", ref.text));
        }
    }
    return fail(Code::kInvalidArgument, "a LUN is named by its name, its id or its NAA identifier");
}

Result<ArrayModel::Lun*> ArrayModel::find(const LunRef& ref) {
    UMBRA_ASSIGN(const Lun* found, std::as_const(*this).find(ref));
    return const_cast<Lun*>(found);
}

std::string ArrayModel::full_name(const LunRecord& record) const {
    if (record.kind != LunKind::kSnapshot) return record.name;
    const auto parent = luns_.find(record.parent);
    return (parent == luns_.end() ? record.parent.text() : parent->second.record.name) + "@" + record.name;
}

std::string ArrayModel::name_of(const Guid& id) const {
    const auto found = luns_.find(id);
    return found == luns_.end() ? std::string() : full_name(found->second.record);
}

Result<void> ArrayModel::check_open() const {
    if (closing_) return fail(Code::kUnavailable, "the array is stopping");
    return {};
}

Result<void> ArrayModel::check_wanted(const Wanted& wanted) {
    if (!wanted || wanted()) return {};
    return fail(Code::kTimedOut,
                "whoever asked for the change waited no longer when its turn came: nothing was changed");
}

Result<void> ArrayModel::check_free(const std::string& name) const {
    if (names_.contains(name)) return fail(Code::kAlreadyExists, fmt::format("{} exists", name));
    if (reserved_names_.contains(name)) {
        return fail(Code::kAlreadyExists, fmt::format("a running resync will make {}", name));
    }
    return {};
}

Result<void> ArrayModel::check_unused(const Lun& lun) const {
    const uint64_t task = lun.changing_task != 0    ? lun.changing_task
                          : lun.using_tasks.empty() ? 0
                                                    : *lun.using_tasks.begin();
    if (task == 0) return {};
    return fail(Code::kBusy, fmt::format("task {} ({}) uses {}: wait for it or cancel it", task,
                                         tasks_.at(task)->record.kind, full_name(lun.record)));
}

Result<void> ArrayModel::check_unseen(const Lun& lun, const char* what) const {
    for (const auto& [id, session] : sessions_) {
        if (!masked_in(lun, session.target_iqn, session.initiator)) continue;
        return fail(Code::kBusy, fmt::format("initiator {} ({}) is logged in and sees {}: log it out, or {}",
                                             session.initiator, session.peer, full_name(lun.record), what));
    }
    return {};
}

Result<void> ArrayModel::check_room(size_t luns) const {
    if (luns_.size() + reserved_names_.size() + luns > kMaxLuns) {
        return fail(Code::kNoSpace, fmt::format("an array has at most {} LUNs, snapshots and shadow copies", kMaxLuns));
    }
    return {};
}

size_t ArrayModel::snapshots_of(const Guid& lun) const {
    return static_cast<size_t>(std::ranges::count_if(luns_, [&](const auto& entry) {
        return entry.second.record.kind == LunKind::kSnapshot && entry.second.record.parent == lun;
    }));
}

// Identities.

LunRecord ArrayModel::new_identity(LunKind kind) {
    LunRecord record;
    do {
        record.id = env_.random.guid();
    } while (luns_.contains(record.id));
    record.kind = kind;
    record.created_unix_ms = now_ms();
    record.volume = backend_->allocate_id();

    // NAA 6 (SPC-4 7.8.6.6.5): company id, 36 + 32 bits that belong to this array, 32 bits that no LUN of it had
    // before.
    const uint64_t identity = head_.next_identity++;
    const auto& array = backend_->array_id().bytes;
    auto& naa = record.naa;
    const uint32_t company = head_.company_id;
    naa[0] = static_cast<std::byte>(0x60 | (company >> 20));
    naa[1] = static_cast<std::byte>(company >> 12);
    naa[2] = static_cast<std::byte>(company >> 4);
    naa[3] = static_cast<std::byte>((company << 4) & 0xf0) | (array[9] & std::byte{0x0f});
    std::copy_n(array.begin() + 10, 4, naa.begin() + 4);
    std::copy_n(array.begin(), 4, naa.begin() + 8);
    base::store_be(naa.data() + 12, static_cast<uint32_t>(identity));
    record.serial = base::to_hex(base::Bytes(naa).subspan(8));
    return record;
}

void ArrayModel::put(lun::MetaBatch& batch, const LunRecord& record) const {
    batch.changes[lun_key(record.id)] = encode(record);
}

void ArrayModel::adopt(LunRecord record) {
    const Guid id = record.id;
    Lun& lun = luns_[id];
    lun.record = std::move(record);
    if (lun.record.kind != LunKind::kSnapshot && lun.volume == nullptr) {
        auto volume = backend_->open(lun.record.volume);
        if (volume) {
            lun.volume = std::move(*volume);
        } else {
            emit("lun.unavailable", "error",
                 fmt::format("LUN {} cannot be opened and is not presented: {}", lun.record.name,
                             volume.error().message),
                 lun.record.name);
        }
    }
    rebuild_index();
    refresh_identity(lun);
}

void ArrayModel::refresh_identity(Lun& lun) {
    auto identity = std::make_shared<LunIdentity>();
    identity->name = full_name(lun.record);
    identity->id = lun.record.id;
    identity->naa = lun.record.naa;
    identity->serial = lun.record.serial;
    identity->flags = lun.record.flags;
    identity->write_protected = lun.record.write_protected;
    identity->content_generation = lun.record.content_generation;
    lun.identity = std::move(identity);
}

void ArrayModel::rebuild_index() {
    names_.clear();
    numbers_.clear();
    for (const auto& [id, lun] : luns_) {
        names_[full_name(lun.record)] = id;
        for (const auto& [target, number] : lun.record.numbers) numbers_[target][number] = id;
    }
}

// Views.

StatusView ArrayModel::status() const {
    StatusView status;
    status.id = backend_->array_id().text();
    status.name = options_.name;
    status.version = options_.version;
    const lun::SpaceInfo space = backend_->space();
    status.raw_bytes = space.raw_bytes;
    status.free_bytes = space.free_bytes;
    status.live_bytes = space.live_bytes;
    for (const lun::DriveInfo& drive : backend_->drives()) {
        ++status.drives;
        if (drive.state == lun::DriveState::kOnline) ++status.drives_online;
    }
    bool healthy = status.drives == status.drives_online;
    for (const auto& [id, lun] : luns_) {
        const auto info = backend_->info(lun.record.volume);
        if (!info || info->health != lun::Health::kHealthy) healthy = false;
    }
    status.state = healthy ? "ready" : "degraded";
    status.luns = static_cast<uint32_t>(luns_.size());
    for (const auto& [iqn, target] : targets_) status.targets.push_back({iqn, iqn == head_.default_target});
    status.portals = options_.portals;
    status.vendor_id = options_.product.vendor;
    status.product_id = options_.product.product;
    status.product_revision = options_.product.revision;
    return status;
}

LunView ArrayModel::view(const Lun& lun) const {
    const LunRecord& record = lun.record;
    LunView view;
    view.name = full_name(record);
    view.id = record.id.text();
    view.naa = base::to_hex(record.naa);
    view.serial = record.serial;
    view.kind = record.kind;
    view.origin = name_of(record.origin);
    view.created_unix_ms = record.created_unix_ms;
    view.flags = record.flags;
    view.write_protected = record.write_protected || record.kind == LunKind::kSnapshot;
    view.attributes = record.attributes;
    view.generation = record.generation;
    view.page83 = page83_designators(options_.product, *lun.identity);
    std::set<std::string> targets;
    for (const MaskRecord& mask : record.masks) {
        view.masks.push_back({mask.initiator, mask.target, record.numbers.at(mask.target)});
        targets.insert(mask.target);
    }
    for (const std::string& target : targets) {
        for (const std::string& portal : options_.portals) {
            view.paths.push_back({target, record.numbers.at(target), portal});
        }
    }
    const auto info = backend_->info(record.volume);
    if (info) {
        view.type = lun::to_string(info->spec.type);
        view.size_bytes = info->spec.size_bytes;
        view.width = info->spec.width;
        view.health = lun::to_string(info->health);
        view.mapped_bytes = info->mapped_bytes;
        std::map<lun::DriveIndex, std::string> drive_names;
        for (const lun::DriveInfo& drive : backend_->drives()) drive_names[drive.index] = drive.name;
        for (const lun::PlexInfo& plex : info->plexes) {
            PlexView shown{plex.id.text(), std::string(lun::to_string(plex.health)), {}};
            for (const lun::DriveIndex drive : plex.drives) shown.drives.push_back(drive_names[drive]);
            view.plexes.push_back(std::move(shown));
        }
    } else {
        view.health = lun::to_string(lun::Health::kFailed);
    }
    for (auto task = tasks_.rbegin(); task != tasks_.rend(); ++task) {
        const TaskRecord& last = task->second->record;
        if (last.lun != record.id || last.state == TaskState::kRunning) continue;
        if (last.state == TaskState::kFailed) {
            view.failed_task = fmt::format("task {} ({}): {}", last.id, last.kind, last.error);
        }
        break;
    }
    return view;
}

DriveView ArrayModel::view(const lun::DriveInfo& drive) const {
    DriveView view;
    view.name = drive.name;
    view.id = drive.id.text();
    view.path = drive.path;
    view.size_bytes = drive.size_bytes;
    view.used_bytes = drive.used_bytes;
    view.state = lun::to_string(drive.state);
    view.read_errors = drive.read_errors;
    view.checksum_errors = drive.checksum_errors;
    view.repaired_blocks = drive.repaired_blocks;
    view.index = drive.index.value;
    return view;
}

Result<LunView> ArrayModel::get_lun(const LunRef& ref) const {
    UMBRA_ASSIGN(const Lun* lun, find(ref));
    return view(*lun);
}

std::vector<LunView> ArrayModel::list_luns(const std::vector<LunKind>& kinds) const {
    std::vector<LunView> result;
    for (const auto& [name, id] : names_) {
        const Lun& lun = luns_.at(id);
        if (kinds.empty() || std::ranges::find(kinds, lun.record.kind) != kinds.end()) result.push_back(view(lun));
    }
    return result;
}

std::vector<DriveView> ArrayModel::list_drives() const {
    std::vector<DriveView> result;
    for (const lun::DriveInfo& drive : backend_->drives()) result.push_back(view(drive));
    return result;
}

// Changes. Each builds the records as they shall be, hands them to the backend with the operation, and takes them over
// once that has succeeded.

Task<Result<LunView>> ArrayModel::create_lun(CreateLun request) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_TRY(check_name(request.name));
    UMBRA_CO_TRY(check_size(request.size_bytes));
    const auto type = lun::parse_lun_type(request.type.empty() ? "simple" : request.type);
    if (!type) co_return fail(Code::kInvalidArgument, fmt::format("\"{}\" is no type of LUN", request.type));
    UMBRA_CO_TRY(check_free(request.name));
    UMBRA_CO_TRY(check_room(1));

    LunRecord record = new_identity(LunKind::kLun);
    record.name = request.name;
    lun::VolumeSpec spec;
    spec.type = *type;
    spec.size_bytes = request.size_bytes;
    spec.width = request.width;
    lun::MetaBatch batch;
    put(batch, record);
    batch.changes[std::string(kArrayKey)] = encode(head_);
    UMBRA_CO_TRY(co_await backend_->create(record.volume, spec, std::move(batch)));
    const Guid id = record.id;
    adopt(std::move(record));
    emit("lun.created", "info",
         fmt::format("LUN {} created: {}, {}", request.name, lun::to_string(*type),
                     base::format_size(request.size_bytes)),
         request.name);
    co_return view(luns_.at(id));
}

Task<Result<void>> ArrayModel::delete_lun(LunRef ref, bool force) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_ASSIGN(Lun * lun, find(ref));
    UMBRA_CO_TRY(check_unused(*lun));
    const Guid id = lun->record.id;
    const std::string name = full_name(lun->record);
    if (const size_t snapshots = snapshots_of(id); snapshots > 0) {
        co_return fail(Code::kBadState,
                       fmt::format("{} has {}: delete them first", name, plural(snapshots, "snapshot")));
    }
    if (!force) UMBRA_CO_TRY(check_unseen(*lun, "use force"));

    lun::MetaBatch batch;
    batch.changes[lun_key(id)] = std::nullopt;
    batch.changes[reservation_key(id)] = std::nullopt;
    const std::vector<MaskRecord> masks = lun->record.masks;
    // Nobody who logs in meanwhile may write what goes with it.
    lun->withheld = true;
    Result<void> removed;
    if (backend_->info(lun->record.volume)) {
        removed = co_await backend_->remove(lun->record.volume, std::move(batch));
    } else {
        removed = co_await backend_->update_meta(std::move(batch));
    }
    if (!removed) {
        lun->withheld = false;
        notify_masked(*lun);
        co_return removed;
    }
    luns_.erase(id);
    reservations_.erase(id);
    rebuild_index();
    for (const MaskRecord& mask : masks) notify_luns(mask.target, mask.initiator);
    emit("lun.deleted", "info", fmt::format("{} deleted", name), name);
    guard.unlock();
    co_await end_access(id);
    co_return Result<void>();
}

Task<Result<LunView>> ArrayModel::resize_lun(LunRef ref, uint64_t size_bytes, bool force) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_ASSIGN(Lun * lun, find(ref));
    UMBRA_CO_TRY(check_size(size_bytes));
    const std::string name = full_name(lun->record);
    if (lun->record.kind == LunKind::kSnapshot) {
        co_return fail(Code::kBadState, fmt::format("{} is a snapshot: its size stays", name));
    }
    UMBRA_CO_TRY(check_unused(*lun));
    UMBRA_CO_ASSIGN(const lun::VolumeInfo info, backend_->info(lun->record.volume));
    const uint64_t before = info.spec.size_bytes;
    if (size_bytes == before) co_return view(*lun);
    if (size_bytes < before && !force) {
        co_return fail(Code::kBadState,
                       fmt::format("{} has {}: shrinking it destroys what lies beyond {}, and is done only "
                                   "when forced",
                                   name, base::format_size(before), base::format_size(size_bytes)));
    }
    LunRecord record = lun->record;
    ++record.generation;
    if (size_bytes < before) ++record.content_generation;
    lun::MetaBatch batch;
    put(batch, record);
    UMBRA_CO_TRY(co_await backend_->resize(record.volume, size_bytes, std::move(batch)));
    const Guid id = record.id;
    adopt(std::move(record));
    attention(id, UnitAttentionCause::kCapacityChanged);
    emit("lun.resized", "info",
         fmt::format("LUN {} resized from {} to {}", name, base::format_size(before), base::format_size(size_bytes)),
         name);
    co_return view(luns_.at(id));
}

Task<Result<LunView>> ArrayModel::rename_lun(LunRef ref, std::string name) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_ASSIGN(Lun * lun, find(ref));
    const std::string before = full_name(lun->record);
    LunRecord record = lun->record;
    std::string full = name;
    if (record.kind == LunKind::kSnapshot) {
        const std::string prefix = before.substr(0, before.find('@') + 1);
        if (name.starts_with(prefix)) name = name.substr(prefix.size());
        full = prefix + name;
    }
    UMBRA_CO_TRY(check_name(name));
    if (full == before) co_return view(*lun);
    UMBRA_CO_TRY(check_free(full));
    if (lun->changing_task != 0) UMBRA_CO_TRY(check_unused(*lun));
    record.name = name;
    ++record.generation;
    lun::MetaBatch batch;
    put(batch, record);
    UMBRA_CO_TRY(co_await backend_->update_meta(std::move(batch)));
    const Guid id = record.id;
    adopt(std::move(record));
    for (auto& [other_id, other] : luns_) {
        if (other.record.parent == id) refresh_identity(other);
    }
    emit("lun.renamed", "info", fmt::format("{} renamed to {}", before, full), full);
    co_return view(luns_.at(id));
}

Task<Result<LunView>> ArrayModel::update_lun(LunRef ref, UpdateLun update) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_ASSIGN(Lun * lun, find(ref));
    LunRecord record = lun->record;
    const std::string name = full_name(record);
    for (const auto& [key, expected] : update.expect_attributes) {
        const auto found = record.attributes.find(key);
        const std::string& value = found == record.attributes.end() ? std::string() : found->second;
        if (value != expected) {
            co_return fail(Code::kBusy, fmt::format("attribute {} of {} is \"{}\", not \"{}\": somebody changed it",
                                                    key, name, value, expected));
        }
    }
    if (update.flags) {
        UMBRA_CO_TRY(check_flags(*update.flags));
        record.flags = *update.flags;
    }
    for (const std::string& key : update.remove_attributes) record.attributes.erase(key);
    for (const auto& [key, value] : update.set_attributes) record.attributes[key] = value;
    UMBRA_CO_TRY(check_attributes(record.attributes));
    if (update.break_shadow_copy) {
        if (record.kind != LunKind::kShadowCopy) {
            co_return fail(Code::kBadState, fmt::format("{} is no shadow copy", name));
        }
        record.kind = LunKind::kLun;
    }
    if (update.write_protect) {
        if (record.kind == LunKind::kSnapshot) {
            co_return fail(Code::kBadState, fmt::format("{} is a snapshot: it is never written", name));
        }
        record.write_protected = *update.write_protect;
    }
    if (record == lun->record) co_return view(*lun);
    if (lun->changing_task != 0) UMBRA_CO_TRY(check_unused(*lun));
    const bool flags_changed = record.flags != lun->record.flags;
    const bool protection_changed = record.write_protected != lun->record.write_protected;
    ++record.generation;
    lun::MetaBatch batch;
    put(batch, record);
    UMBRA_CO_TRY(co_await backend_->update_meta(std::move(batch)));
    const Guid id = record.id;
    adopt(std::move(record));
    if (flags_changed) attention(id, UnitAttentionCause::kInquiryDataChanged);
    if (protection_changed) attention(id, UnitAttentionCause::kModeParametersChanged);
    if (update.break_shadow_copy)
        emit("lun.broken", "info", fmt::format("shadow copy {} is an ordinary LUN now", name), name);
    LunView result = view(luns_.at(id));
    const bool protects = protection_changed && result.write_protected;
    guard.unlock();
    if (protects) co_await end_access(id);
    co_return result;
}

std::string ArrayModel::chosen_snapshot_name(const std::vector<const Lun*>& sources) const {
    for (uint64_t n = 1;; ++n) {
        const std::string name = fmt::format("auto-{}", n);
        const bool free = std::ranges::all_of(
            sources, [&](const Lun* lun) { return check_free(full_name(lun->record) + "@" + name).has_value(); });
        if (free) return name;
    }
}

std::string ArrayModel::chosen_copy_name(const std::string& source, const std::set<std::string>& taken) const {
    // "db@before" gives "db.copy-1": names of LUNs have no '@'.
    const std::string stem = source.substr(0, std::min(source.find('@'), kMaxNameBytes - 16));
    for (uint64_t n = 1;; ++n) {
        const std::string name = fmt::format("{}.copy-{}", stem, n);
        if (!taken.contains(name) && check_free(name)) return name;
    }
}

Task<Result<std::vector<LunView>>> ArrayModel::create_snapshots(std::vector<SnapshotItem> items, LunKind kind,
                                                                Wanted wanted) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_TRY(check_wanted(wanted));
    if (kind != LunKind::kSnapshot && kind != LunKind::kShadowCopy) {
        co_return fail(Code::kInvalidArgument, "what is made is a snapshot or a shadow copy");
    }
    if (items.empty() || items.size() > kMaxSnapshotItems) {
        co_return fail(Code::kInvalidArgument,
                       fmt::format("1 to {} LUNs can be copied at one instant", kMaxSnapshotItems));
    }
    UMBRA_CO_TRY(check_room(items.size()));
    std::vector<const Lun*> sources;
    for (const SnapshotItem& item : items) {
        UMBRA_CO_ASSIGN(const Lun* source, std::as_const(*this).find(item.source));
        if (std::ranges::find(sources, source) != sources.end()) {
            co_return fail(Code::kInvalidArgument, fmt::format("{} is named twice", full_name(source->record)));
        }
        if (kind == LunKind::kSnapshot && source->record.kind == LunKind::kSnapshot) {
            co_return fail(Code::kInvalidArgument, fmt::format("{} is a snapshot already", full_name(source->record)));
        }
        if (source->changing_task != 0) UMBRA_CO_TRY(check_unused(*source));
        sources.push_back(source);
    }

    std::string common;  // one name for all snapshots whose name is left to the array
    std::set<std::string> taken;
    std::vector<LunRecord> records;
    std::vector<lun::SnapshotRequest> requests;
    for (size_t i = 0; i < items.size(); ++i) {
        SnapshotItem& item = items[i];
        const Lun& source = *sources[i];
        const std::string source_name = full_name(source.record);
        std::string name = item.name;
        if (name.empty() && kind == LunKind::kSnapshot) {
            if (common.empty()) common = chosen_snapshot_name(sources);
            name = common;
        }
        if (name.empty()) name = chosen_copy_name(source_name, taken);
        UMBRA_CO_TRY(check_name(name));
        const std::string full = kind == LunKind::kSnapshot ? source_name + "@" + name : name;
        UMBRA_CO_TRY(check_free(full));
        if (!taken.insert(full).second) co_return fail(Code::kInvalidArgument, fmt::format("{} is named twice", full));
        UMBRA_CO_TRY(check_attributes(item.attributes));
        UMBRA_CO_TRY(check_flags(item.flags));

        LunRecord record = new_identity(kind);
        record.name = name;
        record.origin = source.record.id;
        if (kind == LunKind::kSnapshot) record.parent = source.record.id;
        record.flags = item.flags;
        record.write_protected = kind == LunKind::kShadowCopy && item.write_protect;
        record.attributes = std::move(item.attributes);
        requests.push_back({source.record.volume, record.volume, kind == LunKind::kShadowCopy});
        records.push_back(std::move(record));
    }
    lun::MetaBatch batch;
    for (const LunRecord& record : records) put(batch, record);
    batch.changes[std::string(kArrayKey)] = encode(head_);
    UMBRA_CO_TRY(co_await backend_->snapshot(std::move(requests), std::move(batch)));

    std::vector<LunView> made;
    std::string names;
    std::vector<Guid> ids;
    for (LunRecord& record : records) {
        ids.push_back(record.id);
        adopt(std::move(record));
        names += (names.empty() ? "" : ", ") + name_of(ids.back());
    }
    for (const Guid& id : ids) made.push_back(view(luns_.at(id)));
    emit(kind == LunKind::kSnapshot ? "snapshot.created" : "shadow-copy.created", "info",
         fmt::format("{} created at one instant", names), made.front().name);
    co_return made;
}

Task<Result<DriveView>> ArrayModel::fail_drive(std::string drive, bool force) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    const std::vector<lun::DriveInfo> drives = backend_->drives();
    const auto found = std::ranges::find_if(drives, [&](const lun::DriveInfo& candidate) {
        return candidate.name == drive || candidate.path == drive || candidate.id.text() == drive;
    });
    if (found == drives.end()) co_return fail(Code::kNotFound, fmt::format("no drive {}", drive));
    if (found->state != lun::DriveState::kOnline) {
        co_return fail(Code::kBadState,
                       fmt::format("drive {} is {} already", found->name, lun::to_string(found->state)));
    }
    if (!force) UMBRA_CO_TRY(check_drive_loss(found->index));
    UMBRA_CO_TRY(co_await backend_->fail_drive(found->index));
    emit("drive.taken-out", "warning",
         fmt::format("drive {} taken out of use on request; recover the LUNs that lost redundancy", found->name), {},
         found->name);
    for (const lun::DriveInfo& now : backend_->drives()) {
        if (now.index == found->index) co_return view(now);
    }
    co_return fail(Code::kInternal, "the drive has vanished");
}

Result<void> ArrayModel::check_drive_loss(lun::DriveIndex drive) const {
    for (const auto& [name, id] : names_) {
        const auto info = backend_->info(luns_.at(id).record.volume);
        if (!info || info->health == lun::Health::kFailed) continue;
        const auto uses = [&](const lun::PlexInfo& plex) {
            return std::ranges::find(plex.drives, drive) != plex.drives.end();
        };
        const bool used = info->plexes.empty() || std::ranges::any_of(info->plexes, uses);
        if (!used) continue;
        bool lost = true;
        switch (info->spec.type) {
            case lun::LunType::kSimple:
            case lun::LunType::kSpan:
            case lun::LunType::kStripe:
                break;
            case lun::LunType::kMirror:
            case lun::LunType::kStripedMirror:
                lost = std::ranges::none_of(info->plexes, [&](const lun::PlexInfo& plex) {
                    return plex.health == lun::Health::kHealthy && !uses(plex);
                });
                break;
            case lun::LunType::kParity:
            case lun::LunType::kDoubleParity:
                lost = info->health != lun::Health::kHealthy;
                break;
        }
        if (!lost) continue;
        return fail(Code::kBadState,
                    fmt::format("{} ({}, {}) would lose data without this drive: recover it first, or force", name,
                                lun::to_string(info->spec.type), lun::to_string(info->health)));
    }
    return {};
}

}  // namespace umbra::array

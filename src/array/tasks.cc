// Long work: resync, recover, scrub.
#include <fmt/format.h>

#include <algorithm>

#include "array/model.h"
#include "array/names.h"

namespace umbra::array {

using base::Code;
using base::fail;
using base::Guid;
using base::Result;
using env::Task;

namespace {
constexpr env::Duration kTick = std::chrono::milliseconds(250);
}

TaskView ArrayModel::view(const TaskEntry& task) const {
    const TaskRecord& record = task.record;
    TaskView view;
    view.id = record.id;
    view.kind = record.kind;
    view.object = record.object;
    const auto naa_of = [this](const Guid& id) {
        const auto found = luns_.find(id);
        return found == luns_.end() ? std::string() : base::to_hex(found->second.record.naa);
    };
    view.object_naa = naa_of(record.lun);
    if (record.state == TaskState::kRunning) view.source_naa = naa_of(task.source);
    view.state = record.state;
    view.error_code = record.error_code;
    view.error = record.error;
    view.result = record.result;
    view.started_unix_ms = record.started_unix_ms;
    view.ended_unix_ms = record.ended_unix_ms;
    if (record.state == TaskState::kDone) {
        view.percent = 100;
        view.done_bytes = view.total_bytes = record.total_bytes;
        if (view.ended_unix_ms == 0) view.ended_unix_ms = record.started_unix_ms;
        return view;
    }
    const lun::Progress& progress = task.progress;
    view.done_bytes = progress.done_bytes;
    view.total_bytes = record.ended_unix_ms != 0 ? record.total_bytes : progress.total_bytes;
    if (view.total_bytes > 0) {
        const auto share = static_cast<double>(view.done_bytes) / static_cast<double>(view.total_bytes);
        view.percent = static_cast<uint32_t>(std::clamp(share * 100.0, 0.0, 99.0));
    }
    if (record.state != TaskState::kRunning) return view;
    const auto elapsed_ns = (env_.executor.now() - task.started).count();
    if (elapsed_ns > 0 && progress.done_bytes > 0) {
        const double rate = static_cast<double>(progress.done_bytes) * 1e9 / static_cast<double>(elapsed_ns);
        view.bytes_per_second = static_cast<uint64_t>(rate);
        if (progress.total_bytes >= progress.done_bytes && rate >= 1) {
            view.seconds_left =
                static_cast<int64_t>(static_cast<double>(progress.total_bytes - progress.done_bytes) / rate + 0.5);
        }
    }
    return view;
}

std::vector<TaskView> ArrayModel::list_tasks() const {
    std::vector<TaskView> result;
    for (const auto& [id, task] : tasks_) result.push_back(view(*task));
    return result;
}

Result<TaskView> ArrayModel::get_task(uint64_t id) const {
    const auto found = tasks_.find(id);
    if (found == tasks_.end()) return fail(Code::kNotFound, fmt::format("no task {}", id));
    return view(*found->second);
}

Result<TaskView> ArrayModel::cancel_task(uint64_t id) {
    const auto found = tasks_.find(id);
    if (found == tasks_.end()) return fail(Code::kNotFound, fmt::format("no task {}", id));
    TaskEntry& task = *found->second;
    if (task.record.state != TaskState::kRunning) {
        return fail(Code::kBadState, fmt::format("task {} has ended: {}", id, to_string(task.record.state)));
    }
    if (task.progress.past_cancel) {
        return fail(Code::kBadState, fmt::format("task {} is past the point where it could be cancelled", id));
    }
    task.cancel_asked = true;
    task.progress.cancel = true;
    return view(task);
}

Task<Result<ArrayModel::TaskEntry*>> ArrayModel::begin_task(std::string kind, const Lun* lun) {
    const auto running = std::ranges::count_if(
        tasks_, [](const auto& entry) { return entry.second->record.state == TaskState::kRunning; });
    if (static_cast<size_t>(running) >= kMaxRunningTasks) {
        co_return fail(Code::kBusy, fmt::format("{} tasks run already: wait for one to end", kMaxRunningTasks));
    }
    auto task = std::make_unique<TaskEntry>();
    task->record.id = head_.next_task++;
    task->record.kind = std::move(kind);
    if (lun != nullptr) {
        task->record.lun = lun->record.id;
        task->record.object = full_name(lun->record);
    }
    task->record.started_unix_ms = now_ms();
    task->started = env_.executor.now();
    lun::MetaBatch batch;
    batch.changes[std::string(kArrayKey)] = encode(head_);
    batch.changes[task_key(task->record.id)] = encode(task->record);
    UMBRA_CO_TRY(co_await backend_->update_meta(std::move(batch)));
    TaskEntry* entry = task.get();
    tasks_[entry->record.id] = std::move(task);
    wake_watchers();
    co_return entry;
}

void ArrayModel::prune_tasks(lun::MetaBatch& batch, size_t about_to_end) {
    auto ended = about_to_end + static_cast<size_t>(std::ranges::count_if(tasks_, [](const auto& entry) {
                     return entry.second->record.state != TaskState::kRunning;
                 }));
    for (auto task = tasks_.begin(); task != tasks_.end() && ended > kKeptTasks;) {
        if (task->second->record.state == TaskState::kRunning) {
            ++task;
            continue;
        }
        batch.changes[task_key(task->first)] = std::nullopt;
        task = tasks_.erase(task);
        --ended;
    }
}

Task<void> ArrayModel::end_task(TaskEntry* task, Result<void> outcome) {
    TaskRecord record = task->record;
    record.total_bytes = task->progress.total_bytes;
    record.ended_unix_ms = now_ms();
    if (outcome) {
        record.state = TaskState::kDone;
    } else if (outcome.error().code == Code::kCancelled && task->cancel_asked) {
        record.state = TaskState::kCancelled;
        record.result.clear();
    } else {
        record.state = TaskState::kFailed;
        record.result.clear();
        const bool stopped = closing_ && outcome.error().code == Code::kCancelled;
        record.error_code = base::to_string(stopped ? Code::kUnavailable : outcome.error().code);
        record.error = stopped ? "the array stopped while it ran: start it again" : outcome.error().message;
    }
    lun::MetaBatch batch;
    batch.changes[task_key(record.id)] = encode(record);
    prune_tasks(batch, 1);
    const Result<void> recorded = co_await backend_->update_meta(std::move(batch));
    task->record = record;
    const std::string what = record.object.empty() ? record.kind : record.kind + " of " + record.object;
    switch (record.state) {
        case TaskState::kDone:
            emit(
                "task.done", "info",
                fmt::format("task {} ({}) done{}{}", record.id, what, record.result.empty() ? "" : ": ", record.result),
                record.object);
            break;
        case TaskState::kCancelled:
            emit("task.cancelled", "info", fmt::format("task {} ({}) cancelled", record.id, what), record.object);
            break;
        case TaskState::kFailed:
            emit("task.failed", "error", fmt::format("task {} ({}) failed: {}", record.id, what, record.error),
                 record.object);
            break;
        case TaskState::kRunning:
            break;
    }
    if (!recorded) {
        emit("task.not-recorded", "warning",
             fmt::format("the end of task {} could not be recorded: {}", record.id, recorded.error().message));
    }
    wake_watchers();
}

// Resync.

Task<Result<TaskView>> ArrayModel::resync_lun(ResyncLun request, Wanted wanted) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_TRY(check_wanted(wanted));
    UMBRA_CO_ASSIGN(Lun * destination, find(request.destination));
    UMBRA_CO_ASSIGN(Lun * source, find(request.source));
    const std::string name = full_name(destination->record);
    if (destination == source)
        co_return fail(Code::kInvalidArgument, fmt::format("{} is both source and destination", name));
    if (destination->record.kind == LunKind::kSnapshot) {
        co_return fail(Code::kInvalidArgument, fmt::format("{} is a snapshot: its content never changes", name));
    }
    UMBRA_CO_TRY(check_unused(*destination));
    if (source->changing_task != 0) UMBRA_CO_TRY(check_unused(*source));
    if (!request.force) UMBRA_CO_TRY(check_unseen(*destination, "use force"));
    UMBRA_CO_TRY(check_room(1));

    std::string keep_name = request.keep_name;
    if (keep_name.starts_with(name + "@")) keep_name = keep_name.substr(name.size() + 1);
    for (uint64_t n = 1; keep_name.empty(); ++n) {
        const std::string candidate = fmt::format("before-resync-{}", n);
        if (check_free(name + "@" + candidate)) keep_name = candidate;
    }
    UMBRA_CO_TRY(check_name(keep_name));
    UMBRA_CO_TRY(check_free(name + "@" + keep_name));

    LunRecord keep = new_identity(LunKind::kSnapshot);
    keep.name = keep_name;
    keep.parent = destination->record.id;
    keep.origin = destination->record.id;

    // Nobody who logs in from here on may write to what is about to be replaced.
    destination->withheld = !request.force;
    const Result<TaskEntry*> begun = co_await begin_task("resync", destination);
    if (!begun) {
        if (std::exchange(destination->withheld, false)) notify_masked(*destination);
        co_return std::unexpected(begun.error());
    }
    TaskEntry* task = *begun;
    const uint64_t id = task->record.id;
    task->source = source->record.id;
    destination->changing_task = id;
    source->using_tasks.insert(id);
    reserved_names_.insert(name + "@" + keep_name);
    work_.spawn(run_resync(task, destination->record.id, source->record.id, std::move(keep)));
    co_return view(*tasks_.at(id));
}

Task<void> ArrayModel::run_resync(TaskEntry* task, Guid destination, Guid source, LunRecord keep) {
    const uint64_t id = task->record.id;
    Lun& lun = luns_.at(destination);  // held by changing_task
    const std::string keep_full = full_name(keep);
    // A write that was let in before, by whoever has lost the LUN since, must not land on the new content.
    co_await end_access(destination);
    LunRecord record = lun.record;
    ++record.generation;
    ++record.content_generation;
    TaskRecord done = task->record;
    done.state = TaskState::kDone;
    done.result = "kept the head before it as " + keep_full;
    lun::MetaBatch batch;
    put(batch, record);
    put(batch, keep);
    batch.changes[task_key(id)] = encode(done);
    const auto before = backend_->info(record.volume);

    const lun::ResyncRequest request{record.volume, luns_.at(source).record.volume, keep.volume};
    Result<void> outcome = co_await backend_->resync(request, std::move(batch), task->progress);

    reserved_names_.erase(keep_full);
    luns_.at(source).using_tasks.erase(id);
    lun.changing_task = 0;
    const bool was_withheld = std::exchange(lun.withheld, false);
    if (outcome) {
        task->record.result = done.result;
        adopt(std::move(keep));
        adopt(std::move(record));
        const auto after = backend_->info(lun.record.volume);
        if (!before || !after || before->spec.size_bytes != after->spec.size_bytes) {
            attention(destination, UnitAttentionCause::kCapacityChanged);
        }
    }
    if (was_withheld) notify_masked(lun);
    co_await end_task(task, std::move(outcome));
}

// Recover.

Task<Result<TaskView>> ArrayModel::recover_lun(LunRef ref) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_ASSIGN(Lun * lun, find(ref));
    if (lun->changing_task != 0) UMBRA_CO_TRY(check_unused(*lun));
    for (const uint64_t other : lun->using_tasks) {
        if (tasks_.at(other)->record.kind == "recover") {
            co_return fail(Code::kBusy, fmt::format("task {} recovers {} already", other, full_name(lun->record)));
        }
    }
    UMBRA_CO_ASSIGN(TaskEntry * task, co_await begin_task("recover", lun));
    const uint64_t id = task->record.id;
    lun->using_tasks.insert(id);
    work_.spawn(run_recover(task, lun->record.id));
    co_return view(*tasks_.at(id));
}

Task<void> ArrayModel::run_recover(TaskEntry* task, Guid id) {
    Lun& lun = luns_.at(id);  // held by using_tasks
    Result<void> outcome = co_await backend_->recover(lun.record.volume, task->progress);
    if (outcome) {
        const auto info = backend_->info(lun.record.volume);
        if (!info) {
            outcome = std::unexpected(info.error());
        } else if (info->health != lun::Health::kHealthy) {
            outcome =
                fail(Code::kDeviceFailed, fmt::format("{} is still {}: another drive was lost meanwhile, recover again",
                                                      full_name(lun.record), lun::to_string(info->health)));
        } else {
            task->record.result = full_name(lun.record) + " is healthy";
        }
    }
    lun.using_tasks.erase(task->record.id);
    co_await end_task(task, std::move(outcome));
}

// Scrub.

Task<Result<TaskView>> ArrayModel::start_scrub() {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    for (const auto& [id, task] : tasks_) {
        if (task->record.kind == "scrub" && task->record.state == TaskState::kRunning) {
            co_return fail(Code::kBusy, fmt::format("task {} scrubs the array already", id));
        }
    }
    UMBRA_CO_ASSIGN(TaskEntry * task, co_await begin_task("scrub", nullptr));
    const uint64_t id = task->record.id;
    work_.spawn(run_scrub(task));
    co_return view(*tasks_.at(id));
}

Task<void> ArrayModel::run_scrub(TaskEntry* task) {
    const auto errors = [this] {
        uint64_t checksum = 0;
        uint64_t repaired = 0;
        for (const lun::DriveInfo& drive : backend_->drives()) {
            checksum += drive.checksum_errors + drive.read_errors;
            repaired += drive.repaired_blocks;
        }
        return std::pair(checksum, repaired);
    };
    const auto [bad_before, repaired_before] = errors();
    Result<void> outcome = co_await backend_->scrub(task->progress);
    const auto [bad_after, repaired_after] = errors();
    task->record.result =
        fmt::format("{} bad reads, {} blocks repaired", bad_after - bad_before, repaired_after - repaired_before);
    co_await end_task(task, std::move(outcome));
}

// Watching.

Task<void> ArrayModel::wait_change(uint64_t seen) {
    if (closing_ || seen != version_) co_return;
    co_await changed_.wait();
}

Task<void> ArrayModel::wait_change_or_tick(uint64_t seen) {
    if (closing_ || seen != version_) co_return;
    ++tick_waiters_;
    if (!ticking_) {
        ticking_ = true;
        work_.spawn(tick());
    }
    co_await changed_.wait();
    --tick_waiters_;
}

Task<void> ArrayModel::tick() {
    while (tick_waiters_ > 0 && !closing_) {
        co_await env::sleep_for(env_.executor, kTick);
        changed_.wake_all();
        // Whoever was woken runs, and waits again or does not, before it is decided whether to go on.
        co_await env::yield(env_.executor);
    }
    ticking_ = false;
}

}  // namespace umbra::array

// What a start finds of an earlier run: thaw first, then finish or undo, then surface again what is to stay.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/coordinator.h"
#include "coordinator/session.h"

namespace umbra::coordinator {

using base::Guid;
using env::Task;

Task<base::Result<void>> Coordinator::start() {
    auto thawed = co_await host_.thaw_leftovers();
    if (!thawed) {
        events_.error(EventId::kThawedLeftovers, "frozen file systems of an earlier run: " + thawed.error().text(),
                      {{"remedy", "thaw them by hand: fsfreeze -u MOUNTPOINT"}});
    } else if (!thawed->empty()) {
        std::string names;
        for (const std::string& one : *thawed) names += (names.empty() ? "" : ", ") + one;
        events_.warning(EventId::kThawedLeftovers, "thawed what an earlier run had left frozen: " + names, {});
    }
    auto state = store_.load();
    if (!state) co_return std::unexpected(state.error());
    co_await settle_leftovers(std::move(*state));
    co_return base::Result<void>();
}

Task<void> Coordinator::settle_leftovers(State state) {
    std::vector<Intent> flags;
    for (const Intent& intent : state.intents) {
        if (intent.kind == Intent::Kind::kSourceFlags) flags.push_back(intent);
    }
    co_await restore_source_flags(std::move(flags));

    for (const SetRecord& record : state.sets) {
        if (record.state != SetState::kCreating) sets_[record.id] = record;
    }
    for (const SetRecord& record : state.sets) co_await settle_set(record);

    for (const Intent& intent : state.intents) {
        if (intent.kind != Intent::Kind::kLunRelease) continue;
        if (find_snapshot(intent.set, intent.id) == nullptr) {
            StateChange change;
            change.erase_intents.push_back(intent.id);
            (void)save(std::move(change));
            continue;
        }
        Answer<> dropped = co_await drop_snapshot(intent.set, intent.id);
        if (!dropped) {
            events_.error(
                EventId::kCleanupFailed,
                "an interrupted deletion of " + intent.id.braced() + ": " + dropped.error().message,
                {{"snapshot", intent.id.text()}, {"remedy", "delete it again when the array can be reached"}});
        }
    }
    for (const SetRecord& record : state.sets) {
        const bool undelivered = record.state == SetState::kUndelivered;
        if (record.state != SetState::kCreated && record.state != SetState::kImported && !undelivered) continue;
        if (!sets_.contains(record.id)) continue;
        if (undelivered || (record.context & vss::kAttrNoAutoRelease) == 0) {
            // The session that owned it has ended with the service.
            std::vector<Guid> one{record.id};
            co_await auto_release(std::move(one));
        } else {
            co_await surface_again(record.id);
        }
    }
    for (const Intent& intent : state.intents) {
        if (intent.kind != Intent::Kind::kRecover) continue;
        resync_running_ = true;
        events_.warning(EventId::kRecoverResumed, "an interrupted resynchronisation is taken up again", {});
        (void)start_operation(
            "resync", [this, intent](OperationPtr operation) { return resume_recovery(std::move(operation), intent); });
    }
}

Task<void> Coordinator::settle_set(SetRecord record) {
    switch (record.state) {
        case SetState::kCreating: {
            // This provider object never saw the set; AbortSnapshots is how it learns that it is no more (0042).
            const bool undone = co_await undo_set(record, providers_of(record), {}, true);
            if (undone) {
                events_.warning(EventId::kSetUndone,
                                "the interrupted creation of " + record.id.braced() + " was undone",
                                {{"set", record.id.text()}});
            }
            break;
        }
        case SetState::kImporting: {
            SetRecord& mine = sets_[record.id];
            for (SnapshotRecord& snapshot : mine.snapshots) {
                (void)co_await host_.unmount_shadow(snapshot.id);
                snapshot.device_object.clear();
                snapshot.exposed_path.clear();
            }
            sets_[record.id].state = SetState::kImportFailed;
            (void)save(sets_[record.id]);
            events_.error(
                EventId::kImportFailed, "the import of " + record.id.braced() + " was interrupted",
                {{"set", record.id.text()},
                 {"remedy", "import it again, or give its LUNs back with: umbra shadow cleanup " + record.id.text()}});
            break;
        }
        case SetState::kBreaking:
            (void)co_await finish_break(record.id);
            break;
        case SetState::kCreated:
        case SetState::kTransported:
        case SetState::kImported:
        case SetState::kImportFailed:
        case SetState::kUndelivered:
        case SetState::kUnconfirmed:
            break;
    }
}

std::vector<Provider*> Coordinator::providers_of(const SetRecord& record) {
    std::vector<Provider*> out;
    for (const SnapshotRecord& snapshot : record.snapshots) {
        Provider* provider = providers_.find(snapshot.provider);
        if (provider != nullptr && std::ranges::find(out, provider) == out.end()) out.push_back(provider);
    }
    return out;
}

void Coordinator::retry_later() {
    if (retrying_ || stopping_) return;
    retrying_ = true;
    background_.spawn(retry_leftovers());
}

Task<void> Coordinator::retry_leftovers() {
    env::Duration pause = options_.retry_interval;
    while (!stopping_ && !(undo_left_.empty() && flags_left_.empty() && release_left_.empty())) {
        (void)co_await stop_signal_.wait_until(deadline(pause));
        pause = std::min<env::Duration>(pause * 2, options_.retry_limit);
        // Some providers take a word about another set for the end of the one in progress.
        if (stopping_ || creation_) continue;
        settling_ = true;
        std::vector<Intent> flags;
        for (const auto& [id, intent] : flags_left_) flags.push_back(intent);
        co_await restore_source_flags(std::move(flags));
        std::vector<SetRecord> sets;
        for (const auto& [id, record] : undo_left_) sets.push_back(record);
        for (const SetRecord& record : sets) (void)co_await undo_set(record, providers_of(record), {}, true);
        const std::vector<Guid> releases(release_left_.begin(), release_left_.end());
        co_await auto_release(releases);
        settling_ = false;
    }
    retrying_ = false;
}

Task<void> Coordinator::surface_again(Guid id) {
    // After a mere restart of the service everything is still mounted; after a reboot nothing is.
    SetRecord record = sets_[id];
    auto volumes = co_await host_.list_volumes();
    std::vector<SnapshotRecord> missing;
    for (const SnapshotRecord& snapshot : record.snapshots) {
        if (snapshot.device_object.empty()) continue;
        if (!volumes) {
            missing.push_back(snapshot);
            continue;
        }
        const bool mounted = std::ranges::any_of(*volumes, [&](const host::Volume& volume) {
            return std::ranges::find(volume.mount_points, host_.shadow_path(snapshot.id)) != volume.mount_points.end();
        });
        if (!mounted) missing.push_back(snapshot);
    }
    if (missing.empty()) co_return;
    Answer<std::vector<Surfaced>> surfaced;
    if (volumes) {
        surfaced = co_await surface(id, missing, nullptr);
    } else {
        surfaced = refuse(volumes.error());
    }
    for (size_t i = 0; i < missing.size(); ++i) {
        SnapshotRecord* snapshot = find_snapshot(id, missing[i].id);
        if (snapshot == nullptr) continue;
        const bool there = surfaced && (*surfaced)[i].result;
        if (!there) {
            // In memory only: the next start tries again.
            snapshot->device_object.clear();
            const Failure& failure = surfaced ? (*surfaced)[i].result.error() : surfaced.error();
            events_.error(EventId::kImportFailed,
                          "shadow copy " + missing[i].id.braced() + " could not be surfaced again: " + failure.message,
                          {{"set", id.text()},
                           {"snapshot", missing[i].id.text()},
                           {"remedy", "restart umbra-hostd when the array can be reached"}});
            continue;
        }
        snapshot->device_object = (*surfaced)[i].device_object;
        if (snapshot->exposed_path.empty()) continue;
        const std::string path = snapshot->exposed_path;
        auto exposed = co_await host_.expose(missing[i].id, path);
        if (!exposed) {
            events_.error(
                EventId::kImportFailed,
                "shadow copy " + missing[i].id.braced() + " could not be exposed again: " + exposed.error().text(),
                {{"set", id.text()}, {"snapshot", missing[i].id.text()}, {"remedy", "empty " + path}});
        }
    }
}

}  // namespace umbra::coordinator

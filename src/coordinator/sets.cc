// What is done with shadow copy sets that exist: delete, break, expose, forget.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/coordinator.h"
#include "coordinator/session.h"

namespace umbra::coordinator {

using base::Guid;
using env::Task;

namespace {

/// An entry for as long as a call works on a set.
class Mark {
public:
    Mark(std::multiset<Guid>* marks, const Guid& set) : marks_(*marks), at_(marks->insert(set)) {}
    ~Mark() { marks_.erase(at_); }
    Mark(const Mark&) = delete;
    Mark& operator=(const Mark&) = delete;

private:
    std::multiset<Guid>& marks_;
    std::multiset<Guid>::iterator at_;
};

}  // namespace

SetRecord* Coordinator::find_set_of(const Guid& snapshot) {
    for (auto& [id, set] : sets_) {
        if (std::ranges::find(set.snapshots, snapshot, &SnapshotRecord::id) != set.snapshots.end()) return &set;
    }
    return nullptr;
}

SnapshotRecord* Coordinator::find_snapshot(const Guid& snapshot) {
    SetRecord* set = find_set_of(snapshot);
    if (set == nullptr) return nullptr;
    return &*std::ranges::find(set->snapshots, snapshot, &SnapshotRecord::id);
}

SnapshotRecord* Coordinator::find_snapshot(const Guid& set, const Guid& snapshot) {
    const auto found = sets_.find(set);
    if (found == sets_.end()) return nullptr;
    const auto one = std::ranges::find(found->second.snapshots, snapshot, &SnapshotRecord::id);
    return one == found->second.snapshots.end() ? nullptr : &*one;
}

bool Coordinator::lun_shared(const LunInformation& lun, const Guid& of_set, const Guid& but_snapshot) const {
    for (const auto& [id, set] : sets_) {
        for (const SnapshotRecord& snapshot : set.snapshots) {
            if (id == of_set && snapshot.id == but_snapshot) continue;
            for (const LunInformation& target : snapshot.targets) {
                if (target.key() == lun.key()) return true;
            }
        }
    }
    return false;
}

// --- Delete ----------------------------------------------------------------------------------------------------------

Task<Answer<>> Coordinator::hide_snapshot(Guid set, Guid id) {
    const SnapshotRecord* snapshot = find_snapshot(set, id);
    if (snapshot == nullptr) co_return Answer<>();
    const std::string exposed = snapshot->exposed_path;
    if (!exposed.empty()) {
        auto done = co_await host_.unexpose(exposed);
        if (!done && done.error().code != base::Code::kNotFound) co_return refuse(done.error());
        if (SnapshotRecord* current = find_snapshot(set, id)) {
            current->exposed_path.clear();
            current->attributes = (current->attributes & ~vss::kAttrExposedLocally) | vss::kAttrNotSurfaced;
        }
    }
    auto unmounted = co_await host_.unmount_shadow(id);
    if (!unmounted) co_return refuse(unmounted.error());
    if (SnapshotRecord* current = find_snapshot(set, id)) current->device_object.clear();
    co_return Answer<>();
}

Task<Answer<>> Coordinator::release_lun(Guid set, Guid provider_id, LunInformation lun, bool may_be_gone) {
    Provider* provider = providers_.find(provider_id);
    if (provider == nullptr) co_return refuse(vss::kProviderNotRegistered, "no provider " + provider_id.braced());
    std::string device;
    LunInformation described = lun;
    auto disks = co_await host_.list_disks();
    if (!disks) co_return refuse(disks.error());
    for (const host::Disk& disk : *disks) {
        if (disk.lun.key() != lun.key()) continue;
        device = disk.device;
        described = lun_information(disk);
    }
    const Identified known = co_await identify(provider, device, described);
    if (!known.lun) {
        // "Not mine" is an answer; an array that cannot be asked is none, and its LUN may well be there.
        if (known.failure) co_return std::unexpected(*known.failure);
        if (may_be_gone && device.empty()) co_return Answer<>();
        std::string text = fmt::format("provider {} does not know LUN {}", provider->info().name, lun.key());
        events_.error(EventId::kCleanupFailed, text,
                      {{"provider", provider->info().name},
                       {"set", set.text()},
                       {"lun", lun.key()},
                       {"remedy", "if the LUN is gone from the array: umbra shadow cleanup " + set.text()}});
        co_return refuse(vss::kProviderVeto, std::move(text));
    }
    // Off this host before its array forgets it: the kernel must not be left with a device that answers nothing.
    auto detached = co_await host_.detach(lun_identity(lun));
    if (!detached) co_return refuse(detached.error());
    Answer<ProviderReply> emptied = co_await call<ProviderReply>(
        provider, "OnLunEmpty", set, deadline(options_.call_limit), provider->on_lun_empty(device, *known.lun));
    if (!emptied && !(may_be_gone && emptied.error().code == vss::kObjectNotFound)) {
        co_return std::unexpected(emptied.error());
    }
    co_return Answer<>();
}

Task<Answer<>> Coordinator::drop_snapshot(Guid set_id, Guid id) {
    Answer<> hidden = co_await hide_snapshot(set_id, id);
    if (find_snapshot(set_id, id) == nullptr) co_return refuse(vss::kObjectNotFound, "no shadow copy " + id.braced());
    Intent intent;
    intent.id = id;
    intent.kind = Intent::Kind::kLunRelease;
    intent.set = set_id;
    StateChange begin;
    begin.put_sets.push_back(sets_[set_id]);
    if (hidden) begin.put_intents.push_back(intent);
    Answer<> saved = save(std::move(begin));
    if (!hidden) co_return hidden;
    if (!saved) co_return saved;

    const SnapshotRecord snapshot = *find_snapshot(set_id, id);
    for (const LunInformation& target : snapshot.targets) {
        if (lun_shared(target, set_id, id)) continue;  // the LUN dies with its last shadow copy
        Answer<> released = co_await release_lun(set_id, snapshot.provider, target, true);
        if (!released) {
            // The shadow copy stays on record, hidden: it can be deleted again.
            StateChange undo;
            undo.erase_intents.push_back(id);
            (void)save(std::move(undo));
            co_return released;
        }
    }
    StateChange end;
    end.erase_intents.push_back(id);
    if (const auto set = sets_.find(set_id); set != sets_.end()) {
        std::erase_if(set->second.snapshots, [&](const SnapshotRecord& one) { return one.id == id; });
        if (set->second.snapshots.empty()) {
            end.erase_sets.push_back(set_id);
            sets_.erase(set);
        } else {
            end.put_sets.push_back(set->second);
        }
    }
    co_return save(std::move(end));
}

Task<Coordinator::Deleted> Coordinator::delete_snapshots(Guid object, uint32_t type) {
    Deleted out;
    std::vector<Guid> ids;
    Guid of_set = object;
    if (type == vss::kObjectSnapshot) {
        const SetRecord* set = find_set_of(object);
        if (set == nullptr) {
            out.failed = object;
            out.result = refuse(vss::kObjectNotFound, "no shadow copy " + object.braced());
            co_return out;
        }
        of_set = set->id;
        ids.push_back(object);
    } else if (type == vss::kObjectSnapshotSet) {
        const auto found = sets_.find(object);
        if (found == sets_.end()) {
            out.failed = object;
            out.result = refuse(vss::kObjectNotFound, "no shadow copy set " + object.braced());
            co_return out;
        }
        for (const SnapshotRecord& snapshot : found->second.snapshots) ids.push_back(snapshot.id);
    } else {
        out.result = refuse(vss::kInvalidArgument, "neither a shadow copy nor a set");
        co_return out;
    }
    if (cleaning_.contains(of_set)) {
        out.failed = ids.front();
        out.result = refuse(vss::kBadState, "another operation works on the set");
        co_return out;
    }
    const Mark mark(&deleting_, of_set);
    for (const Guid& id : ids) {
        const auto set = sets_.find(of_set);
        if (set != sets_.end() &&
            (set->second.state == SetState::kImporting || set->second.state == SetState::kBreaking)) {
            out.result = refuse(vss::kBadState, "another operation works on the set");
        } else {
            out.result = co_await drop_snapshot(of_set, id);
        }
        if (!out.result) {
            out.failed = id;
            co_return out;
        }
        ++out.count;
    }
    co_return out;
}

Task<void> Coordinator::auto_release(std::vector<Guid> sets) {
    for (const Guid& set : sets) {
        release_left_.erase(set);
        if (!sets_.contains(set)) continue;
        Deleted deleted = co_await delete_snapshots(set, vss::kObjectSnapshotSet);
        if (deleted.result) continue;
        release_left_.insert(set);
        retry_later();
        events_.error(EventId::kCleanupFailed,
                      "auto-release of shadow copy set " + set.braced() + ": " + deleted.result.error().message,
                      {{"set", set.text()},
                       {"code", vss::name(deleted.result.error().code)},
                       {"remedy", "it is tried again; or delete the set"}});
    }
}

void Coordinator::confirm_delivery(const Guid& id) {
    const auto found = sets_.find(id);
    if (found == sets_.end() || found->second.state != SetState::kUnconfirmed) return;
    found->second.state = SetState::kTransported;
    // When that cannot be written the set stays listed after a restart, and nothing else.
    (void)save(found->second);
}

Task<Answer<uint32_t>> Coordinator::cleanup_set(Guid id) {
    const auto found = sets_.find(id);
    if (found == sets_.end()) co_return refuse(vss::kObjectNotFound, "no shadow copy set " + id.braced());
    const SetState state = found->second.state;
    const bool handed_over = state == SetState::kTransported || state == SetState::kUnconfirmed;
    if (state != SetState::kImportFailed && !handed_over) {
        co_return refuse(vss::kBadState, fmt::format("the set is {}: delete it instead", to_string(state)));
    }
    if (cleaning_.contains(id) || deleting_.contains(id)) {
        co_return refuse(vss::kBadState, "another operation works on the set");
    }
    const Mark mark(&cleaning_, id);
    const SetRecord record = found->second;
    uint32_t released = 0;
    for (const SnapshotRecord& snapshot : record.snapshots) {
        auto unmounted = co_await host_.unmount_shadow(snapshot.id);
        if (!unmounted) co_return refuse(unmounted.error());
        if (handed_over) continue;  // never presented to this host
        for (const LunInformation& target : snapshot.targets) {
            auto detached = co_await host_.detach(lun_identity(target));
            if (!detached) co_return refuse(detached.error());
            ++released;
        }
        Provider* provider = providers_.find(snapshot.provider);
        if (provider == nullptr) continue;
        Answer<bool> ex = co_await has_ex(provider);
        if (!ex) co_return std::unexpected(ex.error());
        if (!*ex) continue;  // an older provider cannot mask: its LUNs stay presented, as before
        // What is masked no longer; what is gone from its array needs no masking. Until all is, the set stays on
        // record.
        std::vector<LunInformation> targets;
        std::vector<LunInformation> originals;
        for (size_t i = 0; i < snapshot.targets.size(); ++i) {
            const Identified known = co_await identify(provider, "", snapshot.targets[i]);
            if (known.failure) co_return std::unexpected(*known.failure);
            if (!known.lun) continue;
            targets.push_back(snapshot.targets[i]);
            if (i < snapshot.sources.size()) originals.push_back(snapshot.sources[i].lun);
        }
        if (targets.empty()) continue;
        Answer<ProviderReply> masked =
            co_await call<ProviderReply>(provider, "OnLunStateChange", id, deadline(options_.call_limit),
                                         provider->on_lun_state_change(targets, originals, vss::kDoMaskLuns));
        if (!masked) co_return std::unexpected(masked.error());
    }
    StateChange change;
    change.erase_sets.push_back(id);
    Answer<> saved = save(std::move(change));
    if (!saved) co_return std::unexpected(saved.error());
    sets_.erase(id);
    co_return released;
}

// --- Break -----------------------------------------------------------------------------------------------------------

Task<Answer<>> Coordinator::break_set(Guid id, uint32_t flags) {
    constexpr uint32_t kKnown =
        vss::kBreakMaskLuns | vss::kBreakMakeReadWrite | vss::kBreakRevertIdentityAll | vss::kBreakRevertIdentityNone;
    const bool all = (flags & vss::kBreakRevertIdentityAll) != 0;
    if ((flags & ~kKnown) != 0 || (all && (flags & vss::kBreakRevertIdentityNone) != 0) ||
        ((flags & vss::kBreakMaskLuns) != 0 &&
         (flags & (vss::kBreakMakeReadWrite | vss::kBreakRevertIdentityAll)) != 0)) {
        co_return refuse(vss::kInvalidArgument, "these break flags exclude each other, or are unknown");
    }
    auto found = sets_.find(id);
    if (found == sets_.end() ||
        (found->second.state != SetState::kCreated && found->second.state != SetState::kImported)) {
        co_return refuse(vss::kObjectNotFound, "no imported shadow copy set " + id.braced());
    }
    if (deleting_.contains(id) || cleaning_.contains(id))
        co_return refuse(vss::kBadState, "another operation works on the set");
    const Mark mark(&cleaning_, id);  // nothing else deletes or releases what is about to be the administrator's
    if ((flags & (vss::kBreakMaskLuns | vss::kBreakMakeReadWrite)) != 0) {
        const std::vector<SnapshotRecord> snapshots = found->second.snapshots;
        for (const SnapshotRecord& snapshot : snapshots) {
            Provider* provider = providers_.find(snapshot.provider);
            if (provider == nullptr) co_return refuse(vss::kProviderNotRegistered, "the provider is gone");
            Answer<bool> ex = co_await has_ex(provider);
            if (!ex) co_return std::unexpected(ex.error());
            if (!*ex) co_return refuse(vss::kLegacyProvider, "the provider cannot change the state of its LUNs");
        }
    }
    if (all) {
        auto disks = co_await host_.list_disks();
        if (!disks) co_return refuse(disks.error());
        const std::vector<SnapshotRecord> snapshots = sets_[id].snapshots;
        for (const SnapshotRecord& snapshot : snapshots) {
            for (const SourceLun& source : snapshot.sources) {
                for (const host::Disk& disk : *disks) {
                    if (disk.lun.key() == source.lun.key()) {
                        co_return refuse(vss::kBreakRevertIdFailed,
                                         "the original " + disk.device + " is still visible: mask it first");
                    }
                }
            }
        }
    }
    const SetRecord before = sets_[id];
    Answer<> hidden;
    for (const SnapshotRecord& snapshot : before.snapshots) {
        if (hidden) hidden = co_await hide_snapshot(id, snapshot.id);
    }
    found = sets_.find(id);
    if (found == sets_.end()) co_return refuse(vss::kObjectNotFound, "the set was deleted meanwhile");
    if (!hidden) {
        (void)save(found->second);
        co_return hidden;
    }
    found->second.state = SetState::kBreaking;
    found->second.break_flags = flags;
    Answer<> saved = save(found->second);
    if (!saved) co_return saved;
    co_return co_await finish_break(id);
}

Task<Answer<>> Coordinator::finish_break(Guid id) {
    const SetRecord record = sets_[id];
    const uint32_t flags = record.break_flags;
    const bool writable = (flags & vss::kBreakMakeReadWrite) != 0;
    const bool mask = (flags & vss::kBreakMaskLuns) != 0;
    const bool revert = (flags & vss::kBreakRevertIdentityAll) != 0;
    const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(options_.arrival_limit);
    for (const SnapshotRecord& snapshot : record.snapshots) {
        if ((!mask && !writable) || providers_.find(snapshot.provider) != nullptr) continue;
        // After a restart with another configuration. Without its provider the LUN would stay a shadow copy in its
        // array, and nothing on this host would know: it stays "breaking".
        const std::string text =
            "no provider " + snapshot.provider.braced() + " to break shadow copy set " + id.braced();
        events_.error(EventId::kCleanupFailed, text,
                      {{"set", id.text()},
                       {"code", vss::name(vss::kProviderNotRegistered)},
                       {"remedy", "register the provider and restart umbra-hostd: the break is finished then"}});
        co_return refuse(vss::kProviderNotRegistered, text);
    }
    Answer<> result;
    for (const SnapshotRecord& snapshot : record.snapshots) {
        Provider* provider = providers_.find(snapshot.provider);
        std::vector<LunInformation> originals;
        for (const SourceLun& source : snapshot.sources) originals.push_back(source.lun);
        if (mask || writable || revert) {
            for (const LunInformation& target : snapshot.targets) {
                auto detached = co_await host_.detach(lun_identity(target));
                if (!detached && result) result = refuse(detached.error());
            }
        }
        if (mask || writable) {
            Answer<ProviderReply> changed = co_await call<ProviderReply>(
                provider, "OnLunStateChange", id, deadline(options_.call_limit),
                provider->on_lun_state_change(snapshot.targets, originals,
                                              mask ? vss::kDoMaskLuns : vss::kNotifyReadWrite));
            if (!changed && result) result = std::unexpected(changed.error());
        }
        if (mask || (!writable && !revert)) continue;
        for (size_t i = 0; i < snapshot.targets.size(); ++i) {
            std::vector<host::WantedLun> wanted(1);
            wanted[0].lun = lun_identity(snapshot.targets[i]);
            auto arrived = co_await host_.rescan(wanted, patience);
            if (!arrived || !(*arrived)[0]) {
                if (result)
                    result = refuse(vss::kMissingDisk, "LUN " + snapshot.targets[i].key() + " did not come back");
                continue;
            }
            const std::string device = (*arrived)[0]->device;
            if (revert && snapshot.sources[i].signature.kind != host::TableKind::kNone) {
                auto written = co_await host_.write_signature(device, snapshot.sources[i].signature);
                if (!written && result) {
                    events_.error(EventId::kCannotRevertDiskId,
                                  fmt::format("{}: the original disk identity: {}", device, written.error().text()),
                                  {{"set", id.text()}, {"disk", device}, {"remedy", "write it by hand with sfdisk"}});
                    result = refuse(vss::kBreakRevertIdFailed, written.error().text());
                }
            }
            if (writable) {
                auto cleared = co_await host_.write_lun_flags(device, 0);
                if (!cleared && result) result = refuse(cleared.error());
            } else {
                // Only the identity was asked for: the volume stays read-only.
                auto detached = co_await host_.detach(wanted[0].lun);
                wanted[0].read_only = true;
                auto again = co_await host_.rescan(wanted, patience);
                if ((!detached || !again) && result) result = refuse(vss::kMissingDisk, device + " did not come back");
            }
        }
    }
    // Broken is broken: VSS forgets the set even where a later step failed; the failure is the caller's to see.
    StateChange change;
    change.erase_sets.push_back(id);
    sets_.erase(id);
    Answer<> saved = save(std::move(change));
    if (!result) {
        events_.error(EventId::kCleanupFailed,
                      "break of shadow copy set " + id.braced() + ": " + result.error().message,
                      {{"set", id.text()},
                       {"code", vss::name(result.error().code)},
                       {"remedy", "the LUNs are no shadow copies any more: attach and inspect them by hand"}});
        co_return result;
    }
    co_return saved;
}

// --- Expose ----------------------------------------------------------------------------------------------------------

Task<Answer<std::string>> Coordinator::expose(Guid id, uint32_t attributes, bool has_path, std::string target) {
    const bool local = attributes == vss::kAttrExposedLocally;
    const bool remote = attributes == vss::kAttrExposedRemotely;
    if (!local && !remote) co_return refuse(vss::kInvalidArgument, "exactly one of locally and remotely");
    if (local && has_path) co_return refuse(vss::kInvalidArgument, "a path from the root goes with a share only");
    SetRecord* set = find_set_of(id);
    SnapshotRecord* snapshot = find_snapshot(id);
    if (set == nullptr || snapshot->device_object.empty()) {
        co_return refuse(vss::kObjectNotFound, "no surfaced shadow copy " + id.braced());
    }
    if (remote) {
        events_.error(EventId::kInternal, "exposing a shadow copy as a share is not offered",
                      {{"snapshot", id.text()}, {"remedy", "expose it locally and share that directory"}});
        co_return refuse(vss::kProviderVeto, "shares are not offered: expose it locally");
    }
    if ((set->context & vss::kAttrPersistent) == 0) {
        co_return refuse(vss::kBadState, "only a persistent shadow copy can be exposed locally");
    }
    if (!snapshot->exposed_path.empty()) {
        co_return refuse(vss::kObjectAlreadyExists, "exposed at " + snapshot->exposed_path + " already");
    }
    auto exposed = co_await host_.expose(id, std::move(target));
    if (!exposed) co_return refuse(exposed.error());
    snapshot = find_snapshot(id);
    if (snapshot == nullptr) {
        (void)co_await host_.unexpose(*exposed);
        co_return refuse(vss::kObjectNotFound, "the shadow copy was deleted meanwhile");
    }
    if (!snapshot->exposed_path.empty()) {
        const std::string there = snapshot->exposed_path;
        (void)co_await host_.unexpose(*exposed);
        co_return refuse(vss::kObjectAlreadyExists, "exposed at " + there + " already");
    }
    if (snapshot->device_object.empty()) {
        (void)co_await host_.unexpose(*exposed);
        co_return refuse(vss::kObjectNotFound, "the shadow copy is being deleted");
    }
    snapshot->exposed_path = *exposed;
    snapshot->attributes = (snapshot->attributes | vss::kAttrExposedLocally) & ~vss::kAttrNotSurfaced;
    Answer<> saved = save(*find_set_of(id));
    if (!saved) {
        snapshot->exposed_path.clear();
        snapshot->attributes = (snapshot->attributes & ~vss::kAttrExposedLocally) | vss::kAttrNotSurfaced;
        (void)co_await host_.unexpose(*exposed);
        co_return std::unexpected(saved.error());
    }
    co_return *exposed;
}

Task<Answer<>> Coordinator::unexpose(Guid id) {
    SnapshotRecord* snapshot = find_snapshot(id);
    if (snapshot == nullptr) co_return refuse(vss::kObjectNotFound, "no shadow copy " + id.braced());
    if (snapshot->exposed_path.empty()) co_return refuse(vss::kObjectNotFound, "the shadow copy is not exposed");
    auto done = co_await host_.unexpose(snapshot->exposed_path);
    if (!done && done.error().code != base::Code::kNotFound) co_return refuse(done.error());
    snapshot = find_snapshot(id);
    if (snapshot == nullptr) co_return Answer<>();
    snapshot->exposed_path.clear();
    snapshot->attributes = (snapshot->attributes & ~vss::kAttrExposedLocally) | vss::kAttrNotSurfaced;
    co_return save(*find_set_of(id));
}

Task<Answer<bool>> Coordinator::is_volume_snapshotted(std::string name) {
    auto volume = co_await host_.resolve(name);
    if (!volume) co_return refuse(volume.error());
    for (const auto& [id, set] : sets_) {
        if (set.state != SetState::kCreated && set.state != SetState::kTransported &&
            set.state != SetState::kUndelivered && set.state != SetState::kUnconfirmed) {
            continue;
        }
        for (const SnapshotRecord& snapshot : set.snapshots) {
            if (snapshot.original_volume == volume->name) co_return true;
        }
    }
    co_return false;
}

}  // namespace umbra::coordinator

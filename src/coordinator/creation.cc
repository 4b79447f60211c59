// The creation of a shadow copy set: vss.md section 2, call for call.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/coordinator.h"
#include "coordinator/session.h"

namespace umbra::coordinator {

using base::Guid;
using env::Task;

namespace {

constexpr uint32_t kCopyFlags =
    host::kFlagReadOnly | host::kFlagHidden | host::kFlagNoDriveLetter | host::kFlagShadowCopy;

std::chrono::milliseconds milliseconds(env::Duration duration) {
    return std::chrono::duration_cast<std::chrono::milliseconds>(duration);
}

}  // namespace

Task<Answer<Guid>> Coordinator::start_snapshot_set(SessionPtr session, uint32_t context, env::Duration wait) {
    const env::Instant until = deadline(wait);
    while (creation_ || settling_) {
        if (environment_.executor.now() >= until || stopping_ || session->closing_) {
            co_return refuse(vss::kSnapshotSetInProgress,
                             creation_ ? "another shadow copy set is being created on this host"
                                       : "what an earlier shadow copy set left is being taken back");
        }
        const env::Instant next = std::min(until, deadline(std::chrono::milliseconds(100)));
        co_await env::sleep_until(environment_.executor, next);
    }
    if (stopping_ || session->closing_) co_return refuse(vss::kBadState, "the object is being released");
    creation_ = std::make_unique<Creation>(environment_.executor);
    creation_->record.id = new_id();
    creation_->record.context = context;
    creation_->record.state = SetState::kCreating;
    co_return creation_->record.id;
}

void Coordinator::end_creation() {
    creation_.reset();
}

// --- AddToSnapshotSet ------------------------------------------------------------------------------------------------

Task<Answer<Coordinator::Member>> Coordinator::describe_volume(std::string name, std::vector<SourceLun>* sources) {
    auto resolved = co_await host_.resolve(name);
    if (!resolved) co_return refuse(resolved.error());
    Member member;
    member.volume = std::move(*resolved);
    const host::Volume& volume = member.volume;
    if (volume.luns.empty()) {
        co_return refuse(vss::kVolumeNotSupported, name + " is not on a LUN with a page 83 identifier");
    }
    if (volume.carries_service) {
        co_return refuse(vss::kVolumeNotSupported,
                         name + " carries programs or state of this service: it cannot be frozen");
    }
    if (volume.mounted() && !volume.freezable && !volume.mounted_read_only) {
        co_return refuse(vss::kVolumeNotSupported,
                         fmt::format("{}: a mounted {} file system cannot be frozen", name, volume.fs_type));
    }
    auto disks = co_await host_.list_disks();
    if (!disks) co_return refuse(disks.error());
    for (const host::LunIdentity& lun : volume.luns) {
        const auto disk =
            std::ranges::find_if(*disks, [&](const host::Disk& one) { return one.lun.key() == lun.key(); });
        if (disk == disks->end()) {
            co_return refuse(vss::kVolumeNotSupported, "the disk of LUN " + lun.key() + " is not there");
        }
        SourceLun source{lun_information(*disk), disk->signature};
        if (!source.lun.has_unique_identifier()) {
            co_return refuse(vss::kVolumeNotSupported, disk->device + " has no unique page 83 identifier");
        }
        member.devices.push_back(disk->device);
        member.luns.push_back(source.lun);
        sources->push_back(std::move(source));
    }
    co_return member;
}

Task<Answer<Provider*>> Coordinator::select_provider(Member* member, uint32_t context, Guid wanted) {
    std::vector<Provider*> candidates;
    if (wanted.is_null()) {
        candidates = providers_.providers();
    } else {
        Provider* provider = providers_.find(wanted);
        if (provider == nullptr) co_return refuse(vss::kProviderNotRegistered, "no provider " + wanted.braced());
        candidates.push_back(provider);
    }
    // No hardware provider makes client-accessible copies: only a system provider does, and there is none.
    if ((context & vss::kAttrClientAccessible) != 0) candidates.clear();
    // Without a table the flags live in the array; with a layered volume beside it the copy could not be assembled.
    if (member->volume.layered && (context & vss::kAttrTransportable) == 0) candidates.clear();

    std::optional<Failure> failure;
    for (Provider* provider : candidates) {
        Answer<SupportReply> reply =
            co_await call<SupportReply>(provider, "AreLunsSupported", {}, deadline(options_.call_limit),
                                        provider->are_luns_supported(context, member->devices, member->luns));
        if (!reply) {
            failure = reply.error();
            continue;
        }
        if (!reply->supported) continue;
        if (reply->luns.size() == member->luns.size()) member->luns = std::move(reply->luns);
        co_return provider;
    }
    if (failure && (failure->code == vss::kProviderVeto || failure->code == vss::kUnexpectedProviderError)) {
        co_return std::unexpected(*failure);
    }
    if (!wanted.is_null()) {
        co_return refuse(vss::kVolumeNotSupportedByProvider,
                         "the provider cannot copy " + member->volume.name + " in this context now");
    }
    co_return refuse(vss::kVolumeNotSupported, "no provider can copy " + member->volume.name + " in this context now");
}

Task<Answer<Guid>> Coordinator::add_to_snapshot_set(Creation* creation, std::string name, Guid wanted) {
    if (creation->record.snapshots.size() >= vss::kMaximumVolumes) {
        co_return refuse(vss::kMaximumVolumesReached, "a shadow copy set has 64 volumes at most");
    }
    SnapshotRecord snapshot;
    Answer<Member> described = co_await describe_volume(name, &snapshot.sources);
    if (!described) co_return std::unexpected(described.error());
    Member member = std::move(*described);
    for (const Member& other : creation->members) {
        if (other.volume.name == member.volume.name) {
            co_return refuse(vss::kObjectAlreadyExists, name + " is in the set already");
        }
    }
    Answer<Provider*> selected = co_await select_provider(&member, creation->record.context, wanted);
    if (!selected) co_return std::unexpected(selected.error());
    Provider* provider = *selected;

    snapshot.id = new_id();
    snapshot.provider = provider->info().id;
    snapshot.attributes = creation->record.context | vss::kAttrHardwareAssisted | vss::kAttrNotSurfaced;
    snapshot.original_volume = member.volume.name;
    snapshot.originating_machine = options_.machine;
    snapshot.service_machine = options_.machine;
    snapshot.partition = member.volume.partition;
    snapshot.volume_bytes = member.volume.size_bytes;
    snapshot.layered = member.volume.layered;
    snapshot.extents = member.volume.extents;

    // Written before the provider hears of it: after a kill the provider is told to forget the set.
    creation->record.snapshots.push_back(snapshot);
    creation->record.snapshots_created = static_cast<uint32_t>(creation->record.snapshots.size());
    Answer<> saved = save(creation->record);
    if (saved) {
        Answer<ProviderReply> begun = co_await call<ProviderReply>(
            provider, "BeginPrepareSnapshot", creation->record.id, deadline(options_.call_limit),
            provider->begin_prepare_snapshot(creation->record.id, snapshot.id, creation->record.context, member.devices,
                                             member.luns));
        if (!begun) saved = std::unexpected(begun.error());
    }
    if (!saved) {
        creation->record.snapshots.pop_back();
        creation->record.snapshots_created = static_cast<uint32_t>(creation->record.snapshots.size());
        StateChange back;
        if (creation->record.snapshots.empty()) {
            back.erase_sets.push_back(creation->record.id);
        } else {
            back.put_sets.push_back(creation->record);
        }
        (void)save(std::move(back));
        co_return std::unexpected(saved.error());
    }
    creation->members.push_back(std::move(member));
    if (std::ranges::find(creation->participants, provider) == creation->participants.end()) {
        creation->participants.push_back(provider);
    }
    co_return snapshot.id;
}

Task<Answer<bool>> Coordinator::is_volume_supported(std::string volume, uint32_t context, Guid wanted) {
    if (!wanted.is_null() && providers_.find(wanted) == nullptr) {
        co_return refuse(vss::kProviderNotRegistered, "no provider " + wanted.braced());
    }
    std::vector<SourceLun> sources;
    Answer<Member> described = co_await describe_volume(volume, &sources);
    if (!described) {
        if (described.error().code == vss::kVolumeNotSupported) co_return false;
        co_return std::unexpected(described.error());
    }
    Answer<Provider*> selected = co_await select_provider(&*described, context, wanted);
    if (selected) co_return true;
    if (selected.error().code == vss::kVolumeNotSupported ||
        selected.error().code == vss::kVolumeNotSupportedByProvider) {
        co_return false;
    }
    co_return std::unexpected(selected.error());
}

// --- DoSnapshotSet ---------------------------------------------------------------------------------------------------

void Coordinator::request_abort(Creation* creation) {
    creation->abort_requested = true;
    if (creation->ending_prepare == nullptr) return;
    // EndPrepareSnapshots may block for long; AbortSnapshots ends it, and is sent once to each.
    for (Provider* provider : creation->participants) {
        if (creation->aborted.insert(provider).second) creation->aborts.spawn(abort_preparation(creation, provider));
    }
}

Task<void> Coordinator::abort_preparation(Creation* creation, Provider* provider) {
    const bool done = co_await send_abort(provider, creation->record.id);
    if (!done) creation->abort_lost = true;
    // One whose EndPrepareSnapshots does not end by it would hold everybody up for hours.
    const env::Instant until = deadline(options_.abort_limit);
    while (creation->ending_prepare == provider) {
        const bool ended = co_await creation->prepared.wait_until(until);
        if (ended || creation->ending_prepare != provider) continue;
        provider->give_up("EndPrepareSnapshots did not return after AbortSnapshots");
        co_return;
    }
}

Task<bool> Coordinator::send_abort(Provider* provider, Guid set) {
    // Its code is not translated and fails nothing (vss.md 2.4); what it could not do is told.
    std::string what;
    for (int attempt = 0; attempt < 2; ++attempt) {
        std::optional<ProviderReply> reply = co_await with_deadline<ProviderReply>(
            environment_.executor, background_, provider->abort_snapshots(set), deadline(options_.abort_limit));
        if (!reply) {
            provider->give_up("AbortSnapshots did not return in time");
            what = "no answer";
            break;  // one that hangs would hang again
        }
        if (reply->lost.empty() && !vss::failed(reply->code)) co_return true;
        what = reply->lost.empty() ? vss::name(reply->code) : reply->lost;
        if (reply->lost.empty()) break;
    }
    events_.warning(EventId::kCleanupFailed,
                    fmt::format("provider {}: AbortSnapshots: {}", provider->info().name, what),
                    {{"provider", provider->info().name},
                     {"method", "AbortSnapshots"},
                     {"set", set.text()},
                     {"remedy", "see that the provider and its array work; look for LUNs of this set in the array"}});
    co_return false;
}

Task<Answer<>> Coordinator::prepare(Creation* creation) {
    creation->providers_told = true;
    Answer<> result;
    for (Provider* provider : creation->participants) {
        creation->ending_prepare = provider;
        Answer<ProviderReply> reply = co_await call<ProviderReply>(
            provider, "EndPrepareSnapshots", creation->record.id, deadline(options_.prepare_limit),
            provider->end_prepare_snapshots(creation->record.id));
        creation->ending_prepare = nullptr;
        creation->prepared.notify_all();
        if (!reply) {
            result = std::unexpected(reply.error());
            break;
        }
        if (creation->abort_requested) break;
    }
    if (creation->abort_requested) co_return refuse(vss::kAsyncCancelled, "the creation was aborted");
    co_return result;
}

Task<Answer<>> Coordinator::look_again(Creation* creation) {
    // AddToSnapshotSet may be a day ago: a volume is frozen where it is mounted now, and flags go to the disk that has
    // its LUN now.
    for (size_t i = 0; i < creation->members.size(); ++i) {
        Member& member = creation->members[i];
        const SnapshotRecord& snapshot = creation->record.snapshots[i];
        const std::string name = snapshot.original_volume;
        std::vector<SourceLun> sources;
        Answer<Member> now = co_await describe_volume(name, &sources);
        if (!now) {
            const ComCode code = now.error().code == vss::kObjectNotFound ? vss::kUnexpected : now.error().code;
            co_return refuse(code, "since it was added: " + now.error().message);
        }
        const bool same_luns = std::ranges::equal(
            sources, snapshot.sources, {}, [](const SourceLun& one) { return one.lun.key(); },
            [](const SourceLun& one) { return one.lun.key(); });
        if (!same_luns || now->volume.name != name || now->volume.partition != snapshot.partition ||
            now->volume.layered != snapshot.layered || now->volume.size_bytes != snapshot.volume_bytes ||
            now->volume.extents != snapshot.extents) {
            co_return refuse(vss::kUnexpected, name + " is not on its LUN as it was when it was added to the set");
        }
        member.volume = std::move(now->volume);
        member.devices = std::move(now->devices);
    }
    co_return Answer<>();
}

Task<Answer<>> Coordinator::write_source_flags(Creation* creation) {
    StateChange change;
    for (size_t i = 0; i < creation->members.size(); ++i) {
        const Member& member = creation->members[i];
        for (size_t lun = 0; lun < member.devices.size(); ++lun) {
            const std::string& device = member.devices[lun];
            if (std::ranges::any_of(creation->flag_intents, [&](const Intent& one) { return one.disk == device; }))
                continue;
            auto flags = co_await host_.read_lun_flags(device);
            if (!flags) co_return refuse(flags.error());
            // Without a table on the disk the provider keeps the flags in the array's record, within the commit.
            if (flags->place != host::FlagPlace::kOnDisk) continue;
            Intent intent;
            intent.id = new_id();
            intent.kind = Intent::Kind::kSourceFlags;
            intent.set = creation->record.id;
            intent.disk = device;
            intent.lun = creation->record.snapshots[i].sources[lun].lun;
            intent.flags = flags->flags;
            // Those of an earlier set may still be there.
            for (const auto& [id, left] : flags_left_) {
                if (left.lun.key() == intent.lun.key()) intent.flags = left.flags;
            }
            creation->flag_intents.push_back(intent);
            change.put_intents.push_back(std::move(intent));
        }
    }
    // From here on LUNs may come into being with the commit, and file systems are about to be frozen.
    creation->record.holds_point = true;
    change.put_sets.push_back(creation->record);
    Answer<> saved = save(std::move(change));
    if (!saved) co_return saved;
    for (const Intent& intent : creation->flag_intents) {
        auto written = co_await host_.write_lun_flags(intent.disk, intent.flags | kCopyFlags);
        if (!written) co_return refuse(written.error());
    }
    co_return Answer<>();
}

Task<void> Coordinator::restore_source_flags(std::vector<Intent> intents) {
    for (const Intent& intent : intents) {
        // Another LUN may have the device name of that time.
        std::string device;
        auto disks = co_await host_.list_disks();
        if (disks) {
            for (const host::Disk& disk : *disks) {
                if (disk.lun.key() == intent.lun.key()) device = disk.device;
            }
        }
        base::Result<host::LunFlags> written = base::fail(base::Code::kNotFound, "it is not attached to this host");
        if (!disks) written = std::unexpected(disks.error());
        if (!device.empty()) written = co_await host_.write_lun_flags(device, intent.flags);
        if (!written) {
            events_.error(
                EventId::kSourceFlagsLeft,
                fmt::format("LUN {} still carries shadow copy flags: {}", intent.lun.key(), written.error().text()),
                {{"disk", device},
                 {"lun", intent.lun.key()},
                 {"set", intent.set.text()},
                 {"remedy", "attach the LUN: it is tried again"}});
            flags_left_[intent.id] = intent;
            retry_later();
            continue;
        }
        flags_left_.erase(intent.id);
        StateChange change;
        change.erase_intents.push_back(intent.id);
        (void)save(std::move(change));
    }
}

Task<void> Coordinator::commit_one(Provider* provider, Guid set, env::Instant until, Answer<>* result) {
    Answer<ProviderReply> reply =
        co_await call<ProviderReply>(provider, "CommitSnapshots", set, until, provider->commit_snapshots(set));
    if (!reply) *result = std::unexpected(reply.error());
}

Task<Answer<>> Coordinator::commit_all(Creation* creation, env::Instant until) {
    std::vector<Answer<>> results(creation->participants.size());
    env::TaskGroup commits(environment_.executor);
    for (size_t i = 0; i < creation->participants.size(); ++i) {
        commits.spawn(commit_one(creation->participants[i], creation->record.id, until, &results[i]));
    }
    co_await commits.join();
    for (const Answer<>& result : results) {
        if (!result) co_return result;
    }
    co_return Answer<>();
}

Task<base::Result<void>> Coordinator::thaw_and_release(Guid set) {
    auto thawed = co_await host_.thaw(set);
    events_.release();
    co_return thawed;
}

Task<Answer<>> Coordinator::hold_and_commit(Creation* creation) {
    const Guid set = creation->record.id;
    const env::Instant freeze_until = deadline(options_.freeze_limit);
    for (Provider* provider : creation->participants) {
        Answer<ProviderReply> reply = co_await call<ProviderReply>(provider, "PreCommitSnapshots", set, freeze_until,
                                                                   provider->pre_commit_snapshots(set));
        if (!reply) co_return std::unexpected(reply.error());
    }
    if (creation->abort_requested) co_return refuse(vss::kAsyncCancelled, "the creation was aborted");

    // Between here and the thaw: no event, no state, nothing but the freeze and the commits.
    events_.hold();
    const env::Duration left = std::max<env::Duration>(freeze_until - environment_.executor.now(), env::Duration(1));
    host::FreezeLimits limits;
    limits.flush = milliseconds(std::min(left, env::Duration(options_.commit_window)));
    limits.hold = milliseconds(options_.commit_window);
    auto frozen = co_await host_.freeze(set, limits);
    Answer<> committed;
    bool held = false;
    if (frozen) {
        const env::Instant until = std::min(deadline(options_.commit_window), freeze_until);
        held = host_.is_frozen(set);
        if (held) committed = co_await commit_all(creation, until);
        held = held && host_.is_frozen(set);
    }
    // A thaw does I/O. When the array is away it hangs until the watchdog cuts the device off; the requester is told
    // before that, and events stay in memory until nothing is frozen any more.
    std::optional<base::Result<void>> ended = co_await with_deadline<base::Result<void>>(
        environment_.executor, background_, thaw_and_release(set), deadline(options_.thaw_limit));
    base::Result<void> thawed;
    if (ended) {
        thawed = std::move(*ended);
    } else {
        thawed = base::fail(base::Code::kIo, "the thaw hangs: the device below does not answer");
    }

    if (!frozen) {
        const bool late = frozen.error().code == base::Code::kTimedOut;
        events_.error(EventId::kFreezeFailed, "the volumes could not be frozen: " + frozen.error().text(),
                      {{"set", set.text()},
                       {"code", vss::name(late ? vss::kFlushWritesTimeout : vss::kUnexpected)},
                       {"remedy", "retry when less is being written; wait 10 minutes, three times at most"}});
        if (late) co_return refuse(vss::kFlushWritesTimeout, frozen.error().text());
        co_return refuse(frozen.error());
    }
    if (!held || (!thawed && thawed.error().code == base::Code::kTimedOut)) {
        events_.error(EventId::kCommitWindowExceeded, "the writes could not be held until every provider had committed",
                      {{"set", set.text()},
                       {"code", vss::name(vss::kHoldWritesTimeout)},
                       {"remedy", "retry; if it repeats, the array is too slow for the commit window"}});
        co_return refuse(vss::kHoldWritesTimeout, "the writes could not be held until every provider had committed");
    }
    if (!thawed) {
        events_.error(EventId::kFreezeFailed, "thaw: " + thawed.error().text(),
                      {{"set", set.text()}, {"remedy", "the watchdog goes on trying; look at the named file system"}});
        if (!committed) co_return committed;  // the cause of both
        co_return refuse(thawed.error());
    }
    co_return committed;
}

Task<Answer<>> Coordinator::finish(Creation* creation) {
    SetRecord& record = creation->record;
    const Guid set = record.id;
    for (Provider* provider : creation->participants) {
        uint32_t count = 0;
        for (const SnapshotRecord& snapshot : record.snapshots)
            count += snapshot.provider == provider->info().id ? 1 : 0;
        Answer<ProviderReply> reply =
            co_await call<ProviderReply>(provider, "PostCommitSnapshots", set, deadline(options_.call_limit),
                                         provider->post_commit_snapshots(set, count));
        if (!reply) co_return std::unexpected(reply.error());
    }
    for (size_t i = 0; i < record.snapshots.size(); ++i) {
        SnapshotRecord& snapshot = record.snapshots[i];
        Provider* provider = providers_.find(snapshot.provider);
        if (provider == nullptr) co_return refuse(vss::kProviderNotRegistered, "the provider is gone");
        Answer<LunsReply> reply = co_await call<LunsReply>(
            provider, "GetTargetLuns", set, deadline(options_.call_limit),
            provider->get_target_luns(creation->members[i].devices, creation->members[i].luns));
        if (!reply) co_return std::unexpected(reply.error());
        bool valid = reply->luns.size() == snapshot.sources.size();
        for (const LunInformation& target : reply->luns) {
            valid = valid && target.version == kLunInformationVersion && target.has_unique_identifier();
            for (const SourceLun& source : snapshot.sources)
                valid = valid && !target.shares_identifier_with(source.lun);
        }
        if (!valid) {
            ProviderReply bad;
            bad.code = vss::kEUnexpected;
            events_.error(EventId::kProviderBadCode,
                          fmt::format("provider {}: GetTargetLuns gave LUNs that page 83 cannot tell from others",
                                      provider->info().name),
                          {{"provider", provider->info().name},
                           {"method", "GetTargetLuns"},
                           {"set", set.text()},
                           {"remedy", "the provider is defective: tell its maker"}});
            co_return refuse(vss::kUnexpectedProviderError, "GetTargetLuns gave unusable LUNs");
        }
        snapshot.targets = std::move(reply->luns);
        snapshot.created = timestamp();
    }
    Answer<> saved = save(record);
    if (!saved) co_return saved;

    const bool transportable = (record.context & vss::kAttrTransportable) != 0;
    if (!transportable) {
        Answer<std::vector<Surfaced>> surfaced = co_await surface(set, record.snapshots, nullptr);
        if (!surfaced) co_return std::unexpected(surfaced.error());
        for (size_t i = 0; i < surfaced->size(); ++i) {
            const Surfaced& one = (*surfaced)[i];
            if (!one.result) co_return one.result;
            record.snapshots[i].device_object = one.device_object;
        }
    }
    for (Provider* provider : creation->participants) {
        Answer<ProviderReply> reply =
            co_await call<ProviderReply>(provider, "PreFinalCommitSnapshots", set, deadline(options_.call_limit),
                                         provider->pre_final_commit_snapshots(set));
        if (!reply) co_return std::unexpected(reply.error());
    }
    for (Provider* provider : creation->participants) {
        Answer<ProviderReply> reply =
            co_await call<ProviderReply>(provider, "PostFinalCommitSnapshots", set, deadline(options_.call_limit),
                                         provider->post_final_commit_snapshots(set));
        if (!reply) co_return std::unexpected(reply.error());
    }
    if (creation->abort_requested) co_return refuse(vss::kAsyncCancelled, "the creation was aborted");
    SetRecord finished = record;
    finished.state = transportable ? SetState::kUndelivered : SetState::kCreated;
    saved = save(finished);
    if (!saved) co_return saved;
    record = std::move(finished);
    co_return Answer<>();
}

Task<Answer<ComCode>> Coordinator::create(OperationPtr operation, SessionPtr session) {
    Creation* creation = creation_.get();
    const Guid set = creation->record.id;
    operation->on_cancel = [this, creation] { request_abort(creation); };
    if (operation->cancel_requested) creation->abort_requested = true;

    operation->step = "prepare";
    Answer<> result = co_await prepare(creation);
    if (result) result = co_await look_again(creation);
    if (result) {
        operation->percent = 30;
        operation->step = "freeze";
        std::vector<host::Volume> volumes;
        for (const Member& member : creation->members) volumes.push_back(member.volume);
        auto ready = co_await host_.prepare_freeze(set, std::move(volumes));
        if (!ready) result = refuse(ready.error());
    }
    if (result) result = co_await write_source_flags(creation);
    if (result) {
        operation->percent = 50;
        operation->step = "commit";
        result = co_await hold_and_commit(creation);
    }
    if (result) {
        co_await host_.end_freeze(set);
        const std::vector<Intent> intents = std::exchange(creation->flag_intents, {});
        co_await restore_source_flags(intents);
    }
    if (result && creation->abort_requested) result = refuse(vss::kAsyncCancelled, "the creation was aborted");
    if (result) {
        operation->percent = 70;
        operation->step = "finish";
        result = co_await finish(creation);
    }
    operation->on_cancel = nullptr;

    if (!result) {
        session->phase_ = Session::Phase::kFailed;
        Failure failure = result.error();
        std::optional<bool> cleaned = co_await with_deadline<bool>(
            environment_.executor, background_, clean_up(creation, failure), deadline(options_.cleanup_limit));
        if (failure.code == vss::kAsyncCancelled) co_return vss::kAsyncCancelled;
        if (!cleaned || !*cleaned) failure.message += "; what is left of the set is taken back later";
        co_return std::unexpected(std::move(failure));
    }
    const SetRecord& record = creation->record;
    if (record.snapshots.empty()) {
        // Legal, and nothing that anybody could find or delete later.
        StateChange change;
        change.erase_sets.push_back(set);
        (void)save(std::move(change));
    } else {
        sets_[set] = record;
    }
    session->document_.set = DocumentSet{record.id, record.context, record.snapshots_created, record.snapshots};
    for (SnapshotRecord& snapshot : session->document_.set->snapshots) {
        snapshot.device_object.clear();
        snapshot.service_machine.clear();
    }
    if (record.state == SetState::kUndelivered) session->undelivered_ = set;
    if (record.state == SetState::kCreated && (record.context & vss::kAttrNoAutoRelease) == 0) {
        session->auto_release_.push_back(set);
    }
    session->phase_ = Session::Phase::kSnapshotted;
    end_creation();
    co_return vss::kAsyncFinished;
}

Task<bool> Coordinator::clean_up(Creation* creation, Failure failure) {
    const Guid set = creation->record.id;
    co_await host_.end_freeze(set);
    const std::vector<Intent> intents = std::exchange(creation->flag_intents, {});
    co_await restore_source_flags(intents);
    co_await creation->aborts.join();
    if (creation->abort_lost) creation->aborted.clear();
    const bool clean =
        co_await undo_set(creation->record, creation->participants, creation->aborted, creation->providers_told);
    events_.error(EventId::kSetAborted, "shadow copy set " + set.braced() + " was not created: " + failure.message,
                  {{"set", set.text()},
                   {"code", vss::name(failure.code)},
                   {"remedy", clean ? "see the entry before this one; nothing of the set is left"
                                    : "see the entries before this one; what is left is taken back later"}});
    end_creation();
    co_return clean;
}

Task<bool> Coordinator::undo_set(SetRecord record, std::vector<Provider*> participants,
                                 std::set<Provider*> already_told, bool tell) {
    bool clean = true;
    for (SnapshotRecord& snapshot : record.snapshots) {
        if (snapshot.targets.empty()) continue;
        auto unmounted = co_await host_.unmount_shadow(snapshot.id);
        clean = clean && unmounted;
        for (const LunInformation& target : snapshot.targets) {
            auto detached = co_await host_.detach(lun_identity(target));
            clean = clean && detached;
        }
    }
    if (tell) {
        for (Provider* provider : participants) {
            if (already_told.contains(provider)) continue;
            const bool done = co_await send_abort(provider, record.id);
            // Before the commit there is no LUN that could be left.
            clean = clean && (done || !record.holds_point);
        }
        for (const SnapshotRecord& snapshot : record.snapshots) {
            // After a restart with another configuration: nobody could be told, or asked.
            if (providers_.find(snapshot.provider) == nullptr) clean = clean && !record.holds_point;
        }
    }
    // A provider that considers the set created ignores AbortSnapshots; its LUNs are given back one by one.
    std::vector<std::string> done;
    for (const SnapshotRecord& snapshot : record.snapshots) {
        for (const LunInformation& target : snapshot.targets) {
            if (std::ranges::find(done, target.key()) != done.end()) continue;
            done.push_back(target.key());
            Answer<> released = co_await release_lun(record.id, snapshot.provider, target, true);
            clean = clean && released;
        }
    }
    if (!clean) {
        // The record stays in state "creating".
        events_.error(EventId::kCleanupFailed,
                      "not all of shadow copy set " + record.id.braced() + " could be taken back",
                      {{"set", record.id.text()}, {"remedy", "it is tried again; see that the array can be reached"}});
        undo_left_[record.id] = record;
        retry_later();
        co_return false;
    }
    undo_left_.erase(record.id);
    StateChange change;
    change.erase_sets.push_back(record.id);
    co_return save(std::move(change)).has_value();
}

}  // namespace umbra::coordinator

// LUN resynchronisation: AddSnapshotToRecoverySet and RecoverSet, with a journal that a kill does not lose.
#include <fmt/format.h>

#include <algorithm>
#include <utility>

#include "coordinator/coordinator.h"
#include "coordinator/session.h"

namespace umbra::coordinator {

using base::Guid;
using env::Task;

namespace {

/// Between two attempts to take up a resynchronisation of which nothing certain is known. The first comes soon.
constexpr env::Duration kLongestPause = std::chrono::minutes(5);

/// The provider's answer leaves open whether anything runs in the array.
bool in_doubt(const Failure& failure) {
    return failure.code == vss::kUnexpectedProviderError;
}

void add_name(std::string* list, const std::string& name) {
    *list += (list->empty() ? "" : ", ") + name;
}

}  // namespace

Task<Answer<Coordinator::RecoveryEntry>> Coordinator::add_to_recovery_set(Document document, Guid id,
                                                                          std::string destination, bool original) {
    const SnapshotRecord* found = document.set ? document.set->find(id) : nullptr;
    if (found == nullptr) co_return refuse(vss::kSnapshotNotInSet, "the document has no shadow copy " + id.braced());
    if (resync_running_) co_return refuse(vss::kResyncInProgress, "a resynchronisation is running on this host");
    RecoveryEntry entry;
    entry.snapshot = *found;
    const SnapshotRecord& snapshot = entry.snapshot;

    Provider* provider = providers_.find(snapshot.provider);
    if (provider == nullptr) {
        co_return refuse(vss::kObjectNotFound,
                         "no provider " + snapshot.provider.braced() + " owns the shadow copy here");
    }
    Answer<bool> ex = co_await has_ex(provider);
    if (!ex) co_return std::unexpected(ex.error());
    if (!*ex) co_return refuse(vss::kLegacyProvider, "the provider has no IVssHardwareSnapshotProviderEx");
    // The array's own word, not the document's: are these LUNs its?
    std::vector<std::string> no_devices(snapshot.targets.size());
    Answer<SupportReply> owned =
        co_await call<SupportReply>(provider, "AreLunsSupported", {}, deadline(options_.call_limit),
                                    provider->are_luns_supported(snapshot.attributes & ~vss::kAttrNotSurfaced &
                                                                     ~vss::kAttrHardwareAssisted & ~vss::kAttrImported,
                                                                 no_devices, snapshot.targets));
    if (!owned) co_return std::unexpected(owned.error());
    if (!owned->supported) co_return refuse(vss::kObjectNotFound, "the provider does not know the shadow copy's LUNs");

    if (original) {
        auto volumes = co_await host_.list_volumes();
        if (!volumes) co_return refuse(volumes.error());
        const auto volume = std::ranges::find_if(
            *volumes, [&](const host::Volume& one) { return one.name == snapshot.original_volume; });
        if (volume == volumes->end()) {
            co_return refuse(vss::kObjectNotFound,
                             "the original volume " + snapshot.original_volume + " is not on this host");
        }
        entry.destination = *volume;
    } else {
        auto volume = co_await host_.resolve(destination);
        if (!volume) co_return refuse(volume.error());
        entry.destination = std::move(*volume);
    }
    const host::Volume& volume = entry.destination;
    if (volume.layered || snapshot.layered) {
        co_return refuse(vss::kVolumeNotSupported, volume.device + ": a dynamic disk cannot be resynchronised");
    }
    if (volume.luns.empty())
        co_return refuse(vss::kVolumeNotSupported, volume.device + " is not on a LUN with page 83");
    std::vector<LunInformation> luns;
    for (const host::LunIdentity& lun : volume.luns) luns.push_back(lun_information(lun));
    for (const LunInformation& lun : luns) {
        if (!lun.has_unique_identifier()) {
            co_return refuse(vss::kVolumeNotSupported, volume.device + " has no unique page 83 identifier");
        }
        for (const LunInformation& source : snapshot.targets) {
            if (lun.shares_identifier_with(source)) {
                co_return refuse(vss::kVolumeNotSupported, volume.device + " is the shadow copy itself");
            }
        }
    }
    if (luns.size() != snapshot.targets.size()) {
        co_return refuse(vss::kVolumeNotSupported,
                         "the shadow copy and its destination lie on unequal numbers of LUNs");
    }
    Answer<SupportReply> supported = co_await call<SupportReply>(
        provider, "AreLunsSupported", {}, deadline(options_.call_limit),
        provider->are_luns_supported(0, std::vector<std::string>(luns.size(), volume.disk), luns));
    if (!supported) co_return std::unexpected(supported.error());
    if (!supported->supported) {
        co_return refuse(vss::kVolumeNotSupported, volume.device + " is not on a LUN of the shadow copy's provider");
    }
    co_return entry;
}

Task<Answer<>> Coordinator::check_unselected(std::string disk, std::vector<RecoveryEntry> entries) {
    auto volumes = co_await host_.list_volumes_on(disk);
    if (!volumes) co_return refuse(volumes.error());
    for (const host::Volume& volume : *volumes) {
        const bool selected = std::ranges::any_of(
            entries, [&](const RecoveryEntry& entry) { return entry.destination.name == volume.name; });
        if (selected) continue;
        // A partition counts whatever it holds; a whole disk counts with a signature, a holder or a mount.
        if (volume.partition == 0 && !volume.layered && volume.fs_type.empty() && !volume.has_holder &&
            !volume.mounted()) {
            continue;
        }
        events_.error(EventId::kUnselectedVolume,
                      fmt::format("{} lies on {}, which is to be overwritten, and was not added", volume.device, disk),
                      {{"volume", volume.name},
                       {"disk", disk},
                       {"remedy",
                        "add its shadow copy to the recovery set, or save it and say that volumes need not be "
                        "checked"}});
        co_return refuse(vss::kUnselectedVolume, volume.device + " would be overwritten too");
    }
    co_return Answer<>();
}

Task<Answer<Intent>> Coordinator::plan_recovery(std::vector<RecoveryEntry> entries, uint32_t flags) {
    Intent intent;
    intent.id = new_id();
    intent.kind = Intent::Kind::kRecover;
    intent.recover_flags = flags;
    intent.provider = entries.front().snapshot.provider;
    auto disks = co_await host_.list_disks();
    if (!disks) co_return refuse(disks.error());
    for (const RecoveryEntry& entry : entries) {
        if (entry.snapshot.provider != intent.provider) {
            co_return refuse(vss::kVolumeNotSupported, "a recovery set belongs to one provider");
        }
        for (size_t i = 0; i < entry.snapshot.targets.size(); ++i) {
            const std::string key = entry.destination.luns[i].key();
            const auto disk = std::ranges::find_if(*disks, [&](const host::Disk& one) { return one.lun.key() == key; });
            if (disk == disks->end()) co_return refuse(vss::kObjectNotFound, "the disk of LUN " + key + " is gone");
            Intent::Destination one;
            one.source = entry.snapshot.targets[i];
            one.target = lun_information(*disk);
            one.disk = disk->device;
            one.former = disk->signature;
            one.original = entry.snapshot.sources[i].signature;
            const auto same = std::ranges::find_if(
                intent.destinations, [&](const Intent::Destination& other) { return other.target.key() == key; });
            if (same != intent.destinations.end()) {
                if (same->source.key() != one.source.key()) {
                    co_return refuse(vss::kVolumeNotSupported,
                                     disk->device + " would be overwritten by two shadow copies");
                }
                continue;  // two volumes of one LUN: it is copied once
            }
            // Known before it is taken away, so that a kill in the middle does not lose the mounts.
            one.released.lun = disk->lun;
            one.released.path = disk->path;
            one.released.read_only = disk->read_only;
            auto volumes = co_await host_.list_volumes_on(disk->device);
            if (!volumes) co_return refuse(volumes.error());
            for (const host::Volume& volume : *volumes) {
                for (const std::string& mount : volume.mount_points) {
                    one.released.mounts.push_back(
                        {volume.partition, mount, volume.fs_type, volume.mounted_read_only ? "ro" : "rw"});
                }
            }
            intent.destinations.push_back(std::move(one));
        }
    }
    if ((flags & vss::kRecoverNoVolumeCheck) == 0) {
        for (const Intent::Destination& one : intent.destinations) {
            Answer<> checked = co_await check_unselected(one.disk, entries);
            if (!checked) co_return std::unexpected(checked.error());
        }
    }
    co_return intent;
}

Task<Answer<OperationPtr>> Coordinator::recover_set(std::vector<RecoveryEntry> entries, uint32_t flags) {
    if (resync_running_) co_return refuse(vss::kResyncInProgress, "a resynchronisation is running on this host");
    resync_running_ = true;
    Answer<Intent> planned = co_await plan_recovery(std::move(entries), flags);
    if (!planned) {
        resync_running_ = false;
        co_return std::unexpected(planned.error());
    }
    Intent intent = std::move(*planned);
    Provider* provider = providers_.find(intent.provider);
    if (provider == nullptr) {
        resync_running_ = false;
        co_return refuse(vss::kBadState, "the provider of the shadow copy is gone");
    }
    // Asked before, but its process may be another one by now, with another library.
    Answer<bool> ex = co_await has_ex(provider);
    if (!ex || !*ex) {
        resync_running_ = false;
        if (!ex) co_return std::unexpected(ex.error());
        co_return refuse(vss::kLegacyProvider, "the provider has no IVssHardwareSnapshotProviderEx");
    }
    StateChange change;
    change.put_intents.push_back(intent);
    Answer<> result = save(change);
    size_t released = 0;
    if (result) {
        const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(options_.release_patience);
        for (Intent::Destination& one : intent.destinations) {
            auto done = co_await host_.release_disk(one.disk, patience);
            if (!done) {
                events_.error(EventId::kRecoverFailed,
                              fmt::format("{} cannot be taken out of use: {}", one.disk, done.error().text()),
                              {{"disk", one.disk},
                               {"code", vss::name(vss::kProviderVeto)},
                               {"remedy", "end the programs that use it and try again"}});
                result = refuse(vss::kProviderVeto, done.error().text());
                break;
            }
            one.released = std::move(*done);
            ++released;
        }
    }
    uint64_t async = 0;
    bool asked = false;
    if (result) {
        intent.phase = Intent::Phase::kCopying;
        result = save(intent);
        asked = result.has_value();
    }
    if (asked) {
        Answer<AsyncReply> started = co_await start_resync(provider, intent);
        if (started) {
            async = started->async;
        } else {
            result = std::unexpected(started.error());
        }
    }
    if (!result && asked && in_doubt(result.error())) {
        // The array may be copying already: nothing of the destinations is used before that is known.
        events_.warning(EventId::kRecoverResumed,
                        "it is not known whether the resynchronisation was started: it is taken up again",
                        {{"provider", provider->info().name}});
        co_return start_operation(
            "resync", [this, intent](OperationPtr operation) { return resume_recovery(std::move(operation), intent); });
    }
    if (!result) {
        intent.destinations.resize(released);
        intent.phase = Intent::Phase::kReleasing;
        bool free_to_use = true;
        if (released == 0) {
            StateChange drop;
            drop.erase_intents.push_back(intent.id);
            (void)save(std::move(drop));
        } else if (asked) {
            // A kill after the mount must not lead to another ResyncLuns.
            Answer<> saved = save(intent);
            free_to_use = saved.has_value();
        }
        if (released != 0 && free_to_use) co_await give_back(intent, true);
        if (!free_to_use) stays_off(intent);
        resync_running_ = false;
        // The page gives this code no place among RecoverSet's own: it comes through the async.
        if (result.error().code != vss::kInsufficientStorage) co_return std::unexpected(result.error());
        OperationPtr failed = new_operation("resync");
        failed->result = result.error().code;
        failed->message = result.error().message;
        failed->done.set();
        co_return failed;
    }
    co_return start_operation("resync", [this, intent, async](OperationPtr operation) {
        return run_recovery(std::move(operation), intent, async);
    });
}

Task<Answer<AsyncReply>> Coordinator::start_resync(Provider* provider, Intent intent) {
    std::vector<LunInformation> sources;
    std::vector<LunInformation> targets;
    for (const Intent::Destination& one : intent.destinations) {
        sources.push_back(one.source);
        targets.push_back(one.target);
    }
    Answer<AsyncReply> started =
        co_await call<AsyncReply>(provider, "ResyncLuns", {}, deadline(options_.call_limit),
                                  provider->resync_luns(std::move(sources), std::move(targets)));
    if (started && started->async == 0) {
        co_return refuse(vss::kUnexpectedProviderError, "ResyncLuns gave no IVssAsync");
    }
    co_return started;
}

Task<Answer<ComCode>> Coordinator::wait_for_resync(OperationPtr operation, Provider* provider, uint64_t async) {
    bool cancelled = false;
    operation->step = "resync";
    for (;;) {
        if (stopping_) co_return refuse(vss::kAsyncPending, "umbra-hostd ends; its next start takes this up again");
        if (operation->cancel_requested && !cancelled) {
            cancelled = true;
            // What Cancel answers does not matter: the state that follows does.
            (void)co_await with_deadline<ProviderReply>(environment_.executor, background_,
                                                        provider->cancel_async(async), deadline(options_.call_limit));
        }
        Answer<AsyncState> state = co_await call<AsyncState>(
            provider, "ResyncLuns/QueryStatus", {}, deadline(options_.call_limit), provider->query_async(async));
        if (!state) co_return std::unexpected(state.error());
        if (state->percent >= 0) operation->percent = static_cast<uint32_t>(std::min(state->percent, 99));
        if (state->result == vss::kAsyncCancelled) co_return vss::kAsyncCancelled;
        if (state->result == vss::kUnexpected) {
            co_return refuse(vss::kUnexpectedProviderError, "the provider cannot say how the resynchronisation ended");
        }
        if (vss::failed(state->result)) {
            ProviderReply reply;
            reply.code = state->result;
            co_return std::unexpected(provider_failure(*provider, "ResyncLuns", {}, reply));
        }
        // Any other success is the end (vss.md 3.2).
        if (state->result != vss::kAsyncPending) co_return vss::kAsyncFinished;
        co_await env::sleep_for(environment_.executor, options_.poll_interval);
    }
}

Task<Answer<ComCode>> Coordinator::run_recovery(OperationPtr operation, Intent intent, uint64_t async) {
    Provider* provider = providers_.find(intent.provider);
    Answer<ComCode> copied = co_await wait_for_resync(operation, provider, async);
    co_await provider->release_async(async);
    if (stopping_ && !copied) co_return vss::kAsyncCancelled;  // of this object; the journal keeps the work
    if (!copied && in_doubt(copied.error())) {
        // The surrogate died or lost its object; the copy in the array may go on. The journal says what to do.
        events_.warning(EventId::kRecoverResumed,
                        "the provider was lost during a resynchronisation: it is taken up again",
                        {{"provider", provider->info().name}});
        co_return co_await resume_recovery(operation, intent);
    }
    if (!copied || *copied == vss::kAsyncCancelled) {
        // A provider that failed over one LUN has left it as it was; of several, some may be done.
        co_return co_await settle_failure(std::move(intent), std::move(copied), true);
    }
    co_return co_await finish_recovery(std::move(operation), std::move(intent));
}

Task<Answer<ComCode>> Coordinator::finish_recovery(OperationPtr operation, Intent intent) {
    operation->step = "identities";
    intent.phase = Intent::Phase::kIdentities;
    Answer<> saved = save(intent);
    if (!saved) {
        stays_off(intent);
        resync_running_ = false;
        co_return std::unexpected(saved.error());
    }
    Answer<> written = co_await write_identities(intent);
    co_await give_back(intent, written.has_value());
    resync_running_ = false;
    if (!written) co_return std::unexpected(written.error());
    co_return vss::kAsyncFinished;
}

void Coordinator::stays_off(const Intent& intent) {
    std::string disks;
    for (const Intent::Destination& destination : intent.destinations) add_name(&disks, destination.target.key());
    events_.error(EventId::kRecoverFailed,
                  "the destinations of a resynchronisation stay off this host: their journal cannot be written",
                  {{"luns", disks}, {"remedy", "make room for the host's state, then restart umbra-hostd"}});
}

Task<Answer<>> Coordinator::write_identities(Intent intent) {
    Answer<> result;
    for (const Intent::Destination& destination : intent.destinations) {
        Answer<> one = co_await write_identity(destination, intent.recover_flags);
        if (!one) result = one;
    }
    co_return result;
}

Task<Answer<>> Coordinator::write_identity(Intent::Destination destination, uint32_t flags) {
    auto disk = co_await host_.reacquire_disk(destination.released, false);
    if (!disk) {
        events_.error(
            EventId::kRecoverFailed, "a resynchronised disk did not come back: " + disk.error().text(),
            {{"lun", destination.target.key()}, {"remedy", "attach it by hand; its content is the shadow copy's"}});
        co_return refuse(vss::kUnexpected, destination.disk + ": " + disk.error().text());
    }
    const bool revert = (flags & vss::kRecoverRevertIdentityAll) != 0;
    host::DiskSignature wanted = revert ? destination.original : destination.former;
    auto present = co_await host_.read_signature(disk->device);
    base::Result<void> written;
    if (!present) {
        written = std::unexpected(present.error());
    } else if (present->kind == host::TableKind::kNone) {
        // Content without a table has no identity to write.
    } else if (wanted.kind == host::TableKind::kNone && !revert) {
        // A blank destination had no identity to keep: the copy keeps its own, unless another disk here has it.
        written = co_await host_.write_signature(disk->device, *present);
        if (!written && written.error().code == base::Code::kAlreadyExists) {
            host::DiskSignature fresh = *present;
            fresh.mbr_id = static_cast<uint32_t>(environment_.random.next());
            fresh.gpt_guid = new_id();
            for (auto& [number, guid] : fresh.partition_guids) guid = new_id();
            written = co_await host_.write_signature(disk->device, fresh);
        }
    } else {
        // Partitions are the shadow copy's now; only those that both have keep an identity.
        if (wanted.kind == host::TableKind::kGpt) {
            std::erase_if(wanted.partition_guids, [&](const auto& partition) {
                return std::ranges::none_of(present->partition_guids,
                                            [&](const auto& other) { return other.first == partition.first; });
            });
        }
        written = co_await host_.write_signature(disk->device, wanted);
    }
    // The flags of the shadow copy came along in the content.
    auto cleared = co_await host_.write_lun_flags(disk->device, 0);
    if (written && cleared) co_return Answer<>();
    const base::Error& error = written ? cleared.error() : written.error();
    events_.error(
        EventId::kCannotRevertDiskId,
        fmt::format("{}: the disk identity could not be set after the resynchronisation: {}", disk->device,
                    error.text()),
        {{"disk", disk->device},
         {"lun", destination.target.key()},
         {"code", vss::name(vss::kCannotRevertDiskId)},
         {"remedy", "the content is the shadow copy's and complete; set the identity with sfdisk, then mount it"}});
    co_return refuse(vss::kCannotRevertDiskId, error.text());
}

Task<void> Coordinator::give_back(Intent intent, bool mount) {
    bool complete = true;
    for (const Intent::Destination& destination : intent.destinations) {
        auto back = co_await host_.reacquire_disk(destination.released, mount);
        if (back) continue;
        complete = false;
        events_.error(
            EventId::kRecoverFailed,
            fmt::format("{} could not be taken into use again: {}", destination.disk, back.error().text()),
            {{"lun", destination.target.key()}, {"remedy", "attach and mount it by hand, or restart umbra-hostd"}});
    }
    if (!complete) co_return;  // the next start does it
    StateChange change;
    change.erase_intents.push_back(intent.id);
    (void)save(std::move(change));
}

Task<Answer<Coordinator::Content>> Coordinator::look_at(Intent::Destination destination) {
    auto disk = co_await host_.reacquire_disk(destination.released, false);
    if (!disk) co_return refuse(disk.error());
    auto signature = co_await host_.read_signature(disk->device);
    if (!signature) co_return refuse(signature.error());
    auto flags = co_await host_.read_lun_flags(disk->device);
    if (!flags) co_return refuse(flags.error());
    if (*signature != destination.former || (flags->flags & host::kFlagShadowCopy) != 0) co_return Content::kCopy;
    // Only a GPT carries the mark that would be there if the content were the shadow copy's.
    if (flags->place != host::FlagPlace::kOnDisk) co_return Content::kUnknown;
    co_return Content::kFormer;
}

Task<Answer<ComCode>> Coordinator::settle_failure(Intent intent, Answer<ComCode> copied, bool known) {
    known = known && intent.destinations.size() == 1;
    intent.phase = Intent::Phase::kFailed;
    Answer<> saved = save(intent);
    if (!saved) {
        stays_off(intent);
        resync_running_ = false;
        co_return copied;
    }
    std::string former;
    std::string copy;
    std::string unknown;
    bool complete = true;
    for (const Intent::Destination& destination : intent.destinations) {
        Answer<Content> content = co_await look_at(destination);
        bool mount = false;
        if (!content) {
            complete = false;
        } else if (*content == Content::kCopy) {
            // Without the shadow copy's flags, and no second disk with its identity.
            Answer<> written = co_await write_identity(destination, 0);
            if (!written) complete = false;
            add_name(&copy, destination.disk);
        } else if (*content == Content::kFormer || known) {
            mount = true;
            add_name(&former, destination.disk);
        } else {
            add_name(&unknown, destination.disk);
        }
        base::Result<host::Disk> back = base::fail(base::Code::kUnavailable, content ? "" : content.error().message);
        if (content) back = co_await host_.reacquire_disk(destination.released, mount);
        if (back) continue;
        complete = false;
        events_.error(
            EventId::kRecoverFailed,
            fmt::format("{} could not be taken into use again: {}", destination.disk, back.error().message),
            {{"lun", destination.target.key()}, {"remedy", "attach and mount it by hand, or restart umbra-hostd"}});
    }
    if (complete) {
        StateChange change;
        change.erase_intents.push_back(intent.id);
        (void)save(std::move(change));
    }
    resync_running_ = false;
    const bool as_before = complete && copy.empty() && unknown.empty();
    if (!copied || !as_before) {
        std::map<std::string, std::string> fields;
        fields["code"] = vss::name(copied ? *copied : copied.error().code);
        if (!former.empty()) fields["as it was"] = former;
        if (!copy.empty()) fields["shadow copy's content"] = copy;
        if (!unknown.empty()) fields["as it was or the shadow copy's"] = unknown;
        fields["remedy"] = as_before
                               ? "the destination is as it was; see the provider's entry"
                               : "only what is known to be as it was is mounted again; each of the others is wholly as "
                                 "it was or wholly the shadow copy: see the provider's entry and look before you mount "
                                 "it, or run the resynchronisation again";
        events_.error(
            EventId::kRecoverFailed,
            "the resynchronisation " + (copied ? std::string("was cancelled") : "failed: " + copied.error().message),
            std::move(fields));
    }
    co_return copied;
}

Task<Answer<>> Coordinator::take_off(Intent intent) {
    auto disks = co_await host_.list_disks();
    if (!disks) co_return refuse(disks.error());
    const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(options_.release_patience);
    for (const Intent::Destination& destination : intent.destinations) {
        const auto disk = std::ranges::find_if(
            *disks, [&](const host::Disk& one) { return one.lun.key() == destination.target.key(); });
        if (disk == disks->end()) continue;
        // After a reboot it may have been attached and mounted before this service started.
        auto released = co_await host_.release_disk(disk->device, patience);
        if (!released) co_return refuse(vss::kProviderVeto, disk->device + ": " + released.error().text());
    }
    co_return Answer<>();
}

Task<std::optional<Answer<ComCode>>> Coordinator::copy_again(OperationPtr operation, Intent intent) {
    Answer<> off = co_await take_off(intent);
    if (!off) {
        operation->message = "the destination cannot be taken out of use: " + off.error().message;
        co_return std::nullopt;
    }
    Provider* provider = providers_.find(intent.provider);
    if (provider == nullptr) {
        operation->message = "the provider is not registered any more";
        co_return std::nullopt;
    }
    Answer<AsyncReply> started = co_await start_resync(provider, intent);
    if (!started) {
        operation->message = started.error().message;
        // Any other refusal may mean that the array still copies for an earlier call.
        const ComCode code = started.error().code;
        if (code != vss::kInsufficientStorage && code != vss::kNotImplemented) co_return std::nullopt;
        co_return std::optional<Answer<ComCode>>(std::unexpected(started.error()));
    }
    operation->message.clear();
    Answer<ComCode> copied = co_await wait_for_resync(operation, provider, started->async);
    co_await provider->release_async(started->async);
    if (!copied && in_doubt(copied.error())) {
        operation->message = copied.error().message;
        co_return std::nullopt;
    }
    co_return std::optional<Answer<ComCode>>(std::move(copied));
}

Task<Answer<ComCode>> Coordinator::resume_recovery(OperationPtr operation, Intent intent) {
    if (intent.phase == Intent::Phase::kReleasing) {
        co_await give_back(intent, true);
        resync_running_ = false;
        co_return vss::kAsyncCancelled;
    }
    if (intent.phase == Intent::Phase::kFailed) {
        Answer<ComCode> before = refuse(vss::kProviderVeto, "it had ended before this service was restarted");
        co_return co_await settle_failure(std::move(intent), std::move(before), false);
    }
    if (intent.phase == Intent::Phase::kIdentities) {
        co_return co_await finish_recovery(std::move(operation), std::move(intent));
    }
    env::Duration pause = options_.poll_interval;
    bool told = false;
    for (;;) {
        std::optional<Answer<ComCode>> ended = co_await copy_again(operation, intent);
        if (stopping_ && !(ended && ended->has_value())) co_return vss::kAsyncCancelled;
        if (ended && ended->has_value() && **ended == vss::kAsyncFinished) {
            co_return co_await finish_recovery(std::move(operation), std::move(intent));
        }
        if (ended) co_return co_await settle_failure(std::move(intent), std::move(*ended), false);
        if (operation->cancel_requested) co_return give_up_recovery(operation->message, intent);
        if (!std::exchange(told, true)) {
            events_.error(EventId::kRecoverFailed,
                          "an interrupted resynchronisation cannot be taken up again yet: " + operation->message,
                          {{"remedy",
                            "its destinations stay off this host until it can; it is tried again. Cancel its task to "
                            "give it up"}});
        }
        operation->step = "waiting to take it up again";
        const env::Instant until = environment_.executor.now() + pause;
        while (environment_.executor.now() < until && !stopping_ && !operation->cancel_requested) {
            co_await env::sleep_for(environment_.executor, options_.poll_interval);
        }
        pause = std::min(pause * 2, kLongestPause);
        if (stopping_) co_return vss::kAsyncCancelled;
    }
}

Answer<ComCode> Coordinator::give_up_recovery(const std::string& why, const Intent& intent) {
    std::string luns;
    std::string mounts;
    for (const Intent::Destination& destination : intent.destinations) {
        add_name(&luns, destination.target.key());
        for (const auto& mount : destination.released.mounts) add_name(&mounts, mount.mount_point);
    }
    events_.error(EventId::kRecoverFailed, "a resynchronisation was given up, how it ended is not known: " + why,
                  {{"luns", luns},
                   {"mount points", mounts},
                   {"remedy",
                    "the destinations stay off this host. The array may still copy: wait until umbra task list shows "
                    "no resync of them, then attach them and look before you mount them"}});
    StateChange change;
    change.erase_intents.push_back(intent.id);
    (void)save(std::move(change));
    resync_running_ = false;
    return refuse(vss::kUnexpectedProviderError, "given up, how it ended is not known: " + why);
}

}  // namespace umbra::coordinator

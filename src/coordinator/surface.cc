// From a shadow LUN to a mounted, hidden, read-only copy on this host; import is that for a document from elsewhere.
#include <fmt/format.h>

#include <algorithm>

#include "coordinator/coordinator.h"
#include "coordinator/session.h"

namespace umbra::coordinator {

using base::Guid;
using env::Task;

namespace {

bool same_identity(const host::DiskSignature& a, const host::DiskSignature& b) {
    if (a.kind != b.kind) return false;
    switch (a.kind) {
        case host::TableKind::kNone:
            return false;
        case host::TableKind::kMbr:
            return a.mbr_id == b.mbr_id;
        case host::TableKind::kGpt:
            return a.gpt_guid == b.gpt_guid;
    }
    return false;
}

/// Where the volume lay on its LUN must be where this one lies, and on no other LUN.
bool same_place(const SnapshotRecord& snapshot, const host::Volume& volume) {
    if (volume.layered || volume.partition != snapshot.partition) return false;
    if (volume.luns.size() != 1 || volume.luns[0].key() != snapshot.targets[0].key()) return false;
    if (volume.extents.size() != snapshot.extents.size()) return false;
    for (size_t i = 0; i < volume.extents.size(); ++i) {
        if (volume.extents[i].lun_offset != snapshot.extents[i].lun_offset ||
            volume.extents[i].volume_offset != snapshot.extents[i].volume_offset ||
            volume.extents[i].length != snapshot.extents[i].length) {
            return false;
        }
    }
    return true;
}

}  // namespace

Task<Coordinator::Identified> Coordinator::identify(Provider* provider, std::string device, LunInformation lun) {
    Identified out;
    std::optional<SupportReply> reply = co_await with_deadline<SupportReply>(
        environment_.executor, background_, provider->fill_in_lun_info(device, lun), deadline(options_.call_limit));
    if (!reply) {
        provider->give_up("FillInLunInfo did not return in time");
        reply.emplace().lost = "FillInLunInfo did not return in time";
    }
    if (!reply->lost.empty()) {
        out.failure = provider_failure(*provider, "FillInLunInfo", {}, *reply);
    } else if (reply->supported && reply->luns.size() == 1) {
        out.lun = std::move(reply->luns.front());
    } else if (vss::failed(reply->code)) {
        out.failure = Failure{vss::kProviderVeto, fmt::format("provider {}: FillInLunInfo returned {}",
                                                              provider->info().name, vss::name(reply->code))};
    }
    co_return out;
}

Task<Answer<std::vector<Coordinator::Surfaced>>> Coordinator::surface(Guid set, std::vector<SnapshotRecord> snapshots,
                                                                      Surfacing* progress) {
    const auto cancelled = [progress] {
        return progress != nullptr && progress->operation && progress->operation->cancel_requested;
    };
    struct Wanted {
        Provider* provider;
        LunInformation lun;
    };
    std::vector<Wanted> wanted;
    std::vector<Provider*> owners;
    for (const SnapshotRecord& snapshot : snapshots) {
        Provider* provider = providers_.find(snapshot.provider);
        if (provider == nullptr) {
            co_return refuse(vss::kProviderNotRegistered,
                             "no provider " + snapshot.provider.braced() + " on this host");
        }
        if (std::ranges::find(owners, provider) == owners.end()) owners.push_back(provider);
        for (const LunInformation& target : snapshot.targets) {
            if (std::ranges::none_of(wanted, [&](const Wanted& one) { return one.lun.key() == target.key(); })) {
                wanted.push_back({provider, target});
            }
        }
    }
    for (Provider* provider : owners) {
        std::vector<LunInformation> luns;
        for (const Wanted& one : wanted) {
            if (one.provider == provider) luns.push_back(one.lun);
        }
        if (cancelled()) co_return refuse(vss::kAsyncCancelled, "the import was cancelled");
        Answer<ProviderReply> located = co_await call<ProviderReply>(
            provider, "LocateLuns", set, deadline(options_.call_limit), provider->locate_luns(std::move(luns)));
        if (!located) co_return std::unexpected(located.error());
        if (progress != nullptr) progress->presented = true;
    }

    if (cancelled()) co_return refuse(vss::kAsyncCancelled, "the import was cancelled");
    std::vector<host::WantedLun> expected;
    for (const Wanted& one : wanted) expected.push_back({lun_identity(one.lun), true});
    auto arrived =
        co_await host_.rescan(expected, std::chrono::duration_cast<std::chrono::milliseconds>(options_.arrival_limit));
    std::map<std::string, host::Disk> disks;  // by key, those that are what GetTargetLuns promised
    std::string scan_error;
    if (!arrived) {
        scan_error = arrived.error().text();
    } else {
        for (size_t i = 0; i < arrived->size() && i < wanted.size(); ++i) {
            const std::optional<host::Disk>& disk = (*arrived)[i];
            if (!disk) continue;
            const Identified found = co_await identify(wanted[i].provider, disk->device, lun_information(*disk));
            if (found.lun && found.lun->same_lun_as(wanted[i].lun)) disks[wanted[i].lun.key()] = *disk;
        }
    }
    std::vector<Surfaced> results;
    for (const SnapshotRecord& snapshot : snapshots) {
        if (cancelled()) {
            for (const SnapshotRecord& one : snapshots) (void)co_await host_.unmount_shadow(one.id);
            co_return refuse(vss::kAsyncCancelled, "the import was cancelled");
        }
        Surfaced one = co_await mount_one(snapshot, &disks);
        if (!one.result && !scan_error.empty()) one.result.error().message += "; " + scan_error;
        results.push_back(std::move(one));
    }
    co_return results;
}

Task<Coordinator::Surfaced> Coordinator::mount_one(SnapshotRecord snapshot, std::map<std::string, host::Disk>* disks) {
    Surfaced out;
    if (snapshot.layered) {
        out.result =
            refuse(vss::kDynamicDiskError, "a volume on LVM, md or LUKS cannot be assembled beside its original");
        co_return out;
    }
    for (const LunInformation& target : snapshot.targets) {
        if (!disks->contains(target.key())) {
            out.result = refuse(vss::kMissingDisk,
                                "LUN " + target.key() + " did not arrive, or is not the one that was promised");
            co_return out;
        }
    }
    if (snapshot.targets.size() != 1) {
        out.result = refuse(vss::kMissingVolume, "a plain volume on more than one LUN");
        co_return out;
    }
    const LunInformation& target = snapshot.targets.front();
    Answer<host::Disk> disk = co_await separate_signature((*disks)[target.key()], target);
    if (!disk) {
        disks->erase(target.key());
        out.result = std::unexpected(disk.error());
        co_return out;
    }
    (*disks)[target.key()] = *disk;
    auto volumes = co_await host_.list_volumes_on(disk->device);
    if (!volumes) {
        out.result = refuse(vss::kMissingVolume, volumes.error().text());
        co_return out;
    }
    const auto volume =
        std::ranges::find_if(*volumes, [&](const host::Volume& one) { return same_place(snapshot, one); });
    if (volume == volumes->end()) {
        out.result = refuse(vss::kMissingVolume, "LUN " + target.key() + " has no volume where the original had it");
        co_return out;
    }
    auto mounted = co_await host_.mount_shadow(*volume, snapshot.id);
    if (mounted) {
        out.device_object = *mounted;
    } else if (mounted.error().code == base::Code::kUnsupported) {
        out.device_object = host_.raw_shadow_path(snapshot.id);  // no file system: reachable as a device
    } else {
        out.result = refuse(vss::kMissingVolume, "mount: " + mounted.error().text());
    }
    co_return out;
}

Task<Answer<host::Disk>> Coordinator::separate_signature(host::Disk disk, LunInformation lun) {
    auto all = co_await host_.list_disks();
    if (!all) co_return disk;
    const bool collides = std::ranges::any_of(*all, [&](const host::Disk& other) {
        return other.lun.key() != lun.key() && same_identity(other.signature, disk.signature);
    });
    if (!collides) co_return disk;
    // Two disks with one identity on a host: the copy gets its own, as it does on Windows. Attached writable for that
    // moment only. Each attachment may give the disk another device name, and its former one to another disk.
    host::DiskSignature fresh = disk.signature;
    fresh.mbr_id = static_cast<uint32_t>(environment_.random.next());
    fresh.gpt_guid = new_id();
    for (auto& [number, guid] : fresh.partition_guids) guid = new_id();
    const host::LunIdentity identity = lun_identity(lun);
    const auto patience = std::chrono::duration_cast<std::chrono::milliseconds>(options_.arrival_limit);
    base::Result<void> done = co_await host_.detach(identity);
    if (done) {
        std::vector<host::WantedLun> writable(1);
        writable[0].lun = identity;
        auto again = co_await host_.rescan(writable, patience);
        if (!again || !(*again)[0]) {
            done = base::fail(base::Code::kUnavailable, "the LUN did not come back");
        } else {
            done = co_await host_.write_signature((*again)[0]->device, fresh);
            auto off = co_await host_.detach(identity);
            if (done && !off) done = off;
        }
        std::vector<host::WantedLun> read_only(1);
        read_only[0].lun = identity;
        read_only[0].read_only = true;
        auto last = co_await host_.rescan(read_only, patience);
        if (!last || !(*last)[0]) {
            co_return refuse(vss::kMissingDisk, "LUN " + lun.key() + " did not come back read-only" +
                                                    (last ? "" : ": " + last.error().text()));
        }
        disk = *(*last)[0];
    }
    if (!done) {
        events_.warning(EventId::kSignatureCollision,
                        fmt::format("the copy {} keeps the disk identity of another disk of this host: {}", disk.device,
                                    done.error().text()),
                        {{"disk", disk.device},
                         {"lun", lun.key()},
                         {"remedy", "give one of the two a new disk identity, or detach one"}});
    }
    co_return disk;
}

Task<Answer<>> Coordinator::refuse_foreign_targets(const SetRecord* record) {
    // The document comes from outside: it must not make us take a LUN that is in use here for a copy.
    auto volumes = co_await host_.list_volumes();
    if (!volumes) co_return refuse(volumes.error());
    for (const SnapshotRecord& snapshot : record->snapshots) {
        for (const LunInformation& target : snapshot.targets) {
            for (const host::Volume& volume : *volumes) {
                if (!volume.mounted() && !volume.has_holder) continue;
                for (const host::LunIdentity& lun : volume.luns) {
                    if (lun.key() == target.key()) {
                        co_return refuse(vss::kNoSnapshotsImported,
                                         "the document names " + volume.device + ", which is in use on this host");
                    }
                }
            }
        }
    }
    co_return Answer<>();
}

Answer<> Coordinator::refuse_others_shadow_copies(const SetRecord& record) const {
    const auto overlap = [&](const SetRecord& other) -> std::string {
        for (const SnapshotRecord& mine : record.snapshots) {
            for (const SnapshotRecord& theirs : other.snapshots) {
                if (mine.id == theirs.id) return "shadow copy " + mine.id.braced();
                for (const LunInformation& target : mine.targets) {
                    for (const LunInformation& taken : theirs.targets) {
                        if (target.shares_identifier_with(taken)) return "LUN " + target.key();
                    }
                }
            }
        }
        return {};
    };
    for (const auto& [id, other] : sets_) {
        if (id == record.id) continue;
        if (const std::string what = overlap(other); !what.empty()) {
            return refuse(vss::kNoSnapshotsImported,
                          "the document claims " + what + ", which belongs to shadow copy set " + id.braced());
        }
    }
    for (const auto& [id, other] : undo_left_) {
        if (id == record.id || !overlap(other).empty()) {
            return refuse(vss::kNoSnapshotsImported, "the document claims what is being taken back on this host");
        }
    }
    if (creation_ && (creation_->record.id == record.id || !overlap(creation_->record).empty())) {
        return refuse(vss::kNoSnapshotsImported, "the document claims what is being created on this host");
    }
    const auto prior = sets_.find(record.id);
    if (prior == sets_.end()) return {};
    for (const SnapshotRecord& mine : record.snapshots) {
        const auto same =
            std::ranges::find_if(prior->second.snapshots, [&](const SnapshotRecord& one) { return one.id == mine.id; });
        const auto keys = [](const SnapshotRecord& one) {
            std::vector<std::string> out;
            for (const LunInformation& target : one.targets) out.push_back(target.key());
            return out;
        };
        if (same == prior->second.snapshots.end() || same->provider != mine.provider || keys(*same) != keys(mine)) {
            return refuse(vss::kNoSnapshotsImported, "the document does not say of shadow copy " + mine.id.braced() +
                                                         " what is recorded of its set on this host");
        }
    }
    return {};
}

Task<Answer<ComCode>> Coordinator::import(OperationPtr operation, SessionPtr session) {
    // Up to the first wait nothing else runs: from there on the set is taken, and another import of it is refused.
    const DocumentSet& document = *session->document_.set;
    const Guid set = document.id;
    if ((document.context & vss::kAttrTransportable) == 0) {
        co_return refuse(vss::kNonTransportableBcd, "the shadow copies of the document are not transportable");
    }
    SetRecord record;
    record.id = set;
    record.state = SetState::kImporting;
    record.context = document.context & (vss::kContextMask | vss::kContextModifiers);
    record.snapshots_created = document.snapshots_created;
    record.snapshots = document.snapshots;
    for (SnapshotRecord& snapshot : record.snapshots) {
        snapshot.attributes = record.context | vss::kAttrHardwareAssisted | vss::kAttrNotSurfaced;
        snapshot.service_machine = options_.machine;
    }
    Answer<> ready = refuse_others_shadow_copies(record);
    if (!ready) {
        events_.error(EventId::kBadDocument, "import of " + set.braced() + ": " + ready.error().message,
                      {{"set", set.text()},
                       {"code", vss::name(ready.error().code)},
                       {"remedy",
                        "use the document that the creation saved; what an earlier import of the set left is "
                        "given back with: umbra shadow cleanup " +
                            set.text()}});
        co_return std::unexpected(ready.error());
    }
    std::optional<SetRecord> prior;
    if (const auto found = sets_.find(set); found != sets_.end()) prior = found->second;
    sets_[set] = record;
    operation->step = "locate";
    ready = co_await refuse_foreign_targets(&record);
    if (!ready) {
        events_.error(EventId::kImportFailed, "import of " + set.braced() + ": " + ready.error().message,
                      {{"set", set.text()},
                       {"code", vss::name(ready.error().code)},
                       {"remedy", "use the document that the creation saved, and take the LUN out of use here"}});
    }
    if (ready) ready = save(record);
    if (!ready) {
        sets_.erase(set);
        if (prior) sets_[set] = *prior;
        co_return std::unexpected(ready.error());
    }
    Surfacing progress{operation};
    Answer<std::vector<Surfaced>> surfaced = co_await surface(set, record.snapshots, &progress);
    if (!surfaced) {
        const ComCode code = surfaced.error().code;
        if (code == vss::kBadState) {
            events_.error(EventId::kImportRefused,
                          "shadow copy set " + set.braced() + " was imported already: " + surfaced.error().message,
                          {{"set", set.text()},
                           {"code", vss::name(vss::kBadState)},
                           {"remedy", "the provider's entry names the holder; a set is imported once"}});
        }
        const bool nothing =
            code == vss::kBadState || code == vss::kProviderNotRegistered || code == vss::kAsyncCancelled;
        if (nothing && !progress.presented) {
            // Nothing of it is here: there is nothing to list, or to clean up.
            StateChange change;
            sets_.erase(set);
            if (prior) {
                sets_[set] = *prior;
                change.put_sets.push_back(*prior);
            } else {
                change.erase_sets.push_back(set);
            }
            (void)save(std::move(change));
        } else {
            record.state = SetState::kImportFailed;
            sets_[set] = record;
            (void)save(record);
            events_.error(EventId::kImportFailed,
                          "import of " + set.braced() + " ended early: " + surfaced.error().message,
                          {{"set", set.text()},
                           {"code", vss::name(code)},
                           {"remedy",
                            "LUNs of it may be presented to this host: import it again, or give them back "
                            "with: umbra shadow cleanup " +
                                set.text()}});
        }
        if (code == vss::kAsyncCancelled) co_return vss::kAsyncCancelled;
        co_return std::unexpected(surfaced.error());
    }

    size_t imported = 0;
    std::string causes;
    ComCode last = vss::kNoSnapshotsImported;
    for (size_t i = 0; i < record.snapshots.size(); ++i) {
        const Surfaced& one = (*surfaced)[i];
        if (one.result) {
            record.snapshots[i].device_object = one.device_object;
            record.snapshots[i].attributes |= vss::kAttrImported;
            ++imported;
        } else {
            causes += record.snapshots[i].id.braced() + ": " + one.result.error().message + "; ";
            if (one.result.error().code == vss::kDynamicDiskError) last = vss::kDynamicDiskError;
        }
    }
    record.state = imported > 0 ? SetState::kImported : SetState::kImportFailed;
    ready = save(record);
    if (!ready) {
        for (const SnapshotRecord& snapshot : record.snapshots) (void)co_await host_.unmount_shadow(snapshot.id);
        record.state = SetState::kImportFailed;
        for (SnapshotRecord& snapshot : record.snapshots) snapshot.device_object.clear();
        sets_[set] = record;
        co_return std::unexpected(ready.error());
    }
    sets_[set] = record;
    if (imported > 0 && (record.context & vss::kAttrNoAutoRelease) == 0) {
        session->auto_release_.push_back(set);
    }
    if (imported == record.snapshots.size()) co_return vss::kAsyncFinished;
    events_.error(EventId::kImportFailed,
                  fmt::format("{} of {} shadow copies of {} were imported: {}", imported, record.snapshots.size(),
                              set.braced(), causes),
                  {{"set", set.text()},
                   {"remedy",
                    "check that the array presents the LUNs to this host; then import again, or give the LUNs "
                    "back with: umbra shadow cleanup " +
                        set.text()}});
    if (imported > 0) co_return vss::kSomeSnapshotsNotImported;
    co_return refuse(last, causes);
}

}  // namespace umbra::coordinator

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

/// Where the volume lay on its LUN must be where this one lies.
bool same_place(const SnapshotRecord& snapshot, const host::Volume& volume) {
    if (volume.layered || volume.partition != snapshot.partition) return false;
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

Task<Answer<std::vector<Coordinator::Surfaced>>> Coordinator::surface(Guid set, std::vector<SnapshotRecord> snapshots) {
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
        Answer<ProviderReply> located = co_await call<ProviderReply>(
            provider, "LocateLuns", set, deadline(options_.call_limit), provider->locate_luns(std::move(luns)));
        if (!located) co_return std::unexpected(located.error());
    }

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
        Surfaced one = co_await mount_one(snapshot, disks);
        if (!one.result && !scan_error.empty()) one.result.error().message += "; " + scan_error;
        results.push_back(std::move(one));
    }
    co_return results;
}

Task<Coordinator::Surfaced> Coordinator::mount_one(SnapshotRecord snapshot, std::map<std::string, host::Disk> disks) {
    Surfaced out;
    if (snapshot.layered) {
        out.result =
            refuse(vss::kDynamicDiskError, "a volume on LVM, md or LUKS cannot be assembled beside its original");
        co_return out;
    }
    for (const LunInformation& target : snapshot.targets) {
        if (!disks.contains(target.key())) {
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
    const std::string device = co_await separate_signature(disks[target.key()], target);
    auto volumes = co_await host_.list_volumes_on(device);
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

Task<std::string> Coordinator::separate_signature(host::Disk disk, LunInformation lun) {
    std::string device = disk.device;
    auto all = co_await host_.list_disks();
    if (!all) co_return device;
    const bool collides = std::ranges::any_of(*all, [&](const host::Disk& other) {
        return other.lun.key() != lun.key() && same_identity(other.signature, disk.signature);
    });
    if (!collides) co_return device;
    // Two disks with one identity on a host: the copy gets its own, as it does on Windows. Attached writable for that
    // moment only.
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
        if (done && !last) done = std::unexpected(last.error());
        // It may have come back under another name.
        if (last && (*last)[0]) device = (*last)[0]->device;
    }
    if (!done) {
        events_.warning(EventId::kSignatureCollision,
                        fmt::format("the copy {} keeps the disk identity of another disk of this host: {}", disk.device,
                                    done.error().text()),
                        {{"disk", disk.device},
                         {"lun", lun.key()},
                         {"remedy", "give one of the two a new disk identity, or detach one"}});
    }
    co_return device;
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

Task<Answer<ComCode>> Coordinator::import(OperationPtr operation, SessionPtr session) {
    const DocumentSet& document = *session->document_.set;
    const Guid set = document.id;
    if ((document.context & vss::kAttrTransportable) == 0) {
        co_return refuse(vss::kNonTransportableBcd, "the shadow copies of the document are not transportable");
    }
    std::optional<SetRecord> prior;
    if (const auto found = sets_.find(set); found != sets_.end()) prior = found->second;

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
    operation->step = "locate";
    Answer<> ready = co_await refuse_foreign_targets(&record);
    if (!ready) {
        events_.error(EventId::kImportFailed, "import of " + set.braced() + ": " + ready.error().message,
                      {{"set", set.text()},
                       {"code", vss::name(ready.error().code)},
                       {"remedy", "use the document that the creation saved, and take the LUN out of use here"}});
        co_return std::unexpected(ready.error());
    }
    sets_[set] = record;
    ready = save(record);
    if (!ready) {
        sets_.erase(set);
        if (prior) sets_[set] = *prior;
        co_return std::unexpected(ready.error());
    }
    Answer<std::vector<Surfaced>> surfaced = co_await surface(set, record.snapshots);
    if (!surfaced) {
        const bool elsewhere = surfaced.error().code == vss::kBadState;
        if (elsewhere) {
            // Another host holds it: nothing of it is ours to list, or to clean up.
            events_.error(EventId::kImportRefused,
                          "shadow copy set " + set.braced() + " was imported already: " + surfaced.error().message,
                          {{"set", set.text()},
                           {"code", vss::name(vss::kBadState)},
                           {"remedy", "the provider's entry names the holder; a set is imported once"}});
        }
        if (elsewhere || surfaced.error().code == vss::kProviderNotRegistered) {
            StateChange change;
            sets_.erase(set);
            if (prior) {
                sets_[set] = *prior;
                change.put_sets.push_back(*prior);
            } else {
                change.erase_sets.push_back(set);
            }
            (void)save(std::move(change));
            co_return std::unexpected(surfaced.error());
        }
        record.state = SetState::kImportFailed;
        sets_[set] = record;
        (void)save(record);
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

#include "provider/hardware_provider.h"

#include <algorithm>

#include "provider/attributes.h"
#include "provider/lun_information.h"
#include "provider/resync_async.h"
#include "vsserror.h"

namespace umbra::provider {

using base::Code;
using base::Error;
using base::fail;

namespace {

constexpr LONG kMaxLunsPerCall = 1024;
constexpr size_t kMaxVolumesPerSet = 64;
/// What an array takes in one call (array::kMaxSnapshotItems).
constexpr size_t kMaxLunsPerArray = 64;
constexpr Timeout kStatusTimeout{5000};
/// What a fresh shadow copy carries in the array's record until the coordinator says otherwise: read-only, hidden, no
/// drive letter, shadow copy.
constexpr uint32_t kShadowFlags = 0xF;
constexpr LONG kUnsupportedContext =
    VSS_VOLSNAP_ATTR_CLIENT_ACCESSIBLE | VSS_VOLSNAP_ATTR_PLEX | VSS_VOLSNAP_ATTR_FILE_SHARE;
constexpr LONG kKnownContext = 0x07FF00FF;
constexpr DWORD kStateChangeFlags = VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE |
                                    VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY |
                                    VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY | VSS_ONLUNSTATECHANGE_DO_MASK_LUNS;

std::string text_of(const VSS_ID& id) {
    return com::from_guid(id).text();
}

bool made_by_vss(const LunRecord& lun) {
    return lun.kind == LunKind::kShadowCopy && !lun.attribute(kAttrSet).empty();
}

/// Undoes what it was told of, last first, unless it was released.
class Undo {
public:
    ~Undo() {
        for (auto step = steps_.rbegin(); step != steps_.rend(); ++step) (*step)();
    }
    void add(std::function<void()> step) { steps_.push_back(std::move(step)); }
    void release() { steps_.clear(); }

private:
    std::vector<std::function<void()>> steps_;
};

std::string remedy_for(Code code) {
    switch (code) {
        case Code::kUnavailable:
        case Code::kTimedOut:
            return "Check that umbra-arrayd runs, and that the provider's configuration names its address.";
        case Code::kNoSpace:
            return "Free space in the array: delete snapshots or shadow copies that are no longer needed, or add "
                   "drives.";
        case Code::kBusy:
            return "Wait until the other operation or user is done (umbra task list, umbra array status), then try "
                   "again.";
        case Code::kNoDrive:
        case Code::kDeviceFailed:
        case Code::kMediaError:
            return "Look at umbra drive list and umbra events, replace what failed, and recover the LUN.";
        case Code::kPermissionDenied:
        case Code::kUnauthenticated:
            return "Allow this host's services to use the array's management.";
        case Code::kUnsupported:
        case Code::kVersion:
            return "Bring array and host to the same release.";
        case Code::kInvalidArgument:
        case Code::kNotFound:
        case Code::kAlreadyExists:
        case Code::kBadState:
        case Code::kCorrupt:
        case Code::kWriteProtected:
        case Code::kCancelled:
        case Code::kMiscompare:
        case Code::kIo:
        case Code::kInternal:
            return "See umbra events for what the array says about it.";
    }
    return "See umbra events for what the array says about it.";
}

}  // namespace

HardwareProvider::HardwareProvider(ProviderConfig config, std::vector<std::shared_ptr<ArrayClient>> arrays,
                                   EventSink events)
    : config_(std::move(config)), arrays_(std::move(arrays)), events_(std::move(events)) {}

const char* HardwareProvider::to_string(State state) {
    switch (state) {
        case State::kUnknown:
            return "unknown";
        case State::kPreparing:
            return "preparing";
        case State::kPrepared:
            return "prepared";
        case State::kPrecommitted:
            return "precommitted";
        case State::kCommitted:
            return "committed";
        case State::kCreated:
            return "created";
        case State::kAborted:
            return "aborted";
    }
    return "?";
}

HRESULT HardwareProvider::veto(EventId id, const char* method, const std::string& what, const std::string& remedy) {
    events_({Severity::kError, id, std::string(method) + ": " + what + ". " + remedy});
    return VSS_E_PROVIDER_VETO;
}

HRESULT HardwareProvider::refuse(const char* method, const Error& error, bool storage_documented) {
    EventId id = error.code == Code::kNoSpace                                        ? EventId::kLowSpace
                 : error.code == Code::kUnavailable || error.code == Code::kTimedOut ? EventId::kArrayUnreachable
                                                                                     : EventId::kArrayRefused;
    HRESULT hr = veto(id, method, error.message, remedy_for(error.code));
    return error.code == Code::kNoSpace && storage_documented ? VSS_E_INSUFFICIENT_STORAGE : hr;
}

HRESULT HardwareProvider::out_of_order(const char* method, const VSS_ID& set) {
    return veto(EventId::kWrongOrder, method,
                "called for shadow copy set " + text_of(set) + " while the provider is in state " + to_string(state_) +
                    (set_ == GUID_NULL ? std::string() : " of set " + text_of(set_)),
                "Create the shadow copy set anew; if this comes back, restart umbra-hostd.");
}

HRESULT HardwareProvider::failed(HRESULT hr) {
    if (state_ == State::kCreated) return hr;
    discard();
    clear_set();
    state_ = State::kAborted;
    return hr;
}

std::optional<HardwareProvider::Located> HardwareProvider::locate(const char* method,
                                                                  const VDS_LUN_INFORMATION& information, HRESULT* hr) {
    auto naa = naa_of(information);
    if (!naa) {
        *hr = veto(EventId::kLunUnknown, method, "a LUN carries no single NAA identifier in page 83",
                   "Only LUNs of Umbra arrays can be used with this provider.");
        return std::nullopt;
    }
    auto found = arrays_.find(*naa);
    if (!found) {
        *hr = found.error().code == Code::kNotFound
                  ? veto(EventId::kLunUnknown, method, found.error().message,
                         "Name the LUN's array in the provider's configuration, or find out who deleted the LUN.")
                  : refuse(method, found.error(), false);
        return std::nullopt;
    }
    return Located{std::move(found->array), std::move(found->lun)};
}

std::optional<HardwareProvider::Located> HardwareProvider::locate_shadow(const char* method,
                                                                         const VDS_LUN_INFORMATION& information,
                                                                         HRESULT* hr) {
    auto found = locate(method, information, hr);
    if (found && !made_by_vss(found->lun)) {
        *hr = veto(EventId::kNotAShadowCopy, method,
                   "LUN " + found->lun.name + " (naa." + found->lun.naa +
                       ") is not a shadow copy according to its array's record, whatever the backup document says",
                   "Use the document of the shadow copy set that is wanted; nothing was changed.");
        return std::nullopt;
    }
    return found;
}

bool HardwareProvider::context_supported(LONG context) {
    return (context & kUnsupportedContext) == 0 && (context & ~kKnownContext) == 0;
}

std::string HardwareProvider::not_now(const ArrayRecord& array, const LunRecord& lun) const {
    if (lun.kind == LunKind::kSnapshot) return "LUN " + lun.name + " is a snapshot inside the array";
    if (lun.health == "failed") return "LUN " + lun.name + " has failed";
    if (array.free_bytes < config_.min_free_bytes) {
        return "array " + array.name + " has " + std::to_string(array.free_bytes) + " bytes free, fewer than the " +
               std::to_string(config_.min_free_bytes) + " that a shadow copy must find";
    }
    return {};
}

Result<std::optional<std::string>> HardwareProvider::foreign_user(ArrayClient& array, const LunRecord& lun) const {
    UMBRA_ASSIGN(auto sessions, array.sessions());
    for (const SessionRecord& session : sessions) {
        if (session.initiator == config_.initiator) continue;
        if (std::find(session.luns.begin(), session.luns.end(), lun.name) != session.luns.end()) {
            return std::optional(session.initiator + (session.peer.empty() ? "" : " at " + session.peer));
        }
    }
    return std::optional<std::string>();
}

// --- Creation ------------------------------------------------------------------------------------------------------

HRESULT HardwareProvider::AreLunsSupported(LONG lLunCount, LONG lContext, VSS_PWSZ*,
                                           VDS_LUN_INFORMATION* pLunInformation, BOOL* pbIsSupported) {
    return com::guard([&]() -> HRESULT {
        if (pbIsSupported == nullptr) return E_INVALIDARG;
        *pbIsSupported = FALSE;
        if (lLunCount <= 0 || lLunCount > kMaxLunsPerCall || pLunInformation == nullptr) return E_INVALIDARG;
        std::lock_guard lock(mutex_);
        if (!context_supported(lContext)) return S_OK;
        for (LONG i = 0; i < lLunCount; ++i) {
            auto naa = naa_of(pLunInformation[i]);
            if (!naa) return S_OK;
            auto found = arrays_.find(*naa);
            if (!found) {
                if (found.error().code != Code::kNotFound) {
                    events_({Severity::kWarning, EventId::kArrayUnreachable,
                             "AreLunsSupported: no shadow copy is promised of LUN naa." + *naa + ": " +
                                 found.error().message + ". " + remedy_for(found.error().code)});
                }
                return S_OK;
            }
            auto status = found->array->status(kStatusTimeout);
            std::string reason = status ? not_now(*status, found->lun) : status.error().message;
            if (!reason.empty()) {
                events_({Severity::kWarning, status ? EventId::kLowSpace : EventId::kArrayUnreachable,
                         "AreLunsSupported: no shadow copy is promised: " + reason + ". " +
                             remedy_for(status ? Code::kNoSpace : status.error().code)});
                return S_OK;
            }
        }
        *pbIsSupported = TRUE;
        return S_OK;
    });
}

void HardwareProvider::clear_set() {
    set_ = GUID_NULL;
    context_ = 0;
    snapshots_.clear();
    sources_.clear();
    array_records_.clear();
    commit_tried_ = false;
    final_ = false;
}

bool HardwareProvider::delete_incomplete(ArrayClient& array, const std::string& set, bool also_complete) {
    auto luns = array.list_luns();
    if (!luns) return false;
    bool clean = true;
    for (const LunRecord& lun : *luns) {
        if (!made_by_vss(lun) || (lun.attribute(kAttrState) != kStateCreating && !also_complete)) continue;
        if (lun.attribute(kAttrCreator) != config_.initiator) continue;
        if (!set.empty() && lun.attribute(kAttrSet) != set) continue;
        auto deleted = array.delete_lun(lun.naa, true);
        if (!deleted && deleted.error().code != Code::kNotFound) clean = false;
    }
    return clean;
}

bool HardwareProvider::delete_all_of(ArrayClient& array, const std::string& set) {
    return array.settle().has_value() && delete_incomplete(array, set);
}

bool HardwareProvider::discard() {
    // Before the commit nothing exists in any array. After a commit that ended in doubt, the arrays' records tell.
    if (!commit_tried_) return true;
    std::string set = text_of(set_);
    bool clean = true;
    for (const auto& array : arrays_.arrays()) {
        bool concerned =
            std::any_of(sources_.begin(), sources_.end(), [&](const Source& source) { return source.array == array; });
        if (concerned && !delete_incomplete(*array, set, state_ == State::kCreated)) clean = false;
    }
    if (!clean) {
        left_behind_.insert(set);
        events_({Severity::kWarning, EventId::kLeftBehind,
                 "Shadow copies of the abandoned set " + set +
                     " could not be deleted. It is tried again before the next shadow copy and when the provider is "
                     "loaded; umbra lun list shows them until then."});
    }
    return clean;
}

void HardwareProvider::retry_left_behind() {
    for (auto set = left_behind_.begin(); set != left_behind_.end();) {
        bool clean = true;
        for (const auto& array : arrays_.arrays()) clean = delete_all_of(*array, *set) && clean;
        set = clean ? left_behind_.erase(set) : std::next(set);
    }
}

HRESULT HardwareProvider::BeginPrepareSnapshot(VSS_ID SnapshotSetId, VSS_ID SnapshotId, LONG lContext, LONG lLunCount,
                                               VSS_PWSZ*, VDS_LUN_INFORMATION* rgLunInformation) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "BeginPrepareSnapshot";
        bool adding = state_ == State::kPreparing && SnapshotSetId == set_;
        if (!adding) {
            // Nobody tells a provider of a set that was given up before DoSnapshotSet: the next one's beginning does.
            if (state_ != State::kCreated) discard();
            clear_set();
            state_ = State::kAborted;
        }
        if (SnapshotSetId == GUID_NULL || SnapshotId == GUID_NULL || lLunCount <= 0 || lLunCount > kMaxLunsPerCall ||
            rgLunInformation == nullptr) {
            return failed(E_INVALIDARG);
        }
        retry_left_behind();
        if (!context_supported(lContext)) return failed(VSS_E_UNSUPPORTED_CONTEXT);
        if (adding && lContext != context_) return failed(E_INVALIDARG);

        std::vector<Source> fresh;
        std::string snapshot = text_of(SnapshotId);
        for (LONG i = 0; i < lLunCount; ++i) {
            auto naa = naa_of(rgLunInformation[i]);
            if (!naa) return failed(VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER);
            auto found = arrays_.find(*naa);
            if (!found && found.error().code == Code::kNotFound) return failed(VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER);
            if (!found) return failed(refuse(kMethod, found.error(), false));
            auto status = found->array->status(kStatusTimeout);
            if (!status) return failed(refuse(kMethod, status.error(), false));
            std::string reason = not_now(*status, found->lun);
            if (!reason.empty()) {
                return failed(veto(EventId::kLowSpace, kMethod, reason, remedy_for(Code::kNoSpace)));
            }
            fresh.push_back({found->array, found->lun.naa, found->lun.name, {snapshot}, std::nullopt});
        }
        if (snapshots_.contains(snapshot)) return failed(E_INVALIDARG);
        if (snapshots_.size() >= kMaxVolumesPerSet) return failed(VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED);

        std::map<const ArrayClient*, std::set<std::string>> luns;
        for (const Source& source : sources_) luns[source.array.get()].insert(source.naa);
        for (const Source& source : fresh) {
            auto& of_array = luns[source.array.get()];
            of_array.insert(source.naa);
            if (of_array.size() > kMaxLunsPerArray) return failed(VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED);
        }

        snapshots_.insert(snapshot);
        for (Source& source : fresh) {
            auto known = std::find_if(sources_.begin(), sources_.end(),
                                      [&](const Source& other) { return other.naa == source.naa; });
            if (known == sources_.end()) {
                sources_.push_back(std::move(source));
            } else if (known->snapshots.back() != snapshot) {
                known->snapshots.push_back(snapshot);
            }
        }
        set_ = SnapshotSetId;
        context_ = lContext;
        state_ = State::kPreparing;
        return S_OK;
    });
}

HRESULT HardwareProvider::EndPrepareSnapshots(VSS_ID SnapshotSetId) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "EndPrepareSnapshots";
        if (state_ != State::kPreparing || SnapshotSetId != set_) return failed(out_of_order(kMethod, SnapshotSetId));
        // A snapshot needs no preparation; but it is the last moment to refuse before anything is frozen.
        for (const Source& source : sources_) {
            auto lun = source.array->get_lun_by_naa(source.naa);
            if (!lun) return failed(refuse(kMethod, lun.error(), true));
            auto status = source.array->status(kStatusTimeout);
            if (!status) return failed(refuse(kMethod, status.error(), true));
            if (status->free_bytes < config_.min_free_bytes) {
                return failed(refuse(kMethod, {Code::kNoSpace, not_now(*status, *lun)}, true));
            }
            std::string reason = not_now(*status, *lun);
            if (!reason.empty()) {
                return failed(veto(EventId::kLunFailed, kMethod, reason, remedy_for(Code::kDeviceFailed)));
            }
        }
        state_ = State::kPrepared;
        return S_OK;
    });
}

HRESULT HardwareProvider::PreCommitSnapshots(VSS_ID SnapshotSetId) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "PreCommitSnapshots";
        if (state_ != State::kPrepared || SnapshotSetId != set_) return failed(out_of_order(kMethod, SnapshotSetId));
        // Connections stand and answer before volumes are frozen.
        for (const Source& source : sources_) {
            if (array_records_.contains(source.array.get())) continue;
            auto status = source.array->status(config_.commit_timeout);
            if (!status) return failed(refuse(kMethod, status.error(), false));
            array_records_.emplace(source.array.get(), std::move(*status));
        }
        state_ = State::kPrecommitted;
        return S_OK;
    });
}

std::vector<ShadowRequest> HardwareProvider::shadow_requests(const ArrayClient* array) const {
    std::vector<ShadowRequest> requests;
    std::string set = text_of(set_);
    for (const Source& source : sources_) {
        if (source.array.get() != array) continue;
        ShadowRequest request;
        request.source_naa = source.naa;
        request.name = shadow_lun_name(source.name, set, requests.size());
        request.flags = kShadowFlags;
        request.attributes = {
            {kAttrSet, set},
            {kAttrState, kStateCreating},
            {kAttrContext, std::to_string(static_cast<uint32_t>(context_))},
            {kAttrTransportable, (context_ & VSS_VOLSNAP_ATTR_TRANSPORTABLE) != 0 ? "yes" : "no"},
            {kAttrCreator, config_.initiator},
            {kAttrCreatorMachine, config_.machine},
            {kAttrSource, source.naa},
        };
        add_snapshot_attributes(source.snapshots, request.attributes);
        requests.push_back(std::move(request));
    }
    return requests;
}

HRESULT HardwareProvider::CommitSnapshots(VSS_ID SnapshotSetId) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "CommitSnapshots";
        if (state_ != State::kPrecommitted || SnapshotSetId != set_) {
            return failed(out_of_order(kMethod, SnapshotSetId));
        }
        // One call per array; the coordinator holds all writes meanwhile, so several arrays see the same instant too.
        commit_tried_ = true;
        auto deadline = std::chrono::steady_clock::now() + config_.commit_timeout;
        for (const auto& [array, record] : array_records_) {
            auto owner = std::find_if(sources_.begin(), sources_.end(),
                                      [&](const Source& source) { return source.array.get() == array; });
            auto requests = shadow_requests(array);
            auto left = std::chrono::duration_cast<Timeout>(deadline - std::chrono::steady_clock::now());
            if (left < Timeout(1)) {
                return failed(refuse(kMethod, {Code::kTimedOut, "the commit window is used up"}, false));
            }
            auto copies = owner->array->create_shadow_copies(requests, left);
            if (!copies) {
                // It may still happen. Nobody waits for that inside the commit: AbortSnapshots and the next set do.
                if (copies.error().code == Code::kTimedOut || copies.error().code == Code::kUnavailable) {
                    left_behind_.insert(text_of(set_));
                }
                return failed(refuse(kMethod, copies.error(), false));
            }
            if (copies->size() != requests.size()) {
                return failed(
                    refuse(kMethod, {Code::kInternal, "the array answered for other LUNs than asked"}, false));
            }
            size_t next = 0;
            for (Source& source : sources_) {
                if (source.array.get() == array) source.copy = std::move((*copies)[next++]);
            }
        }
        state_ = State::kCommitted;
        return S_OK;
    });
}

HRESULT HardwareProvider::PostCommitSnapshots(VSS_ID SnapshotSetId, LONG lSnapshotsCount) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "PostCommitSnapshots";
        if (state_ != State::kCommitted || SnapshotSetId != set_) return failed(out_of_order(kMethod, SnapshotSetId));
        // The set may hold shadow copies of other providers too.
        if (lSnapshotsCount < 0 || static_cast<size_t>(lSnapshotsCount) < snapshots_.size())
            return failed(E_INVALIDARG);
        state_ = State::kCreated;
        return S_OK;
    });
}

HRESULT HardwareProvider::PreFinalCommitSnapshots(VSS_ID SnapshotSetId) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        if (state_ != State::kCreated || SnapshotSetId != set_) {
            return failed(out_of_order("PreFinalCommitSnapshots", SnapshotSetId));
        }
        return S_OK;
    });
}

HRESULT HardwareProvider::PostFinalCommitSnapshots(VSS_ID SnapshotSetId) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "PostFinalCommitSnapshots";
        if (state_ != State::kCreated || SnapshotSetId != set_) return failed(out_of_order(kMethod, SnapshotSetId));
        // From here on no crash of this host takes the shadow copies away.
        LunUpdate update;
        update.set_attributes[kAttrState] = kStateCreated;
        for (const Source& source : sources_) {
            auto updated = source.array->update_lun(source.copy->naa, update);
            if (!updated) return refuse(kMethod, updated.error(), false);
        }
        final_ = true;
        return S_OK;
    });
}

HRESULT HardwareProvider::AbortSnapshots(VSS_ID SnapshotSetId) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "AbortSnapshots";
        if (SnapshotSetId == GUID_NULL) return failed(E_INVALIDARG);
        bool in_flight = state_ == State::kPreparing || state_ == State::kPrepared || state_ == State::kPrecommitted ||
                         state_ == State::kCommitted;
        if (in_flight && SnapshotSetId != set_) return failed(out_of_order(kMethod, SnapshotSetId));
        bool clean = true;
        if (in_flight || (state_ == State::kCreated && SnapshotSetId == set_ && !final_)) {
            clean = discard();
            clear_set();
            state_ = State::kAborted;
        } else {
            // A set that an earlier life of this provider or of its coordinator began, or one that is complete:
            // complete ones say so in the array's record and stay.
            for (const auto& array : arrays_.arrays()) {
                clean = delete_all_of(*array, text_of(SnapshotSetId)) && clean;
            }
            if (clean) {
                left_behind_.erase(text_of(SnapshotSetId));
            } else {
                left_behind_.insert(text_of(SnapshotSetId));
            }
            if (state_ != State::kCreated) state_ = State::kAborted;
        }
        if (!clean) {
            return veto(EventId::kLeftBehind, kMethod,
                        "shadow copies of set " + text_of(SnapshotSetId) + " could not be deleted",
                        "It is tried again before the next shadow copy and when the provider is loaded. " +
                            remedy_for(Code::kUnavailable));
        }
        return S_OK;
    });
}

HRESULT HardwareProvider::GetTargetLuns(LONG lLunCount, VSS_PWSZ*, VDS_LUN_INFORMATION* rgSourceLuns,
                                        VDS_LUN_INFORMATION* rgDestinationLuns) {
    return com::guard([&]() -> HRESULT {
        if (lLunCount <= 0 || lLunCount > kMaxLunsPerCall || rgSourceLuns == nullptr || rgDestinationLuns == nullptr) {
            return E_INVALIDARG;
        }
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "GetTargetLuns";
        if (state_ != State::kCreated) return out_of_order(kMethod, set_);
        std::vector<VDS_LUN_INFORMATION> filled(static_cast<size_t>(lLunCount));
        Undo undo;
        undo.add([&] {
            for (auto& information : filled) free_lun_information(information);
        });
        for (LONG i = 0; i < lLunCount; ++i) {
            auto naa = naa_of(rgSourceLuns[i]);
            auto source = std::find_if(sources_.begin(), sources_.end(),
                                       [&](const Source& other) { return naa && other.naa == *naa; });
            if (source == sources_.end()) {
                return veto(EventId::kLunUnknown, kMethod,
                            naa ? "LUN naa." + *naa + " is not part of set " + text_of(set_)
                                : "a source LUN carries no single NAA identifier",
                            "Create the shadow copy set anew.");
            }
            auto done = fill_lun_information(*source->copy, array_records_.at(source->array.get()),
                                             filled[static_cast<size_t>(i)]);
            if (!done) return refuse(kMethod, done.error(), false);
        }
        std::copy(filled.begin(), filled.end(), rgDestinationLuns);
        undo.release();
        return S_OK;
    });
}

// --- Shadow copies that exist --------------------------------------------------------------------------------------

HRESULT HardwareProvider::FillInLunInfo(VSS_PWSZ, VDS_LUN_INFORMATION* pLunInfo, BOOL* pbIsSupported) {
    return com::guard([&]() -> HRESULT {
        if (pbIsSupported == nullptr) return E_INVALIDARG;
        *pbIsSupported = FALSE;
        if (pLunInfo == nullptr) return E_INVALIDARG;
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "FillInLunInfo";
        auto naa = naa_of(*pLunInfo);
        if (!naa) return S_OK;
        auto found = arrays_.find(*naa);
        if (!found && found.error().code == Code::kNotFound) return S_OK;
        if (!found) return refuse(kMethod, found.error(), false);
        auto status = found->array->status(kStatusTimeout);
        if (!status) return refuse(kMethod, status.error(), false);
        auto filled = fill_lun_information(found->lun, *status, *pLunInfo);
        if (!filled) return refuse(kMethod, filled.error(), false);
        *pbIsSupported = TRUE;
        return S_OK;
    });
}

HRESULT HardwareProvider::LocateLuns(LONG lLunCount, VDS_LUN_INFORMATION* rgSourceLuns) {
    return com::guard([&]() -> HRESULT {
        if (lLunCount <= 0 || lLunCount > kMaxLunsPerCall || rgSourceLuns == nullptr) return E_INVALIDARG;
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "LocateLuns";
        auto held = [&](const LunRecord& lun) {
            std::string holder = lun.attribute(kAttrImporter);
            std::string machine = lun.attribute(kAttrImporterMachine);
            veto(EventId::kHeldElsewhere, kMethod,
                 "shadow copy LUN " + lun.name + " of set " + lun.attribute(kAttrSet) + " was imported by " + holder +
                     (machine.empty() ? "" : " (" + machine + ")") + "; a set is imported once",
                 "Use it there, or delete the shadow copies there.");
            return VSS_E_BAD_STATE;
        };

        std::map<std::string, Located> luns;
        HRESULT hr = S_OK;
        for (LONG i = 0; i < lLunCount; ++i) {
            auto found = locate_shadow(kMethod, rgSourceLuns[i], &hr);
            if (!found) return hr;
            const LunRecord& lun = found->lun;
            bool ours = lun.attribute(kAttrCreator) == config_.initiator;
            if (!ours && (lun.attribute(kAttrState) != kStateCreated || lun.attribute(kAttrTransportable) != "yes")) {
                veto(EventId::kHeldElsewhere, kMethod,
                     "shadow copy LUN " + lun.name + " was made by " + lun.attribute(kAttrCreator) + " (" +
                         lun.attribute(kAttrCreatorMachine) + ") and is not transportable or not complete",
                     "Import it there, or create the shadow copy with the transportable option.");
                return VSS_E_BAD_STATE;
            }
            std::string importer = lun.attribute(kAttrImporter);
            if (!importer.empty() && importer != config_.initiator) return held(lun);
            luns.emplace(lun.naa, std::move(*found));
        }

        // All or none: what this call took is given back when a later step fails.
        Undo undo;
        for (const auto& entry : luns) {
            const std::string& naa = entry.first;
            const Located& located = entry.second;
            ArrayClient& array = *located.array;
            if (located.lun.attribute(kAttrImporter).empty()) {
                LunUpdate claim;
                claim.set_attributes = {{kAttrImporter, config_.initiator}, {kAttrImporterMachine, config_.machine}};
                claim.expect_attributes = {{kAttrImporter, ""}};
                claim.write_protect = false;  // signature and flags are rewritten by the coordinator
                auto claimed = array.update_lun(naa, claim);
                if (!claimed) {
                    auto now = array.get_lun_by_naa(naa);
                    std::string holder = now ? now->attribute(kAttrImporter) : std::string();
                    if (!holder.empty() && holder != config_.initiator) return held(*now);
                    if (holder != config_.initiator) return refuse(kMethod, claimed.error(), false);
                }
                undo.add([this, client = located.array, lun = naa] {
                    LunUpdate release;
                    release.remove_attributes = {kAttrImporter, kAttrImporterMachine};
                    release.expect_attributes = {{kAttrImporter, config_.initiator}};
                    if (!client->update_lun(lun, release)) {
                        events_({Severity::kWarning, EventId::kLeftBehind,
                                 "LocateLuns: LUN naa." + lun +
                                     " stays recorded as imported by this host; import it here again, or delete it."});
                    }
                });
            }
            bool presented = std::any_of(located.lun.masks.begin(), located.lun.masks.end(),
                                         [&](const LunMask& mask) { return mask.initiator == config_.initiator; });
            if (!presented) {
                auto added = array.add_mask(naa, config_.initiator);
                if (!added) return refuse(kMethod, added.error(), false);
                undo.add([this, client = located.array, lun = naa] {
                    (void)client->remove_mask(lun, config_.initiator, "", true);
                });
            }
        }
        undo.release();
        return S_OK;
    });
}

HRESULT HardwareProvider::OnLunEmpty(VSS_PWSZ, VDS_LUN_INFORMATION* pInformation) {
    return com::guard([&]() -> HRESULT {
        if (pInformation == nullptr) return E_INVALIDARG;
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "OnLunEmpty";
        auto naa = naa_of(*pInformation);
        if (naa) {
            auto known = arrays_.find(*naa);
            // Whoever deleted it before: there is nothing left to do.
            if (!known && known.error().code == Code::kNotFound) return S_OK;
        }
        HRESULT hr = S_OK;
        auto found = locate_shadow(kMethod, *pInformation, &hr);
        if (!found) return hr;
        const LunRecord& lun = found->lun;
        std::string holder = lun.attribute(kAttrImporter);
        if (holder.empty()) holder = lun.attribute(kAttrCreator);
        if (holder != config_.initiator) {
            return veto(EventId::kHeldElsewhere, kMethod, "shadow copy LUN " + lun.name + " belongs to " + holder,
                        "Delete the shadow copy there.");
        }
        auto foreign = foreign_user(*found->array, lun);
        if (!foreign) return refuse(kMethod, foreign.error(), false);
        if (*foreign) {
            return veto(EventId::kHeldElsewhere, kMethod,
                        "shadow copy LUN " + lun.name + " is in use by initiator " + **foreign,
                        "Log that initiator out of the LUN's target, then delete the shadow copy again.");
        }
        // This host's own sessions may still stand: its device goes after the LUN.
        auto deleted = found->array->delete_lun(lun.naa, true);
        if (!deleted && deleted.error().code != Code::kNotFound) return refuse(kMethod, deleted.error(), false);
        return S_OK;
    });
}

HRESULT HardwareProvider::GetProviderCapabilities(ULONGLONG* pllOriginalCapabilityMask) {
    if (pllOriginalCapabilityMask != nullptr) *pllOriginalCapabilityMask = 0;
    return E_NOTIMPL;
}

HRESULT HardwareProvider::OnReuseLuns(VDS_LUN_INFORMATION*, VDS_LUN_INFORMATION*, DWORD) {
    return E_NOTIMPL;
}

HRESULT HardwareProvider::OnLunStateChange(VDS_LUN_INFORMATION* pSnapshotLuns, VDS_LUN_INFORMATION*, DWORD dwCount,
                                           DWORD dwFlags) {
    return com::guard([&]() -> HRESULT {
        constexpr const char* kMethod = "OnLunStateChange";
        bool before = (dwFlags & VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY) != 0;
        bool after = (dwFlags & VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY) != 0;
        bool read_write = (dwFlags & VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE) != 0;
        bool mask = (dwFlags & VSS_ONLUNSTATECHANGE_DO_MASK_LUNS) != 0;
        if (pSnapshotLuns == nullptr || dwCount == 0 || dwCount > static_cast<DWORD>(kMaxLunsPerCall) ||
            (dwFlags & ~kStateChangeFlags) != 0 || (before && after) || (after && read_write)) {
            return E_INVALIDARG;
        }
        std::lock_guard lock(mutex_);
        std::map<std::string, Located> luns;
        HRESULT hr = S_OK;
        for (DWORD i = 0; i < dwCount; ++i) {
            auto any = locate(kMethod, pSnapshotLuns[i], &hr);
            if (!any) return hr;
            // Called once a shadow copy, and again by a coordinator that was killed in between: a LUN that carries two
            // of them comes twice.
            bool broken_off = any->lun.kind == LunKind::kLun && !any->lun.attribute(kAttrBrokenFrom).empty() &&
                              any->lun.attribute(kAttrBrokenBy) == config_.initiator;
            if (broken_off && read_write && !mask) continue;
            auto found = locate_shadow(kMethod, pSnapshotLuns[i], &hr);
            if (!found) return hr;
            bool presented = std::any_of(found->lun.masks.begin(), found->lun.masks.end(),
                                         [&](const LunMask& entry) { return entry.initiator == config_.initiator; });
            std::string holder = found->lun.attribute(kAttrImporter);
            if (mask && !before && !after && !read_write && holder.empty() && !presented) continue;
            if (holder.empty()) holder = found->lun.attribute(kAttrCreator);
            if (holder != config_.initiator) {
                return veto(EventId::kHeldElsewhere, kMethod,
                            "shadow copy LUN " + found->lun.name + " belongs to " + holder, "Change it there.");
            }
            luns.emplace(found->lun.naa, std::move(*found));
        }
        for (const auto& [naa, located] : luns) {
            LunUpdate update;
            if (before || read_write) update.write_protect = false;
            if (after) update.write_protect = true;
            if (read_write) {
                // For good: an ordinary LUN from now on, which nothing of VSS deletes any more.
                update.break_shadow_copy = true;
                update.flags = 0;
                for (const auto& [key, value] : located.lun.attributes) {
                    if (key.starts_with(kAttrPrefix)) update.remove_attributes.push_back(key);
                }
                update.set_attributes = {{kAttrBrokenFrom, located.lun.attribute(kAttrSet)},
                                         {kAttrBrokenBy, config_.initiator}};
            } else if (mask) {
                // Presented to nobody, it can be imported again.
                update.remove_attributes = {kAttrImporter, kAttrImporterMachine};
            }
            if (before || after || read_write || mask) {
                auto updated = located.array->update_lun(naa, update);
                if (!updated) return refuse(kMethod, updated.error(), false);
            }
            if (!mask) continue;
            for (const LunMask& entry : located.lun.masks) {
                if (entry.initiator != config_.initiator) continue;
                auto removed = located.array->remove_mask(naa, entry.initiator, entry.target_iqn, true);
                if (!removed && removed.error().code != Code::kNotFound) {
                    return refuse(kMethod, removed.error(), false);
                }
            }
        }
        return S_OK;
    });
}

Result<TaskRecord> HardwareProvider::resync_or_join(ArrayClient& array, const std::string& target,
                                                    const std::string& source) {
    // The destination's only sessions are this host's own: the coordinator knows what it does to them.
    auto started = array.resync(target, source, true);
    if (started || started.error().code != Code::kBusy) return started;
    // A coordinator that was killed, or whose provider was, asks again for what the array does already.
    UMBRA_ASSIGN(auto tasks, array.list_tasks());
    for (TaskRecord& task : tasks) {
        if (task.kind == "resync" && !task.ended() && task.object_naa == target && task.source_naa == source) {
            return std::move(task);
        }
    }
    // It may have ended in between.
    return array.resync(target, source, true);
}

HRESULT HardwareProvider::ResyncLuns(VDS_LUN_INFORMATION* pSourceLuns, VDS_LUN_INFORMATION* pTargetLuns, DWORD dwCount,
                                     IVssAsync** ppAsync) {
    return com::guard([&]() -> HRESULT {
        if (ppAsync == nullptr) return E_INVALIDARG;
        *ppAsync = nullptr;
        if (pSourceLuns == nullptr || pTargetLuns == nullptr || dwCount == 0 ||
            dwCount > static_cast<DWORD>(kMaxLunsPerCall)) {
            return E_INVALIDARG;
        }
        std::lock_guard lock(mutex_);
        constexpr const char* kMethod = "ResyncLuns";
        struct Pair {
            Located source;
            Located target;
        };
        std::vector<Pair> pairs;
        std::set<std::string> targets;
        std::set<std::string> sources;
        HRESULT hr = S_OK;
        // Everything is checked before the first LUN is touched.
        for (DWORD i = 0; i < dwCount; ++i) {
            auto source = locate_shadow(kMethod, pSourceLuns[i], &hr);
            if (!source) return hr;
            auto target = locate(kMethod, pTargetLuns[i], &hr);
            if (!target) return hr;
            if (source->array != target->array) {
                return veto(EventId::kArrayRefused, kMethod,
                            "source LUN " + source->lun.name + " and destination LUN " + target->lun.name +
                                " are on different arrays",
                            "Choose a destination on the array that holds the shadow copy.");
            }
            sources.insert(source->lun.naa);
            if (!targets.insert(target->lun.naa).second) return E_INVALIDARG;
            if (source->lun.health == "failed" || target->lun.health == "failed") {
                return veto(
                    EventId::kLunFailed, kMethod,
                    "LUN " + (source->lun.health == "failed" ? source->lun.name : target->lun.name) + " has failed",
                    remedy_for(Code::kDeviceFailed));
            }
            std::string holder = source->lun.attribute(kAttrImporter);
            if (!holder.empty() && holder != config_.initiator) {
                return veto(EventId::kHeldElsewhere, kMethod,
                            "shadow copy LUN " + source->lun.name + " was imported by " + holder,
                            "Resynchronise from that host, or use another shadow copy.");
            }
            auto foreign = foreign_user(*target->array, target->lun);
            if (!foreign) return refuse(kMethod, foreign.error(), false);
            if (*foreign) {
                return veto(EventId::kHeldElsewhere, kMethod,
                            "destination LUN " + target->lun.name + " is in use by initiator " + **foreign,
                            "Unmount and log out there first; no option overrides this.");
            }
            pairs.push_back({std::move(*source), std::move(*target)});
        }
        for (const std::string& target : targets) {
            if (sources.contains(target)) return E_INVALIDARG;
        }

        std::vector<ResyncTask> tasks;
        for (const Pair& pair : pairs) {
            auto task = resync_or_join(*pair.target.array, pair.target.lun.naa, pair.source.lun.naa);
            ResyncTask entry{pair.target.array, pair.target.lun.name, pair.target.lun.size_bytes, {}};
            if (task) {
                entry.last = std::move(*task);
                tasks.push_back(std::move(entry));
                continue;
            }
            entry.in_doubt = task.error().code == Code::kUnavailable || task.error().code == Code::kTimedOut;
            if (tasks.empty() && !entry.in_doubt) return refuse(kMethod, task.error(), true);
            // Something was or may have been started: how all of it ends is said by the IVssAsync.
            if (!entry.in_doubt) {
                for (ResyncTask& started : tasks) {
                    if (started.last.ended()) continue;
                    auto cancelled = started.array->cancel_task(started.last.id);
                    if (cancelled) started.last = std::move(*cancelled);
                }
            }
            entry.last.state = "failed";
            entry.last.error_code = task.error().code;
            entry.last.error = task.error().message;
            tasks.push_back(std::move(entry));
            break;
        }
        *ppAsync = com::make<ResyncAsync>(std::move(tasks), events_).detach();
        return S_OK;
    });
}

// --- Loading -------------------------------------------------------------------------------------------------------

HRESULT HardwareProvider::OnLoad(IUnknown*) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        if (!is_iscsi_name(config_.initiator)) {
            return veto(EventId::kConfiguration, "OnLoad", "this host's initiator name is not configured",
                        "Set provider.initiator in the file that UMBRA_PROVIDER_CONFIG names.");
        }
        // What an earlier life of this provider began and did not complete belongs to nobody.
        for (const auto& array : arrays_.arrays()) {
            if (!delete_all_of(*array, "")) {
                events_({Severity::kWarning, EventId::kLeftBehind,
                         "OnLoad: array " + array->address() +
                             " could not be searched for shadow copies that were never completed. " +
                             remedy_for(Code::kUnavailable)});
            }
        }
        state_ = State::kUnknown;
        return S_OK;
    });
}

HRESULT HardwareProvider::OnUnload(BOOL) {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        if (state_ != State::kCreated) discard();
        clear_set();
        state_ = State::kUnknown;
        return S_OK;
    });
}

}  // namespace umbra::provider

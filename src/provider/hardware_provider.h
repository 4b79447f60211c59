// The VSS hardware provider for Umbra arrays.
//
// Everything it has to remember beyond one shadow copy set's creation lives with the LUNs, in the array's record of
// them (docs/format/shadow-copy-attributes.md): which set they belong to, who made them, who imported them. One set is
// created at a time; calls may come from any thread and run one after the other.
#pragma once

#include <map>
#include <mutex>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "com/hresult.h"
#include "com/ref_counted.h"
#include "com/text.h"
#include "provider/array_group.h"
#include "provider/config.h"
#include "provider/events.h"
#include "vsprov.h"

namespace umbra::provider {

class HardwareProvider final
    : public com::RefCounted<com::Face<IVssHardwareSnapshotProviderEx, IVssHardwareSnapshotProvider>,
                             IVssProviderCreateSnapshotSet, IVssProviderNotifications> {
public:
    HardwareProvider(ProviderConfig config, std::vector<std::shared_ptr<ArrayClient>> arrays, EventSink events);

    // IVssHardwareSnapshotProvider
    HRESULT STDMETHODCALLTYPE AreLunsSupported(LONG lLunCount, LONG lContext, VSS_PWSZ* rgwszDevices,
                                               VDS_LUN_INFORMATION* pLunInformation, BOOL* pbIsSupported) override;
    HRESULT STDMETHODCALLTYPE FillInLunInfo(VSS_PWSZ wszDeviceName, VDS_LUN_INFORMATION* pLunInfo,
                                            BOOL* pbIsSupported) override;
    HRESULT STDMETHODCALLTYPE BeginPrepareSnapshot(VSS_ID SnapshotSetId, VSS_ID SnapshotId, LONG lContext,
                                                   LONG lLunCount, VSS_PWSZ* rgDeviceNames,
                                                   VDS_LUN_INFORMATION* rgLunInformation) override;
    HRESULT STDMETHODCALLTYPE GetTargetLuns(LONG lLunCount, VSS_PWSZ* rgDeviceNames, VDS_LUN_INFORMATION* rgSourceLuns,
                                            VDS_LUN_INFORMATION* rgDestinationLuns) override;
    HRESULT STDMETHODCALLTYPE LocateLuns(LONG lLunCount, VDS_LUN_INFORMATION* rgSourceLuns) override;
    HRESULT STDMETHODCALLTYPE OnLunEmpty(VSS_PWSZ wszDeviceName, VDS_LUN_INFORMATION* pInformation) override;

    // IVssHardwareSnapshotProviderEx
    HRESULT STDMETHODCALLTYPE GetProviderCapabilities(ULONGLONG* pllOriginalCapabilityMask) override;
    HRESULT STDMETHODCALLTYPE OnLunStateChange(VDS_LUN_INFORMATION* pSnapshotLuns, VDS_LUN_INFORMATION* pOriginalLuns,
                                               DWORD dwCount, DWORD dwFlags) override;
    HRESULT STDMETHODCALLTYPE ResyncLuns(VDS_LUN_INFORMATION* pSourceLuns, VDS_LUN_INFORMATION* pTargetLuns,
                                         DWORD dwCount, IVssAsync** ppAsync) override;
    HRESULT STDMETHODCALLTYPE OnReuseLuns(VDS_LUN_INFORMATION* pSnapshotLuns, VDS_LUN_INFORMATION* pOriginalLuns,
                                          DWORD dwCount) override;

    // IVssProviderCreateSnapshotSet
    HRESULT STDMETHODCALLTYPE EndPrepareSnapshots(VSS_ID SnapshotSetId) override;
    HRESULT STDMETHODCALLTYPE PreCommitSnapshots(VSS_ID SnapshotSetId) override;
    HRESULT STDMETHODCALLTYPE CommitSnapshots(VSS_ID SnapshotSetId) override;
    HRESULT STDMETHODCALLTYPE PostCommitSnapshots(VSS_ID SnapshotSetId, LONG lSnapshotsCount) override;
    HRESULT STDMETHODCALLTYPE PreFinalCommitSnapshots(VSS_ID SnapshotSetId) override;
    HRESULT STDMETHODCALLTYPE PostFinalCommitSnapshots(VSS_ID SnapshotSetId) override;
    HRESULT STDMETHODCALLTYPE AbortSnapshots(VSS_ID SnapshotSetId) override;

    // IVssProviderNotifications
    HRESULT STDMETHODCALLTYPE OnLoad(IUnknown* pCallback) override;
    HRESULT STDMETHODCALLTYPE OnUnload(BOOL bForceUnload) override;

private:
    enum class State { kUnknown, kPreparing, kPrepared, kPrecommitted, kCommitted, kCreated, kAborted };

    /// One source LUN of the set, whatever number of volumes it carries.
    struct Source {
        std::shared_ptr<ArrayClient> array;
        std::string naa;
        std::string name;
        std::vector<std::string> snapshots;  ///< shadow copies that need it, UUIDs
        std::optional<LunRecord> copy;       ///< after the commit
    };

    struct Located {
        std::shared_ptr<ArrayClient> array;
        LunRecord lun;
    };

    static const char* to_string(State state);
    HRESULT veto(EventId id, const char* method, const std::string& what, const std::string& remedy);
    /// The event for an array's error; the code is the method's documented one.
    HRESULT refuse(const char* method, const base::Error& error, bool storage_documented);
    HRESULT out_of_order(const char* method, const VSS_ID& set);
    /// Ends a failed call of the creation sequence: what was made is deleted, the state is kAborted.
    HRESULT failed(HRESULT hr);

    /// nullopt after an event, with *hr set.
    std::optional<Located> locate(const char* method, const VDS_LUN_INFORMATION& information, HRESULT* hr);
    /// `locate`, and the array's record must say that it is a shadow copy that VSS made.
    std::optional<Located> locate_shadow(const char* method, const VDS_LUN_INFORMATION& information, HRESULT* hr);
    static bool context_supported(LONG context);
    /// Empty, or why no shadow copy of the LUN can be promised now.
    std::string not_now(const ArrayRecord& array, const LunRecord& lun) const;
    /// Name of an initiator other than this host's that is logged in and sees the LUN.
    Result<std::optional<std::string>> foreign_user(ArrayClient& array, const LunRecord& lun) const;

    /// Deletes the shadow copies of set `set` ("" for all sets) that this host began and never completed.
    /// `also_complete`: those of `set` that are marked as complete already, too.
    bool delete_incomplete(ArrayClient& array, const std::string& set, bool also_complete = false);
    /// The same, and of a commit whose answer was lost nothing comes after it.
    bool delete_all_of(ArrayClient& array, const std::string& set);
    /// Starts a resynchronisation, or finds the one of these LUNs that runs already.
    static Result<TaskRecord> resync_or_join(ArrayClient& array, const std::string& target, const std::string& source);
    /// False when something could not be deleted yet; it is tried again later.
    bool discard();
    void clear_set();
    void retry_left_behind();
    std::vector<ShadowRequest> shadow_requests(const ArrayClient* array) const;

    const ProviderConfig config_;
    const ArrayGroup arrays_;
    const EventSink events_;

    std::mutex mutex_;
    State state_ = State::kUnknown;
    VSS_ID set_{};
    LONG context_ = 0;
    std::set<std::string> snapshots_;
    std::vector<Source> sources_;
    std::map<const ArrayClient*, ArrayRecord> array_records_;  ///< of the set's arrays, read in PreCommitSnapshots
    bool commit_tried_ = false;
    bool final_ = false;
    std::set<std::string> left_behind_;  ///< sets whose deletion is still owed
};

}  // namespace umbra::provider

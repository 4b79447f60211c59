// The VSS coordinator of one host: sequences requesters, file systems and providers (design, section 4).
//
// Everything here runs on one executor, without locks. Long operations are Operation objects, as IVssAsync shows them.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "base/guid.h"
#include "coordinator/bounded_host.h"
#include "coordinator/codes.h"
#include "coordinator/deadline.h"
#include "coordinator/document.h"
#include "coordinator/events.h"
#include "coordinator/provider.h"
#include "coordinator/state_store.h"
#include "env/environment.h"
#include "env/sync.h"
#include "host/host.h"

namespace umbra::coordinator {

struct Options {
    std::string machine;                                      ///< originating and service machine
    env::Duration freeze_limit = std::chrono::seconds(60);    ///< PreCommitSnapshots to thaw; never longer
    env::Duration commit_window = std::chrono::seconds(10);   ///< file systems frozen to thaw; never longer
    env::Duration prepare_limit = std::chrono::hours(24);     ///< EndPrepareSnapshots
    env::Duration call_limit = std::chrono::minutes(5);       ///< any other provider call
    env::Duration abort_limit = std::chrono::seconds(60);     ///< AbortSnapshots; EndPrepareSnapshots after it
    env::Duration thaw_limit = std::chrono::seconds(10);      ///< DoSnapshotSet waits no longer for a thaw that hangs
    env::Duration cleanup_limit = std::chrono::seconds(20);   ///< DoSnapshotSet waits no longer until all is taken back
    env::Duration retry_interval = std::chrono::seconds(15);  ///< first pause before what was left is tried again
    env::Duration retry_limit = std::chrono::minutes(10);     ///< longest pause; each is twice the one before
    env::Duration arrival_limit = std::chrono::seconds(30);   ///< LUNs that were unmasked show up
    env::Duration release_patience = std::chrono::seconds(5);
    env::Duration poll_interval = std::chrono::milliseconds(250);  ///< of a provider's IVssAsync
    bool safe_mode = false;  ///< the documents' WinPE and Safe mode: no resynchronisation
};

/// IVssAsync: what runs, how far it is, how it ended.
struct Operation {
    explicit Operation(env::Executor& executor) : done(executor), wake(executor) {}
    base::Guid id;
    std::string kind;
    ComCode result = vss::kAsyncPending;
    std::string message;
    uint32_t percent = 0;
    std::string step;
    bool cancel_requested = false;
    std::function<void()> on_cancel;  ///< optional: what makes a waiting step end sooner
    env::Event done;
    Signal wake;  ///< at the end of the operation, or of the service

    bool running() const { return result == vss::kAsyncPending; }
};
using OperationPtr = std::shared_ptr<Operation>;  // shared by the requester's handle and the task that works

class Session;
using SessionPtr = std::shared_ptr<Session>;  // shared by the table of sessions and calls under way

class Coordinator {
public:
    struct Deleted {
        uint32_t count = 0;
        base::Guid failed;  ///< the first that could not be deleted
        Answer<> result;
    };

    /// All references outlive the coordinator.
    Coordinator(env::Environment environment, host::HostOps& host, StateStore& store, ProviderRegistry& providers,
                EventLog& events, Options options);
    ~Coordinator();
    Coordinator(const Coordinator&) = delete;
    Coordinator& operator=(const Coordinator&) = delete;

    /// First of all thaws what an earlier run left frozen; then finishes or undoes what it left half done. An error
    /// means that the state cannot be read: nothing may be served.
    env::Task<base::Result<void>> start();
    /// Releases every session and waits until nothing runs any more. A resynchronisation is left to its journal.
    env::Task<void> stop();

    /// nullptr when the service stops.
    /// `on_end` is called once the session has been released, whoever ended it.
    SessionPtr open_session(std::string client, std::function<void()> on_end = nullptr);
    SessionPtr find_session(const base::Guid& id);
    /// IVssBackupComponents' last Release: its requester has what it was given.
    env::Task<void> close_session(base::Guid id) { return end_session(id, true); }
    /// The requester is gone without a word. Nobody waits for what that entails.
    void abandon_session(const base::Guid& id) { background_.spawn(end_session(id, false)); }
    /// Returns when no session is open or being released.
    env::Task<void> wait_no_session();

    OperationPtr find_operation(const base::Guid& id);
    /// IVssAsync::Cancel's code.
    ComCode cancel_operation(const base::Guid& id);
    void release_operation(const base::Guid& id);
    /// Returns when it has ended, at `until`, or when the service stops.
    env::Task<void> wait_operation(OperationPtr operation, env::Instant until);
    std::vector<OperationPtr> operations() const;

    const std::map<base::Guid, SetRecord>& sets() const { return sets_; }
    bool creation_in_progress() const { return creation_ != nullptr; }
    size_t session_count() const { return sessions_.size(); }
    bool stopping() const { return stopping_; }
    const Options& options() const { return options_; }
    EventLog& events() { return events_; }

    /// `umbra shadow cleanup SET`: takes a set whose import failed, or that was transported, off this host and forgets
    /// it. The LUNs themselves stay in their array. Answers how many were detached.
    env::Task<Answer<uint32_t>> cleanup_set(base::Guid set);
    /// The free function of the same name.
    env::Task<Answer<bool>> is_volume_snapshotted(std::string volume);

private:
    friend class Session;

    struct Member {  // one volume of the set being created
        host::Volume volume;
        std::vector<std::string> devices;  // parallel to the snapshot's sources
        std::vector<LunInformation> luns;  // as AreLunsSupported left them
    };
    struct Creation {
        explicit Creation(env::Executor& executor) : prepared(executor), aborts(executor) {}
        SetRecord record;
        std::vector<Member> members;          // parallel to record.snapshots
        std::vector<Provider*> participants;  // in the order in which they joined
        std::set<Provider*> aborted;          // AbortSnapshots was sent
        bool abort_lost = false;              // one of those was not successful
        Provider* ending_prepare = nullptr;   // whose EndPrepareSnapshots is under way
        Signal prepared;                      // EndPrepareSnapshots has ended
        bool providers_told = false;          // EndPrepareSnapshots has been called at least once
        bool abort_requested = false;
        bool running = false;  // DoSnapshotSet works
        std::vector<Intent> flag_intents;
        env::TaskGroup aborts;
    };
    struct RecoveryEntry {
        SnapshotRecord snapshot;
        host::Volume destination;
    };

    // coordinator.cc
    base::Guid new_id() { return environment_.random.guid(); }
    env::Instant deadline(env::Duration limit) const { return environment_.executor.now() + limit; }
    Answer<> save(StateChange change);
    Answer<> save(const SetRecord& set);
    Answer<> save(const Intent& intent);
    OperationPtr new_operation(std::string kind);
    /// `work` is called once, at once; what it returns runs in the background.
    OperationPtr start_operation(std::string kind, const std::function<env::Task<Answer<ComCode>>(OperationPtr)>& work);
    env::Task<void> run_operation(OperationPtr operation, env::Task<Answer<ComCode>> work);
    /// Awaits one provider call: deadline, translation of its code (vss.md 2.4), one event when it failed.
    template <class Reply>
    env::Task<Answer<Reply>> call(Provider* provider, const char* method, base::Guid set, env::Instant until,
                                  env::Task<Reply> task);
    Failure provider_failure(Provider& provider, const char* method, const base::Guid& set, const ProviderReply& reply);
    env::Task<Answer<bool>> has_ex(Provider* provider);
    int64_t timestamp() const;

    // creation.cc
    env::Task<Answer<base::Guid>> start_snapshot_set(SessionPtr session, uint32_t context, env::Duration wait);
    env::Task<Answer<base::Guid>> add_to_snapshot_set(Creation* creation, std::string volume, base::Guid provider);
    env::Task<Answer<Member>> describe_volume(std::string volume, std::vector<SourceLun>* sources);
    env::Task<Answer<Provider*>> select_provider(Member* member, uint32_t context, base::Guid wanted);
    env::Task<Answer<bool>> is_volume_supported(std::string volume, uint32_t context, base::Guid provider);
    env::Task<Answer<ComCode>> create(OperationPtr operation, SessionPtr session);
    env::Task<Answer<>> prepare(Creation* creation);
    /// Every volume of the set as it is now; an error when one is not where it was.
    env::Task<Answer<>> look_again(Creation* creation);
    env::Task<Answer<>> write_source_flags(Creation* creation);
    env::Task<Answer<>> hold_and_commit(Creation* creation);
    env::Task<Answer<>> commit_all(Creation* creation, env::Instant until);
    env::Task<Answer<>> finish(Creation* creation);
    env::Task<void> commit_one(Provider* provider, base::Guid set, env::Instant until, Answer<>* result);
    env::Task<base::Result<void>> thaw_and_release(base::Guid set);
    env::Task<void> restore_source_flags(std::vector<Intent> intents);
    void request_abort(Creation* creation);
    env::Task<void> abort_preparation(Creation* creation, Provider* provider);
    /// Whether the provider says that it has dropped the set.
    env::Task<bool> send_abort(Provider* provider, base::Guid set);
    /// After a failed DoSnapshotSet: all that the creation has caused, and then the creation itself.
    env::Task<bool> clean_up(Creation* creation, Failure failure);
    /// Takes everything back that the set has caused so far; forgets it. `tell`: send AbortSnapshots to those that were
    /// not told. False: not all of it; the record stays, and it is tried again.
    env::Task<bool> undo_set(SetRecord record, std::vector<Provider*> participants, std::set<Provider*> already_told,
                             bool tell);
    void end_creation();

    // surface.cc
    struct Surfaced {
        Answer<> result;
        std::string device_object;
    };
    struct Surfacing {
        OperationPtr operation;  ///< whose cancellation ends it
        bool presented = false;  ///< a provider has presented its LUNs
    };
    /// LocateLuns, rescan, FillInLunInfo, match, signature, mount (hidden, read-only). One result a snapshot. An error
    /// is LocateLuns', or the cancellation: nothing is mounted.
    env::Task<Answer<std::vector<Surfaced>>> surface(base::Guid set, std::vector<SnapshotRecord> snapshots,
                                                     Surfacing* progress);
    /// The disk's LUN as the provider describes it. No LUN and no failure: it is not the provider's, or is gone. The
    /// failure is for those who must know that; an import ignores the code (vss.md 2.2).
    struct Identified {
        std::optional<LunInformation> lun;
        std::optional<Failure> failure;
    };
    env::Task<Identified> identify(Provider* provider, std::string device, LunInformation lun);
    env::Task<Answer<>> refuse_foreign_targets(const SetRecord* record);
    /// The document comes from outside: what it names must belong to no other set of this host.
    Answer<> refuse_others_shadow_copies(const SetRecord& record) const;
    /// `disks`: where LUNs are now, by key; kept up to date.
    env::Task<Surfaced> mount_one(SnapshotRecord snapshot, std::map<std::string, host::Disk>* disks);
    /// The disk as it is attached afterwards.
    env::Task<Answer<host::Disk>> separate_signature(host::Disk disk, LunInformation lun);
    env::Task<Answer<ComCode>> import(OperationPtr operation, SessionPtr session);

    // sets.cc
    SetRecord* find_set_of(const base::Guid& snapshot);
    SnapshotRecord* find_snapshot(const base::Guid& snapshot);
    SnapshotRecord* find_snapshot(const base::Guid& set, const base::Guid& snapshot);
    env::Task<Answer<>> drop_snapshot(base::Guid set, base::Guid snapshot);
    env::Task<Answer<>> hide_snapshot(base::Guid set, base::Guid snapshot);
    /// FillInLunInfo, detach, OnLunEmpty. `may_be_gone`: a LUN that its provider no longer knows is success.
    env::Task<Answer<>> release_lun(base::Guid set, base::Guid provider, LunInformation lun, bool may_be_gone);
    bool lun_shared(const LunInformation& lun, const base::Guid& set, const base::Guid& but_snapshot) const;
    env::Task<Deleted> delete_snapshots(base::Guid object, uint32_t type);
    env::Task<Answer<>> break_set(base::Guid set, uint32_t flags);
    env::Task<Answer<>> finish_break(base::Guid set);
    env::Task<Answer<std::string>> expose(base::Guid snapshot, uint32_t attributes, bool has_path, std::string target);
    env::Task<Answer<>> unexpose(base::Guid snapshot);
    env::Task<void> auto_release(std::vector<base::Guid> sets);
    /// The requester has the document of its transportable set.
    void confirm_delivery(const base::Guid& set);

    // recovery_set.cc
    env::Task<Answer<RecoveryEntry>> add_to_recovery_set(Document document, base::Guid snapshot,
                                                         std::string destination, bool original);
    env::Task<Answer<OperationPtr>> recover_set(std::vector<RecoveryEntry> entries, uint32_t flags);
    env::Task<Answer<Intent>> plan_recovery(std::vector<RecoveryEntry> entries, uint32_t flags);
    env::Task<Answer<>> check_unselected(std::string disk, std::vector<RecoveryEntry> entries);
    env::Task<Answer<ComCode>> run_recovery(OperationPtr operation, Intent intent, uint64_t async);
    env::Task<Answer<ComCode>> wait_for_resync(OperationPtr operation, Provider* provider, uint64_t async);
    env::Task<Answer<>> write_identities(Intent intent);
    env::Task<Answer<>> write_identity(Intent::Destination destination, uint32_t flags);
    env::Task<void> give_back(Intent intent, bool mount);
    env::Task<Answer<AsyncReply>> start_resync(Provider* provider, Intent intent);
    env::Task<Answer<ComCode>> resume_recovery(OperationPtr operation, Intent intent);
    /// One attempt to have the array copy, or to find that it does. nullopt: nothing certain is known, ask again.
    env::Task<std::optional<Answer<ComCode>>> copy_again(OperationPtr operation, Intent intent);
    /// Destinations that came back on this host since are released.
    env::Task<Answer<>> take_off(Intent intent);
    env::Task<Answer<ComCode>> finish_recovery(OperationPtr operation, Intent intent);
    /// After the provider said that it ended without success: what is known to be as it was goes back into use.
    /// `known`: the provider's word counts for a single destination. Answers `copied`.
    env::Task<Answer<ComCode>> settle_failure(Intent intent, Answer<ComCode> copied, bool known);
    enum class Content { kFormer, kCopy, kUnknown };
    env::Task<Answer<Content>> look_at(Intent::Destination destination);
    Answer<ComCode> give_up_recovery(const std::string& why, const Intent& intent);
    void stays_off(const Intent& intent);

    // startup.cc
    env::Task<void> settle_leftovers(State state);
    env::Task<void> settle_set(SetRecord record);
    std::vector<Provider*> providers_of(const SetRecord& record);
    /// Starts the task that tries again what could not be taken back, unless it runs.
    void retry_later();
    env::Task<void> retry_leftovers();
    env::Task<void> surface_again(base::Guid set);

    env::Task<void> end_session(base::Guid id, bool orderly);

    env::Environment environment_;
    BoundedHost host_;
    StateStore& store_;
    ProviderRegistry& providers_;
    EventLog& events_;
    Options options_;

    std::map<base::Guid, SetRecord> sets_;  // everything but the set being created
    std::map<base::Guid, SessionPtr> sessions_;
    std::map<base::Guid, OperationPtr> operations_;
    std::unique_ptr<Creation> creation_;
    // Sets that are being deleted (once for each deletion) or cleaned up: an import of them waits for its turn.
    std::multiset<base::Guid> deleting_;
    std::multiset<base::Guid> cleaning_;
    bool resync_running_ = false;
    bool stopping_ = false;
    size_t closing_sessions_ = 0;
    env::Event sessions_changed_;
    // What could not be taken back, and is tried again.
    std::map<base::Guid, SetRecord> undo_left_;
    std::map<base::Guid, Intent> flags_left_;
    std::set<base::Guid> release_left_;
    bool retrying_ = false;
    bool settling_ = false;  // leftovers are being taken back: providers must not be in the middle of another set
    Signal stop_signal_;
    env::TaskGroup background_;  // last: its tasks use all of the above
};

template <class Reply>
env::Task<Answer<Reply>> Coordinator::call(Provider* provider, const char* method, base::Guid set, env::Instant until,
                                           env::Task<Reply> task) {
    std::optional<Reply> reply =
        co_await with_deadline<Reply>(environment_.executor, background_, std::move(task), until);
    if (!reply) {
        Reply late;
        late.lost = std::string(method) + " did not return in time";
        provider->give_up(late.lost);
        co_return std::unexpected(provider_failure(*provider, method, set, late));
    }
    if (reply->lost.empty() && reply->code == vss::kOk) co_return std::move(*reply);
    co_return std::unexpected(provider_failure(*provider, method, set, *reply));
}

}  // namespace umbra::coordinator

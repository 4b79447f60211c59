// The array's object model: LUN identities that point at volumes, masks, targets, sessions, tasks and events, over the
// back-end seam. Single executor; every change is durable, in one step with the backend's, when it returns success.
//
// Managing changes run one after the other. Long work (resync, recover, scrub) runs beside them as tasks and holds the
// LUNs that it needs: a change that would pull them away is refused with kBusy.
#pragma once

#include <deque>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "array/presentation.h"
#include "array/records.h"
#include "array/view.h"
#include "env/environment.h"
#include "env/sync.h"
#include "lun/backend.h"

namespace umbra::array {

// Limits (docs/limits.md).
inline constexpr size_t kMaxLuns = 4096;  ///< of every kind
inline constexpr size_t kMaxTargets = 64;
inline constexpr size_t kMaxMasksPerLun = 256;
inline constexpr uint16_t kMaxLunNumber = 16383;  ///< flat space addressing, SAM-5 4.7.7.3
inline constexpr size_t kMaxAttributes = 32;
inline constexpr size_t kMaxAttributeBytes = 1024;
inline constexpr size_t kMaxSnapshotItems = 64;
inline constexpr size_t kMaxRunningTasks = 16;
inline constexpr size_t kKeptTasks = 200;  ///< records of ended tasks
inline constexpr size_t kKeptEvents = 512;
inline constexpr size_t kMaxReservationBytes = 256 * 1024;

inline constexpr const char* kDefaultIqnAuthority = "iqn.2026-01.internal.umbra";
inline constexpr uint32_t kDefaultCompanyId = 0x02554d;  ///< U/L bit set: locally administered

struct ModelOptions {
    std::string name = "array";
    std::string version = "0";
    /// Used when the array opens for the first time; then its records rule.
    std::string iqn_authority = kDefaultIqnAuthority;
    uint32_t company_id = kDefaultCompanyId;
    std::vector<std::string> portals;  ///< "ip:port", as initiators reach them
    ProductStrings product;
};

class ArrayModel final : public Presentation {
public:
    /// Reads the records and reconciles them with the backend's volumes. Errors: kCorrupt, kVersion, the backend's.
    static env::Task<base::Result<std::unique_ptr<ArrayModel>>> open(env::Environment env,
                                                                     std::unique_ptr<lun::Backend> backend,
                                                                     ModelOptions options);
    ~ArrayModel() override;
    ArrayModel(const ArrayModel&) = delete;
    ArrayModel& operator=(const ArrayModel&) = delete;

    /// Interrupts running tasks, records events and closes the backend. Nothing else may run or be called afterwards;
    /// watchers have been woken and have left before it is called.
    env::Task<base::Result<void>> close();

    void set_portals(std::vector<std::string> portals) { options_.portals = std::move(portals); }

    // What there is.
    StatusView status() const;
    base::Result<LunView> get_lun(const LunRef& ref) const;
    std::vector<LunView> list_luns(const std::vector<LunKind>& kinds = {}) const;
    std::vector<DriveView> list_drives() const;
    std::vector<SessionView> list_sessions() const;
    std::vector<TaskView> list_tasks() const;
    base::Result<TaskView> get_task(uint64_t id) const;
    std::vector<EventView> list_events(uint64_t after_sequence, size_t limit) const;

    // Changes. One at a time, in the order in which they were asked for.
    env::Task<base::Result<LunView>> create_lun(CreateLun request);
    env::Task<base::Result<void>> delete_lun(LunRef ref, bool force);
    env::Task<base::Result<LunView>> resize_lun(LunRef ref, uint64_t size_bytes, bool force);
    env::Task<base::Result<LunView>> rename_lun(LunRef ref, std::string name);
    env::Task<base::Result<LunView>> update_lun(LunRef ref, UpdateLun update);
    env::Task<base::Result<std::vector<LunView>>> create_snapshots(std::vector<SnapshotItem> items, LunKind kind,
                                                                   Wanted wanted = {});
    env::Task<base::Result<TaskView>> resync_lun(ResyncLun request, Wanted wanted = {});
    env::Task<base::Result<TaskView>> recover_lun(LunRef ref);
    env::Task<base::Result<LunView>> add_mask(MaskChange change);
    env::Task<base::Result<LunView>> remove_mask(MaskChange change);
    env::Task<base::Result<DriveView>> fail_drive(std::string drive, bool force);
    env::Task<base::Result<TaskView>> start_scrub();
    base::Result<TaskView> cancel_task(uint64_t id);

    // Watching. A watcher takes version(), looks, then waits for a change since that version and looks again.
    uint64_t version() const { return version_; }
    /// Returns after an event or the end of a task, or when wake_watchers() is called; at once when that was so since
    /// `seen`.
    env::Task<void> wait_change(uint64_t seen);
    /// The same, and at least four times a second: for the progress of running tasks.
    env::Task<void> wait_change_or_tick(uint64_t seen);
    void wake_watchers() {
        ++version_;
        changed_.wake_all();
    }

    /// What the backend reports: give this to it as event sink through an EventRelay.
    void backend_event(const lun::Event& event);
    void emit(std::string id, std::string severity, std::string message, std::string lun = {}, std::string drive = {});

    // Presentation.
    const ProductStrings& product() const override { return options_.product; }
    const base::Guid& run_id() const override { return run_id_; }
    std::vector<std::string> targets_for(const std::string& initiator) const override;
    bool has_target(const std::string& target_iqn) const override;
    std::vector<PresentedLun> luns(const std::string& target_iqn, const std::string& initiator) const override;
    std::optional<PresentedLun> lun(const std::string& target_iqn, const std::string& initiator,
                                    uint16_t number) const override;
    void add_listener(PresentationListener* listener) override;
    void remove_listener(PresentationListener* listener) override;
    void session_started(const SessionInfo& session) override;
    void session_ended(uint64_t session_id) override;
    std::string reservations(const base::Guid& lun) const override;
    env::Task<base::Result<void>> save_reservations(base::Guid lun, std::string record) override;

    const std::string& default_target() const { return head_.default_target; }

private:
    struct Lun {
        LunRecord record;
        std::shared_ptr<const LunIdentity> identity;  // shared with commands that run
        std::shared_ptr<lun::Volume> volume;          // null: cannot be presented
        uint64_t changing_task = 0;                   // replaces its content: nothing else may change it
        std::set<uint64_t> using_tasks;               // need it to stay as it is
        bool withheld = false;                        // presented to nobody while its content is replaced
    };
    struct TaskEntry {
        TaskRecord record;
        base::Guid source;  // of a resync, while it runs
        lun::Progress progress;
        env::Instant started;
        bool cancel_asked = false;
    };

    ArrayModel(env::Environment env, std::unique_ptr<lun::Backend> backend, ModelOptions options);
    env::Task<base::Result<void>> load();
    base::Result<void> load_records();
    void reconcile();

    base::Result<Lun*> find(const LunRef& ref);
    base::Result<const Lun*> find(const LunRef& ref) const;
    std::string full_name(const LunRecord& record) const;
    std::string name_of(const base::Guid& id) const;
    base::Result<void> check_open() const;
    static base::Result<void> check_wanted(const Wanted& wanted);
    base::Result<void> check_free(const std::string& name) const;
    base::Result<void> check_unused(const Lun& lun) const;
    base::Result<void> check_unseen(const Lun& lun, const char* what) const;
    base::Result<void> check_room(size_t luns) const;
    size_t snapshots_of(const base::Guid& lun) const;
    std::string chosen_snapshot_name(const std::vector<const Lun*>& sources) const;
    std::string chosen_copy_name(const std::string& source, const std::set<std::string>& taken) const;

    LunRecord new_identity(LunKind kind);
    void put(lun::MetaBatch& batch, const LunRecord& record) const;
    void adopt(LunRecord record);
    void refresh_identity(Lun& lun);
    void rebuild_index();
    LunView view(const Lun& lun) const;
    TaskView view(const TaskEntry& task) const;
    DriveView view(const lun::DriveInfo& drive) const;

    static bool masked_in(const Lun& lun, const std::string& target, const std::string& initiator);
    static bool visible(const Lun& lun, const std::string& target, const std::string& initiator);
    PresentedLun presented(const Lun& lun, uint16_t number) const;
    /// Tells listeners that what `initiator` ("*": every one) sees on `target` changed, for those logged in.
    void notify_luns(const std::string& target, const std::string& initiator);
    void notify_masked(const Lun& lun);
    void attention(const base::Guid& lun, UnitAttentionCause cause);
    /// Waits until nobody who may no longer do so reads or writes the LUN. Never under changes_: commands save
    /// reservations.
    env::Task<void> end_access(base::Guid lun);

    env::Task<base::Result<TaskEntry*>> begin_task(std::string kind, const Lun* lun);
    env::Task<void> run_resync(TaskEntry* task, base::Guid destination, base::Guid source, LunRecord keep);
    env::Task<void> run_recover(TaskEntry* task, base::Guid lun);
    env::Task<void> run_scrub(TaskEntry* task);
    env::Task<void> end_task(TaskEntry* task, base::Result<void> outcome);
    void prune_tasks(lun::MetaBatch& batch, size_t about_to_end);
    base::Result<void> check_drive_loss(lun::DriveIndex drive) const;

    env::Task<void> flush_events();
    env::Task<void> tick();
    int64_t now_ms() const { return env_.executor.wall_time().unix_ns / 1'000'000; }

    env::Environment env_;
    std::unique_ptr<lun::Backend> backend_;
    ModelOptions options_;
    const base::Guid run_id_;
    bool closing_ = false;

    ArrayRecord head_;
    std::map<std::string, TargetRecord> targets_;
    std::map<base::Guid, Lun> luns_;
    std::map<std::string, base::Guid> names_;                        // full names
    std::set<std::string> reserved_names_;                           // of snapshots that running tasks will make
    std::map<std::string, std::map<uint16_t, base::Guid>> numbers_;  // target -> number -> LUN
    std::map<base::Guid, std::string> reservations_;
    std::map<uint64_t, SessionInfo> sessions_;
    std::vector<PresentationListener*> listeners_;

    std::map<uint64_t, std::unique_ptr<TaskEntry>> tasks_;
    std::deque<EventRecord> events_;
    uint64_t next_event_ = 1;
    uint64_t recorded_event_ = 0;  // the last one that is durable
    bool flushing_events_ = false;

    env::Mutex changes_;
    env::Event changed_;
    uint64_t version_ = 0;
    size_t tick_waiters_ = 0;
    bool ticking_ = false;
    env::TaskGroup work_;
};

/// Keeps what a backend reports before there is a model, and hands it on from then.
class EventRelay {
public:
    lun::EventSink sink();
    /// From now on events go to `model`, those of before first; null: they are kept again.
    void connect(ArrayModel* model);

private:
    struct State {
        ArrayModel* model = nullptr;
        std::vector<lun::Event> early;
    };
    std::shared_ptr<State> state_ = std::make_shared<State>();  // shared with the sinks
};

}  // namespace umbra::array

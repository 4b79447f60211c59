// One IVssBackupComponents object: its state machine (vss.md 3.1) in front of the coordinator.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "coordinator/coordinator.h"

namespace umbra::coordinator {

struct ComponentEdit {
    enum class Kind : uint8_t {
        kAddComponent,
        kSetBackupSucceeded,
        kOtherBackup,    ///< SetBackupOptions, SetPreviousBackupStamp
        kOtherRestore,   ///< SetSelectedForRestore, AddNewTarget …: before PreRestore
        kDuringRestore,  ///< SetFileRestoreStatus, AddAlternativeLocationMapping, SetRangesFilePath
        kEither,         ///< SetRestoreOptions
    };
    Kind kind = Kind::kAddComponent;
    base::Guid writer;
};

class Session : public std::enable_shared_from_this<Session> {
public:
    Session(Coordinator& coordinator, base::Guid id, std::string client)
        : coordinator_(coordinator), id_(id), client_(std::move(client)), turn_(coordinator.environment_.executor) {}

    const base::Guid& id() const { return id_; }
    const std::string& client() const { return client_; }

    Answer<> initialize_for_backup(std::optional<std::string> xml);
    Answer<> initialize_for_restore(std::optional<std::string> xml);
    Answer<> set_context(uint32_t context);
    Answer<> set_backup_state(bool select_components, bool bootable, uint32_t type, bool partial);
    Answer<> set_restore_state(uint32_t type);
    Answer<> select_writers();
    Answer<OperationPtr> gather_writer_metadata();
    Answer<> get_writer_metadata();
    Answer<OperationPtr> gather_writer_status();
    Answer<> get_writer_status();
    Answer<> get_writer_components();
    Answer<> edit_component(ComponentEdit edit);

    env::Task<Answer<base::Guid>> start_snapshot_set(env::Duration wait);
    env::Task<Answer<base::Guid>> add_to_snapshot_set(std::string volume, base::Guid provider);
    Answer<OperationPtr> prepare_for_backup();
    env::Task<Answer<OperationPtr>> do_snapshot_set();
    Answer<OperationPtr> backup_complete();
    env::Task<Answer<>> abort_backup();
    Answer<OperationPtr> pre_restore();
    Answer<OperationPtr> post_restore();
    /// From the first that carries a transportable set on, the set is no longer deleted with the session.
    Answer<std::string> save_as_xml();

    Answer<SnapshotRecord> get_snapshot_properties(const base::Guid& snapshot);
    Answer<std::vector<SnapshotRecord>> query_snapshots(const base::Guid& object, uint32_t object_type);
    Answer<std::vector<ProviderInfo>> query_providers(const base::Guid& object, uint32_t object_type);
    env::Task<Coordinator::Deleted> delete_snapshots(base::Guid object, uint32_t type);
    env::Task<Answer<>> break_snapshot_set(base::Guid set, uint32_t flags);
    Answer<OperationPtr> break_snapshot_set_ex(base::Guid set, uint32_t flags);
    Answer<OperationPtr> import_snapshots();
    env::Task<Answer<std::string>> expose_snapshot(base::Guid snapshot, std::optional<std::string> path_from_root,
                                                   uint32_t attributes, std::optional<std::string> target);
    env::Task<Answer<>> unexpose_snapshot(base::Guid snapshot);
    env::Task<Answer<bool>> is_volume_supported(base::Guid provider, std::string volume);

    env::Task<Answer<>> add_snapshot_to_recovery_set(base::Guid snapshot, uint32_t flags,
                                                     std::optional<std::string> destination);
    env::Task<Answer<OperationPtr>> recover_set(uint32_t flags);
    Answer<> revert_to_snapshot(const base::Guid& snapshot);

    const Document& document() const { return document_; }

    enum class Mode : uint8_t { kNew, kBackup, kRestore };
    enum class Phase : uint16_t {
        kInitialized = 1,
        kSetOpen = 2,
        kPrepared = 4,
        kSnapshotting = 8,
        kSnapshotted = 16,
        kFailed = 32,
        kComplete = 64,
        kPreRestored = 128,
        kPostRestored = 256,
    };

private:
    friend class Coordinator;

    enum class Call : uint8_t;
    struct Rule;
    static const Rule* find_rule(Call call);
    /// VSS_E_BAD_STATE with the cause, by the table of vss.md 3.1.
    Answer<> check(Call call) const;
    bool writers_involved() const { return (context_ & vss::kAttrNoWriters) == 0; }
    /// An operation that has ended already: what writers would do, where there are none.
    OperationPtr finished_operation(std::string kind);
    env::Task<Answer<ComCode>> run_break(OperationPtr operation, base::Guid set, uint32_t flags);
    /// What the last Release entails; not `orderly`: the requester's death.
    env::Task<void> release(bool orderly);

    Coordinator& coordinator_;
    base::Guid id_;
    std::string client_;
    Mode mode_ = Mode::kNew;
    Phase phase_ = Phase::kInitialized;
    uint32_t context_ = vss::kContextBackup;
    bool context_fixed_ = false;
    bool backup_state_set_ = false;
    bool gathered_ = false;
    bool gathered_status_ = false;
    bool import_called_ = false;
    std::function<void()> on_end_;
    bool closing_ = false;  // release() has begun
    bool closed_ = false;
    Document document_;
    OperationPtr creating_;
    OperationPtr importing_;
    std::vector<base::Guid> auto_release_;
    std::optional<base::Guid> undelivered_;  // the transportable set that this object created
    std::vector<Coordinator::RecoveryEntry> recovery_set_;
    env::Mutex turn_;  // calls that change the set, one after the other
};

}  // namespace umbra::coordinator

#include "coordinator/session.h"

#include <algorithm>
#include <array>

namespace umbra::coordinator {

using base::Guid;
using env::Task;

enum class Session::Call : uint8_t {
    kSetContext,
    kSetBackupState,
    kSetRestoreState,
    kSelectWriters,
    kGatherWriterMetadata,
    kGetWriterMetadata,
    kGatherWriterStatus,
    kGetWriterComponents,
    kAddComponent,
    kEditBackup,
    kSetBackupSucceeded,
    kEditRestore,
    kEditDuringRestore,
    kEditEither,
    kStartSnapshotSet,
    kAddToSnapshotSet,
    kPrepareForBackup,
    kDoSnapshotSet,
    kBackupComplete,
    kAbortBackup,
    kPreRestore,
    kPostRestore,
    kSaveAsXml,
    kGetSnapshotProperties,
    kQuery,
    kDelete,
    kBreak,
    kImport,
    kExpose,
    kIsVolumeSupported,
    kAddToRecoverySet,
    kRecoverSet,
    kRevert,
};

struct Session::Rule {
    Call call;
    bool in_backup;
    bool in_restore;
    uint16_t phases;
    const char* when;
};

namespace {

constexpr uint16_t bit(Session::Phase phase) {
    return static_cast<uint16_t>(phase);
}
constexpr uint16_t kAnyPhase = 0xFFFF;
constexpr uint16_t kNew = bit(Session::Phase::kInitialized);
constexpr uint16_t kOpen = bit(Session::Phase::kSetOpen) | bit(Session::Phase::kPrepared);

}  // namespace

const Session::Rule* Session::find_rule(Call call) {
    static constexpr std::array kRules{
        Rule{Call::kSetContext, true, false, kNew, "once, before anything that uses shadow copies"},
        Rule{Call::kSetBackupState, true, true, kNew | bit(Phase::kSetOpen), "before PrepareForBackup"},
        Rule{Call::kSetRestoreState, false, true, kNew, "in restore mode, before PreRestore"},
        Rule{Call::kSelectWriters, true, true, kAnyPhase, ""},
        Rule{Call::kGatherWriterMetadata, true, true, kAnyPhase, "once"},
        Rule{Call::kGetWriterMetadata, true, true, kAnyPhase, "after GatherWriterMetadata"},
        Rule{Call::kGatherWriterStatus, true, true, kAnyPhase, ""},
        Rule{Call::kGetWriterComponents, true, true, kAnyPhase, ""},
        Rule{Call::kAddComponent, true, false, kNew | kOpen, "in backup mode, before DoSnapshotSet"},
        Rule{Call::kEditBackup, true, false, kNew | kOpen, "in backup mode, before DoSnapshotSet"},
        Rule{Call::kSetBackupSucceeded, true, false, bit(Phase::kSnapshotted), "after a successful DoSnapshotSet"},
        Rule{Call::kEditRestore, false, true, kNew, "in restore mode, before PreRestore"},
        Rule{Call::kEditDuringRestore, false, true, bit(Phase::kPreRestored), "between PreRestore and PostRestore"},
        Rule{Call::kEditEither, true, true, kNew | kOpen, "before the data is read or written"},
        Rule{Call::kStartSnapshotSet, true, false, kNew, "in backup mode, once"},
        Rule{Call::kAddToSnapshotSet, true, false, kOpen, "between StartSnapshotSet and DoSnapshotSet"},
        Rule{Call::kPrepareForBackup, true, false, bit(Phase::kSetOpen), "after StartSnapshotSet"},
        Rule{Call::kDoSnapshotSet, true, false, kOpen, "after StartSnapshotSet"},
        Rule{Call::kBackupComplete, true, false, bit(Phase::kSnapshotted), "after a successful DoSnapshotSet"},
        Rule{Call::kAbortBackup, true, true, kAnyPhase, ""},
        Rule{Call::kPreRestore, false, true, kNew, "in restore mode, once"},
        Rule{Call::kPostRestore, false, true, bit(Phase::kPreRestored), "after PreRestore"},
        Rule{Call::kSaveAsXml, true, false, kAnyPhase, "not during a restore"},
        Rule{Call::kGetSnapshotProperties, true, false, kAnyPhase, "in backup mode"},
        Rule{Call::kQuery, true, false, kAnyPhase, "in backup mode"},
        Rule{Call::kDelete, true, true, kAnyPhase, ""},
        Rule{Call::kBreak, true, true, kAnyPhase, ""},
        Rule{Call::kImport, true, false, kNew, "after InitializeForBackup with a document, once"},
        Rule{Call::kExpose, true, false, kAnyPhase, "in backup mode"},
        Rule{Call::kIsVolumeSupported, true, false, kAnyPhase, "in backup mode"},
        Rule{Call::kAddToRecoverySet, false, true, kAnyPhase, "after InitializeForRestore"},
        Rule{Call::kRecoverSet, false, true, kAnyPhase, "after InitializeForRestore"},
        Rule{Call::kRevert, true, true, kAnyPhase, ""},
    };
    const auto found = std::ranges::find(kRules, call, &Rule::call);
    return found == kRules.end() ? nullptr : &*found;
}

Answer<> Session::check(Call call) const {
    if (closed_) return refuse(vss::kBadState, "the object was released");
    if (mode_ == Mode::kNew) {
        return refuse(vss::kBadState, "neither InitializeForBackup nor InitializeForRestore has been called");
    }
    const Rule* rule = find_rule(call);
    UMBRA_CHECK(rule != nullptr);
    const bool mode_fits = mode_ == Mode::kBackup ? rule->in_backup : rule->in_restore;
    if (!mode_fits || (rule->phases & bit(phase_)) == 0) {
        return refuse(vss::kBadState, std::string("the call is legal ") + rule->when);
    }
    return {};
}

OperationPtr Session::finished_operation(std::string kind) {
    OperationPtr operation = coordinator_.new_operation(std::move(kind));
    operation->result = vss::kAsyncFinished;
    operation->percent = 100;
    operation->done.set();
    return operation;
}

// --- Initialisation --------------------------------------------------------------------------------------------------

Answer<> Session::initialize_for_backup(std::optional<std::string> xml) {
    if (closed_ || mode_ != Mode::kNew) return refuse(vss::kBadState, "the object is initialised already");
    if (xml) {
        auto document = parse_document(*xml);
        if (!document) {
            coordinator_.events_.error(EventId::kBadDocument, "a document was refused: " + document.error().text(),
                                       {{"client", client_}, {"remedy", "use the document as SaveAsXML gave it"}});
            return refuse(vss::kInvalidXmlDocument, document.error().text());
        }
        document_ = std::move(*document);
    }
    mode_ = Mode::kBackup;
    return {};
}

Answer<> Session::initialize_for_restore(std::optional<std::string> xml) {
    if (!xml) return refuse(vss::kInvalidArgument, "a restore needs its document");
    Answer<> done = initialize_for_backup(std::move(xml));
    if (done) mode_ = Mode::kRestore;
    return done;
}

Answer<> Session::set_context(uint32_t context) {
    if (Answer<> legal = check(Call::kSetContext); !legal) return legal;
    if (context_fixed_) return refuse(vss::kBadState, "the context is fixed already");
    if (context != vss::kContextAll) {
        const uint32_t base_context = context & vss::kContextMask;
        const uint32_t modifiers = context & ~vss::kContextMask;
        const std::array known{vss::kContextBackup,           vss::kContextFileShareBackup,
                               vss::kContextNasRollback,      vss::kContextAppRollback,
                               vss::kContextClientAccessible, vss::kContextClientAccessibleWriters};
        const uint32_t both = vss::kAttrDifferential | vss::kAttrPlex;
        if (std::ranges::find(known, base_context) == known.end() || (modifiers & ~vss::kContextModifiers) != 0 ||
            (modifiers & both) == both || ((context & vss::kAttrClientAccessible) != 0 && modifiers != 0)) {
            return refuse(vss::kInvalidArgument, "no such context, or bits that do not go with it");
        }
    }
    context_ = context;
    context_fixed_ = true;
    return {};
}

Answer<> Session::set_backup_state(bool select_components, bool bootable, uint32_t type, bool partial) {
    if (Answer<> legal = check(Call::kSetBackupState); !legal) return legal;
    if (type > 6) return refuse(vss::kInvalidArgument, "no such backup type");
    document_.select_components = select_components;
    document_.bootable_system_state = bootable;
    document_.backup_type = type;
    document_.partial_file_support = partial;
    backup_state_set_ = true;
    return {};
}

Answer<> Session::set_restore_state(uint32_t type) {
    if (Answer<> legal = check(Call::kSetRestoreState); !legal) return legal;
    if (type > 3) return refuse(vss::kInvalidArgument, "no such restore type");
    return {};
}

// --- Writers: there are none yet but file systems, which the freeze itself makes consistent
// ----------------------------

Answer<> Session::select_writers() {
    return check(Call::kSelectWriters);
}

Answer<OperationPtr> Session::gather_writer_metadata() {
    if (Answer<> legal = check(Call::kGatherWriterMetadata); !legal) return std::unexpected(legal.error());
    if (gathered_) return refuse(vss::kBadState, "GatherWriterMetadata is legal once");
    gathered_ = true;
    return finished_operation("gather");
}

Answer<> Session::get_writer_metadata() {
    if (Answer<> legal = check(Call::kGetWriterMetadata); !legal) return legal;
    if (!gathered_) return refuse(vss::kBadState, "GatherWriterMetadata has not been called");
    return {};
}

Answer<OperationPtr> Session::gather_writer_status() {
    if (Answer<> legal = check(Call::kGatherWriterStatus); !legal) return std::unexpected(legal.error());
    gathered_status_ = true;
    return finished_operation("gather");
}

Answer<> Session::get_writer_status() {
    if (Answer<> legal = check(Call::kGatherWriterStatus); !legal) return legal;
    if (!gathered_status_) return refuse(vss::kBadState, "GatherWriterStatus has not been called");
    return {};
}

Answer<> Session::get_writer_components() {
    return check(Call::kGetWriterComponents);
}

Answer<> Session::edit_component(ComponentEdit edit) {
    Call call = Call::kAddComponent;
    switch (edit.kind) {
        case ComponentEdit::Kind::kAddComponent:
            call = Call::kAddComponent;
            break;
        case ComponentEdit::Kind::kSetBackupSucceeded:
            call = Call::kSetBackupSucceeded;
            break;
        case ComponentEdit::Kind::kOtherBackup:
            call = Call::kEditBackup;
            break;
        case ComponentEdit::Kind::kOtherRestore:
            call = Call::kEditRestore;
            break;
        case ComponentEdit::Kind::kDuringRestore:
            call = Call::kEditDuringRestore;
            break;
        case ComponentEdit::Kind::kEither:
            call = Call::kEditEither;
            break;
    }
    if (Answer<> legal = check(call); !legal) return legal;
    if (edit.kind == ComponentEdit::Kind::kAddComponent || edit.kind == ComponentEdit::Kind::kSetBackupSucceeded) {
        if (!writers_involved()) return refuse(vss::kBadState, "the context has no writers");
        if (!gathered_) return refuse(vss::kBadState, "GatherWriterMetadata has not been called");
    }
    return refuse(vss::kObjectNotFound, "no writer " + edit.writer.braced() + " has this component");
}

// --- Creation --------------------------------------------------------------------------------------------------------

Task<Answer<Guid>> Session::start_snapshot_set(env::Duration wait) {
    const SessionPtr self = shared_from_this();
    auto turn = co_await turn_.lock();
    if (phase_ == Phase::kSetOpen || phase_ == Phase::kPrepared || phase_ == Phase::kSnapshotting) {
        co_return refuse(vss::kSnapshotSetInProgress, "this object's own set is open");
    }
    if (Answer<> legal = check(Call::kStartSnapshotSet); !legal) co_return std::unexpected(legal.error());
    if (context_ == vss::kContextAll) co_return refuse(vss::kBadState, "VSS_CTX_ALL creates nothing");
    if (import_called_) co_return refuse(vss::kBadState, "an object imports or creates, not both");
    Answer<Guid> started = co_await coordinator_.start_snapshot_set(self, context_, wait);
    if (started && closed_) {
        coordinator_.end_creation();
        co_return refuse(vss::kBadState, "the object was released");
    }
    if (started) {
        phase_ = Phase::kSetOpen;
        context_fixed_ = true;
        document_.set.reset();
    }
    co_return started;
}

Task<Answer<Guid>> Session::add_to_snapshot_set(std::string volume, Guid provider) {
    const SessionPtr self = shared_from_this();
    auto turn = co_await turn_.lock();
    if (Answer<> legal = check(Call::kAddToSnapshotSet); !legal) co_return std::unexpected(legal.error());
    if (volume.empty()) co_return refuse(vss::kInvalidArgument, "no volume");
    Answer<Guid> added = co_await coordinator_.add_to_snapshot_set(coordinator_.creation_.get(), volume, provider);
    co_return added;
}

Answer<OperationPtr> Session::prepare_for_backup() {
    if (Answer<> legal = check(Call::kPrepareForBackup); !legal) return std::unexpected(legal.error());
    if (!writers_involved()) return refuse(vss::kBadState, "the context has no writers");
    if (!backup_state_set_) return refuse(vss::kBadState, "SetBackupState has not been called");
    phase_ = Phase::kPrepared;
    return finished_operation("prepare");
}

Task<Answer<OperationPtr>> Session::do_snapshot_set() {
    const SessionPtr self = shared_from_this();
    auto turn = co_await turn_.lock();
    if (Answer<> legal = check(Call::kDoSnapshotSet); !legal) co_return std::unexpected(legal.error());
    if (writers_involved() && (!gathered_ || phase_ != Phase::kPrepared)) {
        co_return refuse(vss::kBadState, "with writers, GatherWriterMetadata and PrepareForBackup come first");
    }
    phase_ = Phase::kSnapshotting;
    coordinator_.creation_->running = true;
    creating_ = coordinator_.start_operation(
        "create", [this, self](OperationPtr operation) { return coordinator_.create(std::move(operation), self); });
    co_return creating_;
}

Answer<OperationPtr> Session::backup_complete() {
    if (Answer<> legal = check(Call::kBackupComplete); !legal) return std::unexpected(legal.error());
    if (!writers_involved()) return refuse(vss::kBadState, "the context has no writers");
    phase_ = Phase::kComplete;
    if (undelivered_) coordinator_.confirm_delivery(*undelivered_);
    return finished_operation("complete");
}

Task<Answer<>> Session::abort_backup() {
    const SessionPtr self = shared_from_this();
    if (Answer<> legal = check(Call::kAbortBackup); !legal) co_return legal;
    if (phase_ == Phase::kSnapshotting) {
        const OperationPtr running = creating_;
        // Not by its id: the requester may have let go of its handle long ago.
        running->cancel_requested = true;
        if (running->on_cancel) running->on_cancel();
        co_await running->done.wait();
        co_return Answer<>();
    }
    auto turn = co_await turn_.lock();
    if (phase_ == Phase::kSetOpen || phase_ == Phase::kPrepared) {
        // Before DoSnapshotSet the providers hear nothing: a BeginPrepareSnapshot with a new set tells them.
        Coordinator::Creation* creation = coordinator_.creation_.get();
        StateChange change;
        // Also when no volume is in it: one whose BeginPrepareSnapshot failed had been written.
        change.erase_sets.push_back(creation->record.id);
        (void)coordinator_.save(std::move(change));
        coordinator_.end_creation();
        phase_ = Phase::kFailed;
    }
    co_return Answer<>();
}

Answer<OperationPtr> Session::pre_restore() {
    if (Answer<> legal = check(Call::kPreRestore); !legal) return std::unexpected(legal.error());
    if (!gathered_) return refuse(vss::kBadState, "GatherWriterMetadata has not been called");
    phase_ = Phase::kPreRestored;
    return finished_operation("pre-restore");
}

Answer<OperationPtr> Session::post_restore() {
    if (Answer<> legal = check(Call::kPostRestore); !legal) return std::unexpected(legal.error());
    phase_ = Phase::kPostRestored;
    return finished_operation("post-restore");
}

Answer<std::string> Session::save_as_xml() {
    if (Answer<> legal = check(Call::kSaveAsXml); !legal) return std::unexpected(legal.error());
    const auto set = undelivered_ ? coordinator_.sets_.find(*undelivered_) : coordinator_.sets_.end();
    if (set != coordinator_.sets_.end() && set->second.state == SetState::kUndelivered) {
        SetRecord leaving = set->second;
        leaving.state = SetState::kUnconfirmed;
        Answer<> saved = coordinator_.save(leaving);
        if (!saved) return std::unexpected(saved.error());
        set->second = std::move(leaving);
    }
    return write_document(document_);
}

// --- Shadow copies that exist ----------------------------------------------------------------------------------------

Answer<SnapshotRecord> Session::get_snapshot_properties(const Guid& id) {
    if (Answer<> legal = check(Call::kGetSnapshotProperties); !legal) return std::unexpected(legal.error());
    if (id.is_null()) return refuse(vss::kInvalidArgument, "GUID_NULL is no shadow copy");
    const SetRecord* set = coordinator_.find_set_of(id);
    if (set == nullptr || set->state == SetState::kImporting || set->state == SetState::kBreaking) {
        return refuse(vss::kObjectNotFound, "no shadow copy " + id.braced());
    }
    const SnapshotRecord& snapshot = *coordinator_.find_snapshot(set->id, id);
    const bool imported = (snapshot.attributes & vss::kAttrImported) != 0;
    if (set->state == SetState::kImportFailed || (set->state == SetState::kImported && !imported)) {
        return refuse(vss::kObjectNotFound, "the import of shadow copy " + id.braced() + " failed");
    }
    return snapshot;
}

Answer<std::vector<SnapshotRecord>> Session::query_snapshots(const Guid& object, uint32_t object_type) {
    if (Answer<> legal = check(Call::kQuery); !legal) return std::unexpected(legal.error());
    if (!object.is_null() || object_type != vss::kObjectNone) {
        return refuse(vss::kInvalidArgument, "a query starts from GUID_NULL and VSS_OBJECT_NONE");
    }
    std::vector<SnapshotRecord> out;
    for (const auto& [id, set] : coordinator_.sets()) {
        if (set.state != SetState::kCreated && set.state != SetState::kImported &&
            set.state != SetState::kUnconfirmed) {
            continue;
        }
        if (context_ != vss::kContextAll && (set.context & vss::kContextMask) != (context_ & vss::kContextMask))
            continue;
        for (const SnapshotRecord& snapshot : set.snapshots) {
            if (set.state == SetState::kImported && (snapshot.attributes & vss::kAttrImported) == 0) continue;
            out.push_back(snapshot);
        }
    }
    std::ranges::sort(out, [](const SnapshotRecord& a, const SnapshotRecord& b) {
        return std::pair(a.created, a.id) < std::pair(b.created, b.id);
    });
    return out;
}

Answer<std::vector<ProviderInfo>> Session::query_providers(const Guid& object, uint32_t object_type) {
    if (Answer<> legal = check(Call::kQuery); !legal) return std::unexpected(legal.error());
    if (!object.is_null() || object_type != vss::kObjectNone) {
        return refuse(vss::kInvalidArgument, "a query starts from GUID_NULL and VSS_OBJECT_NONE");
    }
    std::vector<ProviderInfo> out;
    for (const Provider* provider : coordinator_.providers_.providers()) out.push_back(provider->info());
    return out;
}

Task<Coordinator::Deleted> Session::delete_snapshots(Guid object, uint32_t type) {
    const SessionPtr self = shared_from_this();
    if (Answer<> legal = check(Call::kDelete); !legal) {
        Coordinator::Deleted refused;
        refused.result = legal;
        co_return refused;
    }
    auto turn = co_await turn_.lock();
    Coordinator::Deleted deleted = co_await coordinator_.delete_snapshots(object, type);
    co_return deleted;
}

Task<Answer<>> Session::break_snapshot_set(Guid set, uint32_t flags) {
    const SessionPtr self = shared_from_this();
    if (Answer<> legal = check(Call::kBreak); !legal) co_return legal;
    auto turn = co_await turn_.lock();
    Answer<> broken = co_await coordinator_.break_set(set, flags);
    co_return broken;
}

Task<Answer<ComCode>> Session::run_break(OperationPtr operation, Guid set, uint32_t flags) {
    const SessionPtr self = shared_from_this();
    auto turn = co_await turn_.lock();
    if (operation->cancel_requested) co_return vss::kAsyncCancelled;
    Answer<> broken = co_await coordinator_.break_set(set, flags);
    if (!broken) co_return std::unexpected(broken.error());
    co_return vss::kAsyncFinished;
}

Answer<OperationPtr> Session::break_snapshot_set_ex(Guid set, uint32_t flags) {
    if (Answer<> legal = check(Call::kBreak); !legal) return std::unexpected(legal.error());
    return coordinator_.start_operation(
        "break", [this, set, flags](OperationPtr operation) { return run_break(std::move(operation), set, flags); });
}

Answer<OperationPtr> Session::import_snapshots() {
    if (Answer<> legal = check(Call::kImport); !legal) return std::unexpected(legal.error());
    if (import_called_) return refuse(vss::kBadState, "ImportSnapshots is legal once");
    if (!document_.set || document_.set->snapshots.empty()) {
        return refuse(vss::kBadState, "the object was not initialised with a document that holds shadow copies");
    }
    const auto known = coordinator_.sets().find(document_.set->id);
    if (known != coordinator_.sets().end()) {
        const SetState state = known->second.state;
        if (state != SetState::kTransported && state != SetState::kUnconfirmed && state != SetState::kImportFailed) {
            coordinator_.events_.error(EventId::kImportRefused,
                                       "shadow copy set " + document_.set->id.braced() + " is " +
                                           std::string(to_string(state)) + " on this host, " +
                                           coordinator_.options_.machine,
                                       {{"set", document_.set->id.text()},
                                        {"code", vss::name(vss::kBadState)},
                                        {"holder", coordinator_.options_.machine},
                                        {"remedy", "a set is imported once: use what was imported"}});
            return refuse(vss::kBadState, "the set is imported already");
        }
        if (coordinator_.deleting_.contains(known->first) || coordinator_.cleaning_.contains(known->first)) {
            return refuse(vss::kBadState, "another operation works on the set");
        }
    }
    import_called_ = true;
    context_fixed_ = true;
    const SessionPtr self = shared_from_this();
    importing_ = coordinator_.start_operation(
        "import", [this, self](OperationPtr operation) { return coordinator_.import(std::move(operation), self); });
    return importing_;
}

Task<Answer<std::string>> Session::expose_snapshot(Guid snapshot, std::optional<std::string> path_from_root,
                                                   uint32_t attributes, std::optional<std::string> target) {
    const SessionPtr self = shared_from_this();
    if (Answer<> legal = check(Call::kExpose); !legal) co_return std::unexpected(legal.error());
    auto turn = co_await turn_.lock();
    Answer<std::string> exposed =
        co_await coordinator_.expose(snapshot, attributes, path_from_root.has_value(), target.value_or(""));
    co_return exposed;
}

Task<Answer<>> Session::unexpose_snapshot(Guid snapshot) {
    const SessionPtr self = shared_from_this();
    if (Answer<> legal = check(Call::kExpose); !legal) co_return legal;
    auto turn = co_await turn_.lock();
    Answer<> done = co_await coordinator_.unexpose(snapshot);
    co_return done;
}

Task<Answer<bool>> Session::is_volume_supported(Guid provider, std::string volume) {
    const SessionPtr self = shared_from_this();
    if (Answer<> legal = check(Call::kIsVolumeSupported); !legal) co_return std::unexpected(legal.error());
    if (volume.empty()) co_return refuse(vss::kInvalidArgument, "no volume");
    Answer<bool> supported = co_await coordinator_.is_volume_supported(volume, context_, provider);
    co_return supported;
}

// --- Resynchronisation -----------------------------------------------------------------------------------------------

Task<Answer<>> Session::add_snapshot_to_recovery_set(Guid snapshot, uint32_t flags,
                                                     std::optional<std::string> destination) {
    const SessionPtr self = shared_from_this();
    if (Answer<> legal = check(Call::kAddToRecoverySet); !legal) co_return legal;
    if (coordinator_.options_.safe_mode) co_return refuse(vss::kBadState, "not in safe mode");
    if (flags != 0 || snapshot.is_null())
        co_return refuse(vss::kInvalidArgument, "flags must be 0, the id not GUID_NULL");
    auto turn = co_await turn_.lock();
    auto entry = co_await coordinator_.add_to_recovery_set(document_, snapshot, destination.value_or(""), !destination);
    if (!entry) co_return std::unexpected(entry.error());
    for (const Coordinator::RecoveryEntry& other : recovery_set_) {
        if (other.destination.name == entry->destination.name) {
            co_return refuse(other.snapshot.id == snapshot ? vss::kObjectAlreadyExists : vss::kVolumeNotSupported,
                             "the destination is in the recovery set already");
        }
    }
    recovery_set_.push_back(std::move(*entry));
    co_return Answer<>();
}

Task<Answer<OperationPtr>> Session::recover_set(uint32_t flags) {
    const SessionPtr self = shared_from_this();
    if (Answer<> legal = check(Call::kRecoverSet); !legal) co_return std::unexpected(legal.error());
    if (coordinator_.options_.safe_mode) co_return refuse(vss::kBadState, "not in safe mode");
    if ((flags & ~(vss::kRecoverRevertIdentityAll | vss::kRecoverNoVolumeCheck)) != 0) {
        co_return refuse(vss::kInvalidArgument, "unknown recovery options");
    }
    auto turn = co_await turn_.lock();
    if (recovery_set_.empty()) co_return refuse(vss::kBadState, "the recovery set is empty");
    Answer<OperationPtr> started = co_await coordinator_.recover_set(recovery_set_, flags);
    co_return started;
}

Answer<> Session::revert_to_snapshot(const Guid& snapshot) {
    if (Answer<> legal = check(Call::kRevert); !legal) return legal;
    const SetRecord* set = coordinator_.find_set_of(snapshot);
    if (set == nullptr) return refuse(vss::kObjectNotFound, "no shadow copy " + snapshot.braced());
    if ((set->context & vss::kAttrPersistent) == 0) {
        return refuse(vss::kUnsupportedContext, "only a persistent shadow copy can be reverted to");
    }
    return refuse(vss::kNotImplemented, "RevertToSnapshot is not offered: use RecoverSet");
}

// --- The end ---------------------------------------------------------------------------------------------------------

Task<void> Session::release(bool orderly) {
    const SessionPtr self = shared_from_this();
    closing_ = true;
    if (mode_ != Mode::kNew) (void)co_await abort_backup();
    closed_ = true;
    if (importing_) co_await importing_->done.wait();
    auto turn = co_await turn_.lock();
    std::vector<Guid> owned = std::exchange(auto_release_, {});
    if (undelivered_) {
        const auto set = coordinator_.sets_.find(*undelivered_);
        if (set != coordinator_.sets_.end() && set->second.state == SetState::kUndelivered)
            owned.push_back(*undelivered_);
        if (orderly) coordinator_.confirm_delivery(*undelivered_);
    }
    co_await coordinator_.auto_release(std::move(owned));
}

}  // namespace umbra::coordinator

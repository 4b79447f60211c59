// One IVssBackupComponents object as the commands use it: UTF-8, base::Guid, and failures that name the call.
// The only place of the tools that calls the VSS interfaces.
#pragma once

#include <cstdint>
#include <expected>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "base/guid.h"
#include "vsbackup.h"

namespace umbra::cli::diskshadow {

struct CallFailure {
    std::string call;  ///< the method's name
    HRESULT code = 0;  ///< a failure, or a success code that is less than success
    /// What the service said about it; may be empty. Nothing: nobody was asked yet (UmbraGetLastErrorText knows).
    std::optional<std::string> cause;
};
template <class T = void>
using Called = std::expected<T, CallFailure>;

/// CreateVssBackupComponents or a test's.
using Factory = std::function<HRESULT(IVssBackupComponents**)>;

struct Shadow {
    base::Guid id;
    base::Guid set;
    int32_t count_in_set = 0;
    std::string device;
    std::string volume;
    std::string originating_machine;
    std::string service_machine;
    std::optional<std::string> exposed_name;
    std::optional<std::string> exposed_path;
    base::Guid provider;
    uint32_t attributes = 0;
    int64_t created = 0;  ///< 100 ns since 1601-01-01 UTC
};

struct Provider {
    base::Guid id;
    std::string name;
    int type = 0;  ///< VSS_PROVIDER_TYPE
    std::string version;
    base::Guid class_id;
};

struct WriterStatus {
    std::string name;
    base::Guid writer;
    base::Guid instance;
    int state = 0;  ///< VSS_WRITER_STATE
    HRESULT failure = 0;
};

struct Deletion {
    int32_t deleted = 0;
    std::optional<CallFailure> failure;  ///< what stopped it
    base::Guid not_deleted;              ///< null without a failure
};

/// Releasing the object releases its auto-release shadow copies.
class Requester {
public:
    /// CreateVssBackupComponents and InitializeForBackup(document or NULL).
    static Called<std::unique_ptr<Requester>> for_backup(const Factory& factory,
                                                         const std::optional<std::string>& document = std::nullopt);
    /// CreateVssBackupComponents and InitializeForRestore(document).
    static Called<std::unique_ptr<Requester>> for_restore(const Factory& factory, const std::string& document);
    ~Requester();
    Requester(const Requester&) = delete;
    Requester& operator=(const Requester&) = delete;

    Called<> set_context(int32_t context);
    Called<> set_backup_state(bool full);
    Called<> gather_writer_metadata();
    Called<uint32_t> writer_count();
    Called<bool> is_volume_supported(const std::string& volume, const base::Guid& provider);
    Called<base::Guid> start_set();
    Called<base::Guid> add_volume(const std::string& volume, const base::Guid& provider);
    Called<> prepare_for_backup();
    Called<> do_set();
    Called<> backup_complete();
    /// Failures are of no use to a caller that is giving up already.
    void abort();
    Called<std::vector<WriterStatus>> writer_status();
    Called<std::string> document();

    /// Some but not all imported is a failure with VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED.
    Called<> import_set();
    Called<> break_set(const base::Guid& set);
    Called<> break_set_ex(const base::Guid& set, uint32_t flags);
    /// The name under which it is exposed now.
    Called<std::string> expose(const base::Guid& shadow, const std::string& where, bool remotely);
    Called<> unexpose(const base::Guid& shadow);
    Called<> add_to_recovery_set(const base::Guid& shadow, const std::optional<std::string>& destination);
    Called<> recover_set(uint32_t flags);
    Called<> revert(const base::Guid& shadow);
    /// Waits for a revert of `volume`; one that is over already is success.
    Called<> wait_for_revert(const std::string& volume);
    Called<> pre_restore();
    Called<> post_restore();

    Called<Shadow> shadow(const base::Guid& id);
    Called<std::vector<Shadow>> shadows();
    Called<std::vector<Provider>> providers();
    Deletion delete_shadow(const base::Guid& id);
    Deletion delete_set(const base::Guid& id);

private:
    struct Impl;
    explicit Requester(std::unique_ptr<Impl> impl);
    static Called<std::unique_ptr<Requester>> create(const Factory& factory);
    Called<> initialize(const std::optional<std::string>& document, bool restore);
    Called<> finish(const char* call, HRESULT started, IVssAsync* async);
    Deletion delete_object(const base::Guid& id, int type);

    std::unique_ptr<Impl> impl_;
};

}  // namespace umbra::cli::diskshadow

// A hardware provider as the coordinator sees it: the methods of vsprov.h, wherever the provider runs.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/guid.h"
#include "coordinator/codes.h"
#include "coordinator/lun_information.h"
#include "env/executor.h"
#include "env/task.h"

namespace umbra::coordinator {

struct ProviderInfo {
    base::Guid id;
    std::string name;
    uint32_t type = vss::kProviderTypeHardware;
    std::string version;
    base::Guid version_id;
    base::Guid class_id;
};

/// `code` is what the method returned, unchanged. `lost` is not empty when there was no answer: the surrogate process
/// died, could not be started, or was killed; it says so in words.
struct ProviderReply {
    ComCode code = vss::kOk;
    std::string lost;
};
struct SupportReply : ProviderReply {
    bool supported = false;
    std::vector<LunInformation> luns;  ///< as the provider left them
};
struct LunsReply : ProviderReply {
    std::vector<LunInformation> luns;
};
struct AsyncReply : ProviderReply {
    uint64_t async = 0;  ///< 0: the provider gave none
};
struct AsyncState : ProviderReply {
    ComCode result = vss::kAsyncPending;
    int percent = -1;
};

/// Calls may overlap. Every call ends: with an answer, or `lost` after give_up(). The object outlives its calls.
class Provider {
public:
    virtual ~Provider() = default;

    virtual const ProviderInfo& info() const = 0;
    /// Whether IVssHardwareSnapshotProviderEx is offered; loads the provider if need be.
    virtual env::Task<std::expected<bool, std::string>> has_ex() = 0;
    /// The provider did not answer in time: its process is killed, calls under way end as lost. The next call starts it
    /// afresh.
    virtual void give_up(std::string why) = 0;

    virtual env::Task<SupportReply> are_luns_supported(uint32_t context, std::vector<std::string> devices,
                                                       std::vector<LunInformation> luns) = 0;
    virtual env::Task<ProviderReply> begin_prepare_snapshot(base::Guid set, base::Guid snapshot, uint32_t context,
                                                            std::vector<std::string> devices,
                                                            std::vector<LunInformation> luns) = 0;
    virtual env::Task<ProviderReply> end_prepare_snapshots(base::Guid set) = 0;
    virtual env::Task<ProviderReply> pre_commit_snapshots(base::Guid set) = 0;
    virtual env::Task<ProviderReply> commit_snapshots(base::Guid set) = 0;
    virtual env::Task<ProviderReply> post_commit_snapshots(base::Guid set, uint32_t snapshots) = 0;
    virtual env::Task<ProviderReply> pre_final_commit_snapshots(base::Guid set) = 0;
    virtual env::Task<ProviderReply> post_final_commit_snapshots(base::Guid set) = 0;
    virtual env::Task<ProviderReply> abort_snapshots(base::Guid set) = 0;

    virtual env::Task<LunsReply> get_target_luns(std::vector<std::string> devices,
                                                 std::vector<LunInformation> luns) = 0;
    virtual env::Task<ProviderReply> locate_luns(std::vector<LunInformation> luns) = 0;
    /// `luns` of the reply has exactly one element.
    virtual env::Task<SupportReply> fill_in_lun_info(std::string device, LunInformation lun) = 0;
    virtual env::Task<ProviderReply> on_lun_empty(std::string device, LunInformation lun) = 0;

    // Only with has_ex().
    virtual env::Task<ProviderReply> on_lun_state_change(std::vector<LunInformation> snapshots,
                                                         std::vector<LunInformation> originals, uint32_t flags) = 0;
    virtual env::Task<AsyncReply> resync_luns(std::vector<LunInformation> sources,
                                              std::vector<LunInformation> targets) = 0;
    virtual env::Task<AsyncState> query_async(uint64_t async) = 0;
    virtual env::Task<ProviderReply> cancel_async(uint64_t async) = 0;
    virtual env::Task<void> release_async(uint64_t async) = 0;
};

/// The providers of this host in the order in which they are asked. Pointers stay valid for the registry's life.
class ProviderRegistry {
public:
    virtual ~ProviderRegistry() = default;
    virtual std::vector<Provider*> providers() = 0;
    Provider* find(const base::Guid& id) {
        for (Provider* provider : providers()) {
            if (provider->info().id == id) return provider;
        }
        return nullptr;
    }
};

}  // namespace umbra::coordinator

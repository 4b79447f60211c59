// An array in memory, the provider process for it, and a kill switch: what the coordinator's tests run against.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "coordinator/deadline.h"
#include "coordinator/provider.h"
#include "env/executor.h"
#include "host/testing/fake_host.h"

namespace umbra::coordinator::testing {

/// Counts the calls that a coordinator makes to the outside. At the one that was chosen the coordinator is as good as
/// killed: that call and every later one fail without effect.
struct KillSwitch {
    int calls = 0;
    int kill_at = -1;
    bool dead = false;
    bool pass() {
        if (!dead && calls++ == kill_at) dead = true;
        return !dead;
    }
};

struct ArrayLun {
    host::LunIdentity identity;
    std::string content;
    host::DiskSignature signature;
    uint32_t flags = 0;
    bool shadow = false;
    bool final = false;  ///< PostFinalCommitSnapshots has been seen
    base::Guid set;
    std::string importer;
};

class FakeArray {
public:
    /// A LUN of the array, attached to `host` and mounted.
    std::string add_lun(host::testing::FakeHost& host, uint64_t tag, std::string mount, std::string content,
                        host::TableKind table = host::TableKind::kNone);
    ArrayLun* find(const LunInformation& lun);
    ArrayLun* find(uint64_t tag);
    size_t shadow_count() const;
    std::map<std::string, ArrayLun> luns;  // by key
    /// Copies that go on although nobody holds their IVssAsync: target key, and what is left to do.
    struct Copy {
        std::string source;
        int polls = 0;
    };
    std::map<std::string, Copy> running;
    bool replaced_in_use = false;  ///< the content of a mounted disk was exchanged
    uint64_t next_tag = 1000;
};

class FakeProvider final : public Provider {
public:
    FakeProvider(FakeArray& array, host::testing::FakeHost& host, env::Executor& executor, std::string host_name,
                 KillSwitch* kill, base::Guid id, std::string name = "fake")
        : array_(array),
          host_(host),
          executor_(executor),
          host_name_(std::move(host_name)),
          kill_(kill),
          given_up_(executor) {
        info_.id = id;
        info_.name = std::move(name);
        info_.version = "1.0";
    }

    // --- What tests set and ask ---
    std::vector<std::string> calls;           ///< method names in call order
    std::map<std::string, ComCode> fail;      ///< every call of the method returns that, without effect
    std::map<std::string, std::string> lose;  ///< every call of the method is lost
    std::set<std::string> lose_reply;  ///< the next call of the method takes effect, then its process dies (ResyncLuns)
    std::map<std::string, env::Duration> delay;
    bool ex = true;
    bool supports = true;
    std::function<bool(const LunInformation&)> supports_lun;
    bool corrupt_fill_in = false;        ///< FillInLunInfo disagrees with GetTargetLuns
    bool foreign_fill_in = false;        ///< FillInLunInfo says that the LUN is not its
    bool change_ignored_fields = false;  ///< bus type and signature differ from GetTargetLuns'
    bool arrive = true;                  ///< LUNs show up after LocateLuns
    bool array_away = false;             ///< methods that need the array fail, after their delay, without effect
    bool commit_was_frozen = false;
    uint32_t flags_at_commit = 0;
    int polls_until_done = 2;
    size_t copies_of_failure = 0;  ///< so many pairs are copied all the same when resync_result is a failure
    ComCode resync_result = vss::kAsyncFinished;
    int give_ups = 0;
    size_t count(const std::string& method) const;
    /// The process dies and is started again: what it knew is gone, what the array has stays.
    void restart();

    // --- Provider ---
    const ProviderInfo& info() const override { return info_; }
    env::Task<std::expected<bool, std::string>> has_ex() override;
    void give_up(std::string why) override;
    env::Task<SupportReply> are_luns_supported(uint32_t context, std::vector<std::string> devices,
                                               std::vector<LunInformation> luns) override;
    env::Task<ProviderReply> begin_prepare_snapshot(base::Guid set, base::Guid snapshot, uint32_t context,
                                                    std::vector<std::string> devices,
                                                    std::vector<LunInformation> luns) override;
    env::Task<ProviderReply> end_prepare_snapshots(base::Guid set) override;
    env::Task<ProviderReply> pre_commit_snapshots(base::Guid set) override;
    env::Task<ProviderReply> commit_snapshots(base::Guid set) override;
    env::Task<ProviderReply> post_commit_snapshots(base::Guid set, uint32_t snapshots) override;
    env::Task<ProviderReply> pre_final_commit_snapshots(base::Guid set) override;
    env::Task<ProviderReply> post_final_commit_snapshots(base::Guid set) override;
    env::Task<ProviderReply> abort_snapshots(base::Guid set) override;
    env::Task<LunsReply> get_target_luns(std::vector<std::string> devices, std::vector<LunInformation> luns) override;
    env::Task<ProviderReply> locate_luns(std::vector<LunInformation> luns) override;
    env::Task<SupportReply> fill_in_lun_info(std::string device, LunInformation lun) override;
    env::Task<ProviderReply> on_lun_empty(std::string device, LunInformation lun) override;
    env::Task<ProviderReply> on_lun_state_change(std::vector<LunInformation> snapshots,
                                                 std::vector<LunInformation> originals, uint32_t flags) override;
    env::Task<AsyncReply> resync_luns(std::vector<LunInformation> sources,
                                      std::vector<LunInformation> targets) override;
    env::Task<AsyncState> query_async(uint64_t async) override;
    env::Task<ProviderReply> cancel_async(uint64_t async) override;
    env::Task<void> release_async(uint64_t async) override;

private:
    struct Pair {
        std::string source;
        std::string target;
    };
    struct Async {
        std::vector<Pair> pairs;
        int polls = 0;
        bool cancelled = false;
        bool ended = false;
    };
    env::Task<ProviderReply> enter(std::string method);
    ProviderReply advance(int from, int to, const base::Guid& set);
    void copy(const std::vector<Pair>& pairs);
    /// Nobody asks for its end any more; the array goes on.
    void abandon(uint64_t async);
    /// What copies without an IVssAsync goes on; true while a target is being overwritten.
    bool busy(const std::vector<Pair>& pairs);

    FakeArray& array_;
    host::testing::FakeHost& host_;
    env::Executor& executor_;
    std::string host_name_;
    KillSwitch* kill_;
    Signal given_up_;
    ProviderInfo info_;
    int state_ =
        0;  // vss.md 3.4: 0 unknown, 1 preparing, 2 prepared, 3 precommitted, 4 committed, 5 created, 6 aborted
    base::Guid set_;
    std::map<std::string, std::string> prepared_;  // source key -> target key
    std::map<uint64_t, Async> asyncs_;
    uint64_t next_async_ = 1;
};

}  // namespace umbra::coordinator::testing

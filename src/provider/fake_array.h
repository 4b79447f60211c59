// An array in memory for the provider's tests: its rules are those of the management protocol, its failures are ordered
// by the test.
#pragma once

#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "provider/array_client.h"
#include "vdslun.h"

namespace umbra::provider {

class FakeArray final : public ArrayClient {
public:
    explicit FakeArray(std::string name = "fake");
    ~FakeArray() override;

    // What a test arranges and looks at. Not while calls run.
    struct Fault {
        base::Code code;
        bool done_all_the_same = false;  ///< the change happens, the answer is lost
        int after = 0;                   ///< so many calls pass before
        bool late = false;               ///< the answer is lost, and the change happens before settle() returns
    };
    std::map<std::string, Fault> faults;    ///< by method; applies until removed
    std::vector<std::string> calls;         ///< methods that change something, in order
    std::map<std::string, LunRecord> luns;  ///< by NAA
    std::map<std::string, bool> write_protected;
    std::vector<DriveRecord> drive_list;
    std::vector<SessionRecord> session_list;
    std::map<uint64_t, TaskRecord> tasks;
    ArrayRecord record;
    /// How the next task ends at once; "running" leaves it to the test.
    TaskRecord next_task;
    uint64_t last_event = 0;
    bool waiting_ends_tasks = true;  ///< wait_task() finishes a running task

    LunRecord& add_lun(const std::string& name, const std::string& type, uint64_t size = 1ull << 30);
    const LunRecord* find(const std::string& name) const;
    size_t count(LunKind kind) const;
    /// As the array's event stream does; the watcher hears it before this returns.
    void emit(const std::string& id);
    void emit_numbered(uint64_t sequence);
    void break_stream();
    bool watched() const { return static_cast<bool>(on_event_); }

    const std::string& address() const override { return address_; }
    Result<ArrayRecord> status(Timeout timeout) override;
    Result<std::vector<LunRecord>> list_luns() override;
    Result<LunRecord> get_lun_by_naa(const std::string& naa) override;
    Result<LunRecord> create_lun(const std::string& name, uint64_t size_bytes, const std::string& type) override;
    Result<void> delete_lun(const std::string& naa, bool force) override;
    Result<LunRecord> resize_lun(const std::string& naa, uint64_t size_bytes, bool force) override;
    Result<LunRecord> rename_lun(const std::string& naa, const std::string& name) override;
    Result<LunRecord> update_lun(const std::string& naa, const LunUpdate& update) override;
    Result<std::vector<LunRecord>> create_shadow_copies(const std::vector<ShadowRequest>& requests,
                                                        Timeout timeout) override;
    Result<TaskRecord> resync(const std::string& destination_naa, const std::string& source_naa, bool force) override;
    Result<TaskRecord> recover(const std::string& naa) override;
    Result<void> add_mask(const std::string& naa, const std::string& initiator) override;
    Result<void> remove_mask(const std::string& naa, const std::string& initiator, const std::string& target,
                             bool force) override;
    Result<std::vector<SessionRecord>> sessions() override;
    Result<std::vector<DriveRecord>> drives() override;
    Result<void> settle() override;
    Result<std::vector<TaskRecord>> list_tasks() override;
    Result<TaskRecord> get_task(uint64_t id) override;
    Result<TaskRecord> wait_task(uint64_t id, Timeout timeout) override;
    Result<TaskRecord> cancel_task(uint64_t id) override;
    Result<uint64_t> newest_event() override;
    Result<void> watch_events(uint64_t sequence, std::function<void(const EventRecord&)> on_event,
                              std::function<void(const base::Error&)> on_end) override;
    void stop_watching() override;

private:
    /// The fault ordered for `method`, if it strikes now.
    std::optional<Fault> strike(const std::string& method);
    Result<LunRecord*> known(const std::string& naa);
    Result<TaskRecord> start(const std::string& kind, const LunRecord& lun, const std::string& source = {});
    std::vector<ShadowRequest> queued_;  // of a call whose caller is gone

    const std::string address_;
    uint64_t next_ = 1;
    std::function<void(const EventRecord&)> on_event_;
    std::function<void(const base::Error&)> on_end_;
};

/// What an initiator finds out about the LUN: page 83 as the array has it. Free with free_lun_information().
VDS_LUN_INFORMATION information_of(const LunRecord& lun);

}  // namespace umbra::provider

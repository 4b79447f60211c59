// The management channel of an array, for those who use one: the umbra command, the hardware provider, the host.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "array/view.h"
#include "base/result.h"

namespace umbra::array_rpc {

struct ClientOptions {
    std::string address;  ///< "unix:/path" (absolute, or relative to the working directory)
    std::chrono::milliseconds connect_deadline{10'000};  ///< keep trying while the daemon comes up; 0: try once
    std::chrono::milliseconds call_timeout{120'000};     ///< of each call but wait_task and watch_events
};

/// Thread-safe; calls block. Errors are the array's own (base::Code and message as it gave them); kUnavailable: the
/// daemon cannot be reached or went away during the call (the change may or may not have been made); kTimedOut.
class ArrayClient {
public:
    /// Does not connect yet: the first call does. kInvalidArgument: an address of another kind than "unix:".
    static base::Result<std::unique_ptr<ArrayClient>> make(ClientOptions options);
    ~ArrayClient();
    ArrayClient(const ArrayClient&) = delete;
    ArrayClient& operator=(const ArrayClient&) = delete;

    base::Result<array::StatusView> status();

    base::Result<array::LunView> create_lun(const array::CreateLun& request);
    base::Result<array::LunView> get_lun(const array::LunRef& lun);
    /// Of the given kinds; none: all.
    base::Result<std::vector<array::LunView>> list_luns(const std::vector<array::LunKind>& kinds = {});
    /// LUN, snapshot or shadow copy. kBusy while initiators that see it are logged in, unless `force`.
    base::Result<void> delete_lun(const array::LunRef& lun, bool force = false);
    base::Result<array::LunView> resize_lun(const array::LunRef& lun, uint64_t size_bytes, bool force = false);
    base::Result<array::LunView> rename_lun(const array::LunRef& lun, const std::string& name);
    base::Result<array::LunView> update_lun(const array::LunRef& lun, const array::UpdateLun& update);

    /// All at one instant, all or none; in the order of `items`. `kind` is kSnapshot or kShadowCopy.
    base::Result<std::vector<array::LunView>> create_snapshots(const std::vector<array::SnapshotItem>& items,
                                                               array::LunKind kind);
    /// Starts the task and returns it.
    base::Result<array::TaskView> resync_lun(const array::ResyncLun& request);
    base::Result<array::TaskView> recover_lun(const array::LunRef& lun);

    base::Result<array::LunView> add_mask(const array::MaskChange& change);
    base::Result<array::LunView> remove_mask(const array::MaskChange& change);
    base::Result<std::vector<array::SessionView>> sessions();

    base::Result<std::vector<array::DriveView>> drives();
    /// `drive`: name, path or id. kBadState when data would be lost by it, unless `force`.
    base::Result<array::DriveView> fail_drive(const std::string& drive, bool force = false);
    base::Result<array::TaskView> start_scrub();

    base::Result<std::vector<array::TaskView>> tasks();
    base::Result<array::TaskView> get_task(uint64_t id);
    /// Blocks until the task has ended and returns it, whatever its state. `progress` is called with each report, about
    /// four a second; when it returns false the wait ends with kCancelled (the task goes on).
    base::Result<array::TaskView> wait_task(uint64_t id,
                                            const std::function<bool(const array::TaskView&)>& progress = {});
    base::Result<array::TaskView> cancel_task(uint64_t id);

    /// Events after `after_sequence`, oldest first; `limit` 0: 1000.
    base::Result<std::vector<array::EventView>> events(uint64_t after_sequence = 0, uint32_t limit = 0);
    /// Calls `sink` with every event after `after_sequence`, then with new ones as they come, until it returns false
    /// (success), cancel_streams() is called (kCancelled) or the channel breaks (kUnavailable). A gap in the sequence
    /// numbers means that the array no longer keeps what lies between.
    base::Result<void> watch_events(uint64_t after_sequence, const std::function<bool(const array::EventView&)>& sink);

    /// Ends every wait_task() and watch_events() that runs, from another thread.
    void cancel_streams();

private:
    struct Impl;
    explicit ArrayClient(std::unique_ptr<Impl> impl);
    std::unique_ptr<Impl> impl_;
};

}  // namespace umbra::array_rpc

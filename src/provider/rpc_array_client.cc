#include "provider/rpc_array_client.h"

#include <array>
#include <atomic>
#include <mutex>
#include <thread>

#include "array_rpc/client.h"

namespace umbra::provider {

using base::Code;
using base::fail;

namespace {

constexpr std::chrono::milliseconds kCallTimeout{30'000};
/// A provider's caller waits with something held: an array that is down is said to be down soon.
constexpr std::chrono::milliseconds kConnectDeadline{2'000};
constexpr uint32_t kEventPage = 1000;

LunKind from_view(array::LunKind kind) {
    switch (kind) {
        case array::LunKind::kLun:
            return LunKind::kLun;
        case array::LunKind::kSnapshot:
            return LunKind::kSnapshot;
        case array::LunKind::kShadowCopy:
            return LunKind::kShadowCopy;
    }
    return LunKind::kSnapshot;
}

LunRecord from_view(array::LunView view) {
    LunRecord lun;
    lun.name = std::move(view.name);
    lun.id = std::move(view.id);
    lun.naa = std::move(view.naa);
    lun.serial = std::move(view.serial);
    lun.kind = from_view(view.kind);
    lun.type = std::move(view.type);
    lun.size_bytes = view.size_bytes;
    lun.health = std::move(view.health);
    lun.origin = std::move(view.origin);
    for (auto& mask : view.masks)
        lun.masks.push_back({std::move(mask.initiator), std::move(mask.target_iqn), mask.lun});
    for (auto& plex : view.plexes) {
        lun.plexes.push_back({std::move(plex.id), std::move(plex.health), std::move(plex.drives)});
    }
    lun.flags = view.flags;
    lun.attributes = std::move(view.attributes);
    lun.page83.assign(reinterpret_cast<const char*>(view.page83.data()), view.page83.size());
    lun.generation = view.generation;
    return lun;
}

Result<LunRecord> from_view(base::Result<array::LunView> view) {
    if (!view) return std::unexpected(std::move(view).error());
    return from_view(std::move(*view));
}

/// The code that the array named; kInternal for one that this build does not know.
Code parse_code(const std::string& name) {
    for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i) {
        if (base::to_string(static_cast<Code>(i)) == name) return static_cast<Code>(i);
    }
    return Code::kInternal;
}

TaskRecord from_view(array::TaskView view) {
    TaskRecord task;
    task.id = view.id;
    task.kind = std::move(view.kind);
    task.object = std::move(view.object);
    task.object_naa = std::move(view.object_naa);
    task.source_naa = std::move(view.source_naa);
    switch (view.state) {
        case array::TaskState::kRunning:
            task.state = "running";
            break;
        case array::TaskState::kDone:
            task.state = "done";
            break;
        case array::TaskState::kFailed:
            task.state = "failed";
            task.error_code = parse_code(view.error_code);
            break;
        case array::TaskState::kCancelled:
            task.state = "cancelled";
            break;
    }
    task.percent = view.percent;
    task.done_bytes = view.done_bytes;
    task.total_bytes = view.total_bytes;
    task.seconds_left = view.seconds_left;
    task.error = std::move(view.error);
    task.result = std::move(view.result);
    return task;
}

Result<TaskRecord> from_view(base::Result<array::TaskView> view) {
    if (!view) return std::unexpected(std::move(view).error());
    return from_view(std::move(*view));
}

Result<void> dropped(base::Result<array::LunView> view) {
    if (!view) return std::unexpected(std::move(view).error());
    return {};
}

class RpcArrayClient final : public ArrayClient {
public:
    RpcArrayClient(std::string address, std::unique_ptr<array_rpc::ArrayClient> calls,
                   std::unique_ptr<array_rpc::ArrayClient> commit, std::unique_ptr<array_rpc::ArrayClient> stream)
        : address_(std::move(address)),
          calls_(std::move(calls)),
          commit_(std::move(commit)),
          stream_(std::move(stream)) {}
    ~RpcArrayClient() override { RpcArrayClient::stop_watching(); }

    const std::string& address() const override { return address_; }

    Result<ArrayRecord> status(Timeout) override {
        // Over the channel that the commit will use: it stands when volumes are frozen.
        auto answer = commit_->status();
        if (!answer && answer.error().code == Code::kUnavailable && calls_->status()) answer = commit_->status();
        UMBRA_ASSIGN(auto view, std::move(answer));
        ArrayRecord record;
        record.id = std::move(view.id);
        record.name = std::move(view.name);
        record.version = std::move(view.version);
        record.state = std::move(view.state);
        record.raw_bytes = view.raw_bytes;
        record.free_bytes = view.free_bytes;
        record.drives = view.drives;
        record.drives_online = view.drives_online;
        record.vendor_id = std::move(view.vendor_id);
        record.product_id = std::move(view.product_id);
        record.product_revision = std::move(view.product_revision);
        return record;
    }
    Result<std::vector<LunRecord>> list_luns() override {
        UMBRA_ASSIGN(auto views, calls_->list_luns());
        std::vector<LunRecord> luns;
        for (auto& view : views) luns.push_back(from_view(std::move(view)));
        return luns;
    }
    Result<LunRecord> get_lun_by_naa(const std::string& naa) override {
        return from_view(calls_->get_lun(array::LunRef::naa(naa)));
    }
    Result<LunRecord> create_lun(const std::string& name, uint64_t size_bytes, const std::string& type) override {
        array::CreateLun request;
        request.name = name;
        request.size_bytes = size_bytes;
        request.type = type;
        return from_view(calls_->create_lun(request));
    }
    Result<void> delete_lun(const std::string& naa, bool force) override {
        return calls_->delete_lun(array::LunRef::naa(naa), force);
    }
    Result<LunRecord> resize_lun(const std::string& naa, uint64_t size_bytes, bool force) override {
        return from_view(calls_->resize_lun(array::LunRef::naa(naa), size_bytes, force));
    }
    Result<LunRecord> rename_lun(const std::string& naa, const std::string& name) override {
        return from_view(calls_->rename_lun(array::LunRef::naa(naa), name));
    }
    Result<LunRecord> update_lun(const std::string& naa, const LunUpdate& update) override {
        array::UpdateLun request;
        request.flags = update.flags;
        request.set_attributes = update.set_attributes;
        request.remove_attributes = update.remove_attributes;
        request.expect_attributes = update.expect_attributes;
        request.break_shadow_copy = update.break_shadow_copy;
        request.write_protect = update.write_protect;
        return from_view(calls_->update_lun(array::LunRef::naa(naa), request));
    }
    Result<std::vector<LunRecord>> create_shadow_copies(const std::vector<ShadowRequest>& requests, Timeout) override {
        std::vector<array::SnapshotItem> items;
        for (const ShadowRequest& request : requests) {
            array::SnapshotItem item;
            item.source = array::LunRef::naa(request.source_naa);
            item.name = request.name;
            item.attributes = request.attributes;
            item.flags = request.flags;
            items.push_back(std::move(item));
        }
        UMBRA_ASSIGN(auto views, commit_->create_snapshots(items, array::LunKind::kShadowCopy));
        std::vector<LunRecord> luns;
        for (auto& view : views) luns.push_back(from_view(std::move(view)));
        return luns;
    }
    Result<TaskRecord> resync(const std::string& destination_naa, const std::string& source_naa, bool force) override {
        array::ResyncLun request;
        request.destination = array::LunRef::naa(destination_naa);
        request.source = array::LunRef::naa(source_naa);
        request.force = force;
        return from_view(calls_->resync_lun(request));
    }
    Result<TaskRecord> recover(const std::string& naa) override {
        return from_view(calls_->recover_lun(array::LunRef::naa(naa)));
    }
    Result<void> add_mask(const std::string& naa, const std::string& initiator) override {
        array::MaskChange change;
        change.lun = array::LunRef::naa(naa);
        change.initiator = initiator;
        return dropped(calls_->add_mask(change));
    }
    Result<void> remove_mask(const std::string& naa, const std::string& initiator, const std::string& target,
                             bool force) override {
        array::MaskChange change;
        change.lun = array::LunRef::naa(naa);
        change.initiator = initiator;
        change.target_iqn = target;
        change.force = force;
        return dropped(calls_->remove_mask(change));
    }
    Result<std::vector<SessionRecord>> sessions() override {
        UMBRA_ASSIGN(auto views, calls_->sessions());
        std::vector<SessionRecord> sessions;
        for (auto& view : views) {
            sessions.push_back({std::move(view.initiator), std::move(view.peer), std::move(view.luns)});
        }
        return sessions;
    }
    Result<std::vector<DriveRecord>> drives() override {
        UMBRA_ASSIGN(auto views, calls_->drives());
        std::vector<DriveRecord> drives;
        for (auto& view : views) {
            drives.push_back({std::move(view.name), std::move(view.id), std::move(view.path), view.size_bytes,
                              view.used_bytes, std::move(view.state), view.index});
        }
        return drives;
    }
    Result<void> settle() override {
        // Changes are made one at a time in the order of their calls, and those whose caller is gone are refused when
        // their turn comes: any change that is answered is behind them. This one changes nothing.
        auto answer = calls_->update_lun(array::LunRef::naa(std::string(32, '0')), {});
        if (answer || answer.error().code == Code::kNotFound) return {};
        return std::unexpected(std::move(answer).error());
    }
    Result<std::vector<TaskRecord>> list_tasks() override {
        UMBRA_ASSIGN(auto views, calls_->tasks());
        std::vector<TaskRecord> tasks;
        for (auto& view : views) tasks.push_back(from_view(std::move(view)));
        return tasks;
    }
    Result<TaskRecord> get_task(uint64_t id) override { return from_view(calls_->get_task(id)); }
    Result<TaskRecord> wait_task(uint64_t id, Timeout timeout) override {
        auto until = std::chrono::steady_clock::now() + timeout;
        TaskRecord last;
        auto ended = calls_->wait_task(id, [&](const array::TaskView& view) {
            last = from_view(view);
            return std::chrono::steady_clock::now() < until;
        });
        if (ended) return from_view(std::move(*ended));
        if (ended.error().code == Code::kCancelled && last.id == id) return last;
        return std::unexpected(std::move(ended).error());
    }
    Result<TaskRecord> cancel_task(uint64_t id) override { return from_view(calls_->cancel_task(id)); }

    Result<uint64_t> newest_event() override {
        uint64_t newest = 0;
        for (;;) {
            UMBRA_ASSIGN(auto page, calls_->events(newest, kEventPage));
            if (!page.empty()) newest = page.back().sequence;
            if (page.size() < kEventPage) return newest;
        }
    }
    Result<void> watch_events(uint64_t sequence, std::function<void(const EventRecord&)> on_event,
                              std::function<void(const base::Error&)> on_end) override {
        std::lock_guard lock(watch_mutex_);
        if (watcher_.joinable()) return fail(Code::kBusy, "events of " + address_ + " are watched already");
        stopping_ = false;
        ended_ = false;
        watcher_ = std::thread([this, sequence, on_event = std::move(on_event), on_end = std::move(on_end)] {
            auto outcome = stream_->watch_events(sequence, [&](const array::EventView& view) {
                if (stopping_) return false;
                on_event({view.sequence, view.id, view.message, view.lun, view.drive});
                return true;
            });
            if (!stopping_) {
                on_end(outcome ? base::Error{Code::kUnavailable, "the array ended it"} : outcome.error());
            }
            ended_ = true;
        });
        return {};
    }
    void stop_watching() override {
        std::lock_guard lock(watch_mutex_);
        if (!watcher_.joinable()) return;
        stopping_ = true;
        // A stream that is only just being opened does not hear the first call.
        while (!ended_) {
            stream_->cancel_streams();
            std::this_thread::sleep_for(std::chrono::milliseconds(5));
        }
        watcher_.join();
    }

private:
    const std::string address_;
    const std::unique_ptr<array_rpc::ArrayClient> calls_;
    const std::unique_ptr<array_rpc::ArrayClient> commit_;
    const std::unique_ptr<array_rpc::ArrayClient> stream_;
    std::mutex watch_mutex_;
    std::thread watcher_;
    std::atomic<bool> stopping_{false};
    std::atomic<bool> ended_{false};
};

}  // namespace

base::Result<std::vector<std::shared_ptr<ArrayClient>>> connect_arrays(const ProviderConfig& config) {
    std::vector<std::shared_ptr<ArrayClient>> arrays;
    for (const std::string& address : config.arrays) {
        auto open = [&](std::chrono::milliseconds connect, std::chrono::milliseconds call) {
            array_rpc::ClientOptions options;
            options.address = address;
            options.connect_deadline = connect;
            options.call_timeout = call;
            return array_rpc::ArrayClient::make(options);
        };
        UMBRA_ASSIGN(auto calls, open(kConnectDeadline, kCallTimeout));
        UMBRA_ASSIGN(auto commit, open(std::chrono::milliseconds(0), config.commit_timeout));
        UMBRA_ASSIGN(auto stream, open(kConnectDeadline, kCallTimeout));
        arrays.push_back(
            std::make_shared<RpcArrayClient>(address, std::move(calls), std::move(commit), std::move(stream)));
    }
    return arrays;
}

}  // namespace umbra::provider

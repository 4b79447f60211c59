// The array's drives: I/O with failure handling, free segments, and the labels whose writing commits things.
#pragma once

#include <algorithm>
#include <functional>
#include <memory>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "env/block_device.h"
#include "env/environment.h"
#include "env/sync.h"
#include "store/label.h"

namespace umbra::store {

using env::Task;

/// id, message, drive. Ids are listed in docs/operating/events.md.
using EventFunction = std::function<void(const std::string&, const std::string&, std::optional<uint32_t>)>;

struct Drive {
    Member member;
    std::string path;
    std::unique_ptr<env::BlockDevice> device;  ///< null while missing
    bool online = false;
    bool missing = false;  ///< not found at opening (member.failed once that is recorded)
    std::vector<bool> used;
    uint32_t segments = 0;
    uint32_t free_segments = 0;
    uint32_t next_segment = 0;
    uint32_t streams = 0;  ///< that write to it
    uint64_t read_errors = 0;
    uint64_t checksum_errors = 0;
    uint64_t repaired_blocks = 0;

    /// Free segments that host writes leave besides what a checkpoint needs.
    uint32_t host_margin() const { return std::max<uint32_t>(8, segments / 64); }
};

class Drives {
public:
    Drives(env::Environment& environment, EventFunction event)
        : event_(std::move(event)),
          label_lock_(environment.executor),
          recorded_(environment.executor),
          tasks_(environment.executor) {}

    void add(Drive drive);
    size_t size() const { return drives_.size(); }
    Drive& at(uint32_t index) { return drives_[index]; }
    const Drive& at(uint32_t index) const { return drives_[index]; }
    bool online(uint32_t index) const { return drives_[index].online; }
    size_t online_count() const;
    uint32_t segment_bytes() const { return label_.segment_bytes; }
    uint32_t segment_blocks() const { return label_.segment_bytes / kBlockBytes; }

    /// A read error leaves the drive in use unless the drive itself is gone; a failed write or flush takes it out.
    Task<Result<void>> read(uint32_t drive, uint64_t offset, std::vector<MutableBytes> into);
    Task<Result<void>> write(uint32_t drive, uint64_t offset, std::vector<Bytes> from);
    Task<Result<void>> flush(uint32_t drive);
    /// Writes back one block exactly as it was first written. False: it was not, or somebody is doing it already.
    Task<bool> repair(uint32_t drive, uint64_t offset, Bytes block);
    uint64_t offset_of(const Column& column, uint32_t row) const {
        return kSegmentsOffset + static_cast<uint64_t>(column.segment) * label_.segment_bytes +
               static_cast<uint64_t>(row) * kBlockBytes;
    }

    /// Takes the drive out of use and begins to record that on the others.
    void fail(uint32_t drive, const std::string& reason);
    /// Returns once every known loss of a drive is on the survivors' labels: nothing may be acknowledged before.
    Task<Result<void>> wait_recorded();
    /// Called after a drive went out of use.
    std::function<void(uint32_t)> on_failed;

    std::optional<uint32_t> allocate_segment(uint32_t drive);
    void take_segment(const Column& column);
    void release_segment(const Column& column);
    /// Online drives, most free segments first; ties by index.
    std::vector<uint32_t> by_free_space() const;

    const Label& label() const { return label_; }
    void set_label(Label label) { label_ = std::move(label); }
    /// Writes `label` with the next generation and today's members to every online drive and flushes: durable on
    /// return.
    Task<Result<void>> commit(Label label);
    /// No drive is left that could record anything.
    bool stopped() const { return stopped_; }
    /// Lets those who wait for a record look again.
    void wake() { recorded_.wake_all(); }
    Task<void> join() { co_await tasks_.join(); }

private:
    Task<void> record_losses();
    Task<Result<void>> write_labels(Label label);

    EventFunction event_;
    std::vector<Drive> drives_;
    Label label_;
    env::Mutex label_lock_;
    env::Event recorded_;
    env::TaskGroup tasks_;
    std::set<std::pair<uint32_t, uint64_t>> repairing_;
    bool unrecorded_ = false;
    bool stopped_ = false;
};

}  // namespace umbra::store

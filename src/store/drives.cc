#include "store/drives.h"

#include <algorithm>

#include <fmt/format.h>

namespace umbra::store {

using base::Code;

void Drives::add(Drive drive) {
    drive.segments = static_cast<uint32_t>(std::min<uint64_t>(
        drive.member.size_bytes < kSegmentsOffset ? 0
                                                  : (drive.member.size_bytes - kSegmentsOffset) / label_.segment_bytes,
        kMaxSegmentsPerDrive));
    drive.used.assign(drive.segments, false);
    drive.free_segments = drive.segments;
    drive.online = drive.device != nullptr && !drive.member.failed;
    UMBRA_CHECK(drive.member.index == drives_.size());
    drives_.push_back(std::move(drive));
}

size_t Drives::online_count() const {
    return static_cast<size_t>(std::count_if(drives_.begin(), drives_.end(), [](const Drive& d) { return d.online; }));
}

Task<Result<void>> Drives::read(uint32_t drive, uint64_t offset, std::vector<MutableBytes> into) {
    if (!drives_[drive].online) co_return base::fail(Code::kDeviceFailed, fmt::format("drive {} is out of use", drive));
    auto done = co_await drives_[drive].device->read(offset, into);
    if (!done) {
        ++drives_[drive].read_errors;
        if (done.error().code == Code::kDeviceFailed) this->fail(drive, done.error().message);
    }
    co_return done;
}

Task<Result<void>> Drives::write(uint32_t drive, uint64_t offset, std::vector<Bytes> from) {
    if (!drives_[drive].online) co_return base::fail(Code::kDeviceFailed, fmt::format("drive {} is out of use", drive));
    auto done = co_await drives_[drive].device->write(offset, from);
    if (!done) this->fail(drive, done.error().message);
    co_return done;
}

Task<Result<void>> Drives::flush(uint32_t drive) {
    if (!drives_[drive].online) co_return base::fail(Code::kDeviceFailed, fmt::format("drive {} is out of use", drive));
    auto done = co_await drives_[drive].device->flush();
    if (!done) this->fail(drive, done.error().message);
    co_return done;
}

Task<bool> Drives::repair(uint32_t drive, uint64_t offset, Bytes block) {
    if (!repairing_.emplace(drive, offset).second) co_return false;
    std::vector<Bytes> spans{block};
    const auto done = co_await write(drive, offset, std::move(spans));
    repairing_.erase({drive, offset});
    if (done) ++drives_[drive].repaired_blocks;
    co_return done.has_value();
}

void Drives::fail(uint32_t drive, const std::string& reason) {
    if (!drives_[drive].online) return;
    drives_[drive].online = false;
    drives_[drive].member.failed = true;
    unrecorded_ = true;
    event_("drive.failed",
           fmt::format("drive {} was taken out of use ({}); replace it and run 'umbra lun recover' for each LUN that "
                       "lost redundancy",
                       drives_[drive].member.name, reason),
           drive);
    if (on_failed) on_failed(drive);
    tasks_.spawn(record_losses());
}

Task<void> Drives::record_losses() {
    auto guard = co_await label_lock_.lock();
    if (!unrecorded_ || stopped_) {
        recorded_.wake_all();
        co_return;
    }
    (void)co_await write_labels(label_);
}

Task<Result<void>> Drives::wait_recorded() {
    while (unrecorded_ && !stopped_) co_await recorded_.wait();
    if (stopped_) co_return base::fail(Code::kDeviceFailed, "the array has stopped: no drive is left to record on");
    co_return Result<void>();
}

std::optional<uint32_t> Drives::allocate_segment(uint32_t drive) {
    Drive& d = drives_[drive];
    if (d.free_segments == 0) return std::nullopt;
    while (d.used[d.next_segment]) d.next_segment = (d.next_segment + 1) % d.segments;
    const uint32_t segment = d.next_segment;
    take_segment({.drive = drive, .segment = segment});
    d.next_segment = (segment + 1) % d.segments;
    return segment;
}

void Drives::take_segment(const Column& column) {
    Drive& d = drives_[column.drive];
    UMBRA_CHECK(column.segment < d.segments && !d.used[column.segment]);
    d.used[column.segment] = true;
    --d.free_segments;
}

void Drives::release_segment(const Column& column) {
    Drive& d = drives_[column.drive];
    UMBRA_CHECK(column.segment < d.segments && d.used[column.segment]);
    d.used[column.segment] = false;
    ++d.free_segments;
}

std::vector<uint32_t> Drives::by_free_space() const {
    std::vector<uint32_t> order;
    for (const Drive& drive : drives_) {
        if (drive.online) order.push_back(drive.member.index);
    }
    std::stable_sort(order.begin(), order.end(),
                     [&](uint32_t a, uint32_t b) { return drives_[a].free_segments > drives_[b].free_segments; });
    return order;
}

Task<Result<void>> Drives::commit(Label label) {
    auto guard = co_await label_lock_.lock();
    auto done = co_await write_labels(std::move(label));
    co_return done;
}

Task<Result<void>> Drives::write_labels(Label label) {
    for (;;) {
        if (stopped_) co_return base::fail(Code::kDeviceFailed, "the array has stopped");
        label.generation = std::max(label.generation, label_.generation) + 1;
        label.members.clear();
        std::vector<uint32_t> targets;
        for (const Drive& drive : drives_) {
            label.members.push_back(drive.member);
            if (drive.online) targets.push_back(drive.member.index);
        }
        const uint64_t slot = kLabelOffset + label.generation % 2 * kLabelSlotBytes;
        size_t written = 0;
        bool lost_one = false;
        for (const uint32_t target : targets) {
            UMBRA_CO_ASSIGN(const auto bytes, encode_label(label, target));
            base::Buffer buffer(bytes.size());
            std::memcpy(buffer.data(), bytes.data(), bytes.size());
            std::vector<Bytes> spans{std::as_const(buffer).span()};
            auto done = co_await write(target, slot, std::move(spans));
            if (done) done = co_await flush(target);
            if (done) {
                ++written;
            } else {
                lost_one = true;
            }
        }
        if (written == 0) {
            stopped_ = true;
            recorded_.wake_all();
            co_return base::fail(Code::kDeviceFailed, "no drive accepted a label: the array has stopped");
        }
        label_ = label;
        if (!lost_one && targets.size() == online_count()) break;
    }
    unrecorded_ = false;
    recorded_.wake_all();
    co_return Result<void>();
}

}  // namespace umbra::store

#include "store/stream.h"

#include <algorithm>

#include <fmt/format.h>
#include <isa-l/raid.h>

#include "base/crc32c.h"

namespace umbra::store {

using base::Code;
using base::fail;

namespace {

constexpr size_t kMaxRecordsInFlight = 16;

const base::Buffer& zero_block() {
    static const base::Buffer buffer(kBlockBytes, true);
    return buffer;
}

}  // namespace

Stream::Stream(StreamContext context, StreamState state)
    : context_(context), state_(std::move(state)), progress_(context.executor), writes_(context.executor) {
    durable_sequence_ = state_.next_sequence - 1;
    for (const uint32_t drive : state_.drives) ++context_.drives.at(drive).streams;
}

Stream::~Stream() {
    UMBRA_CHECK(in_flight_.empty());
    for (const uint32_t drive : state_.drives) --context_.drives.at(drive).streams;
}

size_t Stream::failed_drives() const {
    return static_cast<size_t>(std::count_if(state_.drives.begin(), state_.drives.end(),
                                             [&](uint32_t d) { return !context_.drives.online(d); }));
}

std::vector<uint32_t> Stream::live_drives() const {
    std::vector<uint32_t> live;
    for (const uint32_t drive : state_.drives) {
        if (context_.drives.online(drive)) live.push_back(drive);
    }
    return live;
}

uint32_t Stream::rows_left() const {
    return state_.open_group ? context_.groups.rows() - state_.next_row : 0;
}

size_t Stream::record_capacity() const {
    const size_t blocks = static_cast<size_t>(rows_left()) * state_.k;
    return blocks == 0 ? 0 : std::min<size_t>(blocks - 1, kMaxRecordPayload);
}

Room Stream::make_room(size_t entries, size_t payload, Priority priority) {
    UMBRA_CHECK(entries <= kMaxEntries && payload <= kMaxRecordPayload);
    if (lost()) return Room::kLost;
    if (current_) {
        const size_t capacity = current_->data.size() / kBlockBytes - 1;
        const bool fits =
            current_->blocks - 1 + payload <= capacity && current_->header.entries.size() + entries <= kMaxEntries;
        if (fits) return Room::kReady;
        if (in_flight_.size() >= kMaxRecordsInFlight) return Room::kWait;
        seal();
    }
    if (in_flight_.size() >= kMaxRecordsInFlight) return Room::kWait;
    // A record of unmapped blocks takes little and dirties many pages: there may be no room for those any more.
    for (const uint32_t drive : state_.drives) {
        if (!context_.drives.online(drive)) continue;
        const uint32_t floor = reserve(drive, priority);
        if (context_.drives.at(drive).free_segments + 1 < floor) return Room::kNoSpace;
    }
    if (rows_left() == 0 || record_capacity() < payload) {
        close_group();
        if (!open_group(priority)) return Room::kNoSpace;
        if (record_capacity() < payload) return Room::kNoSpace;
    }
    begin_record();
    return Room::kReady;
}

uint32_t Stream::reserve(uint32_t drive, Priority priority) const {
    // A checkpoint is how space comes back, and how the array opens after a crash: nothing is accepted that would leave
    // too little for one. Unmapping needs less than writing, and cleaning less than unmapping, so that a full pool can
    // be emptied and compacted.
    switch (priority) {
        case Priority::kCheckpoint:
            return 0;
        case Priority::kCleaner:
            return context_.checkpoint_need(drive) + 1;
        case Priority::kBackground:
            return context_.checkpoint_need(drive) + 3;
        case Priority::kHost:
            break;
    }
    return context_.checkpoint_need(drive) + context_.drives.at(drive).host_margin();
}

bool Stream::open_group(Priority priority) {
    const uint64_t id = context_.next_group_id;
    const size_t width = state_.drives.size();
    Group group{.id = id, .stream = state_.id, .k = state_.k, .m = state_.m, .open = true, .columns = {}};
    for (size_t i = 0; i < width; ++i) {
        const uint32_t drive = state_.drives[(i + id) % width];
        group.columns.push_back({.drive = drive, .segment = kNoSegment});
        if (!context_.drives.online(drive)) continue;
        const Drive& d = context_.drives.at(drive);
        std::optional<uint32_t> segment;
        if (d.free_segments > reserve(drive, priority)) segment = context_.drives.allocate_segment(drive);
        if (!segment) {
            for (const Column& column : group.columns) {
                if (column.segment != kNoSegment) context_.drives.release_segment(column);
            }
            return false;
        }
        group.columns.back().segment = *segment;
    }
    ++context_.next_group_id;
    base::Encoder op;
    op.put(state_.id);
    op.put(id);
    op.put(static_cast<uint32_t>(group.columns.size()));
    for (const Column& column : group.columns) {
        op.put(column.drive);
        op.put(column.segment);
    }
    const uint32_t slot = context_.groups.insert(std::move(group));
    op.put(slot);
    group_op_ = context_.log.append({.birth = ++context_.birth, .kind = OpKind::kOpenGroup, .body = op.take()});
    state_.open_group = slot;
    state_.next_row = 0;
    return true;
}

void Stream::close_group() {
    seal();
    if (!state_.open_group) return;
    Group& group = context_.groups.at(*state_.open_group);
    group.open = false;
    group.rows_used = state_.next_row;
    group.sealed_at = context_.checkpoint;
    context_.groups.touch(*state_.open_group);
    state_.open_group.reset();
    state_.next_row = 0;
}

void Stream::abandon_group() {
    if (state_.open_group) state_.next_row = context_.groups.rows();
    close_group();
}

void Stream::begin_record() {
    current_ = std::make_shared<Record>();
    current_->group = *state_.open_group;
    current_->row = state_.next_row;
    current_->sequence = state_.next_sequence++;
    current_->data = base::Buffer((1 + record_capacity()) * kBlockBytes);
}

BlockPtr Stream::append(Entry entry, Bytes block) {
    UMBRA_CHECK(current_ != nullptr);
    Record& record = *current_;
    if (entry.has_payload()) {
        UMBRA_CHECK(block.size() == kBlockBytes && record.blocks < record.data.size() / kBlockBytes);
        entry.crc = base::crc32c(block);
        if (entry.kind != EntryKind::kMove) entry.vbn = context_.blocks.allocate();
        std::memcpy(record.data.data() + static_cast<size_t>(record.blocks) * kBlockBytes, block.data(), kBlockBytes);
        context_.blocks.set(entry.vbn, {.group = record.group, .block = record.row * state_.k + record.blocks});
        ++record.blocks;
    }
    record.header.entries.push_back(entry);
    return {.vbn = entry.vbn, .birth = entry.birth, .crc = entry.crc};
}

void Stream::seal() {
    if (!current_) return;
    auto record = std::move(current_);
    current_.reset();
    if (record->header.entries.empty()) {
        --state_.next_sequence;
        return;
    }
    const Group& group = context_.groups.at(record->group);
    record->header.array_tag = base::load_le<uint64_t>(context_.drives.label().array_id.bytes.data());
    record->header.group_id = group.id;
    record->header.row = record->row;
    record->header.blocks = record->blocks;
    record->header.sequence = record->sequence;
    record->header.durable_sequence = durable_sequence_;
    encode_record_header(record->header, record->data.span(0, kBlockBytes));
    state_.next_row += (record->blocks + state_.k - 1) / state_.k;
    in_flight_.emplace(record->sequence, record);
    context_.groups.pin(record->group);
    writes_.spawn(write_record(std::move(record)));
}

Task<void> Stream::write_record(std::shared_ptr<Record> record) {
    const Group& group = context_.groups.at(record->group);
    const uint32_t k = state_.k;
    const uint32_t rows = (record->blocks + k - 1) / k;
    base::Buffer parity;
    const auto cell = [&](uint32_t row, uint32_t column) -> Bytes {
        const uint32_t block = row * k + column;
        if (block >= record->blocks) return zero_block().span();
        return std::as_const(record->data).span(static_cast<size_t>(block) * kBlockBytes, kBlockBytes);
    };
    if (state_.m == 1) {
        parity = base::Buffer(static_cast<size_t>(rows) * kBlockBytes);
        std::vector<void*> vectors(k + 1);
        for (uint32_t row = 0; row < rows; ++row) {
            for (uint32_t column = 0; column < k; ++column)
                vectors[column] = const_cast<std::byte*>(cell(row, column).data());
            vectors[k] = parity.data() + static_cast<size_t>(row) * kBlockBytes;
            UMBRA_CHECK(xor_gen(static_cast<int>(k + 1), static_cast<int>(kBlockBytes), vectors.data()) == 0);
        }
    }
    env::TaskGroup columns(context_.executor);
    const auto write_column = [](Drives& drives, uint32_t drive, uint64_t offset,
                                 std::vector<Bytes> spans) -> Task<void> {
        (void)co_await drives.write(drive, offset, std::move(spans));  // a failure takes the drive out of use
    };
    for (uint32_t column = 0; column < k + state_.m; ++column) {
        const Column where = group.columns[column];
        if (!context_.groups.usable(where)) continue;
        std::vector<Bytes> spans;
        if (column == k) {
            spans.push_back(std::as_const(parity).span());
        } else {
            for (uint32_t row = 0; row < rows; ++row) spans.push_back(cell(row, column));
        }
        columns.spawn(write_column(context_.drives, where.drive, context_.drives.offset_of(where, record->row),
                                   std::move(spans)));
    }
    co_await columns.join();
    record->written = true;
    in_flight_.erase(record->sequence);
    context_.groups.unpin(record->group);
    progress_.wake_all();
}

Task<void> Stream::drain() {
    const uint64_t last = state_.next_sequence - 1 - (current_ ? 1 : 0);
    while (!in_flight_.empty() && in_flight_.begin()->first <= last) co_await progress_.wait();
}

Task<Result<void>> Stream::flush() {
    seal();
    const uint64_t target = state_.next_sequence - 1;
    while (durable_sequence_ < target) {
        if (lost())
            co_return fail(Code::kDeviceFailed, fmt::format("stream {} lost more drives than it bears", state_.id));
        if (flushing_) {
            co_await progress_.wait();
            continue;
        }
        flushing_ = true;
        seal();
        const uint64_t sealed = state_.next_sequence - 1;
        const uint64_t op = group_op_;
        while (!in_flight_.empty() && in_flight_.begin()->first <= sealed) co_await progress_.wait();
        env::TaskGroup flushes(context_.executor);
        const auto flush_one = [](Drives& drives, uint32_t drive) -> Task<void> { (void)co_await drives.flush(drive); };
        for (const uint32_t drive : live_drives()) flushes.spawn(flush_one(context_.drives, drive));
        co_await flushes.join();
        Result<bool> logged = co_await context_.log.flush(op);
        Result<void> recorded = co_await context_.drives.wait_recorded();
        flushing_ = false;
        progress_.wake_all();
        if (!logged && logged.error().code != Code::kDeviceFailed) co_return std::unexpected(logged.error());
        if (!logged || !*logged) co_return fail(Code::kBusy, "the array log is full, or on no drive any more");
        if (!recorded) co_return recorded;
        if (lost()) continue;
        durable_sequence_ = std::max(durable_sequence_, sealed);
    }
    if (lost()) co_return fail(Code::kDeviceFailed, fmt::format("stream {} lost more drives than it bears", state_.id));
    co_return Result<void>();
}

const std::byte* Stream::in_memory(Location location) const {
    const auto within = [&](const Record& record) -> const std::byte* {
        if (record.group != location.group) return nullptr;
        const uint32_t first = record.row * state_.k;
        if (location.block < first || location.block >= first + record.blocks) return nullptr;
        return record.data.data() + static_cast<size_t>(location.block - first) * kBlockBytes;
    };
    if (current_) {
        if (const std::byte* found = within(*current_)) return found;
    }
    for (const auto& [sequence, record] : in_flight_) {
        if (const std::byte* found = within(*record)) return found;
    }
    return nullptr;
}

void Stream::replace_drive(uint32_t from, uint32_t to) {
    close_group();
    std::replace(state_.drives.begin(), state_.drives.end(), from, to);
    --context_.drives.at(from).streams;
    ++context_.drives.at(to).streams;
}

}  // namespace umbra::store

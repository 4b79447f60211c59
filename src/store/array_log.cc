#include "store/array_log.h"

#include <algorithm>

#include <fmt/format.h>

#include "base/crc32c.h"

namespace umbra::store {

using base::Code;
using base::fail;
using base::load_le;
using base::store_le;

namespace {
constexpr uint32_t kMagic = 0x474f4c55;  // "ULOG"
constexpr size_t kHeaderBytes = 40;
constexpr size_t kCrcAt = 32;

uint32_t record_crc(Bytes bytes) {
    static constexpr std::byte kZero[4]{};
    return base::crc32c(bytes.subspan(kCrcAt + 4), base::crc32c(kZero, base::crc32c(bytes.first(kCrcAt))));
}
}  // namespace

uint64_t ArrayLog::append(Op op) {
    pending_.push_back(std::move(op));
    return ++appended_;
}

Task<Result<bool>> ArrayLog::flush(uint64_t number) {
    if (durable_ >= number) co_return true;
    auto guard = co_await lock_.lock();
    if (durable_ >= number) co_return true;
    base::Encoder out;
    out.put(kMagic);
    out.put(kFormatVersion);
    out.put<uint16_t>(0);
    out.put(array_tag());
    out.put(checkpoint_);
    out.put(next_block_);
    out.put<uint32_t>(0);  // length
    out.put<uint32_t>(0);  // CRC
    out.put(static_cast<uint32_t>(pending_.size()));
    for (const Op& op : pending_) {
        out.put(op.birth);
        out.put(static_cast<uint8_t>(op.kind));
        out.put_blob(op.body);
    }
    auto bytes = out.take();
    store_le<uint32_t>(bytes.data() + 28, static_cast<uint32_t>(bytes.size()));
    store_le<uint32_t>(bytes.data() + kCrcAt, record_crc(bytes));
    const auto blocks = static_cast<uint32_t>((bytes.size() + kBlockBytes - 1) / kBlockBytes);
    if (next_block_ + blocks > drives_.segment_blocks()) co_return false;
    base::Buffer buffer(static_cast<size_t>(blocks) * kBlockBytes, true);
    std::memcpy(buffer.data(), bytes.data(), bytes.size());
    const uint64_t upto = appended_;
    const uint64_t checkpoint = checkpoint_;
    const size_t written_ops = pending_.size();
    auto done = co_await write(buffer.span());
    if (!done) co_return std::unexpected(done.error());
    if (checkpoint == checkpoint_) {  // else a checkpoint took everything over meanwhile
        next_block_ += blocks;
        pending_.erase(pending_.begin(), pending_.begin() + static_cast<ptrdiff_t>(written_ops));
        durable_ = std::max(durable_, upto);
    }
    co_return true;
}

Task<Result<void>> ArrayLog::write(Bytes record) {
    const auto half = halves_[checkpoint_ % 2];
    const uint32_t row = next_block_;
    size_t written = 0;
    for (const Column& column : half) {
        if (!drives_.online(column.drive)) continue;
        std::vector<Bytes> spans{record};
        auto done = co_await drives_.write(column.drive, drives_.offset_of(column, row), std::move(spans));
        if (done) done = co_await drives_.flush(column.drive);
        if (done) ++written;
    }
    if (written == 0) co_return fail(Code::kDeviceFailed, "every drive of the array log is out of use");
    auto recorded = co_await drives_.wait_recorded();
    co_return recorded;
}

Result<void> ArrayLog::prepare_half(uint64_t checkpoint) {
    auto& half = halves_[checkpoint % 2];
    std::erase_if(half, [&](const Column& column) { return !drives_.online(column.drive); });
    for (const uint32_t drive : drives_.by_free_space()) {
        if (half.size() >= 3) break;
        const bool taken = std::any_of(half.begin(), half.end(), [&](const Column& c) { return c.drive == drive; });
        if (taken) continue;
        if (const auto segment = drives_.allocate_segment(drive)) half.push_back({.drive = drive, .segment = *segment});
    }
    if (half.empty()) return fail(Code::kNoSpace, "no segment is left for the array log");
    return {};
}

void ArrayLog::restart(uint64_t checkpoint) {
    checkpoint_ = checkpoint;
    next_block_ = 0;
    pending_.clear();
    durable_ = appended_;
}

void ArrayLog::load(const Label& label) {
    halves_ = label.log_halves;
    for (const auto& half : halves_) {
        for (const Column& column : half) drives_.take_segment(column);
    }
    checkpoint_ = label.checkpoint;
}

Task<Result<std::vector<Op>>> ArrayLog::replay(bool tolerant) {
    std::vector<Op> ops;
    const auto half = halves_[checkpoint_ % 2];
    const uint32_t rows = drives_.segment_blocks();
    base::Buffer buffer(static_cast<size_t>(rows) * kBlockBytes);
    uint32_t row = 0;
    while (row < rows) {
        bool found = false;
        bool ends = false;  // a copy can be read, and nothing follows in it
        bool unreadable = false;
        for (const Column& column : half) {
            if (!drives_.online(column.drive)) continue;
            std::vector<MutableBytes> first{buffer.span(0, kBlockBytes)};
            auto done = co_await drives_.read(column.drive, drives_.offset_of(column, row), std::move(first));
            if (!done) {
                unreadable = true;
                continue;
            }
            if (load_le<uint32_t>(buffer.data()) != kMagic) {
                ends = true;
                continue;
            }
            const size_t length = load_le<uint32_t>(buffer.data() + 28);
            const size_t blocks = (length + kBlockBytes - 1) / kBlockBytes;
            if (length < kHeaderBytes || row + blocks > rows) {
                ends = true;
                continue;
            }
            if (blocks > 1) {
                std::vector<MutableBytes> rest{buffer.span(kBlockBytes, (blocks - 1) * kBlockBytes)};
                done = co_await drives_.read(column.drive, drives_.offset_of(column, row + 1), std::move(rest));
                if (!done) {
                    unreadable = true;
                    continue;
                }
            }
            const Bytes record = std::as_const(buffer).span(0, length);
            if (load_le<uint16_t>(buffer.data() + 4) != kFormatVersion ||
                load_le<uint64_t>(buffer.data() + 8) != array_tag() ||
                load_le<uint64_t>(buffer.data() + 16) != checkpoint_ || load_le<uint32_t>(buffer.data() + 24) != row ||
                load_le<uint32_t>(buffer.data() + kCrcAt) != record_crc(record)) {
                ends = true;
                continue;
            }
            base::Decoder in(record.subspan(36));
            const size_t count = in.get_count(13);
            for (size_t i = 0; i < count; ++i) {
                Op op;
                op.birth = in.get<uint64_t>();
                op.kind = static_cast<OpKind>(in.get<uint8_t>());
                const Bytes body = in.get_blob();
                op.body.assign(body.begin(), body.end());
                ops.push_back(std::move(op));
            }
            if (!in.ok()) co_return fail(Code::kCorrupt, "an intact array log record does not decode");
            row += static_cast<uint32_t>(blocks);
            found = true;
            break;
        }
        if (found) continue;
        if (unreadable && !ends && !tolerant) {
            co_return fail(Code::kMediaError,
                           fmt::format("no copy of the array log can be read at block {}: what was acknowledged after "
                                       "that may be lost. Open with --degraded to go on without it",
                                       row));
        }
        break;
    }
    co_return ops;
}

}  // namespace umbra::store

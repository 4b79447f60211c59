#include "store/group_image.h"

#include <algorithm>

#include "base/crc32c.h"

namespace umbra::store {

namespace {
void xor_into(std::byte* to, const std::byte* from) {
    for (size_t i = 0; i < kBlockBytes; i += 8) {
        uint64_t a = 0;
        uint64_t b = 0;
        std::memcpy(&a, to + i, 8);
        std::memcpy(&b, from + i, 8);
        a ^= b;
        std::memcpy(to + i, &a, 8);
    }
}
}  // namespace

bool ScannedRecord::intact() const {
    return std::all_of(payload_ok.begin(), payload_ok.end(), [](bool ok) { return ok; });
}

GroupImage::GroupImage(Drives& drives, GroupTable& groups, uint32_t slot, uint32_t first_row, uint32_t rows)
    : drives_(drives),
      groups_(groups),
      slot_(slot),
      first_row_(first_row),
      rows_(rows),
      k_(groups.at(slot).k),
      parity_(groups.at(slot).m == 1),
      data_(static_cast<size_t>(rows) * k_ * kBlockBytes, true),
      parity_data_(parity_ ? static_cast<size_t>(rows) * kBlockBytes : 0, true),
      unreadable_(static_cast<size_t>(rows) * k_, false),
      parity_unreadable_(rows, false),
      rebuilt_(static_cast<size_t>(rows) * k_, false) {}

Task<void> GroupImage::load() {
    const size_t columns = groups_.at(slot_).columns.size();
    for (uint32_t c = 0; c < columns && rows_ > 0; ++c) {
        const Column where = groups_.at(slot_).columns[c];
        const auto memory = [&](uint32_t row) {
            return c == k_ ? parity_data_.span(static_cast<size_t>(row) * kBlockBytes, kBlockBytes)
                           : MutableBytes(cell(row, c), kBlockBytes);
        };
        const auto mark = [&](uint32_t row) {
            if (c == k_) {
                parity_unreadable_[row] = true;
            } else {
                unreadable_[static_cast<size_t>(row) * k_ + c] = true;
            }
        };
        if (!groups_.usable(where)) {
            for (uint32_t row = 0; row < rows_; ++row) mark(row);
            continue;
        }
        std::vector<MutableBytes> spans;
        for (uint32_t row = 0; row < rows_; ++row) spans.push_back(memory(row));
        const auto whole = co_await drives_.read(where.drive, drives_.offset_of(where, first_row_), std::move(spans));
        if (whole) continue;
        for (uint32_t row = 0; row < rows_; ++row) {
            std::vector<MutableBytes> one{memory(row)};
            const auto single =
                co_await drives_.read(where.drive, drives_.offset_of(where, first_row_ + row), std::move(one));
            if (!single) mark(row);
        }
    }
}

bool GroupImage::reconstruct(uint32_t row, uint32_t column) {
    if (!parity_ || parity_unreadable_[row]) return false;
    for (uint32_t c = 0; c < k_; ++c) {
        if (c != column && unreadable_[static_cast<size_t>(row) * k_ + c]) return false;
    }
    std::byte* to = cell(row, column);
    std::memcpy(to, parity_data_.data() + static_cast<size_t>(row) * kBlockBytes, kBlockBytes);
    for (uint32_t c = 0; c < k_; ++c) {
        if (c != column) xor_into(to, cell(row, c));
    }
    rebuilt_[static_cast<size_t>(row) * k_ + column] = true;
    return true;
}

bool GroupImage::header_unreadable(uint32_t row) const {
    const uint32_t r = row - first_row_;
    if (!unreadable_[static_cast<size_t>(r) * k_]) return false;
    if (!parity_ || parity_unreadable_[r]) return true;
    for (uint32_t c = 1; c < k_; ++c) {
        if (unreadable_[static_cast<size_t>(r) * k_ + c]) return true;
    }
    return false;  // parity tells what it was: the scan has looked at that
}

Bytes GroupImage::block(uint32_t block) const {
    return std::as_const(data_).span((static_cast<size_t>(block) - static_cast<size_t>(first_row_) * k_) * kBlockBytes,
                                     kBlockBytes);
}

std::vector<ScannedRecord> GroupImage::scan() {
    std::vector<ScannedRecord> records;
    const uint64_t tag = base::load_le<uint64_t>(drives_.label().array_id.bytes.data());
    const uint64_t id = groups_.at(slot_).id;
    std::vector<std::byte> saved(kBlockBytes);
    uint32_t row = 0;
    while (row < rows_) {
        const auto read_header = [&]() -> std::optional<RecordHeader> {
            auto header = decode_record_header(Bytes(cell(row, 0), kBlockBytes));
            if (!header || header->array_tag != tag || header->group_id != id || header->row != first_row_ + row ||
                row + (header->blocks + k_ - 1) / k_ > rows_) {
                return std::nullopt;
            }
            return header;
        };
        std::optional<RecordHeader> header;
        const size_t header_cell = static_cast<size_t>(row) * k_;
        if (!unreadable_[header_cell]) header = read_header();
        if (!header) {
            std::memcpy(saved.data(), cell(row, 0), kBlockBytes);
            if (reconstruct(row, 0)) {
                header = read_header();
                if (!header) {
                    rebuilt_[header_cell] = false;
                    std::memcpy(cell(row, 0), saved.data(), kBlockBytes);
                } else {
                    ++damaged_;
                }
            }
        }
        if (!header) {
            ++row;
            continue;
        }
        const uint32_t rows = (header->blocks + k_ - 1) / k_;
        for (uint32_t b = header->blocks; b < rows * k_; ++b) {  // padding is zero by definition
            const size_t index = static_cast<size_t>(row) * k_ + b;
            std::byte* padding = data_.data() + index * kBlockBytes;
            if (unreadable_[index] || !base::is_zero(Bytes(padding, kBlockBytes))) {
                std::memset(padding, 0, kBlockBytes);
                unreadable_[index] = false;
                rebuilt_[index] = true;
            }
        }
        ScannedRecord record{.header = std::move(*header), .row = first_row_ + row, .payload_ok = {}};
        uint32_t block = 1;
        for (const Entry& entry : record.header.entries) {
            if (!entry.has_payload()) continue;
            const uint32_t cell_row = row + block / k_;
            const uint32_t column = block % k_;
            const size_t index = static_cast<size_t>(cell_row) * k_ + column;
            const auto good = [&] { return base::crc32c(Bytes(cell(cell_row, column), kBlockBytes)) == entry.crc; };
            bool ok = !unreadable_[index] && good();
            if (!ok) {
                ++damaged_;
                const bool rebuilt = reconstruct(cell_row, column);
                ok = rebuilt && good();
                if (ok) unreadable_[index] = false;
                if (!rebuilt && unreadable_[index]) record.unreadable = true;
            }
            record.payload_ok.push_back(ok);
            ++block;
        }
        records.push_back(std::move(record));
        row += rows;
    }
    return records;
}

Task<Result<void>> GroupImage::repair(const ScannedRecord& record) {
    const uint32_t rows = (record.header.blocks + k_ - 1) / k_;
    base::Buffer parity(kBlockBytes);
    for (uint32_t r = record.row - first_row_; r < record.row - first_row_ + rows; ++r) {
        const auto columns = groups_.at(slot_).columns;
        for (uint32_t c = 0; c < k_; ++c) {
            if (!rebuilt_[static_cast<size_t>(r) * k_ + c] || !groups_.usable(columns[c])) continue;
            (void)co_await drives_.repair(columns[c].drive, drives_.offset_of(columns[c], first_row_ + r),
                                          Bytes(cell(r, c), kBlockBytes));
        }
        if (!parity_ || !groups_.usable(columns[k_])) continue;
        std::memset(parity.data(), 0, kBlockBytes);
        for (uint32_t c = 0; c < k_; ++c) xor_into(parity.data(), cell(r, c));
        const bool same =
            !parity_unreadable_[r] &&
            std::memcmp(parity.data(), parity_data_.data() + static_cast<size_t>(r) * kBlockBytes, kBlockBytes) == 0;
        if (same) continue;
        (void)co_await drives_.repair(columns[k_].drive, drives_.offset_of(columns[k_], first_row_ + r), parity.span());
    }
    co_return Result<void>();
}

}  // namespace umbra::store

// The content of a group as it lies on its drives, for replay, cleaning and scrubbing.
#pragma once

#include <vector>

#include "store/group_table.h"

namespace umbra::store {

struct ScannedRecord {
    RecordHeader header;
    uint32_t row = 0;
    std::vector<bool> payload_ok;  ///< one for each payload block: right checksum, as read or reconstructed
    /// Some payload could neither be read nor reconstructed: a fault of drives, which a crash does not cause.
    bool unreadable = false;
    bool intact() const;
};

/// Rows [first, first + count) of one group in memory.
class GroupImage {
public:
    GroupImage(Drives& drives, GroupTable& groups, uint32_t slot, uint32_t first_row, uint32_t rows);

    /// Reads every column; what cannot be read is noted, not an error.
    Task<void> load();
    /// Finds the records. Cells that fail their checksum are reconstructed where parity allows.
    std::vector<ScannedRecord> scan();
    /// `block` counts from the start of the group.
    Bytes block(uint32_t block) const;
    /// Writes back what the scan reconstructed, and parity that does not fit its row, for the rows of `record`.
    Task<Result<void>> repair(const ScannedRecord& record);
    /// The block where a record of `row` would begin cannot be read, nor reconstructed.
    bool header_unreadable(uint32_t row) const;
    /// Blocks in which something could not be read as it was written.
    size_t damaged_cells() const { return damaged_; }

private:
    std::byte* cell(uint32_t row, uint32_t column) {
        return data_.data() + (static_cast<size_t>(row) * k_ + column) * kBlockBytes;
    }
    bool reconstruct(uint32_t row, uint32_t column);

    Drives& drives_;
    GroupTable& groups_;
    uint32_t slot_;
    uint32_t first_row_;
    uint32_t rows_;
    uint32_t k_;
    bool parity_;
    base::Buffer data_;                    // row-major, data columns only
    base::Buffer parity_data_;             // one block a row
    std::vector<bool> unreadable_;         // a cell each, row-major
    std::vector<bool> parity_unreadable_;  // a row each
    std::vector<bool> rebuilt_;            // a cell each: differs from the drive
    size_t damaged_ = 0;
};

}  // namespace umbra::store

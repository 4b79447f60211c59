// What the handlers of one command share. Internal to src/scsi.
#pragma once

#include "base/bytes.h"
#include "scsi/device.h"
#include "scsi/limits.h"

namespace umbra::scsi {

struct Device::Context {
    Nexus& nexus;
    Nexus::Seen& seen;
    LogicalUnit& unit;
    Command& command;
    const CommandSpec& spec;
    const array::LunIdentity& identity;
    lun::Volume& volume;

    const std::array<std::byte, 16>& cdb() const { return command.cdb; }
    uint8_t byte(size_t at) const { return std::to_integer<uint8_t>(command.cdb[at]); }
    bool bit(size_t at, uint8_t mask) const { return (byte(at) & mask) != 0; }
    uint64_t blocks() const { return volume.size_bytes() / lun::kLogicalBlockBytes; }
    bool write_protected() const { return identity.write_protected || !volume.writable(); }
    bool aborted() const { return command.abort != Abort::kNo; }
    /// LBA OUT OF RANGE, as SBC-3 4.5 wants it also for a count of zero.
    bool in_range(const BlockRange& range) const {
        return range.lba < blocks() && range.blocks <= blocks() - range.lba;
    }
};

/// `bytes` cut to the CDB's allocation length, as the command's data.
inline Response parameter_data(base::Bytes bytes, uint64_t allocation_length) {
    base::Buffer buffer(std::min<uint64_t>(bytes.size(), allocation_length));
    if (!buffer.empty()) std::memcpy(buffer.data(), bytes.data(), buffer.size());
    return Response::data(std::move(buffer));
}

inline void put_text(base::MutableBytes into, std::string_view text) {
    for (size_t i = 0; i < into.size(); ++i)
        into[i] = i < text.size() ? static_cast<std::byte>(text[i]) : std::byte{' '};
}

}  // namespace umbra::scsi

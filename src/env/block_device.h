// A drive: the only way in which the store touches storage.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "base/bytes.h"
#include "base/result.h"
#include "env/task.h"

namespace umbra::env {

struct Geometry {
    uint64_t size_bytes = 0;
    uint32_t sector_bytes = 4096;  ///< smallest unit that can be read or written
};

/// Offsets, lengths and memory are aligned to 4 KiB. Spans must stay valid until the call finishes; two operations in
/// flight never overlap, except that a read may overlap anything: then each of its sectors is old or new. Errors:
/// kMediaError for a range that cannot be read, kDeviceFailed when the drive is gone, kIo else.
class BlockDevice {
public:
    virtual ~BlockDevice() = default;
    virtual base::Result<void> status() const { return {}; }
    virtual const Geometry& geometry() const = 0;
    /// A name for people: the path, or the simulated drive's number.
    virtual const std::string& name() const = 0;

    /// Fills the spans of `into`, in order, from the bytes at `offset`.
    virtual Task<base::Result<void>> read(uint64_t offset, std::span<const base::MutableBytes> into) = 0;
    /// Writes the spans of `from`, in order, at `offset`. Acknowledged, not yet durable.
    virtual Task<base::Result<void>> write(uint64_t offset, std::span<const base::Bytes> from) = 0;
    /// Every write acknowledged before this call survives a power loss once it has returned.
    virtual Task<base::Result<void>> flush() = 0;
    /// The range's content becomes undefined; the drive may give its space back. A hint.
    virtual Task<base::Result<void>> discard(uint64_t offset, uint64_t bytes) = 0;
};

}  // namespace umbra::env

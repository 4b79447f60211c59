// Files and block devices as drives. See docs/decisions/0071-file-devices.md.
#pragma once

#include <memory>
#include <string>

#include "env/block_device.h"
#include "env/loop.h"

namespace umbra::env {

enum class DiskEngine : uint8_t {
    kAuto,     ///< io_uring, or threads where the kernel does not offer it
    kUring,    ///< io_uring or an error
    kThreads,  ///< blocking calls on a few threads
};

struct FileDeviceOptions {
    bool read_only = false;
    /// O_DIRECT where the file system has it. Without it the page cache is used, and flush() writes it back: same
    /// promises, more memory.
    bool direct = true;
    /// Exclusive: a second opener, in this process or another, gets kBusy. Off for offline inspection only.
    bool lock = true;
};

namespace detail {
class DiskQueue;
}

/// Hands the operations of all drives of one loop to the kernel, in batches: one per turn of the loop.
class DiskIo {
public:
    /// Errors: kUnsupported (kUring on a kernel without it), kIo.
    static base::Result<std::unique_ptr<DiskIo>> create(Loop& loop, DiskEngine engine = DiskEngine::kAuto);
    ~DiskIo();
    DiskIo(const DiskIo&) = delete;
    DiskIo& operator=(const DiskIo&) = delete;
    /// What is in use: kUring or kThreads.
    DiskEngine engine() const { return engine_; }

    /// Opens an existing regular file or block device; its size, rounded down to 4 KiB, is fixed from now on.
    /// Errors: kNotFound, kPermissionDenied, kInvalidArgument (neither file nor block device, or empty), kBusy (open
    /// elsewhere, or a mounted block device), kUnsupported (sectors above 4 KiB), kIo.
    /// The device must not outlive this object. After a failed flush() nothing written since the last good one may be
    /// relied upon: the kernel forgets such errors once it has told them.
    base::Result<std::unique_ptr<class FileDevice>> open(const std::string& path, FileDeviceOptions options = {});

private:
    DiskIo();
    std::unique_ptr<detail::DiskQueue> queue_;
    DiskEngine engine_ = DiskEngine::kThreads;
};

class FileDevice final : public BlockDevice {
public:
    ~FileDevice() override;
    const Geometry& geometry() const override { return geometry_; }
    const std::string& name() const override { return path_; }
    Task<base::Result<void>> read(uint64_t offset, std::span<const base::MutableBytes> into) override;
    Task<base::Result<void>> write(uint64_t offset, std::span<const base::Bytes> from) override;
    Task<base::Result<void>> flush() override;
    Task<base::Result<void>> discard(uint64_t offset, uint64_t bytes) override;
    /// Whether the page cache is out of the way.
    bool direct() const { return direct_; }

private:
    friend class DiskIo;
    FileDevice(detail::DiskQueue& queue, std::string path, int fd) : queue_(queue), path_(std::move(path)), fd_(fd) {}
    void check_range(uint64_t offset, uint64_t bytes) const;
    std::unexpected<base::Error> failed(int error, const char* what, uint64_t offset, bool reading) const;

    detail::DiskQueue& queue_;
    std::string path_;
    int fd_;
    Geometry geometry_;
    bool direct_ = false;
    size_t in_flight_ = 0;
};

}  // namespace umbra::env

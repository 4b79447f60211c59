#include "env/file_device.h"

#include <fcntl.h>
#include <fmt/core.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

#include "env/disk_queue.h"

namespace umbra::env {

using base::Code;
using base::Result;
using detail::DiskAwaiter;
using detail::DiskOperation;
using detail::DiskRequest;

namespace {

constexpr size_t kMaxVectors = 1024;  // IOV_MAX

struct Descriptor {
    int fd = -1;
    ~Descriptor() {
        if (fd >= 0) close(fd);
    }
    int release() { return std::exchange(fd, -1); }
};

/// Drops the first `bytes` of the vectors from `first` on.
void advance(std::vector<iovec>& vectors, size_t& first, size_t bytes) {
    while (first < vectors.size() && bytes >= vectors[first].iov_len) bytes -= vectors[first++].iov_len;
    if (bytes == 0) return;
    vectors[first].iov_base = static_cast<char*>(vectors[first].iov_base) + bytes;
    vectors[first].iov_len -= bytes;
}

/// Whole transfer, over short counts. The result is 0 or an errno; ENODATA stands for an unexpected end of file.
Task<int> transfer(detail::DiskQueue& queue, DiskOperation operation, int fd, uint64_t offset,
                   std::vector<iovec> vectors) {
    size_t first = 0;
    while (first < vectors.size()) {
        DiskRequest request{operation, fd};
        request.offset = offset;
        request.vectors = vectors.data() + first;
        request.vector_count = static_cast<unsigned>(std::min(kMaxVectors, vectors.size() - first));
        const int64_t result = co_await DiskAwaiter{queue, request};
        if (result == -EINTR || result == -EAGAIN) continue;
        if (result < 0) co_return static_cast<int>(-result);
        if (result == 0) co_return operation == DiskOperation::kRead ? ENODATA : EIO;
        offset += static_cast<uint64_t>(result);
        advance(vectors, first, static_cast<size_t>(result));
    }
    co_return 0;
}

}  // namespace

DiskIo::DiskIo() = default;
DiskIo::~DiskIo() = default;

Result<std::unique_ptr<DiskIo>> DiskIo::create(Loop& loop, DiskEngine engine) {
    std::unique_ptr<DiskIo> io(new DiskIo());
    if (engine != DiskEngine::kThreads) {
        auto queue = detail::make_uring_queue(loop);
        if (queue) {
            io->queue_ = std::move(*queue);
            io->engine_ = DiskEngine::kUring;
            return io;
        }
        if (engine == DiskEngine::kUring) return std::unexpected(queue.error());
    }
    io->queue_ = detail::make_thread_queue(loop);
    io->engine_ = DiskEngine::kThreads;
    return io;
}

Result<std::unique_ptr<FileDevice>> DiskIo::open(const std::string& path, FileDeviceOptions options) {
    struct stat before{};
    if (stat(path.c_str(), &before) != 0) return base::fail_errno(errno, fmt::format("cannot open drive {}", path));
    const bool is_block = S_ISBLK(before.st_mode);
    if (!is_block && !S_ISREG(before.st_mode)) {
        return base::fail(Code::kInvalidArgument, fmt::format("drive {} is neither a file nor a block device", path));
    }
    int flags = O_CLOEXEC | (options.read_only ? O_RDONLY : O_RDWR);
    if (is_block && options.lock) flags |= O_EXCL;  // the kernel's own claim: mounts, md, LVM and other O_EXCL openers
    Descriptor file;
    bool direct = options.direct;
    file.fd = ::open(path.c_str(), direct ? flags | O_DIRECT : flags);
    if (file.fd < 0 && direct && errno == EINVAL) {
        direct = false;
        file.fd = ::open(path.c_str(), flags);
    }
    if (file.fd < 0) {
        if (errno == EBUSY) {
            return base::fail(Code::kBusy,
                              fmt::format("drive {} is in use (mounted, or held by another program)", path));
        }
        return base::fail_errno(errno, fmt::format("cannot open drive {}", path));
    }
    struct stat now{};
    if (fstat(file.fd, &now) != 0) return base::fail_errno(errno, fmt::format("cannot look at drive {}", path));
    if (now.st_dev != before.st_dev || now.st_ino != before.st_ino || now.st_mode != before.st_mode) {
        return base::fail(Code::kBusy, fmt::format("drive {} was replaced while it was being opened", path));
    }
    if (options.lock && flock(file.fd, (options.read_only ? LOCK_SH : LOCK_EX) | LOCK_NB) != 0) {
        if (errno == EWOULDBLOCK) {
            return base::fail(Code::kBusy, fmt::format("drive {} is in use by another process", path));
        }
        return base::fail_errno(errno, fmt::format("cannot lock drive {}", path));
    }

    Geometry geometry;
    geometry.sector_bytes = 512;
    geometry.size_bytes = static_cast<uint64_t>(now.st_size);
    if (is_block) {
        int sector = 0;
        if (ioctl(file.fd, BLKGETSIZE64, &geometry.size_bytes) != 0 || ioctl(file.fd, BLKSSZGET, &sector) != 0) {
            return base::fail_errno(errno, fmt::format("cannot read the geometry of drive {}", path));
        }
        geometry.sector_bytes = static_cast<uint32_t>(sector);
    }
    if (geometry.sector_bytes > base::kPageBytes) {
        return base::fail(
            Code::kUnsupported,
            fmt::format("drive {} has sectors of {} bytes; at most 4096 are supported", path, geometry.sector_bytes));
    }
    geometry.size_bytes -= geometry.size_bytes % base::kPageBytes;
    if (geometry.size_bytes == 0) {
        return base::fail(Code::kInvalidArgument, fmt::format("drive {} is smaller than 4 KiB", path));
    }
    if (direct) {
        // Some file systems accept the flag and refuse the I/O, or want larger units than ours.
        base::Buffer probe(base::kPageBytes);
        if (pread(file.fd, probe.data(), probe.size(), 0) < 0 && errno == EINVAL) {
            const int current = fcntl(file.fd, F_GETFL);
            if (current < 0 || fcntl(file.fd, F_SETFL, current & ~O_DIRECT) != 0) {
                return base::fail_errno(errno, fmt::format("cannot leave O_DIRECT on drive {}", path));
            }
            direct = false;
        }
    }
    std::unique_ptr<FileDevice> device(new FileDevice(*queue_, path, file.release()));
    device->geometry_ = geometry;
    device->direct_ = direct;
    return device;
}

FileDevice::~FileDevice() {
    UMBRA_CHECK(in_flight_ == 0);
    close(fd_);
}

void FileDevice::check_range(uint64_t offset, uint64_t bytes) const {
    UMBRA_CHECK(offset % base::kPageBytes == 0 && bytes % base::kPageBytes == 0);
    UMBRA_CHECK(offset <= geometry_.size_bytes && bytes <= geometry_.size_bytes - offset);
}

std::unexpected<base::Error> FileDevice::failed(int error, const char* what, uint64_t offset, bool reading) const {
    const std::string text = fmt::format("drive {}: {} at {:#x}", path_, what, offset);
    switch (error) {
        case ENODEV:
        case ENXIO:
        case ESHUTDOWN:
        case EBADF:
            return base::fail(Code::kDeviceFailed, fmt::format("{}: {}", text, std::strerror(error)));
        case EIO:
        case EILSEQ:
        case EREMOTEIO:
            if (reading) return base::fail(Code::kMediaError, fmt::format("{}: {}", text, std::strerror(error)));
            break;
        case ENODATA:  // what block devices say for an unreadable sector, and transfer() for a file that was cut
            if (reading) return base::fail(Code::kMediaError, fmt::format("{}: no data there", text));
            break;
        default:
            break;
    }
    return base::fail_errno(error, text);
}

Task<Result<void>> FileDevice::read(uint64_t offset, std::span<const base::MutableBytes> into) {
    std::vector<iovec> vectors;
    vectors.reserve(into.size());
    uint64_t bytes = 0;
    for (const auto& span : into) {
        UMBRA_CHECK(reinterpret_cast<uintptr_t>(span.data()) % base::kPageBytes == 0);
        vectors.push_back({span.data(), span.size()});
        bytes += span.size();
    }
    check_range(offset, bytes);
    ++in_flight_;
    const int error = co_await transfer(queue_, DiskOperation::kRead, fd_, offset, std::move(vectors));
    --in_flight_;
    if (error != 0) co_return failed(error, "read", offset, true);
    co_return Result<void>();
}

Task<Result<void>> FileDevice::write(uint64_t offset, std::span<const base::Bytes> from) {
    std::vector<iovec> vectors;
    vectors.reserve(from.size());
    uint64_t bytes = 0;
    for (const auto& span : from) {
        UMBRA_CHECK(reinterpret_cast<uintptr_t>(span.data()) % base::kPageBytes == 0);
        vectors.push_back({const_cast<std::byte*>(span.data()), span.size()});
        bytes += span.size();
    }
    check_range(offset, bytes);
    ++in_flight_;
    const int error = co_await transfer(queue_, DiskOperation::kWrite, fd_, offset, std::move(vectors));
    --in_flight_;
    if (error != 0) co_return failed(error, "write", offset, false);
    co_return Result<void>();
}

Task<Result<void>> FileDevice::flush() {
    ++in_flight_;
    DiskRequest request{DiskOperation::kDataSync, fd_};
    int64_t result = -EINTR;
    while (result == -EINTR || result == -EAGAIN) result = co_await DiskAwaiter{queue_, request};
    --in_flight_;
    if (result < 0) co_return failed(static_cast<int>(-result), "flush", 0, false);
    co_return Result<void>();
}

Task<Result<void>> FileDevice::discard(uint64_t offset, uint64_t bytes) {
    check_range(offset, bytes);
    if (bytes == 0) co_return Result<void>();
    ++in_flight_;
    DiskRequest request{DiskOperation::kPunchHole, fd_};
    request.offset = offset;
    request.bytes = bytes;
    int64_t result = -EINTR;
    while (result == -EINTR || result == -EAGAIN) result = co_await DiskAwaiter{queue_, request};
    --in_flight_;
    if (result == -EOPNOTSUPP || result == -ENOSYS) co_return Result<void>();  // a hint that this drive does not take
    if (result < 0) co_return failed(static_cast<int>(-result), "discard", offset, false);
    co_return Result<void>();
}

}  // namespace umbra::env

// How operations on descriptors reach the kernel: inside of file_device.cc and its engines.
#pragma once

#include <sys/uio.h>

#include <coroutine>
#include <cstdint>
#include <memory>

#include "base/result.h"
#include "env/loop.h"

namespace umbra::env::detail {

enum class DiskOperation : uint8_t { kRead, kWrite, kDataSync, kPunchHole };

/// One system call's worth; lives in the frame of the coroutine that waits for it.
struct DiskRequest {
    DiskOperation operation = DiskOperation::kRead;
    int fd = -1;
    uint64_t offset = 0;
    uint64_t bytes = 0;  ///< kPunchHole
    const iovec* vectors = nullptr;
    unsigned vector_count = 0;
    int64_t result = 0;  ///< bytes, or -errno
    std::coroutine_handle<> waiter{};
};

class DiskQueue {
public:
    virtual ~DiskQueue() = default;
    /// Fills `result` and schedules `waiter`, never before it returns.
    virtual void submit(DiskRequest* request) = 0;
};

struct DiskAwaiter {
    DiskQueue& queue;
    DiskRequest& request;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) const {
        request.waiter = handle;
        queue.submit(&request);
    }
    int64_t await_resume() const noexcept { return request.result; }
};

/// kUnsupported when the kernel has no io_uring for us.
base::Result<std::unique_ptr<DiskQueue>> make_uring_queue(Loop& loop);
std::unique_ptr<DiskQueue> make_thread_queue(Loop& loop);

}  // namespace umbra::env::detail

#include <fcntl.h>
#include <fmt/core.h>
#include <liburing.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <deque>

#include "env/disk_queue.h"

namespace umbra::env::detail {

using base::Code;
using base::Result;

namespace {

constexpr unsigned kRingEntries = 256;
/// Operations in the kernel at once; further ones wait here. The completion ring, twice the entries, never overflows.
constexpr size_t kMaxInFlight = 2 * kRingEntries;

class UringQueue final : public DiskQueue, EventHandler, TurnHook {
public:
    explicit UringQueue(Loop& loop) : loop_(loop) {}
    ~UringQueue() override {
        UMBRA_CHECK(in_flight_ == 0 && waiting_.empty());
        if (event_fd_ >= 0) {
            if (watched_) {
                loop_.remove(event_fd_);
                loop_.remove_hook(this);
            }
            io_uring_queue_exit(&ring_);
            close(event_fd_);
        }
    }

    Result<void> start() {
        int error = io_uring_queue_init(kRingEntries, &ring_, IORING_SETUP_COOP_TASKRUN);
        if (error == -EINVAL) error = io_uring_queue_init(kRingEntries, &ring_, 0);  // a kernel before 5.19
        if (error < 0) {
            return base::fail(Code::kUnsupported, fmt::format("io_uring is not available: {}", std::strerror(-error)));
        }
        event_fd_ = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
        if (event_fd_ < 0) {
            const int reason = errno;
            io_uring_queue_exit(&ring_);
            return base::fail_errno(reason, "cannot create an eventfd");
        }
        error = io_uring_register_eventfd(&ring_, event_fd_);
        if (error < 0) {
            return base::fail(Code::kUnsupported, fmt::format("io_uring has no eventfd: {}", std::strerror(-error)));
        }
        UMBRA_TRY(loop_.add(event_fd_, EPOLLIN, this));
        loop_.add_hook(this);
        watched_ = true;
        return {};
    }

    void submit(DiskRequest* request) override {
        if (waiting_.empty() && in_flight_ < kMaxInFlight && prepare(request)) return;
        waiting_.push_back(request);
    }

    void on_events(uint32_t) override {
        uint64_t count = 0;
        (void)!::read(event_fd_, &count, sizeof count);
        reap();
    }

    void end_of_turn() override {
        // A full submission ring empties with the call below; what did not fit follows until nothing moves any more.
        while (true) {
            while (!waiting_.empty() && in_flight_ < kMaxInFlight && prepare(waiting_.front())) waiting_.pop_front();
            if (prepared_ == 0) return;
            const int submitted = io_uring_submit(&ring_);
            if (submitted < 0) {
                UMBRA_CHECK(submitted == -EAGAIN || submitted == -EBUSY || submitted == -EINTR || submitted == -ENOMEM);
                loop_.post([] {});  // out of memory for requests, for now: again at the next turn
                return;
            }
            prepared_ -= static_cast<size_t>(submitted);
            if (submitted == 0 || waiting_.empty() || in_flight_ >= kMaxInFlight) break;
        }
        if (prepared_ != 0) loop_.post([] {});
    }

private:
    bool prepare(DiskRequest* request) {
        io_uring_sqe* entry = io_uring_get_sqe(&ring_);
        if (entry == nullptr) return false;
        switch (request->operation) {
            case DiskOperation::kRead:
                io_uring_prep_readv(entry, request->fd, request->vectors, request->vector_count, request->offset);
                break;
            case DiskOperation::kWrite:
                io_uring_prep_writev(entry, request->fd, request->vectors, request->vector_count, request->offset);
                break;
            case DiskOperation::kDataSync:
                io_uring_prep_fsync(entry, request->fd, IORING_FSYNC_DATASYNC);
                break;
            case DiskOperation::kPunchHole:
                io_uring_prep_fallocate(entry, request->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                        static_cast<off_t>(request->offset), static_cast<off_t>(request->bytes));
                break;
        }
        io_uring_sqe_set_data(entry, request);
        ++prepared_;
        ++in_flight_;
        return true;
    }

    void reap() {
        io_uring_cqe* entry = nullptr;
        unsigned head = 0;
        unsigned count = 0;
        io_uring_for_each_cqe(&ring_, head, entry) {
            auto* request = static_cast<DiskRequest*>(io_uring_cqe_get_data(entry));
            request->result = entry->res;
            loop_.schedule(request->waiter);
            ++count;
        }
        io_uring_cq_advance(&ring_, count);
        in_flight_ -= count;
    }

    Loop& loop_;
    io_uring ring_{};
    int event_fd_ = -1;
    bool watched_ = false;
    size_t prepared_ = 0;  ///< in the submission ring, not yet handed over
    size_t in_flight_ = 0;
    std::deque<DiskRequest*> waiting_;
};

}  // namespace

Result<std::unique_ptr<DiskQueue>> make_uring_queue(Loop& loop) {
    auto queue = std::make_unique<UringQueue>(loop);
    UMBRA_TRY(queue->start());
    return std::unique_ptr<DiskQueue>(std::move(queue));
}

}  // namespace umbra::env::detail

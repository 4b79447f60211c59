#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <csignal>
#include <deque>
#include <mutex>
#include <thread>
#include <vector>

#include "env/disk_queue.h"

namespace umbra::env::detail {

namespace {

constexpr size_t kThreads = 8;

int64_t perform(const DiskRequest& request) {
    const auto offset = static_cast<off_t>(request.offset);
    const auto count = static_cast<int>(request.vector_count);
    while (true) {
        ssize_t result = -1;
        switch (request.operation) {
            case DiskOperation::kRead:
                result = preadv(request.fd, request.vectors, count, offset);
                break;
            case DiskOperation::kWrite:
                result = pwritev(request.fd, request.vectors, count, offset);
                break;
            case DiskOperation::kDataSync:
                result = fdatasync(request.fd);
                break;
            case DiskOperation::kPunchHole:
                result = fallocate(request.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset,
                                   static_cast<off_t>(request.bytes));
                break;
        }
        if (result >= 0) return result;
        if (errno != EINTR) return -errno;
    }
}

class ThreadQueue final : public DiskQueue {
public:
    explicit ThreadQueue(Loop& loop) : loop_(loop) {
        // Signals are the loop's business: the threads inherit a mask that blocks them all.
        sigset_t all;
        sigset_t before;
        sigfillset(&all);
        pthread_sigmask(SIG_SETMASK, &all, &before);
        for (size_t i = 0; i < kThreads; ++i) threads_.emplace_back([this] { work(); });
        pthread_sigmask(SIG_SETMASK, &before, nullptr);
    }
    ~ThreadQueue() override {
        UMBRA_CHECK(in_flight_ == 0);
        {
            const std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        more_.notify_all();
        for (auto& thread : threads_) thread.join();
    }

    void submit(DiskRequest* request) override {
        ++in_flight_;
        {
            const std::lock_guard lock(mutex_);
            requests_.push_back(request);
        }
        more_.notify_one();
    }

private:
    void work() {
        std::unique_lock lock(mutex_);
        while (true) {
            more_.wait(lock, [this] { return stopping_ || !requests_.empty(); });
            if (requests_.empty()) return;
            DiskRequest* request = requests_.front();
            requests_.pop_front();
            lock.unlock();
            const int64_t result = perform(*request);
            loop_.post([this, request, result] {
                --in_flight_;
                request->result = result;
                loop_.schedule(request->waiter);
            });
            lock.lock();
        }
    }

    Loop& loop_;
    size_t in_flight_ = 0;  ///< the loop's thread only
    std::mutex mutex_;
    std::condition_variable more_;
    std::deque<DiskRequest*> requests_;
    bool stopping_ = false;
    std::vector<std::thread> threads_;
};

}  // namespace

std::unique_ptr<DiskQueue> make_thread_queue(Loop& loop) {
    return std::make_unique<ThreadQueue>(loop);
}

}  // namespace umbra::env::detail

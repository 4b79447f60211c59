#include "env/task.h"

#include <array>
#include <cstdlib>
#include <new>

namespace umbra::env {

namespace detail {
namespace {

constexpr size_t kClassBytes = 128;
constexpr size_t kClasses = 32;  // frames up to 4 KiB
constexpr size_t kFreeFramesPerClass = 256;

struct FreeFrame {
    FreeFrame* next;
};

struct FramePool {
    std::array<FreeFrame*, kClasses> free{};
    std::array<size_t, kClasses> count{};
    ~FramePool() {
        for (FreeFrame* frame : free) {
            while (frame != nullptr) {
                FreeFrame* next = frame->next;
                std::free(frame);
                frame = next;
            }
        }
    }
};

thread_local FramePool pool;

}  // namespace

void* allocate_frame(size_t bytes) {
    const size_t size_class = (bytes + kClassBytes - 1) / kClassBytes - 1;
    if (size_class < kClasses && pool.free[size_class] != nullptr) {
        FreeFrame* frame = pool.free[size_class];
        pool.free[size_class] = frame->next;
        --pool.count[size_class];
        return frame;
    }
    void* frame = std::malloc(size_class < kClasses ? (size_class + 1) * kClassBytes : bytes);
    if (frame == nullptr) throw std::bad_alloc();
    return frame;
}

void free_frame(void* frame, size_t bytes) noexcept {
    const size_t size_class = (bytes + kClassBytes - 1) / kClassBytes - 1;
    if (size_class >= kClasses || pool.count[size_class] >= kFreeFramesPerClass) {
        std::free(frame);
        return;
    }
    auto* free_frame = static_cast<FreeFrame*>(frame);
    free_frame->next = pool.free[size_class];
    pool.free[size_class] = free_frame;
    ++pool.count[size_class];
}

}  // namespace detail

namespace {

struct Detached {
    struct promise_type {
        static void* operator new(size_t bytes) { return detail::allocate_frame(bytes); }
        static void operator delete(void* frame, size_t bytes) noexcept { detail::free_frame(frame, bytes); }
        Detached get_return_object() noexcept { return {}; }
        std::suspend_never initial_suspend() noexcept { return {}; }
        std::suspend_never final_suspend() noexcept { return {}; }
        void return_void() noexcept {}
        [[noreturn]] void unhandled_exception() noexcept { std::terminate(); }
    };
};

Detached run_detached(Task<void> task) {
    co_await std::move(task);
}

}  // namespace

void spawn_detached(Task<void> task) {
    run_detached(std::move(task));
}

}  // namespace umbra::env

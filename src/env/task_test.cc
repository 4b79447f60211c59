#include "env/task.h"

#include <gtest/gtest.h>

#include <memory>
#include <vector>

#include "env/sync.h"
#include "sim/executor.h"

namespace umbra::env {
namespace {

Task<int> one() {
    co_return 1;
}

Task<void> count_to(int n, int* sum) {
    for (int i = 0; i < n; ++i) *sum += co_await one();
}

TEST(Task, AwaitsAMillionSynchronouslyFinishedTasks) {
    int sum = 0;
    spawn_detached(count_to(1'000'000, &sum));
    EXPECT_EQ(sum, 1'000'000);
}

Task<std::unique_ptr<int>> moved(std::unique_ptr<int> value) {
    co_return value;
}

Task<void> keep(std::unique_ptr<int>* into) {
    *into = co_await moved(std::make_unique<int>(5));
}

TEST(Task, CarriesMoveOnlyValues) {
    std::unique_ptr<int> value;
    spawn_detached(keep(&value));
    ASSERT_TRUE(value);
    EXPECT_EQ(*value, 5);
}

TEST(Task, UnstartedTaskFreesItsFrame) {
    auto task = one();  // LeakSanitizer is the assertion
}

Task<void> worker(Executor& executor, Mutex& mutex, std::vector<int>& log, int id) {
    auto guard = co_await mutex.lock();
    log.push_back(id);
    co_await sleep_for(executor, std::chrono::milliseconds(10 - id));
    log.push_back(id);
}

TEST(Sync, MutexIsFairAndExclusive) {
    sim::SimExecutor executor;
    Mutex mutex(executor);
    std::vector<int> log;
    TaskGroup group(executor);
    for (int i = 0; i < 3; ++i) group.spawn(worker(executor, mutex, log, i));
    executor.run(group.join());
    EXPECT_EQ(log, (std::vector<int>{0, 0, 1, 1, 2, 2}));
    EXPECT_EQ(executor.now().ns, 27'000'000);
}

Task<void> reader(Executor& executor, SharedMutex& mutex, std::vector<std::string>& log) {
    auto guard = co_await mutex.lock_shared();
    log.push_back("r+");
    co_await sleep_for(executor, std::chrono::milliseconds(1));
    log.push_back("r-");
}
Task<void> writer(Executor& executor, SharedMutex& mutex, std::vector<std::string>& log) {
    auto guard = co_await mutex.lock();
    log.push_back("w+");
    co_await sleep_for(executor, std::chrono::milliseconds(1));
    log.push_back("w-");
}

TEST(Sync, WaitingWriterHoldsBackLaterReaders) {
    sim::SimExecutor executor;
    SharedMutex mutex(executor);
    std::vector<std::string> log;
    TaskGroup group(executor);
    group.spawn(reader(executor, mutex, log));
    group.spawn(reader(executor, mutex, log));
    group.spawn(writer(executor, mutex, log));
    group.spawn(reader(executor, mutex, log));
    executor.run(group.join());
    EXPECT_EQ(log, (std::vector<std::string>{"r+", "r+", "r-", "r-", "w+", "w-", "r+", "r-"}));
}

}  // namespace
}  // namespace umbra::env

// A whole array in memory behind a real management socket, for tests of those who use one. It has a thread of its own.
#pragma once

#include <atomic>
#include <future>
#include <memory>
#include <string>
#include <thread>

#include "array/model.h"
#include "array_rpc/server.h"
#include "env/loop.h"
#include "lun/testing/memory_backend.h"

namespace umbra::array_rpc::testing {

class MemoryArrayServer {
public:
    /// Serves when it returns. Six drives of 4 GiB, one portal that nobody serves.
    explicit MemoryArrayServer(std::string name = "demo");
    ~MemoryArrayServer();
    MemoryArrayServer(const MemoryArrayServer&) = delete;
    MemoryArrayServer& operator=(const MemoryArrayServer&) = delete;

    std::string address() const { return "unix:" + path(); }
    std::string path() const { return directory_ + "/array.sock"; }
    void shutdown();

    /// Runs `function(model)` on the array's executor and returns its value.
    template <class Function>
    auto on_array(Function function) {
        std::promise<decltype(function(*model_))> promise;
        auto future = promise.get_future();
        loop_->post([&] { promise.set_value(function(*model_)); });
        return future.get();
    }
    /// The backend's next calls of this operation wait until release().
    void hold(const std::string& operation);
    void release();
    /// A call waits.
    bool holding() const { return holding_; }

private:
    env::Task<void> serve(std::promise<void>* started);

    std::string directory_;
    std::string name_;
    std::unique_ptr<env::Loop> loop_;
    env::SeededRandom random_{7};
    std::shared_ptr<lun::testing::MemoryArray> drives_;
    lun::testing::MemoryBackend* backend_ = nullptr;
    std::unique_ptr<array::ArrayModel> model_;
    std::unique_ptr<ManagementServer> server_;
    std::unique_ptr<env::Event> released_;
    std::unique_ptr<env::Event> stop_;
    std::atomic<bool> holding_ = false;
    std::thread thread_;
};

}  // namespace umbra::array_rpc::testing

#include "array_rpc/testing/memory_array_server.h"

#include <cstdlib>
#include <filesystem>

#include "base/check.h"

namespace umbra::array_rpc::testing {

using lun::testing::MemoryArray;
using lun::testing::MemoryBackend;

MemoryArrayServer::MemoryArrayServer(std::string name) : name_(std::move(name)) {
    std::string pattern = std::filesystem::temp_directory_path() / "umbra-test-XXXXXX";
    UMBRA_CHECK(mkdtemp(pattern.data()) != nullptr);
    directory_ = pattern;
    loop_ = std::move(*env::Loop::create());
    drives_ = MemoryArray::make(6, 4ull << 30);
    released_ = std::make_unique<env::Event>(*loop_);
    stop_ = std::make_unique<env::Event>(*loop_);
    released_->set();
    std::promise<void> started;
    auto future = started.get_future();
    thread_ = std::thread([this, &started] { loop_->run(serve(&started)); });
    future.get();
}

MemoryArrayServer::~MemoryArrayServer() {
    release();
    shutdown();
    loop_->post([this] { stop_->set(); });
    thread_.join();
    std::filesystem::remove_all(directory_);
}

env::Task<void> MemoryArrayServer::serve(std::promise<void>* started) {
    auto backend = std::make_unique<MemoryBackend>(*loop_, drives_);
    backend_ = backend.get();
    array::ModelOptions options;
    options.name = name_;
    options.portals = {"127.0.0.1:3260"};
    auto model = co_await array::ArrayModel::open({*loop_, random_}, std::move(backend), options);
    UMBRA_CHECK(model.has_value());
    model_ = std::move(*model);
    auto server = ManagementServer::start(*loop_, *model_, {address(), "umbra"});
    UMBRA_CHECK(server.has_value());
    server_ = std::move(*server);
    started->set_value();
    co_await stop_->wait();
    const auto closed = co_await model_->close();
    UMBRA_CHECK(closed.has_value());
    model_.reset();
}

void MemoryArrayServer::shutdown() {
    server_->shutdown();
}

namespace {
env::Task<base::Result<void>> wait_for(env::Event* released, std::atomic<bool>* holding, std::string held,
                                       std::string operation, MemoryBackend::Step step) {
    if (operation == held && step == MemoryBackend::Step::kBefore) {
        *holding = true;
        co_await released->wait();
        *holding = false;
    }
    co_return base::Result<void>();
}
}  // namespace

void MemoryArrayServer::hold(const std::string& operation) {
    on_array([&](array::ArrayModel&) {
        released_->reset();
        backend_->set_hook([this, released = released_.get(), operation](std::string now, MemoryBackend::Step step) {
            return wait_for(released, &holding_, operation, std::move(now), step);
        });
        return true;
    });
}

void MemoryArrayServer::release() {
    on_array([&](array::ArrayModel&) {
        released_->set();
        return true;
    });
}

}  // namespace umbra::array_rpc::testing

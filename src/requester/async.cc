#include "requester/async.h"

#include <algorithm>
#include <mutex>
#include <optional>

#include "com/ref_counted.h"
#include "requester/convert.h"
#include "vsserror.h"

namespace umbra::requester {
namespace {

using Clock = std::chrono::steady_clock;

// One call to the coordinator waits no longer than this, so that none of its threads is held for hours.
constexpr uint32_t kWaitSliceMs = 30'000;

class Async final : public com::RefCounted<IVssAsync, IUmbraAsyncProgress> {
public:
    Async(std::shared_ptr<Channel> channel, std::string operation)
        : channel_(std::move(channel)), operation_(std::move(operation)) {}

    ~Async() override { (void)channel_->ReleaseOperation(request()); }

    HRESULT Cancel() override {
        return frame([&]() -> com::Result<HRESULT> {
            UMBRA_ASSIGN(const proto::StatusReply reply, channel_->CancelOperation(request()));
            UMBRA_TRY(check(reply.status()));
            return static_cast<HRESULT>(reply.status().hresult());
        });
    }

    // That the operation failed is no failure of Wait: QueryStatus says how it ended.
    HRESULT Wait(DWORD milliseconds) override {
        return frame([&]() -> com::Result<HRESULT> {
            const Clock::time_point deadline = Clock::now() + std::chrono::milliseconds(milliseconds);
            for (;;) {
                if (final_state()) return S_OK;
                uint32_t slice = kWaitSliceMs;
                if (milliseconds != INFINITE) {
                    const auto left = std::chrono::ceil<std::chrono::milliseconds>(deadline - Clock::now()).count();
                    slice = static_cast<uint32_t>(std::clamp<int64_t>(left, 0, kWaitSliceMs));
                }
                proto::WaitOperationRequest wait;
                wait.set_operation(operation_);
                wait.set_timeout_ms(slice);
                UMBRA_ASSIGN(const proto::OperationState state, channel_->WaitOperation(wait));
                UMBRA_TRY(check(state.status()));
                if (keep_if_final(state)) return S_OK;
                if (milliseconds != INFINITE && Clock::now() >= deadline) return VSS_S_ASYNC_PENDING;
            }
        });
    }

    HRESULT QueryStatus(HRESULT* result, INT* reserved) override {
        return frame(
            [&]() -> com::Result<> {
                if (reserved != nullptr) return com::fail(E_INVALIDARG, "QueryStatus: pReserved has to be NULL");
                UMBRA_ASSIGN(const proto::OperationState state, current());
                *result = static_cast<HRESULT>(state.result());
                return {};
            },
            result);
    }

    HRESULT GetPercentCompleted(ULONG* percent) override {
        return frame(
            [&]() -> com::Result<> {
                UMBRA_ASSIGN(const proto::OperationState state, current());
                *percent = std::min<ULONG>(state.percent(), 100);
                return {};
            },
            percent);
    }

    HRESULT GetBytes(ULONGLONG* done, ULONGLONG* total) override {
        return frame([]() -> com::Result<> { return {}; }, done, total);
    }

    HRESULT GetMessageText(BSTR* message) override {
        return frame(
            [&]() -> com::Result<> {
                UMBRA_ASSIGN(const proto::OperationState state, current());
                *message = com::Bstr(com::to_wide_lossy(state.message())).detach();
                return {};
            },
            message);
    }

private:
    proto::OperationRequest request() const {
        proto::OperationRequest request;
        request.set_operation(operation_);
        return request;
    }

    std::optional<proto::OperationState> final_state() {
        const std::lock_guard lock(mutex_);
        return final_;
    }

    bool keep_if_final(const proto::OperationState& state) {
        if (static_cast<HRESULT>(state.result()) == VSS_S_ASYNC_PENDING) return false;
        const std::lock_guard lock(mutex_);
        final_ = state;
        return true;
    }

    com::Result<proto::OperationState> current() {
        if (auto state = final_state()) return *state;
        UMBRA_ASSIGN(proto::OperationState state, channel_->QueryOperation(request()));
        UMBRA_TRY(check(state.status()));
        keep_if_final(state);
        return state;
    }

    const std::shared_ptr<Channel> channel_;
    const std::string operation_;
    std::mutex mutex_;
    std::optional<proto::OperationState> final_;  // guarded; how it ended remains known when the coordinator forgets
};

}  // namespace

IVssAsync* new_async(std::shared_ptr<Channel> channel, std::string operation) {
    return com::make<Async>(std::move(channel), std::move(operation)).detach();
}

}  // namespace umbra::requester

#include "provider/vds_async.h"

#include <algorithm>
#include <thread>

namespace umbra::provider {

using base::Code;

namespace {

constexpr Timeout kWaitSlice{1000};
constexpr Timeout kRetryPause{250};

}  // namespace

VdsAsync::VdsAsync(std::shared_ptr<VdsCache> cache, TaskRecord task, VDS_ASYNC_OUTPUT_TYPE type)
    : cache_(std::move(cache)), type_(type), task_(std::move(task)), result_(VDS_E_OPERATION_PENDING) {
    settle(task_);
}

VdsAsync::VdsAsync(HRESULT result, VDS_ASYNC_OUTPUT_TYPE type, com::Ptr<IUnknown> object)
    : type_(type), object_(std::move(object)), result_(result) {}

HRESULT VdsAsync::settle(Result<TaskRecord> now) {
    if (result_ != VDS_E_OPERATION_PENDING) return result_;
    if (!now) {
        // The task may well go on; who waits learns that nothing more can be said of it.
        result_ = now.error().code == Code::kNotFound ? VDS_E_ASYNC_OBJECT_FAILURE : cache_->failure(now.error());
        return result_;
    }
    task_ = std::move(*now);
    if (!task_.ended()) return result_;
    if (task_.state == "done") {
        result_ = S_OK;
    } else if (task_.state == "cancelled") {
        result_ = VDS_E_OPERATION_CANCELED;
    } else {
        result_ = to_vds_hresult(task_.error_code.value_or(Code::kInternal));
    }
    cache_->changed();
    return result_;
}

HRESULT VdsAsync::Cancel() {
    return vds_guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        if (result_ == VDS_E_OPERATION_PENDING) settle(cache_->array().get_task(task_.id));
        if (result_ == VDS_E_OPERATION_CANCELED) return VDS_E_OPERATION_CANCELED;
        if (result_ != VDS_E_OPERATION_PENDING) return VDS_E_CANCEL_TOO_LATE;
        auto cancelled = cache_->array().cancel_task(task_.id);
        if (!cancelled) {
            if (cancelled.error().code == Code::kBadState || cancelled.error().code == Code::kBusy) {
                return VDS_E_CANCEL_TOO_LATE;
            }
            return cache_->failure(cancelled.error());
        }
        settle(std::move(*cancelled));
        return S_OK;
    });
}

HRESULT VdsAsync::Wait(HRESULT* pHrResult, VDS_ASYNC_OUTPUT* pAsyncOut) {
    if (pHrResult == nullptr || pAsyncOut == nullptr) return E_INVALIDARG;
    *pAsyncOut = {};
    return vds_guard([&]() -> HRESULT {
        for (;;) {
            uint64_t id = 0;
            {
                std::lock_guard lock(mutex_);
                if (result_ == VDS_E_OPERATION_PENDING) settle(cache_->array().get_task(task_.id));
                if (result_ != VDS_E_OPERATION_PENDING) {
                    *pHrResult = result_;
                    pAsyncOut->type = type_;
                    if (SUCCEEDED(result_) && object_) {
                        pAsyncOut->cl.pLunUnk = com::Ptr<IUnknown>(object_).detach();
                    }
                    return S_OK;
                }
                id = task_.id;
            }
            // Without the lock: Cancel and QueryStatus must not wait for this.
            if (!cache_->array().wait_task(id, kWaitSlice)) std::this_thread::sleep_for(kRetryPause);
        }
    });
}

HRESULT VdsAsync::QueryStatus(HRESULT* pHrResult, ULONG* pulPercentCompleted) {
    if (pHrResult == nullptr || pulPercentCompleted == nullptr) return E_INVALIDARG;
    return vds_guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        if (result_ == VDS_E_OPERATION_PENDING) settle(cache_->array().get_task(task_.id));
        *pHrResult = result_;
        *pulPercentCompleted = result_ == VDS_E_OPERATION_PENDING ? std::min<uint32_t>(task_.percent, 99) : 100;
        return S_OK;
    });
}

HRESULT VdsEnum::Next(ULONG celt, IUnknown** ppObjectArray, ULONG* pcFetched) {
    if (pcFetched != nullptr) *pcFetched = 0;
    if (ppObjectArray == nullptr || pcFetched == nullptr || celt == 0) return E_INVALIDARG;
    std::lock_guard lock(mutex_);
    size_t count = std::min<size_t>(celt, objects_.size() - at_);
    for (size_t i = 0; i < celt; ++i) {
        ppObjectArray[i] = i < count ? com::Ptr<IUnknown>(objects_[at_ + i]).detach() : nullptr;
    }
    at_ += count;
    *pcFetched = static_cast<ULONG>(count);
    return count == celt ? S_OK : S_FALSE;
}

HRESULT VdsEnum::Skip(ULONG celt) {
    std::lock_guard lock(mutex_);
    size_t count = std::min<size_t>(celt, objects_.size() - at_);
    at_ += count;
    return count == celt ? S_OK : S_FALSE;
}

HRESULT VdsEnum::Reset() {
    std::lock_guard lock(mutex_);
    at_ = 0;
    return S_OK;
}

HRESULT VdsEnum::Clone(IEnumVdsObject** ppEnum) {
    if (ppEnum == nullptr) return E_INVALIDARG;
    *ppEnum = nullptr;
    return vds_guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        *ppEnum = com::make<VdsEnum>(objects_, at_).detach();
        return S_OK;
    });
}

}  // namespace umbra::provider

// IVdsAsync and IEnumVdsObject.
#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "com/hresult.h"
#include "com/ptr.h"
#include "com/ref_counted.h"
#include "provider/vds_cache.h"

namespace umbra::provider {

/// A handle on one task of an array, or on an operation that has ended already. Releasing it stops nothing.
class VdsAsync final : public com::RefCounted<IVdsAsync> {
public:
    VdsAsync(std::shared_ptr<VdsCache> cache, TaskRecord task, VDS_ASYNC_OUTPUT_TYPE type);
    /// Ended with `result`; `object` is what it made, for VDS_ASYNCOUT_CREATELUN.
    VdsAsync(HRESULT result, VDS_ASYNC_OUTPUT_TYPE type, com::Ptr<IUnknown> object = {});

    HRESULT STDMETHODCALLTYPE Cancel() override;
    HRESULT STDMETHODCALLTYPE Wait(HRESULT* pHrResult, VDS_ASYNC_OUTPUT* pAsyncOut) override;
    HRESULT STDMETHODCALLTYPE QueryStatus(HRESULT* pHrResult, ULONG* pulPercentCompleted) override;

private:
    /// VDS_E_OPERATION_PENDING while it runs.
    HRESULT settle(Result<TaskRecord> now);

    const std::shared_ptr<VdsCache> cache_;
    const VDS_ASYNC_OUTPUT_TYPE type_;
    const com::Ptr<IUnknown> object_;

    std::mutex mutex_;
    TaskRecord task_;
    HRESULT result_;
};

/// A list as it was when it was asked for.
class VdsEnum final : public com::RefCounted<IEnumVdsObject> {
public:
    explicit VdsEnum(std::vector<com::Ptr<IUnknown>> objects, size_t at = 0) : objects_(std::move(objects)), at_(at) {}

    HRESULT STDMETHODCALLTYPE Next(ULONG celt, IUnknown** ppObjectArray, ULONG* pcFetched) override;
    HRESULT STDMETHODCALLTYPE Skip(ULONG celt) override;
    HRESULT STDMETHODCALLTYPE Reset() override;
    HRESULT STDMETHODCALLTYPE Clone(IEnumVdsObject** ppEnum) override;

private:
    std::mutex mutex_;
    const std::vector<com::Ptr<IUnknown>> objects_;
    size_t at_;
};

/// The frame of every VDS method: exceptions become codes.
template <class Body>
HRESULT vds_guard(Body&& body) {
    return com::guard_with(&to_vds_hresult, {}, std::forward<Body>(body));
}

}  // namespace umbra::provider

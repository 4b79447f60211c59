// IVssAsync over the tasks of one ResyncLuns. It holds nothing but their numbers: releasing it stops none of them, only
// Cancel does. No thread of its own.
#pragma once

#include <chrono>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "com/ref_counted.h"
#include "provider/array_client.h"
#include "provider/events.h"
#include "vss.h"

namespace umbra::provider {

struct ResyncTask {
    std::shared_ptr<ArrayClient> array;
    std::string lun;            ///< name of the destination
    uint64_t weight_bytes = 0;  ///< its share of the progress
    TaskRecord last;            ///< as last seen
    bool in_doubt = false;      ///< the array could not say whether it was started, or how it ended
};

class ResyncAsync final : public com::RefCounted<IVssAsync, IUmbraAsyncProgress> {
public:
    ResyncAsync(std::vector<ResyncTask> tasks, EventSink events);

    HRESULT STDMETHODCALLTYPE Cancel() override;
    HRESULT STDMETHODCALLTYPE Wait(DWORD dwMilliseconds) override;
    HRESULT STDMETHODCALLTYPE QueryStatus(HRESULT* pHrResult, INT* pReserved) override;
    HRESULT STDMETHODCALLTYPE GetPercentCompleted(ULONG* pPercent) override;
    HRESULT STDMETHODCALLTYPE GetBytes(ULONGLONG* pDone, ULONGLONG* pTotal) override;
    HRESULT STDMETHODCALLTYPE GetMessageText(BSTR* pbstrMessage) override;

private:
    /// What the tasks say together: PENDING, FINISHED, CANCELLED or a failure, which is settled once and for all.
    /// VSS_E_UNEXPECTED: of one of them it is not known whether it was done, or goes on.
    HRESULT poll();
    void note(ResyncTask& task, Result<TaskRecord> now);
    HRESULT settle();

    std::mutex mutex_;
    std::vector<ResyncTask> tasks_;
    const EventSink events_;
    HRESULT result_;
    std::string message_;
    std::optional<std::chrono::steady_clock::time_point> silent_since_;
};

}  // namespace umbra::provider

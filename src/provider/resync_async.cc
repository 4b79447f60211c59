#include "provider/resync_async.h"

#include <algorithm>
#include <thread>

#include "com/hresult.h"
#include "com/text.h"
#include "vsserror.h"

namespace umbra::provider {

using base::Code;

namespace {

/// How long an array may be out of reach before the operation counts as failed for whoever waits for it.
constexpr std::chrono::seconds kMaxSilence{60};
constexpr Timeout kWaitSlice{1000};
constexpr Timeout kRetryPause{250};

}  // namespace

ResyncAsync::ResyncAsync(std::vector<ResyncTask> tasks, EventSink events)
    : tasks_(std::move(tasks)), events_(std::move(events)), result_(VSS_S_ASYNC_PENDING) {
    settle();
}

void ResyncAsync::note(ResyncTask& task, Result<TaskRecord> now) {
    if (now) {
        task.last = std::move(*now);
        silent_since_.reset();
        return;
    }
    Code code = now.error().code;
    if (code == Code::kUnavailable || code == Code::kTimedOut) {
        auto moment = std::chrono::steady_clock::now();
        if (!silent_since_) silent_since_ = moment;
        if (moment - *silent_since_ < kMaxSilence) return;
    }
    // An array that restarted may know no task of before; the destination is wholly as it was or wholly the source.
    task.in_doubt = true;
    task.last.state = "failed";
    task.last.error_code = code;
    task.last.error = now.error().message + "; umbra lun show " + task.lun + " and umbra events say how it ended";
}

HRESULT ResyncAsync::settle() {
    bool all_ended =
        std::all_of(tasks_.begin(), tasks_.end(), [](const ResyncTask& task) { return task.last.ended(); });
    if (!all_ended || result_ != VSS_S_ASYNC_PENDING) return result_;
    std::string done, failed;
    bool in_doubt = false;  // of one of them
    HRESULT hr = VSS_S_ASYNC_FINISHED;
    for (const ResyncTask& task : tasks_) {
        if (task.last.state == "done") {
            done += (done.empty() ? "" : ", ") + task.lun;
        } else if (task.last.state == "cancelled") {
            failed += (failed.empty() ? "" : "; ") + task.lun + ": cancelled";
            if (hr == VSS_S_ASYNC_FINISHED) hr = VSS_S_ASYNC_CANCELLED;
        } else {
            in_doubt = in_doubt || task.in_doubt;
            failed += (failed.empty() ? "" : "; ") + task.lun + ": " + task.last.error;
            if (!FAILED(hr)) {
                hr = task.last.error_code == Code::kNoSpace ? VSS_E_INSUFFICIENT_STORAGE : VSS_E_PROVIDER_VETO;
            }
        }
    }
    // Not a veto: that would say that nothing of these runs or was done.
    if (in_doubt) hr = VSS_E_UNEXPECTED;
    result_ = hr;
    if (hr == VSS_S_ASYNC_FINISHED) return hr;
    message_ = "Resynchronisation: " + failed + ".";
    message_ += in_doubt ? " How that ended is not known: resynchronise again with the same LUNs, and mount none of "
                           "them before."
                         : " These destinations are as they were before.";
    if (!done.empty()) message_ += " Resynchronised all the same: " + done + ".";
    if (hr == VSS_E_INSUFFICIENT_STORAGE) {
        message_ += " Free space in the array (delete snapshots or shadow copies, add drives), then try again.";
    } else if (FAILED(hr)) {
        message_ += " Look at umbra events and umbra drive list, repair what they name, then try again.";
    }
    if (FAILED(hr)) {
        events_({Severity::kError, hr == VSS_E_INSUFFICIENT_STORAGE ? EventId::kLowSpace : EventId::kResyncFailed,
                 message_});
    }
    return hr;
}

HRESULT ResyncAsync::poll() {
    if (result_ != VSS_S_ASYNC_PENDING) return result_;
    for (ResyncTask& task : tasks_) {
        if (!task.last.ended()) note(task, task.array->get_task(task.last.id));
    }
    return settle();
}

HRESULT ResyncAsync::Cancel() {
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        HRESULT now = poll();
        if (now != VSS_S_ASYNC_PENDING) return now;
        for (ResyncTask& task : tasks_) {
            if (task.last.ended()) continue;
            auto cancelled = task.array->cancel_task(task.last.id);
            if (cancelled) {
                task.last = std::move(*cancelled);
            } else if (cancelled.error().code == Code::kUnavailable || cancelled.error().code == Code::kTimedOut) {
                return VSS_E_UNEXPECTED;
            }
            // Past the point of no return it ends by itself, and says how.
        }
        settle();
        return S_OK;
    });
}

HRESULT ResyncAsync::Wait(DWORD dwMilliseconds) {
    return com::guard([&]() -> HRESULT {
        auto begun = std::chrono::steady_clock::now();
        for (;;) {
            std::shared_ptr<ArrayClient> array;
            uint64_t id = 0;
            {
                std::lock_guard lock(mutex_);
                if (poll() != VSS_S_ASYNC_PENDING) return S_OK;
                auto running = std::find_if(tasks_.begin(), tasks_.end(),
                                            [](const ResyncTask& task) { return !task.last.ended(); });
                array = running->array;
                id = running->last.id;
            }
            Timeout slice = kWaitSlice;
            if (dwMilliseconds != INFINITE) {
                auto waited = std::chrono::duration_cast<Timeout>(std::chrono::steady_clock::now() - begun);
                if (waited >= Timeout(dwMilliseconds)) return S_OK;
                slice = std::min(slice, Timeout(dwMilliseconds) - waited);
            }
            // Without the lock: Cancel and QueryStatus must not wait for this.
            if (!array->wait_task(id, slice)) std::this_thread::sleep_for(std::min(slice, kRetryPause));
        }
    });
}

HRESULT ResyncAsync::QueryStatus(HRESULT* pHrResult, INT* pReserved) {
    if (pHrResult == nullptr || pReserved != nullptr) return E_INVALIDARG;
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        *pHrResult = poll();
        return S_OK;
    });
}

HRESULT ResyncAsync::GetPercentCompleted(ULONG* pPercent) {
    if (pPercent == nullptr) return E_POINTER;
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        HRESULT now = poll();
        if (now == VSS_S_ASYNC_FINISHED) {
            *pPercent = 100;
            return S_OK;
        }
        double weight = 0;
        double done = 0;
        for (const ResyncTask& task : tasks_) {
            double share = static_cast<double>(std::max<uint64_t>(task.weight_bytes, 1));
            weight += share;
            done += share * std::min<uint32_t>(task.last.percent, 100) / 100.0;
        }
        *pPercent = weight > 0 ? std::min<ULONG>(static_cast<ULONG>(100.0 * done / weight), 99) : 0;
        return S_OK;
    });
}

HRESULT ResyncAsync::GetBytes(ULONGLONG* pDone, ULONGLONG* pTotal) {
    if (pDone == nullptr || pTotal == nullptr) return E_POINTER;
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        poll();
        *pDone = 0;
        *pTotal = 0;
        for (const ResyncTask& task : tasks_) {
            *pDone += task.last.done_bytes;
            *pTotal += task.last.total_bytes;
        }
        return S_OK;
    });
}

HRESULT ResyncAsync::GetMessageText(BSTR* pbstrMessage) {
    if (pbstrMessage == nullptr) return E_POINTER;
    *pbstrMessage = nullptr;
    return com::guard([&]() -> HRESULT {
        std::lock_guard lock(mutex_);
        poll();
        *pbstrMessage = SysAllocString(com::to_wide_lossy(message_).c_str());
        return *pbstrMessage ? S_OK : E_OUTOFMEMORY;
    });
}

}  // namespace umbra::provider

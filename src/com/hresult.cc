#include "com/hresult.h"

#include "com/ref_counted.h"
#include "vsserror.h"

namespace umbra::com {

HRESULT to_vss_hresult(base::Code code) {
    switch (code) {
        case base::Code::kInvalidArgument:
            return E_INVALIDARG;
        case base::Code::kNotFound:
            return VSS_E_OBJECT_NOT_FOUND;
        case base::Code::kAlreadyExists:
            return VSS_E_OBJECT_ALREADY_EXISTS;
        case base::Code::kBusy:
            return VSS_E_VOLUME_IN_USE;
        case base::Code::kBadState:
            return VSS_E_BAD_STATE;
        case base::Code::kPermissionDenied:
        case base::Code::kUnauthenticated:
        case base::Code::kWriteProtected:
            return E_ACCESSDENIED;
        case base::Code::kUnsupported:
            return E_NOTIMPL;
        case base::Code::kNoSpace:
        case base::Code::kNoDrive:
            return VSS_E_INSUFFICIENT_STORAGE;
        case base::Code::kTimedOut:
            return HRESULT_FROM_WIN32(ERROR_TIMEOUT);
        case base::Code::kCancelled:
            return E_ABORT;
        case base::Code::kMediaError:
        case base::Code::kDeviceFailed:
        case base::Code::kCorrupt:
        case base::Code::kVersion:
        case base::Code::kUnavailable:
        case base::Code::kMiscompare:
        case base::Code::kIo:
        case base::Code::kInternal:
            return VSS_E_UNEXPECTED;
    }
    return VSS_E_UNEXPECTED;
}

std::atomic<long>& live_objects() {
    static std::atomic<long> count{0};
    return count;
}

}  // namespace umbra::com

#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace umbra::base {

std::string_view to_string(Code code) {
    switch (code) {
        case Code::kInvalidArgument: return "invalid_argument";
        case Code::kNotFound: return "not_found";
        case Code::kAlreadyExists: return "already_exists";
        case Code::kBusy: return "busy";
        case Code::kBadState: return "bad_state";
        case Code::kPermissionDenied: return "permission_denied";
        case Code::kUnsupported: return "unsupported";
        case Code::kNoSpace: return "no_space";
        case Code::kNoDrive: return "no_drive";
        case Code::kMediaError: return "media_error";
        case Code::kDeviceFailed: return "device_failed";
        case Code::kCorrupt: return "corrupt";
        case Code::kVersion: return "version";
        case Code::kWriteProtected: return "write_protected";
        case Code::kTimedOut: return "timed_out";
        case Code::kCancelled: return "cancelled";
        case Code::kUnavailable: return "unavailable";
        case Code::kMiscompare: return "miscompare";
        case Code::kUnauthenticated: return "unauthenticated";
        case Code::kIo: return "io";
        case Code::kInternal: return "internal";
    }
    return "internal";
}

std::string Error::text() const {
    return std::string(to_string(code)) + ": " + message;
}

std::unexpected<Error> fail_errno(int errnum, std::string what, std::source_location location) {
    Code code = Code::kIo;
    switch (errnum) {
        case ENOSPC: code = Code::kNoSpace; break;
        case EACCES:
        case EPERM: code = Code::kPermissionDenied; break;
        case ENOENT: code = Code::kNotFound; break;
        case EEXIST: code = Code::kAlreadyExists; break;
        case EBUSY: code = Code::kBusy; break;
        case EROFS: code = Code::kWriteProtected; break;
        case ETIMEDOUT: code = Code::kTimedOut; break;
        case ECANCELED: code = Code::kCancelled; break;
        case ECONNREFUSED:
        case ECONNRESET:
        case EPIPE: code = Code::kUnavailable; break;
        case EINVAL: code = Code::kInvalidArgument; break;
        case EOPNOTSUPP: code = Code::kUnsupported; break;
        default: break;
    }
    char text[128];
    return fail(code, std::move(what) + ": " + ::strerror_r(errnum, text, sizeof text), location);
}

}  // namespace umbra::base

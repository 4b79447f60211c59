#include "cli/exit_code.h"

namespace umbra::cli {

int exit_code(base::Code code) {
    using base::Code;
    switch (code) {
        case Code::kInvalidArgument:
            return kExitUsage;
        case Code::kNotFound:
            return kExitNotFound;
        case Code::kAlreadyExists:
            return kExitFailed;
        case Code::kBusy:
            return kExitBusy;
        case Code::kBadState:
            return kExitFailed;
        case Code::kPermissionDenied:
            return kExitPermission;
        case Code::kUnsupported:
            return kExitFailed;
        case Code::kNoSpace:
            return kExitNoSpace;
        case Code::kNoDrive:
            return kExitNoSpace;
        case Code::kMediaError:
            return kExitDamage;
        case Code::kDeviceFailed:
            return kExitDamage;
        case Code::kCorrupt:
            return kExitDamage;
        case Code::kVersion:
            return kExitDamage;
        case Code::kWriteProtected:
            return kExitFailed;
        case Code::kTimedOut:
            return kExitUnreachable;
        case Code::kCancelled:
            return kExitCancelled;
        case Code::kUnavailable:
            return kExitUnreachable;
        case Code::kMiscompare:
            return kExitFailed;
        case Code::kUnauthenticated:
            return kExitPermission;
        case Code::kIo:
            return kExitFailed;
        case Code::kInternal:
            return kExitInternal;
    }
    return kExitInternal;
}

}  // namespace umbra::cli

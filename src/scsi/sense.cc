#include "scsi/sense.h"

#include "base/check.h"

namespace umbra::scsi {

using base::store_be;

std::vector<std::byte> encode_fixed(const Sense& sense) {
    std::vector<std::byte> out(kFixedSenseBytes);
    out[0] = std::byte{0x70};
    out[2] = static_cast<std::byte>(sense.key);
    if (sense.information && *sense.information <= UINT32_MAX) {
        out[0] |= std::byte{0x80};  // VALID
        store_be(&out[3], static_cast<uint32_t>(*sense.information));
    }
    out[7] = std::byte{kFixedSenseBytes - 8};
    out[12] = std::byte{sense.asc};
    out[13] = std::byte{sense.ascq};
    return out;
}

std::vector<std::byte> encode_descriptor(const Sense& sense) {
    std::vector<std::byte> out(8);
    out[0] = std::byte{0x72};
    out[1] = static_cast<std::byte>(sense.key);
    out[2] = std::byte{sense.asc};
    out[3] = std::byte{sense.ascq};
    if (sense.information) {
        out.resize(20);
        out[7] = std::byte{12};
        out[9] = std::byte{10};
        out[10] = std::byte{0x80};
        store_be(&out[12], *sense.information);
    }
    return out;
}

Failure failure_for(base::Code code) {
    switch (code) {
        case base::Code::kInvalidArgument:
            return sense::kLbaOutOfRange;  // the volume shrank after the check
        case base::Code::kNotFound:
            return sense::kLunNotSupported;
        case base::Code::kAlreadyExists:
            return sense::kInternalTargetFailure;
        case base::Code::kBusy:
            return Failure(Status::kBusy);
        case base::Code::kBadState:
            return sense::kInternalTargetFailure;
        case base::Code::kPermissionDenied:
            return Sense{SenseKey::kIllegalRequest, 0x20, 0x02, {}};
        case base::Code::kUnsupported:
            return sense::kInvalidFieldInCdb;
        case base::Code::kNoSpace:
            return sense::kSpaceAllocationFailed;
        case base::Code::kNoDrive:
            return sense::kInternalTargetFailure;
        case base::Code::kMediaError:
            return sense::kUnrecoveredReadError;
        case base::Code::kDeviceFailed:
            return sense::kInternalTargetFailure;
        case base::Code::kCorrupt:
            return sense::kUnrecoveredReadError;
        case base::Code::kVersion:
            return sense::kInternalTargetFailure;
        case base::Code::kWriteProtected:
            return sense::kWriteProtected;
        case base::Code::kTimedOut:
            return Sense{SenseKey::kAbortedCommand, 0x08, 0x01, {}};
        case base::Code::kCancelled:
            return Failure(Status::kTaskAborted);
        case base::Code::kUnavailable:
            return Sense{SenseKey::kNotReady, 0x04, 0x01, {}};  // becoming ready: initiators try again
        case base::Code::kMiscompare:
            return sense::kMiscompare;
        case base::Code::kUnauthenticated:
            return Sense{SenseKey::kIllegalRequest, 0x20, 0x02, {}};
        case base::Code::kIo:
            return sense::kInternalTargetFailure;
        case base::Code::kInternal:
            return sense::kInternalTargetFailure;
    }
    base::check_failed("error code out of range", __FILE__, __LINE__);
}

}  // namespace umbra::scsi

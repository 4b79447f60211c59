#include "array_rpc/status.h"

namespace umbra::array_rpc {

using base::Code;

grpc::StatusCode status_code(Code code) {
    switch (code) {
        case Code::kInvalidArgument:
            return grpc::StatusCode::INVALID_ARGUMENT;
        case Code::kNotFound:
            return grpc::StatusCode::NOT_FOUND;
        case Code::kAlreadyExists:
            return grpc::StatusCode::ALREADY_EXISTS;
        case Code::kBusy:
            return grpc::StatusCode::ABORTED;
        case Code::kBadState:
            return grpc::StatusCode::FAILED_PRECONDITION;
        case Code::kPermissionDenied:
            return grpc::StatusCode::PERMISSION_DENIED;
        case Code::kUnsupported:
            return grpc::StatusCode::UNIMPLEMENTED;
        case Code::kNoSpace:
            return grpc::StatusCode::RESOURCE_EXHAUSTED;
        case Code::kNoDrive:
            return grpc::StatusCode::RESOURCE_EXHAUSTED;
        case Code::kMediaError:
            return grpc::StatusCode::DATA_LOSS;
        case Code::kDeviceFailed:
            return grpc::StatusCode::FAILED_PRECONDITION;
        case Code::kCorrupt:
            return grpc::StatusCode::DATA_LOSS;
        case Code::kVersion:
            return grpc::StatusCode::UNIMPLEMENTED;
        case Code::kWriteProtected:
            return grpc::StatusCode::FAILED_PRECONDITION;
        case Code::kTimedOut:
            return grpc::StatusCode::DEADLINE_EXCEEDED;
        case Code::kCancelled:
            return grpc::StatusCode::CANCELLED;
        case Code::kUnavailable:
            return grpc::StatusCode::UNAVAILABLE;
        case Code::kMiscompare:
            return grpc::StatusCode::FAILED_PRECONDITION;
        case Code::kUnauthenticated:
            return grpc::StatusCode::UNAUTHENTICATED;
        case Code::kIo:
            return grpc::StatusCode::UNKNOWN;
        case Code::kInternal:
            return grpc::StatusCode::INTERNAL;
    }
    return grpc::StatusCode::INTERNAL;
}

grpc::Status to_status(const base::Error& error) {
    return {status_code(error.code), error.message};
}

std::optional<Code> parse_code(std::string_view text) {
    for (int value = 0; value <= static_cast<int>(Code::kInternal); ++value) {
        const auto code = static_cast<Code>(value);
        if (base::to_string(code) == text) return code;
    }
    return std::nullopt;
}

namespace {

/// For what gRPC itself says, and for peers that are not ours.
Code code_of(grpc::StatusCode code) {
    switch (code) {
        case grpc::StatusCode::OK:
            return Code::kInternal;
        case grpc::StatusCode::CANCELLED:
            return Code::kCancelled;
        case grpc::StatusCode::UNKNOWN:
            return Code::kInternal;
        case grpc::StatusCode::INVALID_ARGUMENT:
            return Code::kInvalidArgument;
        case grpc::StatusCode::DEADLINE_EXCEEDED:
            return Code::kTimedOut;
        case grpc::StatusCode::NOT_FOUND:
            return Code::kNotFound;
        case grpc::StatusCode::ALREADY_EXISTS:
            return Code::kAlreadyExists;
        case grpc::StatusCode::PERMISSION_DENIED:
            return Code::kPermissionDenied;
        case grpc::StatusCode::UNAUTHENTICATED:
            return Code::kUnauthenticated;
        case grpc::StatusCode::RESOURCE_EXHAUSTED:
            return Code::kBusy;
        case grpc::StatusCode::FAILED_PRECONDITION:
            return Code::kBadState;
        case grpc::StatusCode::ABORTED:
            return Code::kBusy;
        case grpc::StatusCode::OUT_OF_RANGE:
            return Code::kInvalidArgument;
        case grpc::StatusCode::UNIMPLEMENTED:
            return Code::kUnsupported;
        case grpc::StatusCode::INTERNAL:
            return Code::kInternal;
        case grpc::StatusCode::UNAVAILABLE:
            return Code::kUnavailable;
        case grpc::StatusCode::DATA_LOSS:
            return Code::kCorrupt;
        case grpc::StatusCode::DO_NOT_USE:
            return Code::kInternal;
    }
    return Code::kInternal;
}

}  // namespace

base::Error from_status(const grpc::Status& status, std::string_view umbra_code) {
    base::Error error;
    error.code = parse_code(umbra_code).value_or(code_of(status.error_code()));
    error.message = status.error_message();
    if (umbra_code.empty() && error.code == Code::kTimedOut) error.message = "the array did not answer in time";
    if (umbra_code.empty() && error.code == Code::kUnavailable) {
        error.message = "the array went away during the call: " + status.error_message();
    }
    return error;
}

}  // namespace umbra::array_rpc

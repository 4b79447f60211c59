// base::Error over gRPC: the status code for strangers, the exact base::Code in trailing metadata for our own.
#pragma once

#include <grpcpp/support/status.h>

#include <optional>
#include <string_view>

#include "base/result.h"

namespace umbra::array_rpc {

inline constexpr const char* kCodeMetadata = "umbra-code";

grpc::StatusCode status_code(base::Code code);
grpc::Status to_status(const base::Error& error);
/// `umbra_code`: what trailing metadata has under kCodeMetadata; empty when the error is gRPC's own.
base::Error from_status(const grpc::Status& status, std::string_view umbra_code);
/// The inverse of base::to_string().
std::optional<base::Code> parse_code(std::string_view text);

}  // namespace umbra::array_rpc

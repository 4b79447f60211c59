// What names the array accepts.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace umbra::array {

inline constexpr size_t kMaxNameBytes = 64;
inline constexpr size_t kMaxIscsiNameBytes = 223;  // RFC 7143 4.2.7.1

/// [A-Za-z0-9._-]{1,64}, not beginning with '.' or '-': a LUN, or what stands behind '@' of a snapshot.
base::Result<void> check_name(std::string_view name);

/// An iSCSI name (RFC 3720 "iqn.", "eui.", "naa.") in lower case. kInvalidArgument when it is none.
base::Result<std::string> normalize_iscsi_name(std::string_view name);
/// The same, or "*".
base::Result<std::string> normalize_initiator(std::string_view name);
/// "iqn.2026-01.internal.umbra": what stands before the ':' of an iSCSI qualified name.
base::Result<void> check_iqn_authority(std::string_view authority);

}  // namespace umbra::array

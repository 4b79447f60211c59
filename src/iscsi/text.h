// Text keys (RFC 7143 §6): parsing, and what each operational key of §13 negotiates to.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "iscsi/limits.h"

namespace umbra::iscsi {

using KeyValue = std::pair<std::string, std::string>;

/// "key=value" pairs, each ended by a null. kCorrupt: a pair without '=', a key or value beyond the limits, a key with
/// characters that §6.1 does not allow, the same key twice.
base::Result<std::vector<KeyValue>> parse_text(base::Bytes text);
void put_key(std::string& text, std::string_view key, std::string_view value);

/// iqn., eui. or naa. names as §4.2.7 wants them, already normalised (lower case).
bool valid_iscsi_name(std::string_view name);

struct SessionParameters {
    bool header_digest = false;
    bool data_digest = false;
    bool initial_r2t = true;
    bool immediate_data = true;
    uint32_t peer_max_recv_data_segment = 8192;  ///< what we may send in one PDU
    uint32_t max_burst = 262144;
    uint32_t first_burst = 65536;
    uint32_t max_outstanding_r2t = 1;
    uint16_t time2wait = 2;
    bool operator==(const SessionParameters&) const = default;
};

/// The answer to one operational key, with its effect on `parameters`. nullopt: the key is declarative, no answer is
/// due. kInvalidArgument: the value is not one that the key can have (the login ends).
base::Result<std::optional<std::string>> negotiate(const KeyValue& offer, bool discovery,
                                                   SessionParameters& parameters);
/// True for the keys that negotiate() knows.
bool is_operational_key(std::string_view key);

}  // namespace umbra::iscsi

// What the provider library must know of its host and its arrays. Read from the TOML file that the environment variable
// UMBRA_PROVIDER_CONFIG names (umbra-hostd writes it and starts the provider's process with it):
//
//   [provider]
//   initiator = "iqn.2025-01.org.umbra:host-a"   # of this host; what LocateLuns presents LUNs to
//   machine = "host-a"                           # for people: named in events of other hosts
//   commit_timeout_ms = 8000                     # optional, 100 to 9000
//   min_free_bytes = 67108864                    # optional: no shadow copy is promised below this much free space
//   [[array]]
//   address = "unix:/run/umbra/array.sock"       # or "host:port"; at least one
//
// Without that variable, UMBRA_ARRAY names one array, and only VDS can be used (there is no initiator name).
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace umbra::provider {

struct ProviderConfig {
    std::string initiator;
    std::string machine;
    std::chrono::milliseconds commit_timeout{8000};
    uint64_t min_free_bytes = 64ull << 20;
    std::vector<std::string> arrays;
};

base::Result<ProviderConfig> parse_config(std::string_view toml, std::string_view source_name);
/// From the environment, as above. kNotFound when neither variable is set.
base::Result<ProviderConfig> load_config();

/// "iqn.…", "eui.…" or "naa.…" as RFC 7143 section 4.2.7 allows them, at most 223 bytes.
bool is_iscsi_name(std::string_view name);

}  // namespace umbra::provider

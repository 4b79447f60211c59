// host.toml.
#pragma once

#include <chrono>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "base/guid.h"
#include "base/result.h"
#include "host/attachments.h"

namespace umbra::hostd {

struct ProviderConfig {
    base::Guid id;
    base::Guid class_id;
    base::Guid version_id;
    std::string name;
    std::string version;
    std::string library;
    std::vector<std::string> arrays;
    std::map<std::string, std::string> environment;
};

struct Config {
    std::string machine;
    std::string socket;
    std::string group;
    std::string state_dir;
    bool safe_mode = false;
    host::HostConfig host;
    std::chrono::milliseconds freeze_limit{60'000};
    std::chrono::milliseconds commit_window{10'000};
    std::chrono::milliseconds arrival_limit{30'000};
    std::string provider_host_program;
    std::vector<ProviderConfig> providers;
};

/// What is relative in the file is relative to `directory`; programs and libraries that are not named stand beside
/// `program_directory`. kInvalidArgument: an unknown key, a wrong type, a limit that exceeds VSS' own.
base::Result<Config> parse_config(std::string_view toml, const std::string& directory,
                                  const std::string& program_directory);
/// A complete file: every key with its default.
std::string default_config();

}  // namespace umbra::hostd

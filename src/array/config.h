// umbra-arrayd's configuration file, and where its drives are. docs/operating/array-toml.md lists every key.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "base/result.h"

namespace umbra::array {

struct Config {
    std::filesystem::path file;  ///< absolute

    std::string name;
    std::vector<std::string> drives;  ///< paths and patterns, absolute
    uint32_t company_id = 0;
    std::vector<std::string> listen;
    std::string portal;  ///< empty: the addresses of `listen`
    std::string authority;
    std::string socket;  ///< absolute path
    std::string group = "umbra";
    uint32_t map_cache_mib = 64;
    uint32_t metadata_cache_mib = 64;
    uint32_t max_connections = 256;
    uint32_t command_data_mib = 512;
};

/// Strict: an unknown key, a wrong type or a value out of range is an error that names file, line and key.
base::Result<Config> load_config(const std::filesystem::path& file);
/// The same from text; relative paths in it are relative to `file`'s directory.
base::Result<Config> parse_config(std::string_view text, const std::filesystem::path& file);

struct FoundDrives {
    std::vector<std::string> paths;    ///< in the order of the configuration, each once
    std::vector<std::string> missing;  ///< named without a pattern, and not there
};
/// kInvalidArgument: two drives have the same file name.
base::Result<FoundDrives> find_drives(const Config& config);

/// How much of a block device is read to find out whether it holds anything. Files are read wherever they have blocks.
struct ContentLimits {
    uint64_t whole_bytes = 16ull << 30;  ///< a device of at most that is read in full
    uint64_t edge_bytes = 64ull << 20;   ///< of a larger one its beginning and its end
    uint64_t sample_bytes = 64u << 10;   ///< and so much at evenly spread places
    size_t samples = 4096;
};

/// What a file or device holds, for people: "an ext4 signature", "a gpt partition table", "data at 100 MiB"; empty:
/// blkid knows no signature, and what was read is zeros.
base::Result<std::string> describe_content(const std::string& path, const ContentLimits& limits = {});

}  // namespace umbra::array

#include "array/config.h"

#include <blkid/blkid.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <glob.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <memory>
#include <set>
#include <sstream>

#define TOML_EXCEPTIONS 0
#include <toml++/toml.h>

#include "array/model.h"
#include "array/names.h"
#include "base/bytes.h"
#include "base/size_text.h"

namespace umbra::array {

using base::Code;
using base::fail;
using base::Result;

namespace {

constexpr uintmax_t kMaxConfigBytes = 1 << 20;
constexpr uint32_t kLeastCommandDataMib = 64;
constexpr uint32_t kMostCommandDataMib = 1 << 20;
constexpr size_t kReadBytes = 1 << 20;

/// Reads tables key by key, and remembers which keys it was asked for.
class Reader {
public:
    Reader(const toml::table& root, std::string file) : root_(root), file_(std::move(file)) {}

    template <class T>
    Result<void> get(const char* section, const char* key, T* into, bool required = false) {
        known_[section].insert(key);
        const toml::node* node = find(section, key);
        if (node == nullptr) {
            if (required)
                return fail(Code::kInvalidArgument, fmt::format("{}: [{}] {} is missing", file_, section, key));
            return {};
        }
        if constexpr (std::is_same_v<T, std::vector<std::string>>) {
            const toml::array* array = node->as_array();
            if (array == nullptr) return wrong(*node, section, key, "an array of strings");
            std::vector<std::string> values;
            for (const toml::node& item : *array) {
                if (!item.is_string()) return wrong(item, section, key, "an array of strings");
                values.push_back(item.as_string()->get());
            }
            *into = std::move(values);
        } else if constexpr (std::is_same_v<T, std::string>) {
            if (!node->is_string()) return wrong(*node, section, key, "a string");
            *into = node->as_string()->get();
        } else {
            static_assert(std::is_same_v<T, uint32_t>);
            if (!node->is_integer()) return wrong(*node, section, key, "an integer");
            const int64_t value = node->as_integer()->get();
            if (value < 1 || value > INT32_MAX) return wrong(*node, section, key, "a number of at least 1");
            *into = static_cast<uint32_t>(value);
        }
        return {};
    }

    /// Every section and key of the file must have been asked for.
    Result<void> check_known() const {
        for (const auto& [section_name, section] : root_) {
            const std::string name(section_name.str());
            const auto known = known_.find(name);
            const toml::table* table = section.as_table();
            if (known == known_.end() || table == nullptr) {
                return fail(Code::kInvalidArgument,
                            fmt::format("{}:{}: [{}] is unknown", file_, section.source().begin.line, name));
            }
            for (const auto& [key, node] : *table) {
                if (known->second.contains(std::string(key.str()))) continue;
                return fail(Code::kInvalidArgument,
                            fmt::format("{}:{}: [{}] {} is unknown", file_, node.source().begin.line, name,
                                        std::string(key.str())));
            }
        }
        return {};
    }

    /// For keys that are understood and refused.
    Result<void> refuse(const char* section, const char* key, const char* why) {
        const toml::node* node = find(section, key);
        if (node == nullptr) return {};
        return fail(Code::kUnsupported,
                    fmt::format("{}:{}: [{}] {}: {}", file_, node->source().begin.line, section, key, why));
    }

    std::unexpected<base::Error> bad(const char* section, const char* key, const std::string& why) const {
        return fail(Code::kInvalidArgument, fmt::format("{}: [{}] {}: {}", file_, section, key, why));
    }

private:
    const toml::node* find(const char* section, const char* key) const {
        const toml::table* table = root_[section].as_table();
        return table == nullptr ? nullptr : table->get(key);
    }
    Result<void> wrong(const toml::node& node, const char* section, const char* key, const char* wanted) const {
        return fail(Code::kInvalidArgument,
                    fmt::format("{}:{}: [{}] {} must be {}", file_, node.source().begin.line, section, key, wanted));
    }

    const toml::table& root_;
    std::string file_;
    std::map<std::string, std::set<std::string>> known_;
};

bool is_wildcard(std::string_view address) {
    return address.starts_with("0.0.0.0:") || address.starts_with("[::]:") || address.starts_with(":") ||
           address.starts_with("*:");
}

bool has_port(std::string_view address) {
    const size_t colon = address.rfind(':');
    if (colon == std::string_view::npos || colon + 1 == address.size()) return false;
    return std::ranges::all_of(address.substr(colon + 1), [](char c) { return c >= '0' && c <= '9'; });
}

}  // namespace

Result<Config> parse_config(std::string_view text, const std::filesystem::path& file) {
    const toml::parse_result parsed = toml::parse(text, file.string());
    if (!parsed) {
        return fail(Code::kInvalidArgument, fmt::format("{}:{}: {}", file.string(), parsed.error().source().begin.line,
                                                        std::string(parsed.error().description())));
    }
    Reader reader(parsed.table(), file.string());
    Config config;
    config.file = file;
    config.company_id = kDefaultCompanyId;
    config.authority = kDefaultIqnAuthority;
    UMBRA_TRY(reader.get("array", "name", &config.name, true));
    UMBRA_TRY(reader.get("array", "drives", &config.drives, true));
    UMBRA_TRY(reader.get("array", "company_id", &config.company_id));
    UMBRA_TRY(reader.get("iscsi", "listen", &config.listen, true));
    UMBRA_TRY(reader.get("iscsi", "portal", &config.portal));
    UMBRA_TRY(reader.get("iscsi", "authority", &config.authority));
    UMBRA_TRY(reader.get("management", "socket", &config.socket, true));
    UMBRA_TRY(reader.get("management", "group", &config.group));
    UMBRA_TRY(reader.get("limits", "map_cache_mib", &config.map_cache_mib));
    UMBRA_TRY(reader.get("limits", "metadata_cache_mib", &config.metadata_cache_mib));
    UMBRA_TRY(reader.get("limits", "max_connections", &config.max_connections));
    UMBRA_TRY(reader.get("limits", "command_data_mib", &config.command_data_mib));
    UMBRA_TRY(reader.refuse("management", "listen",
                            "management over TCP needs TLS, which this version does not have; use socket"));
    UMBRA_TRY(reader.check_known());

    if (const auto checked = check_name(config.name); !checked) {
        return reader.bad("array", "name", checked.error().message);
    }
    if (const auto checked = check_iqn_authority(config.authority); !checked) {
        return reader.bad("iscsi", "authority", checked.error().message);
    }
    if (config.drives.empty()) return reader.bad("array", "drives", "names no drive");
    if (config.company_id > 0xffffff) return reader.bad("array", "company_id", "has at most 24 bits");
    if (config.listen.empty()) return reader.bad("iscsi", "listen", "names no address");
    for (const std::string& address : config.listen) {
        if (!has_port(address)) {
            return reader.bad("iscsi", "listen", fmt::format("\"{}\" is no \"ip:port\"", address));
        }
        if (is_wildcard(address) && config.portal.empty()) {
            return reader.bad(
                "iscsi", "portal",
                fmt::format("missing: initiators cannot connect to {}, so say which address they use", address));
        }
    }
    if (!config.portal.empty() && (!has_port(config.portal) || is_wildcard(config.portal))) {
        return reader.bad("iscsi", "portal", fmt::format("\"{}\" is no \"ip:port\" to connect to", config.portal));
    }
    if (config.socket.empty()) return reader.bad("management", "socket", "is empty");
    if (config.command_data_mib < kLeastCommandDataMib || config.command_data_mib > kMostCommandDataMib) {
        return reader.bad("limits", "command_data_mib",
                          fmt::format("is {} to {}", kLeastCommandDataMib, kMostCommandDataMib));
    }

    const std::filesystem::path directory = file.parent_path();
    config.socket = (directory / config.socket).lexically_normal().string();
    for (std::string& drive : config.drives) {
        if (drive.empty()) return reader.bad("array", "drives", "has an empty name");
        drive = (directory / drive).string();
    }
    return config;
}

Result<Config> load_config(const std::filesystem::path& file) {
    std::error_code error;
    const std::filesystem::path absolute = std::filesystem::absolute(file, error);
    if (error) return base::fail_errno(error.value(), "cannot find " + file.string());
    const uintmax_t size = std::filesystem::file_size(absolute, error);
    if (error) return base::fail_errno(error.value(), "cannot read " + absolute.string());
    if (size > kMaxConfigBytes) return fail(Code::kInvalidArgument, absolute.string() + " is too large");
    std::ifstream in(absolute);
    std::ostringstream text;
    text << in.rdbuf();
    if (!in) return fail(Code::kIo, "cannot read " + absolute.string());
    return parse_config(text.str(), absolute);
}

Result<FoundDrives> find_drives(const Config& config) {
    FoundDrives found;
    std::set<std::pair<dev_t, ino_t>> seen;
    std::map<std::string, std::string> names;
    for (const std::string& pattern : config.drives) {
        std::vector<std::string> paths;
        if (pattern.find_first_of("*?[") == std::string::npos) {
            paths.push_back(pattern);
        } else {
            glob_t matches{};
            const int outcome = glob(pattern.c_str(), 0, nullptr, &matches);
            for (size_t i = 0; outcome == 0 && i < matches.gl_pathc; ++i) paths.emplace_back(matches.gl_pathv[i]);
            globfree(&matches);
            if (outcome != 0 && outcome != GLOB_NOMATCH) return fail(Code::kIo, "cannot look for drives at " + pattern);
        }
        for (std::string& path : paths) {
            struct stat info{};
            if (stat(path.c_str(), &info) != 0) {
                if (errno != ENOENT) return base::fail_errno(errno, "cannot look at drive " + path);
                found.missing.push_back(path);
                continue;
            }
            if (!S_ISREG(info.st_mode) && !S_ISBLK(info.st_mode)) {
                return fail(Code::kInvalidArgument, path + " is neither a file nor a block device");
            }
            if (!seen.emplace(info.st_dev, info.st_ino).second) continue;
            const std::string name = std::filesystem::path(path).filename().string();
            if (const auto [other, fresh] = names.emplace(name, path); !fresh) {
                return fail(Code::kInvalidArgument,
                            fmt::format("drives {} and {} have the same name: drives are known by their file names",
                                        other->second, path));
            }
            found.paths.push_back(std::move(path));
        }
    }
    return found;
}

namespace {

/// Offset of the first byte in [from, to) that is not zero; `to` when there is none.
Result<uint64_t> first_data(int fd, const std::string& path, uint64_t from, uint64_t to) {
    static_assert(kReadBytes % sizeof(uint64_t) == 0);
    base::Buffer buffer(kReadBytes);
    for (uint64_t at = from; at < to;) {
        const size_t wanted = static_cast<size_t>(std::min<uint64_t>(kReadBytes, to - at));
        const ssize_t got = pread(fd, buffer.data(), wanted, static_cast<off_t>(at));
        if (got < 0 && errno == EINTR) continue;
        if (got < 0) return base::fail_errno(errno, "cannot read " + path);
        if (got == 0) return fail(Code::kIo, path + " became shorter while it was read");
        const base::MutableBytes have = buffer.span(0, static_cast<size_t>(got));
        if (!base::is_zero(have)) {
            const auto byte = std::ranges::find_if(have, [](std::byte b) { return b != std::byte{0}; });
            return at + static_cast<uint64_t>(byte - have.begin());
        }
        (void)posix_fadvise(fd, static_cast<off_t>(at), got, POSIX_FADV_DONTNEED);
        at += static_cast<uint64_t>(got);
    }
    return to;
}

/// Where the first data is; `size` when there is none.
Result<uint64_t> first_data_of_file(int fd, const std::string& path, uint64_t size) {
    for (uint64_t at = 0; at < size;) {
        const off_t data = lseek(fd, static_cast<off_t>(at), SEEK_DATA);
        if (data < 0 && errno == ENXIO) return size;  // holes up to the end
        if (data < 0 && errno != EINVAL && errno != EOPNOTSUPP)
            return base::fail_errno(errno, "cannot look for data in " + path);
        // A file system that does not know says that all of it is data, or has to be read as if it did.
        const uint64_t begin = data < 0 ? at : static_cast<uint64_t>(data);
        const off_t hole = data < 0 ? -1 : lseek(fd, data, SEEK_HOLE);
        const uint64_t end = hole < 0 ? size : std::min(size, static_cast<uint64_t>(hole));
        UMBRA_ASSIGN(const uint64_t found, first_data(fd, path, begin, end));
        if (found < end) return found;
        at = end;
    }
    return size;
}

Result<uint64_t> first_data_of_device(int fd, const std::string& path, uint64_t size, const ContentLimits& limits) {
    if (size <= limits.whole_bytes) return first_data(fd, path, 0, size);
    const uint64_t edge = std::min(limits.edge_bytes, size);
    for (const uint64_t at : {uint64_t{0}, size - edge}) {
        UMBRA_ASSIGN(const uint64_t found, first_data(fd, path, at, at + edge));
        if (found < at + edge) return found;
    }
    const uint64_t step = size / (limits.samples + 1);
    for (size_t i = 1; i <= limits.samples; ++i) {
        const uint64_t at = i * step / limits.sample_bytes * limits.sample_bytes;
        const uint64_t end = std::min(at + limits.sample_bytes, size);
        UMBRA_ASSIGN(const uint64_t found, first_data(fd, path, at, end));
        if (found < end) return found;
    }
    return size;
}

/// What blkid says; empty: it knows nothing.
Result<std::string> signature(int fd, const std::string& path) {
    const blkid_probe probe = blkid_new_probe();
    if (probe == nullptr) return fail(Code::kInternal, "libblkid has no probe");
    const std::shared_ptr<void> freer(nullptr, [probe](void*) { blkid_free_probe(probe); });
    if (blkid_probe_set_device(probe, fd, 0, 0) != 0) return fail(Code::kIo, "cannot probe " + path);
    blkid_probe_enable_superblocks(probe, 1);
    blkid_probe_set_superblocks_flags(probe, BLKID_SUBLKS_TYPE | BLKID_SUBLKS_MAGIC);
    blkid_probe_enable_partitions(probe, 1);
    const int outcome = blkid_do_safeprobe(probe);
    if (outcome == 1) return std::string();
    if (outcome == -2) return std::string("several signatures at once");
    if (outcome != 0) return std::string("what libblkid fails to examine");
    const char* type = nullptr;
    if (blkid_probe_lookup_value(probe, "TYPE", &type, nullptr) == 0) return fmt::format("a {} signature", type);
    if (blkid_probe_lookup_value(probe, "PTTYPE", &type, nullptr) == 0)
        return fmt::format("a {} partition table", type);
    return std::string("a signature");
}

}  // namespace

Result<std::string> describe_content(const std::string& path, const ContentLimits& limits) {
    const int fd = open(path.c_str(), O_RDONLY | O_CLOEXEC);
    if (fd < 0) return base::fail_errno(errno, "cannot open " + path);
    const std::shared_ptr<void> closer(nullptr, [fd](void*) { close(fd); });
    struct stat info{};
    if (fstat(fd, &info) != 0) return base::fail_errno(errno, "cannot look at " + path);
    const off_t end = lseek(fd, 0, SEEK_END);
    if (end < 0) return base::fail_errno(errno, "cannot find the size of " + path);
    const auto size = static_cast<uint64_t>(end);

    UMBRA_ASSIGN(std::string found, signature(fd, path));
    if (!found.empty()) return found;
    UMBRA_ASSIGN(const uint64_t data, S_ISBLK(info.st_mode) ? first_data_of_device(fd, path, size, limits)
                                                            : first_data_of_file(fd, path, size));
    if (data == size) return std::string();
    return "data at " + base::format_size(data);
}

}  // namespace umbra::array

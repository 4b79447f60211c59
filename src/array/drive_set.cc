#include "array/drive_set.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <filesystem>

#include "base/bytes.h"
#include "lun/drive_label.h"
#include "lun/engine.h"

namespace umbra::array {

using base::Code;
using base::fail;
using base::Result;
using env::Task;

namespace {

constexpr uint64_t kWipedBytes = 1 << 20;
constexpr size_t kPagesPerMib = (1 << 20) / base::kPageBytes;

lun::EngineOptions engine_options(const Config& config) {
    lun::EngineOptions options;
    options.map_cache_pages = config.map_cache_mib * kPagesPerMib;
    options.meta_cache_pages = config.metadata_cache_mib * kPagesPerMib;
    return options;
}

lun::DriveSpec drive_spec(const std::string& path, std::unique_ptr<env::BlockDevice> device) {
    return {std::filesystem::path(path).filename().string(), path, std::move(device)};
}

/// What a drive holds, for people; empty: nothing.
Task<Result<std::string>> examine(env::BlockDevice& device, std::string path, ContentLimits limits) {
    const auto label = co_await lun::read_drive_label(device);
    if (label) {
        co_return fmt::format("drive {} of the Umbra array {} of {} drives", label->name, label->array.text(),
                              label->drives);
    }
    if (label.error().code == Code::kCorrupt || label.error().code == Code::kVersion) {
        co_return "the label of an Umbra array: " + label.error().message;
    }
    co_return describe_content(path, limits);
}

/// What a drive held before must not be found there afterwards.
Task<Result<void>> wipe_ends(env::BlockDevice& device) {
    const uint64_t size = device.geometry().size_bytes;
    const base::Buffer zeros(static_cast<size_t>(std::min(kWipedBytes, size)), true);
    const std::array<base::Bytes, 1> spans{zeros.span()};
    UMBRA_CO_TRY(co_await device.write(0, spans));
    UMBRA_CO_TRY(co_await device.write(size - zeros.size(), spans));
    co_return co_await device.flush();
}

}  // namespace

Task<Result<OpenedArray>> open_backend(env::Environment& env, env::DiskIo& disks, Config config, bool degraded,
                                       lun::EventSink events) {
    UMBRA_CO_ASSIGN(FoundDrives found, find_drives(config));
    OpenedArray opened;
    opened.missing = std::move(found.missing);
    std::vector<lun::DriveSpec> drives;
    for (const std::string& path : found.paths) {
        auto device = disks.open(path);
        if (!device) co_return std::unexpected(device.error());
        drives.push_back(drive_spec(path, std::move(*device)));
    }
    lun::EngineOptions options = engine_options(config);
    options.allow_degraded = degraded;
    options.events = std::move(events);
    UMBRA_CO_ASSIGN(opened.backend, co_await lun::open_array(env, std::move(drives), std::move(options)));
    co_return opened;
}

Task<Result<FormattedArray>> format_drives(env::Environment& env, env::DiskIo& disks, Config config,
                                           FormatOptions options) {
    UMBRA_CO_ASSIGN(const FoundDrives found, find_drives(config));
    if (!found.missing.empty()) {
        co_return fail(Code::kNotFound, "drive " + found.missing.front() + " does not exist");
    }
    if (found.paths.empty()) co_return fail(Code::kNotFound, "no drive is there: [array] drives matches nothing");

    FormattedArray formatted;
    std::vector<lun::DriveSpec> drives;
    for (const std::string& path : found.paths) {
        // Opened before it is looked at: from here on nobody else writes to it.
        auto device = disks.open(path);
        if (!device) co_return std::unexpected(device.error());
        UMBRA_CO_ASSIGN(const std::string held, co_await examine(**device, path, options.limits));
        if (!held.empty() && !options.force) {
            co_return fail(Code::kBadState,
                           fmt::format("drive {} holds {}; nothing was written. --force formats it, which "
                                       "destroys what it holds",
                                       path, held));
        }
        drives.push_back(drive_spec(path, std::move(*device)));
        formatted.drives.push_back({drives.back().name, path, drives.back().device->geometry().size_bytes, held});
    }
    const bool destroys = std::ranges::any_of(formatted.drives, [](const auto& drive) { return !drive.held.empty(); });
    if (destroys && (!options.confirm || !options.confirm(formatted.drives))) {
        co_return fail(Code::kCancelled, "nothing was written");
    }
    for (size_t i = 0; i < drives.size(); ++i) {
        if (!formatted.drives[i].held.empty()) UMBRA_CO_TRY(co_await wipe_ends(*drives[i].device));
    }
    lun::EngineOptions engine = engine_options(config);
    UMBRA_CO_ASSIGN(formatted.id, co_await lun::format_array(env, drives, std::move(engine)));
    co_return formatted;
}

}  // namespace umbra::array

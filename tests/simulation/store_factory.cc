#include "simulation/store_factory.h"

#include "lun/engine.h"

namespace umbra::simulation {

namespace {

/// The engine owns its drives; the simulated ones outlive it.
class Borrowed final : public env::BlockDevice {
public:
    explicit Borrowed(env::BlockDevice& inner) : inner_(inner) {}
    const env::Geometry& geometry() const override { return inner_.geometry(); }
    const std::string& name() const override { return inner_.name(); }
    env::Task<base::Result<void>> read(uint64_t offset, std::span<const base::MutableBytes> into) override {
        return inner_.read(offset, into);
    }
    env::Task<base::Result<void>> write(uint64_t offset, std::span<const base::Bytes> from) override {
        return inner_.write(offset, from);
    }
    env::Task<base::Result<void>> flush() override { return inner_.flush(); }
    env::Task<base::Result<void>> discard(uint64_t offset, uint64_t bytes) override {
        return inner_.discard(offset, bytes);
    }

private:
    env::BlockDevice& inner_;
};

lun::EngineOptions small_options() {
    lun::EngineOptions options;
    options.segment_bytes = 128 * 1024;
    options.map_cache_pages = 24;
    options.meta_cache_pages = 16;
    options.max_dirty_pages = 96;
    options.max_changes = 1024;
    options.reclaim_per_checkpoint = 64;
    return options;
}

std::vector<lun::DriveSpec> specs(const Drives& drives) {
    std::vector<lun::DriveSpec> out;
    for (env::BlockDevice* drive : drives) {
        if (!drive->status()) continue;
        out.push_back({.name = drive->name(), .path = drive->name(), .device = std::make_unique<Borrowed>(*drive)});
    }
    return out;
}

env::Task<base::Result<void>> format(env::Environment environment, Drives drives) {
    auto all = specs(drives);
    const auto done = co_await lun::format_array(environment, all, small_options());
    if (!done) co_return std::unexpected(done.error());
    co_return base::Result<void>();
}

env::Task<base::Result<std::unique_ptr<lun::Backend>>> open(env::Environment environment, Drives drives,
                                                            lun::EventSink events) {
    auto options = small_options();
    options.events = std::move(events);
    co_return co_await lun::open_array(environment, specs(drives), std::move(options));
}

}  // namespace

Factory store_factory() {
    Factory factory;
    factory.format = format;
    factory.open = open;
    return factory;
}

}  // namespace umbra::simulation

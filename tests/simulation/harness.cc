#include "simulation/harness.h"

#include <fmt/core.h>

#include <algorithm>
#include <list>
#include <set>

#include "env/sync.h"
#include "simulation/oracle.h"

namespace umbra::simulation {

using base::Buffer;
using base::Bytes;
using base::Code;
using base::Error;
using base::Result;
using env::Task;
using lun::LunType;
using lun::VolumeId;
using namespace std::chrono_literals;

namespace {

constexpr uint64_t kBlock = 4096;
constexpr size_t kMaxVolumes = 14;
constexpr size_t kMaxHeads = 6;
/// Virtual time that one task may take before it counts as hung: the longest stall, many times over.
constexpr env::Duration kPatience = 30min;

unsigned tolerance(LunType type) {
    switch (type) {
        case LunType::kSimple:
        case LunType::kSpan:
        case LunType::kStripe:
            return 0;
        case LunType::kMirror:
        case LunType::kParity:
        case LunType::kStripedMirror:
            return 1;
        case LunType::kDoubleParity:
            return 2;
    }
    return 0;
}

struct Model {
    VolumeId id;
    lun::VolumeSpec spec;
    bool writable = true;
    Content content;
    env::SharedMutex gate;  ///< data I/O shared, calls that change what the volume is exclusively
    std::shared_ptr<lun::Volume> handle;
    std::set<uint32_t> impaired;  ///< drives whose loss or damage this volume may still feel
    bool rollback_allowed = false;
    bool removed = false;
    uint64_t snapshot_call = 0;  ///< with others of the same call, until first verified
    uint64_t exclusive_first = 0;
    uint64_t exclusive_count = 0;  ///< a compare_and_write is there
    std::vector<std::pair<uint64_t, uint64_t>> writing;

    Model(env::Executor& executor, VolumeId volume, lun::VolumeSpec what, bool can_write, Content holds)
        : id(volume), spec(what), writable(can_write), content(std::move(holds)), gate(executor) {}
};
using ModelRef = std::shared_ptr<Model>;

/// A changing call that was under way when the power went.
struct OpenCall {
    enum Kind { kCreate, kRemove, kResize, kSnapshot, kResync, kMeta };
    Kind kind = kMeta;
    std::string key;
    std::vector<ModelRef> creates;  ///< exist if it happened
    ModelRef target;                ///< of remove, resize, resync
    uint64_t new_size = 0;
    std::optional<Content> new_content;
    std::vector<ModelRef> sources;  ///< of snapshot and resync
    std::vector<lun::SnapshotRequest> requests;
    VolumeId keep_as;
    EventNumber start = 0;  ///< of snapshot and resync: a reader
    std::string erased_key;
};

class Run {
public:
    Run(const Factory& factory, const Options& options, const std::function<void(const std::string&)>& fail)
        : factory_(factory), options_(options), fail_(fail), random_(options.seed) {}

    Outcome run();

private:
    [[noreturn]] void violation(const std::string& cause) {
        trace_.say("VIOLATION: " + cause);
        fail_(fmt::format("run {}, event {}, {:.3f} ms: {}", run_number_, history_.now(),
                          static_cast<double>(executor_.now().ns) / 1e6, cause));
        std::abort();
    }
    void say(const std::string& line) {
        if (trace_.printing()) {
            trace_.say(fmt::format("{:>12} [{}] {}", executor_.now().ns, history_.now(), line));
        }
    }
    void await(Task<void> task, const char* what);

    // Environment
    void build_drives();
    Drives drive_pointers();
    void cut_power();
    void arm_cut();
    void disarm_cut();
    /// When a cut is to come in this run, sometimes makes it hit the changing call that begins now.
    void aim_cut();
    void restore_power();
    Task<void> cut_at(env::Instant at, uint64_t armed);

    // Phases
    Task<void> format();
    Task<void> open_store(Result<void>* out);
    Task<void> close_store();
    Task<void> resolve_open_calls();
    Task<void> verify_all(bool after_crash);
    Task<void> verify_volume(ModelRef volume, bool serial, Observation* out);
    Task<void> work();

    // Clients
    Task<void> data_client(uint64_t seed, uint64_t operations);
    Task<void> meta_client(uint64_t seed);
    Task<void> fault_client(uint64_t seed);
    Task<void> scrub_client(uint64_t seed);
    Task<void> cancel_later(uint64_t micros, lun::Progress* progress);
    Task<void> do_read(ModelRef volume, uint64_t first, uint64_t count);
    Task<void> do_write(ModelRef volume, uint64_t first, uint64_t count, bool zeros, bool fua);
    Task<void> do_compare_and_write(ModelRef volume, uint64_t first, uint64_t count, bool match, bool fua);
    Task<void> do_flush(ModelRef volume);
    Task<void> do_create(env::Random& random);
    Task<void> do_remove(env::Random& random);
    Task<void> do_resize(env::Random& random);
    Task<void> do_snapshot(env::Random& random);
    Task<void> do_resync(env::Random& random);
    Task<void> do_update_meta(env::Random& random);
    Task<void> do_status(env::Random& random);
    Task<void> injure(env::Random& random);
    Task<void> heal(env::Random& random);
    Task<bool> recover_volumes(uint32_t drive);

    // Rules
    bool may_fail(const Model& volume) const;
    bool online(uint32_t drive) const;
    void check_error(const Error& error, const Model& volume, const char* what, bool writing);
    void check_meta_error(const Error& error, const std::vector<ModelRef>& involved, const char* what);
    bool short_of_space() const;
    std::set<uint32_t> drives_of(const Model& volume) const;
    ModelRef pick(env::Random& random, bool writable);
    std::vector<ModelRef> live() const;
    std::vector<ModelRef> heads() const;
    size_t widest() const { return std::min<size_t>(5, drives_.size() - 1); }
    lun::VolumeSpec pick_spec(env::Random& random) const;
    uint64_t pick_size(env::Random& random) const;
    bool conflicts(const Model& volume, uint64_t first, uint64_t count, bool exclusive) const;
    std::string new_key() { return fmt::format("call/{}", ++last_key_); }
    lun::MetaBatch batch_for(const std::string& key) {
        lun::MetaBatch batch;
        batch.changes[key] = fmt::format("value of {}", key);
        return batch;
    }
    void apply(const OpenCall& call);
    std::list<OpenCall>::iterator open_call(OpenCall::Kind kind, const std::string& key) {
        aim_cut();
        const auto call = open_calls_.emplace(open_calls_.end());
        call->kind = kind;
        call->key = key;
        return call;
    }
    void freeze(OpenCall& call);
    void swap_in(OpenCall& call);
    void crash_open_calls();
    void attach(const ModelRef& volume);
    void open_handle(const ModelRef& volume);

    const Factory& factory_;
    const Options& options_;
    const std::function<void(const std::string&)>& fail_;
    env::SeededRandom random_;
    sim::SimExecutor executor_;
    sim::Trace trace_;
    History history_;
    std::vector<std::unique_ptr<sim::SimDrive>> drives_;
    std::unique_ptr<lun::Backend> backend_;
    std::map<VolumeId, ModelRef> volumes_;
    std::map<std::string, std::string> meta_;
    std::list<OpenCall> open_calls_;
    FaultMode mode_ = FaultMode::kNone;
    bool dead_ = false;       ///< the power is off
    bool stopping_ = false;   ///< the run ends without a cut
    uint64_t cut_armed_ = 0;  ///< identifies the present arming
    uint64_t cut_after_operations_ = 0;
    bool cut_wanted_ = false;
    unsigned run_number_ = 0;
    uint64_t last_key_ = 0;
    uint64_t last_snapshot_call_ = 0;
    uint64_t operations_ = 0;
    std::set<uint32_t> injured_;  ///< drives with faults, or out of use
    std::set<uint32_t> out_;      ///< of those: failed by command or vanished
    std::set<uint32_t> dropped_;  ///< lost earlier, and everything recovered
    std::set<uint32_t> silent_;   ///< had faults that a store without redundancy cannot notice at the end of its log
    bool lost_ = false;           ///< beyond tolerance, and the store said so: nothing more to check
};

Task<void> finish(Task<void> task, bool* done) {
    co_await std::move(task);
    *done = true;
}

void Run::await(Task<void> task, const char* what) {
    bool done = false;
    const env::Instant deadline = executor_.now() + kPatience;
    env::spawn_detached(finish(std::move(task), &done));
    while (!done) {
        if (!executor_.step()) violation(fmt::format("{} waits for ever", what));
        if (executor_.now() > deadline) violation(fmt::format("{} has not ended after 30 minutes", what));
    }
}

void Run::build_drives() {
    const uint64_t count = 4 + random_.below(4);
    const uint32_t sector = random_.one_in(2) ? 512 : 4096;
    const bool equal = random_.one_in(2);
    const uint64_t base_size = (48 + 16 * random_.below(4)) << 20;
    for (uint64_t i = 0; i < count; ++i) {
        sim::DriveOptions options;
        options.name = fmt::format("d{}", i);
        options.seed = random_.next();
        options.sector_bytes = sector;
        options.size_bytes = equal ? base_size : base_size + random_.below(2048) * kBlock;
        drives_.push_back(std::make_unique<sim::SimDrive>(executor_, trace_, options));
        drives_.back()->set_observer([this] {
            if (cut_after_operations_ != 0 && --cut_after_operations_ == 0) cut_power();
        });
    }
}

Drives Run::drive_pointers() {
    Drives pointers;
    for (const auto& drive : drives_) pointers.push_back(drive.get());
    return pointers;
}

void Run::cut_power() {
    if (dead_) return;
    say("POWER CUT");
    dead_ = true;
    disarm_cut();
    for (const auto& drive : drives_) drive->crash();
    if (factory_.on_power_cut) factory_.on_power_cut();
}

Task<void> Run::cut_at(env::Instant at, uint64_t armed) {
    co_await env::sleep_until(executor_, at);
    if (cut_armed_ == armed) cut_power();
}

void Run::arm_cut() {
    ++cut_armed_;
    cut_wanted_ = true;
    if (random_.one_in(2)) {
        // Log-uniform, so that the first flushes of a run are hit as well as its middle.
        cut_after_operations_ = 1 + random_.below(uint64_t{1} << (1 + random_.below(12)));
    } else {
        const auto micros = static_cast<int64_t>(random_.below(uint64_t{1} << (4 + random_.below(14))));
        env::spawn_detached(cut_at(executor_.now() + std::chrono::microseconds(micros), cut_armed_));
    }
}

void Run::disarm_cut() {
    ++cut_armed_;
    cut_after_operations_ = 0;
    cut_wanted_ = false;
}

void Run::aim_cut() {
    if (!cut_wanted_ || !random_.one_in(10)) return;
    ++cut_armed_;
    cut_after_operations_ = random_.one_in(2) ? 1 + random_.below(24) : 0;
    const auto micros = static_cast<int64_t>(random_.below(cut_after_operations_ != 0 ? 20'000 : 900));
    env::spawn_detached(cut_at(executor_.now() + std::chrono::microseconds(micros), cut_armed_));
    trace_.mark("cut.aimed_at_call");
}

void Run::restore_power() {
    dead_ = false;
    for (uint32_t i = 0; i < drives_.size(); ++i) {
        drives_[i]->power_on();
        // A drive that vanished may be back after the restart, with what it had.
        if (!drives_[i]->present() && random_.one_in(2)) {
            say(fmt::format("{} is back", drives_[i]->name()));
            trace_.mark("drive.returned");
            drives_[i]->reappear();
        }
    }
}

Task<void> Run::format() {
    env::Environment environment{executor_, random_};
    auto result = co_await factory_.format(environment, drive_pointers());
    if (!result) violation("format: " + result.error().text());
}

Task<void> Run::open_store(Result<void>* out) {
    env::Environment environment{executor_, random_};
    auto opened = co_await factory_.open(environment, drive_pointers(), [this](const lun::Event& event) {
        trace_.mark("event." + event.id);
        say("event " + event.id + ": " + event.message);
    });
    if (!opened) {
        *out = std::unexpected(opened.error());
        co_return;
    }
    backend_ = std::move(*opened);
}

Task<void> Run::close_store() {
    if (backend_ == nullptr) co_return;
    auto result = co_await backend_->close();
    if (!result && !dead_ && injured_.empty()) violation("close: " + result.error().text());
    for (auto& [id, volume] : volumes_) volume->handle.reset();
    backend_.reset();
}

bool Run::may_fail(const Model& volume) const {
    if (dead_ || mode_ == FaultMode::kBeyond) return true;
    const unsigned bears = tolerance(volume.spec.type);
    return volume.impaired.size() > bears;
}

bool Run::online(uint32_t drive) const {
    for (const auto& info : backend_->drives()) {
        if (info.index.value == drive) return info.state == lun::DriveState::kOnline;
    }
    return false;
}

bool Run::short_of_space() const {
    if (backend_ == nullptr) return false;
    const lun::SpaceInfo space = backend_->space();
    return space.free_bytes < space.raw_bytes / 4;
}

void Run::check_error(const Error& error, const Model& volume, const char* what, bool writing) {
    if (dead_) return;
    say(fmt::format("{} of volume {} failed: {}", what, volume.id.value, error.text()));
    const bool listed = error.code == Code::kMediaError || error.code == Code::kDeviceFailed ||
                        (writing && error.code == Code::kNoSpace);
    if (!listed) violation(fmt::format("{} of volume {}: undocumented error {}", what, volume.id.value, error.text()));
    if (error.code == Code::kNoSpace) {
        trace_.mark("no_space");
        if (short_of_space() || !injured_.empty()) return;
        violation(
            fmt::format("{} of volume {} with more than a quarter free: {}", what, volume.id.value, error.text()));
    }
    if (!may_fail(volume)) {
        violation(fmt::format("{} of {} volume {} failed within what it bears ({} drives impaired): {}", what,
                              lun::to_string(volume.spec.type), volume.id.value, volume.impaired.size(), error.text()));
    }
    trace_.mark("error.allowed");
}

void Run::check_meta_error(const Error& error, const std::vector<ModelRef>& involved, const char* what) {
    if (dead_) return;
    say(fmt::format("{} failed: {}", what, error.text()));
    if (mode_ == FaultMode::kBeyond) return;
    for (const ModelRef& volume : involved) {
        if (may_fail(*volume)) return;
    }
    if ((error.code == Code::kNoSpace || error.code == Code::kNoDrive) && (short_of_space() || !injured_.empty()))
        return;
    violation(fmt::format("{}: {}", what, error.text()));
}

std::vector<ModelRef> Run::live() const {
    std::vector<ModelRef> list;
    for (const auto& [id, volume] : volumes_) {
        if (!volume->removed) list.push_back(volume);
    }
    return list;
}

std::vector<ModelRef> Run::heads() const {
    std::vector<ModelRef> list;
    for (const ModelRef& volume : live()) {
        if (volume->writable) list.push_back(volume);
    }
    return list;
}

ModelRef Run::pick(env::Random& random, bool writable) {
    const auto list = writable ? heads() : live();
    if (list.empty()) return nullptr;
    return list[random.below(list.size())];
}

uint64_t Run::pick_size(env::Random& random) const {
    const uint64_t scale = random.below(5);  // 256 KiB … 8 MiB
    const uint64_t top = (uint64_t{512} << 10) << scale;
    return (top / 2 + random.below(top / 2 / kBlock + 1) * kBlock);
}

lun::VolumeSpec Run::pick_spec(env::Random& random) const {
    lun::VolumeSpec spec;
    spec.type = factory_.types[random.below(factory_.types.size())];
    spec.size_bytes = pick_size(random);
    return spec;
}

std::set<uint32_t> Run::drives_of(const Model& volume) const {
    std::set<uint32_t> drives;
    if (backend_ == nullptr) return drives;
    auto info = backend_->info(volume.id);
    if (!info) return drives;
    for (const auto& plex : info->plexes) {
        for (const auto drive : plex.drives) drives.insert(drive.value);
    }
    return drives;
}

void Run::open_handle(const ModelRef& volume) {
    auto handle = backend_->open(volume->id);
    if (!handle) violation(fmt::format("volume {} does not open: {}", volume->id.value, handle.error().text()));
    volume->handle = std::move(*handle);
    if (volume->handle->size_bytes() != volume->spec.size_bytes) {
        violation(fmt::format("volume {} has {} bytes, not {}", volume->id.value, volume->handle->size_bytes(),
                              volume->spec.size_bytes));
    }
    if (volume->handle->writable() != volume->writable) {
        violation(fmt::format("volume {} is {}writable", volume->id.value, volume->writable ? "not " : ""));
    }
}

void Run::attach(const ModelRef& volume) {
    volumes_[volume->id] = volume;
    // A volume made while drives are bad may lie on them.
    volume->impaired.insert(injured_.begin(), injured_.end());
    if (tolerance(volume->spec.type) == 0 && !silent_.empty()) volume->rollback_allowed = true;
}

bool Run::conflicts(const Model& volume, uint64_t first, uint64_t count, bool exclusive) const {
    const auto overlap = [&](uint64_t a, uint64_t n) { return first < a + n && a < first + count; };
    if (volume.exclusive_count != 0 && overlap(volume.exclusive_first, volume.exclusive_count)) return true;
    if (!exclusive) return false;
    for (const auto& [a, n] : volume.writing) {
        if (overlap(a, n)) return true;
    }
    return false;
}

// --- data path ------------------------------------------------------------------------------------------------------

Task<void> Run::do_read(ModelRef volume, uint64_t first, uint64_t count) {
    Buffer buffer(count * kSectorBytes);
    const EventNumber start = history_.begin_reader();
    auto result = co_await volume->handle->read(first * kSectorBytes, buffer.span());
    if (!result) {
        history_.end_reader(start);
        check_error(result.error(), *volume, "read", false);
        co_return;
    }
    Observation observation;
    uint64_t rollbacks = 0;
    auto cause = volume->content.check(first, buffer.span(), start, volume->rollback_allowed, &rollbacks, &observation);
    history_.end_reader(start);
    if (rollbacks != 0) trace_.mark("rollback.excused", rollbacks);
    if (!cause) cause = find_torn(history_, observation, true);
    if (cause)
        violation(fmt::format("volume {} ({}): {}", volume->id.value, lun::to_string(volume->spec.type), *cause));
}

Task<void> Run::do_write(ModelRef volume, uint64_t first, uint64_t count, bool zeros, bool fua) {
    const Stamp stamp = volume->content.begin_write(first, count, zeros);
    volume->writing.emplace_back(first, count);
    say(fmt::format("{} #{} volume {} sectors {}+{}{}", zeros ? "zero" : "write", stamp, volume->id.value, first, count,
                    fua ? " FUA" : ""));
    lun::WriteOptions options;
    options.fua = fua;
    Result<void> result;
    if (zeros) {
        result = co_await volume->handle->write_zeroes(first * kSectorBytes, count * kSectorBytes, options);
    } else {
        Buffer buffer(count * kSectorBytes);
        for (uint64_t i = 0; i < count; ++i) fill_sector(buffer.data() + i * kSectorBytes, stamp, first + i);
        result = co_await volume->handle->write(first * kSectorBytes, buffer.span(), options);
    }
    const auto done = std::find(volume->writing.begin(), volume->writing.end(), std::pair(first, count));
    volume->writing.erase(done);
    if (!result && dead_) co_return;  // under way when the power went: stays open
    volume->content.end_write(stamp, result.has_value(), fua);
    say(fmt::format("     #{} {}", stamp, result ? "ok" : result.error().text()));
    if (!result) check_error(result.error(), *volume, zeros ? "write_zeroes" : "write", true);
}

Task<void> Run::do_compare_and_write(ModelRef volume, uint64_t first, uint64_t count, bool match, bool fua) {
    Buffer expected(count * kSectorBytes);
    volume->content.expected(first, count, expected.data());
    if (!match) expected.data()[random_.below(expected.size())] ^= std::byte{1};
    volume->exclusive_first = first;
    volume->exclusive_count = count;
    const Stamp stamp = volume->content.begin_write(first, count, false);
    Buffer fresh(count * kSectorBytes);
    for (uint64_t i = 0; i < count; ++i) fill_sector(fresh.data() + i * kSectorBytes, stamp, first + i);
    lun::WriteOptions options;
    options.fua = fua;
    say(fmt::format("compare and write #{} volume {} sectors {}+{}", stamp, volume->id.value, first, count));
    auto result =
        co_await volume->handle->compare_and_write(first * kSectorBytes, expected.span(), fresh.span(), options);
    volume->exclusive_count = 0;
    if (!result && dead_) co_return;
    const bool miscompare = !result && result.error().code == Code::kMiscompare;
    volume->content.end_write(stamp, result.has_value(), fua);
    if (miscompare) volume->content.withdraw(stamp);
    if (match && miscompare)
        violation(fmt::format("compare_and_write of volume {} found other data", volume->id.value));
    if (!match && result) violation(fmt::format("compare_and_write of volume {} did not compare", volume->id.value));
    if (!result && !miscompare) check_error(result.error(), *volume, "compare_and_write", true);
    trace_.mark(match ? "compare.match" : "compare.miscompare");
}

Task<void> Run::do_flush(ModelRef volume) {
    const EventNumber start = history_.next();
    auto result = co_await volume->handle->flush();
    if (result) {
        volume->content.flushed(start);
        say(fmt::format("flush of volume {} since {}", volume->id.value, start));
    } else {
        check_error(result.error(), *volume, "flush", true);
    }
}

Task<void> Run::data_client(uint64_t seed, uint64_t operations) {
    env::SeededRandom random(seed);
    const uint64_t flush_every = 4 + random.below(20);
    for (uint64_t i = 0; i < operations && !dead_ && !lost_; ++i) {
        if (random.one_in(4)) {
            co_await env::sleep_for(executor_, std::chrono::microseconds(random.below(400)));
        }
        const uint64_t kind = random.below(100);
        ModelRef volume = pick(random, kind >= 35);
        if (volume == nullptr) {
            co_await env::sleep_for(executor_, 1ms);
            continue;
        }
        auto guard = co_await volume->gate.lock_shared();
        if (volume->removed || dead_) continue;
        const uint64_t sectors = volume->content.sectors();
        uint64_t count = 1;
        uint64_t align = 8;
        const uint64_t shape = random.below(10);
        if (shape < 4) {
            count = 8 * (1 + random.below(8));
        } else if (shape < 7) {
            align = 1;
            count = 1 + random.below(32);
        } else if (shape < 9) {
            count = 8 * (1 + random.below(16));
        } else {
            align = random.one_in(2) ? 1 : 8;
            count = align * (1 + random.below(512 / align));
        }
        count = std::min(count, sectors);
        uint64_t span = sectors - count + 1;
        if (random.one_in(2)) span = std::min<uint64_t>(span, 256);
        const uint64_t first = random.below(span) / align * align;
        ++operations_;
        if (kind < 35) {
            if (!conflicts(*volume, first, count, false)) co_await do_read(volume, first, count);
        } else if (kind < 80) {
            if (!conflicts(*volume, first, count, false)) {
                const bool fua = random.one_in(8);
                co_await do_write(volume, first, count, false, fua);
            }
        } else if (kind < 87) {
            if (!conflicts(*volume, first, count, false))
                co_await do_write(volume, first, count, true, random.one_in(8));
        } else if (kind < 92) {
            count = std::min<uint64_t>(count, 64);
            const bool match = !random.one_in(3);
            if (volume->exclusive_count == 0 && !conflicts(*volume, first, count, true) &&
                volume->content.certain(first, count)) {
                co_await do_compare_and_write(volume, first, count, match, random.one_in(8));
            }
        } else {
            co_await do_flush(volume);
        }
        if (i % flush_every == 0) co_await do_flush(volume);
    }
}

// --- calls that change what volumes are -----------------------------------------------------------------------------

void Run::apply(const OpenCall& call) {
    meta_[call.key] = fmt::format("value of {}", call.key);
    for (const ModelRef& volume : call.creates) attach(volume);
    if (call.kind == OpenCall::kRemove) {
        call.target->removed = true;
        volumes_.erase(call.target->id);
    }
    if (call.kind == OpenCall::kResize) {
        call.target->spec.size_bytes = call.new_size;
        call.target->content.resize(call.new_size / kSectorBytes);
    }
    if (call.kind == OpenCall::kResync) {
        call.target->spec.size_bytes = call.new_size;
        call.target->content.replace(Content(*call.new_content));
    }
}

Task<void> Run::do_create(env::Random& random) {
    if (live().size() >= kMaxVolumes || heads().size() >= kMaxHeads) co_return;
    const lun::VolumeSpec spec = pick_spec(random);
    const VolumeId id = backend_->allocate_id();
    const auto call = open_call(OpenCall::kCreate, new_key());
    auto volume =
        std::make_shared<Model>(executor_, id, spec, true, Content(history_, spec.size_bytes / kSectorBytes, id.value));
    call->creates.push_back(volume);
    say(fmt::format("create volume {} {} of {} bytes", id.value, lun::to_string(spec.type), spec.size_bytes));
    auto result = co_await backend_->create(id, spec, batch_for(call->key));
    if (!result && dead_) co_return;
    if (result) {
        apply(*call);
        open_handle(volume);
        trace_.mark("call.create");
    } else {
        if (tolerance(spec.type) == 0 && !injured_.empty()) volume->impaired = injured_;
        check_meta_error(result.error(), {volume}, "create");
    }
    open_calls_.erase(call);
}

Task<void> Run::do_remove(env::Random& random) {
    if (live().size() < 3) co_return;
    ModelRef volume = pick(random, false);
    auto guard = co_await volume->gate.lock();
    if (dead_ || volume->removed) co_return;
    const auto call = open_call(OpenCall::kRemove, new_key());
    call->target = volume;
    say(fmt::format("remove volume {}", volume->id.value));
    auto result = co_await backend_->remove(volume->id, batch_for(call->key));
    if (!result && dead_) co_return;
    if (result) {
        apply(*call);
        if (backend_->open(volume->id)) violation(fmt::format("removed volume {} still opens", volume->id.value));
        Buffer buffer(kBlock);
        auto read = co_await volume->handle->read(0, buffer.span());
        if (read) violation(fmt::format("a handle of removed volume {} still reads", volume->id.value));
        volume->handle.reset();
        trace_.mark("call.remove");
    } else {
        check_meta_error(result.error(), {volume}, "remove");
    }
    open_calls_.erase(call);
}

Task<void> Run::do_resize(env::Random& random) {
    ModelRef volume = pick(random, true);
    if (volume == nullptr) co_return;
    auto guard = co_await volume->gate.lock();
    if (dead_ || volume->removed) co_return;
    const auto call = open_call(OpenCall::kResize, new_key());
    call->target = volume;
    call->new_size = pick_size(random);
    say(fmt::format("resize volume {} from {} to {}", volume->id.value, volume->spec.size_bytes, call->new_size));
    auto result = co_await backend_->resize(volume->id, call->new_size, batch_for(call->key));
    if (!result && dead_) co_return;
    if (result) {
        apply(*call);
        open_handle(volume);
        trace_.mark("call.resize");
    } else {
        check_meta_error(result.error(), {volume}, "resize");
    }
    open_calls_.erase(call);
}

Task<void> Run::do_snapshot(env::Random& random) {
    std::vector<ModelRef> sources;
    const uint64_t wanted = 1 + random.below(3);
    for (uint64_t i = 0; i < wanted && live().size() + sources.size() < kMaxVolumes; ++i) {
        ModelRef source = pick(random, !random.one_in(4));
        if (source != nullptr && std::find(sources.begin(), sources.end(), source) == sources.end()) {
            sources.push_back(source);
        }
    }
    if (sources.empty()) co_return;
    // Ascending, as every task that takes several gates.
    std::sort(sources.begin(), sources.end(), [](const auto& a, const auto& b) { return a->id < b->id; });
    std::vector<env::SharedMutex::Guard> guards;
    for (const ModelRef& source : sources) {
        auto guard = co_await source->gate.lock_shared();
        guards.push_back(std::move(guard));
        if (dead_ || source->removed) co_return;
    }
    const auto call = open_call(OpenCall::kSnapshot, new_key());
    std::vector<lun::SnapshotRequest> requests;
    for (const ModelRef& source : sources) {
        lun::SnapshotRequest request;
        request.source = source->id;
        request.id = backend_->allocate_id();
        request.writable = random.one_in(5) && heads().size() < kMaxHeads;
        requests.push_back(request);
        say(fmt::format("snapshot of volume {} as {}{}", source->id.value, request.id.value,
                        request.writable ? " (writable)" : ""));
    }
    const EventNumber start = history_.begin_reader();
    call->start = start;
    call->sources = sources;
    call->requests = requests;
    auto result = co_await backend_->snapshot(requests, batch_for(call->key));
    if (!result && dead_) co_return;
    if (result) {
        freeze(*call);
        apply(*call);
        for (const ModelRef& volume : call->creates) open_handle(volume);
        trace_.mark(sources.size() > 1 ? "call.snapshot_of_several" : "call.snapshot");
    } else {
        check_meta_error(result.error(), sources, "snapshot");
    }
    history_.end_reader(start);
    open_calls_.erase(call);
}

void Run::freeze(OpenCall& call) {
    ++last_snapshot_call_;
    for (size_t i = 0; i < call.sources.size(); ++i) {
        const ModelRef& source = call.sources[i];
        auto volume = std::make_shared<Model>(executor_, call.requests[i].id, source->spec, call.requests[i].writable,
                                              source->content.frozen(call.start, source->content.lineage()));
        volume->impaired = source->impaired;
        volume->rollback_allowed = source->rollback_allowed;
        volume->snapshot_call = call.requests[i].writable ? 0 : last_snapshot_call_;
        call.creates.push_back(volume);
    }
}

Task<void> Run::do_resync(env::Random& random) {
    ModelRef destination = pick(random, true);
    ModelRef source = pick(random, false);
    if (destination == nullptr || source == nullptr || source == destination) co_return;
    if (live().size() >= kMaxVolumes) co_return;
    // Ascending, as every task that takes several gates.
    const bool destination_first = destination->id < source->id;
    env::SharedMutex::Guard exclusive;
    if (destination_first) exclusive = co_await destination->gate.lock();
    const auto shared = co_await source->gate.lock_shared();
    if (!destination_first) exclusive = co_await destination->gate.lock();
    if (dead_ || source->removed || destination->removed) co_return;
    const auto call = open_call(OpenCall::kResync, new_key());
    call->target = destination;
    call->sources.push_back(source);
    lun::ResyncRequest request;
    request.destination = destination->id;
    request.source = source->id;
    request.keep_as = backend_->allocate_id();
    say(fmt::format("resync volume {} from {}, keeping {}", destination->id.value, source->id.value,
                    request.keep_as.value));
    const EventNumber start = history_.begin_reader();
    call->start = start;
    call->keep_as = request.keep_as;
    lun::Progress progress;
    const bool cancel = random.one_in(5);
    if (cancel) env::spawn_detached(cancel_later(random.below(2000), &progress));
    auto result = co_await backend_->resync(request, batch_for(call->key), progress);
    if (cancel) co_await env::sleep_for(executor_, 3ms);  // the canceller is done with `progress`
    if (!result && dead_) co_return;
    if (result) {
        swap_in(*call);
        apply(*call);
        open_handle(destination);
        open_handle(call->creates[0]);
        trace_.mark("call.resync");
    } else if (cancel && result.error().code == Code::kCancelled) {
        trace_.mark("call.resync_cancelled");
    } else {
        check_meta_error(result.error(), {source, destination}, "resync");
    }
    history_.end_reader(start);
    open_calls_.erase(call);
}

void Run::swap_in(OpenCall& call) {
    const ModelRef& source = call.sources[0];
    const ModelRef& destination = call.target;
    auto kept = std::make_shared<Model>(executor_, call.keep_as, destination->spec, false,
                                        destination->content.frozen(call.start, destination->content.lineage()));
    kept->impaired = destination->impaired;
    kept->rollback_allowed = destination->rollback_allowed;
    call.creates.push_back(kept);
    call.new_content = source->content.frozen(call.start, source->content.lineage());
    call.new_size = source->spec.size_bytes;
    destination->impaired.insert(source->impaired.begin(), source->impaired.end());
    destination->rollback_allowed = destination->rollback_allowed || source->rollback_allowed;
}

void Run::crash_open_calls() {
    for (OpenCall& call : open_calls_) {
        if (call.start == 0) continue;
        if (call.kind == OpenCall::kSnapshot) freeze(call);
        if (call.kind == OpenCall::kResync) swap_in(call);
        history_.end_reader(std::exchange(call.start, 0));
    }
}

Task<void> Run::cancel_later(uint64_t micros, lun::Progress* progress) {
    co_await env::sleep_for(executor_, std::chrono::microseconds(micros));
    progress->cancel = true;
}

Task<void> Run::do_update_meta(env::Random& random) {
    const auto call = open_call(OpenCall::kMeta, new_key());
    lun::MetaBatch batch = batch_for(call->key);
    // Also delete one of the older keys in the same step.
    std::string victim;
    if (random.one_in(3) && !meta_.empty()) {
        auto at = meta_.begin();
        std::advance(at, static_cast<ptrdiff_t>(random.below(meta_.size())));
        victim = at->first;
        batch.changes[victim] = std::nullopt;
    }
    call->erased_key = victim;
    auto result = co_await backend_->update_meta(std::move(batch));
    if (!result && dead_) co_return;
    if (result) {
        apply(*call);
        if (!victim.empty()) meta_.erase(victim);
        trace_.mark("call.update_meta");
    } else {
        check_meta_error(result.error(), {}, "update_meta");
    }
    open_calls_.erase(call);
}

Task<void> Run::do_status(env::Random& random) {
    ModelRef volume = pick(random, false);
    if (volume == nullptr) co_return;
    auto guard = co_await volume->gate.lock_shared();
    if (dead_ || volume->removed) co_return;
    const uint64_t blocks = volume->spec.size_bytes / kBlock;
    const uint64_t offset = random.below(blocks) * kBlock;
    auto extents = co_await volume->handle->map_status(offset, volume->spec.size_bytes - offset, 16);
    if (!extents) {
        check_error(extents.error(), *volume, "map_status", false);
        co_return;
    }
    uint64_t at = offset;
    for (const lun::Extent& extent : *extents) {
        if (extent.offset != at || extent.bytes == 0 || extent.bytes % kBlock != 0) {
            violation(fmt::format("map_status of volume {}: extent at {:#x}+{} after {:#x}", volume->id.value,
                                  extent.offset, extent.bytes, at));
        }
        at += extent.bytes;
    }
    if (at > volume->spec.size_bytes || extents->size() > 16 || extents->empty()) {
        violation(fmt::format("map_status of volume {} reports {} extents up to {:#x}", volume->id.value,
                              extents->size(), at));
    }
    trace_.mark("call.map_status");
}

Task<void> Run::meta_client(uint64_t seed) {
    env::SeededRandom random(seed);
    while (!dead_ && !stopping_ && !lost_) {
        co_await env::sleep_for(executor_, std::chrono::microseconds(random.below(3000)));
        if (dead_ || stopping_) break;
        ++operations_;
        const uint64_t kind = random.below(100);
        if (kind < 12) {
            co_await do_create(random);
        } else if (kind < 30) {
            co_await do_remove(random);
        } else if (kind < 62) {
            co_await do_snapshot(random);
        } else if (kind < 74) {
            co_await do_resync(random);
        } else if (kind < 82) {
            co_await do_resize(random);
        } else if (kind < 90) {
            co_await do_update_meta(random);
        } else {
            co_await do_status(random);
        }
    }
}

// --- faults ---------------------------------------------------------------------------------------------------------

Task<void> Run::injure(env::Random& random) {
    const size_t most = mode_ == FaultMode::kWithin ? 1 : drives_.size();
    if (injured_.size() >= most) co_return;
    // Enough drives must be left for the widest stripe, so that there is something to recover to.
    if (mode_ == FaultMode::kWithin && drives_.size() - dropped_.size() - 1 < widest()) co_return;
    const auto drive = static_cast<uint32_t>(random.below(drives_.size()));
    if (injured_.contains(drive) || dropped_.contains(drive)) co_return;
    injured_.insert(drive);
    sim::SimDrive& device = *drives_[drive];
    const uint64_t kind = random.below(10);
    for (const ModelRef& volume : live()) {
        const auto used = drives_of(*volume);
        if (tolerance(volume->spec.type) > 0 || used.empty() || used.contains(drive)) volume->impaired.insert(drive);
    }
    if (kind < 2) {
        say(fmt::format("fail {} by command", device.name()));
        out_.insert(drive);
        trace_.mark("fault.fail_drive");
        auto result = co_await backend_->fail_drive(lun::DriveIndex(drive));
        if (!result && !dead_ && mode_ == FaultMode::kWithin) violation("fail_drive: " + result.error().text());
    } else if (kind < 4) {
        say(fmt::format("{} vanishes", device.name()));
        out_.insert(drive);
        trace_.mark("fault.vanish");
        device.vanish(random.one_in(2));
    } else {
        sim::FaultPlan plan;
        const auto rate = [&] { return static_cast<uint32_t>(4 + random.below(60)); };
        uint64_t which = random.below(127) + 1;
        // Silent damage of several drives at once can take all copies of the log's end, which nothing can notice.
        if (mode_ == FaultMode::kBeyond) which = (which & ~uint64_t{2 | 4 | 8}) | 1;
        if ((which & 1) != 0) plan.latent_per_write = rate();
        if ((which & 2) != 0) plan.flip_per_write = rate();
        if ((which & 4) != 0) plan.lost_per_write = rate();
        if ((which & 8) != 0) plan.misdirected_per_write = rate();
        if ((which & 16) != 0) plan.stall_per_op = rate();
        if ((which & 32) != 0) plan.error_per_op = rate();
        if ((which & 64) != 0) plan.latent_per_read = rate();
        plan.torn_unreadable = 4;
        plan.stall_max = 2s;
        say(fmt::format("{} turns bad: faults {:#x}", device.name(), which));
        trace_.mark("fault.plan");
        device.set_faults(plan);
        if ((which & (2 | 4 | 8)) != 0) {
            silent_.insert(drive);
            for (const ModelRef& volume : live()) {
                if (tolerance(volume->spec.type) == 0 && volume->impaired.contains(drive))
                    volume->rollback_allowed = true;
            }
        }
    }
}

Task<bool> Run::recover_volumes(uint32_t drive) {
    bool all = true;
    for (const ModelRef& volume : live()) {
        if (dead_) co_return false;
        auto guard = co_await volume->gate.lock_shared();
        if (volume->removed || dead_) continue;
        lun::Progress progress;
        auto result = co_await backend_->recover(volume->id, progress);
        if (dead_) co_return false;
        if (tolerance(volume->spec.type) == 0) {
            const bool stopped = !result && result.error().code == Code::kDeviceFailed && mode_ == FaultMode::kBeyond;
            if (!stopped && (result || result.error().code != Code::kInvalidArgument)) {
                violation(fmt::format("recover of simple volume {}: {}", volume->id.value,
                                      result ? "success" : result.error().text()));
            }
            continue;
        }
        if (!result) {
            all = false;
            const bool room = result.error().code == Code::kNoDrive || result.error().code == Code::kNoSpace;
            if (!may_fail(*volume) && !(room && short_of_space())) {
                violation(fmt::format("recover of {} volume {}: {}", lun::to_string(volume->spec.type),
                                      volume->id.value, result.error().text()));
            }
            continue;
        }
        auto info = backend_->info(volume->id);
        if (!info) violation("info: " + info.error().text());
        // Beyond what is borne, another drive may have gone since.
        if (info->health != lun::Health::kHealthy && mode_ != FaultMode::kBeyond) {
            violation(fmt::format("volume {} is {} after recover", volume->id.value, lun::to_string(info->health)));
        }
        volume->impaired.erase(drive);
        trace_.mark("call.recover");
    }
    co_return all;
}

Task<void> Run::heal(env::Random& random) {
    if (injured_.empty()) co_return;
    auto at = injured_.begin();
    std::advance(at, static_cast<ptrdiff_t>(random.below(injured_.size())));
    const uint32_t drive = *at;
    drives_[drive]->set_faults({});
    if (!out_.contains(drive) && online(drive)) {
        say(fmt::format("scrub after faults of {}", drives_[drive]->name()));
        lun::Progress progress;
        auto result = co_await backend_->scrub(progress);
        if (dead_) co_return;
        if (!result) {
            bool excused = mode_ == FaultMode::kBeyond;
            for (const ModelRef& volume : live()) excused = excused || may_fail(*volume);
            if (!excused) violation("scrub: " + result.error().text());
            co_return;
        }
        trace_.mark("call.scrub");
        // The store may have given the drive up while it scrubbed.
        if (!online(drive)) co_return;
        if (mode_ == FaultMode::kBeyond) co_return;  // damage of two drives in one stripe stays
        // What the faults left without redundancy, a plex that was given up say, is recovered as an administrator
        // would.
        const bool recovered = co_await recover_volumes(drive);
        if (!recovered || dead_) co_return;
        for (const ModelRef& volume : live()) {
            if (tolerance(volume->spec.type) > 0) volume->impaired.erase(drive);
        }
        injured_.erase(drive);
        co_return;
    }
    say(fmt::format("recover from the loss of {}", drives_[drive]->name()));
    if (online(drive)) {
        auto failed = co_await backend_->fail_drive(lun::DriveIndex(drive));
        if (!failed && !dead_ && mode_ == FaultMode::kWithin) violation("fail_drive: " + failed.error().text());
    }
    out_.insert(drive);
    const bool all = co_await recover_volumes(drive);
    if (!all || dead_ || mode_ == FaultMode::kBeyond) co_return;
    injured_.erase(drive);
    out_.erase(drive);
    dropped_.insert(drive);  // never used again in this seed, whatever it holds
    for (const ModelRef& volume : live()) {
        if (tolerance(volume->spec.type) == 0 && volume->impaired.contains(drive)) trace_.mark("simple.lost");
    }
}

Task<void> Run::fault_client(uint64_t seed) {
    env::SeededRandom random(seed);
    while (!dead_ && !stopping_ && !lost_) {
        co_await env::sleep_for(executor_, std::chrono::microseconds(random.below(20'000)));
        if (dead_ || stopping_) break;
        ++operations_;
        if (injured_.empty() || (mode_ == FaultMode::kBeyond && random.one_in(2))) {
            co_await injure(random);
        } else if (random.one_in(3)) {
            co_await heal(random);
        }
    }
}

Task<void> Run::scrub_client(uint64_t seed) {
    env::SeededRandom random(seed);
    while (!dead_ && !stopping_) {
        co_await env::sleep_for(executor_, std::chrono::microseconds(random.below(60'000)));
        if (dead_ || stopping_) break;
        lun::Progress progress;
        auto result = co_await backend_->scrub(progress);
        if (!result && !dead_) violation("scrub without any fault: " + result.error().text());
        trace_.mark("call.scrub");
    }
}

// --- phases ---------------------------------------------------------------------------------------------------------

Task<void> Run::resolve_open_calls() {
    for (OpenCall& call : open_calls_) {
        const auto& meta = backend_->meta();
        const bool happened = meta.contains(call.key);
        say(fmt::format("open call {} {}", call.key, happened ? "happened" : "did not happen"));
        trace_.mark(happened ? "open_call.happened" : "open_call.not");
        if (!happened) continue;
        if (call.kind == OpenCall::kMeta && !call.erased_key.empty()) meta_.erase(call.erased_key);
        apply(call);
    }
    open_calls_.clear();

    std::set<VolumeId> expected;
    for (const ModelRef& volume : live()) expected.insert(volume->id);
    std::set<VolumeId> found;
    for (const VolumeId id : backend_->volumes()) found.insert(id);
    for (const VolumeId id : expected) {
        if (!found.contains(id)) violation(fmt::format("volume {} is gone after the restart", id.value));
    }
    for (const VolumeId id : found) {
        if (!expected.contains(id))
            violation(fmt::format("volume {} has come from nowhere after the restart", id.value));
    }
    if (backend_->meta() != meta_) {
        for (const auto& [key, value] : meta_) {
            if (!backend_->meta().contains(key)) violation(fmt::format("record {} is gone after the restart", key));
        }
        for (const auto& [key, value] : backend_->meta()) {
            if (!meta_.contains(key)) violation(fmt::format("record {} is back after the restart", key));
        }
        violation("records have changed over the restart");
    }
    for (const ModelRef& volume : live()) {
        open_handle(volume);
        auto info = backend_->info(volume->id);
        if (!info) violation("info: " + info.error().text());
        if (info->spec.type != volume->spec.type || info->spec.size_bytes != volume->spec.size_bytes) {
            violation(fmt::format("volume {} has another type or size after the restart", volume->id.value));
        }
    }
    co_return;
}

Task<void> Run::verify_volume(ModelRef volume, bool serial, Observation* out) {
    Buffer buffer(volume->spec.size_bytes);
    bool whole = true;
    const EventNumber start = history_.begin_reader();
    std::vector<bool> good;
    constexpr uint64_t kChunk = 256 * 1024;
    for (uint64_t at = 0; at < buffer.size(); at += kChunk) {
        const uint64_t bytes = std::min<uint64_t>(kChunk, buffer.size() - at);
        auto result = co_await volume->handle->read(at, buffer.span(at, bytes));
        if (dead_) {
            history_.end_reader(start);
            co_return;
        }
        if (!result) check_error(result.error(), *volume, "verifying read", false);
        good.push_back(result.has_value());
        whole = whole && result.has_value();
    }
    uint64_t rollbacks = 0;
    std::optional<std::string> cause;
    if (whole) {
        cause = volume->content.check(0, buffer.span(), start, volume->rollback_allowed, &rollbacks, out);
        if (!cause && !volume->rollback_allowed) cause = find_torn(history_, *out, serial);
    } else {
        for (size_t i = 0; i < good.size() && !cause; ++i) {
            if (!good[i]) continue;
            const uint64_t at = i * kChunk;
            Observation part;
            cause = volume->content.check(at / kSectorBytes,
                                          buffer.span(at, std::min<uint64_t>(kChunk, buffer.size() - at)), start,
                                          volume->rollback_allowed, &rollbacks, &part);
        }
        out->stamps.clear();
        out->uncertain.clear();
    }
    history_.end_reader(start);
    if (rollbacks != 0) trace_.mark("rollback.excused", rollbacks);
    if (cause)
        violation(fmt::format("volume {} ({}): {}", volume->id.value, lun::to_string(volume->spec.type), *cause));
}

Task<void> Run::verify_all(bool after_crash) {
    std::map<uint64_t, std::vector<Observation>> sets;
    for (const ModelRef& volume : live()) {
        Observation observation;
        co_await verify_volume(volume, !after_crash, &observation);
        if (dead_) co_return;
        if (volume->snapshot_call != 0) {
            if (!volume->rollback_allowed) sets[volume->snapshot_call].push_back(std::move(observation));
            volume->snapshot_call = 0;
        }
    }
    for (const auto& [call, members] : sets) {
        trace_.mark(members.size() > 1 ? "verified.snapshot_of_several" : "verified.snapshot");
        if (auto cause = find_not_one_instant(history_, members)) violation(*cause);
    }
    trace_.mark("verified.all");
}

Task<void> Run::work() {
    env::TaskGroup clients(executor_);
    env::TaskGroup others(executor_);
    const uint64_t count = 2 + random_.below(4);
    const uint64_t operations = options_.operations != 0 ? options_.operations : 100 + random_.below(400);
    if (live().empty()) {
        const uint64_t volumes = 2 + random_.below(3);
        for (uint64_t i = 0; i < volumes && !dead_; ++i) co_await do_create(random_);
    }
    for (uint64_t i = 0; i < count; ++i) clients.spawn(data_client(random_.next(), operations / count));
    others.spawn(meta_client(random_.next()));
    if (mode_ != FaultMode::kNone) others.spawn(fault_client(random_.next()));
    if (mode_ == FaultMode::kNone && random_.one_in(3)) others.spawn(scrub_client(random_.next()));
    co_await clients.join();
    stopping_ = true;
    co_await others.join();
    stopping_ = false;
}

Outcome Run::run() {
    if (options_.verbose) trace_.print_to(stderr);
    build_drives();
    const uint64_t dice = random_.below(10);
    mode_ =
        options_.faults.value_or(dice < 4 ? FaultMode::kNone : (dice < 8 ? FaultMode::kWithin : FaultMode::kBeyond));
    const unsigned cuts = options_.power_cuts.value_or(static_cast<unsigned>(1 + random_.below(4)));
    say(fmt::format("seed {}: {} drives, fault mode {}, {} power cuts", options_.seed, drives_.size(),
                    static_cast<int>(mode_), cuts));
    await(format(), "format");
    bool crashed = false;
    for (run_number_ = 0; run_number_ <= cuts && !lost_; ++run_number_) {
        const bool last = run_number_ == cuts;
        // The power may go again while the store recovers.
        for (unsigned attempt = 0; backend_ == nullptr; ++attempt) {
            if (dead_) restore_power();
            const bool risky = run_number_ != 0 && attempt < 3 && random_.one_in(2);
            if (risky) arm_cut();
            Result<void> opened;
            await(open_store(&opened), "open");
            if (risky && !dead_) disarm_cut();
            if (dead_) {
                trace_.mark("cut.in_open");
                await(close_store(), "close after a cut in open");
                continue;
            }
            if (!opened) {
                if (mode_ != FaultMode::kBeyond) violation("open: " + opened.error().text());
                trace_.mark("open.refused_beyond");
                lost_ = true;
                break;
            }
        }
        if (lost_) break;
        await(resolve_open_calls(), "resolving");
        if (last || !random_.one_in(4)) {
            const bool risky = !last && random_.one_in(6);
            if (risky) arm_cut();
            await(verify_all(crashed), "verification");
            if (!dead_) disarm_cut();
        }
        if (!dead_) {
            const bool cut = !last && !random_.one_in(8);
            if (cut) arm_cut();
            await(work(), "work");
            if (!dead_) disarm_cut();
            if (!dead_ && last) await(verify_all(false), "last verification");
            if (!dead_ && cut && random_.one_in(2)) cut_power();
        }
        const bool clean = !dead_;
        await(close_store(), clean ? "close" : "close after a power cut");
        crashed = dead_;
        trace_.mark(crashed ? "cut.in_work" : "closed");
        if (!crashed) {
            for (const ModelRef& volume : live()) volume->content.flushed(history_.next());
        }
        if (dead_) {
            crash_open_calls();
            for (const ModelRef& volume : live()) volume->content.crash();
        }
    }
    if (dead_) restore_power();
    executor_.clear();
    sim::FaultCounts counts;
    for (const auto& drive : drives_) counts += drive->counts();
    counts.mark(trace_);
    for (const auto& [id, volume] : volumes_) volume->handle.reset();
    Outcome outcome;
    outcome.passed = true;
    trace_.mix("end", {history_.now(), operations_, static_cast<uint64_t>(executor_.now().ns)});
    outcome.trace_hash = trace_.hash();
    outcome.operations = operations_;
    outcome.marks = trace_.marks();
    return outcome;
}

}  // namespace

Outcome run_seed(const Factory& factory, const Options& options, const std::function<void(const std::string&)>& fail) {
    Run run(factory, options, fail);
    return run.run();
}

}  // namespace umbra::simulation

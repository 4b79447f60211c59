#include "lun/engine.h"

#include <gtest/gtest.h>

#include <map>

#include "sim/drive.h"
#include "sim/executor.h"

namespace umbra::lun {
namespace {

/// Six simulated drives and whatever runs on them.
class Rig {
public:
    explicit Rig(size_t drives = 6, uint64_t seed = 1, uint64_t drive_bytes = 16 << 20)
        : random(seed), environment{executor, random} {
        for (size_t i = 0; i < drives; ++i) {
            sim::DriveOptions drive;
            drive.name = "d" + std::to_string(i);
            drive.size_bytes = drive_bytes;
            drive.seed = seed * 100 + i;
            sims.push_back(std::make_unique<sim::SimDrive>(executor, trace, drive));
        }
        options.segment_bytes = 128 * 1024;
        options.map_cache_pages = 24;
        options.meta_cache_pages = 16;
        options.max_dirty_pages = 64;
        options.max_changes = 1024;
        options.reclaim_per_checkpoint = 64;
        options.events = [this](const Event& event) { events.push_back(event.id); };
    }

    template <class T>
    T run(Task<T> task) {
        std::optional<T> out;
        executor.run(store(std::move(task), &out));
        return std::move(*out);
    }
    std::vector<DriveSpec> specs(std::vector<size_t> without = {}) {
        std::vector<DriveSpec> out;
        for (size_t i = 0; i < sims.size(); ++i) {
            if (std::find(without.begin(), without.end(), i) != without.end()) continue;
            out.push_back({.name = "d" + std::to_string(i),
                           .path = "/sim/d" + std::to_string(i),
                           .device = std::make_unique<Forward>(*sims[i])});
        }
        return out;
    }
    void format() {
        auto all = specs();
        const auto done = run(format_array(environment, all, options));
        ASSERT_TRUE(done) << done.error().text();
    }
    Result<void> open(std::vector<size_t> without = {}) {
        auto opened = run(open_array(environment, specs(std::move(without)), options));
        if (!opened) return std::unexpected(opened.error());
        backend = std::move(*opened);
        return {};
    }
    void close() {
        (void)run(backend->close());
        backend.reset();
    }
    void crash() {
        for (auto& drive : sims) drive->crash();
        close();
        for (auto& drive : sims) drive->power_on();
    }
    VolumeId make(LunType type, uint64_t bytes) {
        const VolumeId id = backend->allocate_id();
        const auto done = run(backend->create(id, {.type = type, .size_bytes = bytes}, {}));
        EXPECT_TRUE(done) << done.error().text();
        return id;
    }
    std::vector<std::byte> pattern(uint64_t tag, size_t bytes) {
        env::SeededRandom r(tag);
        std::vector<std::byte> out(bytes);
        for (auto& b : out) b = static_cast<std::byte>(r.next());
        return out;
    }
    Result<void> write(VolumeId id, uint64_t offset, std::vector<std::byte> bytes, bool fua = false) {
        auto volume = backend->open(id);
        if (!volume) return std::unexpected(volume.error());
        return run((*volume)->write(offset, bytes, {.fua = fua}));
    }
    Result<std::vector<std::byte>> read(VolumeId id, uint64_t offset, size_t bytes) {
        auto volume = backend->open(id);
        if (!volume) return std::unexpected(volume.error());
        std::vector<std::byte> out(bytes);
        auto done = run((*volume)->read(offset, out));
        if (!done) return std::unexpected(done.error());
        return out;
    }
    Result<void> flush(VolumeId id) { return run((*backend->open(id))->flush()); }

    /// Offsets of map pages, and of headers and data, in the logs of streams that are one drive wide.
    static std::pair<std::vector<uint64_t>, std::vector<uint64_t>> log_blocks(const sim::SimDrive& drive) {
        constexpr size_t kBlock = store::kBlockBytes;
        std::vector<uint64_t> pages;
        std::vector<uint64_t> others;
        for (uint64_t at = 0; at < drive.geometry().size_bytes; at += kBlock) {
            const auto header = store::decode_record_header(drive.peek(at, kBlock));
            if (!header) continue;
            others.push_back(at);
            uint64_t payload = at;
            for (const store::Entry& entry : header->entries) {
                if (!entry.has_payload()) continue;
                payload += kBlock;
                (entry.kind == store::EntryKind::kPage ? pages : others).push_back(payload);
            }
        }
        return {pages, others};
    }

    class Forward final : public env::BlockDevice {
    public:
        explicit Forward(env::BlockDevice& inner) : inner_(inner) {}
        const env::Geometry& geometry() const override { return inner_.geometry(); }
        const std::string& name() const override { return inner_.name(); }
        Task<Result<void>> read(uint64_t offset, std::span<const MutableBytes> into) override {
            return inner_.read(offset, into);
        }
        Task<Result<void>> write(uint64_t offset, std::span<const Bytes> from) override {
            return inner_.write(offset, from);
        }
        Task<Result<void>> flush() override { return inner_.flush(); }
        Task<Result<void>> discard(uint64_t offset, uint64_t bytes) override { return inner_.discard(offset, bytes); }

    private:
        env::BlockDevice& inner_;
    };

    sim::SimExecutor executor;
    sim::Trace trace;
    env::SeededRandom random;
    env::Environment environment;
    EngineOptions options;
    std::vector<std::unique_ptr<sim::SimDrive>> sims;
    std::unique_ptr<Backend> backend;
    std::vector<std::string> events;

private:
    template <class T>
    static Task<void> store(Task<T> task, std::optional<T>* out) {
        out->emplace(co_await std::move(task));
    }
};

class EachType : public testing::TestWithParam<LunType> {};
INSTANTIATE_TEST_SUITE_P(Types, EachType, testing::Values(LunType::kSimple, LunType::kMirror, LunType::kParity),
                         [](const auto& type) { return std::string(to_string(type.param)); });

TEST_P(EachType, WritesSurviveCloseAndCrash) {
    Rig rig;
    rig.format();
    ASSERT_TRUE(rig.open());
    const VolumeId id = rig.make(GetParam(), 4 << 20);
    const auto a = rig.pattern(1, 300 * 1024);
    ASSERT_TRUE(rig.write(id, 512 * 7, a));
    EXPECT_EQ(rig.read(id, 512 * 7, a.size()).value(), a);
    EXPECT_EQ(rig.read(id, 0, 512).value(), std::vector<std::byte>(512));
    rig.close();
    ASSERT_TRUE(rig.open());
    EXPECT_EQ(rig.read(id, 512 * 7, a.size()).value(), a);
    const auto b = rig.pattern(2, 4096 * 5 + 512);
    ASSERT_TRUE(rig.write(id, 1 << 20, b));
    ASSERT_TRUE(rig.flush(id));
    rig.crash();
    const auto opened = rig.open();
    ASSERT_TRUE(opened) << opened.error().text();
    EXPECT_EQ(rig.read(id, 1 << 20, b.size()).value(), b);
    EXPECT_EQ(rig.read(id, 512 * 7, a.size()).value(), a);
    rig.close();
}

TEST_P(EachType, SnapshotsHoldTheirInstantAndGoInAnyOrder) {
    Rig rig;
    rig.format();
    ASSERT_TRUE(rig.open());
    const VolumeId id = rig.make(GetParam(), 2 << 20);
    std::vector<VolumeId> snapshots;
    std::vector<std::vector<std::byte>> contents;
    for (int i = 0; i < 6; ++i) {
        ASSERT_TRUE(rig.write(id, static_cast<uint64_t>(i) * 100 * 1024,
                              rig.pattern(static_cast<uint64_t>(i) + 10, 200 * 1024)));
        contents.push_back(rig.read(id, 0, 2 << 20).value());
        snapshots.push_back(rig.backend->allocate_id());
        ASSERT_TRUE(rig.run(rig.backend->snapshot({{.source = id, .id = snapshots.back()}}, {})));
    }
    for (const size_t gone : {2u, 0u, 5u, 3u}) {
        ASSERT_TRUE(rig.run(rig.backend->remove(snapshots[gone], {})));
        snapshots[gone] = {};
        if (gone == 0) {
            rig.crash();
            ASSERT_TRUE(rig.open());
        }
        for (size_t i = 0; i < snapshots.size(); ++i) {
            if (!snapshots[i]) continue;
            EXPECT_EQ(rig.read(snapshots[i], 0, 2 << 20).value(), contents[i]) << i;
        }
    }
    EXPECT_EQ(rig.read(id, 0, 2 << 20).value(), contents[5]);
    EXPECT_EQ(rig.write(snapshots[1], 0, rig.pattern(1, 512)).error().code, base::Code::kWriteProtected);
    rig.close();
}

TEST_P(EachType, RemovedVolumesGiveEverythingBack) {
    Rig rig;
    rig.format();
    ASSERT_TRUE(rig.open());
    const uint64_t before = rig.backend->space().live_bytes;
    const VolumeId id = rig.make(GetParam(), 4 << 20);
    const VolumeId snapshot = rig.backend->allocate_id();
    const VolumeId clone = rig.backend->allocate_id();
    ASSERT_TRUE(rig.write(id, 0, rig.pattern(1, 1 << 20)));
    ASSERT_TRUE(rig.run(rig.backend->snapshot({{.source = id, .id = snapshot}}, {})));
    ASSERT_TRUE(rig.run(rig.backend->snapshot({{.source = snapshot, .id = clone, .writable = true}}, {})));
    ASSERT_TRUE(rig.write(id, 0, rig.pattern(2, 1 << 20)));
    ASSERT_TRUE(rig.write(clone, 0, rig.pattern(3, 1 << 20)));
    for (const VolumeId gone : {snapshot, id, clone}) ASSERT_TRUE(rig.run(rig.backend->remove(gone, {})));
    for (int i = 0; i < 200 && rig.backend->space().live_bytes > before; ++i) {
        ASSERT_TRUE(rig.run(static_cast<Engine&>(*rig.backend).checkpoint()));
    }
    EXPECT_EQ(rig.backend->space().live_bytes, before);
    rig.close();
}

TEST_P(EachType, ResyncToTheOriginalAndToAnotherVolume) {
    Rig rig;
    rig.format();
    ASSERT_TRUE(rig.open());
    const VolumeId id = rig.make(GetParam(), 2 << 20);
    const VolumeId other = rig.make(LunType::kSimple, 1 << 20);
    ASSERT_TRUE(rig.write(id, 0, rig.pattern(1, 1 << 20)));
    const auto first = rig.read(id, 0, 2 << 20).value();
    const VolumeId snapshot = rig.backend->allocate_id();
    ASSERT_TRUE(rig.run(rig.backend->snapshot({{.source = id, .id = snapshot}}, {})));
    ASSERT_TRUE(rig.write(id, 4096, rig.pattern(2, 1 << 20)));
    const auto second = rig.read(id, 0, 2 << 20).value();
    const VolumeId kept = rig.backend->allocate_id();
    Progress progress;
    const auto done =
        rig.run(rig.backend->resync({.destination = id, .source = snapshot, .keep_as = kept}, {}, progress));
    ASSERT_TRUE(done) << done.error().text();
    EXPECT_EQ(rig.read(id, 0, 2 << 20).value(), first);
    EXPECT_EQ(rig.read(kept, 0, 2 << 20).value(), second);
    Progress again;
    const VolumeId kept_other = rig.backend->allocate_id();
    const auto copied =
        rig.run(rig.backend->resync({.destination = other, .source = kept, .keep_as = kept_other}, {}, again));
    ASSERT_TRUE(copied) << copied.error().text();
    EXPECT_EQ((*rig.backend->open(other))->size_bytes(), 2u << 20);
    EXPECT_EQ(rig.read(other, 0, 2 << 20).value(), second);
    rig.crash();
    ASSERT_TRUE(rig.open());
    EXPECT_EQ(rig.read(id, 0, 2 << 20).value(), first);
    EXPECT_EQ(rig.read(kept, 0, 2 << 20).value(), second);
    EXPECT_EQ(rig.read(other, 0, 2 << 20).value(), second);
    rig.close();
}

/// One unreadable block costs at most what it held: its own data, or what its map page covers. Never the volume.
TEST(Engine, OneUnreadableBlockAtARestartLosesNoMoreThanItHeld) {
    constexpr uint64_t kLeaf = 1 << 20;
    constexpr uint64_t kEnd = 12 * kLeaf;
    constexpr size_t kPiece = 4096;
    size_t map_pages_lost = 0;
    for (uint64_t seed = 1; seed <= 60; ++seed) {
        Rig rig(3, seed);
        rig.format();
        ASSERT_TRUE(rig.open());
        const VolumeId id = rig.make(LunType::kSimple, kEnd);
        std::map<uint64_t, std::vector<std::byte>> now;
        const auto put = [&](uint64_t at) {
            now[at] = rig.pattern(seed * 1000 + at / kPiece + now.size(), kPiece);
            ASSERT_TRUE(rig.write(id, at, now[at]));
        };
        for (uint64_t at = 0; at < kEnd; at += kLeaf / 2) put(at);
        const VolumeId snapshot = rig.backend->allocate_id();
        ASSERT_TRUE(rig.run(rig.backend->snapshot({{.source = id, .id = snapshot}}, {})));
        const auto then = now;
        for (uint64_t at = 0; at < kEnd; at += kLeaf) put(at);
        rig.close();
        ASSERT_TRUE(rig.open());
        for (uint64_t at = 8 * kPiece; at < kEnd; at += kLeaf) put(at);
        ASSERT_TRUE(rig.flush(id));
        sim::SimDrive& drive = *rig.sims[rig.backend->info(id)->plexes[0].drives[0].value];
        // Any block of the log, map pages more often than their share.
        auto [pages, others] = rig.log_blocks(drive);
        auto& from = seed % 2 == 0 ? pages : others;
        drive.make_unreadable(from[rig.random.below(from.size())]);
        rig.events.clear();
        rig.crash();
        for (int restart = 0; restart < 3; ++restart) {
            const auto opened = rig.open();
            ASSERT_TRUE(opened) << seed << " " << opened.error().text();
            if (std::count(rig.events.begin(), rig.events.end(), "stream.damaged") > 0) break;
            const bool page = std::count(rig.events.begin(), rig.events.end(), "block.lost") > 0;
            if (restart == 0 && page) ++map_pages_lost;
            std::set<uint64_t> lost;
            for (const auto& [volume, content] : {std::pair{id, std::as_const(now)}, std::pair{snapshot, then}}) {
                for (const auto& [at, bytes] : content) {
                    const auto read = rig.read(volume, at, kPiece);
                    if (read) {
                        ASSERT_EQ(*read, bytes) << "seed " << seed << " volume " << volume.value << " at " << at;
                    } else {
                        ASSERT_EQ(read.error().code, base::Code::kMediaError) << read.error().text();
                        lost.insert(at / kLeaf);
                    }
                }
            }
            // The page above the leaves covers them all; every other block less than one of them.
            ASSERT_TRUE(lost.size() <= 1 || lost.size() == kEnd / kLeaf) << "seed " << seed;
            rig.events.clear();
            rig.crash();
        }
        if (rig.backend) rig.close();
    }
    EXPECT_GT(map_pages_lost, 0u);
}

/// What a degraded mirror has lost is an error on the plex that recovery builds as well, not zeros.
TEST(Engine, RecoveryOfAMirrorDoesNotTurnLostBlocksIntoZeros) {
    constexpr uint64_t kLeaf = 1 << 20;
    constexpr uint64_t kEnd = 6 * kLeaf;
    size_t with_losses = 0;
    for (uint64_t seed = 1; seed <= 40; ++seed) {
        Rig rig(4, seed);
        rig.format();
        ASSERT_TRUE(rig.open());
        const VolumeId id = rig.make(LunType::kMirror, kEnd);
        std::map<uint64_t, std::vector<std::byte>> content;
        const auto put = [&](uint64_t at) {
            content[at] = rig.pattern(seed * 1000 + at / 4096, 4096);
            ASSERT_TRUE(rig.write(id, at, content[at]));
        };
        for (uint64_t at = 0; at < kEnd; at += kLeaf / 2) put(at);
        rig.close();
        ASSERT_TRUE(rig.open());
        const size_t gone = seed % 2;
        const auto info = *rig.backend->info(id);
        ASSERT_TRUE(rig.run(rig.backend->fail_drive(info.plexes[gone].drives[0])));
        for (uint64_t at = 8192; at < kEnd; at += kLeaf) put(at);
        ASSERT_TRUE(rig.flush(id));
        sim::SimDrive& left = *rig.sims[info.plexes[1 - gone].drives[0].value];
        const auto pages = rig.log_blocks(left).first;
        ASSERT_FALSE(pages.empty());
        left.make_unreadable(pages[rig.random.below(pages.size())]);
        rig.crash();
        const auto opened = rig.open();
        ASSERT_TRUE(opened) << seed << " " << opened.error().text();
        const auto unreadable = [&] {
            std::set<uint64_t> lost;
            for (const auto& [at, bytes] : content) {
                const auto read = rig.read(id, at, bytes.size());
                if (!read) {
                    EXPECT_EQ(read.error().code, base::Code::kMediaError);
                    lost.insert(at);
                } else {
                    EXPECT_EQ(*read, bytes) << "seed " << seed << " at " << at;
                }
            }
            return lost;
        };
        const auto before = unreadable();
        if (!before.empty()) ++with_losses;
        Progress progress;
        const auto recovered = rig.run(rig.backend->recover(id, progress));
        ASSERT_TRUE(recovered || recovered.error().code == base::Code::kMediaError) << recovered.error().text();
        EXPECT_EQ(unreadable(), before) << "seed " << seed;
        rig.close();
        ASSERT_TRUE(rig.open());
        EXPECT_EQ(unreadable(), before) << "seed " << seed;
        for (const uint64_t at : before) ASSERT_TRUE(rig.write(id, at, content[at]));
        EXPECT_TRUE(unreadable().empty()) << "seed " << seed;
        rig.close();
    }
    EXPECT_GT(with_losses, 0u);
}

TEST_P(EachType, AWriteDuringAResyncIsBeforeItOrAfterIt) {
    for (const LunType source_type : {GetParam(), LunType::kSimple}) {
        for (int64_t delay = 0; delay < 2000; delay += 60) {
            Rig rig(6, static_cast<uint64_t>(delay) + 1);
            rig.format();
            ASSERT_TRUE(rig.open());
            const VolumeId id = rig.make(GetParam(), 1 << 20);
            ASSERT_TRUE(rig.write(id, 0, rig.pattern(1, 8192)));
            VolumeId source;
            if (source_type == GetParam()) {
                source = rig.backend->allocate_id();
                ASSERT_TRUE(rig.run(rig.backend->snapshot({{.source = id, .id = source}}, {})));
            } else {
                source = rig.make(source_type, 1 << 20);
                ASSERT_TRUE(rig.write(source, 0, rig.pattern(3, 8192)));
            }
            const auto wanted = rig.read(source, 0, 8192).value();
            ASSERT_TRUE(rig.write(id, 0, rig.pattern(2, 8192)));
            rig.close();
            ASSERT_TRUE(rig.open());
            const auto part = rig.pattern(9, 512);
            const VolumeId kept = rig.backend->allocate_id();
            Progress progress;
            Result<void> written = base::fail(base::Code::kInternal, "not run");
            Result<void> resynced = written;
            const auto writer = [](Rig* r, VolumeId to, const std::vector<std::byte>* bytes, int64_t wait,
                                   Result<void>* out) -> Task<void> {
                co_await env::sleep_for(r->executor, std::chrono::microseconds(wait));
                auto volume = r->backend->open(to);
                *out = co_await (*volume)->write(512, *bytes, {});
            };
            const auto resyncer = [](Rig* r, ResyncRequest request, Progress* report, Result<void>* out) -> Task<void> {
                *out = co_await r->backend->resync(request, {}, *report);
            };
            const auto both = [](Rig* r, Task<void> a, Task<void> b) -> Task<void> {
                env::TaskGroup group(r->executor);
                group.spawn(std::move(a));
                group.spawn(std::move(b));
                co_await group.join();
            };
            rig.executor.run(
                both(&rig, writer(&rig, id, &part, delay, &written),
                     resyncer(&rig, {.destination = id, .source = source, .keep_as = kept}, &progress, &resynced)));
            ASSERT_TRUE(written) << written.error().text();
            ASSERT_TRUE(resynced) << resynced.error().text();
            const auto after = rig.read(id, 0, 8192).value();
            auto later = wanted;
            std::copy(part.begin(), part.end(), later.begin() + 512);
            EXPECT_TRUE(after == wanted || after == later) << "delay " << delay << " us";
            rig.close();
        }
    }
}

class Redundant : public testing::TestWithParam<LunType> {};
INSTANTIATE_TEST_SUITE_P(Types, Redundant, testing::Values(LunType::kMirror, LunType::kParity),
                         [](const auto& type) { return std::string(to_string(type.param)); });

TEST_P(Redundant, ReadsThroughALostDriveAndRecovers) {
    Rig rig;
    rig.format();
    ASSERT_TRUE(rig.open());
    const VolumeId id = rig.make(GetParam(), 2 << 20);
    ASSERT_TRUE(rig.write(id, 0, rig.pattern(1, 1 << 20)));
    const VolumeId snapshot = rig.backend->allocate_id();
    ASSERT_TRUE(rig.run(rig.backend->snapshot({{.source = id, .id = snapshot}}, {})));
    const auto old = rig.read(snapshot, 0, 2 << 20).value();
    ASSERT_TRUE(rig.write(id, 700 * 1024, rig.pattern(2, 1 << 20)));
    const auto now = rig.read(id, 0, 2 << 20).value();
    for (int round = 0; round < 3; ++round) {
        const DriveIndex victim = rig.backend->info(id)->plexes[0].drives[0];
        ASSERT_TRUE(rig.run(rig.backend->fail_drive(victim)));
        EXPECT_EQ(rig.backend->info(id)->health, Health::kFailedRedundancy);
        EXPECT_EQ(rig.read(id, 0, 2 << 20).value(), now);
        EXPECT_EQ(rig.read(snapshot, 0, 2 << 20).value(), old);
        if (round == 1) {
            rig.crash();
            ASSERT_TRUE(rig.open());
        }
        Progress progress;
        const auto done = rig.run(rig.backend->recover(id, progress));
        if (GetParam() == LunType::kParity && round > 0) {  // width 5 of 6: one substitute
            EXPECT_EQ(done.error().code, base::Code::kNoDrive);
            break;
        }
        ASSERT_TRUE(done) << done.error().text();
        EXPECT_EQ(rig.backend->info(id)->health, Health::kHealthy);
        EXPECT_EQ(rig.backend->info(snapshot)->health, Health::kHealthy);
    }
    EXPECT_EQ(rig.read(id, 0, 2 << 20).value(), now);
    EXPECT_EQ(rig.read(snapshot, 0, 2 << 20).value(), old);
    rig.close();
}

TEST_P(EachType, FullPoolHarmsNothing) {
    Rig rig(6, 3, 6 << 20);
    rig.format();
    ASSERT_TRUE(rig.open());
    const VolumeId id = rig.make(GetParam(), 64 << 20);
    Result<void> last;
    uint64_t at = 0;
    while (last && at < (64u << 20)) {
        last = rig.write(id, at, rig.pattern(at, 64 * 1024));
        if (last) at += 64 * 1024;
    }
    ASSERT_FALSE(last);
    EXPECT_EQ(last.error().code, base::Code::kNoSpace) << last.error().text();
    EXPECT_GT(at, 1u << 20);
    for (uint64_t check = 0; check < at; check += 64 * 1024)
        EXPECT_EQ(rig.read(id, check, 64 * 1024).value(), rig.pattern(check, 64 * 1024));
    ASSERT_TRUE(rig.run((*rig.backend->open(id))->write_zeroes(0, at / 2 / 65536 * 65536, {})));
    const auto after = rig.write(id, 0, rig.pattern(7, 64 * 1024), true);
    EXPECT_TRUE(after) << after.error().text();
    rig.close();
    ASSERT_TRUE(rig.open());
    EXPECT_EQ(rig.read(id, 0, 64 * 1024).value(), rig.pattern(7, 64 * 1024));
    rig.close();
}

/// The worst mixture for a checkpoint: every block in another map page, with the limits that the product has.
TEST_P(EachType, AFullPoolOpensAgainAfterACrashAndGivesSpaceBack) {
    Rig rig(4, 5, 48 << 20);
    const EngineOptions product;
    rig.options.segment_bytes = product.segment_bytes;
    rig.options.max_dirty_pages = product.max_dirty_pages;
    rig.options.max_changes = product.max_changes;
    rig.options.map_cache_pages = product.map_cache_pages;
    rig.options.meta_cache_pages = product.meta_cache_pages;
    rig.options.reclaim_per_checkpoint = product.reclaim_per_checkpoint;
    rig.format();
    ASSERT_TRUE(rig.open());
    constexpr uint64_t kLeaf = 1 << 20;
    const VolumeId id = rig.make(GetParam(), 16ull << 30);
    uint64_t blocks = 0;
    Result<void> last;
    const auto offset = [](uint64_t n) { return n % 16384 * kLeaf + n / 16384 * 4096; };
    for (; last; ++blocks) last = rig.write(id, offset(blocks), rig.pattern(blocks, 4096));
    --blocks;
    ASSERT_EQ(last.error().code, base::Code::kNoSpace) << last.error().text();
    ASSERT_GT(blocks, 500u);
    ASSERT_TRUE(rig.flush(id));
    for (int crash = 0; crash < 3; ++crash) {
        rig.crash();
        const auto opened = rig.open();
        ASSERT_TRUE(opened) << opened.error().text();
        for (uint64_t n = 0; n < blocks; n += 97)
            EXPECT_EQ(rig.read(id, offset(n), 4096).value(), rig.pattern(n, 4096));
        // Overwriting may be refused, but harms nothing.
        (void)rig.write(id, offset(1), rig.pattern(1, 4096), true);
    }
    for (uint64_t n = 0; n < blocks; n += 2) {
        const auto unmapped = rig.run((*rig.backend->open(id))->write_zeroes(offset(n), 4096, {}));
        ASSERT_TRUE(unmapped) << n << " " << unmapped.error().text();
    }
    ASSERT_TRUE(rig.flush(id));
    const auto again = rig.write(id, offset(0), rig.pattern(7, 4096), true);
    EXPECT_TRUE(again) << again.error().text();
    for (uint64_t n = 1; n < blocks; n += 98) EXPECT_EQ(rig.read(id, offset(n), 4096).value(), rig.pattern(n, 4096));
    rig.close();
}

TEST(Engine, RefusesForeignAndMissingDrives) {
    Rig rig;
    rig.format();
    EXPECT_EQ(rig.open({0, 1, 2}).error().code, base::Code::kDeviceFailed);
    Rig other(6, 2);
    EXPECT_EQ(other.open().error().code, base::Code::kNotFound);
    ASSERT_TRUE(rig.open({5}));
    rig.close();
    // Drive 5 comes back with what it had: it is refused, the others know better.
    ASSERT_TRUE(rig.open());
    EXPECT_EQ(rig.backend->drives()[5].state, DriveState::kFailed);
    rig.close();
}

}  // namespace
}  // namespace umbra::lun

#include "sim/drive.h"

#include <gtest/gtest.h>

#include <functional>

#include "env/sync.h"

namespace umbra::sim {
namespace {

using base::Buffer;
using base::Bytes;
using base::Code;
using base::MutableBytes;
using base::Result;
using env::Task;

Buffer filled(size_t bytes, uint8_t value) {
    Buffer buffer(bytes);
    std::memset(buffer.data(), value, bytes);
    return buffer;
}

Task<void> write(SimDrive& drive, uint64_t offset, size_t bytes, uint8_t value, Result<void>* out) {
    const Buffer buffer = filled(bytes, value);
    const std::array<Bytes, 1> spans{buffer.span()};
    *out = co_await drive.write(offset, spans);
}

Task<void> read(SimDrive& drive, uint64_t offset, size_t bytes, std::vector<uint8_t>* into, Result<void>* out) {
    Buffer buffer(bytes);
    const std::array<MutableBytes, 1> spans{buffer.span()};
    *out = co_await drive.read(offset, spans);
    into->assign(reinterpret_cast<uint8_t*>(buffer.data()), reinterpret_cast<uint8_t*>(buffer.data()) + bytes);
}

Task<void> flush(SimDrive& drive, Result<void>* out) {
    *out = co_await drive.flush();
}

struct SimDriveTest : testing::Test {
    SimExecutor executor;
    Trace trace;
    std::unique_ptr<SimDrive> drive;

    SimDrive& make(uint64_t seed, FaultPlan faults = {}, uint32_t sector = 512) {
        DriveOptions options;
        options.seed = seed;
        options.size_bytes = 1 << 20;
        options.sector_bytes = sector;
        options.faults = faults;
        drive = std::make_unique<SimDrive>(executor, trace, options);
        return *drive;
    }
    Result<void> put(uint64_t offset, size_t bytes, uint8_t value) {
        Result<void> result;
        executor.run(write(*drive, offset, bytes, value, &result));
        return result;
    }
    Result<std::vector<uint8_t>> get(uint64_t offset, size_t bytes) {
        Result<void> result;
        std::vector<uint8_t> data;
        executor.run(read(*drive, offset, bytes, &data, &result));
        if (!result) return std::unexpected(result.error());
        return data;
    }
    Result<void> sync() {
        Result<void> result;
        executor.run(flush(*drive, &result));
        return result;
    }
};

TEST_F(SimDriveTest, ReadsWhatWasWrittenAndNoiseElsewhere) {
    make(3);
    ASSERT_TRUE(put(8192, 8192, 7));
    EXPECT_EQ(*get(8192, 8192), std::vector<uint8_t>(8192, 7));
    const auto noise = *get(0, 4096);
    EXPECT_EQ(*get(0, 4096), noise);
    EXPECT_NE(noise, std::vector<uint8_t>(4096, 0));
    EXPECT_NE(*get(4096, 4096), noise);
}

TEST_F(SimDriveTest, FlushedWritesSurviveEveryCrash) {
    for (uint64_t seed = 0; seed < 200; ++seed) {
        make(seed);
        ASSERT_TRUE(put(0, 16384, 1));
        ASSERT_TRUE(sync());
        drive->crash();
        EXPECT_EQ(get(0, 4096).error().code, Code::kDeviceFailed);
        drive->power_on();
        EXPECT_EQ(*get(0, 16384), std::vector<uint8_t>(16384, 1));
    }
}

TEST_F(SimDriveTest, UnflushedWritesAreKeptLostTornAndReordered) {
    FaultCounts counts;
    size_t first_only = 0;
    size_t second_only = 0;
    size_t torn_in_block = 0;
    for (uint64_t seed = 0; seed < 300; ++seed) {
        make(seed);
        ASSERT_TRUE(put(0, 4096, 1));
        ASSERT_TRUE(put(8192, 4096, 1));
        ASSERT_TRUE(sync());
        ASSERT_TRUE(put(0, 4096, 2));
        ASSERT_TRUE(put(8192, 4096, 2));
        drive->crash();
        drive->power_on();
        const auto a = *get(0, 4096);
        const auto b = *get(8192, 4096);
        for (size_t i = 0; i < a.size(); ++i) {
            ASSERT_TRUE(a[i] == 1 || a[i] == 2);
            ASSERT_EQ(a[i], a[i - i % 512]);  // never within a sector
        }
        const bool a_new = a == std::vector<uint8_t>(4096, 2);
        const bool b_new = b == std::vector<uint8_t>(4096, 2);
        first_only += a_new && !b_new;
        second_only += b_new && !a_new;
        torn_in_block += std::count(a.begin(), a.end(), 2) % 4096 != 0;
        counts += drive->counts();
    }
    EXPECT_GT(first_only, 10u);
    EXPECT_GT(second_only, 10u);
    EXPECT_GT(torn_in_block, 10u);
    EXPECT_GT(counts.crash_reordered, 10u);
}

TEST_F(SimDriveTest, LargeSectorsTearOnlyAtBlocks) {
    for (uint64_t seed = 0; seed < 100; ++seed) {
        make(seed, {}, 4096);
        ASSERT_TRUE(put(0, 16384, 1));
        ASSERT_TRUE(sync());
        ASSERT_TRUE(put(0, 16384, 2));
        drive->crash();
        drive->power_on();
        const auto data = *get(0, 16384);
        for (size_t i = 0; i < data.size(); ++i) ASSERT_EQ(data[i], data[i - i % 4096]);
    }
}

TEST_F(SimDriveTest, OperationsInFlightFailWhenThePowerGoes) {
    make(1);
    Result<void> written;
    Result<void> flushed;
    env::TaskGroup group(executor);
    group.spawn(write(*drive, 0, 4096, 9, &written));
    group.spawn(flush(*drive, &flushed));
    drive->crash();
    drive->power_on();
    executor.run(group.join());
    EXPECT_EQ(written.error().code, Code::kDeviceFailed);
    EXPECT_EQ(flushed.error().code, Code::kDeviceFailed);
    EXPECT_EQ(drive->in_flight(), 0u);
}

TEST_F(SimDriveTest, AFlushCoversOnlyWritesAcknowledgedBefore) {
    size_t lost = 0;
    for (uint64_t seed = 0; seed < 100; ++seed) {
        make(seed);
        ASSERT_TRUE(put(4096, 4096, 1));
        ASSERT_TRUE(sync());
        Result<void> written;
        Result<void> flushed;
        env::TaskGroup group(executor);
        group.spawn(write(*drive, 4096, 4096, 2, &written));
        group.spawn(flush(*drive, &flushed));
        executor.run(group.join());
        ASSERT_TRUE(written && flushed);
        drive->crash();
        drive->power_on();
        lost += (*get(4096, 4096))[0] == 1;
    }
    EXPECT_GT(lost, 10u);
}

TEST_F(SimDriveTest, UnreadableBlocksHealWhenRewritten) {
    make(1);
    ASSERT_TRUE(put(0, 8192, 1));
    drive->make_unreadable(4096);
    EXPECT_TRUE(get(0, 4096));
    EXPECT_EQ(get(0, 8192).error().code, Code::kMediaError);
    EXPECT_EQ(get(4096, 4096).error().code, Code::kMediaError);
    ASSERT_TRUE(put(4096, 4096, 2));
    EXPECT_TRUE(get(0, 8192));
    EXPECT_EQ(drive->counts().healed, 1u);
}

TEST_F(SimDriveTest, FlippedBitsStayAcrossACrash) {
    make(1);
    ASSERT_TRUE(put(0, 4096, 0));
    ASSERT_TRUE(sync());
    drive->flip_bit(100, 3);
    EXPECT_EQ((*get(0, 4096))[100], 8);
    drive->crash();
    drive->power_on();
    EXPECT_EQ((*get(0, 4096))[100], 8);
}

TEST_F(SimDriveTest, ReturnsWithWhatItHadWhenItVanished) {
    make(1);
    ASSERT_TRUE(put(0, 4096, 1));
    ASSERT_TRUE(sync());
    drive->keep_old_copy();
    ASSERT_TRUE(put(0, 4096, 2));
    drive->vanish(false);
    EXPECT_EQ(put(0, 4096, 3).error().code, Code::kDeviceFailed);
    EXPECT_FALSE(drive->status());
    drive->reappear();
    EXPECT_EQ((*get(0, 4096))[0], 2);
    drive->vanish(false);
    drive->reappear_with_old_copy();
    EXPECT_EQ((*get(0, 4096))[0], 1);
}

TEST_F(SimDriveTest, EveryPlannedFaultHappens) {
    FaultPlan plan;
    plan.latent_per_write = plan.latent_per_read = plan.flip_per_write = 20;
    plan.lost_per_write = plan.misdirected_per_write = plan.stall_per_op = plan.error_per_op = 20;
    make(5, plan);
    for (int i = 0; i < 1000; ++i) {
        (void)put((i % 64) * 4096, 4096, static_cast<uint8_t>(i));
        (void)get((i * 7 % 64) * 4096, 4096);
    }
    const FaultCounts& counts = drive->counts();
    EXPECT_GT(counts.latent, 20u);
    EXPECT_GT(counts.latent_reads, 20u);
    EXPECT_GT(counts.healed, 20u);
    EXPECT_GT(counts.flips, 10u);
    EXPECT_GT(counts.lost, 20u);
    EXPECT_GT(counts.misdirected, 20u);
    EXPECT_GT(counts.stalls, 20u);
    EXPECT_GT(counts.errors, 20u);
}

TEST_F(SimDriveTest, OneSeedIsOneRun) {
    const auto run = [](uint64_t seed) {
        SimExecutor clock;
        Trace log;
        DriveOptions options;
        options.seed = seed;
        options.size_bytes = 1 << 20;
        options.faults.flip_per_write = 10;
        SimDrive one(clock, log, options);
        env::TaskGroup group(clock);
        std::vector<Result<void>> results(200);
        for (int i = 0; i < 200; ++i) group.spawn(write(one, i * 4096, 4096, static_cast<uint8_t>(i), &results[i]));
        clock.run(group.join());
        one.crash();
        return log.hash();
    };
    EXPECT_EQ(run(1), run(1));
    EXPECT_NE(run(1), run(2));
}

TEST_F(SimDriveTest, ChecksItsContract) {
    testing::GTEST_FLAG(death_test_style) = "threadsafe";
    EXPECT_DEATH(
        {
            make(1);
            Result<void> results[2];
            env::TaskGroup group(executor);
            group.spawn(write(*drive, 0, 8192, 1, &results[0]));
            group.spawn(write(*drive, 4096, 4096, 2, &results[1]));
        },
        "CHECK failed");
    EXPECT_DEATH(
        {
            make(1);
            (void)put(512, 4096, 1);
        },
        "CHECK failed");
    EXPECT_DEATH(
        {
            make(1);
            (void)put((1 << 20) - 4096, 8192, 1);
        },
        "CHECK failed");
}

}  // namespace
}  // namespace umbra::sim

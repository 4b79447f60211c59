#include "env/file_device.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <filesystem>

#include "env/sync.h"

namespace umbra::env {
namespace {

using base::Buffer;
using base::Bytes;
using base::Code;
using base::MutableBytes;
using base::Result;
namespace fs = std::filesystem;

std::string temporary_directory(const std::string& parent) {
    std::string path = parent + "/umbra-env-XXXXXX";
    UMBRA_CHECK(mkdtemp(path.data()) != nullptr);
    return path;
}

/// Each engine, on a disk file system with and without O_DIRECT, and on tmpfs.
struct Mode {
    DiskEngine engine;
    bool direct;
    const char* parent;
};

struct FileDeviceTest : testing::TestWithParam<Mode> {
    void SetUp() override {
        directory = temporary_directory(GetParam().parent);
        auto created = DiskIo::create(*loop, GetParam().engine);
        if (!created && created.error().code == Code::kUnsupported) GTEST_SKIP() << created.error().text();
        ASSERT_TRUE(created);
        io = std::move(*created);
        EXPECT_EQ(io->engine(), GetParam().engine);
    }
    ~FileDeviceTest() override { fs::remove_all(directory); }
    std::string make_file(const std::string& name, uint64_t bytes) {
        const std::string path = directory + "/" + name;
        const int fd = ::open(path.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
        UMBRA_CHECK(fd >= 0 && ftruncate(fd, static_cast<off_t>(bytes)) == 0);
        close(fd);
        return path;
    }
    Result<std::unique_ptr<FileDevice>> open(const std::string& path, bool lock = true) {
        FileDeviceOptions options;
        options.direct = GetParam().direct;
        options.lock = lock;
        return io->open(path, options);
    }

    std::unique_ptr<Loop> loop = std::move(*Loop::create());
    std::string directory;
    std::unique_ptr<DiskIo> io;
};

Task<void> write_one(BlockDevice& device, uint64_t offset, uint64_t seed, Result<void>* out) {
    Buffer buffer(8192);
    SeededRandom random(seed);
    for (auto& byte : buffer.span()) byte = static_cast<std::byte>(random.next());
    const std::array<Bytes, 2> spans{buffer.span(0, 4096), buffer.span(4096, 4096)};
    *out = co_await device.write(offset, spans);
}

Task<void> check_one(BlockDevice& device, uint64_t offset, uint64_t seed, bool* same) {
    Buffer buffer(8192, true);
    const std::array<MutableBytes, 2> spans{buffer.span(0, 4096), buffer.span(4096, 4096)};
    auto result = co_await device.read(offset, spans);
    *same = result.has_value();
    SeededRandom random(seed);
    for (const auto& byte : buffer.span()) *same &= byte == static_cast<std::byte>(random.next());
}

Task<void> write_and_check(Loop& loop, BlockDevice& device, size_t count, std::vector<char>* good) {
    std::vector<Result<void>> results(count);
    TaskGroup group(loop);
    for (size_t i = 0; i < count; ++i) group.spawn(write_one(device, i * 8192, i, &results[i]));
    co_await group.join();
    auto flushed = co_await device.flush();
    EXPECT_TRUE(flushed);
    const auto same = std::make_unique<bool[]>(count);
    for (size_t i = 0; i < count; ++i) group.spawn(check_one(device, i * 8192, i, &same[i]));
    co_await group.join();
    for (size_t i = 0; i < count; ++i) good->push_back(results[i] && same[i]);
}

TEST_P(FileDeviceTest, ManyOperationsAtOnceReadWhatTheyWrote) {
    constexpr size_t kCount = 2000;  // more than the ring and its completions hold
    auto device = open(make_file("d0", kCount * 8192));
    ASSERT_TRUE(device) << device.error().text();
    std::vector<char> good;
    loop->run(write_and_check(*loop, **device, kCount, &good));
    EXPECT_EQ(good.size(), kCount);
    EXPECT_THAT(good, testing::Each(true));
    if (!GetParam().direct) {
        EXPECT_FALSE((*device)->direct());
    }
}

TEST_P(FileDeviceTest, DataIsInTheFile) {
    const std::string path = make_file("d0", 1 << 20);
    {
        auto device = *open(path);
        std::vector<char> good;
        loop->run(write_and_check(*loop, *device, 4, &good));
    }
    auto again = *open(path);
    for (uint64_t i = 0; i < 4; ++i) {
        bool same = false;
        loop->run(check_one(*again, i * 8192, i, &same));
        EXPECT_TRUE(same);
    }
}

Task<void> many_spans(BlockDevice& device, size_t count, bool* same) {
    Buffer out(count * 4096);
    Buffer in(count * 4096, true);
    SeededRandom random(count);
    for (size_t i = 0; i < out.size(); i += 512) out.data()[i] = static_cast<std::byte>(random.next());
    std::vector<Bytes> from;
    std::vector<MutableBytes> into;
    for (size_t i = 0; i < count; ++i) from.push_back(out.span(i * 4096, 4096));
    for (size_t i = 0; i < count; ++i) into.push_back(in.span(i * 4096, 4096));
    auto written = co_await device.write(0, from);
    auto read = co_await device.read(0, into);
    *same = written && read && std::memcmp(in.data(), out.data(), in.size()) == 0;
}

TEST_P(FileDeviceTest, TakesMoreSpansThanOneSystemCall) {
    auto device = *open(make_file("d0", 3000 * 4096));
    bool same = false;
    loop->run(many_spans(*device, 3000, &same));
    EXPECT_TRUE(same);
}

Task<void> discard(BlockDevice& device, uint64_t offset, uint64_t bytes, Result<void>* out) {
    *out = co_await device.discard(offset, bytes);
}

TEST_P(FileDeviceTest, DiscardGivesSpaceBack) {
    const std::string path = make_file("d0", 1 << 20);
    auto device = *open(path);
    std::vector<char> good;
    loop->run(write_and_check(*loop, *device, 128, &good));
    struct stat before{};
    struct stat after{};
    ASSERT_EQ(stat(path.c_str(), &before), 0);
    Result<void> result;
    loop->run(discard(*device, 0, 1 << 20, &result));
    EXPECT_TRUE(result) << result.error().text();
    ASSERT_EQ(stat(path.c_str(), &after), 0);
    EXPECT_LT(after.st_blocks, before.st_blocks);
    EXPECT_EQ(after.st_size, before.st_size);
}

TEST_P(FileDeviceTest, RefusesWhatIsNotADrive) {
    EXPECT_EQ(open(directory + "/absent").error().code, Code::kNotFound);
    EXPECT_EQ(open(directory).error().code, Code::kInvalidArgument);
    EXPECT_EQ(open("/dev/null").error().code, Code::kInvalidArgument);
    EXPECT_EQ(open(make_file("small", 4095)).error().code, Code::kInvalidArgument);
    EXPECT_THAT(open(make_file("small", 4095)).error().message, testing::HasSubstr("small"));
    EXPECT_EQ((*open(make_file("odd", 10000)))->geometry().size_bytes, 8192u);
}

TEST_P(FileDeviceTest, IsExclusive) {
    const std::string path = make_file("d0", 1 << 20);
    auto device = *open(path);
    EXPECT_EQ(open(path).error().code, Code::kBusy);
    EXPECT_TRUE(open(path, false));
    device.reset();
    EXPECT_TRUE(open(path));
}

Task<void> read_at(BlockDevice& device, uint64_t offset, Result<void>* out) {
    Buffer buffer(4096);
    const std::array<MutableBytes, 1> spans{buffer.span()};
    *out = co_await device.read(offset, spans);
}

TEST_P(FileDeviceTest, AFileCutUnderneathIsAMediaError) {
    const std::string path = make_file("d0", 1 << 20);
    auto device = *open(path);
    ASSERT_EQ(truncate(path.c_str(), 65536), 0);
    Result<void> result;
    loop->run(read_at(*device, 65536, &result));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kMediaError);
    EXPECT_THAT(result.error().message, testing::HasSubstr(path));
}

TEST_P(FileDeviceTest, ReadOnlyDevicesRefuseWrites) {
    FileDeviceOptions options;
    options.read_only = true;
    options.direct = GetParam().direct;
    auto device = *io->open(make_file("d0", 1 << 20), options);
    Result<void> result;
    loop->run(write_one(*device, 0, 1, &result));
    ASSERT_FALSE(result);
    EXPECT_EQ(result.error().code, Code::kDeviceFailed);
}

INSTANTIATE_TEST_SUITE_P(Engines, FileDeviceTest,
                         testing::Values(Mode{DiskEngine::kUring, true, "."}, Mode{DiskEngine::kUring, false, "."},
                                         Mode{DiskEngine::kThreads, true, "."}, Mode{DiskEngine::kThreads, false, "."},
                                         Mode{DiskEngine::kUring, true, "/dev/shm"},
                                         Mode{DiskEngine::kThreads, true, "/dev/shm"}),
                         [](const auto& mode) {
                             const std::string where = mode.param.parent[0] == '.' ? "disk" : "tmpfs";
                             return (mode.param.engine == DiskEngine::kUring ? "uring_" : "threads_") + where +
                                    (mode.param.direct ? "_direct" : "_buffered");
                         });

}  // namespace
}  // namespace umbra::env

// This machine for real: root, /dev/fuse, loop devices and Debian's tgt as the target. Skipped (77) without them.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sched.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <condition_variable>
#include <cstdio>
#include <deque>
#include <filesystem>
#include <functional>
#include <mutex>
#include <random>
#include <thread>

#include "base/crc32c.h"
#include "host/attachments.h"
#include "host/disk_label.h"
#include "host/freezer.h"
#include "host/linux_host.h"
#include "host/loop.h"
#include "host/mounts.h"
#include "host/process.h"
#include "host/testing/tgt_target.h"

namespace umbra::host {
namespace {

using base::Code;
using base::Result;
using std::chrono::milliseconds;
using ::testing::ElementsAre;
using ::testing::HasSubstr;

constexpr uint64_t kLunBytes = 512ull << 20;
constexpr milliseconds kPatience{30'000};

template <class T>
std::string why(const Result<T>& result) {
    return result ? std::string("success") : result.error().text();
}
#define ASSERT_OK(...)                          \
    do {                                        \
        const auto& r_ = (__VA_ARGS__);         \
        ASSERT_TRUE(r_.has_value()) << why(r_); \
    } while (0)
template <class T>
std::string code_of(const Result<T>& result) {
    return result ? std::string("success") : std::string(base::to_string(result.error().code));
}
#define EXPECT_CODE(wanted, ...) EXPECT_EQ(code_of(__VA_ARGS__), std::string(base::to_string(wanted)))

bool eventually(const std::function<bool()>& condition) {
    const auto deadline = std::chrono::steady_clock::now() + kPatience;
    while (!condition()) {
        if (std::chrono::steady_clock::now() >= deadline) return false;
        std::this_thread::sleep_for(milliseconds(10));  // tidy: allow sleep (other processes have no event to await)
    }
    return true;
}

// Everything of this process on one thread.
class RealExecutor final : public env::Executor {
public:
    env::Instant now() const override { return {std::chrono::steady_clock::now().time_since_epoch().count()}; }
    env::WallTime wall_time() const override { return {std::chrono::system_clock::now().time_since_epoch().count()}; }
    void schedule(std::coroutine_handle<> handle) override {
        post([handle] { handle.resume(); });
    }
    env::TimerId schedule_at(env::Instant, std::coroutine_handle<>) override { std::abort(); }
    bool cancel_timer(env::TimerId) override { return false; }
    void post(std::move_only_function<void()> function) override {
        const std::lock_guard lock(mutex_);
        queue_.push_back(std::move(function));
        wake_.notify_one();
    }
    template <class T>
    T run(env::Task<T> task) {
        std::optional<T> out;
        bool done = false;
        env::spawn_detached(store(std::move(task), &out, &done));
        while (!done) {
            std::unique_lock lock(mutex_);
            wake_.wait(lock, [&] { return !queue_.empty(); });
            auto next = std::move(queue_.front());
            queue_.pop_front();
            lock.unlock();
            next();
        }
        return std::move(*out);
    }
    void run(env::Task<void> task) { run(as_value(std::move(task))); }

private:
    static env::Task<bool> as_value(env::Task<void> task) {
        co_await std::move(task);
        co_return true;
    }
    template <class T>
    static env::Task<void> store(env::Task<T> task, std::optional<T>* out, bool* done) {
        out->emplace(co_await std::move(task));
        *done = true;
    }
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::move_only_function<void()>> queue_;
};

class HostSystem : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/umbra-host-test-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        directory_ = name;
        config_.run_dir = directory_ + "/run";
        config_.device_dir = directory_ + "/dev";
        config_.initiator_iqn = "iqn.2026-01.test.umbra:host-a";
        config_.initiator_program = UMBRA_INITIATOR;
        config_.freezer_program = UMBRA_FREEZER;
        auto target = testing::TgtTarget::start(directory_, 3, kLunBytes);
        ASSERT_OK(target);
        target_ = std::move(*target);
        config_.portals = {target_->portal()};
        attachments_ = std::make_unique<Attachments>(config_);
        auto session = IscsiSession::login(target_->portal(), target_->iqn(), config_.initiator_iqn, 20);
        ASSERT_OK(session);
        for (uint32_t lun = 1; lun <= 3; ++lun) {
            auto facts = (*session)->read_facts(lun);
            ASSERT_OK(facts);
            luns_.push_back(facts->identity);
        }
    }

    void TearDown() override {
        if (attachments_ == nullptr) return;
        if (target_ != nullptr) target_->continue_process();
        static_cast<void>(thaw_leftovers(config_.freeze_dir()));
        const auto mounts = read_mounts();
        if (mounts) {
            for (auto at = mounts->rbegin(); at != mounts->rend(); ++at) {
                if (at->mount_point.starts_with(directory_ + "/") && !at->fs_type.starts_with("fuse"))
                    static_cast<void>(unmount(at->mount_point));
            }
        }
        const auto all = attachments_->list();
        if (all) {
            for (const Attachment& attachment : *all)
                EXPECT_TRUE(attachments_->detach_file(attachment.file)) << attachment.file;
        }
        target_.reset();
        // Nothing of ours is left behind.
        const auto after = read_mounts();
        ASSERT_TRUE(after);
        for (const MountEntry& mount : *after)
            EXPECT_FALSE(mount.mount_point.starts_with(directory_)) << mount.mount_point;
        for (const std::string& loop : list_directory("/sys/block")) {
            const auto backing = read_file("/sys/block/" + loop + "/loop/backing_file");
            EXPECT_FALSE(backing && backing->starts_with(directory_)) << loop;
        }
        std::filesystem::remove_all(directory_);
    }

    IscsiPath path(uint32_t lun) const { return {target_->portal(), target_->iqn(), lun}; }
    Result<Attachment> attach(uint32_t lun, bool read_only = false) {
        return attachments_->attach(path(lun), luns_[lun - 1].key(), read_only);
    }
    std::string make_dir(const std::string& name) {
        const std::string out = directory_ + "/" + name;
        EXPECT_TRUE(make_directories(out, 0755));
        return out;
    }
    // "reads", "flushes", … of the initiator behind a file.
    static uint64_t counter(const Attachment& attachment, const std::string& name) {
        const auto output =
            run_program({"getfattr", "--only-values", "-n", "user.umbra.stats", "--absolute-names", attachment.file});
        if (!output) return 0;
        const size_t at = output->text.find(name + "=");
        return at == std::string::npos ? 0 : std::stoull(output->text.substr(at + name.size() + 1));
    }

    std::string directory_;
    HostConfig config_;
    std::unique_ptr<testing::TgtTarget> target_;
    std::unique_ptr<Attachments> attachments_;
    std::vector<LunIdentity> luns_;
};

int shell(const std::string& command) {
    const auto output = run_program({"sh", "-c", command});
    if (!output) return -1;
    if (output->status != 0) std::printf("%s: %d\n%s\n", command.c_str(), output->status, output->text.c_str());
    return output->status;
}

uint32_t checksum(const std::string& file) {
    Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    base::Buffer buffer(1u << 20);
    uint32_t crc = 0;
    for (;;) {
        const ssize_t got = ::read(fd.get(), buffer.data(), buffer.size());
        if (got <= 0) break;
        crc = base::crc32c(buffer.span(0, static_cast<size_t>(got)), crc);
    }
    return crc;
}

// Random writes of any sector-aligned size by many threads at once with O_DIRECT, each in a region of its own, against
// a model in memory. `meanwhile` runs while they write.
void hammer(const std::string& device, uint64_t region_bytes, unsigned threads, int writes,
            std::vector<std::byte>& model, const std::function<void()>& meanwhile = {}) {
    model.resize(region_bytes * threads);
    std::atomic<int> failures{0};
    std::vector<std::thread> workers;
    for (unsigned t = 0; t < threads; ++t) {
        workers.emplace_back([&, t] {
            std::mt19937_64 random(1000 + t);
            Fd fd(::open(device.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
            base::Buffer buffer(2u << 20, true);
            for (int i = 0; i < writes; ++i) {
                const uint64_t limit = i % 8 == 0 ? 3000 : 64;
                const uint64_t sectors = 1 + random() % limit;
                const uint64_t at = (random() % (region_bytes / 512 - sectors)) * 512;
                const size_t bytes = sectors * 512;
                for (size_t b = 0; b < bytes; b += 8) base::store_le<uint64_t>(buffer.data() + b, random());
                const uint64_t offset = t * region_bytes + at;
                if (::pwrite(fd.get(), buffer.data(), bytes, static_cast<off_t>(offset)) != static_cast<ssize_t>(bytes))
                    ++failures;
                std::memcpy(model.data() + offset, buffer.data(), bytes);
                // Read back what lies around it too.
                if (i % 4 == 0 && ::pread(fd.get(), buffer.data(), bytes, static_cast<off_t>(offset)) ==
                                      static_cast<ssize_t>(bytes)) {
                    if (std::memcmp(buffer.data(), model.data() + offset, bytes) != 0) ++failures;
                }
            }
            if (::fsync(fd.get()) != 0) ++failures;
        });
    }
    if (meanwhile) meanwhile();
    for (std::thread& worker : workers) worker.join();
    EXPECT_EQ(failures.load(), 0);
}

// First byte that differs, or -1.
int64_t difference(const std::string& file, const std::vector<std::byte>& model) {
    Fd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
    base::Buffer buffer(1u << 20);
    for (size_t at = 0; at < model.size();) {
        const ssize_t got =
            ::pread(fd.get(), buffer.data(), std::min(buffer.size(), model.size() - at), static_cast<off_t>(at));
        if (got <= 0) return static_cast<int64_t>(at);
        if (std::memcmp(buffer.data(), model.data() + at, static_cast<size_t>(got)) != 0)
            return static_cast<int64_t>(at);
        at += static_cast<size_t>(got);
    }
    return -1;
}

TEST_F(HostSystem, ManyWritesInFlightArriveAsWritten) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    std::vector<std::byte> model;
    hammer(lun->device, 4u << 20, 16, 150, model);
    ASSERT_OK(drop_caches(lun->device));
    EXPECT_EQ(difference(lun->device, model), -1);
    // And below, in the target's own file.
    EXPECT_EQ(difference(target_->image(1), model), -1);
    EXPECT_GT(counter(*lun, "flushes"), 0u);
    EXPECT_EQ(counter(*lun, "errors"), 0u);
    EXPECT_EQ(counter(*lun, "in_flight"), 0u);
}

TEST_F(HostSystem, DiscardedAndZeroedRangesReadAsZeros) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    std::vector<std::byte> model;
    hammer(lun->device, 4u << 20, 4, 60, model);
    Fd fd(::open(lun->device.c_str(), O_RDWR | O_CLOEXEC));
    ASSERT_TRUE(fd);
    uint64_t discard[2] = {1u << 20, 3u << 20};
    ASSERT_EQ(::ioctl(fd.get(), BLKDISCARD, discard), 0);
    std::fill_n(model.begin() + (1 << 20), 3 << 20, std::byte{0});
    uint64_t zero[2] = {(9u << 20) + 512, (1u << 20) + 1024};
    ASSERT_EQ(::ioctl(fd.get(), BLKZEROOUT, zero), 0);
    std::fill_n(model.begin() + (9 << 20) + 512, (1 << 20) + 1024, std::byte{0});
    ASSERT_EQ(::fsync(fd.get()), 0);
    fd.reset();
    ASSERT_OK(drop_caches(lun->device));
    EXPECT_EQ(difference(lun->device, model), -1);
    EXPECT_EQ(difference(target_->image(1), model), -1);
    EXPECT_GT(counter(*lun, "unmaps"), 0u);
}

TEST_F(HostSystem, ReadOnlyAttachmentTakesNoWrite) {
    const auto lun = attach(1, true);
    ASSERT_OK(lun);
    EXPECT_TRUE(lun->read_only);
    Fd fd(::open(lun->device.c_str(), O_RDWR | O_CLOEXEC));
    char sector[512] = {};
    EXPECT_TRUE(!fd || ::pwrite(fd.get(), sector, sizeof sector, 0) < 0);
    Fd direct(::open(lun->file.c_str(), O_RDWR | O_CLOEXEC));
    EXPECT_FALSE(direct);
    EXPECT_CODE(Code::kBadState, attach(1, false));
}

TEST_F(HostSystem, AnotherLunThanExpectedIsRefusedAndNothingStays) {
    EXPECT_CODE(Code::kNotFound, attachments_->attach(path(1), luns_[1].key(), false));
    const auto all = attachments_->list();
    ASSERT_OK(all);
    EXPECT_TRUE(all->empty());
}

TEST_F(HostSystem, ANewServiceFindsWhatAnEarlierOneAttached) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    Attachments again(config_);
    const auto all = again.list();
    ASSERT_OK(all);
    ASSERT_EQ(all->size(), 1u);
    EXPECT_EQ(all->front().device, lun->device);
    EXPECT_EQ(all->front().pid, lun->pid);
    EXPECT_EQ(all->front().lun, luns_[0]);
    const auto same = again.attach(path(1), luns_[0].key(), false);
    ASSERT_OK(same);
    EXPECT_EQ(same->device, lun->device);
    ASSERT_OK(again.detach(luns_[0]));
    // Its parent is the machine's first process, which may take its time to collect it.
    EXPECT_TRUE(eventually([&] {
        const auto status = read_file("/proc/" + std::to_string(lun->pid) + "/stat");
        return !status || status->find(") Z ") != std::string::npos;
    }));
    ASSERT_OK(again.detach(luns_[0]));
}

TEST_F(HostSystem, ReconnectsAndRepeatsWhatWasInFlight) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    std::vector<std::byte> model;
    hammer(lun->device, 4u << 20, 8, 400, model, [&] {
        EXPECT_TRUE(eventually([&] { return counter(*lun, "writes") > 300; }));
        ASSERT_OK(target_->restart());
    });
    ASSERT_OK(drop_caches(lun->device));
    EXPECT_EQ(difference(lun->device, model), -1);
    EXPECT_EQ(counter(*lun, "errors"), 0u);
    EXPECT_GT(counter(*lun, "reconnects"), 0u);
}

TEST_F(HostSystem, KilledInitiatorIsClearedUpAndAttachedAgain) {
    auto lun = attach(1);
    ASSERT_OK(lun);
    ASSERT_OK(make_file_system(lun->device, "ext4"));
    const std::string mount = make_dir("mnt");
    ASSERT_OK(mount_device(lun->device, "ext4", mount, "rw"));
    ASSERT_EQ(shell("echo precious > " + mount + "/file && sync -f " + mount), 0);
    ASSERT_EQ(::kill(lun->pid, SIGKILL), 0);
    ASSERT_TRUE(eventually([&] {
        const auto all = attachments_->list();
        return all && all->size() == 1 && all->front().dead;
    }));
    // While the dead file system is mounted nothing is done behind its back.
    EXPECT_CODE(Code::kBusy, attach(1));
    ASSERT_OK(unmount(mount));
    lun = attach(1);
    ASSERT_OK(lun);
    ASSERT_OK(mount_device(lun->device, "ext4", mount, "rw"));
    EXPECT_EQ(shell("grep -q precious " + mount + "/file"), 0);
    ASSERT_OK(unmount(mount));
    EXPECT_EQ(shell("e2fsck -fn " + lun->device), 0);
}

TEST_F(HostSystem, RefusesAFileSystemOnAnythingButZeros) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    // No signature, one byte far in.
    Fd fd(::open(lun->device.c_str(), O_RDWR | O_CLOEXEC));
    char sector[512] = {};
    sector[511] = 1;
    ASSERT_EQ(::pwrite(fd.get(), sector, sizeof sector, 3 << 20), 512);
    ASSERT_EQ(::fsync(fd.get()), 0);
    EXPECT_CODE(Code::kBadState, make_file_system(lun->device, "ext4"));
    sector[511] = 0;
    ASSERT_EQ(::pwrite(fd.get(), sector, sizeof sector, 3 << 20), 512);
    // In the middle: only the thorough look finds it.
    sector[0] = 1;
    ASSERT_EQ(::pwrite(fd.get(), sector, sizeof sector, 200 << 20), 512);
    ASSERT_EQ(::fsync(fd.get()), 0);
    EXPECT_TRUE(is_blank(lun->device, false).value_or(false));
    EXPECT_FALSE(is_blank(lun->device, true).value_or(true));
    fd.reset();
    ASSERT_OK(make_file_system(lun->device, "xfs"));
    EXPECT_CODE(Code::kBadState, make_file_system(lun->device, "ext4"));
    EXPECT_CODE(Code::kInvalidArgument, make_file_system(lun->device, "ntfs"));
}

TEST_F(HostSystem, PartitionsFlagsAndSignatures) {
    auto lun = attach(1);
    ASSERT_OK(lun);
    ASSERT_EQ(shell("sgdisk -n 1:2048:+100M -n 2:0:0 " + lun->device), 0);
    ASSERT_OK(add_partitions(lun->device));
    ASSERT_OK(add_partitions(lun->device));
    EXPECT_EQ(kernel_partitions(lun->device).size(), 2u);
    const Machine machine(config_.attach_dir());
    const auto volumes = machine.volumes_on(lun->device);
    ASSERT_OK(volumes);
    ASSERT_EQ(volumes->size(), 2u);
    EXPECT_EQ((*volumes)[0].name, volume_name(luns_[0].key(), 1));
    EXPECT_THAT((*volumes)[0].extents, ElementsAre(VolumeExtent{0, 0, 2048 * 512, 100u << 20}));
    // A mounted file system does not mind its table's bits being written.
    ASSERT_OK(make_file_system((*volumes)[0].device, "ext4"));
    const std::string mount = make_dir("mnt");
    ASSERT_OK(mount_device((*volumes)[0].device, "ext4", mount, "rw"));
    const uint32_t flags = kFlagReadOnly | kFlagHidden | kFlagNoDriveLetter | kFlagShadowCopy;
    const auto written = write_disk_flags(lun->device, flags);
    ASSERT_OK(written);
    EXPECT_EQ(written->place, FlagPlace::kOnDisk);
    EXPECT_EQ(shell("sgdisk -v " + target_->image(1) + " | grep -q 'No problems'"), 0);
    EXPECT_EQ(shell("sgdisk -i 2 " + target_->image(1) + " | grep -qi 'flags: F000000000000000'"), 0);
    EXPECT_EQ(read_disk_flags(lun->device)->flags, flags);
    ASSERT_OK(write_disk_flags(lun->device, kFlagHidden));
    EXPECT_EQ(read_disk_flags(lun->device)->flags, kFlagHidden);
    ASSERT_OK(write_disk_flags(lun->device, 0));
    EXPECT_EQ(read_disk_flags(lun->device)->flags, 0u);

    auto signature = read_disk_signature(lun->device);
    ASSERT_OK(signature);
    EXPECT_EQ(signature->kind, TableKind::kGpt);
    ASSERT_EQ(signature->partition_guids.size(), 2u);
    DiskSignature changed = *signature;
    changed.gpt_guid = base::Guid::from_random(7, 8);
    changed.partition_guids[1].second = base::Guid::from_random(9, 10);
    ASSERT_OK(write_disk_signature(lun->device, changed));
    EXPECT_EQ(*read_disk_signature(lun->device), changed);
    EXPECT_EQ(shell("sgdisk -v " + target_->image(1) + " | grep -q 'No problems'"), 0);
    EXPECT_CODE(Code::kUnsupported, write_disk_signature(lun->device, DiskSignature{TableKind::kMbr, 5, {}, {}}));
    // On another disk, the identity of this one.
    RealExecutor executor;
    LinuxHost host(executor, config_, *attachments_);
    const auto second = attach(2);
    ASSERT_OK(second);
    const auto none = executor.run(host.read_signature(second->device));
    ASSERT_OK(none);
    EXPECT_EQ(none->kind, TableKind::kNone);
    EXPECT_EQ(write_disk_flags(second->device, flags)->place, FlagPlace::kArrayRecord);
    const uint32_t before = checksum(target_->image(2));
    ASSERT_OK(executor.run(host.write_signature(second->device, DiskSignature{})));
    EXPECT_EQ(checksum(target_->image(2)), before);
    ASSERT_EQ(shell("sgdisk -n 1:2048:+100M " + second->device), 0);
    EXPECT_CODE(Code::kAlreadyExists, executor.run(host.write_signature(second->device, changed)));

    EXPECT_CODE(Code::kBusy, attachments_->detach(luns_[0]));
    ASSERT_OK(unmount(mount));
    ASSERT_OK(attachments_->detach(luns_[0]));
    // The next user of that loop device has no partitions of ours.
    EXPECT_TRUE(kernel_partitions(lun->device).empty());
    lun = attach(1);
    ASSERT_OK(lun);
    EXPECT_EQ(kernel_partitions(lun->device).size(), 2u);
}

TEST_F(HostSystem, MbrSignature) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    ASSERT_EQ(shell("printf 'label: dos\\nlabel-id: 0x12345678\\nstart=2048,type=83\\n' | sfdisk -q --no-reread " +
                    lun->device),
              0);
    auto signature = read_disk_signature(lun->device);
    ASSERT_OK(signature);
    EXPECT_EQ(signature->kind, TableKind::kMbr);
    EXPECT_EQ(signature->mbr_id, 0x12345678u);
    signature->mbr_id = 0x0badcafe;
    ASSERT_OK(write_disk_signature(lun->device, *signature));
    EXPECT_EQ(shell("sfdisk --disk-id " + target_->image(1) + " | grep -qi 0x0badcafe"), 0);
    EXPECT_EQ(write_disk_flags(lun->device, kFlagHidden)->place, FlagPlace::kArrayRecord);
}

TEST_F(HostSystem, ResolvesEveryNameOfAVolume) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    ASSERT_OK(make_file_system(lun->device, "ext4"));
    const std::string mount = make_dir("a b");
    ASSERT_OK(mount_device(lun->device, "ext4", mount, "rw"));
    const Machine machine(config_.attach_dir());
    const auto volume = machine.resolve(mount);
    ASSERT_OK(volume);
    EXPECT_EQ(volume->device, lun->device);
    EXPECT_EQ(volume->fs_type, "ext4");
    EXPECT_TRUE(volume->freezable);
    EXPECT_EQ(volume->name, volume_name(luns_[0].key(), 0));
    ASSERT_EQ(volume->luns.size(), 1u);
    EXPECT_EQ(volume->luns[0], luns_[0]);
    EXPECT_THAT(volume->extents, ElementsAre(VolumeExtent{0, 0, 0, kLunBytes}));
    ASSERT_EQ(::symlink(lun->device.c_str(), (directory_ + "/link").c_str()), 0);
    std::string bare = volume->name;
    bare.pop_back();
    for (const std::string& name : {mount + "/", lun->device, directory_ + "/link", volume->name, bare}) {
        const auto same = machine.resolve(name);
        ASSERT_OK(same);
        EXPECT_EQ(same->device, lun->device) << name;
    }
    ASSERT_EQ(shell("mkdir '" + mount + "/inside'"), 0);
    EXPECT_CODE(Code::kNotFound, machine.resolve(mount + "/inside"));
    EXPECT_CODE(Code::kNotFound, machine.resolve("/proc"));
    EXPECT_CODE(Code::kNotFound, machine.resolve(volume_name("naa.0", 0)));
    EXPECT_CODE(Code::kNotFound, machine.resolve(directory_ + "/none"));
}

// Writes and syncs files until told to stop. Counts what was done.
class Writer {
public:
    explicit Writer(std::string directory)
        : directory_(std::move(directory)), thread_([this] {
              for (int i = 0; !stop_; ++i) {
                  const std::string name = directory_ + "/f" + std::to_string(i % 200);
                  Fd fd(::open(name.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644));
                  const std::string text(static_cast<size_t>(1 + i % 9000), static_cast<char>('a' + i % 26));
                  if (fd && ::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size()) &&
                      i % 8 == 0)
                      ::fsync(fd.get());
                  if (i % 5 == 0) ::unlink((directory_ + "/f" + std::to_string((i + 100) % 200)).c_str());
                  ++count_;
              }
          }) {}
    ~Writer() {
        stop_ = true;
        thread_.join();
    }
    int count() const { return count_; }
    bool moves() const {
        const int before = count_;
        return eventually([&] { return count_ > before + 1; });
    }

private:
    std::string directory_;
    std::atomic<bool> stop_{false};
    std::atomic<int> count_{0};
    std::thread thread_;
};

class Freezing : public HostSystem, public ::testing::WithParamInterface<const char*> {
protected:
    void SetUp() override {
        HostSystem::SetUp();
        if (HasFatalFailure()) return;
        auto lun = attach(1);
        ASSERT_OK(lun);
        lun_ = *lun;
        ASSERT_OK(make_file_system(lun_.device, GetParam()));
        mount_ = make_dir("mnt");
        ASSERT_OK(mount_device(lun_.device, GetParam(), mount_, "rw"));
    }
    Result<std::unique_ptr<FreezeWatch>> watch(milliseconds grace = milliseconds(120'000)) {
        return FreezeWatch::start(UMBRA_FREEZER, config_.freeze_dir(), set_, {{mount_, false, {}}}, grace);
    }
    // True when the kernel says so: a frozen file system cannot be frozen again.
    bool frozen() const {
        Fd fd(::open(mount_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        if (::ioctl(fd.get(), FIFREEZE, 0) != 0) return errno == EBUSY;
        ::ioctl(fd.get(), FITHAW, 0);
        return false;
    }
    Attachment lun_;
    std::string mount_;
    base::Guid set_ = base::Guid::from_random(1, 1);
};
INSTANTIATE_TEST_SUITE_P(FileSystems, Freezing, ::testing::Values("ext4", "xfs"));

TEST_P(Freezing, HoldsWritersAndGivesACleanImageThatAMountDoesNotChange) {
    Writer writer(mount_);
    ASSERT_TRUE(writer.moves());
    // The control: a copy that is not frozen needs its journal.
    const std::string torn = directory_ + "/torn.img";
    ASSERT_EQ(shell("cp --sparse=always " + target_->image(1) + " " + torn), 0);
    auto watching = watch();
    ASSERT_OK(watching);
    ASSERT_OK((*watching)->freeze({}));
    EXPECT_TRUE((*watching)->is_frozen());
    const uint64_t writes = counter(lun_, "written_bytes");
    const std::string copy = directory_ + "/copy.img";
    ASSERT_EQ(shell("cp --sparse=always " + target_->image(1) + " " + copy), 0);
    EXPECT_EQ(counter(lun_, "written_bytes"), writes) << "written while frozen";
    const int held_at = writer.count();
    EXPECT_TRUE((*watching)->is_frozen());
    EXPECT_LE(writer.count(), held_at + 1);
    ASSERT_OK((*watching)->thaw());
    EXPECT_FALSE((*watching)->is_frozen());
    EXPECT_TRUE(writer.moves());
    watching->reset();
    EXPECT_TRUE(list_directory(config_.freeze_dir()).size() <= 1) << "a state file stays";

    const std::string at = make_dir("copy");
    const auto loop = attach_loop(copy, true, 512);
    ASSERT_OK(loop);
    const uint32_t before = checksum(copy);
    const std::string type = GetParam();
    if (type == "ext4") {
        EXPECT_EQ(shell("e2fsck -fn " + copy), 0);
        EXPECT_EQ(shell("dumpe2fs -h " + copy + " 2>/dev/null | grep -q needs_recovery"), 1);
        EXPECT_EQ(shell("dumpe2fs -h " + torn + " 2>/dev/null | grep -q needs_recovery"), 0);
    }
    const auto mounted = mount_untouched(*loop, type, at);
    EXPECT_TRUE(mounted) << why(mounted);
    if (mounted) {
        EXPECT_EQ(shell("cat " + at + "/f* > /dev/null"), 0);
        EXPECT_FALSE(list_directory(at).empty());
        EXPECT_TRUE(unmount(at));
    }
    ASSERT_OK(detach_loop(*loop, milliseconds(5000)));
    EXPECT_EQ(checksum(copy), before);
}

TEST_P(Freezing, TheWatchdogThawsWhenTheHoldIsOver) {
    Writer writer(mount_);
    auto watching = watch();
    ASSERT_OK(watching);
    FreezeLimits limits;
    limits.hold = milliseconds(300);
    ASSERT_OK((*watching)->freeze(limits));
    EXPECT_TRUE(writer.moves());
    EXPECT_FALSE((*watching)->is_frozen());
    EXPECT_CODE(Code::kTimedOut, (*watching)->thaw());
    EXPECT_FALSE(frozen());
}

TEST_P(Freezing, WhatIsMountedElsewhereNowIsNotFrozen) {
    // Unmounted since it was looked at: the directory belongs to the file system above.
    struct stat status{};
    ASSERT_EQ(::stat(mount_.c_str(), &status), 0);
    const uint64_t device = status.st_dev;
    const auto start = [&](FreezeTarget target) {
        return FreezeWatch::start(UMBRA_FREEZER, config_.freeze_dir(), set_, {std::move(target)},
                                  milliseconds(120'000));
    };
    FreezeTarget mounted{mount_, false, {}, device};
    ASSERT_OK(start(mounted));
    FreezeTarget unmounted{lun_.device, true, {}, device, true};
    EXPECT_CODE(Code::kIo, start(unmounted)) << "it was mounted since it was looked at";
    ASSERT_OK(unmount(mount_));
    EXPECT_CODE(Code::kBadState, start(mounted));
    {
        auto claimed = start(unmounted);
        ASSERT_OK(claimed);
        EXPECT_NE(shell("mount " + lun_.device + " " + mount_ + " 2>/dev/null"), 0) << "mounted under the freeze";
        ASSERT_OK((*claimed)->freeze({}));
        ASSERT_OK((*claimed)->thaw());
    }
    unmounted.device = device + 1;
    EXPECT_CODE(Code::kBadState, start(unmounted)) << "another device of that name";
    ASSERT_EQ(shell("mount " + lun_.device + " " + mount_), 0);
}

TEST_P(Freezing, ASomeoneElsesThawIsNoticed) {
    auto watching = watch();
    ASSERT_OK(watching);
    ASSERT_OK((*watching)->freeze({}));
    EXPECT_TRUE(frozen());
    ASSERT_EQ(shell("fsfreeze -u " + mount_), 0);
    EXPECT_CODE(Code::kTimedOut, (*watching)->thaw());
}

TEST_P(Freezing, WhatSomebodyElseFrozeStaysHis) {
    auto watching = watch();
    ASSERT_OK(watching);
    ASSERT_EQ(shell("fsfreeze -f " + mount_), 0);
    EXPECT_CODE(Code::kBusy, (*watching)->freeze({}));
    watching->reset();
    EXPECT_TRUE(frozen());
    ASSERT_EQ(shell("fsfreeze -u " + mount_), 0);
}

TEST_P(Freezing, ThawsWhenItsParentIsKilled) {
    Writer writer(mount_);
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        auto watching = watch();
        FreezeLimits limits;
        limits.hold = milliseconds(600'000);
        const bool ok = watching && (*watching)->freeze(limits);
        [[maybe_unused]] const ssize_t n = ::write(ends[1], ok ? "y" : "n", 1);
        ::pause();
        ::_exit(0);
    }
    char answer = 0;
    ASSERT_EQ(::read(ends[0], &answer, 1), 1);
    ::close(ends[0]);
    ::close(ends[1]);
    ASSERT_EQ(answer, 'y');
    EXPECT_TRUE(frozen());
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    static_cast<void>(wait_child(child));
    EXPECT_TRUE(eventually([&] { return !frozen(); }));
    EXPECT_TRUE(writer.moves());
    EXPECT_TRUE(
        eventually([&] { return !std::filesystem::exists(config_.freeze_dir() + "/" + set_.text() + ".freeze"); }));
}

TEST_P(Freezing, ThawsWhenTheWatchdogIsKilled) {
    Writer writer(mount_);
    auto watching = watch();
    ASSERT_OK(watching);
    FreezeLimits limits;
    limits.hold = milliseconds(600'000);
    ASSERT_OK((*watching)->freeze(limits));
    EXPECT_TRUE(frozen());
    ASSERT_EQ(::kill((*watching)->pid(), SIGKILL), 0);
    EXPECT_TRUE(writer.moves());
    EXPECT_FALSE((*watching)->is_frozen());
    EXPECT_CODE(Code::kTimedOut, (*watching)->thaw());
    watching->reset();
    EXPECT_FALSE(std::filesystem::exists(config_.freeze_dir() + "/" + set_.text() + ".freeze"));
}

TEST_P(Freezing, AWatchdogThatStandsStillIsReplaced) {
    Writer writer(mount_);
    auto watching = watch();
    ASSERT_OK(watching);
    FreezeLimits limits;
    limits.hold = milliseconds(300);
    ASSERT_OK((*watching)->freeze(limits));
    ASSERT_EQ(::kill((*watching)->pid(), SIGSTOP), 0);
    // Nobody else keeps the time now.
    EXPECT_TRUE(writer.moves());
    EXPECT_FALSE((*watching)->is_frozen());
    EXPECT_CODE(Code::kTimedOut, (*watching)->thaw());
    EXPECT_FALSE(frozen());
    watching->reset();
    EXPECT_FALSE(std::filesystem::exists(config_.freeze_dir() + "/" + set_.text() + ".freeze"));
}

TEST_P(Freezing, ALivingWatchdogKeepsItsStateFile) {
    auto watching = watch();
    ASSERT_OK(watching);
    const std::string file = config_.freeze_dir() + "/" + set_.text() + ".freeze";
    ASSERT_EQ(::kill((*watching)->pid(), SIGSTOP), 0);
    ASSERT_OK(thaw_leftovers(config_.freeze_dir()));
    EXPECT_TRUE(std::filesystem::exists(file)) << "what it freezes later would stay so if both died";
    ASSERT_EQ(::kill((*watching)->pid(), SIGCONT), 0);
    watching->reset();
}

TEST_P(Freezing, AMountedFileSystemIsFrozenHoweverItIsMounted) {
    const Machine machine(config_.attach_dir());
    const std::string sub = mount_ + "/sub";
    const std::string bound = make_dir("bound");
    ASSERT_EQ(shell("mkdir " + sub + " && mount --bind " + sub + " " + bound + " && umount " + mount_), 0);
    // Only a directory of it is mounted.
    auto volume = machine.resolve(lun_.device);
    ASSERT_OK(volume);
    EXPECT_TRUE(volume->mounted());
    EXPECT_TRUE(volume->freezable);
    EXPECT_THAT(volume->mount_points, ElementsAre());
    EXPECT_EQ(volume->mount_point, bound);
    RealExecutor executor;
    LinuxHost host(executor, config_, *attachments_);
    ASSERT_OK(executor.run(host.prepare_freeze(set_, {*volume})));
    ASSERT_OK(executor.run(host.freeze(set_, {})));
    {
        Fd fd(::open(bound.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
        EXPECT_EQ(::ioctl(fd.get(), FIFREEZE, 0) == 0 ? 0 : errno, EBUSY) << "it is not frozen";
    }
    ASSERT_OK(executor.run(host.thaw(set_)));
    executor.run(host.end_freeze(set_));
    // Read-only here, written there.
    ASSERT_OK(mount_device(lun_.device, GetParam(), mount_, "rw"));
    ASSERT_EQ(shell("mount -o remount,bind,ro " + bound), 0);
    volume = machine.resolve(lun_.device);
    ASSERT_OK(volume);
    EXPECT_FALSE(volume->mounted_read_only);
    EXPECT_TRUE(volume->freezable);
    ASSERT_EQ(shell("umount " + bound), 0);
    ASSERT_EQ(shell("mount -o remount,ro " + mount_), 0);
    volume = machine.resolve(lun_.device);
    ASSERT_OK(volume);
    EXPECT_TRUE(volume->mounted_read_only);
    ASSERT_EQ(shell("mount -o remount,rw " + mount_), 0);
    // Mounted where this process does not look.
    ASSERT_EQ(shell("umount " + mount_), 0);
    int ends[2];
    ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const bool ok = ::unshare(CLONE_NEWNS) == 0 &&
                        ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) == 0 &&
                        ::mount(lun_.device.c_str(), mount_.c_str(), GetParam(), 0, nullptr) == 0;
        [[maybe_unused]] const ssize_t n = ::write(ends[1], ok ? "y" : "n", 1);
        ::pause();
        ::_exit(0);
    }
    char answer = 0;
    ASSERT_EQ(::read(ends[0], &answer, 1), 1);
    ::close(ends[0]);
    ::close(ends[1]);
    volume = machine.resolve(lun_.device);
    const auto refused = volume ? executor.run(host.prepare_freeze(set_, {*volume})) : Result<void>();
    executor.run(host.end_freeze(set_));
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    static_cast<void>(wait_child(child));
    ASSERT_EQ(answer, 'y');
    ASSERT_OK(volume);
    EXPECT_FALSE(volume->mounted());
    EXPECT_CODE(Code::kUnsupported, refused);
}

TEST_P(Freezing, NothingIsLeftToThawOfAFreezeThatWasNeverAsked) {
    {
        auto watching = watch();
        ASSERT_OK(watching);
        ASSERT_EQ(::kill((*watching)->pid(), SIGKILL), 0);
        EXPECT_TRUE(
            eventually([&] { return !std::filesystem::exists(config_.freeze_dir() + "/" + set_.text() + ".freeze"); }));
    }
    // One that cannot be prepared: what would be frozen holds the state file.
    const auto refused =
        FreezeWatch::start(config_.freezer_program, mount_ + "/state", set_, {{mount_, false, ""}}, milliseconds(1000));
    EXPECT_FALSE(refused);
    EXPECT_FALSE(std::filesystem::exists(mount_ + "/state/" + set_.text() + ".freeze"));
}

TEST_P(Freezing, ARestartThawsWhatBothDeathsLeft) {
    const pid_t child = ::fork();
    if (child == 0) {
        auto watching = watch();
        FreezeLimits limits;
        limits.hold = milliseconds(600'000);
        if (!watching || !(*watching)->freeze(limits)) ::_exit(1);
        // Both at once: neither can thaw for the other.
        ::kill(::getpid(), SIGSTOP);
        ::_exit(2);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, WUNTRACED), child);
    ASSERT_TRUE(WIFSTOPPED(status));
    // The watchdog is the child's only child.
    const auto children = read_file("/proc/" + std::to_string(child) + "/task/" + std::to_string(child) + "/children");
    std::string list = children ? *children : "";
    if (list.empty()) {
        const auto found = run_program({"pgrep", "-P", std::to_string(child)});
        ASSERT_OK(found);
        list = found->text;
    }
    ASSERT_EQ(::kill(std::stoi(list), SIGKILL), 0);
    ASSERT_EQ(::kill(child, SIGKILL), 0);
    static_cast<void>(wait_child(child));
    EXPECT_TRUE(frozen());
    const auto thawed = thaw_leftovers(config_.freeze_dir());
    ASSERT_OK(thawed);
    EXPECT_THAT(*thawed, ElementsAre(mount_));
    EXPECT_FALSE(frozen());
}

TEST_P(Freezing, ADeadlineDuringAHangingFreezeThawsAfterwards) {
    Writer writer(mount_);
    auto watching = watch();
    ASSERT_OK(watching);
    ASSERT_EQ(shell("dd if=/dev/urandom of=" + mount_ + "/dirty bs=1M count=4 status=none"), 0);
    target_->stop_process();
    FreezeLimits limits;
    limits.flush = milliseconds(300);
    Result<void> frozen_result;
    std::thread freezing([&] { frozen_result = (*watching)->freeze(limits); });
    std::this_thread::sleep_for(2 * limits.flush);  // tidy: allow sleep (the deadline has to pass)
    target_->continue_process();
    freezing.join();
    EXPECT_CODE(Code::kTimedOut, frozen_result);
    EXPECT_TRUE(writer.moves());
    EXPECT_TRUE(eventually([&] { return !frozen(); }));
}

TEST_P(Freezing, AHangingThawEndsByAbortingTheConnectionBelow) {
    ::mount("fusectl", "/sys/fs/fuse/connections", "fusectl", 0, nullptr);
    struct stat status{};
    ASSERT_EQ(::stat(lun_.file.c_str(), &status), 0);
    const std::string abort_file = "/sys/fs/fuse/connections/" + std::to_string(minor(status.st_dev)) + "/abort";
    ASSERT_EQ(::access(abort_file.c_str(), W_OK), 0);
    auto watching =
        FreezeWatch::start(UMBRA_FREEZER, config_.freeze_dir(), set_, {{mount_, false, abort_file}}, milliseconds(500));
    ASSERT_OK(watching);
    ASSERT_EQ(shell("dd if=/dev/urandom of=" + mount_ + "/dirty bs=1M count=4 status=none"), 0);
    target_->stop_process();
    FreezeLimits limits;
    limits.flush = milliseconds(200);
    EXPECT_CODE(Code::kTimedOut, (*watching)->freeze(limits));
    // Nobody wakes the target up: the file system fails instead of hanging for ever.
    EXPECT_TRUE(eventually([&] { return !frozen(); }));
    watching->reset();
    EXPECT_TRUE(unmount(mount_));
    target_->continue_process();
}

TEST_F(HostSystem, OneSetOverTwoVolumesThroughHostOps) {
    RealExecutor executor;
    LinuxHost host(executor, config_, *attachments_);
    const base::Guid set = base::Guid::from_random(3, 4);
    std::vector<Volume> volumes;
    for (uint32_t n = 1; n <= 3; ++n) {
        const auto lun = attach(n);
        ASSERT_OK(lun);
        if (n == 3) {
            volumes.push_back(*executor.run(host.resolve(lun->device)));  // raw: flushed only
            continue;
        }
        ASSERT_OK(make_file_system(lun->device, n == 1 ? "ext4" : "xfs"));
        const std::string mount = make_dir("m" + std::to_string(n));
        ASSERT_OK(mount_device(lun->device, n == 1 ? "ext4" : "xfs", mount, "rw"));
        const auto volume = executor.run(host.resolve(mount));
        ASSERT_OK(volume);
        volumes.push_back(*volume);
    }
    EXPECT_CODE(Code::kBadState, executor.run(host.freeze(set, {})));
    ASSERT_OK(executor.run(host.prepare_freeze(set, volumes)));
    EXPECT_FALSE(host.is_frozen(set));
    ASSERT_OK(executor.run(host.freeze(set, {})));
    EXPECT_TRUE(host.is_frozen(set));
    ASSERT_OK(executor.run(host.thaw(set)));
    executor.run(host.end_freeze(set));
    executor.run(host.end_freeze(set));
    // With one that somebody froze, none of the others stays frozen.
    ASSERT_EQ(shell("fsfreeze -f " + volumes[1].mount_point), 0);
    ASSERT_OK(executor.run(host.prepare_freeze(set, {volumes[0]})));
    executor.run(host.end_freeze(set));
    ASSERT_EQ(shell("fsfreeze -u " + volumes[1].mount_point), 0);
    const auto root = executor.run(host.resolve("/"));
    if (root) {
        EXPECT_CODE(Code::kUnsupported, executor.run(host.prepare_freeze(set, {*root})));
        executor.run(host.end_freeze(set));
    }
    // The watchdog holds the volumes open no longer.
    for (const Volume& volume : volumes) ASSERT_OK(executor.run(host.dismount(volume)));
}

TEST_F(HostSystem, RescanFindsByPage83MountsHiddenAndExposes) {
    {
        const auto lun = attach(2);
        ASSERT_OK(lun);
        ASSERT_OK(make_file_system(lun->device, "ext4"));
        const std::string mount = make_dir("fill");
        ASSERT_OK(mount_device(lun->device, "ext4", mount, "rw"));
        ASSERT_EQ(shell("echo copy > " + mount + "/file"), 0);
        ASSERT_OK(unmount(mount));
        ASSERT_OK(attachments_->detach(luns_[1]));
    }
    const uint32_t before = checksum(target_->image(2));
    RealExecutor executor;
    LinuxHost host(executor, config_, *attachments_);
    LunIdentity stranger = luns_[1];
    stranger.designators.clear();
    stranger.designators.push_back({1, 3, 0, std::vector<std::byte>(16, std::byte{0x61})});
    const auto found = executor.run(host.rescan({{stranger, true}, {luns_[1], true}}, milliseconds(1000)));
    ASSERT_OK(found);
    ASSERT_EQ(found->size(), 2u);
    EXPECT_FALSE((*found)[0]);
    ASSERT_TRUE((*found)[1]);
    EXPECT_EQ((*found)[1]->lun, luns_[1]);
    EXPECT_TRUE((*found)[1]->read_only);
    const auto volumes = executor.run(host.list_volumes_on((*found)[1]->device));
    ASSERT_OK(volumes);
    ASSERT_EQ(volumes->size(), 1u);
    const base::Guid id = base::Guid::from_random(5, 6);
    const auto shadow = executor.run(host.mount_shadow(volumes->front(), id));
    ASSERT_OK(shadow);
    EXPECT_EQ(*shadow, config_.shadow_dir() + "/" + id.braced());
    EXPECT_EQ(shell("grep -q copy '" + *shadow + "/file'"), 0);
    EXPECT_NE(shell("touch '" + *shadow + "/new' 2>/dev/null"), 0);
    EXPECT_EQ(std::filesystem::canonical(host.raw_shadow_path(id)).string(), (*found)[1]->device);
    const std::string place = make_dir("place");
    EXPECT_CODE(Code::kInvalidArgument, executor.run(host.expose(id, "X:")));
    EXPECT_CODE(Code::kInvalidArgument, executor.run(host.expose(id, directory_)));
    EXPECT_CODE(Code::kNotFound, executor.run(host.expose(base::Guid::from_random(0, 1), place)));
    const auto exposed = executor.run(host.expose(id, place));
    ASSERT_OK(exposed);
    EXPECT_EQ(shell("grep -q copy " + place + "/file"), 0);
    EXPECT_CODE(Code::kInvalidArgument, executor.run(host.expose(id, place)));
    const auto chosen = executor.run(host.expose(id, ""));
    ASSERT_OK(chosen);
    EXPECT_EQ(*chosen, host.exposed_path(id));
    EXPECT_CODE(Code::kNotFound, executor.run(host.unexpose(*shadow)));
    EXPECT_CODE(Code::kNotFound, executor.run(host.unexpose("/proc")));
    ASSERT_OK(executor.run(host.unexpose(*chosen)));
    EXPECT_CODE(Code::kBusy, executor.run(host.detach(luns_[1])));
    ASSERT_OK(executor.run(host.unexpose(place)));
    ASSERT_OK(executor.run(host.unmount_shadow(id)));
    ASSERT_OK(executor.run(host.unmount_shadow(id)));
    ASSERT_OK(executor.run(host.detach(luns_[1])));
    EXPECT_EQ(checksum(target_->image(2)), before) << "an import wrote to the copy";
}

TEST_F(HostSystem, WhatTheTargetForgetsBeforeAFlushIsWrittenAgain) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    constexpr size_t kBytes = 1 << 20;
    base::Buffer data(2 * kBytes, true);
    uint32_t state = 1;
    for (std::byte& byte : data.span()) byte = static_cast<std::byte>((state = state * 1664525 + 1013904223) >> 24);
    Fd device(::open(lun->device.c_str(), O_RDWR | O_DIRECT | O_CLOEXEC));
    ASSERT_TRUE(device);
    const auto put = [&](size_t at, size_t from, size_t bytes) {
        return ::pwrite(device.get(), data.data() + from, bytes, static_cast<off_t>(at)) == static_cast<ssize_t>(bytes);
    };
    ASSERT_TRUE(put(0, 0, kBytes));
    ASSERT_EQ(::fsync(device.get()), 0);
    // Acknowledged, not flushed, the later ones over the earlier ones.
    ASSERT_TRUE(put(0, kBytes, kBytes));
    ASSERT_TRUE(put(4096, 0, 8192));
    ASSERT_EQ(::fallocate(device.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 65536, 65536), 0);
    ASSERT_TRUE(put(69632, 4096, 4096));
    target_->stop_process();
    // The power goes: what was not flushed is not there any more.
    ASSERT_EQ(shell("dd if=/dev/zero of=" + target_->image(1) + " bs=1M count=1 conv=notrunc status=none"), 0);
    ASSERT_OK(target_->restart());
    ASSERT_EQ(::fsync(device.get()), 0);

    std::memcpy(data.data() + kBytes + 4096, data.data(), 8192);
    std::memset(data.data() + kBytes + 65536, 0, 65536);
    std::memcpy(data.data() + kBytes + 69632, data.data() + 4096, 4096);
    base::Buffer there(kBytes, true);
    Fd image(::open(target_->image(1).c_str(), O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(image);
    ASSERT_EQ(::pread(image.get(), there.data(), kBytes, 0), static_cast<ssize_t>(kBytes));
    EXPECT_EQ(std::memcmp(there.data(), data.data() + kBytes, kBytes), 0);
    const auto output = run_program({"getfattr", "--only-values", "-n", "user.umbra.stats", lun->file});
    ASSERT_OK(output);
    EXPECT_THAT(output->text, HasSubstr("unflushed=0 "));
}

TEST_F(HostSystem, MountOptionsAreKeptOrRefused) {
    EXPECT_EQ(without_display_options("attr2,inode64,logbufs=8,prjquota"), "prjquota");
    EXPECT_EQ(without_display_options("errors=remount-ro,stripe=16"), "errors=remount-ro");
    const auto lun = attach(1);
    ASSERT_OK(lun);
    ASSERT_OK(make_file_system(lun->device, "xfs"));
    const std::string mount = make_dir("mnt");
    ASSERT_OK(mount_device(lun->device, "xfs", mount, "rw,noatime,attr2,inode64,logbufs=8,wsync"));
    EXPECT_EQ(shell("grep ' " + mount + " ' /proc/self/mountinfo | grep -q wsync"), 0);
    ASSERT_OK(unmount(mount));
    EXPECT_CODE(Code::kInvalidArgument, mount_device(lun->device, "xfs", mount, "rw,wsync,no_such_option"));
    EXPECT_EQ(shell("grep -q ' " + mount + " ' /proc/self/mountinfo"), 1);
}

TEST_F(HostSystem, AnArrayThatIsAwayStopsNoWorkOnOthers) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    const Machine machine(config_.attach_dir());
    target_->stop_process();
    std::thread reader([&] {
        Fd fd(::open(lun->device.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
        base::Buffer buffer(4096);
        EXPECT_EQ(::pread(fd.get(), buffer.data(), buffer.size(), 1 << 20), 4096);
    });
    EXPECT_TRUE(eventually([&] { return counter(*lun, "silent_ms") > 5000; }));
    const auto all = machine.volumes();
    const auto disks = machine.disks();
    const auto itself = machine.resolve(lun->device);
    const auto found = machine.find_lun(luns_[0]);
    const auto attached = attachments_->find(luns_[0]);
    target_->continue_process();
    reader.join();
    ASSERT_OK(all);
    ASSERT_OK(disks);
    EXPECT_CODE(Code::kUnavailable, itself);
    ASSERT_OK(found);
    EXPECT_FALSE(found->has_value());
    ASSERT_OK(attached);
    EXPECT_TRUE(attached->has_value());
    EXPECT_TRUE(eventually([&] { return machine.resolve(lun->device).has_value(); }));
}

TEST_F(HostSystem, MoreThanIsKeptIsFlushedInBetween) {
    const auto lun = attach(1);
    ASSERT_OK(lun);
    ASSERT_EQ(shell("dd if=/dev/urandom of=" + lun->device + " bs=256K count=180 oflag=direct status=none"), 0);
    const auto output = run_program({"getfattr", "--only-values", "-n", "user.umbra.stats", lun->file});
    ASSERT_OK(output);
    EXPECT_THAT(output->text, Not(HasSubstr("own_flushes=0 ")));
    EXPECT_EQ(shell("cmp -n 47185920 " + lun->device + " " + target_->image(1)), 0);
}

TEST_F(HostSystem, AReleasedDiskComesBackWhileItsArrayRestarts) {
    RealExecutor executor;
    LinuxHost host(executor, config_, *attachments_);
    const auto lun = attach(1);
    ASSERT_OK(lun);
    const auto released = executor.run(host.release_disk(lun->device, milliseconds(5000)));
    ASSERT_OK(released);
    Result<void> restarted;
    std::thread restarting([&] { restarted = target_->restart(); });
    const auto back = executor.run(host.reacquire_disk(*released, true));
    restarting.join();
    ASSERT_OK(restarted);
    ASSERT_OK(back);
    EXPECT_EQ(back->lun.key(), lun->lun.key());
}

TEST_F(HostSystem, ReleaseForAResyncAndComeBackWithNewContent) {
    RealExecutor executor;
    LinuxHost host(executor, config_, *attachments_);
    const auto lun = attach(1);
    ASSERT_OK(lun);
    ASSERT_OK(make_file_system(lun->device, "ext4"));
    const std::string mount = make_dir("mnt");
    ASSERT_OK(mount_device(lun->device, "ext4", mount, "rw,noatime"));
    ASSERT_EQ(shell("echo old > " + mount + "/file && sync -f " + mount), 0);
    ASSERT_EQ(shell("fsfreeze -f " + mount + " && cp --sparse=always " + target_->image(1) + " " + directory_ +
                    "/old.img && fsfreeze -u " + mount),
              0);
    ASSERT_EQ(shell("echo newer > " + mount + "/file"), 0);
    {
        // A user of the file system: everything stays as it is.
        Fd open(::open((mount + "/file").c_str(), O_RDONLY | O_CLOEXEC));
        EXPECT_CODE(Code::kBusy, executor.run(host.release_disk(lun->device, milliseconds(300))));
        EXPECT_EQ(shell("grep -q newer " + mount + "/file"), 0);
    }
    EXPECT_CODE(Code::kBusy, executor.run(host.check_exclusive(lun->device)));
    const Fields notes = {{"name", "db"}, {"mask", "iqn.2000-01.test:target"}};
    ASSERT_OK(attachments_->set_notes(*lun, notes));
    const auto released = executor.run(host.release_disk(lun->device, milliseconds(5000)));
    ASSERT_OK(released);
    ASSERT_EQ(released->mounts.size(), 1u);
    EXPECT_THAT(released->mounts[0].options, HasSubstr("noatime"));
    // The array puts the old content there.
    ASSERT_EQ(shell("cp --sparse=never " + directory_ + "/old.img " + target_->image(1)), 0);
    const auto back = executor.run(host.reacquire_disk(*released, true));
    ASSERT_OK(back);
    const auto attached = attachments_->find(back->lun);
    ASSERT_OK(attached);
    ASSERT_TRUE(attached->has_value());
    EXPECT_EQ((*attached)->notes, notes) << "who attached it cannot detach it by its name any more";
    EXPECT_EQ(shell("grep -q old " + mount + "/file"), 0);
    EXPECT_EQ(shell("grep ' " + mount + " ' /proc/self/mountinfo | grep -q noatime"), 0);
    ASSERT_OK(executor.run(host.reacquire_disk(*released, true)));
    ASSERT_OK(unmount(mount));
    EXPECT_EQ(shell("e2fsck -fn " + back->device), 0);
    ASSERT_OK(executor.run(host.check_exclusive(back->device)));
}

}  // namespace
}  // namespace umbra::host

int main(int argc, char** argv) {
    const auto missing = [](const char* what) {
        std::printf("SKIP: %s\n", what);
        return 77;
    };
    if (::geteuid() != 0) return missing("needs root");
    if (::access("/dev/fuse", R_OK | W_OK) != 0) return missing("no /dev/fuse");
    if (::access("/dev/loop-control", R_OK | W_OK) != 0) return missing("no loop devices");
    for (const char* program :
         {"/usr/sbin/tgtd", "/usr/sbin/mkfs.ext4", "/usr/sbin/mkfs.xfs", "/usr/sbin/sgdisk", "/usr/bin/getfattr"}) {
        if (::access(program, X_OK) != 0) return missing((std::string(program) + " is not installed").c_str());
    }
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}

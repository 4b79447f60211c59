#include "host/lun_file.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <chrono>
#include <condition_variable>
#include <cstdio>
#include <cstring>
#include <memory>
#include <mutex>
#include <optional>
#include <vector>

#define FUSE_USE_VERSION 314
#include <fmt/format.h>
#include <fuse_lowlevel.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <linux/falloc.h>

#include "host/process.h"
#include "host/write_journal.h"

namespace umbra::host {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;

namespace {

constexpr size_t kMaxIo = 1u << 20;              // of one FUSE request
constexpr size_t kReceiveBytes = kMaxIo + 4096;  // a WRITE with its header; the kernel wants no less
constexpr size_t kSmallBytes = 64u << 10;
constexpr size_t kLargeBuffers = 24;  // these two bound the memory; when they are out, /dev/fuse is not read
constexpr size_t kSmallBuffers = 160;
constexpr uint64_t kMaxZeroBytes = 1ull << 30;  // of one UNMAP or WRITE SAME
constexpr unsigned kMaxAborts = 8;              // ABORTED COMMAND of one command before it becomes EIO
constexpr int kLoginSeconds = 20;
constexpr int kReloginSeconds = 5;
constexpr int64_t kReloginPauseMs = 500;
constexpr size_t kJournalBytes = 32u << 20;  // of acknowledged writes between two flushes
constexpr size_t kJournalEntries = 16384;
constexpr size_t kReplaysAtOnce = 16;
constexpr size_t kLoginStackBytes = 1u << 20;

int64_t now_ms() {
    return std::chrono::duration_cast<std::chrono::milliseconds>(std::chrono::steady_clock::now().time_since_epoch())
        .count();
}

// Equal buffers, all allocated and touched at the start.
class BufferPool {
public:
    BufferPool(size_t bytes, size_t count) {
        all_.reserve(count);
        free_.reserve(count);
        for (size_t i = 0; i < count; ++i) {
            all_.emplace_back(bytes, true);
            free_.push_back(all_.back().data());
        }
    }
    size_t available() const { return free_.size(); }
    std::byte* take() {
        UMBRA_CHECK(!free_.empty());
        std::byte* buffer = free_.back();
        free_.pop_back();
        return buffer;
    }
    void give(std::byte* buffer) { free_.push_back(buffer); }

private:
    std::vector<base::Buffer> all_;
    std::vector<std::byte*> free_;
};

enum class Kind : uint8_t { kRead, kWrite, kFlush, kUnmap, kZero };

// One FUSE request, until its reply.
struct Op {
    fuse_req_t request = nullptr;
    Kind kind = Kind::kRead;
    std::byte* buffer = nullptr;  // data starts at `data`
    std::byte* data = nullptr;
    bool large = false;
    size_t size = 0;
    unsigned pending = 0;  // commands not finished
    int error = 0;         // errno of the first one that failed
    int64_t since_ms = 0;
};

class LunFile;

enum class Role : uint8_t {
    kRequest,  // of an Op
    kSync,     // our own SYNCHRONIZE CACHE
    kReplay,   // of the journal
};

constexpr size_t kNotIssued = SIZE_MAX;

// One SCSI command. libiscsi keeps pointers into it until the answer, so it never moves.
struct Command {
    LunFile* file = nullptr;
    Op* op = nullptr;  // Role::kRequest only
    Role role = Role::kRequest;
    Kind kind = Kind::kRead;
    scsi_task* task = nullptr;   // while it is issued
    size_t issued = kNotIssued;  // place in LunFile::issued_
    uint64_t covers = 0;         // flushes: journal entries below are durable when it succeeds
    uint64_t lba = 0;
    uint32_t blocks = 0;
    std::byte* data = nullptr;
    scsi_iovec iov{};
    unmap_list unmap{};
    unsigned aborts = 0;
    unsigned busy = 0;
    int64_t retry_at_ms = 0;
};

template <class T>
class Slab {
public:
    explicit Slab(size_t count) {
        for (size_t i = 0; i < count; ++i) grow();
    }
    T* take() {
        if (free_.empty()) grow();
        T* item = free_.back();
        free_.pop_back();
        *item = T{};
        return item;
    }
    void give(T* item) { free_.push_back(item); }

private:
    void grow() {
        all_.push_back(std::make_unique<T>());
        free_.push_back(all_.back().get());
    }
    std::vector<std::unique_ptr<T>> all_;
    std::vector<T*> free_;
};

struct Stats {
    uint64_t reads = 0, read_bytes = 0, writes = 0, written_bytes = 0, flushes = 0, unmaps = 0, zeroes = 0;
    uint64_t retries = 0, errors = 0, reconnects = 0, own_flushes = 0, rewritten = 0;
};

// Logs in on a thread of its own, because libiscsi waits there and the file's attributes must be answered meanwhile.
// The thread exists from the start: none is made, and no memory taken for it, when writes wait.
class LoginWorker {
public:
    struct Outcome {
        Result<std::unique_ptr<IscsiSession>> session = fail(Code::kInternal, "no attempt");
        Result<LunFacts> facts = fail(Code::kInternal, "no attempt");
    };

    LoginWorker(const LunFileOptions& options, uint64_t isid) : options_(options), isid_(isid) {}
    ~LoginWorker() {
        if (!running_) return;
        {
            const std::lock_guard lock(mutex_);
            stop_ = true;
        }
        wake_.notify_all();
        ::pthread_join(thread_, nullptr);
    }
    LoginWorker(const LoginWorker&) = delete;
    LoginWorker& operator=(const LoginWorker&) = delete;

    Result<void> start() {
        event_ = Fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        if (!event_) return fail_errno(errno, "eventfd");
        pthread_attr_t attributes;
        ::pthread_attr_init(&attributes);
        ::pthread_attr_setstacksize(&attributes, kLoginStackBytes);
        const int error = ::pthread_create(
            &thread_, &attributes,
            [](void* worker) -> void* {
                static_cast<LoginWorker*>(worker)->work();
                return nullptr;
            },
            this);
        ::pthread_attr_destroy(&attributes);
        if (error != 0) return fail_errno(error, "a thread for logging in");
        running_ = true;
        return {};
    }
    int event() const { return event_.get(); }
    bool busy() const { return busy_; }
    void attempt() {
        busy_ = true;
        {
            const std::lock_guard lock(mutex_);
            wanted_ = true;
        }
        wake_.notify_all();
    }
    // The end of the attempt, once.
    std::optional<Outcome> take() {
        uint64_t count = 0;
        [[maybe_unused]] const ssize_t n = ::read(event_.get(), &count, sizeof count);
        const std::lock_guard lock(mutex_);
        if (!outcome_) return std::nullopt;
        busy_ = false;
        return std::exchange(outcome_, std::nullopt);
    }

private:
    void work() {
        std::unique_lock lock(mutex_);
        for (;;) {
            wake_.wait(lock, [&] { return wanted_ || stop_; });
            if (stop_) return;
            wanted_ = false;
            lock.unlock();
            Outcome outcome;
            outcome.session = IscsiSession::login(options_.path.portal, options_.path.target, options_.initiator,
                                                  kReloginSeconds, isid_, &stop_);
            outcome.facts = outcome.session ? (*outcome.session)->read_facts(options_.path.lun)
                                            : Result<LunFacts>(std::unexpected(outcome.session.error()));
            if (!outcome.facts) {
                // Here, because logging out waits too.
                if (outcome.session && outcome.facts.error().code != Code::kNotFound) (*outcome.session)->abandon();
                outcome.session = std::unexpected(outcome.facts.error());
            }
            lock.lock();
            outcome_ = std::move(outcome);
            const uint64_t one = 1;
            [[maybe_unused]] const ssize_t n = ::write(event_.get(), &one, sizeof one);
        }
    }

    const LunFileOptions& options_;
    const uint64_t isid_;
    Fd event_;
    pthread_t thread_{};
    bool running_ = false;
    bool busy_ = false;  // of the owner
    std::mutex mutex_;
    std::condition_variable wake_;
    bool wanted_ = false;
    std::atomic<bool> stop_{false};
    std::optional<Outcome> outcome_;
};

class LunFile {
public:
    LunFile(const LunFileOptions& options, std::unique_ptr<IscsiSession> login, uint64_t isid, LunFacts facts)
        : options_(options),
          facts_(std::move(facts)),
          state_(facts_.state),
          worker_(options, isid),
          large_(kReceiveBytes, kLargeBuffers),
          small_(kSmallBytes, kSmallBuffers),
          ops_(kLargeBuffers + kSmallBuffers),
          commands_(2 * (kLargeBuffers + kSmallBuffers)),
          zero_block_(facts_.block_bytes, true),
          journal_(options.read_only ? 0 : kJournalBytes, options.read_only ? 0 : kJournalEntries),
          login_(std::move(login)),
          iscsi_(login_->context()) {
        for (auto* list : {&retry_, &held_, &issued_, &unsynced_, &covered_, &replays_}) list->reserve(1024);
        open_ops_.reserve(1024);
    }

    Result<void> run();

    // FUSE requests, called from fuse_session_process_buf().
    void get_attr(fuse_req_t request);
    void open(fuse_req_t request, fuse_file_info* info);
    void read(fuse_req_t request, size_t size, off_t offset);
    void write(fuse_req_t request, const char* data, size_t size, off_t offset);
    void flush(fuse_req_t request);
    void fallocate(fuse_req_t request, int mode, off_t offset, off_t length);
    void get_xattr(fuse_req_t request, const char* name, size_t size);
    void list_xattr(fuse_req_t request, size_t size);

private:
    Result<void> mount();
    void loop();
    void drop_connection();
    void logged_in(LoginWorker::Outcome outcome);
    void give_up(std::string_view why);
    void end_session();
    void receive();
    bool can_receive() const { return large_.available() >= 2 && small_.available() >= 1; }
    Op* start(fuse_req_t request, Kind kind);
    void finish(Op* op);
    void submit(Op* op, uint64_t lba, uint64_t blocks, std::byte* data);
    void send(Command* command);
    bool issue(Command* command);
    void forget_issued(Command* command);
    void complete(Command* command, int status, scsi_task* task);
    void acknowledged(Command* command);
    void conclude(Command* command, int error);
    void retry_later(Command* command, int64_t delay_ms);
    void start_sync();
    void synced(uint64_t covers, int error);
    void begin_replay();
    void send_replays();
    void verify_identity(bool power_on);
    bool ask_identity();
    void send_held();
    void identity_answer(int status, scsi_task* task);
    int64_t silent_ms() const;
    std::string xattr(std::string_view name) const;
    uint64_t chunk_blocks(Kind kind) const;
    struct stat attributes() const;

    static void on_command(iscsi_context*, int status, void* task, void* command);
    static void on_identity(iscsi_context*, int status, void* task, void* file);

    const LunFileOptions& options_;
    const LunFacts facts_;
    std::optional<ArrayState> state_;  // now; the content is that of facts_
    LoginWorker worker_;
    int64_t login_at_ms_ = 0;      // next attempt
    int64_t answered_at_ms_ = 0;   // the last command that ended
    int64_t absent_since_ms_ = 0;  // the array answers, without our LUN; 0: it does not, or with it
    fuse_session* session_ = nullptr;
    bool done_ = false;
    BufferPool large_;
    BufferPool small_;
    Slab<Op> ops_;
    Slab<Command> commands_;
    base::Buffer zero_block_;
    std::byte* receive_buffer_ = nullptr;  // being processed; a write may take it over
    bool receive_taken_ = false;
    std::vector<Command*> retry_;   // to be sent again at their time
    std::vector<Command*> held_;    // until it is certain that this is still our LUN with all that it acknowledged
    std::vector<Command*> issued_;  // with libiscsi, which does not give all of them back when a session ends
    // The journal has no room for what the array did: unanswered until a flush that begins later has succeeded.
    std::vector<Command*> unsynced_;
    std::vector<Command*> covered_;  // the same, and that flush is under way
    std::vector<Op*> open_ops_;      // in no order
    WriteJournal journal_;
    bool syncing_ = false;
    bool replaying_ = false;
    bool replay_due_ = false;  // what a former run of the array acknowledged is not all written again yet
    uint64_t replay_next_ = 0;
    uint64_t replay_end_ = 0;
    std::vector<Command*> replays_;  // not finished
    bool verifying_ = false;
    bool verify_state_ = false;  // page 83 is as it was, page C0 is under way
    bool power_on_ = false;      // what made us ask was POWER ON, RESET, OR BUS DEVICE RESET OCCURRED
    bool drop_ = false;          // this session is to be replaced
    bool lost_ = false;          // another LUN or other content answers at our address: nothing is sent any more
    bool stopping_ = false;      // nobody waits for an answer any more
    bool unmap_works_ = true;
    bool write_same_works_ = true;
    bool zero_works_ = true;
    size_t in_flight_ = 0;
    Stats stats_;
    // Last, so that it goes first: it refers to the memory above.
    std::unique_ptr<IscsiSession> login_;  // null while the connection is lost
    iscsi_context* iscsi_;                 // of login_
};

// Stderr is a file under the run directory, never on a volume that may be frozen.
template <class... Args>
void log_line(fmt::format_string<Args...> format, Args&&... args) {
    std::string line = fmt::format(format, std::forward<Args>(args)...);
    line += '\n';
    [[maybe_unused]] const ssize_t n = ::write(STDERR_FILENO, line.data(), line.size());
}

LunFile& self(fuse_req_t request) {
    return *static_cast<LunFile*>(fuse_req_userdata(request));
}

const fuse_lowlevel_ops kOperations = [] {
    fuse_lowlevel_ops ops{};
    ops.init = [](void*, fuse_conn_info* connection) {
        connection->max_background = 256;
        connection->congestion_threshold = 192;
        connection->max_write = kMaxIo;
        connection->max_readahead = 0;
        connection->want &= ~static_cast<unsigned>(FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE |
                                                   FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_AUTO_INVAL_DATA);
        connection->want |= connection->capable & FUSE_CAP_ASYNC_DIO;
    };
    ops.getattr = [](fuse_req_t request, fuse_ino_t, fuse_file_info*) { self(request).get_attr(request); };
    ops.setattr = [](fuse_req_t request, fuse_ino_t, struct stat*, int to_set, fuse_file_info*) {
        if ((to_set & FUSE_SET_ATTR_SIZE) != 0) {
            fuse_reply_err(request, EPERM);
        } else {
            self(request).get_attr(request);
        }
    };
    ops.open = [](fuse_req_t request, fuse_ino_t, fuse_file_info* info) { self(request).open(request, info); };
    ops.read = [](fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info*) {
        self(request).read(request, size, offset);
    };
    ops.write = [](fuse_req_t request, fuse_ino_t, const char* data, size_t size, off_t offset, fuse_file_info*) {
        self(request).write(request, data, size, offset);
    };
    // close(2) promises nothing: no data waits in this process.
    ops.flush = [](fuse_req_t request, fuse_ino_t, fuse_file_info*) { fuse_reply_err(request, 0); };
    ops.release = [](fuse_req_t request, fuse_ino_t, fuse_file_info*) { fuse_reply_err(request, 0); };
    ops.fsync = [](fuse_req_t request, fuse_ino_t, int, fuse_file_info*) { self(request).flush(request); };
    ops.fallocate = [](fuse_req_t request, fuse_ino_t, int mode, off_t offset, off_t length, fuse_file_info*) {
        self(request).fallocate(request, mode, offset, length);
    };
    ops.getxattr = [](fuse_req_t request, fuse_ino_t, const char* name, size_t size) {
        self(request).get_xattr(request, name, size);
    };
    ops.listxattr = [](fuse_req_t request, fuse_ino_t, size_t size) { self(request).list_xattr(request, size); };
    ops.statfs = [](fuse_req_t request, fuse_ino_t) {
        struct statvfs empty{};
        empty.f_bsize = 4096;
        empty.f_namemax = 255;
        fuse_reply_statfs(request, &empty);
    };
    return ops;
}();

struct stat LunFile::attributes() const {
    struct stat out{};
    out.st_ino = FUSE_ROOT_ID;
    out.st_mode = S_IFREG | (options_.read_only ? 0400 : 0600);
    out.st_nlink = 1;
    out.st_size = static_cast<off_t>(facts_.size_bytes());
    out.st_blksize = 4096;
    out.st_blocks = static_cast<blkcnt_t>(facts_.size_bytes() / 512);
    return out;
}

void LunFile::get_attr(fuse_req_t request) {
    const struct stat attr = attributes();
    fuse_reply_attr(request, &attr, 3600.0);
}

void LunFile::open(fuse_req_t request, fuse_file_info* info) {
    if (options_.read_only && (info->flags & O_ACCMODE) != O_RDONLY) {
        fuse_reply_err(request, EROFS);
        return;
    }
    info->direct_io = 1;
    fuse_reply_open(request, info);
}

Op* LunFile::start(fuse_req_t request, Kind kind) {
    Op* op = ops_.take();
    op->request = request;
    op->kind = kind;
    op->since_ms = now_ms();
    open_ops_.push_back(op);
    op->pending = 1;  // held by the one that starts commands, so that none ends the request before all are sent
    return op;
}

void LunFile::finish(Op* op) {
    if (--op->pending != 0) return;
    if (op->error != 0) {
        ++stats_.errors;
        fuse_reply_err(op->request, op->error);
    } else if (op->kind == Kind::kRead) {
        fuse_reply_buf(op->request, reinterpret_cast<const char*>(op->data), op->size);
    } else if (op->kind == Kind::kWrite) {
        fuse_reply_write(op->request, op->size);
    } else {
        fuse_reply_err(op->request, 0);
    }
    if (op->buffer != nullptr) (op->large ? large_ : small_).give(op->buffer);
    *std::find(open_ops_.begin(), open_ops_.end(), op) = open_ops_.back();
    open_ops_.pop_back();
    ops_.give(op);
}

// How long requests have been open without any answer. One long request, an unmapped gigabyte say, is answered in
// parts.
int64_t LunFile::silent_ms() const {
    const int64_t now = now_ms();
    int64_t since = now;
    for (const Op* op : open_ops_) since = std::min(since, op->since_ms);
    return now - std::max(since, std::min(answered_at_ms_, now));
}

uint64_t LunFile::chunk_blocks(Kind kind) const {
    uint64_t limit = 0;
    switch (kind) {
        case Kind::kRead:
        case Kind::kWrite:
            limit = facts_.max_transfer_blocks;
            break;
        case Kind::kUnmap:
            limit =
                facts_.write_same_unmap && write_same_works_ ? facts_.max_write_same_blocks : facts_.max_unmap_blocks;
            break;
        case Kind::kZero:
            limit = facts_.max_write_same_blocks;
            break;
        case Kind::kFlush:
            break;
    }
    const uint64_t most = (kind == Kind::kRead || kind == Kind::kWrite ? kMaxIo : kMaxZeroBytes) / facts_.block_bytes;
    return limit == 0 ? most : std::min(limit, most);
}

void LunFile::submit(Op* op, uint64_t lba, uint64_t blocks, std::byte* data) {
    const uint64_t chunk = chunk_blocks(op->kind);
    do {
        Command* command = commands_.take();
        command->file = this;
        command->op = op;
        command->kind = op->kind;
        command->lba = lba;
        command->blocks = static_cast<uint32_t>(std::min(blocks, chunk));
        command->data = data;
        ++op->pending;
        ++in_flight_;
        lba += command->blocks;
        blocks -= command->blocks;
        if (data != nullptr) data += uint64_t{command->blocks} * facts_.block_bytes;
        send(command);
    } while (blocks > 0);
    finish(op);
}

void LunFile::read(fuse_req_t request, size_t size, off_t offset) {
    const uint64_t at = static_cast<uint64_t>(offset);
    const uint64_t end = facts_.size_bytes();
    if (at >= end) {
        fuse_reply_buf(request, nullptr, 0);
        return;
    }
    size = static_cast<size_t>(std::min<uint64_t>(size, end - at));
    if (at % facts_.block_bytes != 0 || size % facts_.block_bytes != 0 || size > kMaxIo || size == 0) {
        fuse_reply_err(request, EINVAL);
        return;
    }
    Op* op = start(request, Kind::kRead);
    op->size = size;
    op->large = size > kSmallBytes;
    op->buffer = (op->large ? large_ : small_).take();
    op->data = op->buffer;
    ++stats_.reads;
    stats_.read_bytes += size;
    submit(op, at / facts_.block_bytes, size / facts_.block_bytes, op->data);
}

void LunFile::write(fuse_req_t request, const char* data, size_t size, off_t offset) {
    const uint64_t at = static_cast<uint64_t>(offset);
    if (options_.read_only) {
        fuse_reply_err(request, EROFS);
        return;
    }
    if (at % facts_.block_bytes != 0 || size % facts_.block_bytes != 0 || size > kMaxIo) {
        fuse_reply_err(request, EINVAL);
        return;
    }
    if (at > facts_.size_bytes() || size > facts_.size_bytes() - at) {
        fuse_reply_err(request, ENOSPC);
        return;
    }
    if (size == 0) {
        fuse_reply_write(request, 0);
        return;
    }
    Op* op = start(request, Kind::kWrite);
    op->size = size;
    op->large = size > kSmallBytes;
    if (op->large) {
        // The request keeps the buffer that it arrived in: no copy.
        op->buffer = receive_buffer_;
        op->data = const_cast<std::byte*>(reinterpret_cast<const std::byte*>(data));
        receive_taken_ = true;
    } else {
        op->buffer = small_.take();
        op->data = op->buffer;
        std::memcpy(op->data, data, size);
    }
    ++stats_.writes;
    stats_.written_bytes += size;
    submit(op, at / facts_.block_bytes, size / facts_.block_bytes, op->data);
}

void LunFile::flush(fuse_req_t request) {
    Op* op = start(request, Kind::kFlush);
    ++stats_.flushes;
    submit(op, 0, 0, nullptr);
}

// Both callers of the loop driver, discard and "write zeroes", punch holes: what was punched must read as zeros.
void LunFile::fallocate(fuse_req_t request, int mode, off_t offset, off_t length) {
    const uint64_t at = static_cast<uint64_t>(offset);
    const uint64_t count = static_cast<uint64_t>(length);
    if (options_.read_only) {
        fuse_reply_err(request, EROFS);
        return;
    }
    const bool punch = mode == (FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    const bool zero = mode == (FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE) || mode == FALLOC_FL_ZERO_RANGE;
    const bool offered =
        punch ? (facts_.unmap && unmap_works_) || (facts_.write_same_unmap && write_same_works_) : zero && zero_works_;
    if (!offered || at % facts_.block_bytes != 0 || count % facts_.block_bytes != 0 || at > facts_.size_bytes() ||
        count > facts_.size_bytes() - at) {
        fuse_reply_err(request, EOPNOTSUPP);
        return;
    }
    if (count == 0) {
        fuse_reply_err(request, 0);
        return;
    }
    Op* op = start(request, punch ? Kind::kUnmap : Kind::kZero);
    ++(punch ? stats_.unmaps : stats_.zeroes);
    submit(op, at / facts_.block_bytes, count / facts_.block_bytes, nullptr);
}

void LunFile::send(Command* command) {
    if (lost_) {
        conclude(command, EIO);
        return;
    }
    if (verifying_ || drop_ || login_ == nullptr || (replaying_ && command->role != Role::kReplay)) {
        held_.push_back(command);
        return;
    }
    // No memory, or no session just now: neither is a reason to fail what the file system already accepted.
    if (!issue(command)) retry_later(command, 200);
}

bool LunFile::issue(Command* command) {
    const int lun = static_cast<int>(options_.path.lun);
    const int block_bytes = static_cast<int>(facts_.block_bytes);
    const uint32_t bytes = command->blocks * facts_.block_bytes;
    scsi_task* task = nullptr;
    switch (command->kind) {
        case Kind::kRead:
            command->iov = {command->data, bytes};
            task = iscsi_read16_iov_task(iscsi_, lun, command->lba, bytes, block_bytes, 0, 0, 0, 0, 0, on_command,
                                         command, &command->iov, 1);
            break;
        case Kind::kWrite:
            command->iov = {command->data, bytes};
            task = iscsi_write16_iov_task(iscsi_, lun, command->lba, nullptr, bytes, block_bytes, 0, 0, 0, 0, 0,
                                          on_command, command, &command->iov, 1);
            break;
        case Kind::kFlush:
            command->covers = journal_.end();
            task = iscsi_synchronizecache16_task(iscsi_, lun, 0, 0, 0, 0, on_command, command);
            break;
        case Kind::kUnmap:
            // WRITE SAME with UNMAP promises zeros; UNMAP alone may leave parts as they are on some targets.
            if (facts_.write_same_unmap && write_same_works_) {
                task = iscsi_writesame16_task(iscsi_, lun, command->lba,
                                              reinterpret_cast<unsigned char*>(zero_block_.data()), facts_.block_bytes,
                                              command->blocks, 0, 1, 0, 0, on_command, command);
            } else {
                command->unmap = {command->lba, command->blocks};
                task = iscsi_unmap_task(iscsi_, lun, 0, 0, &command->unmap, 1, on_command, command);
            }
            break;
        case Kind::kZero:
            task =
                iscsi_writesame16_task(iscsi_, lun, command->lba, reinterpret_cast<unsigned char*>(zero_block_.data()),
                                       facts_.block_bytes, command->blocks, 0, 0, 0, 0, on_command, command);
            break;
    }
    if (task == nullptr) return false;
    command->task = task;
    command->issued = issued_.size();
    issued_.push_back(command);
    return true;
}

void LunFile::forget_issued(Command* command) {
    UMBRA_CHECK(command->issued < issued_.size() && issued_[command->issued] == command);
    issued_[command->issued] = issued_.back();
    issued_[command->issued]->issued = command->issued;
    issued_.pop_back();
    command->issued = kNotIssued;
    command->task = nullptr;
}

void LunFile::on_command(iscsi_context*, int status, void* task, void* data) {
    auto* command = static_cast<Command*>(data);
    LunFile* file = command->file;
    scsi_task* own = command->task;
    UMBRA_CHECK(task == nullptr || task == own);
    file->forget_issued(command);
    if (file->stopping_) {
        scsi_free_scsi_task(own);
        return;
    }
    file->complete(command, status, own);
}

void LunFile::retry_later(Command* command, int64_t delay_ms) {
    ++stats_.retries;
    command->retry_at_ms = now_ms() + delay_ms;
    retry_.push_back(command);
}

// The command is over: its request hears of it.
void LunFile::conclude(Command* command, int error) {
    if (command->role == Role::kSync) {
        const uint64_t covers = command->covers;
        commands_.give(command);
        synced(covers, error);
        return;
    }
    if (command->role == Role::kReplay) {
        std::erase(replays_, command);
        commands_.give(command);
        if (error != 0) {
            give_up("acknowledged writes that the array lost could not be written again");
        } else if (!lost_) {
            send_replays();
        }
        return;
    }
    Op* op = command->op;
    if (error != 0 && op->error == 0) op->error = error;
    commands_.give(command);
    --in_flight_;
    finish(op);
}

// The array did it. What it may still forget is kept until a flush.
void LunFile::acknowledged(Command* command) {
    if (lost_) {
        conclude(command, EIO);  // done, but to what?
        return;
    }
    const bool changes = command->kind != Kind::kRead && command->kind != Kind::kFlush;
    if (command->role != Role::kRequest || !changes) {
        if (command->role == Role::kRequest && command->kind == Kind::kFlush) journal_.forget(command->covers);
        conclude(command, 0);
        return;
    }
    const size_t bytes = command->data == nullptr ? 0 : size_t{command->blocks} * facts_.block_bytes;
    if (!journal_.add(static_cast<uint8_t>(command->kind), command->lba, command->blocks, command->data, bytes)) {
        unsynced_.push_back(command);
        start_sync();
        return;
    }
    if (journal_.half_full()) start_sync();
    conclude(command, 0);
}

void LunFile::start_sync() {
    if (syncing_ || lost_) return;
    syncing_ = true;
    ++stats_.own_flushes;
    covered_.swap(unsynced_);
    Command* command = commands_.take();
    command->file = this;
    command->role = Role::kSync;
    command->kind = Kind::kFlush;
    send(command);
}

void LunFile::synced(uint64_t covers, int error) {
    syncing_ = false;
    std::vector<Command*> over;
    over.swap(covered_);
    if (error == 0) journal_.forget(covers);
    for (Command* command : over) conclude(command, error);
    if (!unsynced_.empty()) start_sync();
}

// Everything in the order in which it was acknowledged, before anything else; what overlaps not at the same time.
void LunFile::begin_replay() {
    replaying_ = true;
    replay_next_ = journal_.begin();
    replay_end_ = journal_.end();
    log_line("the array came back without {} writes that it had acknowledged: they are written again",
             replay_end_ - replay_next_);
    send_replays();
}

void LunFile::send_replays() {
    while (replay_next_ < replay_end_ && replays_.size() < kReplaysAtOnce) {
        const WriteJournal::Entry& entry = journal_.at(replay_next_);
        const bool overlaps = std::any_of(replays_.begin(), replays_.end(), [&](const Command* other) {
            return entry.lba < other->lba + other->blocks && other->lba < entry.lba + entry.blocks;
        });
        if (overlaps) return;
        ++replay_next_;
        ++stats_.rewritten;
        Command* command = commands_.take();
        command->file = this;
        command->role = Role::kReplay;
        command->kind = static_cast<Kind>(entry.kind);
        command->lba = entry.lba;
        command->blocks = entry.blocks;
        command->data = entry.data;
        replays_.push_back(command);
        send(command);
    }
    if (!replays_.empty() || !replaying_) return;
    replaying_ = false;
    replay_due_ = false;
    log_line("all of them are written");
    start_sync();
    send_held();
}

void LunFile::complete(Command* command, int status, scsi_task* task) {
    if (status == SCSI_STATUS_GOOD || status == SCSI_STATUS_CHECK_CONDITION) answered_at_ms_ = now_ms();
    const Kind kind = command->kind;
    const scsi_sense sense = task->sense;
    const size_t residual = task->residual;
    const bool moves = kind == Kind::kRead || kind == Kind::kWrite;
    const bool incomplete =
        moves && status == SCSI_STATUS_GOOD && task->residual_status == SCSI_RESIDUAL_UNDERFLOW && residual != 0;
    scsi_free_scsi_task(task);
    if (status == SCSI_STATUS_GOOD && !incomplete) {
        acknowledged(command);
        return;
    }
    if (incomplete) {
        log_line("{} of {} blocks at {}: {} bytes missing", kind == Kind::kRead ? "read" : "write", command->blocks,
                 command->lba, residual);
        conclude(command, EIO);
        return;
    }
    switch (status) {
        case SCSI_STATUS_BUSY:
        case SCSI_STATUS_TASK_SET_FULL:
            // However long it takes: only the administrator gives up on a slow array, from outside.
            retry_later(command, std::min<int64_t>(10 << std::min(command->busy++, 5u), 200));
            return;
        case SCSI_STATUS_CANCELLED:
        case SCSI_STATUS_ERROR:
        case SCSI_STATUS_TIMEOUT:
        case SCSI_STATUS_TASK_ABORTED:
            // The session went while the command was under way. Repeating is safe: requests that overlap never run at
            // the same time, and a target ends a lost connection's commands before it takes the new one's.
            retry_later(command, 100);
            return;
        case SCSI_STATUS_RESERVATION_CONFLICT:
            conclude(command, EBADE);
            return;
        default:
            break;
    }
    if (status != SCSI_STATUS_CHECK_CONDITION) {
        log_line("unexpected SCSI status {:#x}", status);
        conclude(command, EIO);
        return;
    }
    const int asc = sense.ascq >> 8;
    switch (static_cast<int>(sense.key)) {
        case SCSI_SENSE_RECOVERED_ERROR:
            conclude(command, 0);
            return;
        case SCSI_SENSE_UNIT_ATTENTION:
            // What changed may be which LUN this is: power on or reset, REPORTED LUNS or INQUIRY DATA CHANGED.
            if (asc == 0x29 || asc == 0x3f) verify_identity(asc == 0x29);
            ++stats_.retries;
            send(command);
            return;
        case SCSI_SENSE_COMMAND_ABORTED:
            if (command->aborts++ < kMaxAborts) {
                retry_later(command, 50);
                return;
            }
            break;
        case SCSI_SENSE_NOT_READY:
            if (asc == 0x04) {
                retry_later(command, 200);
                return;
            }
            break;
        case SCSI_SENSE_DATA_PROTECTION:
            conclude(command, asc == 0x27 && (sense.ascq & 0xff) == 0x07 ? ENOSPC : EROFS);
            return;
        case SCSI_SENSE_ILLEGAL_REQUEST:
            if (command->role == Role::kRequest && (kind == Kind::kUnmap || kind == Kind::kZero)) {
                // Not offered after all: the block layer writes zeros instead, or leaves a discard out.
                if (kind == Kind::kZero) {
                    zero_works_ = false;
                } else if (facts_.write_same_unmap && write_same_works_) {
                    write_same_works_ = false;
                } else {
                    unmap_works_ = false;
                }
                conclude(command, EOPNOTSUPP);
                return;
            }
            break;
        default:
            break;
    }
    log_line("{} of {} blocks at {} failed: sense key {:#x}, code {:#06x}",
             kind == Kind::kRead    ? "read"
             : kind == Kind::kWrite ? "write"
             : kind == Kind::kFlush ? "flush"
                                    : "unmap",
             command->blocks, command->lba, static_cast<unsigned>(sense.key), static_cast<unsigned>(sense.ascq));
    conclude(command, EIO);
}

void LunFile::verify_identity(bool power_on) {
    power_on_ = power_on_ || power_on;
    if (verifying_ || drop_ || lost_ || login_ == nullptr) return;
    verify_state_ = false;
    verifying_ = ask_identity();
    if (!verifying_) drop_ = true;
}

bool LunFile::ask_identity() {
    return iscsi_inquiry_task(iscsi_, static_cast<int>(options_.path.lun), 1, verify_state_ ? 0xc0 : 0x83, 8192,
                              on_identity, this) != nullptr;
}

void LunFile::on_identity(iscsi_context*, int status, void* task, void* file) {
    static_cast<LunFile*>(file)->identity_answer(status, static_cast<scsi_task*>(task));
}

void LunFile::identity_answer(int status, scsi_task* task) {
    const bool answered = task != nullptr && status == SCSI_STATUS_GOOD;
    const bool refused = task != nullptr && status == SCSI_STATUS_CHECK_CONDITION;
    const bool attention = refused && task->sense.key == SCSI_SENSE_UNIT_ATTENTION;
    const bool no_page = refused && task->sense.key == SCSI_SENSE_ILLEGAL_REQUEST;
    std::vector<std::byte> page;
    if (answered && task->datain.data != nullptr && task->datain.size > 0) {
        const auto* data = reinterpret_cast<const std::byte*>(task->datain.data);
        page.assign(data, data + task->datain.size);
    }
    if (task != nullptr) scsi_free_scsi_task(task);
    if (stopping_) return;
    if (login_ == nullptr) return;  // the session is gone: the next login looks
    if (!verify_state_ && answered) {
        const auto designators = parse_page83(page);
        LunIdentity now;
        if (designators) now.designators = *designators;
        if (now.key() != facts_.identity.key()) {
            verifying_ = false;
            give_up("another LUN answers there");
            return;
        }
        verify_state_ = true;
        if (ask_identity()) return;
    } else if (verify_state_ && (answered || (no_page && !facts_.state))) {
        verifying_ = false;
        const std::optional<ArrayState> now = parse_page_c0(page);
        if (facts_.state && (!now || now->content != facts_.state->content)) {
            give_up(now ? "its content was replaced" : "it does not say any more which content it has");
            return;
        }
        const bool same_run = now && state_ && now->run == state_->run;
        const bool lost_writes = !same_run && (power_on_ || now || state_) && !journal_.empty();
        power_on_ = false;
        if (!lost_writes) {
            if (now) state_ = now;
            send_held();
            return;
        }
        // What is under way must not run beside what is written again: a new session sorts that out.
    } else if (attention && ask_identity()) {
        return;
    }
    // Not to be had on this session, for example because no LUN answers: the next login decides.
    verifying_ = false;
    drop_ = true;
}

void LunFile::send_held() {
    std::vector<Command*> now;
    now.swap(held_);
    for (Command* command : now) send(command);
}

// Nothing that was acknowledged can be relied on any more, or there is nobody to ask: the file system must stop here,
// instead of going on over a content that it does not know.
void LunFile::give_up(std::string_view why) {
    if (lost_) return;
    lost_ = true;
    log_line("LUN {} at {}: {}: every request fails from now on", facts_.identity.key(), options_.path.url(), why);
    replaying_ = false;
    std::vector<Command*> over;
    for (auto* list : {&retry_, &held_, &unsynced_, &covered_}) {
        over.insert(over.end(), list->begin(), list->end());
        list->clear();
    }
    for (Command* command : over) conclude(command, EIO);
}

// What was in flight is sent again on the next session. libiscsi gives some commands back as cancelled, and others,
// when a logout was answered before, not at all.
void LunFile::drop_connection() {
    log_line("connection lost: {}", drop_ ? "the LUN could not be verified" : iscsi_get_error(iscsi_));
    login_->abandon();
    iscsi_ = nullptr;
    std::unique_ptr<IscsiSession> lost = std::move(login_);
    lost.reset();
    while (!issued_.empty()) {
        Command* command = issued_.back();
        scsi_free_scsi_task(command->task);
        forget_issued(command);
        retry_later(command, 0);
    }
    // Of our own commands nothing is left: the next session begins with them anew. Writes that were to be answered
    // after a flush are writes like any other again.
    for (auto* list : {&retry_, &held_}) {
        std::erase_if(*list, [&](Command* command) {
            if (command->role == Role::kRequest) return false;
            commands_.give(command);
            return true;
        });
    }
    for (auto* list : {&unsynced_, &covered_}) {
        for (Command* command : *list) retry_later(command, 0);
        list->clear();
    }
    replays_.clear();
    replaying_ = false;
    syncing_ = false;
    verifying_ = false;
    power_on_ = false;
    drop_ = false;
    login_at_ms_ = now_ms();
    absent_since_ms_ = 0;
}

// Tried for ever: only the administrator gives up on an array.
void LunFile::logged_in(LoginWorker::Outcome outcome) {
    login_at_ms_ = now_ms() + kReloginPauseMs;
    const Result<LunFacts>& now = outcome.facts;
    if (!now) {
        const bool absent = now.error().code == Code::kNotFound || now.error().code == Code::kUnsupported;
        if (!absent) {
            absent_since_ms_ = 0;
            return;
        }
        // An array that is coming up may show its LUNs a little later than itself.
        if (absent_since_ms_ == 0) absent_since_ms_ = now_ms();
        if (now_ms() - absent_since_ms_ >= options_.absent_patience_ms)
            give_up("the array does not present it to this host any more");
        return;
    }
    absent_since_ms_ = 0;
    if (now->identity.key() != facts_.identity.key() || now->block_bytes != facts_.block_bytes) {
        give_up("another LUN answers there");
        return;
    }
    if (now->blocks < facts_.blocks) {
        give_up("it was made smaller");
        return;
    }
    if (facts_.state && (!now->state || now->state->content != facts_.state->content)) {
        give_up(now->state ? "its content was replaced" : "it does not say any more which content it has");
        return;
    }
    const bool same_run = now->state && state_ && now->state->run == state_->run;
    // Stays due until the last of them is written: a session that is lost meanwhile begins anew with the first.
    if (!same_run && !journal_.empty()) replay_due_ = true;
    state_ = now->state;
    login_ = std::move(*outcome.session);
    iscsi_ = login_->context();
    iscsi_set_timeout(iscsi_, 0);
    ++stats_.reconnects;
    log_line("session is back");
    if (replay_due_) {
        begin_replay();
    } else {
        send_held();
    }
}

// Nothing more goes out, and nothing refers to our memory any more.
void LunFile::end_session() {
    stopping_ = true;
    if (login_ != nullptr) {
        // A logout would send what is still queued, for requests that were given up.
        if (!issued_.empty() || verifying_ || lost_) login_->abandon();
        login_.reset();
        iscsi_ = nullptr;
    }
    while (!issued_.empty()) {
        Command* command = issued_.back();
        scsi_free_scsi_task(command->task);
        forget_issued(command);
    }
    for (const Op* op : open_ops_) fuse_reply_err(op->request, EIO);
    open_ops_.clear();
}

std::string LunFile::xattr(std::string_view name) const {
    if (name == "user.umbra.naa") return facts_.identity.naa();
    if (name == "user.umbra.key") return facts_.identity.key();
    if (name == "user.umbra.serial") return facts_.identity.serial;
    if (name == "user.umbra.url") return options_.path.url();
    if (name == "user.umbra.initiator") return options_.initiator;
    if (name == "user.umbra.pid") return std::to_string(::getpid());
    if (name == "user.umbra.read_only") return options_.read_only ? "1" : "0";
    if (name == "user.umbra.inquiry") return base::to_hex(facts_.inquiry);
    if (name == "user.umbra.vpd83") return base::to_hex(facts_.page83);
    if (name == "user.umbra.size") return std::to_string(facts_.size_bytes());
    if (name == "user.umbra.block_bytes") return std::to_string(facts_.block_bytes);
    if (name == "user.umbra.stats") {
        return fmt::format(
            "reads={} read_bytes={} writes={} written_bytes={} flushes={} unmaps={} zeroes={} retries={} errors={} "
            "reconnects={} in_flight={} lost={} connected={} silent_ms={} unflushed={} own_flushes={} rewritten={}",
            stats_.reads, stats_.read_bytes, stats_.writes, stats_.written_bytes, stats_.flushes, stats_.unmaps,
            stats_.zeroes, stats_.retries, stats_.errors, stats_.reconnects, in_flight_, lost_ ? 1 : 0,
            login_ != nullptr && !replaying_ ? 1 : 0, silent_ms(), journal_.end() - journal_.begin(),
            stats_.own_flushes, stats_.rewritten);
    }
    return {};
}

constexpr std::array<std::string_view, 12> kXattrs = {
    "user.umbra.naa",       "user.umbra.key",  "user.umbra.serial",    "user.umbra.url",
    "user.umbra.initiator", "user.umbra.pid",  "user.umbra.read_only", "user.umbra.inquiry",
    "user.umbra.vpd83",     "user.umbra.size", "user.umbra.stats",     "user.umbra.block_bytes"};

void reply_text(fuse_req_t request, std::string_view text, size_t size) {
    if (size == 0) {
        fuse_reply_xattr(request, text.size());
    } else if (size < text.size()) {
        fuse_reply_err(request, ERANGE);
    } else {
        fuse_reply_buf(request, text.data(), text.size());
    }
}

void LunFile::get_xattr(fuse_req_t request, const char* name, size_t size) {
    if (std::find(kXattrs.begin(), kXattrs.end(), std::string_view(name)) == kXattrs.end()) {
        fuse_reply_err(request, ENODATA);
        return;
    }
    reply_text(request, xattr(name), size);
}

void LunFile::list_xattr(fuse_req_t request, size_t size) {
    std::string names;
    for (const std::string_view name : kXattrs) {
        names += name;
        names += '\0';
    }
    reply_text(request, names, size);
}

void LunFile::receive() {
    // Bounded, so that answers are not kept waiting by a flood of requests.
    for (int i = 0; i < 32 && can_receive(); ++i) {
        receive_buffer_ = large_.take();
        receive_taken_ = false;
        ssize_t got = 0;
        do {
            got = ::read(fuse_session_fd(session_), receive_buffer_, kReceiveBytes);
        } while (got < 0 && (errno == EINTR || errno == ENOENT));  // ENOENT: the request was withdrawn meanwhile
        if (got < 0) {
            const int error = errno;
            large_.give(receive_buffer_);
            if (error == EAGAIN) return;
            if (error != ENODEV) log_line("/dev/fuse: {}", ::strerror(error));
            done_ = true;  // unmounted, or aborted
            return;
        }
        fuse_buf buffer{};
        buffer.mem = receive_buffer_;
        buffer.size = static_cast<size_t>(got);
        fuse_session_process_buf(session_, &buffer);
        if (!receive_taken_) large_.give(receive_buffer_);
        if (fuse_session_exited(session_) != 0) done_ = true;
        if (done_) return;
    }
}

void LunFile::loop() {
    int64_t last_service = now_ms();
    while (!done_) {
        const int events = login_ == nullptr ? 0 : iscsi_which_events(iscsi_);
        std::array<pollfd, 3> fds{};
        fds[0] = {can_receive() ? fuse_session_fd(session_) : -1, POLLIN, 0};
        fds[1] = {events == 0 ? -1 : iscsi_get_fd(iscsi_), static_cast<short>(events), 0};
        fds[2] = {worker_.event(), POLLIN, 0};
        int64_t wait = 1000;
        const int64_t before = now_ms();
        if (login_ == nullptr && !lost_ && !worker_.busy()) wait = std::clamp<int64_t>(login_at_ms_ - before, 0, wait);
        for (const Command* command : retry_) wait = std::clamp<int64_t>(command->retry_at_ms - before, 0, wait);
        if (::poll(fds.data(), fds.size(), static_cast<int>(wait)) < 0 && errno != EINTR) {
            log_line("poll: {}", ::strerror(errno));
            return;
        }
        const int64_t now = now_ms();
        if (fds[0].revents != 0) receive();
        if (login_ != nullptr && (fds[1].revents != 0 || now - last_service >= 500)) {
            last_service = now;
            if (iscsi_service(iscsi_, fds[1].revents) < 0 || !login_->connected() || drop_) drop_connection();
        }
        if (fds[2].revents != 0) {
            if (auto outcome = worker_.take(); outcome && !done_) logged_in(std::move(*outcome));
        }
        if (login_ == nullptr && !lost_ && !worker_.busy() && now >= login_at_ms_) worker_.attempt();
        if (!retry_.empty()) {
            std::vector<Command*> due;
            std::erase_if(retry_, [&](Command* command) {
                if (command->retry_at_ms > now) return false;
                due.push_back(command);
                return true;
            });
            for (Command* command : due) send(command);
        }
    }
}

Result<void> LunFile::mount() {
    const std::string source = "fsname=umbra:" + facts_.identity.key();
    std::array<const char*, 5> words = {"umbra-initiator", "-o", source.c_str(), "-o", "subtype=umbra"};
    fuse_args args = FUSE_ARGS_INIT(static_cast<int>(words.size()), const_cast<char**>(words.data()));
    session_ = fuse_session_new(&args, &kOperations, sizeof kOperations, this);
    fuse_opt_free_args(&args);
    if (session_ == nullptr) return fail(Code::kInternal, "libfuse made no session");
    if (fuse_session_mount(session_, options_.file.c_str()) != 0) {
        return fail(Code::kIo, "cannot mount over " + options_.file + " (is /dev/fuse there?)");
    }
    const int fd = fuse_session_fd(session_);
    if (::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) return fail_errno(errno, "/dev/fuse");
    return {};
}

void lock_memory() {
#if defined(__SANITIZE_ADDRESS__)
    return;
#elif defined(__has_feature)
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
    return;
#endif
#endif
    // Writing back a page must not need a page. Each of these is a help that may be refused.
    ::mallopt(M_TRIM_THRESHOLD, 512 << 20);
    ::mallopt(M_MMAP_THRESHOLD, 64 << 20);
    if (::mlockall(MCL_CURRENT | MCL_FUTURE) != 0) log_line("mlockall: {}", ::strerror(errno));
#ifdef PR_SET_IO_FLUSHER
    if (::prctl(PR_SET_IO_FLUSHER, 1, 0, 0, 0) != 0) log_line("PR_SET_IO_FLUSHER: {} (optional)", ::strerror(errno));
#endif
}

// False: nobody waits for it any more.
bool tell(int fd, const std::string& line) {
    return fd < 0 || ::write(fd, line.data(), line.size()) == static_cast<ssize_t>(line.size());
}

Result<void> LunFile::run() {
    UMBRA_TRY(worker_.start());
    const auto mounted = mount();
    if (!mounted) {
        if (session_ != nullptr) {
            fuse_session_unmount(session_);
            fuse_session_destroy(session_);
        }
        return mounted;
    }
    // The kernel's INIT is answered before anyone is told, so that the file is usable at once.
    iscsi_set_timeout(iscsi_, 0);
    lock_memory();
    pollfd first = {fuse_session_fd(session_), POLLIN, 0};
    ::poll(&first, 1, 5000);
    receive();
    const bool wanted = tell(options_.ready_fd, "ready\n");
    if (options_.ready_fd >= 0) ::close(options_.ready_fd);
    if (wanted) loop();
    end_session();
    fuse_session_unmount(session_);
    fuse_session_destroy(session_);
    if (!wanted) return fail(Code::kCancelled, "nobody waits for " + options_.file + " any more");
    return {};
}

}  // namespace

Result<void> serve_lun_file(const LunFileOptions& options) {
    for (const int number : {SIGPIPE, SIGTERM, SIGINT, SIGHUP}) ::signal(number, SIG_IGN);
    const uint64_t isid = IscsiSession::random_isid();
    UMBRA_ASSIGN(auto session,
                 IscsiSession::login(options.path.portal, options.path.target, options.initiator, kLoginSeconds, isid));
    UMBRA_ASSIGN(LunFacts facts, session->read_facts(options.path.lun));
    if (!options.expect_key.empty() && facts.identity.key() != options.expect_key) {
        return fail(Code::kNotFound,
                    options.path.url() + " is " + facts.identity.key() + ", not " + options.expect_key);
    }
    LunFile file(options, std::move(session), isid, std::move(facts));
    return file.run();
}

}  // namespace umbra::host

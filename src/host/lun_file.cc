#include "host/lun_file.h"

#include <fcntl.h>
#include <malloc.h>
#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <utility>
#include <vector>

#define FUSE_USE_VERSION 314
#include <fmt/format.h>
#include <fuse_lowlevel.h>
#include <iscsi/iscsi.h>
#include <iscsi/scsi-lowlevel.h>
#include <linux/falloc.h>

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
constexpr size_t kUnflushedBytes = 32u << 20;   // of writes that the target may still lose
constexpr size_t kUnflushedChanges = 16384;
constexpr int kLoginSeconds = 20;
constexpr int kReloginSeconds = 5;
constexpr int64_t kReloginPauseMs = 500;
constexpr int64_t kAbsentMs = 60'000;

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
};

// What the target has acknowledged, but not yet flushed: a target that is killed or loses power forgets it, while the
// kernel above believes it written until a flush says otherwise. It is kept here, in order, until a flush has covered
// it, and written again on the session after a lost one.
class Unflushed {
public:
    struct Change {
        Kind kind = Kind::kWrite;
        uint32_t blocks = 0;
        uint64_t lba = 0;
        uint64_t at = 0;  // of its data, counted from the beginning of time
        size_t bytes = 0;
    };
    explicit Unflushed(bool used) : arena_(used ? kUnflushedBytes : 0, true), changes_(used ? kUnflushedChanges : 0) {}

    bool fits(size_t bytes) const {
        return next_ - first_ < changes_.size() && place(bytes) + bytes - begin() <= arena_.size();
    }
    bool half_full() const { return 2 * (next_ - first_) >= changes_.size() || 2 * (end_ - begin()) >= arena_.size(); }
    void push(Kind kind, uint64_t lba, uint32_t blocks, const std::byte* data, size_t bytes) {
        UMBRA_CHECK(fits(bytes));
        const uint64_t at = place(bytes);
        if (bytes != 0) std::memcpy(arena_.data() + at % arena_.size(), data, bytes);
        changes_[next_++ % changes_.size()] = {.kind = kind, .blocks = blocks, .lba = lba, .at = at, .bytes = bytes};
        end_ = at + bytes;
    }
    /// Numbers of the oldest change and of the one that comes next.
    uint64_t first() const { return first_; }
    uint64_t next() const { return next_; }
    const Change& at(uint64_t number) const { return changes_[number % changes_.size()]; }
    std::byte* data(const Change& change) { return arena_.data() + change.at % arena_.size(); }
    /// A flush has covered all before `number`.
    void drop_before(uint64_t number) { first_ = std::max(first_, number); }

private:
    uint64_t begin() const { return first_ == next_ ? end_ : at(first_).at; }
    // In one piece: what would go over the end begins anew.
    uint64_t place(size_t bytes) const {
        const uint64_t left = arena_.size() - end_ % arena_.size();
        return bytes <= left ? end_ : end_ + left;
    }
    base::Buffer arena_;
    std::vector<Change> changes_;
    uint64_t first_ = 0;
    uint64_t next_ = 0;
    uint64_t end_ = 0;
};

class LunFile;

// One SCSI command of an Op. libiscsi keeps pointers into it until the answer, so it never moves.
struct Command {
    LunFile* file = nullptr;
    Op* op = nullptr;
    uint64_t lba = 0;
    uint32_t blocks = 0;
    std::byte* data = nullptr;
    scsi_iovec iov{};
    unmap_list unmap{};
    unsigned aborts = 0;
    unsigned busy = 0;
    int64_t retry_at_ms = 0;
    uint64_t number = 0;        // flush: the first change it does not cover; a change without room: its place there
    uint64_t without_room = 0;  // flush: the last of those that it covers
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

class LunFile {
public:
    LunFile(const LunFileOptions& options, std::unique_ptr<IscsiSession> login, uint64_t isid, LunFacts facts)
        : options_(options),
          facts_(std::move(facts)),
          isid_(isid),
          login_(std::move(login)),
          iscsi_(login_->context()),
          large_(kReceiveBytes, kLargeBuffers),
          small_(kSmallBytes, kSmallBuffers),
          ops_(kLargeBuffers + kSmallBuffers),
          commands_(2 * (kLargeBuffers + kSmallBuffers)),
          unflushed_(!options.read_only),
          zero_block_(facts_.block_bytes, true) {
        retry_.reserve(1024);
        held_.reserve(1024);
        without_room_.reserve(1024);
        rewriting_.file = this;
        rewriting_.op = &rewriting_op_;
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
    void try_login();
    void receive();
    bool can_receive() const { return large_.available() >= 2 && small_.available() >= 1; }
    Op* start(fuse_req_t request, Kind kind);
    void finish(Op* op);
    void submit(Op* op, uint64_t lba, uint64_t blocks, std::byte* data);
    void send(Command* command);
    void issue(Command* command);
    void changed(Command* command);
    void flush_for_room();
    void flushed(const Command& command);
    void begin_rewriting();
    void rewrite_next();
    void rewritten(int status, const scsi_sense& sense);
    void complete(Command* command, int status, scsi_task* task);
    void conclude(Command* command, int error);
    void retry_later(Command* command, int64_t delay_ms);
    void verify_identity();
    void send_held();
    void identity_answer(int status, scsi_task* task);
    std::string xattr(std::string_view name) const;
    uint64_t chunk_blocks(Kind kind) const;
    struct stat attributes() const;

    static void on_command(iscsi_context*, int status, void* task, void* command);
    static void on_identity(iscsi_context*, int status, void* task, void* file);

    const LunFileOptions& options_;
    const LunFacts facts_;
    const uint64_t isid_;
    std::unique_ptr<IscsiSession> login_;  // null while the connection is lost
    iscsi_context* iscsi_;                 // of login_
    int64_t login_at_ms_ = 0;              // next attempt
    int64_t lost_at_ms_ = 0;
    fuse_session* session_ = nullptr;
    bool done_ = false;
    BufferPool large_;
    BufferPool small_;
    Slab<Op> ops_;
    Slab<Command> commands_;
    Unflushed unflushed_;
    std::vector<Command*> without_room_;  // done, but not answered before a flush: unflushed_ is full
    uint64_t without_room_count_ = 0;
    bool flushing_for_room_ = false;
    bool rewriting_now_ = false;  // everything else is held
    uint64_t rewrite_at_ = 0;
    bool rewrite_failed_ = false;  // the next flush has to say so
    Op rewriting_op_;
    Command rewriting_;
    base::Buffer zero_block_;
    std::byte* receive_buffer_ = nullptr;  // being processed; a write may take it over
    bool receive_taken_ = false;
    std::vector<Command*> retry_;  // to be sent again at their time
    std::vector<Command*> held_;   // until it is certain that this is still our LUN
    bool verifying_ = false;
    bool lost_ = false;  // another LUN answers at our address: nothing is sent any more
    bool unmap_works_ = true;
    bool write_same_works_ = true;
    bool zero_works_ = true;
    size_t in_flight_ = 0;
    Stats stats_;
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
    op->pending = 1;  // held by the one that starts commands, so that none ends the request before all are sent
    return op;
}

void LunFile::finish(Op* op) {
    if (--op->pending != 0) return;
    if (op->request == nullptr) {
        ops_.give(op);
        return;
    }
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
    ops_.give(op);
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
    if (command == &rewriting_) {
        if (login_ != nullptr && rewriting_now_) issue(command);  // otherwise the next session begins with it
        return;
    }
    if (verifying_ || rewriting_now_ || login_ == nullptr) {
        held_.push_back(command);
        return;
    }
    issue(command);
}

void LunFile::issue(Command* command) {
    const int lun = static_cast<int>(options_.path.lun);
    const int block_bytes = static_cast<int>(facts_.block_bytes);
    const uint32_t bytes = command->blocks * facts_.block_bytes;
    scsi_task* task = nullptr;
    switch (command->op->kind) {
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
            command->number = unflushed_.next();
            command->without_room = without_room_count_;
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
    if (task == nullptr) {
        // No memory, or no session just now: neither is a reason to fail what the file system already accepted.
        retry_later(command, 200);
    }
}

void LunFile::on_command(iscsi_context*, int status, void* task, void* data) {
    auto* command = static_cast<Command*>(data);
    command->file->complete(command, status, static_cast<scsi_task*>(task));
}

// The target has acknowledged a change: it is kept until a flush has covered it, or answered only then.
void LunFile::changed(Command* command) {
    const Kind kind = command->op->kind;
    const size_t bytes = kind == Kind::kWrite ? size_t{command->blocks} * facts_.block_bytes : 0;
    if (without_room_.empty() && unflushed_.fits(bytes)) {
        unflushed_.push(kind, command->lba, command->blocks, command->data, bytes);
        if (unflushed_.half_full()) flush_for_room();
        conclude(command, 0);
        return;
    }
    command->number = ++without_room_count_;
    without_room_.push_back(command);
    flush_for_room();
}

void LunFile::flush_for_room() {
    if (flushing_for_room_) return;
    flushing_for_room_ = true;
    ++stats_.own_flushes;
    submit(start(nullptr, Kind::kFlush), 0, 0, nullptr);
}

void LunFile::flushed(const Command& command) {
    unflushed_.drop_before(command.number);
    std::vector<Command*> done;
    std::erase_if(without_room_, [&](Command* one) {
        if (one->number > command.without_room) return false;
        done.push_back(one);
        return true;
    });
    for (Command* one : done) conclude(one, 0);
}

// On a new session, before anything else is sent.
void LunFile::begin_rewriting() {
    rewrite_at_ = unflushed_.first();
    rewriting_now_ = rewrite_at_ != unflushed_.next();
    if (!rewriting_now_) return;
    log_line("writing {} unflushed changes again", unflushed_.next() - rewrite_at_);
    rewrite_next();
}

// One after the other: they may overlap.
void LunFile::rewrite_next() {
    const Unflushed::Change& change = unflushed_.at(rewrite_at_);
    rewriting_op_.kind = change.kind;
    rewriting_.lba = change.lba;
    rewriting_.blocks = change.blocks;
    rewriting_.data = change.bytes == 0 ? nullptr : unflushed_.data(change);
    send(&rewriting_);
}

void LunFile::rewritten(int status, const scsi_sense& sense) {
    switch (status) {
        case SCSI_STATUS_GOOD:
            ++stats_.rewritten;
            break;
        case SCSI_STATUS_CANCELLED:
        case SCSI_STATUS_ERROR:
        case SCSI_STATUS_TIMEOUT:
            return;  // the session is lost again: the next one begins anew
        case SCSI_STATUS_CHECK_CONDITION:
            if (sense.key == SCSI_SENSE_UNIT_ATTENTION || sense.key == SCSI_SENSE_NOT_READY ||
                sense.key == SCSI_SENSE_COMMAND_ABORTED) {
                retry_later(&rewriting_, 50);
                return;
            }
            log_line("a change of {} blocks at {} is lost: sense key {:#x}, code {:#06x}", rewriting_.blocks,
                     rewriting_.lba, static_cast<unsigned>(sense.key), static_cast<unsigned>(sense.ascq));
            rewrite_failed_ = true;
            break;
        case SCSI_STATUS_RESERVATION_CONFLICT:
            log_line("a change of {} blocks at {} is lost: reservation conflict", rewriting_.blocks, rewriting_.lba);
            rewrite_failed_ = true;
            break;
        default:
            retry_later(&rewriting_, 50);
            return;
    }
    if (++rewrite_at_ != unflushed_.next()) {
        rewrite_next();
        return;
    }
    rewriting_now_ = false;
    send_held();
}

void LunFile::retry_later(Command* command, int64_t delay_ms) {
    ++stats_.retries;
    command->retry_at_ms = now_ms() + delay_ms;
    retry_.push_back(command);
}

void LunFile::conclude(Command* command, int error) {
    Op* op = command->op;
    if (op->kind == Kind::kFlush) {
        if (error == 0 && op->request != nullptr && std::exchange(rewrite_failed_, false)) error = EIO;
        if (op->request == nullptr) {
            flushing_for_room_ = false;
            if (error != 0) {  // nobody can promise that these are kept
                std::vector<Command*> failed;
                failed.swap(without_room_);
                for (Command* one : failed) conclude(one, error);
            } else if (!without_room_.empty()) {
                flush_for_room();
            }
        }
    }
    if (error != 0 && op->error == 0) op->error = error;
    commands_.give(command);
    --in_flight_;
    finish(op);
}

void LunFile::complete(Command* command, int status, scsi_task* task) {
    if (command == &rewriting_) {
        const scsi_sense answer = task != nullptr ? task->sense : scsi_sense{};
        if (task != nullptr) scsi_free_scsi_task(task);
        rewritten(status, answer);
        return;
    }
    const Kind kind = command->op->kind;
    scsi_sense sense{};
    size_t residual = 0;
    bool short_read = false;
    if (task != nullptr) {
        sense = task->sense;
        residual = task->residual;
        short_read = kind == Kind::kRead && status == SCSI_STATUS_GOOD &&
                     task->residual_status == SCSI_RESIDUAL_UNDERFLOW && residual != 0;
        scsi_free_scsi_task(task);
    }
    if (status == SCSI_STATUS_GOOD && !short_read) {
        if (kind == Kind::kWrite || kind == Kind::kUnmap || kind == Kind::kZero) {
            changed(command);
            return;
        }
        if (kind == Kind::kFlush) flushed(*command);
        conclude(command, 0);
        return;
    }
    if (short_read) {
        log_line("read of {} blocks at {}: {} bytes missing", command->blocks, command->lba, residual);
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
            if (asc == 0x29 || asc == 0x3f) verify_identity();
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
            if (kind == Kind::kUnmap || kind == Kind::kZero) {
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

void LunFile::verify_identity() {
    if (verifying_ || lost_ || login_ == nullptr) return;
    scsi_task* task = iscsi_inquiry_task(iscsi_, static_cast<int>(options_.path.lun), 1, 0x83, 8192, on_identity, this);
    verifying_ = task != nullptr;
}

void LunFile::on_identity(iscsi_context*, int status, void* task, void* file) {
    static_cast<LunFile*>(file)->identity_answer(status, static_cast<scsi_task*>(task));
}

void LunFile::identity_answer(int status, scsi_task* task) {
    verifying_ = false;
    bool again = true;
    if (task != nullptr) {
        const auto* data = reinterpret_cast<const std::byte*>(task->datain.data);
        const size_t size = data == nullptr || task->datain.size < 0 ? 0 : static_cast<size_t>(task->datain.size);
        if (status == SCSI_STATUS_GOOD) {
            again = false;
            const auto designators = parse_page83({data, size});
            LunIdentity now;
            if (designators) now.designators = *designators;
            lost_ = now.key() != facts_.identity.key();
        } else if (status == SCSI_STATUS_CHECK_CONDITION && task->sense.key != SCSI_SENSE_UNIT_ATTENTION) {
            again = false;  // no LUN there: the commands will hear it themselves
        }
        scsi_free_scsi_task(task);
    }
    if (lost_)
        log_line("LUN {} is gone from {}: every request fails from now on", facts_.identity.key(), options_.path.url());
    if (again) {
        // With the connection gone, the next login looks anyway.
        verify_identity();
        if (verifying_) return;
    }
    send_held();
}

void LunFile::send_held() {
    if (rewriting_now_) return;
    std::vector<Command*> now;
    now.swap(held_);
    for (Command* command : now) send(command);
}

// What was in flight comes back as cancelled and is sent again on the next session.
void LunFile::drop_connection() {
    log_line("connection lost: {}", iscsi_get_error(iscsi_));
    login_->abandon();
    iscsi_ = nullptr;
    std::unique_ptr<IscsiSession> lost = std::move(login_);
    lost.reset();
    verifying_ = false;
    rewriting_now_ = false;
    std::erase(retry_, &rewriting_);
    // Acknowledged, but neither kept nor flushed: sent again like what was under way.
    held_.insert(held_.end(), without_room_.begin(), without_room_.end());
    without_room_.clear();
    login_at_ms_ = now_ms();
    lost_at_ms_ = login_at_ms_;
}

// For ever: only the administrator gives up on an array. The file's attributes wait meanwhile, for one attempt at most.
void LunFile::try_login() {
    auto login =
        IscsiSession::login(options_.path.portal, options_.path.target, options_.initiator, kReloginSeconds, isid_);
    Result<LunFacts> now =
        login ? (*login)->read_facts(options_.path.lun) : Result<LunFacts>(std::unexpected(login.error()));
    login_at_ms_ = now_ms() + kReloginPauseMs;
    const bool absent = !now && (now.error().code == Code::kNotFound || now.error().code == Code::kUnsupported);
    // An array that is coming up may show its LUNs a little later than itself. One that was taken away from this host
    // in the meantime answers every command with an error of its own.
    if (!now && (!absent || now_ms() - lost_at_ms_ < kAbsentMs)) return;
    if (absent || (now->identity.key() == facts_.identity.key() && now->blocks >= facts_.blocks)) {
        login_ = std::move(*login);
        iscsi_ = login_->context();
        iscsi_set_timeout(iscsi_, 0);
        ++stats_.reconnects;
        log_line("session is back");
        begin_rewriting();
        if (rewriting_now_) return;
    } else {
        // Another LUN or a smaller one: what the file system thinks it has is not there.
        log_line("LUN {} is gone from {}: every request fails from now on", facts_.identity.key(), options_.path.url());
        lost_ = true;
    }
    send_held();
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
            "reconnects={} in_flight={} lost={} unflushed={} own_flushes={} rewritten={}",
            stats_.reads, stats_.read_bytes, stats_.writes, stats_.written_bytes, stats_.flushes, stats_.unmaps,
            stats_.zeroes, stats_.retries, stats_.errors, stats_.reconnects, in_flight_, lost_ ? 1 : 0,
            unflushed_.next() - unflushed_.first(), stats_.own_flushes, stats_.rewritten);
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
        std::array<pollfd, 2> fds{};
        fds[0] = {can_receive() ? fuse_session_fd(session_) : -1, POLLIN, 0};
        fds[1] = {events == 0 ? -1 : iscsi_get_fd(iscsi_), static_cast<short>(events), 0};
        int64_t wait = 1000;
        const int64_t before = now_ms();
        if (login_ == nullptr && !lost_) wait = std::clamp<int64_t>(login_at_ms_ - before, 0, wait);
        for (const Command* command : retry_) wait = std::clamp<int64_t>(command->retry_at_ms - before, 0, wait);
        if (::poll(fds.data(), fds.size(), static_cast<int>(wait)) < 0 && errno != EINTR) {
            log_line("poll: {}", ::strerror(errno));
            return;
        }
        const int64_t now = now_ms();
        if (fds[0].revents != 0) receive();
        if (login_ != nullptr && (fds[1].revents != 0 || now - last_service >= 500)) {
            last_service = now;
            if (iscsi_service(iscsi_, fds[1].revents) < 0 || !login_->connected()) drop_connection();
        }
        if (login_ == nullptr && !lost_ && now >= login_at_ms_) try_login();
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

void tell(int fd, const std::string& line) {
    if (fd < 0) return;
    [[maybe_unused]] const ssize_t n = ::write(fd, line.data(), line.size());
}

Result<void> LunFile::run() {
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
    tell(options_.ready_fd, "ready\n");
    if (options_.ready_fd >= 0) ::close(options_.ready_fd);
    loop();
    fuse_session_unmount(session_);
    fuse_session_destroy(session_);
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

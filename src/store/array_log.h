// The array log: operations that must be durable before the next checkpoint. docs/format/store.md, "Array log".
#pragma once

#include <vector>

#include "env/sync.h"
#include "store/drives.h"

namespace umbra::store {

enum class OpKind : uint8_t { kOpenGroup = 1, kSnapshot = 2, kMeta = 3 };

struct Op {
    uint64_t birth = 0;
    OpKind kind = OpKind::kMeta;
    std::vector<std::byte> body;
};

class ArrayLog {
public:
    ArrayLog(env::Executor& executor, Drives& drives) : drives_(drives), lock_(executor) {}

    /// Queues an operation; returns its number. flush() makes it durable.
    uint64_t append(Op op);
    uint64_t last() const { return appended_; }
    /// True: operations up to `number` are durable. False: they do not fit, only a checkpoint can do it.
    Task<Result<bool>> flush(uint64_t number);

    /// Chooses sound segments for the half that follows checkpoint `checkpoint`; part of writing that checkpoint.
    Result<void> prepare_half(uint64_t checkpoint);
    void store_roots(Label& label) const { label.log_halves = halves_; }
    /// Checkpoint `checkpoint` is durable: everything appended so far is part of it.
    void restart(uint64_t checkpoint);
    /// Takes over the halves of a label.
    void load(const Label& label);
    /// The operations that follow the label's checkpoint.
    /// kMediaError: no copy can be read where the log may go on, unless `tolerant`.
    Task<Result<std::vector<Op>>> replay(bool tolerant);

private:
    Task<Result<void>> write(Bytes record);
    uint64_t array_tag() const { return base::load_le<uint64_t>(drives_.label().array_id.bytes.data()); }

    Drives& drives_;
    env::Mutex lock_;
    std::array<std::vector<Column>, 2> halves_;
    uint64_t checkpoint_ = 0;
    uint32_t next_block_ = 0;
    uint64_t appended_ = 0;
    uint64_t durable_ = 0;
    std::vector<Op> pending_;
};

}  // namespace umbra::store

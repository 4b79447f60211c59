// One command on its way through the device server, and its answer. Free of transports: whoever carries commands
// implements DataOut and reads Response.
#pragma once

#include <array>
#include <cstdint>
#include <utility>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "env/task.h"
#include "scsi/sense.h"

namespace umbra::scsi {

enum class TaskAttribute : uint8_t { kSimple, kOrdered, kHeadOfQueue, kAca };

/// The data that the initiator sends with a command. Lives as long as the command.
class DataOut {
public:
    virtual ~DataOut() = default;
    /// The first `bytes` of the command's data, or all there is when the initiator announced less. At most one call a
    /// command. kCancelled after cancel(). The span stays valid until the command is answered.
    virtual env::Task<base::Result<base::MutableBytes>> fetch(size_t bytes) = 0;
    /// How much the initiator announced.
    virtual size_t announced() const = 0;
    /// A fetch that waits, and every later one, fails at once.
    virtual void cancel() = 0;
    /// Memory for `bytes` of data that the command returns has been accounted for, or kCancelled.
    virtual env::Task<base::Result<void>> reserve(size_t bytes) = 0;
};

enum class Abort : uint8_t {
    kNo,
    kSilent,      ///< no answer is sent: by the nexus itself, or the nexus is gone
    kWithStatus,  ///< TASK ABORTED: by another nexus (control mode page: TAS=1)
};

class LogicalUnit;

/// Owned by the transport; must outlive Device::execute().
struct Command {
    std::array<std::byte, 8> lun{};  ///< SAM-5 4.7
    std::array<std::byte, 16> cdb{};
    TaskAttribute attribute = TaskAttribute::kSimple;
    DataOut* data_out = nullptr;

    // Kept by the device server.
    class Nexus* nexus = nullptr;
    LogicalUnit* unit = nullptr;  ///< whose task set holds the command
    uint64_t serial = 0;
    Abort abort = Abort::kNo;
};

struct Response {
    Status status = Status::kGood;
    std::vector<std::byte> sense;  ///< with CHECK CONDITION
    base::Buffer data_in;          ///< what the command returns; the initiator gets as much as it made room for
    uint64_t data_out_bytes = 0;   ///< what the command asks for, for the residual count
    bool answer = true;            ///< false: aborted, nothing is sent

    static Response good() { return {}; }
    static Response failed(const Failure& failure) {
        Response response;
        response.status = failure.status;
        if (failure.status == Status::kCheckCondition) response.sense = encode_fixed(failure.sense);
        return response;
    }
    static Response data(base::Buffer buffer) {
        Response response;
        response.data_in = std::move(buffer);
        return response;
    }
};

}  // namespace umbra::scsi

// The SCSI device server and task manager of the whole array: commands in, volume operations, status and sense out
// (SAM-5, SPC-4, SBC-3). One logical unit per LUN, shared by all nexuses; unit attentions per I_T_L nexus. Which LUNs a
// nexus reaches is asked of the array for every command. Single executor; nothing here knows a socket.
#pragma once

#include <deque>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "array/presentation.h"
#include "base/guid.h"
#include "env/executor.h"
#include "env/sync.h"
#include "scsi/command.h"
#include "scsi/opcodes.h"
#include "scsi/reservations.h"

namespace umbra::scsi {

struct NexusNames {
    std::string initiator;       ///< iSCSI name of the initiator device: what masks are given to
    std::string initiator_port;  ///< "iqn…,i,0x00023d000001"
    std::string target;          ///< iSCSI name of the target device
};

/// One I_T nexus. Made by Device::open_nexus(), alive until Device::close_nexus() has returned.
class Nexus {
public:
    explicit Nexus(NexusNames n) : names_(std::move(n)) {}
    const NexusNames& names() const { return names_; }

private:
    friend class Device;
    struct Seen {
        base::Guid id;
        std::deque<Sense> attentions;
    };
    void attention(Seen& seen, const Sense& sense) const;

    const NexusNames names_;
    std::map<uint16_t, Seen> seen_;  ///< LUNs that the nexus has addressed, by number
    bool closing_ = false;
};

/// What all nexuses share of one LUN: their commands and its reservations.
class LogicalUnit {
public:
    LogicalUnit(env::Executor& executor, const base::Guid& id)
        : id_(id), changed_(executor), reservation_mutex_(executor) {}

private:
    friend class Device;
    const base::Guid id_;
    std::list<Command*> tasks_;     ///< in order of arrival
    env::Event changed_;            ///< woken when tasks_ changes or one is aborted
    size_t ordered_ = 0;            ///< commands with the ORDERED attribute among tasks_, of any nexus
    Nexus* reserved_by_ = nullptr;  ///< RESERVE(6)
    ReservationState persistent_;
    env::Mutex reservation_mutex_;          ///< one PERSISTENT RESERVE OUT at a time
    bool reservations_unreadable_ = false;  ///< the durable record does not decode: the LUN takes no medium access
    size_t users_ = 0;                      ///< who waits on changed_
};

enum class TaskManagementResult : uint8_t { kComplete, kNoSuchLun };

class Device final : private array::PresentationListener {
public:
    /// `presentation` must outlive the device.
    Device(env::Executor& executor, array::Presentation& presentation);
    ~Device() override;
    Device(const Device&) = delete;
    Device& operator=(const Device&) = delete;

    std::unique_ptr<Nexus> open_nexus(NexusNames names);
    /// I_T nexus loss: aborts the nexus's commands and waits until none of them touches a volume any more.
    env::Task<void> close_nexus(Nexus* nexus);

    /// Runs one command to its end. `command` and its data must outlive the call.
    env::Task<Response> execute(Nexus* nexus, Command* command);

    /// The command takes no further effect once execute() has returned; what it already did stays.
    void abort(Command* command, Abort how);
    /// ABORT TASK SET, and CLEAR TASK SET, which is the same where each nexus has a task set of its own (control mode
    /// page: TST=001b). Returns when the commands concerned have ended.
    env::Task<TaskManagementResult> abort_task_set(Nexus* nexus, std::array<std::byte, 8> lun);
    /// Of all nexuses.
    env::Task<TaskManagementResult> reset_logical_unit(Nexus* nexus, std::array<std::byte, 8> lun);
    /// Resets every LUN that the nexus sees.
    env::Task<void> reset_target(Nexus* nexus);
    /// Returns when no call of the array is inside any more. To be awaited before the device is destroyed while the
    /// array lives on.
    env::Task<void> settle();

    bool has_lun(const Nexus& nexus, std::array<std::byte, 8> lun) const;

private:
    struct Context;

    void on_luns_changed(const std::string& target_iqn, const std::string& initiator) override;
    void on_lun_attention(const base::Guid& lun, array::UnitAttentionCause cause) override;
    env::Task<void> on_access_withdrawn(base::Guid lun) override;

    std::optional<array::PresentedLun> find_lun(const Nexus& nexus, std::array<std::byte, 8> lun) const;
    Nexus::Seen& seen(Nexus& nexus, const array::PresentedLun& lun);
    LogicalUnit& unit(const base::Guid& id);
    void forget_unit_if_idle(LogicalUnit* unit);
    /// To every nexus that has addressed the LUN, but `except`.
    void attention_to_all(const base::Guid& lun, const Sense& sense, const Nexus* except);
    bool conflicts(const Context& context) const;
    /// Why the command may do nothing more to the volume, although it could when it arrived. To be asked after every
    /// wait for the initiator, with no wait until the volume is called.
    std::optional<Failure> no_longer_allowed(const Context& context) const;
    std::optional<Failure> no_longer_allowed(const Command& command) const;
    env::Task<void> abort_tasks(LogicalUnit* unit, const Nexus* by, bool of_all);
    env::Task<bool> enter_task_set(Command* command);
    void leave_task_set(Command* command);
    env::Task<void> drain(LogicalUnit* unit, std::vector<uint64_t> serials);

    Response execute_without_lun(Nexus& nexus, const Command& command, const CommandSpec* spec);
    env::Task<Response> execute_in_unit(Context* context);
    env::Task<Response> dispatch(Context* context);

    // inquiry.cc, parameters.cc
    Response inquiry(const Context& context) const;
    Response report_luns(Nexus& nexus, const Command& command);
    Response request_sense(Context& context);
    Response mode_sense(const Context& context) const;
    Response read_capacity(const Context& context) const;
    Response report_supported_opcodes(const Context& context) const;
    // block_commands.cc
    env::Task<Response> read(Context* context);
    env::Task<Response> write(Context* context);
    env::Task<Response> write_and_verify(Context* context);
    env::Task<Response> verify(Context* context);
    env::Task<Response> synchronize_cache(Context* context);
    env::Task<Response> write_same(Context* context);
    env::Task<Response> unmap(Context* context);
    env::Task<Response> compare_and_write(Context* context);
    env::Task<Response> get_lba_status(Context* context);
    env::Task<Response> start_stop_unit(Context* context);
    env::Task<std::optional<Failure>> verify_medium(Context* context, uint64_t offset, uint64_t bytes);
    env::Task<std::optional<Failure>> verify_content(Context* context, uint64_t offset, base::Bytes expected,
                                                     uint64_t bytes);
    // persistent_commands.cc
    Response reserve6(Context& context);
    Response release6(Context& context);
    Response persistent_reserve_in(const Context& context) const;
    env::Task<Response> persistent_reserve_out(Context* context);

    env::Executor& executor_;
    array::Presentation& presentation_;
    std::list<Nexus*> nexuses_;
    std::map<base::Guid, std::unique_ptr<LogicalUnit>> units_;
    uint64_t next_serial_ = 1;
    size_t withdrawals_ = 0;  ///< calls of on_access_withdrawn() under way
    env::Event settled_;
};

/// A LUN number as the eight-byte field of REPORT LUNS (peripheral device addressing below 256, flat space else), and
/// back; nullopt for every other addressing method.
std::array<std::byte, 8> encode_lun(uint16_t number);
std::optional<uint16_t> decode_lun(const std::array<std::byte, 8>& lun);

}  // namespace umbra::scsi

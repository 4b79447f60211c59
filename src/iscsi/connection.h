// One connection, and the session that it carries: login, full feature phase, end. Internal to src/iscsi.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "env/sync.h"
#include "env/transport.h"
#include "iscsi/login.h"
#include "iscsi/pdu.h"
#include "iscsi/scsi_task.h"
#include "iscsi/server.h"

namespace umbra::iscsi {

/// A sleep that can be ended early. One sleeper at a time.
class Alarm {
public:
    explicit Alarm(env::Executor& executor) : executor_(executor) {}
    ~Alarm() { UMBRA_CHECK(!handle_); }
    /// Later sleeps do not even begin.
    void cancel();
    struct Awaiter {
        Alarm& alarm;
        env::Duration duration;
        bool await_ready() const noexcept { return alarm.cancelled_; }
        void await_suspend(std::coroutine_handle<> handle) const;
        /// False when the alarm was cancelled.
        bool await_resume() const noexcept;
    };
    Awaiter sleep(env::Duration duration) { return {*this, duration}; }

private:
    env::Executor& executor_;
    std::coroutine_handle<> handle_;
    env::TimerId timer_ = 0;
    bool cancelled_ = false;
};

class Connection final : private LoginPolicy, private R2tSender {
public:
    enum class State : uint8_t { kLogin, kFullFeature, kClosing };

    /// `data` is what all connections of the peer's `address` share.
    Connection(TargetServer& server, std::unique_ptr<env::Stream> stream, std::string address, ByteBudget& data);
    ~Connection() override;

    /// From the first byte to the last; nothing of the connection runs any more afterwards.
    env::Task<void> run();
    State state() const { return state_; }
    const LoginIdentity& identity() const { return login_.identity(); }
    const std::string& address() const { return address_; }
    /// A login is under way, or it is a discovery session.
    bool has_no_target() const {
        return state_ == State::kLogin || (state_ == State::kFullFeature && identity().discovery);
    }
    /// Ends the connection: reads and writes fail, tasks are aborted, run() winds up.
    void close();
    /// Asynchronous event 1: the initiator has `grace` to log out.
    void request_logout(env::Duration grace);

private:
    /// Bytes that are counted in control_bytes_ as long as it lives.
    class Held {
    public:
        Held() = default;
        Held(size_t* total, size_t bytes) : total_(total), bytes_(bytes) { *total_ += bytes_; }
        Held(Held&& other) noexcept : total_(std::exchange(other.total_, nullptr)), bytes_(other.bytes_) {}
        Held& operator=(Held&& other) noexcept {
            std::swap(total_, other.total_);
            std::swap(bytes_, other.bytes_);
            return *this;
        }
        ~Held() {
            if (total_ != nullptr) *total_ -= bytes_;
        }

    private:
        size_t* total_ = nullptr;
        size_t bytes_ = 0;
    };
    struct Received {
        Header header;
        std::vector<std::byte> data;
        std::shared_ptr<ScsiTask> task;  ///< SCSI commands
        bool rejected = false;           ///< only its number is left of it
        Held held{};
    };

    LoginStatus admit(const LoginIdentity& identity) override;
    env::Task<base::Result<void>> send_r2t(Header header) override;
    uint32_t next_transfer_tag() override;

    env::Task<bool> log_in();
    /// Ends older sessions of the same initiator port and waits for the commands of ended ones.
    env::Task<LoginStatus> join_session();
    env::Task<void> limit_login_time();
    env::Task<void> probe_peer();
    env::Task<void> send_probe(Header nop);

    env::Task<base::Result<void>> full_feature_phase();
    env::Task<base::Result<void>> receive(Header header);
    env::Task<base::Result<void>> receive_data_out(Header header);
    env::Task<base::Result<void>> receive_scsi_command(Header header);
    base::Result<void> sequence(Received received);
    base::Result<void> dispatch(Received received);
    /// Rejects a command that was read; its number counts as received, or all later commands would wait for it.
    base::Result<void> reject_command(const Header& header, RejectReason reason);
    /// A number whose command will not come counts as received.
    bool plug(uint32_t cmd_sn, uint32_t before);

    env::Task<void> run_scsi_task(std::shared_ptr<ScsiTask> task, bool immediate);
    env::Task<void> answer_nop(Header request, std::vector<std::byte> data, Held held);
    env::Task<void> answer_task_management(Header request);
    /// ABORT TASK SET and beyond, for `lun` or for all: the session's own part and the device server's. True: done.
    env::Task<bool> end_tasks(Header request, bool all_luns, bool of_all_nexuses);
    env::Task<void> answer_text(Header request, std::vector<std::byte> data, Held held);
    env::Task<void> answer_logout(Header request);
    env::Task<void> send_async_logout(env::Duration grace);
    base::Result<void> reject(const Header& header, RejectReason reason);
    env::Task<void> send_reject(Header header, RejectReason reason);
    std::string send_targets(std::string_view which) const;

    /// Data-In and status, or nothing for a task that was aborted; the task leaves the session with it.
    env::Task<void> send_result(ScsiTask* task, scsi::Response* response, bool immediate);
    void retire(ScsiTask* task, bool immediate);
    /// Fills in the sequence numbers in the order of sending. `takes_status`: the PDU has a StatSN of its own.
    env::Task<base::Result<void>> send(Header header, base::Bytes data, bool takes_status);
    /// The answer to `request`. The command counts against the window until the answer's turn to be sent has come.
    env::Task<base::Result<void>> respond(const Header& request, Header header, base::Bytes data);
    env::Task<base::Result<void>> write(const Header& header, base::Bytes data);
    void number(Header& header, bool takes_status);
    void finish_command(bool immediate);
    uint32_t max_cmd_sn() const;

    TargetServer& server_;
    env::Executor& executor_;
    std::unique_ptr<env::Stream> stream_;
    const std::string address_;
    ByteBudget& arriving_;  ///< unsolicited data
    LoginMachine login_;
    PduReader reader_;
    State state_ = State::kLogin;
    bool closed_ = false;
    bool logged_out_ = false;

    // The session.
    uint16_t tsih_ = 0;
    uint64_t session_id_ = 0;
    std::unique_ptr<scsi::Nexus> nexus_;
    SessionParameters parameters_;
    Digests digests_;
    uint32_t expected_cmd_sn_ = 0;
    uint32_t stat_sn_ = 1;
    uint32_t window_;
    uint32_t active_ = 0;   ///< commands counted by the window
    size_t immediate_ = 0;  ///< immediate commands in progress
    size_t rejects_ = 0;
    size_t running_tasks_ = 0;
    uint32_t transfer_tag_ = 0;
    size_t control_bytes_ = 0;  ///< data of commands that are no SCSI commands
    ByteBudget budget_;         ///< solicited and returned data; tasks give back to it, so it lives longer than they
    std::map<uint32_t, Received> early_;                        ///< by CmdSN: those that came before a predecessor
    std::map<uint32_t, std::shared_ptr<ScsiTask>> scsi_tasks_;  ///< by ITT; shared with the coroutine that runs each
    env::Event task_ended_;
    std::string text_answer_;  ///< rest of a text answer that the initiator fetches piece by piece
    uint32_t text_tag_ = kReservedTag;

    env::Mutex sending_;
    env::TaskGroup tasks_;
    Alarm login_alarm_;
    Alarm probe_alarm_;
    Alarm linger_alarm_;
};

}  // namespace umbra::iscsi

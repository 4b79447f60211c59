#include "iscsi/connection.h"

#include <algorithm>

namespace umbra::iscsi {

using base::Bytes;
using base::Code;
using base::fail;

namespace {

constexpr uint8_t kOverflow = 0x04;
constexpr uint8_t kUnderflow = 0x02;
constexpr uint8_t kStatusInDataIn = 0x01;
constexpr size_t kPdusPerWrite = 16;
constexpr Bytes kNoData;
constexpr uint16_t kMaxGraceSeconds = 60;
constexpr env::Duration kLogoutLinger = std::chrono::seconds(5);

// Task management functions and responses (RFC 7143 §11.5.1, §11.6.1).
enum class Function : uint8_t {
    kAbortTask = 1,
    kAbortTaskSet = 2,
    kClearAca = 3,
    kClearTaskSet = 4,
    kLogicalUnitReset = 5,
    kTargetWarmReset = 6,
    kTargetColdReset = 7,
    kTaskReassign = 8,
};
enum class FunctionResponse : uint8_t {
    kComplete = 0,
    kNoTask = 1,
    kNoLun = 2,
    kReassignNotSupported = 4,
    kNotSupported = 5,
    kRejected = 255,
};

}  // namespace

void Alarm::cancel() {
    cancelled_ = true;
    if (handle_ && executor_.cancel_timer(timer_)) executor_.schedule(std::exchange(handle_, {}));
}

void Alarm::Awaiter::await_suspend(std::coroutine_handle<> handle) const {
    alarm.handle_ = handle;
    alarm.timer_ = alarm.executor_.schedule_at(alarm.executor_.now() + duration, handle);
}

bool Alarm::Awaiter::await_resume() const noexcept {
    alarm.handle_ = {};
    return !alarm.cancelled_;
}

Connection::Connection(TargetServer& server, std::unique_ptr<env::Stream> stream, std::string address, ByteBudget& data)
    : server_(server),
      executor_(server.executor_),
      stream_(std::move(stream)),
      address_(std::move(address)),
      arriving_(data),
      login_(*this),
      reader_(*stream_),
      window_(server.config_.command_window),
      budget_(executor_, server.config_.session_data_bytes, &data),
      task_ended_(executor_),
      sending_(executor_),
      tasks_(executor_),
      login_alarm_(executor_),
      probe_alarm_(executor_),
      linger_alarm_(executor_) {}

Connection::~Connection() {
    UMBRA_CHECK(!nexus_);
}

void Connection::close() {
    if (closed_) return;
    closed_ = true;
    stream_->close();
    login_alarm_.cancel();
    probe_alarm_.cancel();
    linger_alarm_.cancel();
    for (auto& [itt, task] : scsi_tasks_) server_.device_.abort(&task->command(), scsi::Abort::kSilent);
    for (auto& [sn, received] : early_) {
        if (received.task) received.task->cancel();
    }
    server_.changed_.wake_all();
}

env::Task<void> Connection::run() {
    tasks_.spawn(limit_login_time());
    const bool logged_in = co_await log_in();
    login_alarm_.cancel();
    if (logged_in) {
        tasks_.spawn(probe_peer());
        // Whatever ends the phase, the connection ends with it.
        (void)co_await full_feature_phase();
    }
    state_ = State::kClosing;
    close();
    early_.clear();
    co_await tasks_.join();
    scsi_tasks_.clear();
    if (nexus_) {
        co_await server_.device_.close_nexus(nexus_.get());
        nexus_.reset();
    }
    if (session_id_ != 0) server_.presentation_.session_ended(session_id_);
}

// --- login -----------------------------------------------------------------------------------------------------------

env::Task<void> Connection::limit_login_time() {
    const bool rang = co_await login_alarm_.sleep(server_.config_.login_timeout);
    if (rang) close();
}

LoginStatus Connection::admit(const LoginIdentity& identity) {
    if (server_.stopping_) return LoginStatus::kServiceUnavailable;
    if (identity.discovery) {
        return identity.tsih == 0 ? LoginStatus::kSuccess : LoginStatus::kSessionDoesNotExist;
    }
    if (!server_.presentation_.has_target(identity.target)) return LoginStatus::kNotFound;
    const auto targets = server_.presentation_.targets_for(identity.initiator);
    if (std::ranges::find(targets, identity.target) == targets.end()) return LoginStatus::kAuthorizationFailure;
    if (identity.tsih == 0) return LoginStatus::kSuccess;
    // Sessions have one connection, and their state ends with it: nothing to join or to recover.
    for (const Connection* other : server_.connections_) {
        if (other == this || other->state_ != State::kFullFeature || other->tsih_ != identity.tsih) continue;
        if (other->identity().initiator != identity.initiator || other->identity().target != identity.target) continue;
        return other->identity().cid == identity.cid ? LoginStatus::kCannotIncludeInSession
                                                     : LoginStatus::kTooManyConnections;
    }
    return LoginStatus::kSessionDoesNotExist;
}

env::Task<LoginStatus> Connection::join_session() {
    const LoginIdentity& identity = login_.identity();
    const auto same_nexus_end = [&](const Connection* other) {
        return other != this && other->nexus_ && other->identity().initiator == identity.initiator &&
               other->identity().target == identity.target;
    };
    while (!identity.discovery && !closed_) {
        // Session reinstatement (§6.3.5): the older session of this initiator port ends.
        bool winding_up = false;
        for (Connection* other : server_.connections_) {
            if (!same_nexus_end(other)) continue;
            if (other->identity().isid == identity.isid) other->close();
            winding_up |= other->closed_;
        }
        // Commands of ended sessions may still be in a volume. Until they are over, the new session could see its own
        // writes overtaken by older ones.
        if (!winding_up) break;
        co_await server_.changed_.wait();
    }
    if (closed_ || server_.stopping_) co_return LoginStatus::kServiceUnavailable;
    do {
        tsih_ = server_.next_tsih_++;
    } while (tsih_ == 0 || std::ranges::any_of(server_.connections_, [&](const Connection* other) {
                 return other != this && other->tsih_ == tsih_;
             }));
    co_return LoginStatus::kSuccess;
}

env::Task<bool> Connection::log_in() {
    bool first = true;
    while (true) {
        auto header = co_await reader_.read_header(kLoginDataSegmentLength);
        if (!header || !*header) co_return false;
        std::vector<std::byte> data((*header)->data_bytes());
        const auto intact = co_await reader_.read_data(data);
        if (!intact) co_return false;
        // Before the login there is nobody to answer to (§6.3: anything else is dropped with the connection).
        if (!(*header)->is(Opcode::kLoginRequest)) co_return false;
        if (first) {
            expected_cmd_sn_ = (*header)->word(24);
            first = false;
        }
        LoginMachine::Reply reply = login_.handle(**header, data);
        if (reply.finished) {
            const LoginStatus status = co_await join_session();
            if (status != LoginStatus::kSuccess) {
                reply.status = status;
                reply.finished = false;
                reply.text.clear();
                reply.header.set_byte(1, (*header)->flags() & 0x0c);
                reply.header.set_half(36, static_cast<uint16_t>(status));
            } else {
                reply.header.set_half(14, tsih_);
            }
        }
        if (reply.finished) {
            parameters_ = login_.parameters();
            const LoginIdentity& identity = login_.identity();
            if (!identity.discovery) {
                nexus_ = server_.device_.open_nexus(
                    {identity.initiator, identity.initiator + ",i," + identity.isid_text(), identity.target});
                session_id_ = server_.next_session_id_++;
                server_.presentation_.session_started(
                    {session_id_, identity.initiator, identity.target, stream_->peer(), identity.isid_text()});
            }
            state_ = State::kFullFeature;
        }
        const auto sent = co_await send(reply.header, base::as_bytes(reply.text), true);
        if (!sent || reply.status != LoginStatus::kSuccess) co_return false;
        if (reply.finished) {
            // The login response itself is still without digests.
            digests_ = {parameters_.header_digest, parameters_.data_digest};
            reader_.set_digests(digests_);
            server_.changed_.wake_all();
            co_return !closed_;
        }
    }
}

// --- receiving -------------------------------------------------------------------------------------------------------

env::Task<void> Connection::probe_peer() {
    uint64_t seen = reader_.received();
    bool asked = false;
    while (true) {
        const bool rang = co_await probe_alarm_.sleep(server_.config_.idle_probe);
        if (!rang) co_return;
        const uint64_t now = reader_.received();
        if (now != seen) {
            seen = now;
            asked = false;
            continue;
        }
        if (asked) {
            close();
            co_return;
        }
        asked = true;
        Header nop(Opcode::kNopIn);
        nop.set_word(16, kReservedTag);
        nop.set_word(20, next_transfer_tag());
        // Sent beside the watch: a peer that does not read must not stop it.
        tasks_.spawn(send_probe(nop));
    }
}

env::Task<void> Connection::send_probe(Header nop) {
    (void)co_await send(nop, kNoData, false);
}

env::Task<base::Result<void>> Connection::full_feature_phase() {
    while (!closed_) {
        UMBRA_CO_ASSIGN(const std::optional<Header> header, co_await reader_.read_header(kMaxRecvDataSegmentLength));
        if (!header) co_return base::Result<void>();
        UMBRA_CO_TRY(co_await receive(*header));
    }
    co_return base::Result<void>();
}

env::Task<base::Result<void>> Connection::receive(Header header) {
    if (header.is(Opcode::kDataOut)) co_return co_await receive_data_out(header);
    if (header.is(Opcode::kScsiCommand)) co_return co_await receive_scsi_command(header);
    Received received{header, std::vector<std::byte>(header.data_bytes()), nullptr};
    UMBRA_CO_ASSIGN(const bool intact, co_await reader_.read_data(received.data));
    const bool known = header.is(Opcode::kNopOut) || header.is(Opcode::kTaskManagementRequest) ||
                       header.is(Opcode::kTextRequest) || header.is(Opcode::kLogoutRequest);
    if (!known) {
        if (header.is(Opcode::kSnackRequest)) co_return reject(header, RejectReason::kSnackReject);
        if (header.is(Opcode::kLoginRequest)) {
            // A login in the full feature phase breaks the session (§6.3).
            (void)reject(header, RejectReason::kProtocolError);
            co_return fail(Code::kCorrupt, "login request in full feature phase");
        }
        co_return reject(header, intact ? RejectReason::kCommandNotSupported : RejectReason::kDataDigestError);
    }
    if (!intact) co_return reject_command(header, RejectReason::kDataDigestError);
    if (control_bytes_ + header.data_bytes() > kMaxControlBytes) {
        co_return reject_command(header, RejectReason::kOutOfResources);
    }
    received.held = Held(&control_bytes_, header.data_bytes());
    co_return sequence(std::move(received));
}

env::Task<base::Result<void>> Connection::receive_data_out(Header header) {
    const auto found = scsi_tasks_.find(header.itt());
    if (login_.identity().discovery) co_return fail(Code::kCorrupt, "data in a discovery session");
    // The task is kept alive while its buffer is being filled, whatever happens to it meanwhile.
    const std::shared_ptr<ScsiTask> task = found == scsi_tasks_.end() ? nullptr : found->second;
    const auto place = task ? task->place_for(header) : std::nullopt;
    if (!place) {
        std::vector<std::byte> unwanted(header.data_bytes());
        UMBRA_CO_TRY(co_await reader_.read_data(unwanted));
        if (task) task->data_arrived(header, false, false);
        co_return base::Result<void>();
    }
    UMBRA_CO_ASSIGN(const bool intact, co_await reader_.read_data(*place));
    task->data_arrived(header, true, intact);
    if (!intact) co_return reject(header, RejectReason::kDataDigestError);
    co_return base::Result<void>();
}

env::Task<base::Result<void>> Connection::receive_scsi_command(Header header) {
    const bool wanted = !login_.identity().discovery && !scsi_tasks_.contains(header.itt());
    if (!wanted) {
        std::vector<std::byte> unwanted(header.data_bytes());
        UMBRA_CO_TRY(co_await reader_.read_data(unwanted));
        co_return reject_command(
            header, login_.identity().discovery ? RejectReason::kProtocolError : RejectReason::kTaskInProgress);
    }
    auto task =
        std::make_shared<ScsiTask>(executor_, header, parameters_, budget_, arriving_, static_cast<R2tSender&>(*this));
    if (header.data_bytes() > 0) {
        const auto place = task->place_for(header);
        if (place) {
            UMBRA_CO_ASSIGN(const bool intact, co_await reader_.read_data(*place));
            task->data_arrived(header, true, intact);
            // The command itself is whole: it ends with the condition that data_arrived() noted.
            if (!intact) UMBRA_CO_TRY(reject(header, RejectReason::kDataDigestError));
        } else {
            std::vector<std::byte> unwanted(header.data_bytes());
            UMBRA_CO_TRY(co_await reader_.read_data(unwanted));
            task->data_arrived(header, false, false);
        }
    }
    Received received{header, {}, std::move(task)};
    co_return sequence(std::move(received));
}

base::Result<void> Connection::reject_command(const Header& header, RejectReason reason) {
    UMBRA_TRY(reject(header, reason));
    if (header.immediate()) return {};
    Received number{header, {}, nullptr, true};
    return sequence(std::move(number));
}

bool Connection::plug(uint32_t cmd_sn, uint32_t before) {
    const bool missing = !serial_less(cmd_sn, expected_cmd_sn_) && !serial_less(max_cmd_sn(), cmd_sn) &&
                         serial_less(cmd_sn, before) && !early_.contains(cmd_sn);
    if (!missing) return false;
    Received number{Header(Opcode::kNopOut), {}, nullptr, true};
    number.header.set_word(24, cmd_sn);
    if (!sequence(std::move(number))) close();
    return true;
}

base::Result<void> Connection::sequence(Received received) {
    if (closed_) return fail(Code::kUnavailable, "the connection is closed");
    if (logged_out_) return {};
    const Header& header = received.header;
    const uint32_t sn = header.word(24);
    if (header.immediate()) {
        if (immediate_ >= kMaxImmediateCommands) return reject(header, RejectReason::kTooManyImmediateCommands);
        ++immediate_;
    } else {
        // Outside the window a command is ignored without a word (§4.2.2.1).
        if (serial_less(sn, expected_cmd_sn_) || serial_less(max_cmd_sn(), sn)) return {};
        if (early_.contains(sn)) return {};
    }
    if (received.task) scsi_tasks_.emplace(header.itt(), received.task);
    if (header.immediate()) return dispatch(std::move(received));
    early_.emplace(sn, std::move(received));
    for (auto next = early_.find(expected_cmd_sn_); next != early_.end(); next = early_.find(expected_cmd_sn_)) {
        Received ready = std::move(next->second);
        early_.erase(next);
        ++expected_cmd_sn_;
        ++active_;
        UMBRA_TRY(dispatch(std::move(ready)));
    }
    return {};
}

base::Result<void> Connection::dispatch(Received received) {
    const Header& header = received.header;
    const bool immediate = header.immediate();
    if (received.rejected) {
        finish_command(immediate);
        return {};
    }
    if (header.is(Opcode::kScsiCommand)) {
        tasks_.spawn(run_scsi_task(std::move(received.task), immediate));
        return {};
    }
    if (header.is(Opcode::kNopOut)) {
        if (header.itt() == kReservedTag) {
            finish_command(immediate);  // the answer to our NOP-In
        } else {
            tasks_.spawn(answer_nop(header, std::move(received.data), std::move(received.held)));
        }
        return {};
    }
    if (header.is(Opcode::kTaskManagementRequest)) {
        if (login_.identity().discovery) {
            finish_command(immediate);
            return reject(header, RejectReason::kProtocolError);
        }
        tasks_.spawn(answer_task_management(header));
        return {};
    }
    if (header.is(Opcode::kTextRequest)) {
        tasks_.spawn(answer_text(header, std::move(received.data), std::move(received.held)));
        return {};
    }
    tasks_.spawn(answer_logout(header));
    return {};
}

void Connection::finish_command(bool immediate) {
    if (immediate) {
        --immediate_;
    } else {
        --active_;
    }
}

uint32_t Connection::max_cmd_sn() const {
    return expected_cmd_sn_ - active_ + window_ - 1;
}

// --- sending ---------------------------------------------------------------------------------------------------------

void Connection::number(Header& header, bool takes_status) {
    header.set_word(24, stat_sn_);
    if (takes_status) ++stat_sn_;
    header.set_word(28, expected_cmd_sn_);
    header.set_word(32, max_cmd_sn());
}

env::Task<base::Result<void>> Connection::send(Header header, Bytes data, bool takes_status) {
    const auto guard = co_await sending_.lock();
    if (closed_) co_return fail(Code::kUnavailable, "the connection is closed");
    number(header, takes_status);
    co_return co_await write(header, data);
}

env::Task<base::Result<void>> Connection::respond(const Header& request, Header header, Bytes data) {
    const bool immediate = request.immediate();
    const auto guard = co_await sending_.lock();
    finish_command(immediate);
    if (closed_) co_return fail(Code::kUnavailable, "the connection is closed");
    number(header, true);
    co_return co_await write(header, data);
}

env::Task<base::Result<void>> Connection::write(const Header& header, Bytes data) {
    PduWriter writer(digests_);
    writer.add(header, data);
    const auto written = co_await stream_->write_all(writer.spans());
    if (!written) close();
    co_return written;
}

env::Task<base::Result<void>> Connection::send_r2t(Header header) {
    const auto sent = co_await send(header, kNoData, false);
    co_return sent;
}

uint32_t Connection::next_transfer_tag() {
    if (++transfer_tag_ == kReservedTag) transfer_tag_ = 1;
    return transfer_tag_;
}

base::Result<void> Connection::reject(const Header& header, RejectReason reason) {
    if (rejects_ >= kMaxPendingRejects) return fail(Code::kCorrupt, "too many wrong PDUs");
    ++rejects_;
    tasks_.spawn(send_reject(header, reason));
    return {};
}

env::Task<void> Connection::send_reject(Header header, RejectReason reason) {
    Header rejection(Opcode::kReject);
    rejection.set_byte(2, static_cast<uint8_t>(reason));
    rejection.set_word(16, kReservedTag);
    (void)co_await send(rejection, header.bytes, true);
    --rejects_;
}

env::Task<void> Connection::answer_nop(Header request, std::vector<std::byte> data, [[maybe_unused]] Held held) {
    Header answer(Opcode::kNopIn);
    answer.set_lun(request.lun());
    answer.set_word(16, request.itt());
    answer.set_word(20, kReservedTag);
    data.resize(std::min<size_t>(data.size(), parameters_.peer_max_recv_data_segment));
    (void)co_await respond(request, answer, data);
}

void Connection::request_logout(env::Duration grace) {
    if (state_ != State::kFullFeature || closed_) return;
    tasks_.spawn(send_async_logout(grace));
}

env::Task<void> Connection::send_async_logout(env::Duration grace) {
    const auto seconds = std::chrono::ceil<std::chrono::seconds>(grace).count();
    Header message(Opcode::kAsyncMessage);
    message.set_word(16, kReservedTag);
    message.set_byte(36, 1);  // the target requests logout
    message.set_half(42, static_cast<uint16_t>(std::clamp<int64_t>(seconds, 1, kMaxGraceSeconds)));
    (void)co_await send(message, kNoData, true);
}

env::Task<void> Connection::answer_logout(Header request) {
    const uint8_t reason = request.flags() & 0x7f;
    Header answer(Opcode::kLogoutResponse);
    answer.set_word(16, request.itt());
    uint8_t result = 0;
    if (reason == 2) result = 2;                                        // recovery is not supported
    if (reason == 1 && request.half(20) != identity().cid) result = 1;  // no such CID
    if (reason > 2) {
        finish_command(request.immediate());
        (void)reject(request, RejectReason::kInvalidPduField);
        co_return;
    }
    answer.set_byte(2, result);
    answer.set_half(40, parameters_.time2wait);
    if (result == 0) {
        logged_out_ = true;
        // The session's tasks end with it (§11.14): none takes effect after the answer.
        for (auto& [itt, task] : scsi_tasks_) server_.device_.abort(&task->command(), scsi::Abort::kSilent);
        while (running_tasks_ > 0) co_await task_ended_.wait();
    }
    const auto sent = co_await respond(request, answer, kNoData);
    if (sent && result == 0) {
        // The initiator closes; if it does not, the answer has had its chance to arrive.
        probe_alarm_.cancel();
        const bool rang = co_await linger_alarm_.sleep(kLogoutLinger);
        if (rang) close();
    }
}

// --- text ------------------------------------------------------------------------------------------------------------

std::string Connection::send_targets(std::string_view which) const {
    std::string out;
    const std::string address = server_.config_.portal.empty() ? stream_->local() : server_.config_.portal;
    for (const std::string& target : server_.presentation_.targets_for(identity().initiator)) {
        if (which != "All" && which != target) continue;
        put_key(out, "TargetName", target);
        put_key(out, "TargetAddress", address + ",1");
    }
    return out;
}

env::Task<void> Connection::answer_text(Header request, std::vector<std::byte> data, [[maybe_unused]] Held held) {
    Header answer(Opcode::kTextResponse, 0);
    answer.set_word(16, request.itt());
    const bool continues_ours = request.ttt() != kReservedTag;
    if (continues_ours && (request.ttt() != text_tag_ || !data.empty())) {
        finish_command(request.immediate());
        (void)reject(request, RejectReason::kInvalidPduField);
        co_return;
    }
    if (!continues_ours) {
        text_answer_.clear();
        text_tag_ = kReservedTag;
        // A request of more than one PDU is never needed for the keys that we take here.
        auto keys = parse_text(data);
        if (!keys || (request.flags() & kContinue) != 0) {
            finish_command(request.immediate());
            (void)reject(request, RejectReason::kProtocolError);
            co_return;
        }
        for (const KeyValue& pair : *keys) {
            const auto& [key, value] = pair;
            if (key == "SendTargets") {
                // All is for discovery sessions only; an empty value means the session's own target (§13.3 annex D).
                if (value == "All" && !identity().discovery) {
                    put_key(text_answer_, key, "Reject");
                } else if (value.empty()) {
                    text_answer_ += identity().discovery ? std::string() : send_targets(identity().target);
                } else {
                    text_answer_ += send_targets(value);
                }
            } else if (key == "MaxRecvDataSegmentLength") {
                SessionParameters changed = parameters_;
                if (negotiate(pair, identity().discovery, changed)) {
                    parameters_.peer_max_recv_data_segment = changed.peer_max_recv_data_segment;
                } else {
                    put_key(text_answer_, key, "Reject");
                }
            } else if (is_operational_key(key)) {
                put_key(text_answer_, key, "Reject");  // login only
            } else {
                put_key(text_answer_, key, "NotUnderstood");
            }
        }
    }
    const size_t count = std::min<size_t>(text_answer_.size(), parameters_.peer_max_recv_data_segment);
    const std::string piece = text_answer_.substr(0, count);
    text_answer_.erase(0, count);
    if (text_answer_.empty()) {
        text_tag_ = kReservedTag;
        answer.set_byte(1, kFinal);
    } else {
        text_tag_ = next_transfer_tag();
        answer.set_byte(1, kContinue);
    }
    answer.set_word(20, text_tag_);
    (void)co_await respond(request, answer, base::as_bytes(piece));
}

// --- task management -------------------------------------------------------------------------------------------------

env::Task<bool> Connection::end_tasks(Header request, bool all_luns, bool of_all_nexuses) {
    const auto lun = request.lun();
    if (!all_luns && !server_.device_.has_lun(*nexus_, lun)) co_return false;
    // None of the session's tasks is answered behind the answer to this: also not one that is through with its LUN and
    // waits for the rest of its data, or is being sent.
    const auto number = scsi::decode_lun(lun);
    std::vector<std::shared_ptr<ScsiTask>> own;
    for (auto& [itt, task] : scsi_tasks_) {
        if (!all_luns && scsi::decode_lun(task->header().lun()) != number) continue;
        if (!task->started() && !serial_less(task->header().word(24), request.word(24))) continue;
        server_.device_.abort(&task->command(), scsi::Abort::kSilent);
        if (task->started()) own.push_back(task);
    }
    if (all_luns) {
        co_await server_.device_.reset_target(nexus_.get());
    } else if (of_all_nexuses) {
        (void)co_await server_.device_.reset_logical_unit(nexus_.get(), lun);
    } else {
        (void)co_await server_.device_.abort_task_set(nexus_.get(), lun);
    }
    for (const std::shared_ptr<ScsiTask>& task : own) {
        for (auto found = scsi_tasks_.find(task->itt()); found != scsi_tasks_.end() && found->second == task;
             found = scsi_tasks_.find(task->itt())) {
            co_await task_ended_.wait();
        }
    }
    co_return true;
}

env::Task<void> Connection::answer_task_management(Header request) {
    auto response = FunctionResponse::kComplete;
    switch (static_cast<Function>(request.flags() & 0x7f)) {
        case Function::kAbortTask: {
            const uint32_t itt = request.word(20);
            const auto found = scsi_tasks_.find(itt);
            if (found != scsi_tasks_.end()) {
                const std::shared_ptr<ScsiTask> task = found->second;
                server_.device_.abort(&task->command(), scsi::Abort::kSilent);
                while (task->started() && scsi_tasks_.contains(itt) && scsi_tasks_.at(itt) == task) {
                    co_await task_ended_.wait();
                }
            } else if (!plug(request.word(32), request.word(24))) {
                // §11.5.1: a command that never came is aborted by taking its number as received.
                response = FunctionResponse::kNoTask;
            }
            break;
        }
        case Function::kAbortTaskSet:
        case Function::kClearTaskSet:
        case Function::kLogicalUnitReset: {
            const bool reset = static_cast<Function>(request.flags() & 0x7f) == Function::kLogicalUnitReset;
            const bool done = co_await end_tasks(request, false, reset);
            if (!done) response = FunctionResponse::kNoLun;
            break;
        }
        case Function::kTargetWarmReset:
            (void)co_await end_tasks(request, true, true);
            break;
        case Function::kClearAca:
        case Function::kTargetColdReset:
            response = FunctionResponse::kNotSupported;
            break;
        case Function::kTaskReassign:
            response = FunctionResponse::kReassignNotSupported;
            break;
        default:
            response = FunctionResponse::kRejected;
            break;
    }
    Header answer(Opcode::kTaskManagementResponse);
    answer.set_byte(2, static_cast<uint8_t>(response));
    answer.set_word(16, request.itt());
    (void)co_await respond(request, answer, kNoData);
}

// --- SCSI ------------------------------------------------------------------------------------------------------------

env::Task<void> Connection::run_scsi_task(std::shared_ptr<ScsiTask> task, bool immediate) {
    task->set_started();
    ++running_tasks_;
    scsi::Response response;
    if (task->data_failure()) {
        // What came with the command is already wrong: it does not begin.
        response = scsi::Response::failed(*task->data_failure());
    } else if (task->refused()) {
        response = scsi::Response::failed(scsi::Failure(scsi::Status::kBusy));
    } else {
        response = co_await server_.device_.execute(nexus_.get(), &task->command());
    }
    co_await task->finish_sequences();
    if (task->data_failure()) {
        const bool answer = response.answer;
        response = scsi::Response::failed(*task->data_failure());
        response.answer = answer;
    }
    co_await send_result(task.get(), &response, immediate);
    --running_tasks_;
    task_ended_.wake_all();
}

void Connection::retire(ScsiTask* task, bool immediate) {
    scsi_tasks_.erase(task->itt());
    finish_command(immediate);
}

env::Task<void> Connection::send_result(ScsiTask* task, scsi::Response* response, bool immediate) {
    const uint64_t expected = task->expected_bytes();
    const bool good = response->status == scsi::Status::kGood || response->status == scsi::Status::kConditionMet;
    const uint64_t asked = good ? std::max<uint64_t>(response->data_in.size(), response->data_out_bytes)
                                : (task->writes() ? std::min<uint64_t>(task->data_received(), expected) : 0);
    uint8_t residual_flag = 0;
    uint64_t residual = 0;
    if (asked > expected) {
        residual_flag = kOverflow;
        residual = asked - expected;
    } else if (asked < expected) {
        residual_flag = kUnderflow;
        residual = expected - asked;
    }
    const size_t data_bytes = good && task->reads() ? std::min<uint64_t>(response->data_in.size(), expected) : 0;

    // Data-In PDUs in batches; other tasks may send between two. The last carries the status.
    size_t sent = 0;
    uint32_t data_sn = 0;
    while (sent < data_bytes) {
        const auto guard = co_await sending_.lock();
        if (closed_ || task->command().abort == scsi::Abort::kSilent) break;
        PduWriter writer(digests_);
        for (size_t pdus = 0; pdus < kPdusPerWrite && sent < data_bytes; ++pdus) {
            const size_t burst_left = parameters_.max_burst - sent % parameters_.max_burst;
            const size_t count =
                std::min({data_bytes - sent, burst_left, size_t{parameters_.peer_max_recv_data_segment}});
            const bool last = sent + count == data_bytes;
            Header data(Opcode::kDataIn, last || count == burst_left ? kFinal : 0);
            data.set_word(16, task->itt());
            data.set_word(20, kReservedTag);
            data.set_word(36, data_sn++);
            data.set_word(40, static_cast<uint32_t>(sent));
            if (last) {
                // The tag is free, and the window opens, with the status.
                retire(task, immediate);
                data.set_byte(1, static_cast<uint8_t>(data.flags() | kStatusInDataIn | residual_flag));
                data.set_byte(3, static_cast<uint8_t>(response->status));
                data.set_word(44, static_cast<uint32_t>(residual));
            }
            number(data, last);
            if (!last) data.set_word(24, 0);  // StatSN is reserved without status
            writer.add(data, response->data_in.span(sent, count));
            sent += count;
        }
        const auto written = co_await stream_->write_all(writer.spans());
        if (!written) close();
        if (sent == data_bytes) co_return;
    }

    const auto guard = co_await sending_.lock();
    retire(task, immediate);
    if (closed_ || !response->answer || task->command().abort == scsi::Abort::kSilent) co_return;
    Header header(Opcode::kScsiResponse, static_cast<uint8_t>(kFinal | residual_flag));
    header.set_byte(3, static_cast<uint8_t>(response->status));
    header.set_word(16, task->itt());
    header.set_word(36, task->r2t_count());
    header.set_word(44, static_cast<uint32_t>(residual));
    std::vector<std::byte> data;
    if (!response->sense.empty()) {
        data.resize(2);
        base::store_be(data.data(), static_cast<uint16_t>(response->sense.size()));
        data.insert(data.end(), response->sense.begin(), response->sense.end());
    }
    number(header, true);
    PduWriter writer(digests_);
    writer.add(header, data);
    const auto written = co_await stream_->write_all(writer.spans());
    if (!written) close();
}

}  // namespace umbra::iscsi

#include "scsi/device.h"

#include <algorithm>

#include "scsi/context.h"

namespace umbra::scsi {

namespace {
constexpr size_t kMaxAttentions = 16;  // per I_T_L nexus; the same one is never queued twice
}

std::array<std::byte, 8> encode_lun(uint16_t number) {
    std::array<std::byte, 8> lun{};
    if (number < 256) {
        lun[1] = static_cast<std::byte>(number);
    } else {
        base::store_be(lun.data(), static_cast<uint16_t>(0x4000 | (number & kMaxLunNumber)));
    }
    return lun;
}

std::optional<uint16_t> decode_lun(const std::array<std::byte, 8>& lun) {
    if (!base::is_zero(base::Bytes(lun).subspan(2))) return std::nullopt;
    const auto first = base::load_be<uint16_t>(lun.data());
    switch (first >> 14) {
        case 0:
            return first < 256 ? std::optional<uint16_t>(first) : std::nullopt;  // bus 0 only
        case 1:
            return static_cast<uint16_t>(first & kMaxLunNumber);
        default:
            return std::nullopt;
    }
}

void Nexus::attention(Seen& seen, const Sense& sense) const {
    if (seen.attentions.size() >= kMaxAttentions ||
        std::ranges::find(seen.attentions, sense) != seen.attentions.end()) {
        return;
    }
    seen.attentions.push_back(sense);
}

Device::Device(env::Executor& executor, array::Presentation& presentation)
    : executor_(executor), presentation_(presentation), settled_(executor) {
    presentation_.add_listener(this);
}

Device::~Device() {
    UMBRA_CHECK(nexuses_.empty() && withdrawals_ == 0);
    presentation_.remove_listener(this);
}

std::unique_ptr<Nexus> Device::open_nexus(NexusNames names) {
    auto nexus = std::make_unique<Nexus>(std::move(names));
    // Every LUN starts with a unit attention, so the nexus has to know its LUNs from now on.
    for (const array::PresentedLun& lun : presentation_.luns(nexus->names().target, nexus->names().initiator)) {
        seen(*nexus, lun);
    }
    nexuses_.push_back(nexus.get());
    return nexus;
}

env::Task<void> Device::close_nexus(Nexus* nexus) {
    nexus->closing_ = true;
    std::vector<base::Guid> ids;
    for (auto& [id, unit] : units_) ids.push_back(id);
    for (const base::Guid& id : ids) {
        const auto found = units_.find(id);
        if (found == units_.end()) continue;
        LogicalUnit* unit = found->second.get();
        std::vector<uint64_t> mine;
        for (Command* command : unit->tasks_) {
            if (command->nexus != nexus) continue;
            abort(command, Abort::kSilent);
            mine.push_back(command->serial);
        }
        co_await drain(unit, std::move(mine));
        if (unit->reserved_by_ == nexus) unit->reserved_by_ = nullptr;
        forget_unit_if_idle(unit);
    }
    nexuses_.remove(nexus);
}

std::optional<array::PresentedLun> Device::find_lun(const Nexus& nexus, std::array<std::byte, 8> lun) const {
    const auto number = decode_lun(lun);
    if (!number) return std::nullopt;
    return presentation_.lun(nexus.names().target, nexus.names().initiator, *number);
}

bool Device::has_lun(const Nexus& nexus, std::array<std::byte, 8> lun) const {
    return find_lun(nexus, lun).has_value();
}

Nexus::Seen& Device::seen(Nexus& nexus, const array::PresentedLun& lun) {
    auto [it, added] = nexus.seen_.try_emplace(lun.number);
    Nexus::Seen& seen = it->second;
    if (added || seen.id != lun.identity->id) {
        const bool replaced = !added;
        seen = {lun.identity->id, {sense::kPowerOn}};
        if (replaced) seen.attentions.push_back(sense::kInquiryDataChanged);
    }
    return seen;
}

LogicalUnit& Device::unit(const base::Guid& id) {
    auto& unit = units_[id];
    if (!unit) {
        unit = std::make_unique<LogicalUnit>(executor_, id);
        auto record = ReservationState::decode(presentation_.reservations(id));
        if (record) {
            unit->persistent_ = std::move(*record);
        } else {
            unit->reservations_unreadable_ = true;
        }
    }
    return *unit;
}

void Device::forget_unit_if_idle(LogicalUnit* unit) {
    if (!unit->tasks_.empty() || unit->reserved_by_ != nullptr || unit->users_ > 0) return;
    if (!unit->persistent_.registrations().empty() || unit->persistent_.generation() != 0) return;
    const base::Guid id = unit->id_;
    units_.erase(id);
}

void Device::attention_to_all(const base::Guid& lun, const Sense& sense, const Nexus* except) {
    for (Nexus* nexus : nexuses_) {
        if (nexus == except) continue;
        for (auto& [number, seen] : nexus->seen_) {
            if (seen.id == lun) nexus->attention(seen, sense);
        }
    }
}

void Device::on_luns_changed(const std::string& target_iqn, const std::string& initiator) {
    for (Nexus* nexus : nexuses_) {
        if (nexus->names().target != target_iqn || nexus->names().initiator != initiator) continue;
        std::erase_if(nexus->seen_, [&](const auto& entry) {
            const auto now = presentation_.lun(target_iqn, initiator, entry.first);
            return !now || now->identity->id != entry.second.id;
        });
        for (auto& [number, seen] : nexus->seen_) nexus->attention(seen, sense::kReportedLunsChanged);
        for (const array::PresentedLun& lun : presentation_.luns(target_iqn, initiator)) seen(*nexus, lun);
    }
}

void Device::on_lun_attention(const base::Guid& lun, array::UnitAttentionCause cause) {
    switch (cause) {
        case array::UnitAttentionCause::kReportedLunsChanged:
            return attention_to_all(lun, sense::kReportedLunsChanged, nullptr);
        case array::UnitAttentionCause::kCapacityChanged:
            return attention_to_all(lun, sense::kCapacityChanged, nullptr);
        case array::UnitAttentionCause::kModeParametersChanged:
            return attention_to_all(lun, sense::kModeParametersChanged, nullptr);
        case array::UnitAttentionCause::kInquiryDataChanged:
            return attention_to_all(lun, sense::kInquiryDataChanged, nullptr);
        case array::UnitAttentionCause::kThinSoftThreshold:
            return attention_to_all(lun, sense::kThinSoftThreshold, nullptr);
    }
}

// --- task sets -------------------------------------------------------------------------------------------------------

env::Task<bool> Device::enter_task_set(Command* command) {
    LogicalUnit& unit = *command->unit;
    command->serial = next_serial_++;
    unit.tasks_.push_back(command);
    if (command->attribute == TaskAttribute::kOrdered) ++unit.ordered_;
    // SAM-5 8.6: an ordered command waits for all older ones, a simple one for older ordered ones; of its own nexus, so
    // that an initiator whose data does not come stops nobody else.
    while (unit.ordered_ > 0 && command->abort == Abort::kNo && command->attribute != TaskAttribute::kHeadOfQueue) {
        bool wait = false;
        for (const Command* older : unit.tasks_) {
            if (older == command) break;
            if (older->nexus != command->nexus) continue;
            if (command->attribute == TaskAttribute::kOrdered || older->attribute == TaskAttribute::kOrdered) {
                wait = true;
                break;
            }
        }
        if (!wait) break;
        co_await unit.changed_.wait();
    }
    co_return command->abort == Abort::kNo;
}

void Device::leave_task_set(Command* command) {
    LogicalUnit& unit = *command->unit;
    unit.tasks_.remove(command);
    if (command->attribute == TaskAttribute::kOrdered) --unit.ordered_;
    unit.changed_.wake_all();
}

void Device::abort(Command* command, Abort how) {
    if (command->abort == Abort::kSilent) return;
    command->abort = how;
    if (command->data_out != nullptr) command->data_out->cancel();
    if (command->unit != nullptr) command->unit->changed_.wake_all();
}

env::Task<void> Device::drain(LogicalUnit* unit, std::vector<uint64_t> serials) {
    ++unit->users_;
    const auto running = [&] {
        return std::ranges::any_of(unit->tasks_, [&](const Command* task) {
            return std::ranges::find(serials, task->serial) != serials.end();
        });
    };
    while (running()) co_await unit->changed_.wait();
    --unit->users_;
}

env::Task<void> Device::abort_tasks(LogicalUnit* unit, const Nexus* by, bool of_all) {
    std::vector<uint64_t> concerned;
    for (Command* command : unit->tasks_) {
        const bool own = command->nexus == by;
        if (!own && !of_all) continue;
        abort(command, own ? Abort::kSilent : Abort::kWithStatus);
        concerned.push_back(command->serial);
    }
    co_await drain(unit, std::move(concerned));
}

env::Task<TaskManagementResult> Device::abort_task_set(Nexus* nexus, std::array<std::byte, 8> lun) {
    const auto presented = find_lun(*nexus, lun);
    if (!presented) co_return TaskManagementResult::kNoSuchLun;
    co_await abort_tasks(&unit(presented->identity->id), nexus, false);
    co_return TaskManagementResult::kComplete;
}

env::Task<void> Device::on_access_withdrawn(base::Guid lun) {
    ++withdrawals_;
    const auto found = units_.find(lun);
    if (found != units_.end()) {
        LogicalUnit* unit = found->second.get();
        std::vector<uint64_t> concerned;
        for (Command* command : unit->tasks_) {
            if (!no_longer_allowed(*command)) continue;
            abort(command, Abort::kWithStatus);
            concerned.push_back(command->serial);
        }
        co_await drain(unit, std::move(concerned));
        forget_unit_if_idle(unit);
    }
    if (--withdrawals_ == 0) settled_.wake_all();
}

env::Task<void> Device::settle() {
    while (withdrawals_ > 0) co_await settled_.wait();
}

env::Task<TaskManagementResult> Device::reset_logical_unit(Nexus* nexus, std::array<std::byte, 8> lun) {
    const auto presented = find_lun(*nexus, lun);
    if (!presented) co_return TaskManagementResult::kNoSuchLun;
    const base::Guid id = presented->identity->id;
    LogicalUnit* target = &unit(id);
    target->reserved_by_ = nullptr;
    attention_to_all(id, sense::kDeviceReset, nullptr);
    co_await abort_tasks(target, nexus, true);
    co_return TaskManagementResult::kComplete;
}

env::Task<void> Device::reset_target(Nexus* nexus) {
    const auto luns = presentation_.luns(nexus->names().target, nexus->names().initiator);
    for (const array::PresentedLun& lun : luns) {
        const auto field = encode_lun(lun.number);
        co_await reset_logical_unit(nexus, field);
    }
}

// --- commands --------------------------------------------------------------------------------------------------------

bool Device::conflicts(const Context& context) const {
    const Access access = context.spec.access;
    const Nexus* holder = context.unit.reserved_by_;
    if (holder != nullptr && holder != &context.nexus && access != Access::kAny) {
        // SPC-2 5.5.1: allowing removal disturbs nobody.
        return !(context.spec.kind == CommandKind::kPreventAllow && !context.bit(4, 0x03));
    }
    // Starting the unit is allowed beside any persistent reservation (SBC-3 table 14).
    if (context.spec.kind == CommandKind::kStartStopUnit && (context.byte(4) & 0xf1) == 0x01) return false;
    const RegistrantId who{context.nexus.names().initiator_port, context.nexus.names().target};
    return !context.unit.persistent_.allows(who, access);
}

std::optional<Failure> Device::no_longer_allowed(const Command& command) const {
    const auto now = find_lun(*command.nexus, command.lun);
    if (!now || now->identity->id != command.unit->id_) return Failure(sense::kLunNotSupported);
    bool known = false;
    const CommandSpec* spec = find_command(command.cdb, &known);
    if (spec != nullptr && spec->changes_medium && (now->identity->write_protected || !now->volume->writable())) {
        return Failure(sense::kWriteProtected);
    }
    return std::nullopt;
}

std::optional<Failure> Device::no_longer_allowed(const Context& context) const {
    if (context.aborted()) return Failure(Status::kTaskAborted);
    return no_longer_allowed(context.command);
}

env::Task<Response> Device::execute(Nexus* nexus, Command* command) {
    command->nexus = nexus;
    if (nexus->closing_) command->abort = Abort::kSilent;
    bool known = false;
    const CommandSpec* spec = find_command(command->cdb, &known);
    const auto presented = find_lun(*nexus, command->lun);
    if (!presented) co_return execute_without_lun(*nexus, *command, spec);
    if (spec == nullptr) {
        // SAM-5 5.14: a pending unit attention is reported first.
        Nexus::Seen& state = seen(*nexus, *presented);
        if (!state.attentions.empty()) {
            const Sense attention = state.attentions.front();
            state.attentions.pop_front();
            co_return Response::failed(attention);
        }
        co_return Response::failed(known ? sense::kInvalidFieldInCdb : sense::kInvalidOpcode);
    }
    command->unit = &unit(presented->identity->id);
    Response response;
    const bool entered = co_await enter_task_set(command);
    // Its turn may have been long in coming: what it may do is decided by what the LUN is now.
    const auto now = entered ? find_lun(*nexus, command->lun) : std::nullopt;
    if (now && now->identity->id == command->unit->id_) {
        Context context{*nexus, seen(*nexus, *now), *command->unit, *command, *spec, *now->identity, *now->volume};
        response = co_await execute_in_unit(&context);
    } else {
        response = Response::failed(sense::kLunNotSupported);
    }
    leave_task_set(command);
    command->unit = nullptr;
    switch (command->abort) {
        case Abort::kNo:
            break;
        case Abort::kSilent:
            response.answer = false;
            break;
        case Abort::kWithStatus:
            response = Response::failed(Failure(Status::kTaskAborted));
            break;
    }
    co_return response;
}

Response Device::execute_without_lun(Nexus& nexus, const Command& command, const CommandSpec* spec) {
    if (spec == nullptr) return Response::failed(sense::kLunNotSupported);
    const size_t bytes = spec->cdb_bytes;
    const bool naca = (command.cdb[bytes - 1] & std::byte{0x04}) != std::byte{0};
    switch (spec->kind) {
        case CommandKind::kInquiry: {
            if (naca) return Response::failed(sense::kInvalidFieldInCdb);
            if ((command.cdb[1] & std::byte{0x03}) != std::byte{0} || command.cdb[2] != std::byte{0}) {
                return Response::failed(sense::kInvalidFieldInCdb);
            }
            std::array<std::byte, 36> data{};
            data[0] = std::byte{0x7f};  // qualifier 011b: the target cannot have a device here
            data[2] = std::byte{0x06};
            data[3] = std::byte{0x12};
            data[4] = std::byte{sizeof(data) - 5};
            const array::ProductStrings& product = presentation_.product();
            put_text(base::MutableBytes(data).subspan(8, 8), product.vendor);
            put_text(base::MutableBytes(data).subspan(16, 16), product.product);
            put_text(base::MutableBytes(data).subspan(32, 4), product.revision);
            return parameter_data(data, base::load_be<uint16_t>(&command.cdb[3]));
        }
        case CommandKind::kReportLuns:
            if (naca) return Response::failed(sense::kInvalidFieldInCdb);
            return report_luns(nexus, command);
        case CommandKind::kRequestSense: {
            if (naca) return Response::failed(sense::kInvalidFieldInCdb);
            const bool descriptor = (command.cdb[1] & std::byte{1}) != std::byte{0};
            const auto data =
                descriptor ? encode_descriptor(sense::kLunNotSupported) : encode_fixed(sense::kLunNotSupported);
            return parameter_data(data, std::to_integer<uint64_t>(command.cdb[4]));
        }
        default:
            return Response::failed(sense::kLunNotSupported);
    }
}

env::Task<Response> Device::execute_in_unit(Context* context) {
    const CommandKind kind = context->spec.kind;
    const bool reports_anyway =
        kind == CommandKind::kInquiry || kind == CommandKind::kReportLuns || kind == CommandKind::kRequestSense;
    if (!reports_anyway && !context->seen.attentions.empty()) {
        const Sense attention = context->seen.attentions.front();
        context->seen.attentions.pop_front();
        co_return Response::failed(attention);
    }
    if (conflicts(*context)) co_return Response::failed(Failure(Status::kReservationConflict));
    const Access access = context->spec.access;
    if (context->unit.reservations_unreadable_ && (access == Access::kReads || access == Access::kWrites)) {
        // Whom the LUN is reserved for is not known, so nobody gets at the medium until the record is written anew.
        co_return Response::failed(sense::kInternalTargetFailure);
    }
    if (context->bit(context->spec.cdb_bytes - 1, 0x04)) co_return Response::failed(sense::kInvalidFieldInCdb);
    if (context->spec.changes_medium && context->write_protected()) {
        co_return Response::failed(sense::kWriteProtected);
    }
    co_return co_await dispatch(context);
}

env::Task<Response> Device::dispatch(Context* context) {
    switch (context->spec.kind) {
        case CommandKind::kTestUnitReady:
            co_return Response::good();
        case CommandKind::kRequestSense:
            co_return request_sense(*context);
        case CommandKind::kInquiry:
            co_return inquiry(*context);
        case CommandKind::kReserve6:
            co_return reserve6(*context);
        case CommandKind::kRelease6:
            co_return release6(*context);
        case CommandKind::kModeSense6:
        case CommandKind::kModeSense10:
            co_return mode_sense(*context);
        case CommandKind::kStartStopUnit:
            co_return co_await start_stop_unit(context);
        case CommandKind::kPreventAllow:
            // Nothing here can be removed, so there is nothing to prevent. Values 2 and 3 are obsolete.
            if (context->byte(4) & 0x02) co_return Response::failed(sense::kInvalidFieldInCdb);
            co_return Response::good();
        case CommandKind::kReadCapacity10:
        case CommandKind::kReadCapacity16:
            co_return read_capacity(*context);
        case CommandKind::kRead:
            co_return co_await read(context);
        case CommandKind::kWrite:
            co_return co_await write(context);
        case CommandKind::kWriteAndVerify:
            co_return co_await write_and_verify(context);
        case CommandKind::kVerify:
            co_return co_await verify(context);
        case CommandKind::kSynchronizeCache:
            co_return co_await synchronize_cache(context);
        case CommandKind::kWriteSame:
            co_return co_await write_same(context);
        case CommandKind::kUnmap:
            co_return co_await unmap(context);
        case CommandKind::kCompareAndWrite:
            co_return co_await compare_and_write(context);
        case CommandKind::kPersistentReserveIn:
            co_return persistent_reserve_in(*context);
        case CommandKind::kPersistentReserveOut:
            co_return co_await persistent_reserve_out(context);
        case CommandKind::kGetLbaStatus:
            co_return co_await get_lba_status(context);
        case CommandKind::kReportLuns:
            co_return report_luns(context->nexus, context->command);
        case CommandKind::kReportSupportedOpcodes:
            co_return report_supported_opcodes(*context);
    }
    co_return Response::failed(sense::kInternalTargetFailure);
}

}  // namespace umbra::scsi

// RESERVE(6) and RELEASE(6) (SPC-2 5.5), PERSISTENT RESERVE IN and OUT (SPC-4 6.15, 6.16).
#include "scsi/context.h"

namespace umbra::scsi {

using base::load_be;
using base::store_be;

namespace {

RegistrantId registrant(const Nexus& nexus) {
    return {nexus.names().initiator_port, nexus.names().target};
}

/// iSCSI TransportID with the initiator port name (SPC-4 7.6.4.6).
std::vector<std::byte> transport_id(const std::string& port) {
    std::vector<std::byte> out(4);
    out[0] = std::byte{0x45};
    const base::Bytes name = base::as_bytes(port);
    out.insert(out.end(), name.begin(), name.end());
    do out.push_back(std::byte{0});
    while (out.size() % 4 != 0 || out.size() < 24);
    store_be(&out[2], static_cast<uint16_t>(out.size() - 4));
    return out;
}

}  // namespace

Response Device::reserve6(Context& context) {
    // Beside persistent reservations the old kind conflicts (SPC-4 5.13.1, CRH = 0).
    if (!context.unit.persistent_.registrations().empty()) {
        return Response::failed(Failure(Status::kReservationConflict));
    }
    if (context.bit(1, 0x1f)) return Response::failed(sense::kInvalidFieldInCdb);  // third party, extent
    context.unit.reserved_by_ = &context.nexus;
    return Response::good();
}

Response Device::release6(Context& context) {
    if (!context.unit.persistent_.registrations().empty()) {
        return Response::failed(Failure(Status::kReservationConflict));
    }
    if (context.bit(1, 0x1f)) return Response::failed(sense::kInvalidFieldInCdb);
    if (context.unit.reserved_by_ == &context.nexus) context.unit.reserved_by_ = nullptr;
    return Response::good();
}

Response Device::persistent_reserve_in(const Context& context) const {
    const auto allocation = load_be<uint16_t>(&context.cdb()[7]);
    const ReservationState& state = context.unit.persistent_;
    if (context.unit.reserved_by_ != nullptr) return Response::failed(Failure(Status::kReservationConflict));
    std::vector<std::byte> data(8);
    store_be(data.data(), state.generation());
    switch (context.byte(1) & 0x1f) {
        case 0:  // READ KEYS
            for (const Registration& registration : state.registrations()) {
                const size_t at = data.size();
                data.resize(at + 8);
                store_be(&data[at], registration.key);
            }
            break;
        case 1:  // READ RESERVATION
            if (state.type()) {
                data.resize(24);
                store_be(&data[8], state.holder_key());
                data[21] = static_cast<std::byte>(*state.type());
            }
            break;
        case 2: {  // REPORT CAPABILITIES
            std::array<std::byte, 8> capabilities{};
            store_be(capabilities.data(), uint16_t{8});
            capabilities[2] = std::byte{0x01};                                            // PTPL_C
            capabilities[3] = static_cast<std::byte>(0x80 | (state.aptpl() ? 0x01 : 0));  // TMV, PTPL_A
            capabilities[4] = std::byte{0xea};                                            // all six types
            capabilities[5] = std::byte{0x01};
            return parameter_data(capabilities, allocation);
        }
        case 3:  // READ FULL STATUS
            for (const Registration& registration : state.registrations()) {
                const std::vector<std::byte> id = transport_id(registration.who.initiator_port);
                const size_t at = data.size();
                data.resize(at + 24);
                store_be(&data[at], registration.key);
                if (state.is_holder(registration.who)) {
                    data[at + 12] = std::byte{0x01};  // R_HOLDER
                    data[at + 13] = static_cast<std::byte>(*state.type());
                }
                store_be(&data[at + 18], uint16_t{1});  // relative target port
                store_be(&data[at + 20], static_cast<uint32_t>(id.size()));
                data.insert(data.end(), id.begin(), id.end());
            }
            break;
        default:
            return Response::failed(sense::kInvalidFieldInCdb);
    }
    store_be(&data[4], static_cast<uint32_t>(data.size() - 8));
    return parameter_data(data, allocation);
}

env::Task<Response> Device::persistent_reserve_out(Context* context) {
    constexpr uint32_t kParameterBytes = 24;
    LogicalUnit& unit = context->unit;
    if (unit.reserved_by_ != nullptr) co_return Response::failed(Failure(Status::kReservationConflict));
    const uint8_t action = context->byte(1) & 0x1f;
    const auto list_bytes = load_be<uint32_t>(&context->cdb()[5]);
    if (list_bytes != kParameterBytes) co_return Response::failed(sense::kParameterListLengthError);
    const auto data = co_await context->command.data_out->fetch(kParameterBytes);
    if (!data) co_return Response::failed(failure_for(data.error().code));
    if (const auto failure = no_longer_allowed(*context)) co_return Response::failed(*failure);
    if (data->size() < kParameterBytes) co_return Response::failed(sense::kParameterListLengthError);

    PersistentReserveRequest request;
    request.action = static_cast<PersistentReserveOut>(action);
    request.from = registrant(context->nexus);
    request.scope = context->byte(2) >> 4;
    request.type = context->byte(2) & 0x0f;
    request.key = load_be<uint64_t>(data->data());
    request.action_key = load_be<uint64_t>(data->data() + 8);
    const auto flags = std::to_integer<uint8_t>((*data)[20]);
    const bool registers =
        request.action == PersistentReserveOut::kRegister || request.action == PersistentReserveOut::kRegisterAndIgnore;
    // SPEC_I_PT and ALL_TG_PT are not offered (REPORT CAPABILITIES says so).
    if (registers && (flags & 0x0c) != 0) co_return Response::failed(sense::kInvalidFieldInParameterList);
    request.aptpl = (flags & 0x01) != 0;

    auto guard = co_await unit.reservation_mutex_.lock();
    if (context->aborted()) co_return Response::failed(Failure(Status::kTaskAborted));
    ReservationState next = unit.persistent_;
    PersistentReserveOutcome outcome = next.apply(request);
    Response response;
    response.data_out_bytes = kParameterBytes;
    if (outcome.failure) {
        response = Response::failed(*outcome.failure);
        co_return response;
    }
    std::string record = next.encode();
    if (unit.reservations_unreadable_ || record != unit.persistent_.encode()) {
        // Durable first: a reservation that was promised to survive must never be seen only by us.
        const auto saved = co_await presentation_.save_reservations(unit.id_, std::move(record));
        if (!saved) {
            response = Response::failed(failure_for(saved.error().code));
            co_return response;
        }
        unit.reservations_unreadable_ = false;
    }
    unit.persistent_ = std::move(next);
    for (const auto& [who, attention] : outcome.attentions) {
        for (Nexus* nexus : nexuses_) {
            if (registrant(*nexus) != who) continue;
            for (auto& [number, state] : nexus->seen_) {
                if (state.id == unit.id_) nexus->attention(state, attention);
            }
        }
    }
    std::vector<uint64_t> ended;
    for (Command* command : unit.tasks_) {
        for (const RegistrantId& who : outcome.abort) {
            if (registrant(*command->nexus) != who) continue;
            abort(command, Abort::kWithStatus);
            ended.push_back(command->serial);
        }
    }
    guard.unlock();  // one of those that end may wait for it
    co_await drain(&unit, std::move(ended));
    co_return response;
}

}  // namespace umbra::scsi

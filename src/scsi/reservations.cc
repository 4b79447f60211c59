#include "scsi/reservations.h"

#include <algorithm>

#include "base/bytes.h"
#include "base/crc32c.h"
#include "scsi/limits.h"

namespace umbra::scsi {

namespace {
constexpr uint32_t kRecordMagic = 0x31525055;  // "UPR1"
constexpr uint32_t kRecordVersion = 1;
constexpr size_t kMaxNameBytes = 512;
}  // namespace

std::optional<ReservationType> parse_reservation_type(uint8_t value) {
    switch (value) {
        case 1:
        case 3:
        case 5:
        case 6:
        case 7:
        case 8:
            return static_cast<ReservationType>(value);
        default:
            return std::nullopt;
    }
}

const Registration* ReservationState::find(const RegistrantId& who) const {
    const auto found = std::ranges::find(registrations_, who, &Registration::who);
    return found == registrations_.end() ? nullptr : &*found;
}

bool ReservationState::is_registered(const RegistrantId& who) const {
    return find(who) != nullptr;
}

bool ReservationState::all_registrants() const {
    return type_ == ReservationType::kWriteExclusiveAllRegistrants ||
           type_ == ReservationType::kExclusiveAccessAllRegistrants;
}

bool ReservationState::registrants_only() const {
    return type_ == ReservationType::kWriteExclusiveRegistrantsOnly ||
           type_ == ReservationType::kExclusiveAccessRegistrantsOnly;
}

bool ReservationState::is_holder(const RegistrantId& who) const {
    if (!type_) return false;
    return all_registrants() ? is_registered(who) : holder_ == who;
}

uint64_t ReservationState::holder_key() const {
    if (!type_ || all_registrants()) return 0;
    const Registration* holder = find(holder_);
    return holder == nullptr ? 0 : holder->key;
}

bool ReservationState::allows(const RegistrantId& who, Access access) const {
    if (!type_ || access == Access::kAny || access == Access::kStatus) return true;
    if (is_holder(who)) return true;
    const bool member = is_registered(who);
    switch (*type_) {
        case ReservationType::kWriteExclusive:
            return access == Access::kReads;
        case ReservationType::kExclusiveAccess:
            return false;
        case ReservationType::kWriteExclusiveRegistrantsOnly:
        case ReservationType::kWriteExclusiveAllRegistrants:
            return member || access == Access::kReads;
        case ReservationType::kExclusiveAccessRegistrantsOnly:
        case ReservationType::kExclusiveAccessAllRegistrants:
            return member;
    }
    return false;
}

void ReservationState::tell_others(const RegistrantId& but, const Sense& sense,
                                   PersistentReserveOutcome& outcome) const {
    for (const Registration& registration : registrations_) {
        if (registration.who != but) outcome.attentions.emplace_back(registration.who, sense);
    }
}

void ReservationState::remove(const RegistrantId& who, PersistentReserveOutcome& outcome) {
    const bool held_alone = type_ && !all_registrants() && holder_ == who;
    std::erase_if(registrations_, [&](const Registration& r) { return r.who == who; });
    if (held_alone) {
        if (registrants_only()) tell_others(who, sense::kReservationsReleased, outcome);
        type_.reset();
        holder_ = {};
    } else if (all_registrants() && registrations_.empty()) {
        type_.reset();
    }
}

void ReservationState::register_key(const PersistentReserveRequest& request, PersistentReserveOutcome& outcome) {
    const Registration* mine = find(request.from);
    if (request.action == PersistentReserveOut::kRegister && request.key != (mine == nullptr ? 0 : mine->key)) {
        outcome.failure = Failure(Status::kReservationConflict);
        return;
    }
    if (mine == nullptr) {
        if (request.action_key != 0) {
            if (registrations_.size() >= kMaxRegistrations) {
                outcome.failure = sense::kInsufficientRegistrationResources;
                return;
            }
            registrations_.push_back({request.from, request.action_key});
        }
    } else if (request.action_key == 0) {
        remove(request.from, outcome);
    } else {
        std::ranges::find(registrations_, request.from, &Registration::who)->key = request.action_key;
    }
    aptpl_ = request.aptpl;
    ++generation_;
}

void ReservationState::preempt(const PersistentReserveRequest& request, PersistentReserveOutcome& outcome) {
    const bool zero = request.action_key == 0;
    const bool takes_reservation = type_ && (all_registrants() ? zero : request.action_key == holder_key());
    if (zero && !takes_reservation) {
        outcome.failure = sense::kInvalidFieldInParameterList;
        return;
    }
    const auto type = parse_reservation_type(request.type);
    if (takes_reservation && (!type || request.scope != 0)) {
        outcome.failure = sense::kInvalidFieldInCdb;
        return;
    }
    std::vector<RegistrantId> removed;
    bool matched = takes_reservation;
    for (const Registration& registration : registrations_) {
        const bool hit = takes_reservation && all_registrants() ? true : registration.key == request.action_key;
        if (!hit) continue;
        matched = true;
        if (registration.who != request.from) removed.push_back(registration.who);
    }
    if (!matched) {
        outcome.failure = Failure(Status::kReservationConflict);
        return;
    }
    const auto old_type = type_;
    for (const RegistrantId& who : removed) {
        std::erase_if(registrations_, [&](const Registration& r) { return r.who == who; });
        outcome.attentions.emplace_back(who, sense::kRegistrationsPreempted);
    }
    if (takes_reservation) {
        if (*type != *old_type) tell_others(request.from, sense::kReservationsReleased, outcome);
        type_ = type;
        holder_ = all_registrants() ? RegistrantId{} : request.from;
    }
    if (request.action == PersistentReserveOut::kPreemptAndAbort) outcome.abort = std::move(removed);
    ++generation_;
}

PersistentReserveOutcome ReservationState::apply(const PersistentReserveRequest& request) {
    PersistentReserveOutcome outcome;
    if (request.action == PersistentReserveOut::kRegister ||
        request.action == PersistentReserveOut::kRegisterAndIgnore) {
        register_key(request, outcome);
        return outcome;
    }
    const Registration* mine = find(request.from);
    if (mine == nullptr || mine->key != request.key) {
        outcome.failure = Failure(Status::kReservationConflict);
        return outcome;
    }
    switch (request.action) {
        case PersistentReserveOut::kRegister:
        case PersistentReserveOut::kRegisterAndIgnore:
            break;
        case PersistentReserveOut::kReserve: {
            const auto type = parse_reservation_type(request.type);
            if (!type || request.scope != 0) {
                outcome.failure = sense::kInvalidFieldInCdb;
            } else if (type_) {
                if (!is_holder(request.from) || *type_ != *type)
                    outcome.failure = Failure(Status::kReservationConflict);
            } else {
                type_ = type;
                holder_ = all_registrants() ? RegistrantId{} : request.from;
            }
            break;
        }
        case PersistentReserveOut::kRelease: {
            if (!type_ || !is_holder(request.from)) break;
            if (request.scope != 0 || request.type != static_cast<uint8_t>(*type_)) {
                outcome.failure = sense::kInvalidRelease;
                break;
            }
            if (all_registrants() || registrants_only()) {
                tell_others(request.from, sense::kReservationsReleased, outcome);
            }
            type_.reset();
            holder_ = {};
            break;
        }
        case PersistentReserveOut::kClear:
            tell_others(request.from, sense::kReservationsPreempted, outcome);
            registrations_.clear();
            type_.reset();
            holder_ = {};
            ++generation_;
            break;
        case PersistentReserveOut::kPreempt:
        case PersistentReserveOut::kPreemptAndAbort:
            preempt(request, outcome);
            break;
    }
    return outcome;
}

std::string ReservationState::encode() const {
    if (!aptpl_ || registrations_.empty()) return {};
    base::Encoder out;
    out.put(kRecordMagic);
    out.put(kRecordVersion);
    out.put(static_cast<uint8_t>(type_ ? static_cast<uint8_t>(*type_) : 0));
    out.put_string(holder_.initiator_port);
    out.put_string(holder_.target);
    out.put(static_cast<uint32_t>(registrations_.size()));
    for (const Registration& registration : registrations_) {
        out.put(registration.key);
        out.put_string(registration.who.initiator_port);
        out.put_string(registration.who.target);
    }
    out.put(base::crc32c(out.bytes()));
    return std::string(base::as_text(out.bytes()));
}

base::Result<ReservationState> ReservationState::decode(std::string_view record) {
    ReservationState state;
    if (record.empty()) return state;
    const auto corrupt = [] {
        return base::fail(base::Code::kCorrupt, "persistent reservation record does not decode");
    };
    const base::Bytes bytes = base::as_bytes(record);
    if (bytes.size() < 12 || bytes.size() > kMaxReservationRecordBytes) return corrupt();
    const base::Bytes body = bytes.first(bytes.size() - 4);
    if (base::crc32c(body) != base::load_le<uint32_t>(bytes.data() + body.size())) return corrupt();
    base::Decoder in(body);
    if (in.get<uint32_t>() != kRecordMagic) return corrupt();
    if (const auto version = in.get<uint32_t>(); version != kRecordVersion) {
        return base::fail(base::Code::kVersion, "persistent reservation record of version " + std::to_string(version));
    }
    const auto type = in.get<uint8_t>();
    if (type != 0) {
        state.type_ = parse_reservation_type(type);
        if (!state.type_) return corrupt();
    }
    state.holder_.initiator_port = in.get_string();
    state.holder_.target = in.get_string();
    const size_t count = in.get_count(16);
    if (count > kMaxRegistrations) return corrupt();
    for (size_t i = 0; i < count; ++i) {
        Registration registration;
        registration.key = in.get<uint64_t>();
        registration.who.initiator_port = in.get_string();
        registration.who.target = in.get_string();
        if (registration.key == 0 || registration.who.initiator_port.size() > kMaxNameBytes ||
            registration.who.target.size() > kMaxNameBytes || state.is_registered(registration.who)) {
            return corrupt();
        }
        state.registrations_.push_back(std::move(registration));
    }
    if (!in.ok() || !in.at_end()) return corrupt();
    const bool needs_holder = state.type_ && !state.all_registrants();
    if (needs_holder ? !state.is_registered(state.holder_) : state.holder_ != RegistrantId{}) return corrupt();
    if (state.registrations_.empty()) return corrupt();
    state.aptpl_ = true;
    return state;
}

}  // namespace umbra::scsi

// Persistent reservations of one logical unit (SPC-4 5.13, the SPC-3 set of service actions): state and rules, without
// I/O. A registrant is an initiator port through a target.
#pragma once

#include <compare>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "scsi/opcodes.h"
#include "scsi/sense.h"

namespace umbra::scsi {

enum class ReservationType : uint8_t {
    kWriteExclusive = 1,
    kExclusiveAccess = 3,
    kWriteExclusiveRegistrantsOnly = 5,
    kExclusiveAccessRegistrantsOnly = 6,
    kWriteExclusiveAllRegistrants = 7,
    kExclusiveAccessAllRegistrants = 8,
};
std::optional<ReservationType> parse_reservation_type(uint8_t value);

struct RegistrantId {
    std::string initiator_port;
    std::string target;
    auto operator<=>(const RegistrantId&) const = default;
};

struct Registration {
    RegistrantId who;
    uint64_t key = 0;
    bool operator==(const Registration&) const = default;
};

enum class PersistentReserveOut : uint8_t {
    kRegister = 0,
    kReserve = 1,
    kRelease = 2,
    kClear = 3,
    kPreempt = 4,
    kPreemptAndAbort = 5,
    kRegisterAndIgnore = 6,
};

struct PersistentReserveRequest {
    PersistentReserveOut action = PersistentReserveOut::kRegister;
    RegistrantId from;
    uint8_t scope = 0;
    uint8_t type = 0;
    uint64_t key = 0;
    uint64_t action_key = 0;  ///< SERVICE ACTION RESERVATION KEY
    bool aptpl = false;
};

struct PersistentReserveOutcome {
    std::optional<Failure> failure;  ///< the state is as before
    std::vector<std::pair<RegistrantId, Sense>> attentions;
    std::vector<RegistrantId> abort;  ///< whose commands PREEMPT AND ABORT ends
};

class ReservationState {
public:
    PersistentReserveOutcome apply(const PersistentReserveRequest& request);

    const std::vector<Registration>& registrations() const { return registrations_; }
    uint32_t generation() const { return generation_; }
    std::optional<ReservationType> type() const { return type_; }
    bool aptpl() const { return aptpl_; }
    bool is_holder(const RegistrantId& who) const;
    bool is_registered(const RegistrantId& who) const;
    /// Zero for the types that all registrants hold.
    uint64_t holder_key() const;
    /// Whether a command of that kind from `who` may pass.
    bool allows(const RegistrantId& who, Access access) const;

    /// The durable record (docs/format/reservations.md); empty when nothing needs to survive.
    std::string encode() const;
    /// Of an empty record: no reservation. kCorrupt, kVersion.
    static base::Result<ReservationState> decode(std::string_view record);

    bool operator==(const ReservationState&) const = default;

private:
    const Registration* find(const RegistrantId& who) const;
    bool all_registrants() const;
    bool registrants_only() const;
    void register_key(const PersistentReserveRequest& request, PersistentReserveOutcome& outcome);
    void preempt(const PersistentReserveRequest& request, PersistentReserveOutcome& outcome);
    void remove(const RegistrantId& who, PersistentReserveOutcome& outcome);
    void tell_others(const RegistrantId& but, const Sense& sense, PersistentReserveOutcome& outcome) const;

    std::vector<Registration> registrations_;
    uint32_t generation_ = 0;
    std::optional<ReservationType> type_;
    RegistrantId holder_;  ///< empty for the types that all registrants hold
    bool aptpl_ = false;
};

}  // namespace umbra::scsi

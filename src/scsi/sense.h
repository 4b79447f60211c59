// SCSI status and sense data (SAM-5 5.3, SPC-4 4.5), and the one place where errors of the array become either.
#pragma once

#include <array>
#include <cstdint>
#include <optional>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"

namespace umbra::scsi {

enum class Status : uint8_t {
    kGood = 0x00,
    kCheckCondition = 0x02,
    kConditionMet = 0x04,
    kBusy = 0x08,
    kReservationConflict = 0x18,
    kTaskSetFull = 0x28,
    kTaskAborted = 0x40,
};

enum class SenseKey : uint8_t {
    kNoSense = 0x0,
    kNotReady = 0x2,
    kMediumError = 0x3,
    kHardwareError = 0x4,
    kIllegalRequest = 0x5,
    kUnitAttention = 0x6,
    kDataProtect = 0x7,
    kAbortedCommand = 0xb,
    kMiscompare = 0xe,
};

struct Sense {
    SenseKey key = SenseKey::kNoSense;
    uint8_t asc = 0;
    uint8_t ascq = 0;
    std::optional<uint64_t> information;  ///< LBA, or the offset of a miscompare

    bool operator==(const Sense&) const = default;
};

namespace sense {
inline constexpr Sense kNone{SenseKey::kNoSense, 0x00, 0x00, {}};
inline constexpr Sense kInvalidOpcode{SenseKey::kIllegalRequest, 0x20, 0x00, {}};
inline constexpr Sense kInvalidFieldInCdb{SenseKey::kIllegalRequest, 0x24, 0x00, {}};
inline constexpr Sense kInvalidFieldInParameterList{SenseKey::kIllegalRequest, 0x26, 0x00, {}};
inline constexpr Sense kInvalidRelease{SenseKey::kIllegalRequest, 0x26, 0x04, {}};
inline constexpr Sense kParameterListLengthError{SenseKey::kIllegalRequest, 0x1a, 0x00, {}};
inline constexpr Sense kLbaOutOfRange{SenseKey::kIllegalRequest, 0x21, 0x00, {}};
inline constexpr Sense kLunNotSupported{SenseKey::kIllegalRequest, 0x25, 0x00, {}};
inline constexpr Sense kSavingNotSupported{SenseKey::kIllegalRequest, 0x39, 0x00, {}};
inline constexpr Sense kInsufficientRegistrationResources{SenseKey::kIllegalRequest, 0x55, 0x04, {}};
inline constexpr Sense kWriteProtected{SenseKey::kDataProtect, 0x27, 0x00, {}};
inline constexpr Sense kSpaceAllocationFailed{SenseKey::kDataProtect, 0x27, 0x07, {}};
inline constexpr Sense kInternalTargetFailure{SenseKey::kHardwareError, 0x44, 0x00, {}};
inline constexpr Sense kUnrecoveredReadError{SenseKey::kMediumError, 0x11, 0x00, {}};
inline constexpr Sense kMiscompare{SenseKey::kMiscompare, 0x1d, 0x00, {}};
/// iSCSI conditions (RFC 7143 §11.4.7.2).
inline constexpr Sense kProtocolServiceCrcError{SenseKey::kAbortedCommand, 0x47, 0x05, {}};
inline constexpr Sense kUnexpectedUnsolicitedData{SenseKey::kAbortedCommand, 0x0c, 0x0c, {}};
inline constexpr Sense kIncorrectAmountOfData{SenseKey::kAbortedCommand, 0x0c, 0x0d, {}};
/// Unit attentions.
inline constexpr Sense kPowerOn{SenseKey::kUnitAttention, 0x29, 0x00, {}};
inline constexpr Sense kDeviceReset{SenseKey::kUnitAttention, 0x29, 0x03, {}};
inline constexpr Sense kModeParametersChanged{SenseKey::kUnitAttention, 0x2a, 0x01, {}};
inline constexpr Sense kReservationsPreempted{SenseKey::kUnitAttention, 0x2a, 0x03, {}};
inline constexpr Sense kReservationsReleased{SenseKey::kUnitAttention, 0x2a, 0x04, {}};
inline constexpr Sense kRegistrationsPreempted{SenseKey::kUnitAttention, 0x2a, 0x05, {}};
inline constexpr Sense kCapacityChanged{SenseKey::kUnitAttention, 0x2a, 0x09, {}};
inline constexpr Sense kThinSoftThreshold{SenseKey::kUnitAttention, 0x38, 0x07, {}};
inline constexpr Sense kInquiryDataChanged{SenseKey::kUnitAttention, 0x3f, 0x03, {}};
inline constexpr Sense kReportedLunsChanged{SenseKey::kUnitAttention, 0x3f, 0x0e, {}};
}  // namespace sense

inline constexpr size_t kFixedSenseBytes = 18;

/// Fixed format (70h), 18 bytes. An information value beyond 32 bits is left out, as SPC-4 4.5.3 says.
std::vector<std::byte> encode_fixed(const Sense& sense);
/// Descriptor format (72h).
std::vector<std::byte> encode_descriptor(const Sense& sense);

/// How a command ends that did not succeed.
struct Failure {
    Status status = Status::kCheckCondition;
    Sense sense;

    Failure(const Sense& s) : sense(s) {}  // NOLINT(google-explicit-constructor): `return sense::kX;` reads well
    explicit Failure(Status s) : status(s) {}
};

/// Translation of the array's errors. Every code has its answer; the build fails when one is added without.
Failure failure_for(base::Code code);

}  // namespace umbra::scsi

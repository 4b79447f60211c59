// What the iSCSI side sees of the array: which LUNs an initiator may use on a target, and what happens to them.
// Implemented by the array's object model; single executor.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "array/view.h"
#include "base/guid.h"
#include "base/result.h"
#include "lun/backend.h"

namespace umbra::array {

struct LunIdentity {
    std::string name;
    base::Guid id;
    std::array<std::byte, 16> naa{};  ///< NAA 6 designator, binary
    std::string serial;               ///< unit serial number, page 80
    uint32_t flags = 0;
    bool write_protected = false;
    uint64_t content_generation = 1;  ///< another one: the content was replaced as a whole
};

struct PresentedLun {
    uint16_t number = 0;  ///< within the target, for this initiator
    std::shared_ptr<const LunIdentity> identity;
    std::shared_ptr<lun::Volume> volume;
};

/// INQUIRY strings of the whole array.
struct ProductStrings {
    std::string vendor = "UMBRA";          ///< at most 8 characters
    std::string product = "VIRTUAL-DISK";  ///< at most 16
    std::string revision = "0001";         ///< at most 4
};

enum class UnitAttentionCause : uint8_t {
    kReportedLunsChanged,    ///< 3F/0E, to every LUN of the nexus
    kCapacityChanged,        ///< 2A/09
    kModeParametersChanged,  ///< 2A/01, write protection among them
    kInquiryDataChanged,     ///< 3F/03
    kThinSoftThreshold,      ///< 38/07
};

/// What the target does when the array changes. Calls come on the executor, from inside array operations: they only
/// note what is to be done.
class PresentationListener {
public:
    virtual ~PresentationListener() = default;
    /// The set of LUNs that `initiator` sees on `target_iqn` changed.
    virtual void on_luns_changed(const std::string& target_iqn, const std::string& initiator) = 0;
    virtual void on_lun_attention(const base::Guid& lun, UnitAttentionCause cause) = 0;
    /// The LUN is no longer presented to somebody, or no longer takes writes: ends the commands that may not go on by
    /// what the presentation says now, and returns when none of them can touch the volume any more. The array holds no
    /// lock meanwhile.
    virtual env::Task<void> on_access_withdrawn(base::Guid lun) = 0;
};

struct SessionInfo {
    uint64_t id = 0;  ///< of this daemon run
    std::string initiator;
    std::string target_iqn;
    std::string peer;
    std::string isid;
};

class Presentation {
public:
    virtual ~Presentation() = default;
    virtual const ProductStrings& product() const = 0;
    /// Of the array's present run. While it is the same, every acknowledged write is there; with another, those that no
    /// flush followed may be lost.
    virtual const base::Guid& run_id() const = 0;
    /// Targets on which `initiator` may see at least one LUN, and the default target.
    virtual std::vector<std::string> targets_for(const std::string& initiator) const = 0;
    virtual bool has_target(const std::string& target_iqn) const = 0;
    /// By ascending number. LUN 0 may be missing: the target then answers for it as SPC-4 says.
    virtual std::vector<PresentedLun> luns(const std::string& target_iqn, const std::string& initiator) const = 0;
    virtual std::optional<PresentedLun> lun(const std::string& target_iqn, const std::string& initiator,
                                            uint16_t number) const = 0;
    virtual void add_listener(PresentationListener* listener) = 0;
    virtual void remove_listener(PresentationListener* listener) = 0;
    virtual void session_started(const SessionInfo& session) = 0;
    virtual void session_ended(uint64_t session_id) = 0;
    /// Durable record that belongs to one LUN: persistent reservations (APTPL). Empty when there is none.
    virtual std::string reservations(const base::Guid& lun) const = 0;
    virtual env::Task<base::Result<void>> save_reservations(base::Guid lun, std::string record) = 0;
};

}  // namespace umbra::array

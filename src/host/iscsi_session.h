// Logging in to an iSCSI target with libiscsi, waiting for each answer: discovery, identification. The data path is in
// lun_file.h and uses the same context asynchronously.
#pragma once

#include <atomic>
#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "host/host.h"

struct iscsi_context;

namespace umbra::host {

/// Where a LUN is: "iscsi://PORTAL/TARGET/LUN".
struct IscsiPath {
    std::string portal;  ///< "10.0.0.1:3260"
    std::string target;
    uint32_t lun = 0;

    std::string url() const;
    static base::Result<IscsiPath> parse(std::string_view url);
};

/// From vendor page C0 (docs/format/scsi_vpd_c0.md).
struct ArrayState {
    base::Guid run;        ///< with another one, acknowledged writes that no flush followed may be lost
    uint64_t content = 0;  ///< with another one, the LUN's content was replaced
    bool operator==(const ArrayState&) const = default;
};
/// nullopt when it is another vendor's page, or of a version that does not tell.
std::optional<ArrayState> parse_page_c0(base::Bytes page);

/// What a LUN says of itself.
struct LunFacts {
    LunIdentity identity;
    std::vector<std::byte> inquiry;  ///< standard INQUIRY data as returned
    std::vector<std::byte> page83;   ///< with its header
    uint64_t blocks = 0;
    uint32_t block_bytes = 512;
    bool write_protected = false;
    bool unmap = false;                  ///< UNMAP is offered and unmapped blocks read as zeros (LBPU, LBPRZ)
    bool write_same_unmap = false;       ///< WRITE SAME(16) with UNMAP (LBPWS)
    uint64_t max_transfer_blocks = 0;    ///< 0: no limit
    uint64_t max_unmap_blocks = 0;       ///< 0: no limit
    uint64_t max_write_same_blocks = 0;  ///< 0: no limit
    std::optional<ArrayState> state;     ///< what only Umbra's arrays tell

    uint64_t size_bytes() const { return blocks * block_bytes; }
};

/// The end of a step that libiscsi does asynchronously.
struct IscsiWait {
    bool done = false;
    int status = 0;
};

class IscsiSession {
public:
    /// Logs in to a target (normal session). `isid`: 0 for a random one. A session that replaces a lost one has that
    /// one's ISID, so that the target drops what is left of the lost connection before it takes the new one (RFC 7143
    /// 6.3.5). Nothing reconnects by itself: a lost connection ends every command with SCSI_STATUS_CANCELLED.
    /// Connecting and logging in take `timeout_seconds` at most, and later calls each; a `stop` that becomes true ends
    /// them early. kNotFound: the portal answers and has no such target for this initiator. kUnavailable otherwise.
    static base::Result<std::unique_ptr<IscsiSession>> login(const std::string& portal, const std::string& target,
                                                             const std::string& initiator, int timeout_seconds,
                                                             uint64_t isid = 0,
                                                             const std::atomic<bool>* stop = nullptr);
    static uint64_t random_isid();
    ~IscsiSession();
    IscsiSession(const IscsiSession&) = delete;
    IscsiSession& operator=(const IscsiSession&) = delete;

    base::Result<std::vector<uint32_t>> report_luns();
    /// kNotFound when no logical unit is connected there. kUnsupported when it is none that can be attached.
    base::Result<LunFacts> read_facts(uint32_t lun);
    iscsi_context* context() { return context_; }
    bool connected() const;
    /// The connection is lost, or nothing more may go out on it: no logout is tried.
    void abandon() { abandoned_ = true; }

private:
    IscsiSession(iscsi_context* context, const std::atomic<bool>* stop) : context_(context), stop_(stop) {}
    iscsi_context* context_;
    const std::atomic<bool>* stop_;
    IscsiWait wait_;  // libiscsi may call back as late as in the destructor
    bool abandoned_ = false;
};

/// Target names by SendTargets.
base::Result<std::vector<std::string>> discover_targets(const std::string& portal, const std::string& initiator,
                                                        int timeout_seconds);

/// From standard INQUIRY data and pages 80 and 83; for kernel disks from sysfs too.
base::Result<LunIdentity> make_identity(base::Bytes inquiry, base::Bytes page80, base::Bytes page83);

}  // namespace umbra::host

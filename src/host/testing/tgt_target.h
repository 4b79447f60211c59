// Debian's tgt as the array of a test: a target of somebody else's making, on loopback.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <memory>
#include <string>

#include "base/result.h"

namespace umbra::host::testing {

class TgtTarget {
public:
    /// kUnsupported when tgtd is not installed. LUNs 1 to `luns` of `lun_bytes`, files "lunN.img" in `directory`.
    static base::Result<std::unique_ptr<TgtTarget>> start(const std::string& directory, uint32_t luns,
                                                          uint64_t lun_bytes);
    ~TgtTarget();
    TgtTarget(const TgtTarget&) = delete;
    TgtTarget& operator=(const TgtTarget&) = delete;

    const std::string& portal() const { return portal_; }
    const std::string& iqn() const { return iqn_; }
    std::string image(uint32_t lun) const { return directory_ + "/lun" + std::to_string(lun) + ".img"; }
    /// SIGKILL, then everything again on the same port.
    base::Result<void> restart();
    void stop_process();
    void continue_process();

private:
    TgtTarget() = default;
    base::Result<void> run();
    base::Result<void> admin(const std::string& arguments) const;
    void end();

    std::string directory_;
    std::string portal_;
    std::string iqn_;
    uint16_t port_ = 0;
    uint32_t luns_ = 0;
    pid_t pid_ = 0;
};

}  // namespace umbra::host::testing

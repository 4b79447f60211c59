// The arrays of the configuration, searched as one.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "provider/array_client.h"

namespace umbra::provider {

struct LocatedLun {
    std::shared_ptr<ArrayClient> array;
    LunRecord lun;
};

class ArrayGroup {
public:
    explicit ArrayGroup(std::vector<std::shared_ptr<ArrayClient>> arrays) : arrays_(std::move(arrays)) {}

    const std::vector<std::shared_ptr<ArrayClient>>& arrays() const { return arrays_; }
    /// kNotFound only when every array answered that it has no such LUN; otherwise the error of one that did not
    /// answer.
    Result<LocatedLun> find(const std::string& naa) const {
        base::Error not_answered;
        bool all_answered = true;
        for (const auto& array : arrays_) {
            auto lun = array->get_lun_by_naa(naa);
            if (lun) return LocatedLun{array, std::move(*lun)};
            if (lun.error().code != base::Code::kNotFound) {
                all_answered = false;
                not_answered = lun.error();
                not_answered.message = array->address() + ": " + not_answered.message;
            }
        }
        if (!all_answered) return std::unexpected(not_answered);
        return base::fail(base::Code::kNotFound, "LUN naa." + naa + " is on none of the configured arrays");
    }

private:
    std::vector<std::shared_ptr<ArrayClient>> arrays_;
};

}  // namespace umbra::provider

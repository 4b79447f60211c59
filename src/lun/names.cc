#include "lun/backend.h"

namespace umbra::lun {

std::string_view to_string(LunType type) {
    switch (type) {
        case LunType::kSimple:
            return "simple";
        case LunType::kSpan:
            return "span";
        case LunType::kStripe:
            return "stripe";
        case LunType::kMirror:
            return "mirror";
        case LunType::kParity:
            return "parity";
        case LunType::kDoubleParity:
            return "double-parity";
        case LunType::kStripedMirror:
            return "striped-mirror";
    }
    return "unknown";
}

std::optional<LunType> parse_lun_type(std::string_view text) {
    for (const LunType type : {LunType::kSimple, LunType::kSpan, LunType::kStripe, LunType::kMirror, LunType::kParity,
                               LunType::kDoubleParity, LunType::kStripedMirror}) {
        if (to_string(type) == text) return type;
    }
    return std::nullopt;
}

std::string_view to_string(Health health) {
    switch (health) {
        case Health::kHealthy:
            return "healthy";
        case Health::kRebuilding:
            return "rebuilding";
        case Health::kFailedRedundancy:
            return "failed-redundancy";
        case Health::kFailed:
            return "failed";
    }
    return "unknown";
}

std::string_view to_string(DriveState state) {
    switch (state) {
        case DriveState::kOnline:
            return "online";
        case DriveState::kFailed:
            return "failed";
        case DriveState::kMissing:
            return "missing";
    }
    return "unknown";
}

}  // namespace umbra::lun

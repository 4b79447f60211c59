#include "array/view.h"

namespace umbra::array {

const char* to_string(LunKind kind) {
    switch (kind) {
        case LunKind::kLun:
            return "lun";
        case LunKind::kSnapshot:
            return "snapshot";
        case LunKind::kShadowCopy:
            return "shadow-copy";
    }
    return "unknown";
}

const char* to_string(TaskState state) {
    switch (state) {
        case TaskState::kRunning:
            return "running";
        case TaskState::kDone:
            return "done";
        case TaskState::kFailed:
            return "failed";
        case TaskState::kCancelled:
            return "cancelled";
    }
    return "unknown";
}

}  // namespace umbra::array

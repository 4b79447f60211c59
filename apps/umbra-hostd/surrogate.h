// A provider in a process of its own (umbra-provider-host): started at its first use, watched, killed when it is
// silent.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <string>

#include "coordinator/provider.h"
#include "env/executor.h"

namespace umbra::coordinator {

struct SurrogateOptions {
    std::string program;  ///< umbra-provider-host
    std::string library;
    std::map<std::string, std::string> environment;  ///< added to ours
    ProviderInfo info;
};

/// What a provider reported by ReportEventW.
struct ReportedEvent {
    uint32_t type = 0;
    uint32_t id = 0;
    std::string text;
};

class Surrogate : public Provider {
public:
    struct Status {
        std::string state;  ///< "running", "stopped", "failed"
        int pid = 0;
        uint32_t starts = 0;
    };
    virtual Status status() const = 0;
    virtual const SurrogateOptions& options() const = 0;
};

/// `on_event` is called on the executor. Blocking calls run on threads of the object and resume on `executor`, which
/// must still run when the object is destroyed, after every call has ended.
std::unique_ptr<Surrogate> make_surrogate(env::Executor& executor, SurrogateOptions options,
                                          std::function<void(const ProviderInfo&, ReportedEvent)> on_event);

}  // namespace umbra::coordinator

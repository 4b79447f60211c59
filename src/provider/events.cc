#include "provider/events.h"

#include <dlfcn.h>

#include <cstdio>

#include "com/text.h"
#include "compat/eventlog.h"

namespace umbra::provider {

void report_to_event_log(const ProviderEvent& event) {
    // Looked up where it runs: the same library serves in a process that offers no event log (a VDS client).
    auto register_source =
        reinterpret_cast<decltype(&RegisterEventSourceW)>(dlsym(RTLD_DEFAULT, "RegisterEventSourceW"));
    auto deregister = reinterpret_cast<decltype(&DeregisterEventSource)>(dlsym(RTLD_DEFAULT, "DeregisterEventSource"));
    auto report = reinterpret_cast<decltype(&ReportEventW)>(dlsym(RTLD_DEFAULT, "ReportEventW"));
    if (register_source && deregister && report) {
        if (HANDLE source = register_source(nullptr, L"UmbraProvider"); source != nullptr) {
            std::wstring text = com::to_wide_lossy(event.text);
            LPCWSTR strings[] = {text.c_str()};
            BOOL reported = report(source, static_cast<WORD>(event.severity), 0, static_cast<DWORD>(event.id), nullptr,
                                   1, 0, strings, nullptr);
            deregister(source);
            if (reported) return;
        }
    }
    std::fprintf(stderr, "UmbraProvider: %s %u: %s\n",
                 event.severity == Severity::kError     ? "error"
                 : event.severity == Severity::kWarning ? "warning"
                                                        : "information",
                 static_cast<unsigned>(event.id), event.text.c_str());
}

}  // namespace umbra::provider

// Lists what the shadow copy service of this host knows: umbra::cli::vssadmin over libvssapi.
#include <cstdlib>
#include <iostream>

#include "cli/vssadmin.h"
#include "com/text.h"
#include "host/management_client.h"

namespace {

using umbra::base::Result;
using umbra::cli::vssadmin::VolumeName;

std::string last_error_text() {
    umbra::com::Bstr text;
    if (FAILED(UmbraGetLastErrorText(text.put()))) return {};
    return umbra::com::bstr_to_utf8(text.get()).value_or("");
}

Result<std::vector<VolumeName>> volumes() {
    const char* address = std::getenv("UMBRA_HOST");
    UMBRA_ASSIGN(const auto client,
                 umbra::host::ManagementClient::make(address != nullptr ? address : "unix:/run/umbra/host.sock"));
    UMBRA_ASSIGN(const auto views, client->volumes(false));
    std::vector<VolumeName> out;
    for (const auto& view : views) out.push_back({view.name, view.mount_points, view.device});
    return out;
}

}  // namespace

int main(int argc, char** argv) {
    const umbra::cli::vssadmin::Services services{&CreateVssBackupComponents, &last_error_text, &volumes,
                                                  [](std::string_view text) { std::cout << text; }};
    const int code = umbra::cli::vssadmin::run({argv + 1, argv + argc}, services);
    std::cout.flush();
    return std::cout ? code : 1;
}

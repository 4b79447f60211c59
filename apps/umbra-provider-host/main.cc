// Runs one provider in a process of its own, for umbra-hostd, which it does not outlive.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <grpcpp/server_posix.h>
#include <signal.h>
#include <sys/prctl.h>
#include <unistd.h>

#include <charconv>
#include <cstdio>
#include <optional>
#include <string>

#include "base/guid.h"
#include "com/text.h"
#include "loader.h"
#include "service.h"

int main(int argc, char** argv) {
    int channel = -1;
    std::string library;
    std::optional<umbra::base::Guid> class_id;
    for (int i = 1; i + 1 < argc; i += 2) {
        const std::string_view name = argv[i];
        const std::string_view value = argv[i + 1];
        if (name == "--channel") std::from_chars(value.data(), value.data() + value.size(), channel);
        if (name == "--library") library = value;
        if (name == "--class") class_id = umbra::base::Guid::parse(value);
    }
    if (channel < 0 || library.empty() || !class_id || fcntl(channel, F_GETFL) < 0) {
        std::fprintf(stderr,
                     "umbra-provider-host is started by umbra-hostd: --channel FD --library FILE --class GUID\n");
        return 2;
    }
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (getppid() == 1) return 1;  // the parent ended before the line above
    fcntl(channel, F_SETFD, FD_CLOEXEC);
    fcntl(channel, F_SETFL, fcntl(channel, F_GETFL) | O_NONBLOCK);

    umbra::provider_host::LoadedProvider provider =
        umbra::provider_host::load_provider(library, umbra::com::to_guid(*class_id));
    const auto service = umbra::provider_host::make_provider_service(provider);
    grpc::ServerBuilder builder;
    builder.RegisterService(service.get());
    const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    if (!server) {
        std::fprintf(stderr, "umbra-provider-host: the channel cannot be served\n");
        return 1;
    }
    grpc::AddInsecureChannelFromFd(server.get(), channel);
    server->Wait();
    return 0;
}

// umbra-hostd: the VSS coordinator of a host, and the volumes that it works on. All wiring, nothing else.
#include <fcntl.h>
#include <fmt/format.h>
#include <grp.h>
#include <grpcpp/grpcpp.h>
#include <grpcpp/impl/codegen/service_type.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <utility>

#include "config.h"
#include "coordinator/coordinator.h"
#include "coordinator/sqlite_state_store.h"
#include "env/loop.h"
#include "host/linux_host.h"
#include "host/management.h"
#include "service.h"
#include "surrogate.h"

namespace umbra::hostd {
namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr const char* kVersion = "0.1.0";
constexpr int kMaximumMessageBytes = 64 << 20;

/// Standard error carries the events; journald prefixes understand "<3>".
void print_event(const coordinator::EventRecord& event) {
    const char* level = event.severity == "error" ? "<3>" : event.severity == "warning" ? "<4>" : "<6>";
    std::string line = fmt::format("{}{} {}: {}", level, event.id, event.severity, event.text);
    for (const auto& [name, value] : event.fields) line += fmt::format(" [{}: {}]", name, value);
    std::fprintf(stderr, "%s\n", line.c_str());
}

class Registry final : public coordinator::ProviderRegistry {
public:
    std::vector<std::unique_ptr<coordinator::Surrogate>> surrogates;
    std::vector<coordinator::Provider*> providers() override {
        std::vector<coordinator::Provider*> all;
        for (const auto& one : surrogates) all.push_back(one.get());
        return all;
    }
};

Result<std::string> read_file(const std::string& path) {
    std::ifstream in(path);
    if (!in) return base::fail_errno(errno, path);
    std::ostringstream out;
    out << in.rdbuf();
    return std::move(out).str();
}

std::string toml_text(const std::string& text) {
    std::string out = "\"";
    for (const char c : text) {
        if (c == '"' || c == '\\') out += '\\';
        out += c;
    }
    return out + "\"";
}

/// What our own provider reads (provider/config.h); another maker's ignores it.
Result<std::string> write_provider_config(const Config& config, const ProviderConfig& provider) {
    std::string text = fmt::format("[provider]\ninitiator = {}\nmachine = {}\n", toml_text(config.host.initiator_iqn),
                                   toml_text(config.machine));
    for (const std::string& array : provider.arrays) text += fmt::format("[[array]]\naddress = {}\n", toml_text(array));
    const std::string path = config.host.run_dir + "/provider-" + provider.id.text() + ".toml";
    std::ofstream out(path, std::ios::trunc);
    out << text;
    out.close();
    if (!out) return fail(Code::kIo, path + " cannot be written");
    return path;
}

/// One service a state directory; the lock goes with the process.
Result<void> lock_state(const std::string& directory) {
    const std::string path = directory + "/lock";
    const int fd = open(path.c_str(), O_CREAT | O_RDWR | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return base::fail_errno(errno, path);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) return fail(Code::kBusy, directory + " is used by another umbra-hostd");
    return {};
}

/// Before the server listens: from the first moment nobody else may connect.
void restrict_socket(const Config& config) {
    const group* found = config.group.empty() ? nullptr : getgrnam(config.group.c_str());
    if (found != nullptr && chown(config.socket.c_str(), static_cast<uid_t>(-1), found->gr_gid) != 0) {
        std::fprintf(stderr, "<4>%s: the group cannot be set\n", config.socket.c_str());
    }
    chmod(config.socket.c_str(), 0660);
}

env::Task<void> start(coordinator::Coordinator* coordinator, Result<void>* result) {
    *result = co_await coordinator->start();
}

Result<void> serve(const Config& config) {
    std::error_code ignored;
    for (const std::string& directory : {config.state_dir, config.host.run_dir}) {
        std::filesystem::create_directories(directory, ignored);
    }
    UMBRA_TRY(lock_state(config.state_dir));
    UMBRA_ASSIGN(auto loop, env::Loop::create());
    env::KernelRandom random;
    constexpr int kSignals[] = {SIGTERM, SIGINT};
    bool stopping = false;
    UMBRA_TRY(loop->handle_signals(kSignals, [&](int) {
        if (!std::exchange(stopping, true)) loop->stop();
    }));

    UMBRA_ASSIGN(auto store, coordinator::open_sqlite_state_store(config.state_dir + "/state.db"));
    host::HostConfig host_config = config.host;
    host_config.own_paths = {config.state_dir, config.provider_host_program};
    for (const ProviderConfig& provider : config.providers) host_config.own_paths.push_back(provider.library);
    host::Attachments attachments(host_config);
    host::LinuxHost machine(*loop, host_config, attachments);
    coordinator::EventLog events(*loop, *store, print_event);

    Registry registry;
    for (const ProviderConfig& provider : config.providers) {
        coordinator::SurrogateOptions options;
        options.program = config.provider_host_program;
        options.library = provider.library;
        options.environment = provider.environment;
        UMBRA_ASSIGN(options.environment["UMBRA_PROVIDER_CONFIG"], write_provider_config(config, provider));
        options.info.id = provider.id;
        options.info.class_id = provider.class_id;
        options.info.version_id = provider.version_id;
        options.info.name = provider.name;
        options.info.version = provider.version;
        registry.surrogates.push_back(coordinator::make_surrogate(
            *loop, std::move(options),
            [&events](const coordinator::ProviderInfo& info, coordinator::ReportedEvent event) {
                std::map<std::string, std::string> fields{{"provider", info.name},
                                                          {"provider event", std::to_string(event.id)}};
                constexpr uint32_t kError = 1;
                constexpr uint32_t kWarning = 2;
                using coordinator::EventId;
                if (event.type == kError) {
                    events.error(EventId::kProviderReported, event.text, std::move(fields));
                } else if (event.type == kWarning) {
                    events.warning(EventId::kProviderReported, event.text, std::move(fields));
                } else {
                    events.info(EventId::kProviderReported, event.text, std::move(fields));
                }
            }));
    }

    coordinator::Options options;
    options.machine = config.machine;
    options.freeze_limit = config.freeze_limit;
    options.commit_window = config.commit_window;
    options.arrival_limit = config.arrival_limit;
    options.safe_mode = config.safe_mode;
    coordinator::Coordinator coordinator(env::Environment{*loop, random}, machine, *store, registry, events, options);
    Result<void> started;
    if (!loop->run(start(&coordinator, &started))) {
        // A signal came first. What is under way is left to the journal, as after a kill; children end with us.
        std::_Exit(0);
    }
    UMBRA_TRY(started);

    host::Management management(config.host, attachments);
    coordinator::ServiceContext context{*loop, coordinator, *store,
                                        [&] {
                                            std::vector<const coordinator::Surrogate*> all;
                                            for (const auto& one : registry.surrogates) all.push_back(one.get());
                                            return all;
                                        },
                                        kVersion};
    const auto vss = coordinator::make_vss_service(context);
    const auto administration = coordinator::make_vss_administration(context);
    const auto volumes = host::make_management_service(management);
    unlink(config.socket.c_str());
    const mode_t before = umask(0177);
    grpc::ServerBuilder builder;
    builder.SetMaxReceiveMessageSize(kMaximumMessageBytes);
    builder.AddListeningPort("unix:" + config.socket, grpc::InsecureServerCredentials());
    builder.RegisterService(vss.get());
    builder.RegisterService(administration.get());
    builder.RegisterService(volumes.get());
    const std::unique_ptr<grpc::Server> server = builder.BuildAndStart();
    umask(before);
    if (!server) return fail(Code::kIo, config.socket + " cannot be listened on");
    restrict_socket(config);
    std::printf("umbra-hostd ready on unix:%s\n", config.socket.c_str());
    std::fflush(stdout);

    loop->run();

    coordinator::shut_down(*loop, *server, coordinator);
    unlink(config.socket.c_str());
    return {};
}

int main_of(int argc, char** argv) {
    std::string config_path = "/etc/umbra/host.toml";
    for (int i = 1; i < argc; ++i) {
        const std::string_view argument = argv[i];
        if (argument == "--print-default-config") {
            std::fputs(default_config().c_str(), stdout);
            return 0;
        }
        if (argument == "--version") {
            std::printf("umbra-hostd %s\n", kVersion);
            return 0;
        }
        if (argument == "--config" && i + 1 < argc) {
            config_path = argv[++i];
            continue;
        }
        const bool help = argument == "--help";
        std::fprintf(help ? stdout : stderr,
                     "usage: umbra-hostd [--config FILE] | --print-default-config | --version\n"
                     "FILE is /etc/umbra/host.toml unless said otherwise.\n");
        return help ? 0 : 2;
    }
    std::error_code error;
    const std::string program = std::filesystem::read_symlink("/proc/self/exe", error).parent_path().string();
    const std::string directory = std::filesystem::absolute(config_path, error).parent_path().string();
    const auto text = read_file(config_path);
    if (!text) {
        std::fprintf(stderr, "umbra-hostd: %s\n", text.error().text().c_str());
        return 1;
    }
    const auto config = parse_config(*text, directory, program);
    if (!config) {
        std::fprintf(stderr, "umbra-hostd: %s: %s\n", config_path.c_str(), config.error().text().c_str());
        return 1;
    }
    const auto served = serve(*config);
    if (!served) {
        std::fprintf(stderr, "umbra-hostd: %s\n", served.error().text().c_str());
        return 1;
    }
    return 0;
}

}  // namespace
}  // namespace umbra::hostd

int main(int argc, char** argv) {
    return umbra::hostd::main_of(argc, argv);
}

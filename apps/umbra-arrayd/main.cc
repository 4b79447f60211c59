// umbra-arrayd: one array, from its drives to iSCSI and management. Wiring only.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <systemd/sd-daemon.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <array>
#include <csignal>
#include <cstdio>
#include <optional>
#include <thread>

#include "array/config.h"
#include "array/drive_set.h"
#include "array/model.h"
#include "array_rpc/server.h"
#include "cli/exit_code.h"
#include "env/file_device.h"
#include "env/loop.h"
#include "env/sync.h"
#include "env/tcp.h"
#include "iscsi/server.h"

namespace {

using namespace umbra;
using base::Code;
using base::fail;
using base::Result;
using env::Task;

constexpr size_t kEventsPerLook = 64;

void log(const char* severity, const std::string& message) {
    // journald reads the priority; people at a terminal do not want it.
    static const bool journal = std::getenv("JOURNAL_STREAM") != nullptr;
    const std::string_view text(severity);
    const char* priority = text == "error" ? SD_ERR : text == "warning" ? SD_WARNING : SD_INFO;
    std::fprintf(stderr, "%s%s: %s\n", journal ? priority : "umbra-arrayd: ", severity, message.c_str());
}

/// Held as long as the process lives: two daemons never share a management socket. (Drives have locks of their own.)
Result<void> lock_socket(const std::string& socket) {
    const std::string path = socket + ".lock";
    const int fd = open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) return base::fail_errno(errno, "cannot open " + path);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return {};
    const int error = errno;
    close(fd);
    if (error == EWOULDBLOCK) return fail(Code::kBusy, "another umbra-arrayd serves " + socket);
    return base::fail_errno(error, "cannot lock " + path);
}

class Daemon {
public:
    Daemon(env::Loop& loop, array::Config config, bool degraded)
        : loop_(loop), config_(std::move(config)), degraded_(degraded), stop_(loop), logging_(loop) {}

    void request_stop() { stop_.set(); }

    Task<void> run() {
        const Result<void> outcome = co_await serve();
        if (!outcome) {
            log("error", outcome.error().text());
            exit_status_ = cli::exit_code(outcome.error().code);
        }
    }
    int exit_status() const { return exit_status_; }

private:
    Task<Result<void>> serve() {
        UMBRA_CO_TRY(lock_socket(config_.socket));
        UMBRA_CO_ASSIGN(const std::unique_ptr<env::DiskIo> disks, env::DiskIo::create(loop_));
        array::EventRelay relay;
        UMBRA_CO_ASSIGN(array::OpenedArray opened,
                        co_await array::open_backend(environment_, *disks, config_, degraded_, relay.sink()));
        array::ModelOptions options;
        options.name = config_.name;
        options.version = UMBRA_VERSION;
        options.iqn_authority = config_.authority;
        options.company_id = config_.company_id;
        UMBRA_CO_ASSIGN(std::unique_ptr<array::ArrayModel> model,
                        co_await array::ArrayModel::open(environment_, std::move(opened.backend), std::move(options)));
        relay.connect(model.get());
        logging_.spawn(log_events(model.get()));
        for (const std::string& path : opened.missing) {
            model->emit("drive.not-there", "warning", fmt::format("drive {} is configured and not there", path));
        }

        Result<void> outcome = co_await serve_initiators(*model);

        stop_logging_ = true;
        const Result<void> closed = co_await model->close();
        co_await logging_.join();
        relay.connect(nullptr);
        if (outcome && !closed) outcome = base::with_context(closed.error(), "closing the array");
        co_return outcome;
    }

    Task<Result<void>> serve_initiators(array::ArrayModel& model) {
        env::TcpTransport transport(loop_);
        iscsi::Config target;
        target.listen = config_.listen;
        target.portal = config_.portal;
        target.max_connections = config_.max_connections;
        target.data_bytes = size_t{config_.command_data_mib} << 20;
        iscsi::TargetServer initiators(loop_, transport, model, std::move(target));
        UMBRA_CO_TRY(co_await initiators.start());
        std::vector<std::string> portals = initiators.portals();
        if (!config_.portal.empty()) portals = {config_.portal};
        model.set_portals(portals);

        auto management = array_rpc::ManagementServer::start(loop_, model, {"unix:" + config_.socket, config_.group});
        Result<void> outcome;
        if (management) {
            std::string addresses;
            for (const std::string& portal : portals) addresses += " " + portal;
            std::printf("umbra-arrayd: array %s is ready: iSCSI%s, management unix:%s\n", config_.name.c_str(),
                        addresses.c_str(), config_.socket.c_str());
            std::fflush(stdout);
            sd_notify(0, "READY=1");
            co_await stop_.wait();
            sd_notify(0, "STOPPING=1");
            co_await shut_down(**management);
        } else {
            outcome = std::unexpected(management.error());
        }
        co_await initiators.stop();
        co_return outcome;
    }

    Task<void> shut_down(array_rpc::ManagementServer& management) {
        env::Event done(loop_);
        std::thread waiter([&] {
            management.shutdown();
            loop_.post([&] { done.set(); });
        });
        co_await done.wait();
        waiter.join();
    }

    Task<void> log_events(array::ArrayModel* model) {
        uint64_t after = 0;
        const auto old = model->list_events(0, array::kKeptEvents);
        for (const auto& event : old) {
            if (event.id != "array.started") after = std::max(after, event.sequence);
        }
        if (!old.empty() && old.back().sequence > after) after = old.back().sequence - 1;
        while (true) {
            const uint64_t version = model->version();
            const auto events = model->list_events(after, kEventsPerLook);
            for (const auto& event : events) {
                log(event.severity.c_str(), event.id + ": " + event.message);
                after = event.sequence;
            }
            if (!events.empty()) continue;
            if (stop_logging_) co_return;
            co_await model->wait_change(version);
        }
    }

    env::Loop& loop_;
    env::KernelRandom random_;
    env::Environment environment_{loop_, random_};
    array::Config config_;
    bool degraded_;
    env::Event stop_;
    env::TaskGroup logging_;
    bool stop_logging_ = false;
    int exit_status_ = cli::kExitOk;
};

int run(const std::string& file, bool degraded) {
    auto config = array::load_config(file);
    if (!config) {
        log("error", config.error().text());
        return cli::exit_code(config.error().code);
    }
    auto loop = env::Loop::create();
    if (!loop) {
        log("error", loop.error().text());
        return cli::exit_code(loop.error().code);
    }
    std::signal(SIGPIPE, SIG_IGN);
    Daemon daemon(**loop, std::move(*config), degraded);
    const std::array signals{SIGTERM, SIGINT};
    const auto handled = (*loop)->handle_signals(signals, [&](int) { daemon.request_stop(); });
    if (!handled) {
        log("error", handled.error().text());
        return cli::exit_code(handled.error().code);
    }
    (*loop)->run(daemon.run());
    return daemon.exit_status();
}

}  // namespace

int main(int argc, char** argv) {
    CLI::App app("Serves one Umbra array: its LUNs over iSCSI, its management over a unix socket.", "umbra-arrayd");
    std::string config;
    bool degraded = false;
    app.add_option("--config", config, "Configuration file")->required();
    app.add_flag("--degraded", degraded, "Open the array also without a majority of its drives' metadata");
    app.set_version_flag("--version", UMBRA_VERSION);
    try {
        app.parse(argc, argv);
    } catch (const CLI::ParseError& error) {
        return app.exit(error) == 0 ? cli::kExitOk : cli::kExitUsage;
    }
    return run(config, degraded);
}

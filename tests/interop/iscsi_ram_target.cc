// Serves volumes in memory over iSCSI on a free port of the loopback interface, for tests with foreign initiators.
// Prints the portal; ends at end of file on standard input.
//
//   iscsi_ram_target [lun-size-MiB [number-of-luns [read-only-lun-number]]]
#include <poll.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <thread>

#include "env/loop.h"
#include "env/tcp.h"
#include "iscsi/server.h"
#include "scsi/testing/memory_presentation.h"

namespace umbra {
namespace {

env::Task<void> serve(env::Loop* loop, iscsi::TargetServer* server, env::Event* over, int* exit_code) {
    const auto started = co_await server->start();
    if (!started) {
        std::fprintf(stderr, "%s\n", started.error().text().c_str());
        *exit_code = 1;
        co_return;
    }
    std::printf("portal %s\n", server->portals().front().c_str());
    std::fflush(stdout);
    co_await over->wait();
    co_await server->stop();
    (void)loop;
}

int run(int argc, char** argv) {
    const auto number = [&](int at, uint64_t otherwise) {
        return argc > at ? std::strtoull(argv[at], nullptr, 10) : otherwise;
    };
    auto loop = env::Loop::create();
    if (!loop) {
        std::fprintf(stderr, "%s\n", loop.error().text().c_str());
        return 1;
    }
    scsi::testing::MemoryPresentation presentation;
    const uint64_t luns = number(2, 1);
    for (uint64_t i = 1; i <= luns; ++i) presentation.add_lun(static_cast<uint16_t>(i), number(1, 64) << 20);
    if (argc > 3) {
        auto& lun = presentation.at(static_cast<uint16_t>(number(3, 1)));
        lun.identity->write_protected = true;
    }
    int exit_code = 0;
    {
        env::TcpTransport transport(**loop);
        iscsi::Config config;
        config.listen = {"127.0.0.1:0"};
        config.logout_grace = std::chrono::milliseconds(200);
        iscsi::TargetServer server(**loop, transport, presentation, config);
        env::Event over(**loop);
        std::thread input([&] {
            char byte = 0;
            while (read(STDIN_FILENO, &byte, 1) > 0) {
            }
            (*loop)->post([&] { over.set(); });
        });
        if (!(*loop)->run(serve(loop->get(), &server, &over, &exit_code))) exit_code = 1;
        input.join();
    }
    return exit_code;
}

}  // namespace
}  // namespace umbra

int main(int argc, char** argv) {
    return umbra::run(argc, argv);
}

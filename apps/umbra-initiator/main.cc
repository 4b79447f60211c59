// umbra-initiator: one LUN of an iSCSI target as a file, for umbra-hostd. Not meant to be started by hand.
#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <string>
#include <string_view>

#include "host/lun_file.h"

namespace {

int usage() {
    std::fputs(
        "usage: umbra-initiator --url iscsi://PORTAL/TARGET/LUN --file FILE --initiator IQN [--expect KEY] "
        "[--read-only]\n"
        "                       [--ready-fd N] [--daemonize] [--absent-patience-ms N]\n"
        "Serves the LUN as FILE until FILE is unmounted. When the array answers without the LUN for longer than the\n"
        "patience (60000), every request fails from then on.\n",
        stderr);
    return 2;
}

}  // namespace

int main(int argc, char** argv) {
    umbra::host::LunFileOptions options;
    std::string url;
    bool daemonize = false;
    for (int i = 1; i < argc; ++i) {
        const std::string_view arg = argv[i];
        const bool more = i + 1 < argc;
        if (arg == "--url" && more) {
            url = argv[++i];
        } else if (arg == "--file" && more) {
            options.file = argv[++i];
        } else if (arg == "--initiator" && more) {
            options.initiator = argv[++i];
        } else if (arg == "--expect" && more) {
            options.expect_key = argv[++i];
        } else if (arg == "--ready-fd" && more) {
            options.ready_fd = std::atoi(argv[++i]);
        } else if (arg == "--absent-patience-ms" && more) {
            options.absent_patience_ms = std::atoi(argv[++i]);
        } else if (arg == "--read-only") {
            options.read_only = true;
        } else if (arg == "--daemonize") {
            daemonize = true;
        } else {
            return usage();
        }
    }
    if (url.empty() || options.file.empty() || options.initiator.empty()) return usage();
    // The child belongs to nobody: it serves on when umbra-hostd ends, whose next run finds it by its file.
    if (daemonize) {
        const pid_t pid = ::fork();
        if (pid < 0) {
            std::perror("umbra-initiator: fork");
            return 1;
        }
        if (pid > 0) return 0;
        ::setsid();
    }
    if (::chdir("/") != 0) std::perror("umbra-initiator: chdir");
    auto path = umbra::host::IscsiPath::parse(url);
    umbra::base::Result<void> result;
    if (path) {
        options.path = std::move(*path);
        result = umbra::host::serve_lun_file(options);
    } else {
        result = std::unexpected(path.error());
    }
    if (!result) {
        const std::string line = "error " + result.error().text() + "\n";
        std::fprintf(stderr, "umbra-initiator: %s\n", result.error().text().c_str());
        if (options.ready_fd >= 0 && ::write(options.ready_fd, line.data(), line.size()) < 0) return 1;
        return 1;
    }
    return 0;
}

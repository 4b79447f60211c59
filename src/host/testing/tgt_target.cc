#include "host/testing/tgt_target.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstdlib>
#include <sstream>
#include <thread>

#include "host/process.h"

namespace umbra::host::testing {

using base::Code;
using base::fail;
using base::fail_errno;
using base::Result;

namespace {

Result<uint16_t> free_port() {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof address;
    if (!fd || ::bind(fd.get(), reinterpret_cast<sockaddr*>(&address), size) != 0 ||
        ::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &size) != 0) {
        return fail_errno(errno, "a free port");
    }
    return ntohs(address.sin_port);
}

bool answers(uint16_t port) {
    Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    address.sin_port = htons(port);
    return fd && ::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

}  // namespace

Result<void> TgtTarget::admin(const std::string& arguments) const {
    // The control channel is a socket in the file system, found by this variable.
    std::vector<std::string> words = {"env",  "TGT_IPC_SOCKET=" + directory_ + "/ipc", "tgtadm", "-C", "0", "--lld",
                                      "iscsi"};
    std::istringstream in(arguments);
    for (std::string word; in >> word;) words.push_back(word);
    UMBRA_ASSIGN(const Output output, run_program(words));
    if (output.status != 0) return fail(Code::kIo, "tgtadm " + arguments + ": " + output.text);
    return {};
}

Result<void> TgtTarget::run() {
    UMBRA_ASSIGN(pid_, spawn({"env", "TGT_IPC_SOCKET=" + directory_ + "/ipc", "tgtd", "-f", "-C", "0", "--iscsi",
                              "portal=" + portal_},
                             directory_ + "/tgtd.log", {}));
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(20);
    while (!answers(port_) || !admin("--mode sys --op show")) {
        if (std::chrono::steady_clock::now() > deadline) return fail(Code::kTimedOut, "tgtd does not come up");
        std::this_thread::sleep_for(std::chrono::milliseconds(50));  // tidy: allow sleep (tgtd announces nothing)
    }
    UMBRA_TRY(admin("--mode target --op new --tid 1 -T " + iqn_));
    for (uint32_t lun = 1; lun <= luns_; ++lun) {
        const std::string number = std::to_string(lun);
        UMBRA_TRY(admin("--mode logicalunit --op new --tid 1 --lun " + number + " -b " + image(lun)));
        // Identities that no other tgtd on this machine has.
        UMBRA_TRY(admin("--mode logicalunit --op update --tid 1 --lun " + number +
                        " --params thin_provisioning=1,scsi_id=IET" + std::to_string(port_) + "-" + number +
                        ",scsi_sn=" + std::to_string(port_) + number));
    }
    return admin("--mode target --op bind --tid 1 -I ALL");
}

Result<std::unique_ptr<TgtTarget>> TgtTarget::start(const std::string& directory, uint32_t luns, uint64_t lun_bytes) {
    if (::access("/usr/sbin/tgtd", X_OK) != 0)
        return fail(Code::kUnsupported, "tgtd is not installed (apt-get install tgt)");
    std::unique_ptr<TgtTarget> target(new TgtTarget);
    target->directory_ = directory;
    target->luns_ = luns;
    UMBRA_ASSIGN(target->port_, free_port());
    target->portal_ = "127.0.0.1:" + std::to_string(target->port_);
    target->iqn_ = "iqn.2026-01.test.umbra:t" + std::to_string(target->port_);
    for (uint32_t lun = 1; lun <= luns; ++lun) {
        UMBRA_TRY(replace_file(target->image(lun), ""));
        if (::truncate(target->image(lun).c_str(), static_cast<off_t>(lun_bytes)) != 0)
            return fail_errno(errno, target->image(lun));
    }
    UMBRA_TRY(target->run());
    return target;
}

void TgtTarget::end() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGKILL);
    static_cast<void>(wait_child(pid_));
    pid_ = 0;
    for (const char* name : {"ipc", "ipc.lock", "ipc.0", "ipc.0.lock"}) ::unlink((directory_ + "/" + name).c_str());
}

TgtTarget::~TgtTarget() {
    end();
}

Result<void> TgtTarget::restart() {
    end();
    return run();
}

void TgtTarget::stop_process() {
    ::kill(pid_, SIGSTOP);
}

void TgtTarget::continue_process() {
    ::kill(pid_, SIGCONT);
}

}  // namespace umbra::host::testing

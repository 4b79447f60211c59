// The only file of libvssapi that knows gRPC.
#include "requester/channel.h"

#include <grpc/grpc.h>
#include <grpcpp/grpcpp.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstdlib>
#include <cstring>
#include <mutex>
#include <thread>

#include "vss.grpc.pb.h"
#include "vsserror.h"

namespace umbra::requester {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::string_view kDefaultAddress = "unix:/run/umbra/host.sock";
constexpr std::string_view kScheme = "unix:";
constexpr std::chrono::milliseconds kRetryInterval{100};
constexpr int kMaxMessageBytes = 64 << 20;  // a document of 64 volumes is below 1 MiB

std::string unreachable(const std::string& address, std::string_view why) {
    return "cannot reach umbra-hostd at " + address + " (" + std::string(why) +
           "); start it, or set UMBRA_HOST to its address";
}

com::Failure from_status(const grpc::Status& status, const std::string& address) {
    switch (status.error_code()) {
        case grpc::StatusCode::PERMISSION_DENIED:
        case grpc::StatusCode::UNAUTHENTICATED:
            return {E_ACCESSDENIED, status.error_message()};
        default:
            return {VSS_E_UNEXPECTED, unreachable(address, status.error_message())};
    }
}

/// Whether a connection is accepted: 0 or errno. gRPC tells none of the reasons apart.
int probe(const sockaddr_un& where) {
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return errno;
    const int result = ::connect(fd, reinterpret_cast<const sockaddr*>(&where), sizeof where) == 0 ? 0 : errno;
    close(fd);
    return result;
}

class GrpcChannel final : public Channel {
public:
    GrpcChannel(std::string address, std::shared_ptr<grpc::Channel> channel, Clock::time_point deadline)
        : address_(std::move(address)), stub_(proto::Vss::NewStub(std::move(channel))), deadline_(deadline) {}

    ~GrpcChannel() override {
        if (!reader_.joinable()) return;
        session_context_.TryCancel();
        reader_.join();
    }

    com::Result<std::string> open_session() override {
        proto::OpenSessionRequest request;
        request.set_client(program_invocation_short_name);
        request.set_pid(static_cast<uint32_t>(getpid()));
        stream_ = stub_->OpenSession(&session_context_, request);
        reader_ = std::thread([this] { read_session(); });
        std::unique_lock lock(mutex_);
        if (!changed_.wait_until(lock, deadline_, [&] { return opened_ || ended_; })) {
            return com::fail(VSS_E_UNEXPECTED, unreachable(address_, "it does not answer"));
        }
        if (!opened_) return std::unexpected(from_status(end_, address_));
        return session_;
    }

#define VSS_CHANNEL_METHOD(method, request, reply)                               \
    com::Result<proto::reply> method(const proto::request& message) override {   \
        UMBRA_TRY(usable(#method));                                              \
        grpc::ClientContext context;                                             \
        proto::reply answer;                                                     \
        const grpc::Status status = stub_->method(&context, message, &answer);   \
        if (!status.ok()) return std::unexpected(from_status(status, address_)); \
        return answer;                                                           \
    }
    VSS_CHANNEL_CALLS(VSS_CHANNEL_METHOD)
#undef VSS_CHANNEL_METHOD

private:
    // A coordinator that was restarted does not know the session: none of its answers would mean anything.
    com::Result<> usable(std::string_view method) {
        const std::lock_guard lock(mutex_);
        if (opened_ && ended_ && !closing_) {
            return com::fail(VSS_E_UNEXPECTED,
                             "the session with umbra-hostd at " + address_ + " is lost, and what it held is released");
        }
        if (method == "CloseSession") closing_ = true;
        return {};
    }

    // The stream carries one message and then only its own end.
    void read_session() {
        proto::SessionOpened message;
        while (stream_->Read(&message)) {
            const std::lock_guard lock(mutex_);
            opened_ = true;
            session_ = message.session();
            changed_.notify_all();
        }
        grpc::Status status = stream_->Finish();
        const std::lock_guard lock(mutex_);
        ended_ = true;
        end_ = status.ok() ? grpc::Status(grpc::StatusCode::UNAVAILABLE, "it closed the session") : std::move(status);
        changed_.notify_all();
    }

    const std::string address_;
    const std::unique_ptr<proto::Vss::Stub> stub_;
    const Clock::time_point deadline_;
    grpc::ClientContext session_context_;
    std::unique_ptr<grpc::ClientReader<proto::SessionOpened>> stream_;
    std::thread reader_;
    std::mutex mutex_;  // guards what follows
    std::condition_variable changed_;
    bool opened_ = false;
    bool ended_ = false;
    bool closing_ = false;
    std::string session_;
    grpc::Status end_;
};

}  // namespace

std::string address_from_environment() {
    const char* address = secure_getenv("UMBRA_HOST");
    return address != nullptr && *address != 0 ? std::string(address) : std::string(kDefaultAddress);
}

com::Result<std::shared_ptr<Channel>> connect(const ConnectOptions& options) {
    const std::string& address = options.address;
    sockaddr_un where{};
    where.sun_family = AF_UNIX;
    const std::string path = address.starts_with(kScheme) ? address.substr(kScheme.size()) : std::string();
    if (path.empty() || path.size() >= sizeof where.sun_path) {
        return com::fail(VSS_E_UNEXPECTED, "the address of umbra-hostd is \"" + address +
                                               "\"; it has to be unix:PATH with a path of at most 107 bytes");
    }
    memcpy(where.sun_path, path.data(), path.size());

    const Clock::time_point deadline = Clock::now() + options.patience;
    for (;;) {
        const int error = probe(where);
        if (error == 0) break;
        if (error == EACCES || error == EPERM) {
            return com::fail(E_ACCESSDENIED, "no access to umbra-hostd at " + address +
                                                 "; only root and members of the group umbra have it");
        }
        if (Clock::now() + kRetryInterval >= deadline) {
            return com::fail(VSS_E_UNEXPECTED, unreachable(address, strerror(error)));
        }
        std::this_thread::sleep_for(kRetryInterval);
    }

    // Held for ever: when the last reference goes, gRPC's shutdown may sit in a poll of 10 s, and so would Release.
    static const bool initialised = (grpc_init(), true);
    (void)initialised;

    grpc::ChannelArguments arguments;
    arguments.SetMaxReceiveMessageSize(kMaxMessageBytes);
    arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
    arguments.SetInt(GRPC_ARG_INITIAL_RECONNECT_BACKOFF_MS, 100);
    arguments.SetInt(GRPC_ARG_MAX_RECONNECT_BACKOFF_MS, 500);
    auto channel = grpc::CreateCustomChannel(address, grpc::InsecureChannelCredentials(), arguments);
    const auto left = std::max<std::chrono::milliseconds>(
        std::chrono::duration_cast<std::chrono::milliseconds>(deadline - Clock::now()), kRetryInterval);
    if (!channel->WaitForConnected(std::chrono::system_clock::now() + left)) {
        return com::fail(VSS_E_UNEXPECTED, unreachable(address, "it does not speak gRPC"));
    }
    return std::make_shared<GrpcChannel>(address, std::move(channel), Clock::now() + options.patience);
}

}  // namespace umbra::requester

#include "surrogate.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <grpcpp/create_channel_posix.h>
#include <grpcpp/grpcpp.h>
#include <provider.grpc.pb.h>
#include <signal.h>
#include <spawn.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <condition_variable>
#include <cstring>
#include <deque>
#include <mutex>
#include <thread>

extern char** environ;

namespace umbra::coordinator {

namespace {

namespace v1 = umbra::provider::v1;
using base::Guid;
using env::Task;

constexpr int kChannelFd = 3;
constexpr auto kLoadLimit = std::chrono::seconds(60);
constexpr auto kPingInterval = std::chrono::seconds(10);
constexpr auto kPingLimit = std::chrono::seconds(5);
constexpr int kMissedPings = 3;
constexpr size_t kMaximumThreads = 64;

/// Threads that run blocking calls; one more is started whenever all are busy.
class Threads {
public:
    ~Threads() {
        {
            std::lock_guard lock(mutex_);
            stopping_ = true;
        }
        wake_.notify_all();
        for (std::thread& thread : threads_) thread.join();
    }
    void run(std::function<void()> work) {
        std::lock_guard lock(mutex_);
        queue_.push_back(std::move(work));
        if (idle_ < queue_.size() && threads_.size() < kMaximumThreads) threads_.emplace_back([this] { loop(); });
        wake_.notify_one();
    }

private:
    void loop() {
        std::unique_lock lock(mutex_);
        for (;;) {
            ++idle_;
            wake_.wait(lock, [&] { return stopping_ || !queue_.empty(); });
            --idle_;
            if (queue_.empty()) return;
            auto work = std::move(queue_.front());
            queue_.pop_front();
            lock.unlock();
            work();
            work = nullptr;
            lock.lock();
        }
    }
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::function<void()>> queue_;
    std::vector<std::thread> threads_;
    size_t idle_ = 0;
    bool stopping_ = false;
};

template <class T>
struct OnThread {
    env::Executor& executor;
    Threads& threads;
    std::function<T()> work;
    std::optional<T> value;
    bool await_ready() const noexcept { return false; }
    void await_suspend(std::coroutine_handle<> handle) {
        threads.run([this, handle] {
            value.emplace(work());
            executor.post([handle] { handle.resume(); });
        });
    }
    T await_resume() { return std::move(*value); }
};

void fill(const LunInformation& from, v1::LunInformation* to) {
    to->set_version(from.version);
    to->set_device_type(from.device_type);
    to->set_device_type_modifier(from.device_type_modifier);
    to->set_command_queueing(from.command_queueing);
    to->set_bus_type(from.bus_type);
    if (from.vendor_id) to->set_vendor_id(*from.vendor_id);
    if (from.product_id) to->set_product_id(*from.product_id);
    if (from.product_revision) to->set_product_revision(*from.product_revision);
    if (from.serial_number) to->set_serial_number(*from.serial_number);
    to->set_disk_signature(from.disk_signature.text());
    to->set_descriptor_version(from.descriptor_version);
    for (const StorageIdentifier& one : from.identifiers) {
        v1::StorageIdentifier* identifier = to->add_identifiers();
        identifier->set_code_set(one.code_set);
        identifier->set_type(one.type);
        identifier->set_identifier(std::string(base::as_text(one.id)));
    }
}
template <class Repeated>
void fill(const std::vector<LunInformation>& from, Repeated* to) {
    for (const LunInformation& lun : from) fill(lun, to->Add());
}

LunInformation read(const v1::LunInformation& from) {
    LunInformation to;
    to.version = from.version();
    to.device_type = static_cast<uint8_t>(from.device_type());
    to.device_type_modifier = static_cast<uint8_t>(from.device_type_modifier());
    to.command_queueing = from.command_queueing();
    to.bus_type = from.bus_type();
    if (from.has_vendor_id()) to.vendor_id = from.vendor_id();
    if (from.has_product_id()) to.product_id = from.product_id();
    if (from.has_product_revision()) to.product_revision = from.product_revision();
    if (from.has_serial_number()) to.serial_number = from.serial_number();
    to.disk_signature = Guid::parse(from.disk_signature()).value_or(Guid{});
    to.descriptor_version = from.descriptor_version();
    for (const v1::StorageIdentifier& one : from.identifiers()) {
        const base::Bytes bytes = base::as_bytes(one.identifier());
        to.identifiers.push_back({one.code_set(), one.type(), {bytes.begin(), bytes.end()}});
    }
    return to;
}
template <class Repeated>
std::vector<LunInformation> read_all(const Repeated& from) {
    std::vector<LunInformation> to;
    for (const v1::LunInformation& lun : from) to.push_back(read(lun));
    return to;
}

/// One life of the surrogate process.
struct Process {
    pid_t pid = 0;
    std::unique_ptr<v1::ProviderHost::Stub> stub;
    bool has_ex = false;
    std::mutex mutex;
    std::condition_variable ended;
    bool over = false;

    ~Process() {
        kill_now();
        int status = 0;
        while (waitpid(pid, &status, 0) < 0 && errno == EINTR) {
        }
    }
    void kill_now() {
        std::lock_guard lock(mutex);
        over = true;
        kill(pid, SIGKILL);  // our child, not reaped before the destructor: the id is its own
        ended.notify_all();
    }
};
using ProcessPtr = std::shared_ptr<Process>;  // shared by calls under way, the event stream and the pings

class SurrogateImpl final : public Surrogate {
public:
    SurrogateImpl(env::Executor& executor, SurrogateOptions options,
                  std::function<void(const ProviderInfo&, ReportedEvent)> on_event)
        : executor_(executor), options_(std::move(options)), on_event_(std::move(on_event)) {}
    ~SurrogateImpl() override {
        ProcessPtr process;
        {
            std::lock_guard lock(mutex_);
            process = std::move(process_);
        }
        if (process) {
            // OnUnload(force): best effort, then the process ends whatever it thinks.
            grpc::ClientContext context;
            context.set_deadline(std::chrono::system_clock::now() + kPingLimit);
            v1::OnUnloadRequest request;
            request.set_force(true);
            v1::Reply reply;
            (void)process->stub->OnUnload(&context, request, &reply);
            process->kill_now();
        }
    }

    const ProviderInfo& info() const override { return options_.info; }
    const SurrogateOptions& options() const override { return options_; }
    Status status() const override {
        std::lock_guard lock(mutex_);
        Status out;
        out.starts = starts_;
        out.state = process_ ? "running" : (failed_ ? "failed" : "stopped");
        if (process_) out.pid = process_->pid;
        return out;
    }
    void give_up(std::string) override {
        std::lock_guard lock(mutex_);
        if (process_) process_->kill_now();
        process_.reset();
    }

    Task<std::expected<bool, std::string>> has_ex() override {
        OnThread<std::expected<bool, std::string>> wait{executor_,
                                                        threads_,
                                                        [this]() -> std::expected<bool, std::string> {
                                                            auto process = ensure();
                                                            if (!process) return std::unexpected(process.error());
                                                            return (*process)->has_ex;
                                                        },
                                                        {}};
        std::expected<bool, std::string> result = co_await wait;
        co_return result;
    }

    Task<SupportReply> are_luns_supported(uint32_t context, std::vector<std::string> devices,
                                          std::vector<LunInformation> luns) override {
        v1::AreLunsSupportedRequest request;
        request.set_context(context);
        for (const std::string& device : devices) request.add_devices(device);
        fill(luns, request.mutable_luns());
        return invoke<SupportReply, v1::AreLunsSupportedReply>(
            &v1::ProviderHost::Stub::AreLunsSupported, std::move(request),
            [](const v1::AreLunsSupportedReply& from, SupportReply* to) {
                to->supported = from.supported();
                to->luns = read_all(from.luns());
            });
    }
    Task<ProviderReply> begin_prepare_snapshot(Guid set, Guid snapshot, uint32_t context,
                                               std::vector<std::string> devices,
                                               std::vector<LunInformation> luns) override {
        v1::BeginPrepareSnapshotRequest request;
        request.set_set(set.text());
        request.set_snapshot(snapshot.text());
        request.set_context(context);
        for (const std::string& device : devices) request.add_devices(device);
        fill(luns, request.mutable_luns());
        return simple(&v1::ProviderHost::Stub::BeginPrepareSnapshot, std::move(request));
    }
    Task<ProviderReply> end_prepare_snapshots(Guid set) override {
        return simple(&v1::ProviderHost::Stub::EndPrepareSnapshots, for_set(set));
    }
    Task<ProviderReply> pre_commit_snapshots(Guid set) override {
        return simple(&v1::ProviderHost::Stub::PreCommitSnapshots, for_set(set));
    }
    Task<ProviderReply> commit_snapshots(Guid set) override {
        return simple(&v1::ProviderHost::Stub::CommitSnapshots, for_set(set));
    }
    Task<ProviderReply> post_commit_snapshots(Guid set, uint32_t snapshots) override {
        v1::SetRequest request = for_set(set);
        request.set_snapshots(snapshots);
        return simple(&v1::ProviderHost::Stub::PostCommitSnapshots, std::move(request));
    }
    Task<ProviderReply> pre_final_commit_snapshots(Guid set) override {
        return simple(&v1::ProviderHost::Stub::PreFinalCommitSnapshots, for_set(set));
    }
    Task<ProviderReply> post_final_commit_snapshots(Guid set) override {
        return simple(&v1::ProviderHost::Stub::PostFinalCommitSnapshots, for_set(set));
    }
    Task<ProviderReply> abort_snapshots(Guid set) override {
        return simple(&v1::ProviderHost::Stub::AbortSnapshots, for_set(set));
    }
    Task<LunsReply> get_target_luns(std::vector<std::string> devices, std::vector<LunInformation> luns) override {
        v1::GetTargetLunsRequest request;
        for (const std::string& device : devices) request.add_devices(device);
        fill(luns, request.mutable_luns());
        return invoke<LunsReply, v1::LunsReply>(
            &v1::ProviderHost::Stub::GetTargetLuns, std::move(request),
            [](const v1::LunsReply& from, LunsReply* to) { to->luns = read_all(from.luns()); });
    }
    Task<ProviderReply> locate_luns(std::vector<LunInformation> luns) override {
        v1::Luns request;
        fill(luns, request.mutable_luns());
        return simple(&v1::ProviderHost::Stub::LocateLuns, std::move(request));
    }
    Task<SupportReply> fill_in_lun_info(std::string device, LunInformation lun) override {
        v1::DeviceLun request;
        request.set_device(device);
        fill(lun, request.mutable_lun());
        return invoke<SupportReply, v1::FillInLunInfoReply>(&v1::ProviderHost::Stub::FillInLunInfo, std::move(request),
                                                            [](const v1::FillInLunInfoReply& from, SupportReply* to) {
                                                                to->supported = from.supported();
                                                                to->luns.push_back(read(from.lun()));
                                                            });
    }
    Task<ProviderReply> on_lun_empty(std::string device, LunInformation lun) override {
        v1::DeviceLun request;
        request.set_device(device);
        fill(lun, request.mutable_lun());
        return simple(&v1::ProviderHost::Stub::OnLunEmpty, std::move(request));
    }
    Task<ProviderReply> on_lun_state_change(std::vector<LunInformation> snapshots,
                                            std::vector<LunInformation> originals, uint32_t flags) override {
        v1::OnLunStateChangeRequest request;
        fill(snapshots, request.mutable_snapshots());
        fill(originals, request.mutable_originals());
        request.set_flags(flags);
        return simple(&v1::ProviderHost::Stub::OnLunStateChange, std::move(request));
    }
    Task<AsyncReply> resync_luns(std::vector<LunInformation> sources, std::vector<LunInformation> targets) override {
        v1::ResyncLunsRequest request;
        fill(sources, request.mutable_sources());
        fill(targets, request.mutable_targets());
        return invoke<AsyncReply, v1::AsyncReply>(
            &v1::ProviderHost::Stub::ResyncLuns, std::move(request),
            [](const v1::AsyncReply& from, AsyncReply* to) { to->async = from.async(); });
    }
    Task<AsyncState> query_async(uint64_t async) override {
        return invoke<AsyncState, v1::AsyncState>(&v1::ProviderHost::Stub::QueryAsync, for_async(async),
                                                  [](const v1::AsyncState& from, AsyncState* to) {
                                                      // Some answer S_FALSE here (vss.md 3.2); only failures count.
                                                      if (!vss::failed(to->code)) to->code = vss::kOk;
                                                      to->result = from.result();
                                                      to->percent = from.percent();
                                                  });
    }
    Task<ProviderReply> cancel_async(uint64_t async) override {
        return simple(&v1::ProviderHost::Stub::CancelAsync, for_async(async));
    }
    Task<void> release_async(uint64_t async) override {
        OnThread<bool> wait{executor_,
                            threads_,
                            [this, async] {
                                ProcessPtr process = running();
                                if (!process) return false;
                                grpc::ClientContext context;
                                v1::Empty reply;
                                return process->stub->ReleaseAsync(&context, for_async(async), &reply).ok();
                            },
                            {}};
        (void)co_await wait;
    }

private:
    static v1::SetRequest for_set(const Guid& set) {
        v1::SetRequest request;
        request.set_set(set.text());
        return request;
    }
    static v1::AsyncRequest for_async(uint64_t async) {
        v1::AsyncRequest request;
        request.set_async(async);
        return request;
    }
    template <class Request>
    Task<ProviderReply> simple(grpc::Status (v1::ProviderHost::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                              v1::Reply*),
                               Request request) {
        return invoke<ProviderReply, v1::Reply>(method, std::move(request), [](const v1::Reply&, ProviderReply*) {});
    }
    template <class Out, class Reply, class Request>
    Task<Out> invoke(grpc::Status (v1::ProviderHost::Stub::*method)(grpc::ClientContext*, const Request&, Reply*),
                     Request request, std::function<void(const Reply&, Out*)> convert) {
        OnThread<Out> wait{executor_,
                           threads_,
                           [this, method, &request, &convert] {
                               Out out;
                               auto process = ensure();
                               if (!process) {
                                   out.lost = process.error();
                                   return out;
                               }
                               grpc::ClientContext context;
                               Reply reply;
                               const grpc::Status status = ((*process)->stub.get()->*method)(&context, request, &reply);
                               if (!status.ok()) {
                                   out.lost = "its process ended: " + status.error_message();
                                   lost(*process);
                                   return out;
                               }
                               out.code = reply.hresult();
                               convert(reply, &out);
                               return out;
                           },
                           {}};
        Out result = co_await wait;
        co_return result;
    }

    ProcessPtr running() const {
        std::lock_guard lock(mutex_);
        return process_;
    }
    void lost(const ProcessPtr& process) {
        process->kill_now();
        std::lock_guard lock(mutex_);
        if (process_ == process) process_.reset();
    }

    /// On one of our threads, which live as long as the object: the kernel ends the child with the thread that made it.
    std::expected<ProcessPtr, std::string> ensure() {
        std::lock_guard starting(start_mutex_);
        if (ProcessPtr process = running()) return process;
        auto started = start();
        std::lock_guard lock(mutex_);
        failed_ = !started;
        if (started) {
            process_ = *started;
            ++starts_;
        }
        return started;
    }
    std::expected<ProcessPtr, std::string> start();
    void watch(const ProcessPtr& process);

    env::Executor& executor_;
    SurrogateOptions options_;
    std::function<void(const ProviderInfo&, ReportedEvent)> on_event_;
    mutable std::mutex mutex_;
    std::mutex start_mutex_;
    ProcessPtr process_;
    uint32_t starts_ = 0;
    bool failed_ = false;
    Threads threads_;  // last: its threads use all of the above
};

std::expected<ProcessPtr, std::string> SurrogateImpl::start() {
    int fds[2];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) != 0) return std::unexpected("socketpair failed");
    std::vector<std::string> environment;
    for (char** one = environ; *one != nullptr; ++one) {
        const std::string entry = *one;
        if (!options_.environment.contains(entry.substr(0, entry.find('=')))) environment.push_back(entry);
    }
    for (const auto& [name, value] : options_.environment) environment.push_back(name + "=" + value);
    std::vector<char*> envp;
    for (std::string& one : environment) envp.push_back(one.data());
    envp.push_back(nullptr);
    std::vector<std::string> arguments{options_.program, "--channel", std::to_string(kChannelFd),   "--library",
                                       options_.library, "--class",   options_.info.class_id.text()};
    std::vector<char*> argv;
    for (std::string& one : arguments) argv.push_back(one.data());
    argv.push_back(nullptr);

    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, fds[1], kChannelFd);
    // Signals that the daemon handles itself are blocked here; the child starts with none blocked.
    posix_spawnattr_t attributes;
    posix_spawnattr_init(&attributes);
    sigset_t none;
    sigemptyset(&none);
    posix_spawnattr_setsigmask(&attributes, &none);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    pid_t pid = 0;
    const int spawned = posix_spawnp(&pid, options_.program.c_str(), &actions, &attributes, argv.data(), envp.data());
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(fds[1]);
    if (spawned != 0) {
        close(fds[0]);
        return std::unexpected(options_.program + " cannot be started: " + std::string(strerror(spawned)));
    }
    auto process = std::make_shared<Process>();
    process->pid = pid;
    fcntl(fds[0], F_SETFL, fcntl(fds[0], F_GETFL) | O_NONBLOCK);
    process->stub = v1::ProviderHost::NewStub(grpc::CreateInsecureChannelFromFd("provider", fds[0]));

    grpc::ClientContext context;
    context.set_deadline(std::chrono::system_clock::now() + kLoadLimit);
    v1::Description description;
    const grpc::Status status = process->stub->Describe(&context, v1::Empty(), &description);
    if (!status.ok()) return std::unexpected("its process did not load it: " + status.error_message());
    if (!description.failure().empty()) return std::unexpected(description.failure());
    if (description.on_load() != vss::kOk)
        return std::unexpected("OnLoad returned " + vss::name(description.on_load()));
    if (!description.has_hardware() || !description.has_create_snapshot_set()) {
        return std::unexpected("the library offers no hardware provider");
    }
    process->has_ex = description.has_ex();
    watch(process);
    return process;
}

void SurrogateImpl::watch(const ProcessPtr& process) {
    threads_.run([this, process] {
        grpc::ClientContext context;
        const auto reader = process->stub->WatchEvents(&context, v1::Empty());
        v1::ProviderEvent event;
        while (reader->Read(&event)) {
            ReportedEvent reported{event.type(), event.event_id(), ""};
            for (const std::string& text : event.texts()) reported.text += (reported.text.empty() ? "" : " ") + text;
            executor_.post([this, reported] { on_event_(options_.info, reported); });
        }
        (void)reader->Finish();
        lost(process);
    });
    threads_.run([this, process] {
        int missed = 0;
        std::unique_lock lock(process->mutex);
        while (!process->ended.wait_for(lock, kPingInterval, [&] { return process->over; })) {
            lock.unlock();
            grpc::ClientContext context;
            context.set_deadline(std::chrono::system_clock::now() + kPingLimit);
            v1::Empty reply;
            missed = process->stub->Ping(&context, v1::Empty(), &reply).ok() ? 0 : missed + 1;
            if (missed >= kMissedPings) {
                lost(process);
                return;
            }
            lock.lock();
        }
    });
}

}  // namespace

std::unique_ptr<Surrogate> make_surrogate(env::Executor& executor, SurrogateOptions options,
                                          std::function<void(const ProviderInfo&, ReportedEvent)> on_event) {
    return std::make_unique<SurrogateImpl>(executor, std::move(options), std::move(on_event));
}

}  // namespace umbra::coordinator

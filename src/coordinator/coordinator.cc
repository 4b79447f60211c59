#include "coordinator/coordinator.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

#include "coordinator/session.h"

namespace umbra::coordinator {

using env::Task;

namespace {

/// vss.md 2.4: the union of what the error page and the method pages allow, beside S_OK.
bool is_allowed_failure(ComCode code) {
    constexpr std::array kAllowed{
        vss::kOutOfMemory,        vss::kInvalidArgument,
        vss::kAccessDenied,       vss::kBadState,
        vss::kObjectNotFound,     vss::kInsufficientStorage,
        vss::kVolumeNotSupported, vss::kVolumeNotSupportedByProvider,
        vss::kProviderVeto,       vss::kMaximumSnapshotsReached,
        vss::kCannotRevertDiskId, vss::kMaximumVolumesReached,
        vss::kNestedVolumeLimit,  vss::kUnsupportedContext,
        vss::kRevertInProgress,
    };
    return std::ranges::find(kAllowed, code) != kAllowed.end();
}

/// E_NOTIMPL is a documented answer of the Ex interface only.
bool may_be_unimplemented(std::string_view method) {
    return method == "ResyncLuns" || method == "OnLunStateChange" || method == "OnReuseLuns" ||
           method == "GetProviderCapabilities";
}

}  // namespace

Coordinator::Coordinator(env::Environment environment, host::HostOps& host, StateStore& store,
                         ProviderRegistry& providers, EventLog& events, Options options)
    : environment_(environment),
      host_(environment.executor, host),
      store_(store),
      providers_(providers),
      events_(events),
      options_(std::move(options)),
      sessions_changed_(environment.executor),
      stop_signal_(environment.executor),
      background_(environment.executor) {
    options_.freeze_limit = std::min<env::Duration>(options_.freeze_limit, std::chrono::seconds(60));
    options_.commit_window = std::min<env::Duration>(options_.commit_window, std::chrono::seconds(10));
}

Coordinator::~Coordinator() = default;

int64_t Coordinator::timestamp() const {
    constexpr int64_t kUnixEpochTicks = 116'444'736'000'000'000;  // 1601 to 1970 in 100 ns
    return environment_.executor.wall_time().unix_ns / 100 + kUnixEpochTicks;
}

Answer<> Coordinator::save(StateChange change) {
    auto applied = store_.apply(std::move(change));
    if (applied) return {};
    events_.error(EventId::kStateWriteFailed, "the host's state cannot be written: " + applied.error().text(),
                  {{"remedy", "make room on the file system that holds the state, or repair it"}});
    return refuse(vss::kUnexpected, applied.error().text());
}

Answer<> Coordinator::save(const SetRecord& set) {
    StateChange change;
    change.put_sets.push_back(set);
    return save(std::move(change));
}

Answer<> Coordinator::save(const Intent& intent) {
    StateChange change;
    change.put_intents.push_back(intent);
    return save(std::move(change));
}

// --- Operations ------------------------------------------------------------------------------------------------------

OperationPtr Coordinator::new_operation(std::string kind) {
    auto operation = std::make_shared<Operation>(environment_.executor);
    operation->id = new_id();
    operation->kind = std::move(kind);
    operations_[operation->id] = operation;
    return operation;
}

OperationPtr Coordinator::start_operation(std::string kind,
                                          const std::function<Task<Answer<ComCode>>(OperationPtr)>& work) {
    OperationPtr operation = new_operation(std::move(kind));
    background_.spawn(run_operation(operation, work(operation)));
    return operation;
}

Task<void> Coordinator::run_operation(OperationPtr operation, Task<Answer<ComCode>> work) {
    Answer<ComCode> result = co_await std::move(work);
    operation->on_cancel = nullptr;
    if (result) {
        operation->result = *result;
        operation->percent = 100;
    } else {
        operation->result = result.error().code;
        operation->message = result.error().message;
    }
    operation->done.set();
    operation->wake.notify_all();
}

OperationPtr Coordinator::find_operation(const base::Guid& id) {
    const auto found = operations_.find(id);
    return found == operations_.end() ? nullptr : found->second;
}

ComCode Coordinator::cancel_operation(const base::Guid& id) {
    const OperationPtr operation = find_operation(id);
    if (!operation) return vss::kObjectNotFound;
    if (!operation->running()) return operation->result;
    operation->cancel_requested = true;
    if (operation->on_cancel) operation->on_cancel();
    return vss::kOk;
}

void Coordinator::release_operation(const base::Guid& id) {
    const auto found = operations_.find(id);
    // A resynchronisation stays in the list of tasks until it has ended, whoever lets go of it.
    if (found != operations_.end() && !(found->second->running() && found->second->kind == "resync")) {
        operations_.erase(found);
    }
}

Task<void> Coordinator::wait_operation(OperationPtr operation, env::Instant until) {
    if (operation->running() && !stopping_) (void)co_await operation->wake.wait_until(until);
}

std::vector<OperationPtr> Coordinator::operations() const {
    std::vector<OperationPtr> all;
    for (const auto& [id, operation] : operations_) all.push_back(operation);
    return all;
}

// --- Providers -------------------------------------------------------------------------------------------------------

Failure Coordinator::provider_failure(Provider& provider, const char* method, const base::Guid& set,
                                      const ProviderReply& reply) {
    std::map<std::string, std::string> fields{
        {"provider", provider.info().name}, {"provider id", provider.info().id.text()}, {"method", method}};
    if (!set.is_null()) fields["set"] = set.text();
    if (!reply.lost.empty()) {
        fields["remedy"] = "look for the provider's own messages; it is started again at its next use";
        std::string text = fmt::format("provider {}: {}: no answer: {}", provider.info().name, method, reply.lost);
        events_.error(EventId::kProviderLost, text, std::move(fields));
        return {vss::kUnexpectedProviderError, std::move(text)};
    }
    fields["code"] = vss::name(reply.code);
    const bool documented =
        is_allowed_failure(reply.code) || (reply.code == vss::kNotImplemented && may_be_unimplemented(method));
    std::string text = fmt::format("provider {}: {} returned {}", provider.info().name, method, vss::name(reply.code));
    if (documented) {
        fields["remedy"] = "see the provider's own entry before this one, and the state of its array";
        events_.error(EventId::kProviderFailed, text, std::move(fields));
        return {reply.code, std::move(text)};
    }
    fields["remedy"] = "the provider is defective: tell its maker; the call was treated as failed";
    events_.error(EventId::kProviderBadCode, text, std::move(fields));
    return {vss::kUnexpectedProviderError, std::move(text)};
}

Task<Answer<bool>> Coordinator::has_ex(Provider* provider) {
    std::expected<bool, std::string> ex = co_await provider->has_ex();
    if (ex) co_return *ex;
    ProviderReply lost;
    lost.lost = ex.error();
    co_return std::unexpected(provider_failure(*provider, "OnLoad", {}, lost));
}

// --- Sessions --------------------------------------------------------------------------------------------------------

SessionPtr Coordinator::open_session(std::string client, std::function<void()> on_end) {
    if (stopping_) return nullptr;
    const base::Guid id = new_id();
    auto session = std::make_shared<Session>(*this, id, std::move(client));
    session->on_end_ = std::move(on_end);
    sessions_[id] = session;
    return session;
}

SessionPtr Coordinator::find_session(const base::Guid& id) {
    const auto found = sessions_.find(id);
    return found == sessions_.end() ? nullptr : found->second;
}

Task<void> Coordinator::end_session(base::Guid id, bool orderly) {
    const SessionPtr session = find_session(id);
    if (!session) co_return;
    sessions_.erase(id);
    ++closing_sessions_;
    co_await session->release(orderly);
    if (const auto on_end = std::exchange(session->on_end_, nullptr)) on_end();
    --closing_sessions_;
    sessions_changed_.wake_all();
}

Task<void> Coordinator::wait_no_session() {
    while (!sessions_.empty() || closing_sessions_ > 0) co_await sessions_changed_.wait();
}

Task<void> Coordinator::stop() {
    stopping_ = true;
    stop_signal_.notify_all();
    for (const auto& [id, operation] : operations_) operation->wake.notify_all();
    while (!sessions_.empty()) {
        const base::Guid id = sessions_.begin()->first;
        co_await end_session(id, false);
    }
    co_await wait_no_session();
    co_await background_.join();
    co_await host_.join();
}

}  // namespace umbra::coordinator

#include <fmt/format.h>
#include <grpcpp/grpcpp.h>
#include <vss.grpc.pb.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "cli/exit_code.h"
#include "cli/host_commands.h"
#include "cli/table.h"

namespace umbra::cli {

namespace {

namespace v1 = umbra::vss::v1;
using base::Code;
using base::fail;
using base::Result;
using Json = nlohmann::ordered_json;

constexpr std::chrono::seconds kPatience{10};
constexpr std::chrono::minutes kCallLimit{10};
// vss.h's VSS_E_OBJECT_NOT_FOUND; the service answers with the code of the interfaces.
constexpr uint32_t kObjectNotFound = 0x80042308;
constexpr uint32_t kAsyncPending = 0x00042309;  // VSS_S_ASYNC_PENDING
// 100 ns from 1601 to 1970.
constexpr int64_t kEpoch = 116'444'736'000'000'000;

class Administration {
public:
    explicit Administration(const std::string& address)
        : channel_(grpc::CreateChannel(address, grpc::InsecureChannelCredentials())),
          stub_(v1::VssAdministration::NewStub(channel_)) {}

    template <class Request, class Reply>
    Result<Reply> call(grpc::Status (v1::VssAdministration::Stub::*method)(grpc::ClientContext*, const Request&,
                                                                           Reply*),
                       const Request& request) {
        if (!channel_->WaitForConnected(std::chrono::system_clock::now() + kPatience)) {
            return fail(Code::kUnavailable, "umbra-hostd does not answer");
        }
        grpc::ClientContext context;
        context.set_deadline(std::chrono::system_clock::now() + kCallLimit);
        Reply reply;
        const grpc::Status status = (stub_.get()->*method)(&context, request, &reply);
        if (!status.ok()) return fail(Code::kUnavailable, "umbra-hostd: " + status.error_message());
        return reply;
    }

private:
    std::shared_ptr<grpc::Channel> channel_;
    std::unique_ptr<v1::VssAdministration::Stub> stub_;
};

Result<Administration> connect(const Context& context) {
    if (context.host_address.empty()) {
        return fail(Code::kInvalidArgument, "no host daemon named: set UMBRA_HOST=unix:PATH or give --host");
    }
    return Administration(context.host_address);
}

int64_t unix_ms(const v1::Snapshot& snapshot) {
    return snapshot.created() == 0 ? 0 : (snapshot.created() - kEpoch) / 10'000;
}

Result<int> list_shadows(Context& context) {
    UMBRA_ASSIGN(Administration host, connect(context));
    UMBRA_ASSIGN(const auto reply, host.call(&v1::VssAdministration::Stub::ListShadows, v1::ListShadowsRequest()));
    if (context.json) {
        Json json = Json::array();
        for (const v1::ShadowSet& set : reply.sets()) {
            Json snapshots = Json::array();
            for (const v1::Snapshot& one : set.snapshots()) {
                snapshots.push_back({{"id", one.id()},
                                     {"original_volume", one.original_volume()},
                                     {"originating_machine", one.originating_machine()},
                                     {"device_object", one.device_object()},
                                     {"exposed_path", one.exposed_path()},
                                     {"created_unix_ms", unix_ms(one)}});
            }
            json.push_back({{"set", set.id()}, {"state", set.state()}, {"snapshots", std::move(snapshots)}});
        }
        context.console.out << json.dump(2) << "\n";
        return kExitOk;
    }
    Table table({{"SET"}, {"STATE"}, {"CREATED"}, {"FROM"}, {"SHADOW COPY"}, {"AT"}});
    for (const v1::ShadowSet& set : reply.sets()) {
        for (const v1::Snapshot& one : set.snapshots()) {
            const std::string& path = one.exposed_path().empty() ? one.device_object() : one.exposed_path();
            table.add({set.id(), set.state(), format_time(unix_ms(one)), one.originating_machine(), one.id(),
                       path.empty() ? "-" : path});
        }
    }
    table.print(context.console.out);
    return kExitOk;
}

Result<int> show_status(Context& context) {
    UMBRA_ASSIGN(Administration host, connect(context));
    UMBRA_ASSIGN(const auto status, host.call(&v1::VssAdministration::Stub::GetHostStatus, v1::Empty()));
    UMBRA_ASSIGN(const auto running, host.call(&v1::VssAdministration::Stub::ListOperations, v1::Empty()));
    Json operations = Json::array();
    for (const v1::Operation& one : running.operations()) {
        operations.push_back({{"id", one.id()},
                              {"kind", one.kind()},
                              {"running", one.state().result() == kAsyncPending},
                              {"step", one.state().step()},
                              {"percent", one.state().percent()}});
    }
    if (context.json) {
        context.console.out << Json({{"machine", status.machine()},
                                     {"version", status.version()},
                                     {"sessions", status.sessions()},
                                     {"creation_in_progress", status.creation_in_progress()},
                                     {"safe_mode", status.safe_mode()},
                                     {"operations", std::move(operations)}})
                                   .dump(2)
                            << "\n";
        return kExitOk;
    }
    context.console.out << fmt::format(
        "{}: umbra-hostd {}, {} requesters{}{}\n", status.machine(), status.version(), status.sessions(),
        status.creation_in_progress() ? ", a set is being created" : "", status.safe_mode() ? ", safe mode" : "");
    Table table({{"OPERATION"}, {"KIND"}, {"STATE"}, {"STEP"}});
    for (const v1::Operation& one : running.operations()) {
        const bool runs = one.state().result() == kAsyncPending;
        table.add(
            {one.id(), one.kind(), runs ? fmt::format("{} %", one.state().percent()) : "ended", one.state().step()});
    }
    if (running.operations_size() > 0) table.print(context.console.out);
    return kExitOk;
}

Result<int> clean_up(Context& context, const std::string& set) {
    UMBRA_ASSIGN(Administration host, connect(context));
    v1::CleanupSetRequest request;
    request.set_set(set);
    UMBRA_ASSIGN(const auto reply, host.call(&v1::VssAdministration::Stub::CleanupSet, request));
    if (reply.status().hresult() == kObjectNotFound) return fail(Code::kNotFound, reply.status().message());
    if (reply.status().hresult() != 0) return fail(Code::kBadState, reply.status().message());
    if (context.json) {
        context.console.out << Json({{"set", set}, {"luns_released", reply.luns_released()}}).dump(2) << "\n";
    } else {
        context.console.out << fmt::format("{} is forgotten on this host; {} LUNs were detached\n", set,
                                           reply.luns_released());
    }
    return kExitOk;
}

}  // namespace

void add_shadow_commands(CLI::App& app, Context& context) {
    Context* at = &context;
    CLI::App* shadow = app.add_subcommand("shadow", "Shadow copy sets that this host knows");
    shadow->require_subcommand(1);
    CLI::App* list =
        shadow->add_subcommand("list", "All sets, also those handed over to another host or left half done");
    list->callback([at] { at->action = [at] { return list_shadows(*at); }; });
    CLI::App* status = shadow->add_subcommand("status", "What umbra-hostd is working on");
    status->callback([at] { at->action = [at] { return show_status(*at); }; });
    CLI::App* cleanup = shadow->add_subcommand(
        "cleanup",
        "Take a set whose import failed, or that was handed over, off this host; its LUNs stay in the array");
    const auto set = std::make_shared<std::string>();
    cleanup->add_option("set", *set, "Identifier of the set")->required();
    cleanup->callback([at, set] { at->action = [at, set] { return clean_up(*at, *set); }; });
}

}  // namespace umbra::cli

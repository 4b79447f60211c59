// umbra array | lun | snapshot | mask | session | drive | task | scrub | events: everything that the management channel
// of an array offers. Names and flags are fixed by docs/operating/umbra.md.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <nlohmann/json.hpp>
#include <optional>
#include <ostream>

#include "array_rpc/client.h"
#include "array_rpc/status.h"
#include "base/size_text.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/table.h"

namespace umbra::cli {

using array::LunRef;
using array::LunView;
using array_rpc::ArrayClient;
using base::Code;
using base::fail;
using base::format_size;
using base::Result;
using Json = nlohmann::ordered_json;

namespace {

using Align = Table::Align;

// JSON.

Json to_json(const LunView& lun) {
    Json json;
    json["name"] = lun.name;
    json["size_bytes"] = lun.size_bytes;
    json["type"] = lun.type;
    json["naa"] = lun.naa;
    json["health"] = lun.health;
    json["iscsi"] = Json::array();
    for (const auto& path : lun.paths) {
        json["iscsi"].push_back({{"target_iqn", path.target_iqn}, {"lun", path.lun}, {"portal", path.portal}});
    }
    json["kind"] = to_string(lun.kind);
    json["id"] = lun.id;
    json["serial"] = lun.serial;
    json["width"] = lun.width;
    json["origin"] = lun.origin;
    json["mapped_bytes"] = lun.mapped_bytes;
    json["created_unix_ms"] = lun.created_unix_ms;
    json["flags"] = lun.flags;
    json["write_protected"] = lun.write_protected;
    json["attributes"] = Json::object();
    for (const auto& [key, value] : lun.attributes) json["attributes"][key] = value;
    json["masks"] = Json::array();
    for (const auto& mask : lun.masks) {
        json["masks"].push_back({{"initiator", mask.initiator}, {"target_iqn", mask.target_iqn}, {"lun", mask.lun}});
    }
    json["plexes"] = Json::array();
    for (const auto& plex : lun.plexes) {
        json["plexes"].push_back({{"id", plex.id}, {"health", plex.health}, {"drives", plex.drives}});
    }
    json["failed_task"] = lun.failed_task;
    json["generation"] = lun.generation;
    return json;
}

Json to_json(const array::DriveView& drive) {
    return {{"name", drive.name},
            {"id", drive.id},
            {"path", drive.path},
            {"state", drive.state},
            {"size_bytes", drive.size_bytes},
            {"used_bytes", drive.used_bytes},
            {"read_errors", drive.read_errors},
            {"checksum_errors", drive.checksum_errors},
            {"repaired_blocks", drive.repaired_blocks},
            {"index", drive.index}};
}

Json to_json(const array::TaskView& task) {
    return {{"id", task.id},
            {"kind", task.kind},
            {"object", task.object},
            {"state", to_string(task.state)},
            {"percent", task.percent},
            {"done_bytes", task.done_bytes},
            {"total_bytes", task.total_bytes},
            {"bytes_per_second", task.bytes_per_second},
            {"seconds_left", task.seconds_left},
            {"error_code", task.error_code},
            {"error", task.error},
            {"result", task.result},
            {"started_unix_ms", task.started_unix_ms},
            {"ended_unix_ms", task.ended_unix_ms}};
}

Json to_json(const array::EventView& event) {
    return {{"sequence", event.sequence}, {"unix_ms", event.unix_ms}, {"id", event.id},
            {"severity", event.severity}, {"message", event.message}, {"lun", event.lun},
            {"drive", event.drive}};
}

Json to_json(const array::SessionView& session) {
    return {{"initiator", session.initiator},
            {"target_iqn", session.target_iqn},
            {"peer", session.peer},
            {"isid", session.isid},
            {"luns", session.luns}};
}

Json to_json(const array::StatusView& status) {
    Json json = {{"id", status.id},
                 {"name", status.name},
                 {"version", status.version},
                 {"state", status.state},
                 {"raw_bytes", status.raw_bytes},
                 {"free_bytes", status.free_bytes},
                 {"live_bytes", status.live_bytes},
                 {"drives", status.drives},
                 {"drives_online", status.drives_online},
                 {"luns", status.luns}};
    json["targets"] = Json::array();
    for (const auto& target : status.targets) {
        json["targets"].push_back({{"iqn", target.iqn}, {"is_default", target.is_default}});
    }
    json["portals"] = status.portals;
    return json;
}

template <class View>
Json list_json(const std::vector<View>& views) {
    Json json = Json::array();
    for (const View& view : views) json.push_back(to_json(view));
    return json;
}

void print(std::ostream& out, const Json& json) {
    // Names from outside may hold bytes that are no UTF-8; a listing must still come out.
    out << json.dump(2, ' ', false, Json::error_handler_t::replace) << "\n";
}

// Text.

std::string joined(const std::vector<std::string>& parts, const char* between = ",") {
    std::string text;
    for (const std::string& part : parts) text += (text.empty() ? "" : between) + part;
    return text.empty() ? "-" : text;
}

void print_lun(std::ostream& out, const LunView& lun) {
    const auto line = [&](const char* what, const std::string& value) {
        out << fmt::format("{:<12}{}\n", what, value);
    };
    line("name", lun.name);
    line("kind", to_string(lun.kind));
    line("type", fmt::format("{}, width {}", lun.type, lun.width));
    line("size", format_size(lun.size_bytes));
    line("mapped", format_size(lun.mapped_bytes));
    line("health", lun.health);
    line("naa", lun.naa);
    line("serial", lun.serial);
    line("id", lun.id);
    line("created", format_time(lun.created_unix_ms) + " UTC");
    if (!lun.origin.empty()) line("origin", lun.origin);
    if (lun.write_protected) line("writes", "refused");
    for (const auto& mask : lun.masks) {
        line("presented", fmt::format("to {} on {} as LUN {}", mask.initiator == "*" ? "everyone" : mask.initiator,
                                      mask.target_iqn, mask.lun));
    }
    for (const auto& path : lun.paths)
        line("portal", fmt::format("{} {} LUN {}", path.portal, path.target_iqn, path.lun));
    for (const auto& plex : lun.plexes) line("plex", fmt::format("{} on {}", plex.health, joined(plex.drives)));
    for (const auto& [key, value] : lun.attributes) line("attribute", key + "=" + value);
    if (!lun.failed_task.empty()) line("failed", lun.failed_task);
}

void print_luns(std::ostream& out, const std::vector<LunView>& luns) {
    Table table({{"NAME"},
                 {"KIND"},
                 {"TYPE"},
                 {"SIZE", Align::kRight},
                 {"MAPPED", Align::kRight},
                 {"HEALTH"},
                 {"ORIGIN"},
                 {"PRESENTED TO"}});
    for (const LunView& lun : luns) {
        std::vector<std::string> initiators;
        for (const auto& mask : lun.masks) initiators.push_back(mask.initiator);
        table.add({lun.name, to_string(lun.kind), lun.type, format_size(lun.size_bytes), format_size(lun.mapped_bytes),
                   lun.health, lun.origin.empty() ? "-" : lun.origin, joined(initiators)});
    }
    table.print(out);
}

std::string task_title(const array::TaskView& task) {
    return task.object.empty() ? task.kind : task.kind + " of " + task.object;
}

std::string progress_line(const array::TaskView& task) {
    constexpr uint32_t kBar = 24;
    const uint32_t full = task.percent * kBar / 100;
    std::string text = fmt::format("{} [{}{}] {:3} %", task_title(task), std::string(full, '#'),
                                   std::string(kBar - full, '.'), task.percent);
    if (task.total_bytes > 0)
        text += fmt::format("  {} of {}", format_size(task.done_bytes), format_size(task.total_bytes));
    if (task.bytes_per_second > 0) text += fmt::format(", {}/s", format_size(task.bytes_per_second));
    if (task.seconds_left >= 0) text += fmt::format(", about {} left", format_seconds(task.seconds_left));
    return text;
}

int task_exit_code(const array::TaskView& task) {
    switch (task.state) {
        case array::TaskState::kRunning:
            return kExitOk;
        case array::TaskState::kDone:
            return kExitOk;
        case array::TaskState::kCancelled:
            return kExitCancelled;
        case array::TaskState::kFailed:
            break;
    }
    const auto code = array_rpc::parse_code(task.error_code);
    return code ? exit_code(*code) : kExitFailed;
}

std::string task_summary(const array::TaskView& task) {
    switch (task.state) {
        case array::TaskState::kRunning:
            return fmt::format("task {} ({}) runs; umbra task wait {} waits for it", task.id, task_title(task),
                               task.id);
        case array::TaskState::kDone:
            return fmt::format("task {} ({}) done{}{}", task.id, task_title(task), task.result.empty() ? "" : ": ",
                               task.result);
        case array::TaskState::kCancelled:
            return fmt::format("task {} ({}) was cancelled", task.id, task_title(task));
        case array::TaskState::kFailed:
            return fmt::format("task {} ({}) failed: {}: {}", task.id, task_title(task), task.error_code, task.error);
    }
    return {};
}

/// One parsed invocation: the options of all array commands, and what runs them.
class ArrayCommands {
public:
    explicit ArrayCommands(Context& context) : context_(context) {}
    void add(CLI::App& app);

private:
    using Method = Result<int> (ArrayCommands::*)();
    CLI::App* verb(CLI::App* noun, const char* name, const char* help, Method method) {
        CLI::App* command = noun->add_subcommand(name, help);
        on(command, method);
        return command;
    }
    void on(CLI::App* command, Method method) {
        command->callback([this, method] { context_.action = [this, method] { return (this->*method)(); }; });
    }
    static CLI::App* noun(CLI::App& app, const char* name, const char* help) {
        CLI::App* command = app.add_subcommand(name, help);
        command->require_subcommand(1);
        return command;
    }
    void lun_argument(CLI::App* command) { command->add_option("LUN", name_, "Name of the LUN")->required(); }
    void wait_flag(CLI::App* command) { command->add_flag("--wait", wait_, "Wait until it has ended"); }

    Result<ArrayClient*> client(std::optional<std::chrono::milliseconds> patience = {});
    std::ostream& out() { return context_.console.out; }
    template <class View, class Print>
    Result<int> show(const View& view, Print text) {
        if (context_.json) {
            print(out(), to_json(view));
        } else {
            text(view);
        }
        return kExitOk;
    }
    template <class View, class Print>
    Result<int> show_list(const std::vector<View>& views, Print text) {
        if (context_.json) {
            print(out(), list_json(views));
        } else {
            text(views);
        }
        return kExitOk;
    }
    Result<int> say(const LunView& lun, const std::string& text) {
        return show(lun, [&](const LunView&) { out() << text << "\n"; });
    }
    Result<int> follow(const array::TaskView& started);
    Result<array::TaskView> wait_for(uint64_t id);

    Result<int> array_status();
    Result<int> array_wait_ready();
    Result<int> lun_create();
    Result<int> lun_show();
    Result<int> lun_list();
    Result<int> lun_delete();
    Result<int> lun_resize();
    Result<int> lun_rename();
    Result<int> lun_resync();
    Result<int> lun_recover();
    Result<int> snapshot_create();
    Result<int> snapshot_delete();
    Result<int> snapshot_list();
    Result<int> mask_add();
    Result<int> mask_remove();
    Result<int> session_list();
    Result<int> drive_list();
    Result<int> drive_fail();
    Result<int> task_list();
    Result<int> task_show();
    Result<int> task_wait();
    Result<int> task_cancel();
    Result<int> scrub();
    Result<int> events();

    Context& context_;
    std::unique_ptr<ArrayClient> client_;

    std::string name_;
    std::vector<std::string> names_;
    std::string new_name_;
    std::string size_;
    std::string type_;
    uint32_t width_ = 0;
    std::string from_;
    std::string initiator_;
    std::string target_;
    std::string drive_;
    uint64_t task_ = 0;
    uint64_t after_ = 0;
    uint32_t timeout_s_ = 60;
    bool wait_ = false;
    bool force_ = false;
    bool follow_ = false;
};

void ArrayCommands::add(CLI::App& app) {
    CLI::App* array = noun(app, "array", "The array as a whole");
    verb(array, "status", "State, space, targets", &ArrayCommands::array_status);
    verb(array, "wait-ready", "Wait until the array serves", &ArrayCommands::array_wait_ready)
        ->add_option("--timeout", timeout_s_, "Seconds to wait")
        ->capture_default_str()
        ->check(CLI::Range(0u, 86400u));

    CLI::App* lun = noun(app, "lun", "LUNs");
    CLI::App* command = verb(lun, "create", "Make a thin LUN", &ArrayCommands::lun_create);
    lun_argument(command);
    command->add_option("--size", size_, "Size, in binary units: 512M, 2G, 1.5T")->required();
    command->add_option("--type", type_, "simple, mirror or parity")->required();
    command->add_option("--width", width_, "Drives of one stripe (parity)");
    command = verb(lun, "show", "One LUN, snapshot or shadow copy", &ArrayCommands::lun_show);
    lun_argument(command);
    verb(lun, "list", "All LUNs, snapshots and shadow copies", &ArrayCommands::lun_list);
    command = verb(lun, "delete", "Delete a LUN or shadow copy and its data", &ArrayCommands::lun_delete);
    lun_argument(command);
    command->add_flag("--force", force_, "Also while initiators that see it are logged in");
    command = verb(lun, "resize", "Change a LUN's size", &ArrayCommands::lun_resize);
    lun_argument(command);
    command->add_option("--size", size_, "New size")->required();
    command = verb(lun, "rename", "Give a LUN or snapshot another name", &ArrayCommands::lun_rename);
    lun_argument(command);
    command->add_option("NAME", new_name_, "The new name")->required();
    command =
        verb(lun, "resync", "Make a LUN's content that of a snapshot or of another LUN; its own is kept as a snapshot",
             &ArrayCommands::lun_resync);
    lun_argument(command);
    command->add_option("--from", from_, "Snapshot or LUN to take the content of")->required();
    command->add_option("--keep-name", new_name_, "Name of the snapshot that keeps what the LUN held");
    command->add_flag("--force", force_, "Also while initiators that see it are logged in");
    wait_flag(command);
    command = verb(lun, "recover", "Restore a LUN's redundancy", &ArrayCommands::lun_recover);
    lun_argument(command);
    wait_flag(command);

    CLI::App* snapshot = noun(app, "snapshot", "Snapshots");
    command =
        verb(snapshot, "create", "Take a snapshot of one or more LUNs at one instant", &ArrayCommands::snapshot_create);
    command->add_option("LUN", names_, "Names of the LUNs")->required();
    command->add_option("--name", new_name_, "Name behind the '@'");
    command = verb(snapshot, "delete", "Delete snapshots", &ArrayCommands::snapshot_delete);
    command->add_option("SNAPSHOT", names_, "lun@snapshot")->required();
    command = verb(snapshot, "list", "Snapshots of all LUNs, or of one", &ArrayCommands::snapshot_list);
    command->add_option("LUN", name_, "Only of this LUN");

    CLI::App* mask = noun(app, "mask", "Which initiators see a LUN");
    const auto mask_options = [&](CLI::App* verb_command) {
        lun_argument(verb_command);
        verb_command->add_option("--initiator", initiator_, "iSCSI name of the initiator, or '*' for everyone")
            ->required();
        verb_command->add_option("--target", target_, "iSCSI name of the target (default: the array's)");
    };
    mask_options(verb(mask, "add", "Present a LUN to an initiator", &ArrayCommands::mask_add));
    command = verb(mask, "remove", "Present it no longer", &ArrayCommands::mask_remove);
    mask_options(command);
    command->add_flag("--force", force_, "Also while that initiator is logged in");

    CLI::App* session = noun(app, "session", "Initiators that are logged in");
    verb(session, "list", "All sessions", &ArrayCommands::session_list);

    CLI::App* drive = noun(app, "drive", "Drives");
    verb(drive, "list", "All drives", &ArrayCommands::drive_list);
    command = verb(drive, "fail", "Take a drive out of use at once", &ArrayCommands::drive_fail);
    command->add_option("DRIVE", drive_, "Name, path or id")->required();

    CLI::App* task = noun(app, "task", "Long work");
    verb(task, "list", "Tasks that run and the last ones that ended", &ArrayCommands::task_list);
    const auto task_argument = [&](CLI::App* verb_command) {
        verb_command->add_option("TASK", task_, "Number of the task")->required();
    };
    task_argument(verb(task, "show", "One task", &ArrayCommands::task_show));
    task_argument(verb(task, "wait", "Wait until a task has ended", &ArrayCommands::task_wait));
    task_argument(verb(task, "cancel", "Cancel a task", &ArrayCommands::task_cancel));

    command = app.add_subcommand("scrub", "Verify every block and repair what can be repaired");
    on(command, &ArrayCommands::scrub);
    wait_flag(command);

    command = app.add_subcommand("events", "What happened");
    on(command, &ArrayCommands::events);
    command->add_option("--after", after_, "Only events after this sequence number");
    command->add_flag("--follow", follow_, "Go on and print new events as they come");
}

Result<ArrayClient*> ArrayCommands::client(std::optional<std::chrono::milliseconds> patience) {
    if (client_ == nullptr) {
        if (context_.array_address.empty()) {
            return fail(Code::kInvalidArgument,
                        "which array? Set UMBRA_ARRAY or give --array unix:/path/to/array.sock");
        }
        array_rpc::ClientOptions options;
        options.address = context_.array_address;
        if (patience) options.connect_deadline = *patience;
        UMBRA_ASSIGN(client_, ArrayClient::make(std::move(options)));
    }
    return client_.get();
}

// Tasks.

Result<array::TaskView> ArrayCommands::wait_for(uint64_t id) {
    size_t shown = 0;
    const auto progress = [&](const array::TaskView& task) {
        if (context_.console.progress && !task.ended()) {
            const std::string line = progress_line(task);
            context_.console.err << "\r" << line << std::string(shown > line.size() ? shown - line.size() : 0, ' ')
                                 << std::flush;
            shown = line.size();
        }
        return true;
    };
    UMBRA_ASSIGN(ArrayClient * array, client());
    auto ended = array->wait_task(id, progress);
    if (shown > 0) context_.console.err << "\r" << std::string(shown, ' ') << "\r" << std::flush;
    return ended;
}

Result<int> ArrayCommands::follow(const array::TaskView& started) {
    array::TaskView task = started;
    if (wait_) {
        UMBRA_ASSIGN(task, wait_for(started.id));
    }
    if (context_.json) print(out(), to_json(task));
    const int status = task_exit_code(task);
    if (status != kExitOk) {
        context_.console.err << "umbra: " << task_summary(task) << "\n";
    } else if (!context_.json) {
        out() << task_summary(task) << "\n";
    }
    return status;
}

Result<int> ArrayCommands::task_list() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto tasks, array->tasks());
    return show_list(tasks, [&](const auto& all) {
        Table table({{"TASK", Align::kRight},
                     {"KIND"},
                     {"OBJECT"},
                     {"STATE"},
                     {"DONE", Align::kRight},
                     {"STARTED (UTC)"},
                     {"RESULT"}});
        for (const auto& task : all) {
            table.add({std::to_string(task.id), task.kind, task.object.empty() ? "-" : task.object,
                       to_string(task.state), fmt::format("{} %", task.percent), format_time(task.started_unix_ms),
                       task.state == array::TaskState::kFailed ? task.error
                       : task.result.empty()                   ? "-"
                                                               : task.result});
        }
        table.print(out());
    });
}

Result<int> ArrayCommands::task_show() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto task, array->get_task(task_));
    return show(task, [&](const array::TaskView& view) {
        out() << task_summary(view) << "\n";
        if (!view.ended()) out() << progress_line(view) << "\n";
    });
}

Result<int> ArrayCommands::task_wait() {
    wait_ = true;
    array::TaskView task;
    task.id = task_;
    return follow(task);
}

Result<int> ArrayCommands::task_cancel() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_TRY(array->cancel_task(task_));
    UMBRA_ASSIGN(const auto task, wait_for(task_));
    if (context_.json) print(out(), to_json(task));
    if (!context_.json) out() << task_summary(task) << "\n";
    return task.state == array::TaskState::kCancelled ? kExitOk : kExitFailed;
}

Result<int> ArrayCommands::scrub() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto task, array->start_scrub());
    return follow(task);
}

// The array.

Result<int> ArrayCommands::array_status() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto status, array->status());
    return show(status, [&](const array::StatusView& view) {
        const auto line = [&](const char* what, const std::string& value) {
            out() << fmt::format("{:<9}{}\n", what, value);
        };
        line("array", view.name + " " + view.id);
        line("state", view.state);
        line("version", view.version);
        line("drives", fmt::format("{} of {} online", view.drives_online, view.drives));
        line("space", fmt::format("{} free of {}, {} in use by data", format_size(view.free_bytes),
                                  format_size(view.raw_bytes), format_size(view.live_bytes)));
        line("luns", std::to_string(view.luns));
        for (const auto& target : view.targets) line("target", target.iqn + (target.is_default ? " (default)" : ""));
        for (const std::string& portal : view.portals) line("portal", portal);
    });
}

Result<int> ArrayCommands::array_wait_ready() {
    const std::chrono::seconds patience(timeout_s_);
    UMBRA_ASSIGN(ArrayClient * array, client(patience));
    UMBRA_ASSIGN(const auto status, array->status());
    return show(status, [&](const array::StatusView& view) {
        out() << "array " << view.name << " is ready" << (view.state == "ready" ? "" : " (" + view.state + ")") << "\n";
    });
}

// LUNs.

Result<int> ArrayCommands::lun_create() {
    array::CreateLun request;
    request.name = name_;
    request.type = type_;
    request.width = width_;
    UMBRA_ASSIGN(request.size_bytes, base::parse_size(size_));
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const LunView lun, array->create_lun(request));
    return say(lun, fmt::format("created LUN {}: {}, {}, width {}, naa {}", lun.name, lun.type,
                                format_size(lun.size_bytes), lun.width, lun.naa));
}

Result<int> ArrayCommands::lun_show() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const LunView lun, array->get_lun(LunRef::name(name_)));
    return show(lun, [&](const LunView& view) { print_lun(out(), view); });
}

Result<int> ArrayCommands::lun_list() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto luns, array->list_luns());
    return show_list(luns, [&](const auto& all) { print_luns(out(), all); });
}

Result<int> ArrayCommands::lun_delete() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const LunView lun, array->get_lun(LunRef::name(name_)));
    if (!confirm(context_, fmt::format("delete {} {} ({}) and its data", to_string(lun.kind), lun.name,
                                       format_size(lun.size_bytes)))) {
        return kExitNotConfirmed;
    }
    // By id: what was asked about is what goes, whoever renames meanwhile.
    UMBRA_TRY(array->delete_lun(LunRef::id(lun.id), force_));
    return say(lun, fmt::format("deleted {}", lun.name));
}

Result<int> ArrayCommands::lun_resize() {
    UMBRA_ASSIGN(const uint64_t size, base::parse_size(size_));
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const LunView lun, array->get_lun(LunRef::name(name_)));
    const bool shrink = size < lun.size_bytes;
    if (shrink && !confirm(context_, fmt::format("shrink LUN {} from {} to {} and destroy what lies beyond", lun.name,
                                                 format_size(lun.size_bytes), format_size(size)))) {
        return kExitNotConfirmed;
    }
    UMBRA_ASSIGN(const LunView resized, array->resize_lun(LunRef::id(lun.id), size, shrink));
    return say(resized, fmt::format("LUN {} has {}", resized.name, format_size(resized.size_bytes)));
}

Result<int> ArrayCommands::lun_rename() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const LunView lun, array->rename_lun(LunRef::name(name_), new_name_));
    return say(lun, fmt::format("{} is now {}", name_, lun.name));
}

Result<int> ArrayCommands::lun_resync() {
    array::ResyncLun request;
    request.destination = LunRef::name(name_);
    request.source = LunRef::name(from_);
    request.force = force_;
    request.keep_name = new_name_;
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto task, array->resync_lun(request));
    return follow(task);
}

Result<int> ArrayCommands::lun_recover() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto task, array->recover_lun(LunRef::name(name_)));
    UMBRA_ASSIGN(const int status, follow(task));
    if (!wait_ || status != kExitOk) return status;
    UMBRA_ASSIGN(const LunView lun, array->get_lun(LunRef::name(name_)));
    if (lun.health == "healthy") return kExitOk;
    return fail(Code::kDeviceFailed, fmt::format("{} is {}", lun.name, lun.health));
}

// Snapshots.

Result<int> ArrayCommands::snapshot_create() {
    std::vector<array::SnapshotItem> items;
    for (const std::string& name : names_) {
        array::SnapshotItem item;
        item.source = LunRef::name(name);
        item.name = new_name_;
        items.push_back(std::move(item));
    }
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto made, array->create_snapshots(items, array::LunKind::kSnapshot));
    return show_list(made, [&](const auto& all) {
        for (const LunView& snapshot : all) out() << "created " << snapshot.name << "\n";
    });
}

Result<int> ArrayCommands::snapshot_delete() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    std::vector<LunView> snapshots;
    for (const std::string& name : names_) {
        UMBRA_ASSIGN(LunView snapshot, array->get_lun(LunRef::name(name)));
        if (snapshot.kind != array::LunKind::kSnapshot) {
            return fail(Code::kInvalidArgument, name + " is no snapshot: umbra lun delete deletes LUNs");
        }
        snapshots.push_back(std::move(snapshot));
    }
    if (!confirm(context_, fmt::format("delete {}", joined(names_, ", ")))) return kExitNotConfirmed;
    std::vector<LunView> deleted;
    Result<void> outcome;
    for (const LunView& snapshot : snapshots) {
        outcome = array->delete_lun(LunRef::id(snapshot.id));
        if (!outcome) {
            outcome = base::with_context(outcome.error(), "deleting " + snapshot.name);
            break;
        }
        deleted.push_back(snapshot);
    }
    // Also when it ends early: those are gone.
    UMBRA_ASSIGN(const int status, show_list(deleted, [&](const auto& all) {
                     for (const LunView& snapshot : all) out() << "deleted " << snapshot.name << "\n";
                 }));
    if (!outcome) return std::unexpected(outcome.error());
    return status;
}

Result<int> ArrayCommands::snapshot_list() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    if (!name_.empty()) UMBRA_TRY(array->get_lun(LunRef::name(name_)));
    UMBRA_ASSIGN(auto snapshots, array->list_luns({array::LunKind::kSnapshot}));
    if (!name_.empty()) {
        std::erase_if(snapshots, [&](const LunView& snapshot) { return !snapshot.name.starts_with(name_ + "@"); });
    }
    return show_list(snapshots, [&](const auto& all) {
        Table table({{"NAME"}, {"SIZE", Align::kRight}, {"MAPPED", Align::kRight}, {"HEALTH"}, {"CREATED (UTC)"}});
        for (const LunView& snapshot : all) {
            table.add({snapshot.name, format_size(snapshot.size_bytes), format_size(snapshot.mapped_bytes),
                       snapshot.health, format_time(snapshot.created_unix_ms)});
        }
        table.print(out());
    });
}

// Masks and sessions.

Result<int> ArrayCommands::mask_add() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const LunView lun, array->add_mask({LunRef::name(name_), initiator_, target_, false}));
    std::string text = fmt::format("{} is presented to {}", lun.name, initiator_ == "*" ? "everyone" : initiator_);
    for (const auto& path : lun.paths) text += fmt::format("\n  {} {} LUN {}", path.portal, path.target_iqn, path.lun);
    return say(lun, text);
}

Result<int> ArrayCommands::mask_remove() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const LunView lun, array->remove_mask({LunRef::name(name_), initiator_, target_, force_}));
    return say(lun,
               fmt::format("{} is no longer presented to {}", lun.name, initiator_ == "*" ? "everyone" : initiator_));
}

Result<int> ArrayCommands::session_list() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto sessions, array->sessions());
    return show_list(sessions, [&](const auto& all) {
        Table table({{"INITIATOR"}, {"PEER"}, {"TARGET"}, {"LUNS"}});
        for (const auto& session : all) {
            table.add({session.initiator, session.peer, session.target_iqn, joined(session.luns)});
        }
        table.print(out());
    });
}

// Drives.

Result<int> ArrayCommands::drive_list() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto drives, array->drives());
    return show_list(drives, [&](const auto& all) {
        Table table({{"NAME"},
                     {"STATE"},
                     {"SIZE", Align::kRight},
                     {"USED", Align::kRight},
                     {"READ ERRORS", Align::kRight},
                     {"CHECKSUM ERRORS", Align::kRight},
                     {"REPAIRED", Align::kRight},
                     {"PATH"}});
        for (const auto& drive : all) {
            table.add({drive.name, drive.state, format_size(drive.size_bytes), format_size(drive.used_bytes),
                       std::to_string(drive.read_errors), std::to_string(drive.checksum_errors),
                       std::to_string(drive.repaired_blocks), drive.path.empty() ? "-" : drive.path});
        }
        table.print(out());
    });
}

Result<int> ArrayCommands::drive_fail() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    UMBRA_ASSIGN(const auto drives, array->drives());
    const auto found = std::find_if(drives.begin(), drives.end(), [&](const array::DriveView& drive) {
        return drive.name == drive_ || drive.path == drive_ || drive.id == drive_;
    });
    const bool online = found != drives.end() && found->state == "online";
    auto failed = array->fail_drive(drive_, false);
    if (!failed && failed.error().code == Code::kBadState && online) {
        context_.console.err << "umbra: " << failed.error().message << "\n";
        if (!confirm(context_, "take drive " + found->name + " out of use and lose that data"))
            return kExitNotConfirmed;
        failed = array->fail_drive(found->id, true);
    }
    if (!failed) return std::unexpected(failed.error());
    return show(*failed, [&](const array::DriveView& drive) {
        out() << "drive " << drive.name << " is " << drive.state << "\n";
    });
}

// Events.

Result<int> ArrayCommands::events() {
    UMBRA_ASSIGN(ArrayClient * array, client());
    const auto line = [&](const array::EventView& event) {
        out() << fmt::format("{:>6}  {}  {:<7}  {:<20}  {}\n", event.sequence, format_time(event.unix_ms),
                             event.severity, event.id, event.message);
    };
    if (!follow_) {
        UMBRA_ASSIGN(const auto events, array->events(after_));
        return show_list(events, [&](const auto& all) {
            for (const auto& event : all) line(event);
        });
    }
    UMBRA_TRY(array->watch_events(after_, [&](const array::EventView& event) {
        if (context_.json) {
            // One document a line: there is no end to wait for.
            out() << to_json(event).dump(-1, ' ', false, Json::error_handler_t::replace) << "\n";
        } else {
            line(event);
        }
        out() << std::flush;
        return out().good();
    }));
    return kExitOk;
}

}  // namespace

void add_array_commands(CLI::App& app, Context& context) {
    auto commands = std::make_shared<ArrayCommands>(context);
    commands->add(app);
    context.keep.push_back(std::move(commands));
}

}  // namespace umbra::cli

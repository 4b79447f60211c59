#include "cli/host_commands.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <ostream>

#include "base/size_text.h"
#include "cli/exit_code.h"
#include "cli/table.h"
#include "host/management_client.h"

namespace umbra::cli {

using base::Code;
using base::fail;
using base::Result;
using host::AttachmentView;
using host::AttachWish;
using host::ManagementClient;
using host::VolumeView;
using Json = nlohmann::ordered_json;

namespace {

Result<std::unique_ptr<ManagementClient>> connect(const Context& context) {
    if (context.host_address.empty()) {
        return fail(Code::kInvalidArgument, "no host daemon named: set UMBRA_HOST=unix:PATH or give --host");
    }
    return ManagementClient::make(context.host_address);
}

std::string join(const std::vector<std::string>& words) {
    return words.empty() ? "-" : fmt::format("{}", fmt::join(words, ", "));
}

Json to_json(const AttachmentView& lun) {
    return {{"lun", lun.lun},
            {"naa", lun.naa},
            {"device", lun.device},
            {"url", lun.url},
            {"mount_points", lun.mount_points},
            {"read_only", lun.read_only},
            {"initiator_pid", lun.initiator_pid},
            {"state", lun.state}};
}

Result<int> attach(Context& context, AttachWish wish) {
    // The daemon has another working directory.
    if (!wish.mount_point.empty()) {
        std::error_code error;
        const auto absolute = std::filesystem::absolute(wish.mount_point, error);
        if (error) return fail(Code::kInvalidArgument, "mount point " + wish.mount_point + ": " + error.message());
        wish.mount_point = absolute.lexically_normal().string();
        if (wish.mount_point.size() > 1 && wish.mount_point.back() == '/') wish.mount_point.pop_back();
    }
    UMBRA_ASSIGN(const auto client, connect(context));
    UMBRA_ASSIGN(const AttachmentView lun, client->attach(wish));
    if (context.json) {
        context.console.out << to_json(lun).dump(2) << "\n";
    } else {
        context.console.out << fmt::format(
            "{} is {}{}\n", lun.lun, lun.device,
            lun.mount_points.empty() ? std::string() : ", mounted at " + join(lun.mount_points));
    }
    return kExitOk;
}

Result<int> detach(Context& context, const std::string& lun) {
    UMBRA_ASSIGN(const auto client, connect(context));
    UMBRA_ASSIGN(const std::string warning, client->detach(lun));
    if (!warning.empty()) context.console.err << "umbra: warning: " << warning << "\n";
    if (context.json) {
        context.console.out << Json({{"lun", lun}, {"warning", warning}}).dump(2) << "\n";
    } else {
        context.console.out << lun << " is detached\n";
    }
    return kExitOk;
}

Result<int> list_attached(Context& context) {
    UMBRA_ASSIGN(const auto client, connect(context));
    UMBRA_ASSIGN(const std::vector<AttachmentView> all, client->attachments());
    if (context.json) {
        Json json = Json::array();
        for (const AttachmentView& lun : all) json.push_back(to_json(lun));
        context.console.out << json.dump(2) << "\n";
        return kExitOk;
    }
    Table table({{"LUN"}, {"DEVICE"}, {"STATE"}, {"NAA"}, {"MOUNTED AT"}});
    for (const AttachmentView& lun : all) {
        table.add({lun.lun.empty() ? "-" : lun.lun, lun.device.empty() ? "-" : lun.device, lun.state, lun.naa,
                   join(lun.mount_points)});
    }
    table.print(context.console.out);
    return kExitOk;
}

Result<int> list_volumes(Context& context, bool all) {
    UMBRA_ASSIGN(const auto client, connect(context));
    UMBRA_ASSIGN(const std::vector<VolumeView> volumes, client->volumes(all));
    if (context.json) {
        Json json = Json::array();
        for (const VolumeView& volume : volumes) {
            json.push_back({{"name", volume.name},
                            {"device", volume.device},
                            {"size_bytes", volume.size_bytes},
                            {"fs_type", volume.fs_type},
                            {"mount_points", volume.mount_points},
                            {"luns", volume.luns},
                            {"partition", volume.partition},
                            {"freezable", volume.freezable},
                            {"layered", volume.layered}});
        }
        context.console.out << json.dump(2) << "\n";
        return kExitOk;
    }
    Table table({{"DEVICE"}, {"SIZE", Table::Align::kRight}, {"TYPE"}, {"MOUNTED AT"}, {"LUN"}, {"VOLUME NAME"}});
    for (const VolumeView& volume : volumes) {
        table.add({volume.device, base::format_size(volume.size_bytes), volume.fs_type.empty() ? "-" : volume.fs_type,
                   join(volume.mount_points), join(volume.luns), volume.name});
    }
    table.print(context.console.out);
    return kExitOk;
}

}  // namespace

void add_host_commands(CLI::App& app, Context& context) {
    Context* at = &context;
    CLI::App* attaching = app.add_subcommand("attach", "Present a LUN to this host, log in, and mount it");
    const auto wish = std::make_shared<AttachWish>();
    attaching->add_option("lun", wish->lun, "Name of the LUN on the array")->required();
    attaching->add_option("--mount", wish->mount_point, "Where to mount its file system (made when missing)");
    attaching->add_option("--mkfs", wish->mkfs, "Make this file system first; refused on a LUN that holds anything")
        ->check(CLI::IsMember({"ext4", "xfs"}));
    attaching->add_flag("--read-only", wish->read_only, "No write can come from this host");
    attaching->callback([at, wish] { at->action = [at, wish] { return attach(*at, *wish); }; });

    CLI::App* detaching = app.add_subcommand("detach", "Dismount a LUN and log out");
    const auto name = std::make_shared<std::string>();
    detaching->add_option("lun", *name, "Name or NAA of the LUN")->required();
    detaching->callback([at, name] { at->action = [at, name] { return detach(*at, *name); }; });

    CLI::App* volume = app.add_subcommand("volume", "Volumes of this host");
    volume->require_subcommand(1);
    CLI::App* list = volume->add_subcommand("list", "Volumes on LUNs");
    const auto all = std::make_shared<bool>(false);
    list->add_flag("--all", *all, "Local disks too");
    list->callback([at, all] { at->action = [at, all] { return list_volumes(*at, *all); }; });
    CLI::App* attached = volume->add_subcommand("attached", "LUNs that this host's own initiator has attached");
    attached->callback([at] { at->action = [at] { return list_attached(*at); }; });
}

}  // namespace umbra::cli

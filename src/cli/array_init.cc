// umbra array init: makes an array of empty drives, without a daemon.
#include <CLI/CLI.hpp>
#include <nlohmann/json.hpp>
#include <ostream>

#include "array/drive_set.h"
#include "base/size_text.h"
#include "cli/command.h"
#include "cli/exit_code.h"
#include "cli/table.h"
#include "env/loop.h"

namespace umbra::cli {

using base::Result;

namespace {

struct Options {
    std::string config;
    bool force = false;
};

env::Task<void> format(env::Environment& env, env::DiskIo& disks, array::Config config, array::FormatOptions options,
                       Result<array::FormattedArray>* into) {
    *into = co_await array::format_drives(env, disks, std::move(config), std::move(options));
}

/// Says what is there, then asks.
bool confirm_loss(Context& context, const std::vector<array::FormattedDrive>& drives) {
    size_t held = 0;
    for (const auto& drive : drives) {
        if (drive.held.empty()) continue;
        ++held;
        context.console.err << "umbra: " << drive.path << " holds " << drive.held << "\n";
    }
    return confirm(context, "destroy what " + std::to_string(held) + (held == 1 ? " drive holds" : " drives hold"));
}

Result<int> init(Context& context, const Options& options) {
    UMBRA_ASSIGN(array::Config config, array::load_config(options.config));
    const std::string name = config.name;
    UMBRA_ASSIGN(const auto loop, env::Loop::create());
    UMBRA_ASSIGN(const auto disks, env::DiskIo::create(*loop));
    env::KernelRandom random;
    env::Environment env{*loop, random};
    Result<array::FormattedArray> formatted;
    bool refused = false;
    array::FormatOptions how;
    how.force = options.force;
    how.confirm = [&](const std::vector<array::FormattedDrive>& drives) {
        refused = !confirm_loss(context, drives);
        return !refused;
    };
    loop->run(format(env, *disks, std::move(config), std::move(how), &formatted));
    if (refused) return kExitNotConfirmed;
    if (!formatted) return std::unexpected(formatted.error());

    std::ostream& out = context.console.out;
    if (context.json) {
        nlohmann::ordered_json json = {{"id", formatted->id.text()}, {"name", name}};
        json["drives"] = nlohmann::ordered_json::array();
        for (const auto& drive : formatted->drives) {
            json["drives"].push_back(
                {{"name", drive.name}, {"path", drive.path}, {"size_bytes", drive.size_bytes}, {"held", drive.held}});
        }
        out << json.dump(2) << "\n";
        return kExitOk;
    }
    out << "made array " << name << " " << formatted->id.text() << " of " << formatted->drives.size() << " drives:\n";
    Table table({{"DRIVE"}, {"SIZE", Table::Align::kRight}, {"HELD BEFORE"}, {"PATH"}});
    for (const auto& drive : formatted->drives) {
        table.add(
            {drive.name, base::format_size(drive.size_bytes), drive.held.empty() ? "nothing" : drive.held, drive.path});
    }
    table.print(out);
    return kExitOk;
}

}  // namespace

void add_array_init(CLI::App& app, Context& context) {
    CLI::App* command = app.get_subcommand("array")->add_subcommand("init", "Make an array of empty drives");
    auto options = std::make_shared<Options>();
    command->add_option("--config", options->config, "Configuration file of umbra-arrayd")->required();
    command->add_flag("--force", options->force, "Also of drives that hold something, which is destroyed; asks");
    command->callback(
        [&context, options] { context.action = [&context, options] { return init(context, *options); }; });
}

}  // namespace umbra::cli

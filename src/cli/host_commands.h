// umbra attach | detach | volume | shadow: what umbra-hostd does for the volumes and shadow copies of a host.
#pragma once

#include "cli/command.h"

namespace umbra::cli {

void add_host_commands(CLI::App& app, Context& context);
void add_shadow_commands(CLI::App& app, Context& context);

}  // namespace umbra::cli

// umbra attach | detach | volume: what umbra-hostd does for the volumes of a host.
#pragma once

#include "cli/command.h"

namespace umbra::cli {

void add_host_commands(CLI::App& app, Context& context);

}  // namespace umbra::cli

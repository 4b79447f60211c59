// The stores that can be tested, by name. The first is simrun's default.
#pragma once

#include <functional>
#include <string>

#include "simulation/harness.h"

namespace umbra::simulation {

/// Empty name: the default. An empty function when there is none of that name. Each call of what it returns gives a
/// store that shares nothing with others.
std::function<Factory()> find_factory(const std::string& name);
/// "store, model"
std::string factory_names();

}  // namespace umbra::simulation

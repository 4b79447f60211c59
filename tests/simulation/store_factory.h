// The array's own store, small enough that every limit is met: tiny segments and caches.
#pragma once

#include "simulation/harness.h"

namespace umbra::simulation {

Factory store_factory();

}  // namespace umbra::simulation

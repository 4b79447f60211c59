// What an engine sees of the world, built in main() or by the simulator and passed explicitly.
#pragma once

#include "env/executor.h"
#include "env/random.h"

namespace umbra::env {

struct Environment {
    Executor& executor;
    Random& random;
};

}  // namespace umbra::env

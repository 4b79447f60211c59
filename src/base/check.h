// CHECK(condition): an invariant that holds in every build. A broken one is a defect: the process stops.
#pragma once

namespace umbra::base {
[[noreturn]] void check_failed(const char* expression, const char* file, int line);
}

#define UMBRA_CHECK(...) ((__VA_ARGS__) ? (void)0 : ::umbra::base::check_failed(#__VA_ARGS__, __FILE__, __LINE__))

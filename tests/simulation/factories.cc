#include "simulation/factories.h"

#include "simulation/model_store.h"

namespace umbra::simulation {

std::function<Factory()> find_factory(const std::string& name) {
    if (name.empty() || name == "model") return [] { return model_factory(); };
    return {};
}

std::string factory_names() {
    return "model";
}

}  // namespace umbra::simulation

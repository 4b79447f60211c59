#include "simulation/factories.h"

#include "simulation/model_store.h"
#include "simulation/store_factory.h"

namespace umbra::simulation {

std::function<Factory()> find_factory(const std::string& name) {
    if (name.empty() || name == "store") return [] { return store_factory(); };
    if (name == "model") return [] { return model_factory(); };
    return {};
}

std::string factory_names() {
    return "store, model";
}

}  // namespace umbra::simulation

// What libumbra-hwprv.so exports.
#include "com/class_factory.h"
#include "provider/config.h"
#include "provider/events.h"
#include "provider/hardware_provider.h"
#include "provider/ids.h"
#include "provider/rpc_array_client.h"
#include "provider/vds_objects.h"

namespace umbra::provider {
namespace {

struct Setup {
    ProviderConfig config;
    std::vector<std::shared_ptr<ArrayClient>> arrays;
};

/// A configuration that cannot be used leaves a provider without arrays: it supports no LUN, and OnLoad refuses.
Setup set_up() {
    Setup setup;
    auto config = load_config();
    if (!config) {
        report_to_event_log({Severity::kError, EventId::kConfiguration, config.error().message + "."});
        return setup;
    }
    auto arrays = connect_arrays(*config);
    if (!arrays) {
        report_to_event_log({Severity::kError, EventId::kConfiguration, arrays.error().message + "."});
        return setup;
    }
    setup.config = std::move(*config);
    setup.arrays = std::move(*arrays);
    return setup;
}

IUnknown* create_hardware_provider() {
    Setup setup = set_up();
    return static_cast<IVssHardwareSnapshotProviderEx*>(
        com::make<HardwareProvider>(std::move(setup.config), std::move(setup.arrays), &report_to_event_log).detach());
}

IUnknown* create_vds_provider() {
    Setup setup = set_up();
    return static_cast<IVdsHwProvider*>(com::make<VdsProvider>(std::move(setup.arrays), &report_to_event_log).detach());
}

constexpr com::ClassEntry kClasses[] = {
    {kHardwareProviderClass, &create_hardware_provider},
    {kVdsProviderClass, &create_vds_provider},
};

}  // namespace
}  // namespace umbra::provider

extern "C" __attribute__((visibility("default"))) HRESULT DllGetClassObject(REFCLSID rclsid, REFIID riid, void** ppv) {
    return umbra::com::get_class_object(umbra::provider::kClasses, rclsid, riid, ppv);
}

extern "C" __attribute__((visibility("default"))) HRESULT DllCanUnloadNow() {
    return umbra::com::can_unload_now();
}

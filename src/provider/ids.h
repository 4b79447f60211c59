// Identifiers of what libumbra-hwprv.so offers. They never change.
#pragma once

#include "compat/com.h"

namespace umbra::provider {

/// Class of the VSS hardware provider, for DllGetClassObject.
inline constexpr CLSID kHardwareProviderClass = ::compat::guid_literal("5d2c1f0e-8b7a-4e39-9c64-2f1b0a9d8e73");
/// Provider id of the VSS hardware provider, by which requesters name it.
inline constexpr GUID kHardwareProviderId = ::compat::guid_literal("c3a9e2b4-1d5f-4876-b0c2-7e94d1f6a358");
/// Class of the VDS hardware provider.
inline constexpr CLSID kVdsProviderClass = ::compat::guid_literal("a1f4c6d8-3e2b-4590-8d7c-6b5a49382710");
/// The VDS provider's persistent identifier.
inline constexpr GUID kVdsProviderId = ::compat::guid_literal("0e7b6f5a-52c8-4c5f-9d0b-6f3a1d2c4b90");

}  // namespace umbra::provider

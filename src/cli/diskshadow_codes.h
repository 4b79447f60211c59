// HRESULTs for people.
#pragma once

#include <string>

#include "compat/hresult.h"

namespace umbra::cli::diskshadow {

/// "VSS_E_PROVIDER_VETO". Knows every code of vsserror.h and the general ones of COM.
std::string code_name(HRESULT code);
/// "80042306"
std::string code_number(HRESULT code);

}  // namespace umbra::cli::diskshadow

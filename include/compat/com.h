// The base that the interface headers stand on.
#pragma once

#include "compat/guid.h"
#include "compat/hresult.h"
#include "compat/memory.h"
#include "compat/types.h"
#include "compat/unknown.h"

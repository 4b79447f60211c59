// IVssEnumObject over a reply to Query.
#pragma once

#include "requester/convert.h"

namespace umbra::requester {

IVssEnumObject* new_enum(proto::QueryReply objects);

}  // namespace umbra::requester

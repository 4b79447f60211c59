// Between messages of proto/vss.proto and the structures of vss.h.
#pragma once

#include <string>

#include "com/hresult.h"
#include "com/text.h"
#include "vsbackup.h"
#include "vss.pb.h"

namespace umbra::requester {

namespace proto = ::umbra::vss::v1;

/// The coordinator's refusal as a failure. Success codes pass.
com::Result<> check(const proto::Status& status);

/// "" is GUID_NULL. Anything else that is no GUID: VSS_E_UNEXPECTED, the coordinator's fault.
com::Result<GUID> guid_from_proto(const std::string& text);
std::string guid_to_proto(const GUID& guid);

/// Text from a caller. NULL: E_INVALIDARG; not Unicode: E_INVALIDARG.
com::Result<std::string> text_argument(const wchar_t* text);

/// `out` is written only on success, and then owns its strings.
com::Result<> to_properties(const proto::Snapshot& from, VSS_SNAPSHOT_PROP& out);
com::Result<> to_properties(const proto::Provider& from, VSS_PROVIDER_PROP& out);
void free_properties(VSS_SNAPSHOT_PROP& properties);

/// What UmbraGetLastErrorText gives on this thread.
void remember_error(HRESULT result, const std::string& text);
const std::string& last_error_text();

/// com::guard that remembers what people should read.
template <class Body, class... Outs>
HRESULT frame(Body&& body, Outs... outs) {
    return com::guard_with(&com::to_vss_hresult, &remember_error, std::forward<Body>(body), outs...);
}

}  // namespace umbra::requester

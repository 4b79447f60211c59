#include "requester/convert.h"

#include "vsserror.h"

namespace umbra::requester {
namespace {

thread_local std::string last_error;

com::CoString shown(const std::string& utf8) {
    return com::co_string(com::to_wide_lossy(utf8));
}

}  // namespace

com::Result<> check(const proto::Status& status) {
    const auto result = static_cast<HRESULT>(status.hresult());
    if (FAILED(result)) return com::fail(result, status.message());
    return {};
}

com::Result<GUID> guid_from_proto(const std::string& text) {
    if (text.empty()) return GUID_NULL;
    const auto guid = base::Guid::parse(text);
    if (!guid) return com::fail(VSS_E_UNEXPECTED, "umbra-hostd sent \"" + text + "\" where an identifier has to be");
    return com::to_guid(*guid);
}

std::string guid_to_proto(const GUID& guid) {
    return guid == GUID_NULL ? std::string() : com::from_guid(guid).text();
}

com::Result<std::string> text_argument(const wchar_t* text) {
    if (text == nullptr) return com::fail(E_INVALIDARG, "a text argument is NULL");
    UMBRA_ASSIGN(std::string utf8, com::to_utf8(text));
    return utf8;
}

com::Result<> to_properties(const proto::Snapshot& from, VSS_SNAPSHOT_PROP& out) {
    VSS_SNAPSHOT_PROP made{};
    UMBRA_ASSIGN(made.m_SnapshotId, guid_from_proto(from.id()));
    UMBRA_ASSIGN(made.m_SnapshotSetId, guid_from_proto(from.set()));
    UMBRA_ASSIGN(made.m_ProviderId, guid_from_proto(from.provider()));
    com::CoString device = shown(from.device_object());
    com::CoString volume = shown(from.original_volume());
    com::CoString origin = shown(from.originating_machine());
    com::CoString service = shown(from.service_machine());
    com::CoString exposed_name = from.has_exposed_name() ? shown(from.exposed_name()) : nullptr;
    com::CoString exposed_path = from.has_exposed_path() ? shown(from.exposed_path()) : nullptr;
    made.m_lSnapshotsCount = static_cast<LONG>(from.snapshots_in_set());
    made.m_lSnapshotAttributes = static_cast<LONG>(from.attributes());
    made.m_tsCreationTimestamp = from.created();
    made.m_eStatus = static_cast<VSS_SNAPSHOT_STATE>(from.state());
    made.m_pwszSnapshotDeviceObject = device.release();
    made.m_pwszOriginalVolumeName = volume.release();
    made.m_pwszOriginatingMachine = origin.release();
    made.m_pwszServiceMachine = service.release();
    made.m_pwszExposedName = exposed_name.release();
    made.m_pwszExposedPath = exposed_path.release();
    out = made;
    return {};
}

com::Result<> to_properties(const proto::Provider& from, VSS_PROVIDER_PROP& out) {
    VSS_PROVIDER_PROP made{};
    UMBRA_ASSIGN(made.m_ProviderId, guid_from_proto(from.id()));
    UMBRA_ASSIGN(made.m_ProviderVersionId, guid_from_proto(from.version_id()));
    UMBRA_ASSIGN(made.m_ClassId, guid_from_proto(from.class_id()));
    com::CoString name = shown(from.name());
    com::CoString version = shown(from.version());
    made.m_eProviderType = static_cast<VSS_PROVIDER_TYPE>(from.type());
    made.m_pwszProviderName = name.release();
    made.m_pwszProviderVersion = version.release();
    out = made;
    return {};
}

void free_properties(VSS_SNAPSHOT_PROP& properties) {
    CoTaskMemFree(properties.m_pwszSnapshotDeviceObject);
    CoTaskMemFree(properties.m_pwszOriginalVolumeName);
    CoTaskMemFree(properties.m_pwszOriginatingMachine);
    CoTaskMemFree(properties.m_pwszServiceMachine);
    CoTaskMemFree(properties.m_pwszExposedName);
    CoTaskMemFree(properties.m_pwszExposedPath);
    properties = VSS_SNAPSHOT_PROP{};
}

void remember_error(HRESULT, const std::string& text) {
    last_error = text;
}

const std::string& last_error_text() {
    return last_error;
}

}  // namespace umbra::requester

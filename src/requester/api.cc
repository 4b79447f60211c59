// The functions that libvssapi exports.
#include "requester/backup_components.h"
#include "requester/convert.h"
#include "vsserror.h"

using umbra::com::Result;
namespace com = umbra::com;
namespace requester = umbra::requester;

HRESULT CreateVssBackupComponentsInternal(IVssBackupComponents** object) {
    return requester::frame(
        [&]() -> Result<> {
            requester::ConnectOptions options;
            options.address = requester::address_from_environment();
            UMBRA_ASSIGN(auto channel, requester::connect(options));
            UMBRA_ASSIGN(std::string session, channel->open_session());
            *object = requester::new_backup_components(std::move(channel), std::move(session));
            return {};
        },
        object);
}

HRESULT CreateVssExamineWriterMetadataInternal(BSTR xml, IVssExamineWriterMetadata** metadata) {
    return requester::frame(
        [&]() -> Result<> {
            if (xml == nullptr) return com::fail(E_INVALIDARG, "the document is NULL");
            return com::fail(E_NOTIMPL, "writers' metadata cannot be examined yet");
        },
        metadata);
}

HRESULT IsVolumeSnapshottedInternal(VSS_PWSZ volume, BOOL* present, LONG* compatibility) {
    return requester::frame(
        [&]() -> Result<> {
            requester::proto::IsVolumeSupportedRequest message;
            UMBRA_ASSIGN(*message.mutable_volume(), requester::text_argument(volume));
            requester::ConnectOptions options;
            options.address = requester::address_from_environment();
            UMBRA_ASSIGN(const auto channel, requester::connect(options));
            UMBRA_ASSIGN(const auto reply, channel->IsVolumeSnapshotted(message));
            UMBRA_TRY(requester::check(reply.status()));
            *present = reply.snapshotted() ? TRUE : FALSE;
            *compatibility = static_cast<LONG>(reply.compatibility());
            return {};
        },
        present, compatibility);
}

void VssFreeSnapshotPropertiesInternal(VSS_SNAPSHOT_PROP* properties) {
    if (properties != nullptr) requester::free_properties(*properties);
}

// Only the system provider of Windows has management interfaces, and there is none here.
HRESULT GetProviderMgmtInterfaceInternal(VSS_ID, IID, IUnknown** object) {
    return requester::frame(
        []() -> Result<> { return com::fail(E_NOINTERFACE, "no provider has management interfaces"); }, object);
}

// Writers that block reverting are named in the registry of Windows; here none can be.
HRESULT ShouldBlockRevertInternal(LPCWSTR volume, bool* block) {
    return requester::frame(
        [&]() -> Result<> {
            UMBRA_TRY(requester::text_argument(volume));
            return {};
        },
        block);
}

HRESULT UmbraGetLastErrorText(BSTR* text) {
    return com::guard(
        [&]() -> Result<> {
            *text = com::Bstr(com::to_wide_lossy(requester::last_error_text())).detach();
            return {};
        },
        text);
}

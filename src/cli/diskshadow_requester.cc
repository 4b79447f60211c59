#include "cli/diskshadow_requester.h"

#include <functional>

#include "com/ptr.h"
#include "com/text.h"

namespace umbra::cli::diskshadow {

using com::Bstr;
using com::Ptr;

namespace {

std::unexpected<CallFailure> failure(const char* call, HRESULT code, std::optional<std::string> cause = std::nullopt) {
    return std::unexpected(CallFailure{call, code, std::move(cause)});
}

Called<> check(const char* call, HRESULT code) {
    if (FAILED(code)) return failure(call, code);
    return {};
}

std::string text_of(const wchar_t* wide) {
    if (wide == nullptr) return {};
    return com::to_utf8(wide).value_or("(text that is not Unicode)");
}

// A string that a method takes as VSS_PWSZ: not const, though no method changes it.
class WideArgument {
public:
    explicit WideArgument(const std::string& utf8) {
        if (auto wide = com::to_wide(utf8)) {
            text_ = std::move(*wide);
        } else {
            valid_ = false;
        }
    }
    bool valid() const { return valid_; }
    VSS_PWSZ get() { return text_.data(); }

private:
    std::wstring text_;
    bool valid_ = true;
};

std::unexpected<CallFailure> not_text(const char* call) {
    return failure(call, E_INVALIDARG, "the text is not valid UTF-8");
}

// How the operation ended, in the service's words.
std::string cause_of(const Ptr<IVssAsync>& async) {
    const auto progress = async.as<IUmbraAsyncProgress>();
    Bstr message;
    if (!progress || FAILED(progress->GetMessageText(message.put()))) return {};
    return com::bstr_to_utf8(message.get()).value_or("");
}

Shadow to_shadow(const VSS_SNAPSHOT_PROP& properties) {
    Shadow out;
    out.id = com::from_guid(properties.m_SnapshotId);
    out.set = com::from_guid(properties.m_SnapshotSetId);
    out.count_in_set = properties.m_lSnapshotsCount;
    out.device = text_of(properties.m_pwszSnapshotDeviceObject);
    out.volume = text_of(properties.m_pwszOriginalVolumeName);
    out.originating_machine = text_of(properties.m_pwszOriginatingMachine);
    out.service_machine = text_of(properties.m_pwszServiceMachine);
    if (properties.m_pwszExposedName != nullptr) out.exposed_name = text_of(properties.m_pwszExposedName);
    if (properties.m_pwszExposedPath != nullptr) out.exposed_path = text_of(properties.m_pwszExposedPath);
    out.provider = com::from_guid(properties.m_ProviderId);
    out.attributes = static_cast<uint32_t>(properties.m_lSnapshotAttributes);
    out.created = properties.m_tsCreationTimestamp;
    return out;
}

void free_properties(VSS_SNAPSHOT_PROP& properties) {
    CoTaskMemFree(properties.m_pwszSnapshotDeviceObject);
    CoTaskMemFree(properties.m_pwszOriginalVolumeName);
    CoTaskMemFree(properties.m_pwszOriginatingMachine);
    CoTaskMemFree(properties.m_pwszServiceMachine);
    CoTaskMemFree(properties.m_pwszExposedName);
    CoTaskMemFree(properties.m_pwszExposedPath);
}

Called<> for_each_object(IVssBackupComponents& components, VSS_OBJECT_TYPE type,
                         const std::function<void(const VSS_OBJECT_PROP&)>& take) {
    Ptr<IVssEnumObject> list;
    const HRESULT queried = components.Query(GUID_NULL, VSS_OBJECT_NONE, type, list.put());
    if (FAILED(queried)) return failure("IVssBackupComponents::Query", queried);
    if (!list) return {};
    while (true) {
        VSS_OBJECT_PROP object{};
        ULONG fetched = 0;
        const HRESULT next = list->Next(1, &object, &fetched);
        if (FAILED(next)) return failure("IVssEnumObject::Next", next);
        if (fetched == 0) return {};
        take(object);
        if (object.Type == VSS_OBJECT_SNAPSHOT) {
            free_properties(object.Obj.Snap);
        } else if (object.Type == VSS_OBJECT_PROVIDER) {
            CoTaskMemFree(object.Obj.Prov.m_pwszProviderName);
            CoTaskMemFree(object.Obj.Prov.m_pwszProviderVersion);
        }
    }
}

}  // namespace

struct Requester::Impl {
    Ptr<IVssBackupComponents> components;
};

Requester::Requester(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
Requester::~Requester() = default;

Called<std::unique_ptr<Requester>> Requester::create(const Factory& factory) {
    auto impl = std::make_unique<Impl>();
    const HRESULT created = factory(impl->components.put());
    if (FAILED(created) || !impl->components) {
        return failure("CreateVssBackupComponents", FAILED(created) ? created : E_UNEXPECTED);
    }
    return std::unique_ptr<Requester>(new Requester(std::move(impl)));
}

Called<> Requester::initialize(const std::optional<std::string>& document, bool restore) {
    const char* call =
        restore ? "IVssBackupComponents::InitializeForRestore" : "IVssBackupComponents::InitializeForBackup";
    Bstr xml;
    if (document) {
        auto wide = Bstr::from_utf8(*document);
        if (!wide) return not_text(call);
        xml = std::move(*wide);
    }
    auto& components = *impl_->components;
    return check(call,
                 restore ? components.InitializeForRestore(xml.get()) : components.InitializeForBackup(xml.get()));
}

Called<std::unique_ptr<Requester>> Requester::for_backup(const Factory& factory,
                                                         const std::optional<std::string>& document) {
    auto requester = create(factory);
    if (!requester) return requester;
    if (auto done = (*requester)->initialize(document, false); !done) return std::unexpected(done.error());
    return requester;
}

Called<std::unique_ptr<Requester>> Requester::for_restore(const Factory& factory, const std::string& document) {
    auto requester = create(factory);
    if (!requester) return requester;
    if (auto done = (*requester)->initialize(document, true); !done) return std::unexpected(done.error());
    return requester;
}

// Wait may say S_OK although the operation failed, so that QueryStatus decides (see vss.h, IVssAsync).
Called<> Requester::finish(const char* call, HRESULT started, IVssAsync* async) {
    const auto operation = Ptr<IVssAsync>::adopt(async);
    if (FAILED(started)) return failure(call, started);
    if (!operation) return failure(call, E_UNEXPECTED);
    while (true) {
        const HRESULT waited = operation->Wait();
        HRESULT result = S_OK;
        const HRESULT queried = operation->QueryStatus(&result, nullptr);
        if (FAILED(queried)) return failure(call, queried);
        if (result == VSS_S_ASYNC_PENDING) {
            if (FAILED(waited)) return failure(call, waited);
            continue;
        }
        if (FAILED(result) || result == VSS_S_ASYNC_CANCELLED || result == VSS_S_SOME_SNAPSHOTS_NOT_IMPORTED) {
            return failure(call, result, cause_of(operation));
        }
        return {};
    }
}

Called<> Requester::set_context(int32_t context) {
    return check("IVssBackupComponents::SetContext", impl_->components->SetContext(context));
}

Called<> Requester::set_backup_state(bool full) {
    return check("IVssBackupComponents::SetBackupState",
                 impl_->components->SetBackupState(true, true, full ? VSS_BT_FULL : VSS_BT_COPY, false));
}

Called<> Requester::gather_writer_metadata() {
    IVssAsync* async = nullptr;
    const HRESULT started = impl_->components->GatherWriterMetadata(&async);
    return finish("IVssBackupComponents::GatherWriterMetadata", started, async);
}

Called<uint32_t> Requester::writer_count() {
    UINT count = 0;
    const HRESULT code = impl_->components->GetWriterMetadataCount(&count);
    if (FAILED(code)) return failure("IVssBackupComponents::GetWriterMetadataCount", code);
    return count;
}

Called<bool> Requester::is_volume_supported(const std::string& volume, const base::Guid& provider) {
    constexpr auto kCall = "IVssBackupComponents::IsVolumeSupported";
    WideArgument name(volume);
    if (!name.valid()) return not_text(kCall);
    BOOL supported = FALSE;
    const HRESULT code = impl_->components->IsVolumeSupported(com::to_guid(provider), name.get(), &supported);
    if (FAILED(code)) return failure(kCall, code);
    return supported != FALSE;
}

Called<base::Guid> Requester::start_set() {
    VSS_ID id{};
    const HRESULT code = impl_->components->StartSnapshotSet(&id);
    if (FAILED(code)) return failure("IVssBackupComponents::StartSnapshotSet", code);
    return com::from_guid(id);
}

Called<base::Guid> Requester::add_volume(const std::string& volume, const base::Guid& provider) {
    constexpr auto kCall = "IVssBackupComponents::AddToSnapshotSet";
    WideArgument name(volume);
    if (!name.valid()) return not_text(kCall);
    VSS_ID id{};
    const HRESULT code = impl_->components->AddToSnapshotSet(name.get(), com::to_guid(provider), &id);
    if (FAILED(code)) return failure(kCall, code);
    return com::from_guid(id);
}

Called<> Requester::prepare_for_backup() {
    IVssAsync* async = nullptr;
    const HRESULT started = impl_->components->PrepareForBackup(&async);
    return finish("IVssBackupComponents::PrepareForBackup", started, async);
}

Called<> Requester::do_set() {
    IVssAsync* async = nullptr;
    const HRESULT started = impl_->components->DoSnapshotSet(&async);
    return finish("IVssBackupComponents::DoSnapshotSet", started, async);
}

Called<> Requester::backup_complete() {
    IVssAsync* async = nullptr;
    const HRESULT started = impl_->components->BackupComplete(&async);
    return finish("IVssBackupComponents::BackupComplete", started, async);
}

void Requester::abort() {
    (void)impl_->components->AbortBackup();
}

Called<std::vector<WriterStatus>> Requester::writer_status() {
    auto& components = *impl_->components;
    IVssAsync* async = nullptr;
    const HRESULT started = components.GatherWriterStatus(&async);
    if (auto done = finish("IVssBackupComponents::GatherWriterStatus", started, async); !done) {
        return std::unexpected(done.error());
    }
    UINT count = 0;
    HRESULT code = components.GetWriterStatusCount(&count);
    if (FAILED(code)) return failure("IVssBackupComponents::GetWriterStatusCount", code);
    std::vector<WriterStatus> out;
    for (UINT i = 0; i < count; ++i) {
        VSS_ID instance{};
        VSS_ID writer{};
        Bstr name;
        VSS_WRITER_STATE state = VSS_WS_UNKNOWN;
        HRESULT failed = S_OK;
        code = components.GetWriterStatus(i, &instance, &writer, name.put(), &state, &failed);
        if (FAILED(code)) return failure("IVssBackupComponents::GetWriterStatus", code);
        out.push_back({text_of(name.get()), com::from_guid(writer), com::from_guid(instance), state, failed});
    }
    (void)components.FreeWriterStatus();
    return out;
}

Called<std::string> Requester::document() {
    constexpr auto kCall = "IVssBackupComponents::SaveAsXML";
    Bstr xml;
    const HRESULT code = impl_->components->SaveAsXML(xml.put());
    if (FAILED(code)) return failure(kCall, code);
    auto text = com::bstr_to_utf8(xml.get());
    if (!text) return not_text(kCall);
    return std::move(*text);
}

Called<> Requester::import_set() {
    IVssAsync* async = nullptr;
    const HRESULT started = impl_->components->ImportSnapshots(&async);
    return finish("IVssBackupComponents::ImportSnapshots", started, async);
}

Called<> Requester::break_set(const base::Guid& set) {
    return check("IVssBackupComponents::BreakSnapshotSet", impl_->components->BreakSnapshotSet(com::to_guid(set)));
}

Called<> Requester::break_set_ex(const base::Guid& set, uint32_t flags) {
    constexpr auto kCall = "IVssBackupComponentsEx2::BreakSnapshotSetEx";
    const auto extended = impl_->components.as<IVssBackupComponentsEx2>();
    if (!extended) return failure(kCall, E_NOINTERFACE, "this libvssapi does not offer the interface");
    IVssAsync* async = nullptr;
    const HRESULT started = extended->BreakSnapshotSetEx(com::to_guid(set), flags, &async);
    return finish(kCall, started, async);
}

Called<std::string> Requester::expose(const base::Guid& shadow, const std::string& where, bool remotely) {
    constexpr auto kCall = "IVssBackupComponents::ExposeSnapshot";
    WideArgument name(where);
    if (!name.valid()) return not_text(kCall);
    VSS_PWSZ exposed = nullptr;
    const LONG how = remotely ? VSS_VOLSNAP_ATTR_EXPOSED_REMOTELY : VSS_VOLSNAP_ATTR_EXPOSED_LOCALLY;
    const HRESULT code = impl_->components->ExposeSnapshot(com::to_guid(shadow), nullptr, how, name.get(), &exposed);
    const com::CoString owned(exposed);
    if (FAILED(code)) return failure(kCall, code);
    return text_of(owned.get());
}

Called<> Requester::unexpose(const base::Guid& shadow) {
    constexpr auto kCall = "IVssBackupComponentsEx2::UnexposeSnapshot";
    const auto extended = impl_->components.as<IVssBackupComponentsEx2>();
    if (!extended) return failure(kCall, E_NOINTERFACE, "this libvssapi does not offer the interface");
    return check(kCall, extended->UnexposeSnapshot(com::to_guid(shadow)));
}

Called<> Requester::add_to_recovery_set(const base::Guid& shadow, const std::optional<std::string>& destination) {
    constexpr auto kCall = "IVssBackupComponentsEx3::AddSnapshotToRecoverySet";
    const auto extended = impl_->components.as<IVssBackupComponentsEx3>();
    if (!extended) return failure(kCall, E_NOINTERFACE, "this libvssapi does not offer the interface");
    WideArgument name(destination.value_or(""));
    if (!name.valid()) return not_text(kCall);
    const HRESULT code =
        extended->AddSnapshotToRecoverySet(com::to_guid(shadow), 0, destination ? name.get() : nullptr);
    return check(kCall, code);
}

Called<> Requester::recover_set(uint32_t flags) {
    constexpr auto kCall = "IVssBackupComponentsEx3::RecoverSet";
    const auto extended = impl_->components.as<IVssBackupComponentsEx3>();
    if (!extended) return failure(kCall, E_NOINTERFACE, "this libvssapi does not offer the interface");
    IVssAsync* async = nullptr;
    const HRESULT started = extended->RecoverSet(flags, &async);
    return finish(kCall, started, async);
}

Called<> Requester::revert(const base::Guid& shadow) {
    return check("IVssBackupComponents::RevertToSnapshot",
                 impl_->components->RevertToSnapshot(com::to_guid(shadow), FALSE));
}

Called<> Requester::wait_for_revert(const std::string& volume) {
    constexpr auto kCall = "IVssBackupComponents::QueryRevertStatus";
    WideArgument name(volume);
    if (!name.valid()) return not_text(kCall);
    IVssAsync* async = nullptr;
    const HRESULT started = impl_->components->QueryRevertStatus(name.get(), &async);
    if (started == VSS_E_OBJECT_NOT_FOUND) return {};
    return finish(kCall, started, async);
}

Called<> Requester::pre_restore() {
    IVssAsync* async = nullptr;
    const HRESULT started = impl_->components->PreRestore(&async);
    return finish("IVssBackupComponents::PreRestore", started, async);
}

Called<> Requester::post_restore() {
    IVssAsync* async = nullptr;
    const HRESULT started = impl_->components->PostRestore(&async);
    return finish("IVssBackupComponents::PostRestore", started, async);
}

Called<Shadow> Requester::shadow(const base::Guid& id) {
    VSS_SNAPSHOT_PROP properties{};
    const HRESULT code = impl_->components->GetSnapshotProperties(com::to_guid(id), &properties);
    if (FAILED(code)) return failure("IVssBackupComponents::GetSnapshotProperties", code);
    auto out = to_shadow(properties);
    free_properties(properties);
    return out;
}

Called<std::vector<Shadow>> Requester::shadows() {
    std::vector<Shadow> out;
    auto listed = for_each_object(*impl_->components, VSS_OBJECT_SNAPSHOT, [&](const VSS_OBJECT_PROP& object) {
        if (object.Type == VSS_OBJECT_SNAPSHOT) out.push_back(to_shadow(object.Obj.Snap));
    });
    if (!listed) return std::unexpected(listed.error());
    return out;
}

Called<std::vector<Provider>> Requester::providers() {
    std::vector<Provider> out;
    auto listed = for_each_object(*impl_->components, VSS_OBJECT_PROVIDER, [&](const VSS_OBJECT_PROP& object) {
        if (object.Type != VSS_OBJECT_PROVIDER) return;
        const auto& provider = object.Obj.Prov;
        out.push_back({com::from_guid(provider.m_ProviderId), text_of(provider.m_pwszProviderName),
                       provider.m_eProviderType, text_of(provider.m_pwszProviderVersion),
                       com::from_guid(provider.m_ClassId)});
    });
    if (!listed) return std::unexpected(listed.error());
    return out;
}

Deletion Requester::delete_object(const base::Guid& id, int type) {
    LONG deleted = 0;
    VSS_ID not_deleted{};
    const HRESULT code = impl_->components->DeleteSnapshots(com::to_guid(id), static_cast<VSS_OBJECT_TYPE>(type), FALSE,
                                                            &deleted, &not_deleted);
    Deletion out{deleted, std::nullopt, com::from_guid(not_deleted)};
    if (FAILED(code)) out.failure = CallFailure{"IVssBackupComponents::DeleteSnapshots", code, {}};
    return out;
}

Deletion Requester::delete_shadow(const base::Guid& id) {
    return delete_object(id, VSS_OBJECT_SNAPSHOT);
}

Deletion Requester::delete_set(const base::Guid& id) {
    return delete_object(id, VSS_OBJECT_SNAPSHOT_SET);
}

}  // namespace umbra::cli::diskshadow

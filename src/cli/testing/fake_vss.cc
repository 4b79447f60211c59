#include "cli/testing/fake_vss.h"

#include <fmt/format.h>

#include <algorithm>

#include "com/ptr.h"
#include "com/ref_counted.h"
#include "com/text.h"

namespace umbra::cli::testing {

using base::Guid;

namespace {

std::string utf8(const wchar_t* text) {
    return text == nullptr ? std::string("NULL") : com::to_utf8(text).value_or("?");
}

wchar_t* allocated(const std::string& text) {
    return com::co_string_utf8(text)->release();
}

class FakeAsync final : public com::RefCounted<IVssAsync> {
public:
    explicit FakeAsync(HRESULT result) : result_(result) {}
    HRESULT Cancel() override { return VSS_S_ASYNC_FINISHED; }
    HRESULT Wait(DWORD) override { return S_OK; }
    // Says once that the operation still runs: callers must not take the end of Wait for the operation's.
    HRESULT QueryStatus(HRESULT* result, INT* reserved) override {
        if (result == nullptr || reserved != nullptr) return E_INVALIDARG;
        *result = asked_++ == 0 ? VSS_S_ASYNC_PENDING : result_;
        return S_OK;
    }

private:
    HRESULT result_;
    int asked_ = 0;
};

class FakeEnum final : public com::RefCounted<IVssEnumObject> {
public:
    explicit FakeEnum(std::vector<std::function<void(VSS_OBJECT_PROP*)>> objects) : objects_(std::move(objects)) {}
    HRESULT Next(ULONG count, VSS_OBJECT_PROP* out, ULONG* fetched) override {
        *fetched = 0;
        while (*fetched < count && at_ < objects_.size()) objects_[at_++](&out[(*fetched)++]);
        return *fetched == count ? S_OK : S_FALSE;
    }
    HRESULT Skip(ULONG) override { return E_NOTIMPL; }
    HRESULT Reset() override { return E_NOTIMPL; }
    HRESULT Clone(IVssEnumObject**) override { return E_NOTIMPL; }

private:
    std::vector<std::function<void(VSS_OBJECT_PROP*)>> objects_;
    size_t at_ = 0;
};

void fill(VSS_SNAPSHOT_PROP& out, const FakeShadow& shadow, const std::string& service_machine) {
    out = {};
    out.m_SnapshotId = com::to_guid(shadow.id);
    out.m_SnapshotSetId = com::to_guid(shadow.set);
    out.m_lSnapshotsCount = shadow.count_in_set;
    out.m_pwszSnapshotDeviceObject = allocated(shadow.here ? "/run/umbra/shadow/" + shadow.id.braced() : "");
    out.m_pwszOriginalVolumeName = allocated(shadow.volume);
    out.m_pwszOriginatingMachine = allocated(shadow.machine);
    out.m_pwszServiceMachine = allocated(service_machine);
    if (!shadow.exposed.empty()) out.m_pwszExposedName = allocated(shadow.exposed);
    out.m_ProviderId = com::to_guid(*Guid::parse("{10000000-0000-4000-8000-00000000000a}"));
    out.m_lSnapshotAttributes = static_cast<LONG>(shadow.attributes);
    out.m_tsCreationTimestamp = shadow.created;
    out.m_eStatus = VSS_SS_CREATED;
}

constexpr std::string_view kDocumentStart = "<FakeDocument set=\"";

}  // namespace

class FakeComponents final
    : public com::RefCounted<
          com::Face<IVssBackupComponentsEx3, IVssBackupComponentsEx2, IVssBackupComponentsEx, IVssBackupComponents>> {
public:
    explicit FakeComponents(FakeVss& world) : world_(world) { ++world_.objects; }
    ~FakeComponents() override {
        std::erase_if(world_.shadows, [&](const FakeShadow& shadow) { return shadow.owner == this; });
        --world_.objects;
    }

    HRESULT GetWriterComponentsCount(UINT* count) override {
        *count = 0;
        return S_OK;
    }
    HRESULT GetWriterComponents(UINT, IVssWriterComponentsExt**) override { return VSS_E_OBJECT_NOT_FOUND; }
    HRESULT InitializeForBackup(BSTR xml) override {
        return initialize(xml == nullptr ? "InitializeForBackup" : "InitializeForBackup document", xml, Mode::kBackup);
    }
    HRESULT SetBackupState(bool, bool, VSS_BACKUP_TYPE type, bool) override {
        if (auto code = enter(fmt::format("SetBackupState {}", type == VSS_BT_FULL ? "full" : "copy"))) return code;
        if (mode_ != Mode::kBackup || prepared_) return VSS_E_BAD_STATE;
        state_set_ = true;
        return S_OK;
    }
    HRESULT InitializeForRestore(BSTR xml) override { return initialize("InitializeForRestore", xml, Mode::kRestore); }
    HRESULT SetRestoreState(VSS_RESTORE_TYPE) override { return VSS_E_BAD_STATE; }
    HRESULT GatherWriterMetadata(IVssAsync** async) override {
        if (auto code = enter("GatherWriterMetadata")) return code;
        if (mode_ == Mode::kNew || gathered_) return VSS_E_BAD_STATE;
        gathered_ = true;
        return start("GatherWriterMetadata", async);
    }
    HRESULT GetWriterMetadataCount(UINT* count) override {
        *count = 0;
        return gathered_ ? S_OK : VSS_E_BAD_STATE;
    }
    HRESULT GetWriterMetadata(UINT, VSS_ID*, IVssExamineWriterMetadata**) override { return VSS_E_OBJECT_NOT_FOUND; }
    HRESULT FreeWriterMetadata() override { return S_OK; }
    HRESULT AddComponent(VSS_ID, VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR) override { return VSS_E_BAD_STATE; }
    HRESULT PrepareForBackup(IVssAsync** async) override {
        if (auto code = enter("PrepareForBackup")) return code;
        if (!state_set_ || set_.is_null() || !writers()) return VSS_E_BAD_STATE;
        prepared_ = true;
        return start("PrepareForBackup", async);
    }
    HRESULT AbortBackup() override {
        if (auto code = enter("AbortBackup")) return code;
        return mode_ == Mode::kNew ? VSS_E_BAD_STATE : S_OK;
    }
    HRESULT GatherWriterStatus(IVssAsync** async) override {
        if (auto code = enter("GatherWriterStatus")) return code;
        return start("GatherWriterStatus", async);
    }
    HRESULT GetWriterStatusCount(UINT* count) override {
        *count = 1;
        return S_OK;
    }
    HRESULT FreeWriterStatus() override { return S_OK; }
    HRESULT GetWriterStatus(UINT, VSS_ID* instance, VSS_ID* writer, BSTR* name, VSS_WRITER_STATE* state,
                            HRESULT* failure) override {
        *instance = com::to_guid(*Guid::parse("{20000000-0000-4000-8000-000000000001}"));
        *writer = com::to_guid(*Guid::parse("{20000000-0000-4000-8000-000000000002}"));
        *name = SysAllocString(L"Fake Writer");
        *state = VSS_WS_STABLE;
        *failure = S_OK;
        return S_OK;
    }
    HRESULT SetBackupSucceeded(VSS_ID, VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, bool) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT SetBackupOptions(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, LPCWSTR) override { return VSS_E_BAD_STATE; }
    HRESULT SetSelectedForRestore(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, bool) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT SetRestoreOptions(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, LPCWSTR) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT SetAdditionalRestores(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, bool) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT SetPreviousBackupStamp(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, LPCWSTR) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT SaveAsXML(BSTR* xml) override {
        *xml = nullptr;
        if (auto code = enter("SaveAsXML")) return code;
        if (mode_ != Mode::kBackup) return VSS_E_BAD_STATE;
        const auto text = fmt::format("{}{}\"/>", kDocumentStart, set_.braced());
        *xml = com::Bstr::from_utf8(text)->detach();
        return S_OK;
    }
    HRESULT BackupComplete(IVssAsync** async) override {
        if (auto code = enter("BackupComplete")) return code;
        if (!done_ || !writers()) return VSS_E_BAD_STATE;
        return start("BackupComplete", async);
    }
    HRESULT AddAlternativeLocationMapping(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, LPCWSTR, LPCWSTR, bool,
                                          LPCWSTR) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT AddRestoreSubcomponent(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, LPCWSTR, LPCWSTR, bool) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT SetFileRestoreStatus(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, VSS_FILE_RESTORE_STATUS) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT AddNewTarget(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, LPCWSTR, LPCWSTR, bool, LPCWSTR) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT SetRangesFilePath(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, UINT, LPCWSTR) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT PreRestore(IVssAsync** async) override {
        if (auto code = enter("PreRestore")) return code;
        if (mode_ != Mode::kRestore || !gathered_) return VSS_E_BAD_STATE;
        return start("PreRestore", async);
    }
    HRESULT PostRestore(IVssAsync** async) override {
        if (auto code = enter("PostRestore")) return code;
        return start("PostRestore", async);
    }
    HRESULT SetContext(LONG context) override {
        if (auto code = enter(fmt::format("SetContext {:#x}", static_cast<uint32_t>(context)))) return code;
        if (mode_ != Mode::kBackup || context_set_) return VSS_E_BAD_STATE;
        context_ = static_cast<uint32_t>(context);
        context_set_ = true;
        return S_OK;
    }
    HRESULT StartSnapshotSet(VSS_ID* set) override {
        *set = GUID_NULL;
        if (auto code = enter("StartSnapshotSet")) return code;
        if (mode_ != Mode::kBackup || !set_.is_null()) return VSS_E_BAD_STATE;
        set_ = world_.next_id();
        *set = com::to_guid(set_);
        return S_OK;
    }
    HRESULT AddToSnapshotSet(VSS_PWSZ volume, VSS_ID provider, VSS_ID* id) override {
        *id = GUID_NULL;
        const bool any = com::from_guid(provider).is_null();
        if (auto code = enter(fmt::format("AddToSnapshotSet {}{}", utf8(volume), any ? "" : " provider"))) return code;
        if (set_.is_null() || done_) return VSS_E_BAD_STATE;
        const auto found = world_.volumes.find(utf8(volume));
        if (found == world_.volumes.end()) return VSS_E_OBJECT_NOT_FOUND;
        FakeShadow shadow;
        shadow.id = world_.next_id();
        shadow.set = set_;
        shadow.volume = found->second;
        pending_.push_back(shadow);
        *id = com::to_guid(shadow.id);
        return S_OK;
    }
    HRESULT DoSnapshotSet(IVssAsync** async) override {
        *async = nullptr;
        if (auto code = enter("DoSnapshotSet")) return code;
        if (set_.is_null() || done_ || (writers() && (!gathered_ || !prepared_))) return VSS_E_BAD_STATE;
        if (world_.failures.contains("DoSnapshotSet.async")) return start("DoSnapshotSet", async);
        done_ = true;
        for (auto& shadow : pending_) {
            shadow.count_in_set = static_cast<int32_t>(pending_.size());
            shadow.machine = world_.machine;
            shadow.attributes = context_ | VSS_VOLSNAP_ATTR_HARDWARE_ASSISTED;
            if ((context_ & VSS_VOLSNAP_ATTR_PLEX) == 0) shadow.attributes |= VSS_VOLSNAP_ATTR_DIFFERENTIAL;
            shadow.created = world_.now;
            shadow.here = (context_ & VSS_VOLSNAP_ATTR_TRANSPORTABLE) == 0;
            if ((context_ & VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE) == 0 && shadow.here) shadow.owner = this;
            world_.shadows.push_back(shadow);
        }
        world_.now += 10'000'000;
        return start("DoSnapshotSet", async);
    }
    HRESULT DeleteSnapshots(VSS_ID object, VSS_OBJECT_TYPE type, BOOL, LONG* deleted, VSS_ID* not_deleted) override {
        *deleted = 0;
        *not_deleted = GUID_NULL;
        const auto id = com::from_guid(object);
        const bool whole_set = type == VSS_OBJECT_SNAPSHOT_SET;
        if (auto code = enter(whole_set ? "DeleteSnapshots set" : "DeleteSnapshots")) {
            *not_deleted = object;
            return code;
        }
        const auto count = std::erase_if(
            world_.shadows, [&](const FakeShadow& shadow) { return whole_set ? shadow.set == id : shadow.id == id; });
        *deleted = static_cast<LONG>(count);
        return count == 0 ? VSS_E_OBJECT_NOT_FOUND : S_OK;
    }
    HRESULT ImportSnapshots(IVssAsync** async) override {
        *async = nullptr;
        if (auto code = enter("ImportSnapshots")) return code;
        if (mode_ != Mode::kBackup || document_.is_null()) return VSS_E_BAD_STATE;
        for (auto& shadow : world_.shadows) {
            if (shadow.set != document_ || world_.failures.contains("ImportSnapshots.async")) continue;
            if (shadow.here) return VSS_E_BAD_STATE;
            shadow.here = true;
            shadow.attributes |= VSS_VOLSNAP_ATTR_IMPORTED;
            if ((shadow.attributes & VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE) == 0) shadow.owner = this;
        }
        return start("ImportSnapshots", async);
    }
    HRESULT BreakSnapshotSet(VSS_ID set) override {
        if (auto code = enter("BreakSnapshotSet")) return code;
        return break_set(set);
    }
    HRESULT GetSnapshotProperties(VSS_ID id, VSS_SNAPSHOT_PROP* properties) override {
        if (auto code = enter("GetSnapshotProperties", false)) return code;
        const auto* shadow = world_.find(com::from_guid(id));
        if (shadow == nullptr || !shadow->here) return VSS_E_OBJECT_NOT_FOUND;
        fill(*properties, *shadow, world_.machine);
        return S_OK;
    }
    HRESULT Query(VSS_ID, VSS_OBJECT_TYPE, VSS_OBJECT_TYPE type, IVssEnumObject** out) override {
        *out = nullptr;
        if (auto code = enter("Query", false)) return code;
        if (mode_ != Mode::kBackup || !context_set_) return VSS_E_BAD_STATE;
        std::vector<std::function<void(VSS_OBJECT_PROP*)>> objects;
        for (const auto& shadow : world_.shadows) {
            if (type != VSS_OBJECT_SNAPSHOT || !shadow.here) continue;
            objects.push_back([shadow, machine = world_.machine](VSS_OBJECT_PROP* object) {
                object->Type = VSS_OBJECT_SNAPSHOT;
                fill(object->Obj.Snap, shadow, machine);
            });
        }
        for (const auto& provider : world_.providers) {
            if (type != VSS_OBJECT_PROVIDER) continue;
            objects.push_back([provider](VSS_OBJECT_PROP* object) {
                object->Type = VSS_OBJECT_PROVIDER;
                object->Obj.Prov = {com::to_guid(provider.id),
                                    allocated(provider.name),
                                    provider.type,
                                    allocated(provider.version),
                                    GUID_NULL,
                                    com::to_guid(provider.class_id)};
            });
        }
        *out = new FakeEnum(std::move(objects));
        return S_OK;
    }
    HRESULT IsVolumeSupported(VSS_ID, VSS_PWSZ volume, BOOL* supported) override {
        *supported = FALSE;
        const auto name = utf8(volume);
        const bool canonical = name.starts_with("\\\\?\\Volume{");
        if (auto code = enter("IsVolumeSupported " + name, !canonical)) return code;
        if (mode_ != Mode::kBackup) return VSS_E_BAD_STATE;
        const bool known = canonical
                               ? std::ranges::any_of(world_.volumes, [&](const auto& v) { return v.second == name; })
                               : world_.volumes.contains(name);
        if (!known) return VSS_E_OBJECT_NOT_FOUND;
        *supported = world_.unsupported.contains(name) ? FALSE : TRUE;
        return S_OK;
    }
    HRESULT DisableWriterClasses(const VSS_ID*, UINT) override { return S_OK; }
    HRESULT EnableWriterClasses(const VSS_ID*, UINT) override { return S_OK; }
    HRESULT DisableWriterInstances(const VSS_ID*, UINT) override { return S_OK; }
    HRESULT ExposeSnapshot(VSS_ID id, VSS_PWSZ path, LONG attributes, VSS_PWSZ where, VSS_PWSZ* exposed) override {
        *exposed = nullptr;
        const bool remotely = attributes == VSS_VOLSNAP_ATTR_EXPOSED_REMOTELY;
        if (auto code = enter(fmt::format("ExposeSnapshot {} {}", remotely ? "remotely" : "locally", utf8(where)))) {
            return code;
        }
        if (path != nullptr) return E_INVALIDARG;
        auto* shadow = world_.find(com::from_guid(id));
        if (shadow == nullptr || !shadow->here) return VSS_E_OBJECT_NOT_FOUND;
        shadow->exposed = utf8(where);
        shadow->attributes |= static_cast<uint32_t>(attributes);
        *exposed = allocated(shadow->exposed);
        return S_OK;
    }
    HRESULT RevertToSnapshot(VSS_ID, BOOL force) override {
        return enter(force != FALSE ? "RevertToSnapshot force" : "RevertToSnapshot");
    }
    HRESULT QueryRevertStatus(VSS_PWSZ volume, IVssAsync** async) override {
        *async = nullptr;
        if (auto code = enter("QueryRevertStatus " + utf8(volume))) return code;
        return start("QueryRevertStatus", async);
    }

    HRESULT GetWriterMetadataEx(UINT, VSS_ID*, IVssExamineWriterMetadataEx**) override {
        return VSS_E_OBJECT_NOT_FOUND;
    }
    HRESULT SetSelectedForRestoreEx(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, bool, VSS_ID) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT UnexposeSnapshot(VSS_ID id) override {
        if (auto code = enter("UnexposeSnapshot")) return code;
        auto* shadow = world_.find(com::from_guid(id));
        if (shadow == nullptr || shadow->exposed.empty()) return VSS_E_OBJECT_NOT_FOUND;
        shadow->exposed.clear();
        shadow->attributes &=
            ~static_cast<uint32_t>(VSS_VOLSNAP_ATTR_EXPOSED_LOCALLY | VSS_VOLSNAP_ATTR_EXPOSED_REMOTELY);
        return S_OK;
    }
    HRESULT SetAuthoritativeRestore(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, bool) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT SetRollForward(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, VSS_ROLLFORWARD_TYPE, LPCWSTR) override {
        return VSS_E_BAD_STATE;
    }
    HRESULT SetRestoreName(VSS_ID, VSS_COMPONENT_TYPE, LPCWSTR, LPCWSTR, LPCWSTR) override { return VSS_E_BAD_STATE; }
    HRESULT BreakSnapshotSetEx(VSS_ID set, DWORD flags, IVssAsync** async) override {
        *async = nullptr;
        if (auto code = enter(fmt::format("BreakSnapshotSetEx {:#x}", flags))) return code;
        if (auto code = break_set(set)) return code;
        return start("BreakSnapshotSetEx", async);
    }
    HRESULT PreFastRecovery(VSS_ID, DWORD, IVssAsync**) override { return E_NOTIMPL; }
    HRESULT FastRecovery(VSS_ID, DWORD, IVssAsync**) override { return E_NOTIMPL; }
    HRESULT GetWriterStatusEx(UINT, VSS_ID*, VSS_ID*, BSTR*, VSS_WRITER_STATE*, HRESULT*, HRESULT*, BSTR*) override {
        return E_NOTIMPL;
    }
    HRESULT AddSnapshotToRecoverySet(VSS_ID id, DWORD flags, VSS_PWSZ destination) override {
        if (auto code = enter("AddSnapshotToRecoverySet " + utf8(destination))) return code;
        if (mode_ != Mode::kRestore) return VSS_E_BAD_STATE;
        if (flags != 0) return E_INVALIDARG;
        const auto* shadow = world_.find(com::from_guid(id));
        if (shadow == nullptr || shadow->set != document_) return VSS_E_SNAPSHOT_NOT_IN_SET;
        ++recovering_;
        return S_OK;
    }
    HRESULT RecoverSet(DWORD flags, IVssAsync** async) override {
        *async = nullptr;
        if (auto code = enter(fmt::format("RecoverSet {:#x}", flags))) return code;
        if (mode_ != Mode::kRestore || recovering_ == 0) return VSS_E_BAD_STATE;
        return start("RecoverSet", async);
    }
    HRESULT GetSessionId(VSS_ID*) override { return E_NOTIMPL; }

private:
    enum class Mode { kNew, kBackup, kRestore };

    bool writers() const { return (context_ & VSS_VOLSNAP_ATTR_NO_WRITERS) == 0; }

    // Records the call; a failure that the test asked for, or 0.
    HRESULT enter(const std::string& call, bool record = true) {
        if (record) world_.calls.push_back(call);
        const auto failure = world_.failures.find(call.substr(0, call.find(' ')));
        return failure == world_.failures.end() ? S_OK : failure->second;
    }
    HRESULT start(const std::string& method, IVssAsync** async) {
        const auto failure = world_.failures.find(method + ".async");
        *async = new FakeAsync(failure == world_.failures.end() ? VSS_S_ASYNC_FINISHED : failure->second);
        return S_OK;
    }
    HRESULT initialize(const std::string& call, BSTR xml, Mode mode) {
        if (auto code = enter(call)) return code;
        if (mode_ != Mode::kNew) return VSS_E_BAD_STATE;
        if (xml != nullptr) {
            const auto text = com::bstr_to_utf8(xml).value_or("");
            const auto set =
                text.starts_with(kDocumentStart) ? Guid::parse(text.substr(kDocumentStart.size(), 38)) : std::nullopt;
            if (!set) return VSS_E_INVALID_XML_DOCUMENT;
            document_ = *set;
        } else if (mode == Mode::kRestore) {
            return VSS_E_INVALID_XML_DOCUMENT;
        }
        mode_ = mode;
        return S_OK;
    }
    HRESULT break_set(VSS_ID set) {
        const auto id = com::from_guid(set);
        const auto count = std::erase_if(world_.shadows, [&](const FakeShadow& shadow) {
            return shadow.set == id && (shadow.attributes & VSS_VOLSNAP_ATTR_IMPORTED) != 0;
        });
        return count == 0 ? VSS_E_OBJECT_NOT_FOUND : S_OK;
    }

    FakeVss& world_;
    Mode mode_ = Mode::kNew;
    uint32_t context_ = 0;
    bool context_set_ = false;
    bool state_set_ = false;
    bool gathered_ = false;
    bool prepared_ = false;
    bool done_ = false;
    int recovering_ = 0;
    Guid set_;
    Guid document_;
    std::vector<FakeShadow> pending_;
};

FakeVss::FakeVss() {
    providers.push_back({*Guid::parse("{10000000-0000-4000-8000-00000000000a}"), "Fake hardware provider",
                         VSS_PROV_HARDWARE, "1.0.0.7", *Guid::parse("{10000000-0000-4000-8000-00000000000b}")});
}

HRESULT FakeVss::create(IVssBackupComponents** out) {
    *out = nullptr;
    calls.push_back("CreateVssBackupComponents");
    if (const auto failure = failures.find("CreateVssBackupComponents"); failure != failures.end())
        return failure->second;
    *out = new FakeComponents(*this);
    return S_OK;
}

Guid FakeVss::next_id() {
    return *Guid::parse(fmt::format("{{30000000-0000-4000-8000-{:012x}}}", ++ids_));
}

FakeShadow* FakeVss::find(const Guid& id) {
    const auto found = std::ranges::find(shadows, id, &FakeShadow::id);
    return found == shadows.end() ? nullptr : &*found;
}

}  // namespace umbra::cli::testing

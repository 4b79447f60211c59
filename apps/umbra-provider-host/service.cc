#include "service.h"

#include <grpcpp/grpcpp.h>
#include <provider.grpc.pb.h>

#include <cstring>
#include <map>
#include <mutex>
#include <vector>

#include "com/text.h"
#include "event_log.h"

namespace umbra::provider_host {

namespace {

namespace v1 = umbra::provider::v1;
using grpc::ServerContext;
using grpc::Status;

GUID to_guid(const std::string& text) {
    return com::to_guid(base::Guid::parse(text).value_or(base::Guid{}));
}

/// From CoTaskMemAlloc, as the interface wants it; nullptr for an absent text.
char* copy_text(bool present, const std::string& text) {
    if (!present) return nullptr;
    auto* out = static_cast<char*>(CoTaskMemAlloc(text.size() + 1));
    if (out != nullptr) std::memcpy(out, text.c_str(), text.size() + 1);
    return out;
}
BYTE* copy_bytes(const std::string& bytes) {
    if (bytes.empty()) return nullptr;
    auto* out = static_cast<BYTE*>(CoTaskMemAlloc(bytes.size()));
    if (out != nullptr) std::memcpy(out, bytes.data(), bytes.size());
    return out;
}

/// VDS_LUN_INFORMATION structures with everything that hangs on them; a provider may replace what it is given.
class LunArray {
public:
    explicit LunArray(size_t count) : luns_(count) {
        for (VDS_LUN_INFORMATION& lun : luns_) std::memset(&lun, 0, sizeof lun);
    }
    template <class Repeated>
    explicit LunArray(const Repeated& from) : LunArray(static_cast<size_t>(from.size())) {
        for (size_t i = 0; i < luns_.size(); ++i) fill(from.Get(static_cast<int>(i)), &luns_[i]);
    }
    explicit LunArray(const v1::LunInformation& one) : LunArray(size_t{1}) { fill(one, luns_.data()); }
    LunArray(const LunArray&) = delete;
    LunArray& operator=(const LunArray&) = delete;
    ~LunArray() {
        for (VDS_LUN_INFORMATION& lun : luns_) release(&lun);
    }
    VDS_LUN_INFORMATION* data() { return luns_.data(); }
    LONG count() const { return static_cast<LONG>(luns_.size()); }

    template <class Repeated>
    void write_to(Repeated* to) const {
        for (const VDS_LUN_INFORMATION& lun : luns_) write(lun, to->Add());
    }
    void write_first(v1::LunInformation* to) const { write(luns_.front(), to); }

private:
    static void fill(const v1::LunInformation& from, VDS_LUN_INFORMATION* to) {
        to->m_version = from.version();
        to->m_DeviceType = static_cast<BYTE>(from.device_type());
        to->m_DeviceTypeModifier = static_cast<BYTE>(from.device_type_modifier());
        to->m_bCommandQueueing = from.command_queueing() ? TRUE : FALSE;
        to->m_BusType = static_cast<VDS_STORAGE_BUS_TYPE>(from.bus_type());
        to->m_szVendorId = copy_text(from.has_vendor_id(), from.vendor_id());
        to->m_szProductId = copy_text(from.has_product_id(), from.product_id());
        to->m_szProductRevision = copy_text(from.has_product_revision(), from.product_revision());
        to->m_szSerialNumber = copy_text(from.has_serial_number(), from.serial_number());
        to->m_diskSignature = to_guid(from.disk_signature());
        VDS_STORAGE_DEVICE_ID_DESCRIPTOR& ids = to->m_deviceIdDescriptor;
        ids.m_version = from.descriptor_version();
        const auto count = static_cast<ULONG>(from.identifiers_size());
        if (count > 0) {
            ids.m_rgIdentifiers =
                static_cast<VDS_STORAGE_IDENTIFIER*>(CoTaskMemAlloc(count * sizeof(VDS_STORAGE_IDENTIFIER)));
        }
        for (ULONG i = 0; ids.m_rgIdentifiers != nullptr && i < count; ++i) {
            const v1::StorageIdentifier& one = from.identifiers(static_cast<int>(i));
            VDS_STORAGE_IDENTIFIER& id = ids.m_rgIdentifiers[i];
            id.m_CodeSet = static_cast<VDS_STORAGE_IDENTIFIER_CODE_SET>(one.code_set());
            id.m_Type = static_cast<VDS_STORAGE_IDENTIFIER_TYPE>(one.type());
            id.m_rgbIdentifier = copy_bytes(one.identifier());
            id.m_cbIdentifier = id.m_rgbIdentifier != nullptr ? static_cast<ULONG>(one.identifier().size()) : 0;
            ids.m_cIdentifiers = i + 1;
        }
    }
    static void write(const VDS_LUN_INFORMATION& from, v1::LunInformation* to) {
        to->set_version(from.m_version);
        to->set_device_type(from.m_DeviceType);
        to->set_device_type_modifier(from.m_DeviceTypeModifier);
        to->set_command_queueing(from.m_bCommandQueueing != FALSE);
        to->set_bus_type(static_cast<uint32_t>(from.m_BusType));
        if (from.m_szVendorId != nullptr) to->set_vendor_id(from.m_szVendorId);
        if (from.m_szProductId != nullptr) to->set_product_id(from.m_szProductId);
        if (from.m_szProductRevision != nullptr) to->set_product_revision(from.m_szProductRevision);
        if (from.m_szSerialNumber != nullptr) to->set_serial_number(from.m_szSerialNumber);
        to->set_disk_signature(com::from_guid(from.m_diskSignature).text());
        const VDS_STORAGE_DEVICE_ID_DESCRIPTOR& ids = from.m_deviceIdDescriptor;
        to->set_descriptor_version(ids.m_version);
        for (ULONG i = 0; ids.m_rgIdentifiers != nullptr && i < ids.m_cIdentifiers; ++i) {
            const VDS_STORAGE_IDENTIFIER& id = ids.m_rgIdentifiers[i];
            v1::StorageIdentifier* one = to->add_identifiers();
            one->set_code_set(static_cast<uint32_t>(id.m_CodeSet));
            one->set_type(static_cast<uint32_t>(id.m_Type));
            if (id.m_rgbIdentifier != nullptr) one->set_identifier(id.m_rgbIdentifier, id.m_cbIdentifier);
        }
    }
    static void release(VDS_LUN_INFORMATION* lun) {
        CoTaskMemFree(lun->m_szVendorId);
        CoTaskMemFree(lun->m_szProductId);
        CoTaskMemFree(lun->m_szProductRevision);
        CoTaskMemFree(lun->m_szSerialNumber);
        VDS_STORAGE_DEVICE_ID_DESCRIPTOR& ids = lun->m_deviceIdDescriptor;
        for (ULONG i = 0; ids.m_rgIdentifiers != nullptr && i < ids.m_cIdentifiers; ++i) {
            CoTaskMemFree(ids.m_rgIdentifiers[i].m_rgbIdentifier);
        }
        CoTaskMemFree(ids.m_rgIdentifiers);
        for (ULONG i = 0; lun->m_rgInterconnects != nullptr && i < lun->m_cInterconnects; ++i) {
            CoTaskMemFree(lun->m_rgInterconnects[i].m_pbPort);
            CoTaskMemFree(lun->m_rgInterconnects[i].m_pbAddress);
        }
        CoTaskMemFree(lun->m_rgInterconnects);
    }
    std::vector<VDS_LUN_INFORMATION> luns_;
};

/// The device names of one call.
class Names {
public:
    template <class Repeated>
    explicit Names(const Repeated& from) {
        for (const std::string& name : from) texts_.push_back(com::to_wide_lossy(name));
        for (std::wstring& text : texts_) pointers_.push_back(text.data());
    }
    VSS_PWSZ* data() { return pointers_.data(); }
    size_t size() const { return pointers_.size(); }

private:
    std::vector<std::wstring> texts_;
    std::vector<VSS_PWSZ> pointers_;
};

uint32_t number(HRESULT result) {
    return static_cast<uint32_t>(result);
}

class ProviderService final : public v1::ProviderHost::Service {
public:
    explicit ProviderService(LoadedProvider& provider) : provider_(provider) {}

    Status Describe(ServerContext*, const v1::Empty*, v1::Description* reply) override {
        reply->set_on_load(number(provider_.on_load));
        reply->set_has_hardware(static_cast<bool>(provider_.hardware));
        reply->set_has_ex(static_cast<bool>(provider_.ex));
        reply->set_has_create_snapshot_set(static_cast<bool>(provider_.create_snapshot_set));
        reply->set_has_notifications(static_cast<bool>(provider_.notifications));
        reply->set_failure(provider_.failure);
        return Status::OK;
    }
    Status Ping(ServerContext*, const v1::Empty*, v1::Empty*) override { return Status::OK; }
    Status OnUnload(ServerContext*, const v1::OnUnloadRequest* request, v1::Reply* reply) override {
        HRESULT result = S_OK;
        if (provider_.notifications) result = provider_.notifications->OnUnload(request->force() ? TRUE : FALSE);
        reply->set_hresult(number(result));
        return Status::OK;
    }

    Status AreLunsSupported(ServerContext*, const v1::AreLunsSupportedRequest* request,
                            v1::AreLunsSupportedReply* reply) override {
        LunArray luns(request->luns());
        Names names(request->devices());
        if (!provider_.hardware || names.size() != static_cast<size_t>(luns.count())) return unfit();
        BOOL supported = FALSE;
        const HRESULT result = provider_.hardware->AreLunsSupported(luns.count(), static_cast<LONG>(request->context()),
                                                                    names.data(), luns.data(), &supported);
        reply->set_hresult(number(result));
        reply->set_supported(supported != FALSE);
        luns.write_to(reply->mutable_luns());
        return Status::OK;
    }
    Status FillInLunInfo(ServerContext*, const v1::DeviceLun* request, v1::FillInLunInfoReply* reply) override {
        if (!provider_.hardware) return unfit();
        LunArray lun(request->lun());
        std::wstring device = com::to_wide_lossy(request->device());
        BOOL supported = FALSE;
        const HRESULT result = provider_.hardware->FillInLunInfo(device.data(), lun.data(), &supported);
        reply->set_hresult(number(result));
        reply->set_supported(supported != FALSE);
        lun.write_first(reply->mutable_lun());
        return Status::OK;
    }
    Status BeginPrepareSnapshot(ServerContext*, const v1::BeginPrepareSnapshotRequest* request,
                                v1::Reply* reply) override {
        LunArray luns(request->luns());
        Names names(request->devices());
        if (!provider_.hardware || names.size() != static_cast<size_t>(luns.count())) return unfit();
        reply->set_hresult(number(provider_.hardware->BeginPrepareSnapshot(
            to_guid(request->set()), to_guid(request->snapshot()), static_cast<LONG>(request->context()), luns.count(),
            names.data(), luns.data())));
        return Status::OK;
    }
    Status GetTargetLuns(ServerContext*, const v1::GetTargetLunsRequest* request, v1::LunsReply* reply) override {
        LunArray sources(request->luns());
        LunArray targets(static_cast<size_t>(sources.count()));
        Names names(request->devices());
        if (!provider_.hardware || names.size() != static_cast<size_t>(sources.count())) return unfit();
        const HRESULT result =
            provider_.hardware->GetTargetLuns(sources.count(), names.data(), sources.data(), targets.data());
        reply->set_hresult(number(result));
        if (SUCCEEDED(result)) targets.write_to(reply->mutable_luns());
        return Status::OK;
    }
    Status LocateLuns(ServerContext*, const v1::Luns* request, v1::Reply* reply) override {
        if (!provider_.hardware) return unfit();
        LunArray luns(request->luns());
        reply->set_hresult(number(provider_.hardware->LocateLuns(luns.count(), luns.data())));
        return Status::OK;
    }
    Status OnLunEmpty(ServerContext*, const v1::DeviceLun* request, v1::Reply* reply) override {
        if (!provider_.hardware) return unfit();
        LunArray lun(request->lun());
        std::wstring device = com::to_wide_lossy(request->device());
        reply->set_hresult(number(provider_.hardware->OnLunEmpty(device.data(), lun.data())));
        return Status::OK;
    }

    Status EndPrepareSnapshots(ServerContext*, const v1::SetRequest* request, v1::Reply* reply) override {
        return for_set(&IVssProviderCreateSnapshotSet::EndPrepareSnapshots, request, reply);
    }
    Status PreCommitSnapshots(ServerContext*, const v1::SetRequest* request, v1::Reply* reply) override {
        return for_set(&IVssProviderCreateSnapshotSet::PreCommitSnapshots, request, reply);
    }
    Status CommitSnapshots(ServerContext*, const v1::SetRequest* request, v1::Reply* reply) override {
        return for_set(&IVssProviderCreateSnapshotSet::CommitSnapshots, request, reply);
    }
    Status PostCommitSnapshots(ServerContext*, const v1::SetRequest* request, v1::Reply* reply) override {
        if (!provider_.create_snapshot_set) return unfit();
        reply->set_hresult(number(provider_.create_snapshot_set->PostCommitSnapshots(
            to_guid(request->set()), static_cast<LONG>(request->snapshots()))));
        return Status::OK;
    }
    Status PreFinalCommitSnapshots(ServerContext*, const v1::SetRequest* request, v1::Reply* reply) override {
        return for_set(&IVssProviderCreateSnapshotSet::PreFinalCommitSnapshots, request, reply);
    }
    Status PostFinalCommitSnapshots(ServerContext*, const v1::SetRequest* request, v1::Reply* reply) override {
        return for_set(&IVssProviderCreateSnapshotSet::PostFinalCommitSnapshots, request, reply);
    }
    Status AbortSnapshots(ServerContext*, const v1::SetRequest* request, v1::Reply* reply) override {
        return for_set(&IVssProviderCreateSnapshotSet::AbortSnapshots, request, reply);
    }

    Status GetProviderCapabilities(ServerContext*, const v1::Empty*, v1::CapabilitiesReply* reply) override {
        if (!provider_.ex) return unfit();
        ULONGLONG mask = 0;
        reply->set_hresult(number(provider_.ex->GetProviderCapabilities(&mask)));
        reply->set_capabilities(mask);
        return Status::OK;
    }
    Status OnLunStateChange(ServerContext*, const v1::OnLunStateChangeRequest* request, v1::Reply* reply) override {
        LunArray snapshots(request->snapshots());
        LunArray originals(request->originals());
        if (!provider_.ex || snapshots.count() != originals.count()) return unfit();
        reply->set_hresult(number(provider_.ex->OnLunStateChange(
            snapshots.data(), originals.data(), static_cast<DWORD>(snapshots.count()), request->flags())));
        return Status::OK;
    }
    Status ResyncLuns(ServerContext*, const v1::ResyncLunsRequest* request, v1::AsyncReply* reply) override {
        LunArray sources(request->sources());
        LunArray targets(request->targets());
        if (!provider_.ex || sources.count() != targets.count()) return unfit();
        com::Ptr<IVssAsync> async;
        const HRESULT result =
            provider_.ex->ResyncLuns(sources.data(), targets.data(), static_cast<DWORD>(sources.count()), async.put());
        reply->set_hresult(number(result));
        if (SUCCEEDED(result) && async) {
            std::lock_guard lock(mutex_);
            reply->set_async(next_async_);
            asyncs_[next_async_++] = std::move(async);
        }
        return Status::OK;
    }
    Status OnReuseLuns(ServerContext*, const v1::OnReuseLunsRequest* request, v1::Reply* reply) override {
        LunArray snapshots(request->snapshots());
        LunArray originals(request->originals());
        if (!provider_.ex || snapshots.count() != originals.count()) return unfit();
        reply->set_hresult(number(
            provider_.ex->OnReuseLuns(snapshots.data(), originals.data(), static_cast<DWORD>(snapshots.count()))));
        return Status::OK;
    }

    Status QueryAsync(ServerContext*, const v1::AsyncRequest* request, v1::AsyncState* reply) override {
        const com::Ptr<IVssAsync> async = find(request->async());
        if (!async) return unfit();
        HRESULT state = VSS_S_ASYNC_PENDING;
        reply->set_hresult(number(async->QueryStatus(&state, nullptr)));
        reply->set_result(number(state));
        reply->set_percent(-1);
        if (const auto progress = async.as<IUmbraAsyncProgress>(); progress) {
            ULONG percent = 0;
            if (SUCCEEDED(progress->GetPercentCompleted(&percent))) reply->set_percent(static_cast<int32_t>(percent));
        }
        return Status::OK;
    }
    Status WaitAsync(ServerContext*, const v1::WaitAsyncRequest* request, v1::Reply* reply) override {
        const com::Ptr<IVssAsync> async = find(request->async());
        if (!async) return unfit();
        reply->set_hresult(number(async->Wait(request->timeout_ms())));
        return Status::OK;
    }
    Status CancelAsync(ServerContext*, const v1::AsyncRequest* request, v1::Reply* reply) override {
        const com::Ptr<IVssAsync> async = find(request->async());
        if (!async) return unfit();
        reply->set_hresult(number(async->Cancel()));
        return Status::OK;
    }
    Status ReleaseAsync(ServerContext*, const v1::AsyncRequest* request, v1::Empty*) override {
        std::lock_guard lock(mutex_);
        asyncs_.erase(request->async());
        return Status::OK;
    }

    Status WatchEvents(ServerContext* context, const v1::Empty*,
                       grpc::ServerWriter<v1::ProviderEvent>* writer) override {
        while (!context->IsCancelled()) {
            const std::optional<LoggedEvent> event = event_queue().pop(std::chrono::milliseconds(500));
            if (!event) continue;
            v1::ProviderEvent out;
            out.set_unix_ms(event->unix_ms);
            out.set_type(event->type);
            out.set_event_id(event->id);
            out.set_source(event->source);
            for (const std::string& text : event->texts) out.add_texts(text);
            if (!writer->Write(out)) break;
        }
        return Status::OK;
    }

private:
    static Status unfit() {
        return {grpc::StatusCode::FAILED_PRECONDITION,
                "the provider does not offer that interface, or the arrays differ"};
    }
    Status for_set(HRESULT (IVssProviderCreateSnapshotSet::*method)(VSS_ID), const v1::SetRequest* request,
                   v1::Reply* reply) {
        if (!provider_.create_snapshot_set) return unfit();
        reply->set_hresult(number((provider_.create_snapshot_set.get()->*method)(to_guid(request->set()))));
        return Status::OK;
    }
    com::Ptr<IVssAsync> find(uint64_t id) {
        std::lock_guard lock(mutex_);
        const auto found = asyncs_.find(id);
        return found == asyncs_.end() ? com::Ptr<IVssAsync>() : found->second;
    }

    LoadedProvider& provider_;
    std::mutex mutex_;
    std::map<uint64_t, com::Ptr<IVssAsync>> asyncs_;
    uint64_t next_async_ = 1;
};

}  // namespace

std::unique_ptr<grpc::Service> make_provider_service(LoadedProvider& provider) {
    return std::make_unique<ProviderService>(provider);
}

}  // namespace umbra::provider_host

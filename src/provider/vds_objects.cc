#include "provider/vds_objects.h"

#include <algorithm>
#include <set>

#include "provider/config.h"
#include "provider/lun_information.h"
#include "provider/text.h"

namespace umbra::provider {

using base::Code;
using base::fail;

namespace {

constexpr uint64_t kBlockBytes = 4096;
constexpr uint64_t kMaxLunBytes = 64ull << 40;
constexpr size_t kMaxUnmaskingEntries = 1024;
constexpr ULONG kProviderVersionMajor = 1;
constexpr GUID kVdsVersionId = ::compat::guid_literal("7f5f0b92-4d6e-4b8e-8a3c-19d1f0c7a2e4");

VDS_HEALTH health_of(const std::string& health) {
    if (health == "healthy") return VDS_H_HEALTHY;
    if (health == "rebuilding") return VDS_H_REBUILDING;
    if (health == "failed-redundancy") return VDS_H_FAILED_REDUNDANCY;
    if (health == "failed") return VDS_H_FAILED;
    return VDS_H_UNKNOWN;
}

VDS_LUN_TYPE type_of(const std::string& type) {
    if (type == "simple") return VDS_LT_SIMPLE;
    if (type == "span") return VDS_LT_SPAN;
    if (type == "stripe") return VDS_LT_STRIPE;
    if (type == "mirror") return VDS_LT_MIRROR;
    if (type == "parity") return VDS_LT_PARITY;
    if (type == "double-parity") return VDS_LT_RAID6;
    if (type == "striped-mirror") return VDS_LT_RAID10;
    return VDS_LT_UNKNOWN;
}

bool fault_tolerant(const LunRecord& lun) {
    return lun.type != "simple" && lun.type != "span" && lun.type != "stripe";
}

VDS_LUN_PLEX_TYPE plex_type_of(const std::string& type) {
    if (type == "span") return VDS_LPT_SPAN;
    if (type == "stripe" || type == "striped-mirror") return VDS_LPT_STRIPE;
    if (type == "parity") return VDS_LPT_PARITY;
    if (type == "double-parity") return VDS_LPT_RAID6;
    return VDS_LPT_SIMPLE;
}

HRESULT enumerate(std::vector<com::Ptr<IUnknown>> objects, IEnumVdsObject** out) {
    *out = com::make<VdsEnum>(std::move(objects)).detach();
    return S_OK;
}

template <class Interface, class T>
com::Ptr<IUnknown> as_unknown(com::Ptr<T> object) {
    return com::Ptr<IUnknown>::adopt(static_cast<Interface*>(object.detach()));
}

bool valid_type(VDS_LUN_TYPE type) {
    int value = static_cast<int>(type);
    return (value >= VDS_LT_DEFAULT && value <= VDS_LT_NON_FAULT_TOLERANT) ||
           (value >= VDS_LT_SIMPLE && value <= VDS_LT_RAID61);
}

/// nullptr: valid, but not offered.
const char* array_type(VDS_LUN_TYPE type) {
    switch (static_cast<int>(type)) {
        case VDS_LT_DEFAULT:
        case VDS_LT_FAULT_TOLERANT:
        case VDS_LT_PARITY:
            return "parity";
        case VDS_LT_NON_FAULT_TOLERANT:
        case VDS_LT_SIMPLE:
            return "simple";
        case VDS_LT_MIRROR:
            return "mirror";
        default:
            return nullptr;
    }
}

uint64_t round_up(uint64_t bytes) {
    return (bytes + kBlockBytes - 1) / kBlockBytes * kBlockBytes;
}

/// Makes the array's masks of `lun` those of `wanted`.
Result<void> apply_mask(ArrayClient& array, const LunRecord& lun, const std::vector<std::string>& wanted) {
    std::set<std::string> present;
    for (const LunMask& mask : lun.masks) {
        if (std::find(wanted.begin(), wanted.end(), mask.initiator) != wanted.end()) present.insert(mask.initiator);
    }
    // What is new first: whoever stays in the list is never without the LUN.
    for (const std::string& initiator : wanted) {
        if (!present.contains(initiator)) UMBRA_TRY(array.add_mask(lun.naa, initiator));
    }
    for (const LunMask& mask : lun.masks) {
        if (!present.contains(mask.initiator)) {
            UMBRA_TRY(array.remove_mask(lun.naa, mask.initiator, mask.target_iqn, false));
        }
    }
    return {};
}

}  // namespace

std::vector<LunPlex> plexes_of(const LunRecord& lun) {
    if (!lun.plexes.empty()) return lun.plexes;
    auto id = base::Guid::parse(lun.id);
    LunPlex only;
    only.id = base::Guid::from_name(id.value_or(base::Guid{}), "plex 0").text();
    only.health = lun.health;
    return {only};
}

Result<std::vector<std::string>> parse_unmasking_list(const wchar_t* list) {
    std::vector<std::string> entries;
    if (list == nullptr) return fail(Code::kInvalidArgument, "no unmasking list");
    UMBRA_ASSIGN(std::string text, com::to_utf8(list));
    if (text.empty()) return entries;
    for (size_t at = 0; at <= text.size();) {
        size_t end = std::min(text.find(';', at), text.size());
        std::string entry = text.substr(at, end - at);
        at = end + 1;
        if (entry.empty() && at > text.size() && !entries.empty()) break;  // "a;b;"
        std::transform(entry.begin(), entry.end(), entry.begin(),
                       [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c; });
        if (entry != "*" && !is_iscsi_name(entry)) {
            return fail(Code::kInvalidArgument, "\"" + entry + "\" is no iSCSI initiator name");
        }
        entries.push_back(std::move(entry));
        if (entries.size() > kMaxUnmaskingEntries)
            return fail(Code::kInvalidArgument, "the unmasking list is too long");
    }
    std::sort(entries.begin(), entries.end());
    entries.erase(std::unique(entries.begin(), entries.end()), entries.end());
    if (entries.size() > 1 && entries.front() == "*") {
        return fail(Code::kInvalidArgument, "\"*\" stands alone in an unmasking list");
    }
    return entries;
}

// --- Provider ------------------------------------------------------------------------------------------------------

VdsProvider::VdsProvider(std::vector<std::shared_ptr<ArrayClient>> arrays, EventSink events)
    : events_(std::move(events)) {
    for (auto& array : arrays) {
        caches_.push_back(std::make_shared<VdsCache>(
            std::move(array), events_, [this](std::vector<VDS_NOTIFICATION> all) { notify(std::move(all)); }));
    }
}

VdsProvider::~VdsProvider() {
    // The streams' threads call back into this object.
    for (auto& cache : caches_) cache->close();
}

bool VdsProvider::loaded() const {
    std::lock_guard lock(mutex_);
    return loaded_;
}

void VdsProvider::notify(std::vector<VDS_NOTIFICATION> notifications) {
    com::Ptr<IVdsAdviseSink> sink;
    {
        std::lock_guard lock(mutex_);
        sink = sink_;
    }
    if (sink) sink->OnNotify(static_cast<LONG>(notifications.size()), notifications.data());
}

HRESULT VdsProvider::OnLoad(LPWSTR, IUnknown* pCallbackObject) {
    return vds_guard([&]() -> HRESULT {
        {
            std::lock_guard lock(mutex_);
            if (loaded_) return VDS_E_INITIALIZED_FAILED;
            if (pCallbackObject != nullptr) {
                (void)pCallbackObject->QueryInterface(__uuidof(IVdsAdviseSink), sink_.put_void());
            }
            loaded_ = true;
        }
        // Arrays that do not answer now are found by a later Reenumerate.
        for (auto& cache : caches_) {
            if (SUCCEEDED(cache->reenumerate())) (void)cache->refresh();
        }
        return S_OK;
    });
}

HRESULT VdsProvider::OnUnload(BOOL) {
    return vds_guard([&]() -> HRESULT {
        com::Ptr<IVdsAdviseSink> sink;
        for (auto& cache : caches_) cache->close();
        std::lock_guard lock(mutex_);
        loaded_ = false;
        std::swap(sink, sink_);
        return S_OK;
    });
}

HRESULT VdsProvider::QuerySubSystems(IEnumVdsObject** ppEnum) {
    if (ppEnum == nullptr) return E_INVALIDARG;
    *ppEnum = nullptr;
    return vds_guard([&]() -> HRESULT {
        if (!loaded()) return VDS_E_INITIALIZE_NOT_CALLED;
        std::vector<com::Ptr<IUnknown>> found;
        for (auto& cache : caches_) {
            if (!cache->known()) continue;
            ArrayRecord record;
            if (HRESULT hr = cache->status(&record); FAILED(hr)) return hr;
            found.push_back(
                as_unknown<IVdsSubSystem>(com::make<VdsSubSystem>(com::Ptr<VdsProvider>::retain(this), cache)));
        }
        return enumerate(std::move(found), ppEnum);
    });
}

HRESULT VdsProvider::Reenumerate() {
    return vds_guard([&]() -> HRESULT {
        if (!loaded()) return VDS_E_INITIALIZE_NOT_CALLED;
        HRESULT result = S_OK;
        for (auto& cache : caches_) {
            bool known = cache->known();
            HRESULT hr = cache->reenumerate();
            if (FAILED(hr) && known) result = hr;
            // A new subsystem has no properties that could be wrong: it is read at once.
            if (SUCCEEDED(hr) && !known) (void)cache->refresh();
        }
        return result;
    });
}

HRESULT VdsProvider::Refresh() {
    return vds_guard([&]() -> HRESULT {
        if (!loaded()) return VDS_E_INITIALIZE_NOT_CALLED;
        HRESULT result = S_OK;
        for (auto& cache : caches_) {
            if (!cache->known()) continue;
            if (HRESULT hr = cache->refresh(); FAILED(hr)) result = hr;
        }
        return result;
    });
}

HRESULT VdsProvider::GetProperties(VDS_PROVIDER_PROP* pProviderProp) {
    if (pProviderProp == nullptr) return E_INVALIDARG;
    *pProviderProp = {};
    return vds_guard([&]() -> HRESULT {
        if (!loaded()) return VDS_E_INITIALIZE_NOT_CALLED;
        com::CoString name = com::co_string(L"Umbra array provider");
        com::CoString version = com::co_string(std::to_wstring(kProviderVersionMajor) + L".0");
        pProviderProp->id = kVdsProviderId;
        pProviderProp->guidVersionId = kVdsVersionId;
        pProviderProp->type = VDS_PT_HARDWARE;
        pProviderProp->pwszName = name.release();
        pProviderProp->pwszVersion = version.release();
        return S_OK;
    });
}

HRESULT VdsProvider::GetObject(VDS_OBJECT_ID ObjectId, VDS_OBJECT_TYPE type, IUnknown** ppObjectUnk) {
    if (ppObjectUnk == nullptr) return E_INVALIDARG;
    *ppObjectUnk = nullptr;
    return vds_guard([&]() -> HRESULT {
        if (!loaded()) return VDS_E_INITIALIZE_NOT_CALLED;
        std::string id = com::from_guid(ObjectId).text();
        auto self = [&] { return com::Ptr<VdsProvider>::retain(this); };
        if (type == VDS_OT_PROVIDER && ObjectId == kVdsProviderId) {
            *ppObjectUnk = as_unknown<IVdsHwProvider>(self()).detach();
            return S_OK;
        }
        for (auto& cache : caches_) {
            ArrayRecord array;
            if (!cache->known() || FAILED(cache->status(&array))) continue;
            LunRecord lun;
            DriveRecord drive;
            std::vector<LunRecord> luns;
            switch (static_cast<int>(type)) {
                case VDS_OT_SUB_SYSTEM:
                    if (array.id != id) continue;
                    *ppObjectUnk = as_unknown<IVdsSubSystem>(com::make<VdsSubSystem>(self(), cache)).detach();
                    return S_OK;
                case VDS_OT_LUN:
                    if (FAILED(cache->lun(id, &lun))) continue;
                    *ppObjectUnk = as_unknown<IVdsLun>(com::make<VdsLun>(self(), cache, id)).detach();
                    return S_OK;
                case VDS_OT_DRIVE:
                    if (FAILED(cache->drive(id, &drive))) continue;
                    *ppObjectUnk = as_unknown<IVdsDrive>(com::make<VdsDrive>(self(), cache, id)).detach();
                    return S_OK;
                case VDS_OT_LUN_PLEX:
                    if (FAILED(cache->luns(&luns))) continue;
                    for (const LunRecord& owner : luns) {
                        for (const LunPlex& plex : plexes_of(owner)) {
                            if (plex.id != id) continue;
                            *ppObjectUnk = as_unknown<IVdsLunPlex>(
                                               com::make<VdsLunPlex>(com::make<VdsLun>(self(), cache, owner.id), cache,
                                                                     owner.id, id))
                                               .detach();
                            return S_OK;
                        }
                    }
                    continue;
                default:
                    continue;
            }
        }
        return VDS_E_OBJECT_NOT_FOUND;
    });
}

HRESULT VdsProvider::GetVersionSupport(ULONG* ulVersionSupport) {
    if (ulVersionSupport == nullptr) return E_INVALIDARG;
    *ulVersionSupport = VDS_VSF_1_0 | VDS_VSF_1_1;
    return S_OK;
}

HRESULT VdsProvider::GetProviderType(VDS_HWPROVIDER_TYPE* pType) {
    if (pType == nullptr) return E_INVALIDARG;
    *pType = VDS_HWT_ISCSI;
    return S_OK;
}

// --- Subsystem -----------------------------------------------------------------------------------------------------

HRESULT VdsSubSystem::GetProperties(VDS_SUB_SYSTEM_PROP* pSubSystemProp) {
    if (pSubSystemProp == nullptr) return E_INVALIDARG;
    *pSubSystemProp = {};
    return vds_guard([&]() -> HRESULT {
        ArrayRecord array;
        if (HRESULT hr = cache_->status(&array); FAILED(hr)) return hr;
        com::CoString name = com::co_string(com::to_wide_lossy(array.name));
        com::CoString identification = com::co_string(com::to_wide_lossy(array.id));
        bool whole = array.state == "ready" && array.drives_online == array.drives;
        pSubSystemProp->id = parse_com_guid(array.id);
        pSubSystemProp->ulFlags = VDS_SF_LUN_MASKING_CAPABLE | VDS_SF_SUPPORTS_FAULT_TOLERANT_LUNS |
                                  VDS_SF_SUPPORTS_NON_FAULT_TOLERANT_LUNS | VDS_SF_SUPPORTS_SIMPLE_LUNS |
                                  VDS_SF_SUPPORTS_MIRROR_LUNS | VDS_SF_SUPPORTS_PARITY_LUNS |
                                  VDS_SF_SUPPORTS_SIMPLE_TARGET_CONFIG;
        pSubSystemProp->status = whole ? VDS_SSS_ONLINE : VDS_SSS_PARTIALLY_MANAGED;
        pSubSystemProp->health = whole ? VDS_H_HEALTHY : VDS_H_DEGRADED;
        pSubSystemProp->sNumberOfInternalBuses = 1;
        pSubSystemProp->sMaxNumberOfSlotsEachBus = static_cast<SHORT>(std::min<uint32_t>(array.drives, INT16_MAX));
        pSubSystemProp->pwszFriendlyName = name.release();
        pSubSystemProp->pwszIdentification = identification.release();
        return S_OK;
    });
}

HRESULT VdsSubSystem::GetProvider(IVdsProvider** ppProvider) {
    if (ppProvider == nullptr) return E_INVALIDARG;
    *ppProvider = com::Ptr<VdsProvider>(provider_).detach();
    return S_OK;
}

HRESULT VdsSubSystem::QueryControllers(IEnumVdsObject** ppEnum) {
    if (ppEnum == nullptr) return E_INVALIDARG;
    *ppEnum = nullptr;
    return vds_guard([&]() -> HRESULT {
        ArrayRecord array;
        if (HRESULT hr = cache_->status(&array); FAILED(hr)) return hr;
        return enumerate({}, ppEnum);
    });
}

HRESULT VdsSubSystem::QueryLuns(IEnumVdsObject** ppEnum) {
    if (ppEnum == nullptr) return E_INVALIDARG;
    *ppEnum = nullptr;
    return vds_guard([&]() -> HRESULT {
        std::vector<LunRecord> luns;
        if (HRESULT hr = cache_->luns(&luns); FAILED(hr)) return hr;
        std::sort(luns.begin(), luns.end(), [](const auto& a, const auto& b) { return a.name < b.name; });
        std::vector<com::Ptr<IUnknown>> found;
        for (const LunRecord& lun : luns) {
            found.push_back(as_unknown<IVdsLun>(com::make<VdsLun>(provider_, cache_, lun.id)));
        }
        return enumerate(std::move(found), ppEnum);
    });
}

HRESULT VdsSubSystem::QueryDrives(IEnumVdsObject** ppEnum) {
    if (ppEnum == nullptr) return E_INVALIDARG;
    *ppEnum = nullptr;
    return vds_guard([&]() -> HRESULT {
        std::vector<DriveRecord> drives;
        if (HRESULT hr = cache_->drives(&drives); FAILED(hr)) return hr;
        std::sort(drives.begin(), drives.end(), [](const auto& a, const auto& b) { return a.index < b.index; });
        std::vector<com::Ptr<IUnknown>> found;
        for (const DriveRecord& drive : drives) {
            found.push_back(as_unknown<IVdsDrive>(com::make<VdsDrive>(provider_, cache_, drive.id)));
        }
        return enumerate(std::move(found), ppEnum);
    });
}

HRESULT VdsSubSystem::GetDrive(SHORT sBusNumber, SHORT sSlotNumber, IVdsDrive** ppDrive) {
    if (ppDrive == nullptr) return E_INVALIDARG;
    *ppDrive = nullptr;
    return vds_guard([&]() -> HRESULT {
        std::vector<DriveRecord> drives;
        if (HRESULT hr = cache_->drives(&drives); FAILED(hr)) return hr;
        for (const DriveRecord& drive : drives) {
            if (sBusNumber != 0 || sSlotNumber < 0 || drive.index != static_cast<uint32_t>(sSlotNumber)) continue;
            *ppDrive = com::make<VdsDrive>(provider_, cache_, drive.id).detach();
            return S_OK;
        }
        return VDS_E_OBJECT_NOT_FOUND;
    });
}

HRESULT VdsSubSystem::Reenumerate() {
    return vds_guard([&]() -> HRESULT { return cache_->rescan(); });
}

HRESULT VdsSubSystem::SetControllerStatus(VDS_OBJECT_ID*, LONG lNumberOfOnlineControllers, VDS_OBJECT_ID*,
                                          LONG lNumberOfOfflineControllers) {
    // There are no controllers: two empty lists name each of them exactly once.
    return lNumberOfOnlineControllers == 0 && lNumberOfOfflineControllers == 0 ? S_OK : E_INVALIDARG;
}

HRESULT VdsSubSystem::CreateLun(VDS_LUN_TYPE type, ULONGLONG ullSizeInBytes, VDS_OBJECT_ID* pDriveIdArray,
                                LONG lNumberOfDrives, LPWSTR pwszUnmaskingList, VDS_HINTS*, IVdsAsync** ppAsync) {
    if (ppAsync == nullptr) return E_INVALIDARG;
    *ppAsync = nullptr;
    return vds_guard([&]() -> HRESULT {
        if (!valid_type(type) || lNumberOfDrives < 0 || (pDriveIdArray == nullptr) != (lNumberOfDrives == 0)) {
            return E_INVALIDARG;
        }
        if (ullSizeInBytes == 0 || ullSizeInBytes > kMaxLunBytes) return E_INVALIDARG;
        auto initiators = parse_unmasking_list(pwszUnmaskingList);
        if (!initiators) return E_INVALIDARG;
        const char* wanted = array_type(type);
        if (wanted == nullptr || lNumberOfDrives > 0) return VDS_E_NOT_SUPPORTED;
        ArrayRecord array;
        if (HRESULT hr = cache_->status(&array); FAILED(hr)) return hr;
        GUID random{};
        if (HRESULT hr = CoCreateGuid(&random); FAILED(hr)) return hr;
        std::string name = "lun-" + com::from_guid(random).text().substr(0, 8);
        auto lun = cache_->array().create_lun(name, round_up(ullSizeInBytes), wanted);
        if (!lun) return cache_->failure(lun.error());
        auto masked = apply_mask(cache_->array(), *lun, *initiators);
        if (!masked) {
            // Half a LUN is none.
            (void)cache_->array().delete_lun(lun->naa, false);
            return cache_->failure(masked.error());
        }
        cache_->changed();
        *ppAsync = com::make<VdsAsync>(S_OK, VDS_ASYNCOUT_CREATELUN,
                                       as_unknown<IVdsLun>(com::make<VdsLun>(provider_, cache_, lun->id)))
                       .detach();
        return S_OK;
    });
}

HRESULT VdsSubSystem::ReplaceDrive(VDS_OBJECT_ID, VDS_OBJECT_ID) {
    return VDS_E_NOT_SUPPORTED;
}

HRESULT VdsSubSystem::SetStatus(VDS_SUB_SYSTEM_STATUS status) {
    return status == VDS_SSS_UNKNOWN ? E_INVALIDARG : VDS_E_NOT_SUPPORTED;
}

HRESULT VdsSubSystem::QueryMaxLunCreateSize(VDS_LUN_TYPE type, VDS_OBJECT_ID* pDriveIdArray, LONG lNumberOfDrives,
                                            VDS_HINTS*, ULONGLONG* pullMaxLunSize) {
    if (pullMaxLunSize == nullptr) return E_INVALIDARG;
    *pullMaxLunSize = 0;
    return vds_guard([&]() -> HRESULT {
        if (!valid_type(type) || lNumberOfDrives < 0 || (pDriveIdArray == nullptr) != (lNumberOfDrives == 0)) {
            return E_INVALIDARG;
        }
        if (array_type(type) == nullptr || lNumberOfDrives > 0) return VDS_E_NOT_SUPPORTED;
        ArrayRecord array;
        if (HRESULT hr = cache_->status(&array); FAILED(hr)) return hr;
        *pullMaxLunSize = kMaxLunBytes;  // thin: limited by the map, not by the drives
        return S_OK;
    });
}

HRESULT VdsSubSystem::GetSupportedInterconnects(ULONG* pulSupportedInterconnectsFlag) {
    if (pulSupportedInterconnectsFlag == nullptr) return E_INVALIDARG;
    *pulSupportedInterconnectsFlag = VDS_ITF_ISCSI;
    return S_OK;
}

// --- Drive ---------------------------------------------------------------------------------------------------------

HRESULT VdsDrive::GetProperties(VDS_DRIVE_PROP* pDriveProp) {
    if (pDriveProp == nullptr) return E_INVALIDARG;
    *pDriveProp = {};
    return vds_guard([&]() -> HRESULT {
        DriveRecord drive;
        if (HRESULT hr = cache_->drive(id_, &drive); FAILED(hr)) return hr;
        com::CoString name = com::co_string(com::to_wide_lossy(drive.name));
        com::CoString identification = com::co_string(com::to_wide_lossy(drive.path));
        pDriveProp->id = parse_com_guid(drive.id);
        pDriveProp->ullSize = drive.size_bytes;
        pDriveProp->ulFlags = drive.used_bytes > 0 ? VDS_DRF_ASSIGNED : VDS_DRF_UNASSIGNED;
        if (drive.state == "online") {
            pDriveProp->status = VDS_DRS_ONLINE;
            pDriveProp->health = VDS_H_HEALTHY;
        } else if (drive.state == "missing") {
            pDriveProp->status = VDS_DRS_REMOVED;
            pDriveProp->health = VDS_H_UNKNOWN;
        } else {
            pDriveProp->status = VDS_DRS_FAILED;
            pDriveProp->health = VDS_H_FAILED;
        }
        pDriveProp->sInternalBusNumber = 0;
        pDriveProp->sSlotNumber = static_cast<SHORT>(std::min<uint32_t>(drive.index, INT16_MAX));
        pDriveProp->pwszFriendlyName = name.release();
        pDriveProp->pwszIdentification = identification.release();
        return S_OK;
    });
}

HRESULT VdsDrive::GetSubSystem(IVdsSubSystem** ppSubSystem) {
    if (ppSubSystem == nullptr) return E_INVALIDARG;
    *ppSubSystem = nullptr;
    return vds_guard([&]() -> HRESULT {
        *ppSubSystem = com::make<VdsSubSystem>(provider_, cache_).detach();
        return S_OK;
    });
}

HRESULT VdsDrive::QueryExtents(VDS_DRIVE_EXTENT** ppExtentArray, LONG* plNumberOfExtents) {
    if (ppExtentArray == nullptr || plNumberOfExtents == nullptr) return E_INVALIDARG;
    *ppExtentArray = nullptr;
    *plNumberOfExtents = 0;
    return VDS_E_NOT_SUPPORTED;
}

HRESULT VdsDrive::change_flags(ULONG flags) {
    return vds_guard([&]() -> HRESULT {
        if (flags == 0 || (flags & ~static_cast<ULONG>(VDS_DRF_HOTSPARE)) != 0) return E_INVALIDARG;
        DriveRecord drive;
        if (HRESULT hr = cache_->drive(id_, &drive); FAILED(hr)) return hr;
        return VDS_E_NOT_SUPPORTED;
    });
}

HRESULT VdsDrive::SetFlags(ULONG ulFlags) {
    return change_flags(ulFlags);
}

HRESULT VdsDrive::ClearFlags(ULONG ulFlags) {
    return change_flags(ulFlags);
}

HRESULT VdsDrive::SetStatus(VDS_DRIVE_STATUS status) {
    return vds_guard([&]() -> HRESULT {
        if (status == VDS_DRS_UNKNOWN) return E_INVALIDARG;
        DriveRecord drive;
        if (HRESULT hr = cache_->drive(id_, &drive); FAILED(hr)) return hr;
        return VDS_E_NOT_SUPPORTED;
    });
}

// --- LUN -----------------------------------------------------------------------------------------------------------

HRESULT VdsLun::usable(LunRecord* lun) {
    if (HRESULT hr = cache_->lun(id_, lun); FAILED(hr)) return hr;
    return lun->health == "failed" ? VDS_E_OBJECT_STATUS_FAILED : S_OK;
}

template <class Body>
HRESULT VdsLun::change(Body&& body) {
    return vds_guard([&]() -> HRESULT {
        std::unique_lock lock(changing_, std::try_to_lock);
        if (!lock) return VDS_E_ANOTHER_CALL_IN_PROGRESS;
        return body();
    });
}

HRESULT VdsLun::GetProperties(VDS_LUN_PROP* pLunProp) {
    if (pLunProp == nullptr) return E_INVALIDARG;
    *pLunProp = {};
    return vds_guard([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = cache_->lun(id_, &lun); FAILED(hr)) return hr;
        std::set<std::string> initiators;
        for (const LunMask& mask : lun.masks) initiators.insert(mask.initiator);
        std::string list;
        for (const std::string& initiator : initiators) list += (list.empty() ? "" : ";") + initiator;
        com::CoString name = com::co_string(com::to_wide_lossy(lun.name));
        com::CoString identification = com::co_string(com::to_wide_lossy("naa." + lun.naa));
        com::CoString unmasking = com::co_string(com::to_wide_lossy(list));
        pLunProp->id = parse_com_guid(lun.id);
        pLunProp->ullSize = lun.size_bytes;
        pLunProp->ulFlags = lun.kind == LunKind::kShadowCopy ? VDS_LF_SNAPSHOT : 0;
        pLunProp->type = type_of(lun.type);
        pLunProp->health = health_of(lun.health);
        pLunProp->status = pLunProp->health == VDS_H_FAILED ? VDS_LS_FAILED : VDS_LS_ONLINE;
        pLunProp->TransitionState = VDS_TS_STABLE;
        pLunProp->pwszFriendlyName = name.release();
        pLunProp->pwszIdentification = identification.release();
        pLunProp->pwszUnmaskingList = unmasking.release();
        return S_OK;
    });
}

HRESULT VdsLun::GetSubSystem(IVdsSubSystem** ppSubSystem) {
    if (ppSubSystem == nullptr) return E_INVALIDARG;
    *ppSubSystem = nullptr;
    return vds_guard([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = cache_->lun(id_, &lun); FAILED(hr)) return hr;
        *ppSubSystem = com::make<VdsSubSystem>(provider_, cache_).detach();
        return S_OK;
    });
}

HRESULT VdsLun::GetIdentificationData(VDS_LUN_INFORMATION* pLunInfo) {
    if (pLunInfo == nullptr) return E_INVALIDARG;
    *pLunInfo = {};
    return vds_guard([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = usable(&lun); FAILED(hr)) return hr;
        ArrayRecord array;
        if (HRESULT hr = cache_->status(&array); FAILED(hr)) return hr;
        auto filled = fill_lun_information(lun, array, *pLunInfo);
        if (!filled) return cache_->failure(filled.error());
        pLunInfo->m_BusType = VDSBusTypeiScsi;
        return S_OK;
    });
}

HRESULT VdsLun::QueryActiveControllers(IEnumVdsObject** ppEnum) {
    if (ppEnum == nullptr) return E_INVALIDARG;
    *ppEnum = nullptr;
    return vds_guard([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = usable(&lun); FAILED(hr)) return hr;
        return enumerate({}, ppEnum);
    });
}

HRESULT VdsLun::resize(uint64_t bytes, VDS_ASYNC_OUTPUT_TYPE type, IVdsAsync** ppAsync) {
    LunRecord lun;
    if (HRESULT hr = cache_->lun(id_, &lun); FAILED(hr)) return hr;
    auto resized = cache_->array().resize_lun(lun.naa, bytes, type == VDS_ASYNCOUT_SHRINKLUN);
    if (!resized) return cache_->failure(resized.error());
    cache_->changed();
    *ppAsync = com::make<VdsAsync>(S_OK, type).detach();
    return S_OK;
}

HRESULT VdsLun::Extend(ULONGLONG ullNumberOfBytesToAdd, VDS_OBJECT_ID* pDriveIdArray, LONG lNumberOfDrives,
                       IVdsAsync** ppAsync) {
    if (ppAsync == nullptr) return E_INVALIDARG;
    *ppAsync = nullptr;
    if (lNumberOfDrives < 0 || (pDriveIdArray == nullptr) != (lNumberOfDrives == 0)) return E_INVALIDARG;
    return change([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = usable(&lun); FAILED(hr)) return hr;
        if (lNumberOfDrives > 0) return VDS_E_NOT_SUPPORTED;  // a thin LUN has no drives of its own to extend onto
        if (ullNumberOfBytesToAdd == 0) return E_INVALIDARG;
        if (ullNumberOfBytesToAdd > kMaxLunBytes - std::min(lun.size_bytes, kMaxLunBytes)) {
            return VDS_E_NOT_ENOUGH_SPACE;
        }
        return resize(round_up(lun.size_bytes + ullNumberOfBytesToAdd), VDS_ASYNCOUT_EXTENDLUN, ppAsync);
    });
}

HRESULT VdsLun::Shrink(ULONGLONG ullNumberOfBytesToRemove, IVdsAsync** ppAsync) {
    if (ppAsync == nullptr) return E_INVALIDARG;
    *ppAsync = nullptr;
    return change([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = usable(&lun); FAILED(hr)) return hr;
        if (ullNumberOfBytesToRemove == 0) return E_INVALIDARG;
        if (ullNumberOfBytesToRemove >= lun.size_bytes) return VDS_E_INVALID_SHRINK_SIZE;
        // Rounded so that no byte more is lost than was asked for.
        return resize(round_up(lun.size_bytes - ullNumberOfBytesToRemove), VDS_ASYNCOUT_SHRINKLUN, ppAsync);
    });
}

HRESULT VdsLun::QueryPlexes(IEnumVdsObject** ppEnum) {
    if (ppEnum == nullptr) return E_INVALIDARG;
    *ppEnum = nullptr;
    return vds_guard([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = cache_->lun(id_, &lun); FAILED(hr)) return hr;
        std::vector<com::Ptr<IUnknown>> found;
        for (const LunPlex& plex : plexes_of(lun)) {
            found.push_back(
                as_unknown<IVdsLunPlex>(com::make<VdsLunPlex>(com::Ptr<VdsLun>::retain(this), cache_, id_, plex.id)));
        }
        return enumerate(std::move(found), ppEnum);
    });
}

HRESULT VdsLun::AddPlex(VDS_OBJECT_ID, IVdsAsync** ppAsync) {
    if (ppAsync == nullptr) return E_INVALIDARG;
    *ppAsync = nullptr;
    return change([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = usable(&lun); FAILED(hr)) return hr;
        return VDS_E_NOT_SUPPORTED;
    });
}

HRESULT VdsLun::RemovePlex(VDS_OBJECT_ID plexId, IVdsAsync** ppAsync) {
    if (ppAsync == nullptr) return E_INVALIDARG;
    *ppAsync = nullptr;
    return change([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = usable(&lun); FAILED(hr)) return hr;
        auto plexes = plexes_of(lun);
        std::string id = com::from_guid(plexId).text();
        bool ours = std::any_of(plexes.begin(), plexes.end(), [&](const LunPlex& plex) { return plex.id == id; });
        if (!ours) return VDS_E_OBJECT_NOT_FOUND;
        return plexes.size() == 1 ? VDS_E_INVALID_OPERATION : VDS_E_NOT_SUPPORTED;
    });
}

HRESULT VdsLun::Recover(IVdsAsync** ppAsync) {
    if (ppAsync == nullptr) return E_INVALIDARG;
    *ppAsync = nullptr;
    return change([&]() -> HRESULT {
        LunRecord known;
        if (HRESULT hr = usable(&known); FAILED(hr)) return hr;
        // The array decides, not the copy of its records: it may know of a failure that no event has told of yet.
        auto now = cache_->array().get_lun_by_naa(known.naa);
        if (!now) return cache_->failure(now.error());
        const LunRecord& lun = *now;
        if (lun.health == "failed") return cache_->failure({Code::kDeviceFailed, "LUN " + lun.name + " has failed"});
        if (!fault_tolerant(lun)) return VDS_E_INVALID_OPERATION;
        if (lun.health == "healthy") {
            *ppAsync = com::make<VdsAsync>(S_OK, VDS_ASYNCOUT_RECOVERLUN).detach();
            return S_OK;
        }
        auto task = cache_->array().recover(lun.naa);
        if (!task) {
            Code code = task.error().code;
            // No spare and no free space to recover to: the operation was begun and ended so.
            if (code == Code::kNoDrive || code == Code::kNoSpace) {
                *ppAsync = com::make<VdsAsync>(to_vds_hresult(code), VDS_ASYNCOUT_RECOVERLUN).detach();
                return S_OK;
            }
            HRESULT hr = cache_->failure(task.error());
            return code == Code::kInvalidArgument || code == Code::kUnsupported ? VDS_E_INVALID_OPERATION : hr;
        }
        cache_->changed();
        *ppAsync = com::make<VdsAsync>(cache_, std::move(*task), VDS_ASYNCOUT_RECOVERLUN).detach();
        return S_OK;
    });
}

HRESULT VdsLun::SetMask(LPWSTR pwszUnmaskingList) {
    return change([&]() -> HRESULT {
        auto wanted = parse_unmasking_list(pwszUnmaskingList);
        if (!wanted) return E_INVALIDARG;
        LunRecord cached;
        if (HRESULT hr = cache_->lun(id_, &cached); FAILED(hr)) return hr;
        auto lun = cache_->array().get_lun_by_naa(cached.naa);
        if (!lun) return cache_->failure(lun.error());
        auto applied = apply_mask(cache_->array(), *lun, *wanted);
        if (!applied) return cache_->failure(applied.error());
        cache_->changed();
        return S_OK;
    });
}

HRESULT VdsLun::Delete() {
    return change([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = cache_->lun(id_, &lun); FAILED(hr)) return hr;
        auto deleted = cache_->array().delete_lun(lun.naa, false);
        if (!deleted) return cache_->failure(deleted.error());
        cache_->changed();
        return S_OK;
    });
}

HRESULT VdsLun::AssociateControllers(VDS_OBJECT_ID*, LONG lNumberOfActiveControllers, VDS_OBJECT_ID*,
                                     LONG lNumberOfInactiveControllers) {
    return change([&]() -> HRESULT {
        if (lNumberOfActiveControllers != 0 || lNumberOfInactiveControllers != 0) return E_INVALIDARG;
        LunRecord lun;
        return usable(&lun);
    });
}

HRESULT VdsLun::QueryHints(VDS_HINTS* pHints) {
    if (pHints == nullptr) return E_INVALIDARG;
    *pHints = {};
    return VDS_E_NOT_SUPPORTED;
}

HRESULT VdsLun::ApplyHints(VDS_HINTS* pHints) {
    return pHints == nullptr ? E_INVALIDARG : VDS_E_NOT_SUPPORTED;
}

HRESULT VdsLun::SetStatus(VDS_LUN_STATUS status) {
    return change([&]() -> HRESULT {
        if (status != VDS_LS_ONLINE && status != VDS_LS_OFFLINE) return E_INVALIDARG;
        LunRecord lun;
        if (HRESULT hr = usable(&lun); FAILED(hr)) return hr;
        return status == VDS_LS_ONLINE ? S_OK : VDS_E_NOT_SUPPORTED;
    });
}

HRESULT VdsLun::QueryMaxLunExtendSize(VDS_OBJECT_ID* pDriveIdArray, LONG lNumberOfDrives,
                                      ULONGLONG* pullMaxBytesToBeAdded) {
    if (pullMaxBytesToBeAdded == nullptr) return E_INVALIDARG;
    *pullMaxBytesToBeAdded = 0;
    if (lNumberOfDrives < 0 || (pDriveIdArray == nullptr) != (lNumberOfDrives == 0)) return E_INVALIDARG;
    return vds_guard([&]() -> HRESULT {
        LunRecord lun;
        if (HRESULT hr = usable(&lun); FAILED(hr)) return hr;
        if (lNumberOfDrives > 0) return VDS_E_NOT_SUPPORTED;
        *pullMaxBytesToBeAdded = kMaxLunBytes - std::min(lun.size_bytes, kMaxLunBytes);
        return S_OK;
    });
}

HRESULT VdsLun::SetFriendlyName(LPWSTR pwszFriendlyName) {
    return change([&]() -> HRESULT {
        if (pwszFriendlyName == nullptr) return E_INVALIDARG;
        auto name = com::to_utf8(pwszFriendlyName);
        if (!name) return E_INVALIDARG;
        LunRecord lun;
        if (HRESULT hr = usable(&lun); FAILED(hr)) return hr;
        auto renamed = cache_->array().rename_lun(lun.naa, *name);
        if (!renamed) return cache_->failure(renamed.error());
        cache_->changed();
        return S_OK;
    });
}

// --- Plex ----------------------------------------------------------------------------------------------------------

HRESULT VdsLunPlex::record(LunRecord* lun, LunPlex* plex) {
    if (HRESULT hr = cache_->lun(lun_id_, lun); FAILED(hr)) return hr;
    for (LunPlex& candidate : plexes_of(*lun)) {
        if (candidate.id != id_) continue;
        *plex = std::move(candidate);
        return S_OK;
    }
    return VDS_E_OBJECT_DELETED;
}

HRESULT VdsLunPlex::GetProperties(VDS_LUN_PLEX_PROP* pPlexProp) {
    if (pPlexProp == nullptr) return E_INVALIDARG;
    *pPlexProp = {};
    return vds_guard([&]() -> HRESULT {
        LunRecord lun;
        LunPlex plex;
        if (HRESULT hr = record(&lun, &plex); FAILED(hr)) return hr;
        pPlexProp->id = parse_com_guid(id_);
        pPlexProp->ullSize = lun.size_bytes;
        pPlexProp->type = plex_type_of(lun.type);
        pPlexProp->health = health_of(plex.health);
        pPlexProp->status = pPlexProp->health == VDS_H_FAILED ? VDS_LPS_FAILED : VDS_LPS_ONLINE;
        pPlexProp->TransitionState = VDS_TS_STABLE;
        return S_OK;
    });
}

HRESULT VdsLunPlex::GetLun(IVdsLun** ppLun) {
    if (ppLun == nullptr) return E_INVALIDARG;
    *ppLun = nullptr;
    return vds_guard([&]() -> HRESULT {
        LunRecord lun;
        LunPlex plex;
        if (HRESULT hr = record(&lun, &plex); FAILED(hr)) return hr;
        *ppLun = com::Ptr<VdsLun>(lun_).detach();
        return S_OK;
    });
}

HRESULT VdsLunPlex::QueryExtents(VDS_DRIVE_EXTENT** ppExtentArray, LONG* plNumberOfExtents) {
    if (ppExtentArray == nullptr || plNumberOfExtents == nullptr) return E_INVALIDARG;
    *ppExtentArray = nullptr;
    *plNumberOfExtents = 0;
    return VDS_E_NOT_SUPPORTED;
}

HRESULT VdsLunPlex::QueryHints(VDS_HINTS* pHints) {
    if (pHints == nullptr) return E_INVALIDARG;
    *pHints = {};
    return VDS_E_NOT_SUPPORTED;
}

HRESULT VdsLunPlex::ApplyHints(VDS_HINTS* pHints) {
    return pHints == nullptr ? E_INVALIDARG : VDS_E_NOT_SUPPORTED;
}

}  // namespace umbra::provider

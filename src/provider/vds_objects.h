// The VDS hardware provider: one subsystem per array, its drives, LUNs and plexes. Objects hold an identifier and ask
// the cache; several COM objects may stand for the same LUN.
#pragma once

#include <mutex>
#include <vector>

#include "com/ptr.h"
#include "com/ref_counted.h"
#include "provider/ids.h"
#include "provider/vds_async.h"
#include "provider/vds_cache.h"

namespace umbra::provider {

class VdsProvider final : public com::RefCounted<IVdsHwProvider, IVdsProvider, IVdsProviderPrivate, IVdsProviderSupport,
                                                 IVdsHwProviderType> {
public:
    VdsProvider(std::vector<std::shared_ptr<ArrayClient>> arrays, EventSink events);

    // IVdsHwProvider
    HRESULT STDMETHODCALLTYPE QuerySubSystems(IEnumVdsObject** ppEnum) override;
    HRESULT STDMETHODCALLTYPE Reenumerate() override;
    HRESULT STDMETHODCALLTYPE Refresh() override;
    // IVdsProvider
    HRESULT STDMETHODCALLTYPE GetProperties(VDS_PROVIDER_PROP* pProviderProp) override;
    // IVdsProviderPrivate
    HRESULT STDMETHODCALLTYPE GetObject(VDS_OBJECT_ID ObjectId, VDS_OBJECT_TYPE type, IUnknown** ppObjectUnk) override;
    HRESULT STDMETHODCALLTYPE OnLoad(LPWSTR pwszMachineName, IUnknown* pCallbackObject) override;
    HRESULT STDMETHODCALLTYPE OnUnload(BOOL bForceUnload) override;
    // IVdsProviderSupport
    HRESULT STDMETHODCALLTYPE GetVersionSupport(ULONG* ulVersionSupport) override;
    // IVdsHwProviderType
    HRESULT STDMETHODCALLTYPE GetProviderType(VDS_HWPROVIDER_TYPE* pType) override;

private:
    ~VdsProvider() override;
    bool loaded() const;
    void notify(std::vector<VDS_NOTIFICATION> notifications);

    const EventSink events_;
    std::vector<std::shared_ptr<VdsCache>> caches_;
    mutable std::mutex mutex_;
    bool loaded_ = false;
    com::Ptr<IVdsAdviseSink> sink_;
};

class VdsSubSystem final : public com::RefCounted<IVdsSubSystem, IVdsSubSystemInterconnect> {
public:
    VdsSubSystem(com::Ptr<VdsProvider> provider, std::shared_ptr<VdsCache> cache)
        : provider_(std::move(provider)), cache_(std::move(cache)) {}

    HRESULT STDMETHODCALLTYPE GetProperties(VDS_SUB_SYSTEM_PROP* pSubSystemProp) override;
    HRESULT STDMETHODCALLTYPE GetProvider(IVdsProvider** ppProvider) override;
    HRESULT STDMETHODCALLTYPE QueryControllers(IEnumVdsObject** ppEnum) override;
    HRESULT STDMETHODCALLTYPE QueryLuns(IEnumVdsObject** ppEnum) override;
    HRESULT STDMETHODCALLTYPE QueryDrives(IEnumVdsObject** ppEnum) override;
    HRESULT STDMETHODCALLTYPE GetDrive(SHORT sBusNumber, SHORT sSlotNumber, IVdsDrive** ppDrive) override;
    HRESULT STDMETHODCALLTYPE Reenumerate() override;
    HRESULT STDMETHODCALLTYPE SetControllerStatus(VDS_OBJECT_ID* pOnlineControllerIdArray,
                                                  LONG lNumberOfOnlineControllers,
                                                  VDS_OBJECT_ID* pOfflineControllerIdArray,
                                                  LONG lNumberOfOfflineControllers) override;
    HRESULT STDMETHODCALLTYPE CreateLun(VDS_LUN_TYPE type, ULONGLONG ullSizeInBytes, VDS_OBJECT_ID* pDriveIdArray,
                                        LONG lNumberOfDrives, LPWSTR pwszUnmaskingList, VDS_HINTS* pHints,
                                        IVdsAsync** ppAsync) override;
    HRESULT STDMETHODCALLTYPE ReplaceDrive(VDS_OBJECT_ID DriveToBeReplaced, VDS_OBJECT_ID ReplacementDrive) override;
    HRESULT STDMETHODCALLTYPE SetStatus(VDS_SUB_SYSTEM_STATUS status) override;
    HRESULT STDMETHODCALLTYPE QueryMaxLunCreateSize(VDS_LUN_TYPE type, VDS_OBJECT_ID* pDriveIdArray,
                                                    LONG lNumberOfDrives, VDS_HINTS* pHints,
                                                    ULONGLONG* pullMaxLunSize) override;
    HRESULT STDMETHODCALLTYPE GetSupportedInterconnects(ULONG* pulSupportedInterconnectsFlag) override;

private:
    const com::Ptr<VdsProvider> provider_;
    const std::shared_ptr<VdsCache> cache_;
};

class VdsDrive final : public com::RefCounted<IVdsDrive> {
public:
    VdsDrive(com::Ptr<VdsProvider> provider, std::shared_ptr<VdsCache> cache, std::string id)
        : provider_(std::move(provider)), cache_(std::move(cache)), id_(std::move(id)) {}

    HRESULT STDMETHODCALLTYPE GetProperties(VDS_DRIVE_PROP* pDriveProp) override;
    HRESULT STDMETHODCALLTYPE GetSubSystem(IVdsSubSystem** ppSubSystem) override;
    HRESULT STDMETHODCALLTYPE QueryExtents(VDS_DRIVE_EXTENT** ppExtentArray, LONG* plNumberOfExtents) override;
    HRESULT STDMETHODCALLTYPE SetFlags(ULONG ulFlags) override;
    HRESULT STDMETHODCALLTYPE ClearFlags(ULONG ulFlags) override;
    HRESULT STDMETHODCALLTYPE SetStatus(VDS_DRIVE_STATUS status) override;

private:
    HRESULT change_flags(ULONG flags);

    const com::Ptr<VdsProvider> provider_;
    const std::shared_ptr<VdsCache> cache_;
    const std::string id_;
};

class VdsLun final : public com::RefCounted<IVdsLun, IVdsLunNaming> {
public:
    VdsLun(com::Ptr<VdsProvider> provider, std::shared_ptr<VdsCache> cache, std::string id)
        : provider_(std::move(provider)), cache_(std::move(cache)), id_(std::move(id)) {}

    HRESULT STDMETHODCALLTYPE GetProperties(VDS_LUN_PROP* pLunProp) override;
    HRESULT STDMETHODCALLTYPE GetSubSystem(IVdsSubSystem** ppSubSystem) override;
    HRESULT STDMETHODCALLTYPE GetIdentificationData(VDS_LUN_INFORMATION* pLunInfo) override;
    HRESULT STDMETHODCALLTYPE QueryActiveControllers(IEnumVdsObject** ppEnum) override;
    HRESULT STDMETHODCALLTYPE Extend(ULONGLONG ullNumberOfBytesToAdd, VDS_OBJECT_ID* pDriveIdArray,
                                     LONG lNumberOfDrives, IVdsAsync** ppAsync) override;
    HRESULT STDMETHODCALLTYPE Shrink(ULONGLONG ullNumberOfBytesToRemove, IVdsAsync** ppAsync) override;
    HRESULT STDMETHODCALLTYPE QueryPlexes(IEnumVdsObject** ppEnum) override;
    HRESULT STDMETHODCALLTYPE AddPlex(VDS_OBJECT_ID lunId, IVdsAsync** ppAsync) override;
    HRESULT STDMETHODCALLTYPE RemovePlex(VDS_OBJECT_ID plexId, IVdsAsync** ppAsync) override;
    HRESULT STDMETHODCALLTYPE Recover(IVdsAsync** ppAsync) override;
    HRESULT STDMETHODCALLTYPE SetMask(LPWSTR pwszUnmaskingList) override;
    HRESULT STDMETHODCALLTYPE Delete() override;
    HRESULT STDMETHODCALLTYPE AssociateControllers(VDS_OBJECT_ID* pActiveControllerIdArray,
                                                   LONG lNumberOfActiveControllers,
                                                   VDS_OBJECT_ID* pInactiveControllerIdArray,
                                                   LONG lNumberOfInactiveControllers) override;
    HRESULT STDMETHODCALLTYPE QueryHints(VDS_HINTS* pHints) override;
    HRESULT STDMETHODCALLTYPE ApplyHints(VDS_HINTS* pHints) override;
    HRESULT STDMETHODCALLTYPE SetStatus(VDS_LUN_STATUS status) override;
    HRESULT STDMETHODCALLTYPE QueryMaxLunExtendSize(VDS_OBJECT_ID* pDriveIdArray, LONG lNumberOfDrives,
                                                    ULONGLONG* pullMaxBytesToBeAdded) override;
    HRESULT STDMETHODCALLTYPE SetFriendlyName(LPWSTR pwszFriendlyName) override;

private:
    /// The record of a LUN that is there and has not failed.
    HRESULT usable(LunRecord* lun);
    /// The frame of a change: one at a time on one object.
    template <class Body>
    HRESULT change(Body&& body);
    HRESULT resize(uint64_t bytes, VDS_ASYNC_OUTPUT_TYPE type, IVdsAsync** ppAsync);

    const com::Ptr<VdsProvider> provider_;
    const std::shared_ptr<VdsCache> cache_;
    const std::string id_;
    std::mutex changing_;
};

class VdsLunPlex final : public com::RefCounted<IVdsLunPlex> {
public:
    VdsLunPlex(com::Ptr<VdsLun> lun, std::shared_ptr<VdsCache> cache, std::string lun_id, std::string id)
        : lun_(std::move(lun)), cache_(std::move(cache)), lun_id_(std::move(lun_id)), id_(std::move(id)) {}

    HRESULT STDMETHODCALLTYPE GetProperties(VDS_LUN_PLEX_PROP* pPlexProp) override;
    HRESULT STDMETHODCALLTYPE GetLun(IVdsLun** ppLun) override;
    HRESULT STDMETHODCALLTYPE QueryExtents(VDS_DRIVE_EXTENT** ppExtentArray, LONG* plNumberOfExtents) override;
    HRESULT STDMETHODCALLTYPE QueryHints(VDS_HINTS* pHints) override;
    HRESULT STDMETHODCALLTYPE ApplyHints(VDS_HINTS* pHints) override;

private:
    HRESULT record(LunRecord* lun, LunPlex* plex);

    const com::Ptr<VdsLun> lun_;
    const std::shared_ptr<VdsCache> cache_;
    const std::string lun_id_;
    const std::string id_;
};

/// Plexes as the array names them; a LUN for which it names none has the one that every LUN has.
std::vector<LunPlex> plexes_of(const LunRecord& lun);

/// "iqn.a;iqn.b", "*" or "": sorted, without duplicates. kInvalidArgument when it is none of these.
Result<std::vector<std::string>> parse_unmasking_list(const wchar_t* list);

}  // namespace umbra::provider

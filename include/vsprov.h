// The interfaces that a shadow copy provider implements. A provider is a shared library that exports DllGetClassObject;
// it runs in a process of its own.
#pragma once

#include "vdslun.h"
#include "vss.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

/// Copies of volumes by software.
struct IVssSoftwareSnapshotProvider : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE SetContext(LONG lContext) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetSnapshotProperties(VSS_ID SnapshotId, VSS_SNAPSHOT_PROP* pProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE Query(VSS_ID QueriedObjectId, VSS_OBJECT_TYPE eQueriedObjectType,
                                            VSS_OBJECT_TYPE eReturnedObjectsType, IVssEnumObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE DeleteSnapshots(VSS_ID SourceObjectId, VSS_OBJECT_TYPE eSourceObjectType,
                                                      BOOL bForceDelete, LONG* plDeletedSnapshots,
                                                      VSS_ID* pNondeletedSnapshotID) = 0;
    virtual HRESULT STDMETHODCALLTYPE BeginPrepareSnapshot(VSS_ID SnapshotSetId, VSS_ID SnapshotId,
                                                           VSS_PWSZ pwszVolumeName, LONG lNewContext) = 0;
    virtual HRESULT STDMETHODCALLTYPE IsVolumeSupported(VSS_PWSZ pwszVolumeName, BOOL* pbSupportedByThisProvider) = 0;
    virtual HRESULT STDMETHODCALLTYPE IsVolumeSnapshotted(VSS_PWSZ pwszVolumeName, BOOL* pbSnapshotsPresent,
                                                          LONG* plSnapshotCompatibility) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetSnapshotProperty(VSS_ID SnapshotId,
                                                          VSS_SNAPSHOT_PROPERTY_ID eSnapshotPropertyId,
                                                          VARIANT vProperty) = 0;
    virtual HRESULT STDMETHODCALLTYPE RevertToSnapshot(VSS_ID SnapshotId) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryRevertStatus(VSS_PWSZ pwszVolume, IVssAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVssSoftwareSnapshotProvider, "609e123e-2c5a-44d3-8f01-0b1d9a47d1ff");

/// The steps of creating a set, in the order in which they are called. From PreCommit to PostCommit writers are frozen;
/// in CommitSnapshots the volumes are: no I/O, no logging, done within a second.
struct IVssProviderCreateSnapshotSet : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE EndPrepareSnapshots(VSS_ID SnapshotSetId) = 0;
    virtual HRESULT STDMETHODCALLTYPE PreCommitSnapshots(VSS_ID SnapshotSetId) = 0;
    virtual HRESULT STDMETHODCALLTYPE CommitSnapshots(VSS_ID SnapshotSetId) = 0;
    virtual HRESULT STDMETHODCALLTYPE PostCommitSnapshots(VSS_ID SnapshotSetId, LONG lSnapshotsCount) = 0;
    virtual HRESULT STDMETHODCALLTYPE PreFinalCommitSnapshots(VSS_ID SnapshotSetId) = 0;
    virtual HRESULT STDMETHODCALLTYPE PostFinalCommitSnapshots(VSS_ID SnapshotSetId) = 0;
    virtual HRESULT STDMETHODCALLTYPE AbortSnapshots(VSS_ID SnapshotSetId) = 0;
};
COMPAT_INTERFACE_ID(IVssProviderCreateSnapshotSet, "5f894e5b-1e39-4778-8e23-9abad9f0e08c");

struct IVssProviderNotifications : public IUnknown {
    /// pCallback is reserved.
    virtual HRESULT STDMETHODCALLTYPE OnLoad(IUnknown* pCallback) = 0;
    /// S_FALSE: stay loaded, please. Not allowed when bForceUnload is TRUE.
    virtual HRESULT STDMETHODCALLTYPE OnUnload(BOOL bForceUnload) = 0;
};
COMPAT_INTERFACE_ID(IVssProviderNotifications, "e561901f-03a5-4afe-86d0-72baeece7004");

/// Copies of LUNs by an array. Arrays are parallel and lLunCount long.
struct IVssHardwareSnapshotProvider : public IUnknown {
    /// Says TRUE only for what could be created now; all LUNs or none.
    virtual HRESULT STDMETHODCALLTYPE AreLunsSupported(LONG lLunCount, LONG lContext, VSS_PWSZ* rgwszDevices,
                                                       VDS_LUN_INFORMATION* pLunInformation, BOOL* pbIsSupported) = 0;
    /// FALSE: not a LUN of this provider's arrays.
    virtual HRESULT STDMETHODCALLTYPE FillInLunInfo(VSS_PWSZ wszDeviceName, VDS_LUN_INFORMATION* pLunInfo,
                                                    BOOL* pbIsSupported) = 0;
    virtual HRESULT STDMETHODCALLTYPE BeginPrepareSnapshot(VSS_ID SnapshotSetId, VSS_ID SnapshotId, LONG lContext,
                                                           LONG lLunCount, VSS_PWSZ* rgDeviceNames,
                                                           VDS_LUN_INFORMATION* rgLunInformation) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetTargetLuns(LONG lLunCount, VSS_PWSZ* rgDeviceNames,
                                                    VDS_LUN_INFORMATION* rgSourceLuns,
                                                    VDS_LUN_INFORMATION* rgDestinationLuns) = 0;
    /// Presents the LUNs to this host. Does not rescan.
    virtual HRESULT STDMETHODCALLTYPE LocateLuns(LONG lLunCount, VDS_LUN_INFORMATION* rgSourceLuns) = 0;
    /// The only reason to give back a shadow copy's LUN. Does not rescan.
    virtual HRESULT STDMETHODCALLTYPE OnLunEmpty(VSS_PWSZ wszDeviceName, VDS_LUN_INFORMATION* pInformation) = 0;
};
COMPAT_INTERFACE_ID(IVssHardwareSnapshotProvider, "9593a157-44e9-4344-bbeb-44fbf9b06b10");

struct IVssHardwareSnapshotProviderEx : public IVssHardwareSnapshotProvider {
    virtual HRESULT STDMETHODCALLTYPE GetProviderCapabilities(ULONGLONG* pllOriginalCapabilityMask) = 0;
    virtual HRESULT STDMETHODCALLTYPE OnLunStateChange(VDS_LUN_INFORMATION* pSnapshotLuns,
                                                       VDS_LUN_INFORMATION* pOriginalLuns, DWORD dwCount,
                                                       DWORD dwFlags) = 0;
    /// Starts making each target's content its source's, inside the array.
    virtual HRESULT STDMETHODCALLTYPE ResyncLuns(VDS_LUN_INFORMATION* pSourceLuns, VDS_LUN_INFORMATION* pTargetLuns,
                                                 DWORD dwCount, IVssAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE OnReuseLuns(VDS_LUN_INFORMATION* pSnapshotLuns,
                                                  VDS_LUN_INFORMATION* pOriginalLuns, DWORD dwCount) = 0;
};
COMPAT_INTERFACE_ID(IVssHardwareSnapshotProviderEx, "7f5ba925-cdb1-4d11-a71f-339eb7e709fd");

/// Copies of shares on file servers.
struct IVssFileShareSnapshotProvider : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE SetContext(LONG lContext) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetSnapshotProperties(VSS_ID SnapshotId, VSS_SNAPSHOT_PROP* pProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE Query(VSS_ID QueriedObjectId, VSS_OBJECT_TYPE eQueriedObjectType,
                                            VSS_OBJECT_TYPE eReturnedObjectsType, IVssEnumObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE DeleteSnapshots(VSS_ID SourceObjectId, VSS_OBJECT_TYPE eSourceObjectType,
                                                      BOOL bForceDelete, LONG* plDeletedSnapshots,
                                                      VSS_ID* pNondeletedSnapshotID) = 0;
    virtual HRESULT STDMETHODCALLTYPE BeginPrepareSnapshot(VSS_ID SnapshotSetId, VSS_ID SnapshotId,
                                                           VSS_PWSZ pwszSharePath, LONG lNewContext,
                                                           VSS_ID ProviderId) = 0;
    virtual HRESULT STDMETHODCALLTYPE IsPathSupported(VSS_PWSZ pwszSharePath, BOOL* pbSupportedByThisProvider) = 0;
    virtual HRESULT STDMETHODCALLTYPE IsPathSnapshotted(VSS_PWSZ pwszSharePath, BOOL* pbSnapshotsPresent,
                                                        LONG* plSnapshotCompatibility) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetSnapshotProperty(VSS_ID SnapshotId,
                                                          VSS_SNAPSHOT_PROPERTY_ID eSnapshotPropertyId,
                                                          VARIANT vProperty) = 0;
};
COMPAT_INTERFACE_ID(IVssFileShareSnapshotProvider, "c8636060-7c2e-11df-8c4a-0800200c9a66");

#pragma GCC diagnostic pop

/// What a provider's library exports. CLASS_E_CLASSNOTAVAILABLE: no such class here.
STDAPI DllGetClassObject(REFCLSID rclsid, REFIID riid, void** ppv);
/// S_OK: nothing of the library is in use.
STDAPI DllCanUnloadNow();

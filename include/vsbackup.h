// What a requester (a backup program) calls: CreateVssBackupComponents, then the methods of IVssBackupComponents. One
// object is one backup, one restore, one import or one series of queries.
#pragma once

#include "vss.h"
#include "vswriter.h"

#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

/// Icons and texts belong to the IVssWMComponent; FreeComponentInfo frees the whole.
typedef struct _VSS_COMPONENTINFO {
    VSS_COMPONENT_TYPE type;
    BSTR bstrLogicalPath;
    BSTR bstrComponentName;
    BSTR bstrCaption;
    BYTE* pbIcon;
    UINT cbIcon;
    bool bRestoreMetadata;
    bool bNotifyOnBackupComplete;
    bool bSelectable;
    bool bSelectableForRestore;
    DWORD dwComponentFlags;
    UINT cFileCount;
    UINT cDatabases;
    UINT cLogFiles;
    UINT cDependencies;
} VSS_COMPONENTINFO;
typedef const VSS_COMPONENTINFO* PVSSCOMPONENTINFO;

/// A component, as its writer describes it.
struct IVssWMComponent : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetComponentInfo(PVSSCOMPONENTINFO* ppInfo) = 0;
    virtual HRESULT STDMETHODCALLTYPE FreeComponentInfo(PVSSCOMPONENTINFO pInfo) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetFile(UINT iFile, IVssWMFiledesc** ppFiledesc) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetDatabaseFile(UINT iDBFile, IVssWMFiledesc** ppFiledesc) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetDatabaseLogFile(UINT iDbLogFile, IVssWMFiledesc** ppFiledesc) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetDependency(UINT iDependency, IVssWMDependency** ppDependency) = 0;
};

/// A writer's description of itself.
struct IVssExamineWriterMetadata : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetIdentity(VSS_ID* pidInstance, VSS_ID* pidWriter, BSTR* pbstrWriterName,
                                                  VSS_USAGE_TYPE* pUsage, VSS_SOURCE_TYPE* pSource) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetFileCounts(UINT* pcIncludeFiles, UINT* pcExcludeFiles, UINT* pcComponents) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetIncludeFile(UINT iFile, IVssWMFiledesc** ppFiledesc) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetExcludeFile(UINT iFile, IVssWMFiledesc** ppFiledesc) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetComponent(UINT iComponent, IVssWMComponent** ppComponent) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetRestoreMethod(VSS_RESTOREMETHOD_ENUM* pMethod, BSTR* pbstrService,
                                                       BSTR* pbstrUserProcedure, VSS_WRITERRESTORE_ENUM* pwriterRestore,
                                                       bool* pbRebootRequired, UINT* pcMappings) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetAlternateLocationMapping(UINT iMapping, IVssWMFiledesc** ppFiledesc) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetBackupSchema(DWORD* pdwSchemaMask) = 0;
    /// E_NOTIMPL: the DOM is not offered. SaveAsXML gives the text.
    virtual HRESULT STDMETHODCALLTYPE GetDocument(IXMLDOMDocument** pDoc) = 0;
    virtual HRESULT STDMETHODCALLTYPE SaveAsXML(BSTR* pbstrXML) = 0;
    virtual HRESULT STDMETHODCALLTYPE LoadFromXML(BSTR bstrXML) = 0;
};
COMPAT_INTERFACE_ID(IVssExamineWriterMetadata, "902fcf7f-b7fd-42f8-81f1-b2e400b1e5bd");

struct IVssExamineWriterMetadataEx : public IVssExamineWriterMetadata {
    virtual HRESULT STDMETHODCALLTYPE GetIdentityEx(VSS_ID* pidInstance, VSS_ID* pidWriter, BSTR* pbstrWriterName,
                                                    BSTR* pbstrInstanceName, VSS_USAGE_TYPE* pUsage,
                                                    VSS_SOURCE_TYPE* pSource) = 0;
};
COMPAT_INTERFACE_ID(IVssExamineWriterMetadataEx, "0c0e5ec0-ca44-472b-b702-e652db1c0451");

struct IVssExamineWriterMetadataEx2 : public IVssExamineWriterMetadataEx {
    virtual HRESULT STDMETHODCALLTYPE GetVersion(DWORD* pdwMajorVersion, DWORD* pdwMinorVersion) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetExcludeFromSnapshotCount(UINT* pcExcludedFromSnapshot) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetExcludeFromSnapshotFile(UINT iFile, IVssWMFiledesc** ppFiledesc) = 0;
};
COMPAT_INTERFACE_ID(IVssExamineWriterMetadataEx2, "ce115780-a611-431b-b57f-c38303ab6aee");

/// A writer's components as a requester sees them.
struct IVssWriterComponentsExt : public IVssWriterComponents, public IUnknown {};

/// A backup, restore, import or query. Methods in the wrong order: VSS_E_BAD_STATE.
struct IVssBackupComponents : public IUnknown {
    /// Writers that have components in the document.
    virtual HRESULT STDMETHODCALLTYPE GetWriterComponentsCount(UINT* pcComponents) = 0;
    /// Valid until PrepareForBackup, DoSnapshotSet, BackupComplete, PreRestore or PostRestore.
    virtual HRESULT STDMETHODCALLTYPE GetWriterComponents(UINT iWriter, IVssWriterComponentsExt** ppWriter) = 0;
    /// The first call, or InitializeForRestore is. With a saved document: for ImportSnapshots.
    virtual HRESULT STDMETHODCALLTYPE InitializeForBackup(BSTR bstrXML = nullptr) = 0;
    /// Before PrepareForBackup.
    virtual HRESULT STDMETHODCALLTYPE SetBackupState(bool bSelectComponents, bool bBackupBootableSystemState,
                                                     VSS_BACKUP_TYPE backupType, bool bPartialFileSupport = false) = 0;
    /// With a saved document: for restores and for AddSnapshotToRecoverySet.
    virtual HRESULT STDMETHODCALLTYPE InitializeForRestore(BSTR bstrXML) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetRestoreState(VSS_RESTORE_TYPE restoreType) = 0;
    /// Once in the life of the object.
    virtual HRESULT STDMETHODCALLTYPE GatherWriterMetadata(IVssAsync** pAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetWriterMetadataCount(UINT* pcWriters) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetWriterMetadata(UINT iWriter, VSS_ID* pidInstance,
                                                        IVssExamineWriterMetadata** ppMetadata) = 0;
    virtual HRESULT STDMETHODCALLTYPE FreeWriterMetadata() = 0;
    /// After GatherWriterMetadata, before DoSnapshotSet.
    virtual HRESULT STDMETHODCALLTYPE AddComponent(VSS_ID instanceId, VSS_ID writerId, VSS_COMPONENT_TYPE ct,
                                                   LPCWSTR wszLogicalPath, LPCWSTR wszComponentName) = 0;
    /// After SetBackupState and StartSnapshotSet; not in contexts without writers.
    virtual HRESULT STDMETHODCALLTYPE PrepareForBackup(IVssAsync** ppAsync) = 0;
    /// Any time after initialisation; S_OK if there is nothing to abort.
    virtual HRESULT STDMETHODCALLTYPE AbortBackup() = 0;
    virtual HRESULT STDMETHODCALLTYPE GatherWriterStatus(IVssAsync** pAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetWriterStatusCount(UINT* pcWriters) = 0;
    virtual HRESULT STDMETHODCALLTYPE FreeWriterStatus() = 0;
    virtual HRESULT STDMETHODCALLTYPE GetWriterStatus(UINT iWriter, VSS_ID* pidInstance, VSS_ID* pidWriter,
                                                      BSTR* pbstrWriter, VSS_WRITER_STATE* pnStatus,
                                                      HRESULT* phResultFailure) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetBackupSucceeded(VSS_ID instanceId, VSS_ID writerId, VSS_COMPONENT_TYPE ct,
                                                         LPCWSTR wszLogicalPath, LPCWSTR wszComponentName,
                                                         bool bSucceded) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetBackupOptions(VSS_ID writerId, VSS_COMPONENT_TYPE ct, LPCWSTR wszLogicalPath,
                                                       LPCWSTR wszComponentName, LPCWSTR wszBackupOptions) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetSelectedForRestore(VSS_ID writerId, VSS_COMPONENT_TYPE ct,
                                                            LPCWSTR wszLogicalPath, LPCWSTR wszComponentName,
                                                            bool bSelectedForRestore) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetRestoreOptions(VSS_ID writerId, VSS_COMPONENT_TYPE ct, LPCWSTR wszLogicalPath,
                                                        LPCWSTR wszComponentName, LPCWSTR wszRestoreOptions) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetAdditionalRestores(VSS_ID writerId, VSS_COMPONENT_TYPE ct,
                                                            LPCWSTR wszLogicalPath, LPCWSTR wszComponentName,
                                                            bool bAdditionalRestores) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetPreviousBackupStamp(VSS_ID writerId, VSS_COMPONENT_TYPE ct,
                                                             LPCWSTR wszLogicalPath, LPCWSTR wszComponentName,
                                                             LPCWSTR wszPreviousBackupStamp) = 0;
    /// The Backup Components Document; useful once DoSnapshotSet has finished. SysFreeString.
    virtual HRESULT STDMETHODCALLTYPE SaveAsXML(BSTR* pbstrXML) = 0;
    virtual HRESULT STDMETHODCALLTYPE BackupComplete(IVssAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE AddAlternativeLocationMapping(VSS_ID writerId, VSS_COMPONENT_TYPE componentType,
                                                                    LPCWSTR wszLogicalPath, LPCWSTR wszComponentName,
                                                                    LPCWSTR wszPath, LPCWSTR wszFilespec,
                                                                    bool bRecursive, LPCWSTR wszDestination) = 0;
    virtual HRESULT STDMETHODCALLTYPE AddRestoreSubcomponent(VSS_ID writerId, VSS_COMPONENT_TYPE componentType,
                                                             LPCWSTR wszLogicalPath, LPCWSTR wszComponentName,
                                                             LPCWSTR wszSubComponentLogicalPath,
                                                             LPCWSTR wszSubComponentName, bool bRepair = false) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetFileRestoreStatus(VSS_ID writerId, VSS_COMPONENT_TYPE ct,
                                                           LPCWSTR wszLogicalPath, LPCWSTR wszComponentName,
                                                           VSS_FILE_RESTORE_STATUS status) = 0;
    virtual HRESULT STDMETHODCALLTYPE AddNewTarget(VSS_ID writerId, VSS_COMPONENT_TYPE ct, LPCWSTR wszLogicalPath,
                                                   LPCWSTR wszComponentName, LPCWSTR wszPath, LPCWSTR wszFileName,
                                                   bool bRecursive, LPCWSTR wszAlternatePath) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetRangesFilePath(VSS_ID writerId, VSS_COMPONENT_TYPE ct, LPCWSTR wszLogicalPath,
                                                        LPCWSTR wszComponentName, UINT iPartialFile,
                                                        LPCWSTR wszRangesFile) = 0;
    virtual HRESULT STDMETHODCALLTYPE PreRestore(IVssAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE PostRestore(IVssAsync** ppAsync) = 0;
    /// Once, before anything that has to do with shadow copies. VSS_CTX_BACKUP if never called.
    virtual HRESULT STDMETHODCALLTYPE SetContext(LONG lContext) = 0;
    /// VSS_E_SNAPSHOT_SET_IN_PROGRESS while another set is being created on this host.
    virtual HRESULT STDMETHODCALLTYPE StartSnapshotSet(VSS_ID* pSnapshotSetId) = 0;
    /// A mount point, a device, or \\?\Volume{…}\. ProviderId GUID_NULL: any that can.
    virtual HRESULT STDMETHODCALLTYPE AddToSnapshotSet(VSS_PWSZ pwszVolumeName, VSS_ID ProviderId,
                                                       VSS_ID* pidSnapshot) = 0;
    virtual HRESULT STDMETHODCALLTYPE DoSnapshotSet(IVssAsync** ppAsync) = 0;
    /// One after the other, up to the first that fails: *pNondeletedSnapshotID.
    virtual HRESULT STDMETHODCALLTYPE DeleteSnapshots(VSS_ID SourceObjectId, VSS_OBJECT_TYPE eSourceObjectType,
                                                      BOOL bForceDelete, LONG* plDeletedSnapshots,
                                                      VSS_ID* pNondeletedSnapshotID) = 0;
    /// Of the document given to InitializeForBackup.
    virtual HRESULT STDMETHODCALLTYPE ImportSnapshots(IVssAsync** ppAsync) = 0;
    /// The shadow copies become ordinary LUNs, and are forgotten.
    virtual HRESULT STDMETHODCALLTYPE BreakSnapshotSet(VSS_ID SnapshotSetId) = 0;
    /// Freed by VssFreeSnapshotProperties.
    virtual HRESULT STDMETHODCALLTYPE GetSnapshotProperties(VSS_ID SnapshotId, VSS_SNAPSHOT_PROP* pProp) = 0;
    /// (GUID_NULL, VSS_OBJECT_NONE, VSS_OBJECT_SNAPSHOT or VSS_OBJECT_PROVIDER). Filtered by the context.
    virtual HRESULT STDMETHODCALLTYPE Query(VSS_ID QueriedObjectId, VSS_OBJECT_TYPE eQueriedObjectType,
                                            VSS_OBJECT_TYPE eReturnedObjectsType, IVssEnumObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE IsVolumeSupported(VSS_ID ProviderId, VSS_PWSZ pwszVolumeName,
                                                        BOOL* pbSupportedByThisProvider) = 0;
    virtual HRESULT STDMETHODCALLTYPE DisableWriterClasses(const VSS_ID* rgWriterClassId, UINT cClassId) = 0;
    virtual HRESULT STDMETHODCALLTYPE EnableWriterClasses(const VSS_ID* rgWriterClassId, UINT cClassId) = 0;
    virtual HRESULT STDMETHODCALLTYPE DisableWriterInstances(const VSS_ID* rgWriterInstanceId, UINT cInstanceId) = 0;
    /// VSS_VOLSNAP_ATTR_EXPOSED_LOCALLY: at the empty directory wszExpose, or where VSS likes. CoTaskMemFree.
    virtual HRESULT STDMETHODCALLTYPE ExposeSnapshot(VSS_ID SnapshotId, VSS_PWSZ wszPathFromRoot, LONG lAttributes,
                                                     VSS_PWSZ wszExpose, VSS_PWSZ* pwszExposed) = 0;
    /// The volume becomes what it was. Cannot be cancelled.
    virtual HRESULT STDMETHODCALLTYPE RevertToSnapshot(VSS_ID SnapshotId, BOOL bForceDismount) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryRevertStatus(VSS_PWSZ pwszVolume, IVssAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVssBackupComponents, "665c1d5f-c218-414d-a05d-7fef5f9d5c86");

struct IVssBackupComponentsEx : public IVssBackupComponents {
    virtual HRESULT STDMETHODCALLTYPE GetWriterMetadataEx(UINT iWriter, VSS_ID* pidInstance,
                                                          IVssExamineWriterMetadataEx** ppMetadata) = 0;
    /// instanceId GUID_NULL: the same as SetSelectedForRestore.
    virtual HRESULT STDMETHODCALLTYPE SetSelectedForRestoreEx(VSS_ID writerId, VSS_COMPONENT_TYPE ct,
                                                              LPCWSTR wszLogicalPath, LPCWSTR wszComponentName,
                                                              bool bSelectedForRestore, VSS_ID instanceId) = 0;
};
COMPAT_INTERFACE_ID(IVssBackupComponentsEx, "963f03ad-9e4c-4a34-ac15-e4b6174e5036");

struct IVssBackupComponentsEx2 : public IVssBackupComponentsEx {
    virtual HRESULT STDMETHODCALLTYPE UnexposeSnapshot(VSS_ID snapshotId) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetAuthoritativeRestore(VSS_ID writerId, VSS_COMPONENT_TYPE ct,
                                                              LPCWSTR wszLogicalPath, LPCWSTR wszComponentName,
                                                              bool bAuth) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetRollForward(VSS_ID writerId, VSS_COMPONENT_TYPE ct, LPCWSTR wszLogicalPath,
                                                     LPCWSTR wszComponentName, VSS_ROLLFORWARD_TYPE rollType,
                                                     LPCWSTR wszRollForwardPoint) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetRestoreName(VSS_ID writerId, VSS_COMPONENT_TYPE ct, LPCWSTR wszLogicalPath,
                                                     LPCWSTR wszComponentName, LPCWSTR wszRestoreName) = 0;
    /// dwBreakFlags: VSS_BREAKEX_FLAG_….
    virtual HRESULT STDMETHODCALLTYPE BreakSnapshotSetEx(VSS_ID SnapshotSetID, DWORD dwBreakFlags,
                                                         IVssAsync** ppAsync) = 0;
    /// Reserved: E_NOTIMPL.
    virtual HRESULT STDMETHODCALLTYPE PreFastRecovery(VSS_ID SnapshotSetID, DWORD dwPreFastRecoveryFlags,
                                                      IVssAsync** ppAsync) = 0;
    /// Reserved: E_NOTIMPL.
    virtual HRESULT STDMETHODCALLTYPE FastRecovery(VSS_ID SnapshotSetID, DWORD dwFastRecoveryFlags,
                                                   IVssAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVssBackupComponentsEx2, "acfe2b3a-22c9-4ef8-bd03-2f9ca230084e");

struct IVssBackupComponentsEx3 : public IVssBackupComponentsEx2 {
    virtual HRESULT STDMETHODCALLTYPE GetWriterStatusEx(UINT iWriter, VSS_ID* pidInstance, VSS_ID* pidWriter,
                                                        BSTR* pbstrWriter, VSS_WRITER_STATE* pnStatus,
                                                        HRESULT* phrFailureWriter, HRESULT* phrApplication = nullptr,
                                                        BSTR* pbstrApplicationMessage = nullptr) = 0;
    /// After InitializeForRestore. dwFlags is 0; pwszDestinationVolume NULL: the original.
    virtual HRESULT STDMETHODCALLTYPE AddSnapshotToRecoverySet(VSS_ID snapshotId, DWORD dwFlags,
                                                               VSS_PWSZ pwszDestinationVolume = nullptr) = 0;
    /// Starts making each destination LUN's content its shadow copy's. dwFlags: VSS_RECOVERY_OPTIONS.
    virtual HRESULT STDMETHODCALLTYPE RecoverSet(DWORD dwFlags, IVssAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetSessionId(VSS_ID* idSession) = 0;
};
COMPAT_INTERFACE_ID(IVssBackupComponentsEx3, "c191bfbc-b602-4675-8bd1-67d642f529d5");

struct IVssBackupComponentsEx4 : public IVssBackupComponentsEx3 {
    virtual HRESULT STDMETHODCALLTYPE GetRootAndLogicalPrefixPaths(VSS_PWSZ pwszFilePath, VSS_PWSZ* ppwszRootPath,
                                                                   VSS_PWSZ* ppwszLogicalPrefix,
                                                                   BOOL bNormalizeFQDNforRootPath = FALSE) = 0;
};
COMPAT_INTERFACE_ID(IVssBackupComponentsEx4, "f434c2fd-b553-4961-a9f9-a8e90b673e53");

#pragma GCC diagnostic pop

#define VSS_SW_BOOTABLE_STATE (1 << 0)

extern "C" {

// Under the names that Windows exports; the inline functions below have those that programs call.
VSSAPI_EXPORT HRESULT CreateVssBackupComponentsInternal(IVssBackupComponents** ppBackup);
VSSAPI_EXPORT HRESULT CreateVssExamineWriterMetadataInternal(BSTR bstrXML, IVssExamineWriterMetadata** ppMetadata);
VSSAPI_EXPORT HRESULT IsVolumeSnapshottedInternal(VSS_PWSZ pwszVolumeName, BOOL* pbSnapshotsPresent,
                                                  LONG* plSnapshotCapability);
VSSAPI_EXPORT void VssFreeSnapshotPropertiesInternal(VSS_SNAPSHOT_PROP* pProp);
VSSAPI_EXPORT HRESULT GetProviderMgmtInterfaceInternal(VSS_ID ProviderId, IID InterfaceId, IUnknown** ppItf);
VSSAPI_EXPORT HRESULT ShouldBlockRevertInternal(LPCWSTR wszVolumeName, bool* pbBlock);

/// Not part of VSS: a sentence about the last call into libvssapi that failed on this thread, with the remedy; empty if
/// there is nothing to say. SysFreeString.
VSSAPI_EXPORT HRESULT UmbraGetLastErrorText(BSTR* pbstrText);

}  // extern "C"

/// E_ACCESSDENIED: neither root nor a member of the group umbra. The service is found by the environment variable
/// UMBRA_HOST ("unix:/path/of/socket"), by default at unix:/run/umbra/host.sock; the call retries for 10 s.
inline HRESULT CreateVssBackupComponents(IVssBackupComponents** ppBackup) {
    return CreateVssBackupComponentsInternal(ppBackup);
}
inline HRESULT CreateVssExamineWriterMetadata(BSTR bstrXML, IVssExamineWriterMetadata** ppMetadata) {
    return CreateVssExamineWriterMetadataInternal(bstrXML, ppMetadata);
}
inline HRESULT IsVolumeSnapshotted(VSS_PWSZ pwszVolumeName, BOOL* pbSnapshotsPresent, LONG* plSnapshotCapability) {
    return IsVolumeSnapshottedInternal(pwszVolumeName, pbSnapshotsPresent, plSnapshotCapability);
}
/// Frees the strings of a VSS_SNAPSHOT_PROP and zeroes it.
inline void VssFreeSnapshotProperties(VSS_SNAPSHOT_PROP* pProp) {
    VssFreeSnapshotPropertiesInternal(pProp);
}
inline HRESULT GetProviderMgmtInterface(VSS_ID ProviderId, IID InterfaceId, IUnknown** ppItf) {
    return GetProviderMgmtInterfaceInternal(ProviderId, InterfaceId, ppItf);
}
inline HRESULT ShouldBlockRevert(LPCWSTR wszVolumeName, bool* pbBlock) {
    return ShouldBlockRevertInternal(wszVolumeName, pbBlock);
}

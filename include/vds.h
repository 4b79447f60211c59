// Virtual Disk Service, the side of a client: everything of vdshwprv.h, and the service's own interfaces with its view
// of this host's packs, disks and volumes. Which of them Umbra implements is listed in docs/limits.md.
#pragma once

#include "vdshwprv.h"

inline constexpr CLSID CLSID_VdsLoader = ::compat::guid_literal("9c38ed61-d565-4728-aeee-c80952f0ecde");
inline constexpr CLSID CLSID_VdsService = ::compat::guid_literal("7d1933cb-86f6-4a98-8628-01be94c9a575");

#define VDS_NF_PACK_ARRIVE 0x1
#define VDS_NF_PACK_DEPART 0x2
#define VDS_NF_PACK_MODIFY 0x3
#define VDS_NF_FILE_SYSTEM_MODIFY 0xCB
#define VDS_NF_FILE_SYSTEM_FORMAT_PROGRESS 0xCC
#define VDS_NF_DISK_ARRIVE 0x8
#define VDS_NF_DISK_DEPART 0x9
#define VDS_NF_DISK_MODIFY 0xA
#define VDS_NF_VOLUME_ARRIVE 0x4
#define VDS_NF_VOLUME_DEPART 0x5
#define VDS_NF_VOLUME_MODIFY 0x6
#define VDS_NF_VOLUME_REBUILDING_PROGRESS 0x7
#define VDS_NF_PARTITION_ARRIVE 0xB
#define VDS_NF_PARTITION_DEPART 0xC
#define VDS_NF_PARTITION_MODIFY 0xD
#define VDS_NF_DRIVE_LETTER_FREE 0xC9
#define VDS_NF_DRIVE_LETTER_ASSIGN 0xCA
#define VDS_NF_MOUNT_POINTS_CHANGE 0xCD
#define VDS_NF_FILE_SYSTEM_SHRINKING_PROGRESS 0xCE
#define VDS_NF_SERVICE_OUT_OF_SYNC 0x12D
#define GPT_PARTITION_NAME_LENGTH 0x24
#define MAX_FS_NAME_SIZE 0x8
#define MAX_FS_FORMAT_SUPPORT_NAME_SIZE 0x20
#define MAX_FS_ALLOWED_CLUSTER_SIZES_SIZE 0x20

typedef enum _VDS_FILE_SYSTEM_TYPE : LONG {
    VDS_FST_UNKNOWN = 0x0,
    VDS_FST_RAW = 0x1,
    VDS_FST_FAT = 0x2,
    VDS_FST_FAT32 = 0x3,
    VDS_FST_NTFS = 0x4,
    VDS_FST_CDFS = 0x5,
    VDS_FST_UDF = 0x6,
    VDS_FST_EXFAT = 0x7,
    VDS_FST_CSVFS = 0x8,
    VDS_FST_REFS = 0x9,
} VDS_FILE_SYSTEM_TYPE;

typedef enum _VDS_ISCSI_LOGIN_TYPE : LONG {
    VDS_ILT_MANUAL = 0x0,
    VDS_ILT_PERSISTENT = 0x1,
    VDS_ILT_BOOT = 0x2,
} VDS_ISCSI_LOGIN_TYPE;

typedef enum _VDS_ISCSI_AUTH_TYPE : LONG {
    VDS_IAT_NONE = 0x0,
    VDS_IAT_CHAP = 0x1,
    VDS_IAT_MUTUAL_CHAP = 0x2,
} VDS_ISCSI_AUTH_TYPE;

typedef enum _VDS_ISCSI_LOGIN_FLAG : LONG {
    VDS_ILF_REQUIRE_IPSEC = 0x1,
    VDS_ILF_MULTIPATH_ENABLED = 0x2,
} VDS_ISCSI_LOGIN_FLAG;

typedef enum _VDS_PACK_STATUS : LONG {
    VDS_PS_UNKNOWN = 0x0,
    VDS_PS_ONLINE = 0x1,
    VDS_PS_OFFLINE = 0x4,
} VDS_PACK_STATUS;

typedef enum _VDS_PACK_FLAG : LONG {
    VDS_PKF_FOREIGN = 0x1,
    VDS_PKF_NOQUORUM = 0x2,
    VDS_PKF_POLICY = 0x4,
    VDS_PKF_CORRUPTED = 0x8,
    VDS_PKF_ONLINE_ERROR = 0x10,
} VDS_PACK_FLAG;

typedef enum _VDS_DISK_STATUS : LONG {
    VDS_DS_UNKNOWN = 0x0,
    VDS_DS_ONLINE = 0x1,
    VDS_DS_NOT_READY = 0x2,
    VDS_DS_NO_MEDIA = 0x3,
    VDS_DS_FAILED = 0x5,
    VDS_DS_MISSING = 0x6,
    VDS_DS_OFFLINE = 0x4,
} VDS_DISK_STATUS;

typedef enum _VDS_PARTITION_STYLE : LONG {
    VDS_PST_UNKNOWN = 0x0,
    VDS_PST_MBR = 0x1,
    VDS_PST_GPT = 0x2,
} VDS_PARTITION_STYLE;

typedef enum _VDS_DISK_FLAG : LONG {
    VDS_DF_AUDIO_CD = 0x1,
    VDS_DF_HOTSPARE = 0x2,
    VDS_DF_RESERVE_CAPABLE = 0x4,
    VDS_DF_MASKED = 0x8,
    VDS_DF_STYLE_CONVERTIBLE = 0x10,
    VDS_DF_CLUSTERED = 0x20,
    VDS_DF_READ_ONLY = 0x40,
    VDS_DF_SYSTEM_DISK = 0x80,
    VDS_DF_BOOT_DISK = 0x100,
    VDS_DF_PAGEFILE_DISK = 0x200,
    VDS_DF_HIBERNATIONFILE_DISK = 0x400,
    VDS_DF_CRASHDUMP_DISK = 0x800,
    VDS_DF_HAS_ARC_PATH = 0x1000,
    VDS_DF_DYNAMIC = 0x2000,
    VDS_DF_BOOT_FROM_DISK = 0x4000,
    VDS_DF_CURRENT_READ_ONLY = 0x8000,
    VDS_DF_REFS_NOT_SUPPORTED = 0x10000,
} VDS_DISK_FLAG;

typedef enum _VDS_PARTITION_FLAG : LONG {
    VDS_PTF_SYSTEM = 0x1,
} VDS_PARTITION_FLAG;

typedef enum _VDS_LUN_RESERVE_MODE : LONG {
    VDS_LRM_NONE = 0x0,
    VDS_LRM_EXCLUSIVE_RW = 0x1,
    VDS_LRM_EXCLUSIVE_RO = 0x2,
    VDS_LRM_SHARED_RO = 0x3,
    VDS_LRM_SHARED_RW = 0x4,
} VDS_LUN_RESERVE_MODE;

typedef enum _VDS_VOLUME_STATUS : LONG {
    VDS_VS_UNKNOWN = 0x0,
    VDS_VS_ONLINE = 0x1,
    VDS_VS_NO_MEDIA = 0x3,
    VDS_VS_FAILED = 0x5,
    VDS_VS_OFFLINE = 0x4,
} VDS_VOLUME_STATUS;

typedef enum _VDS_VOLUME_TYPE : LONG {
    VDS_VT_UNKNOWN = 0x0,
    VDS_VT_SIMPLE = 0xA,
    VDS_VT_SPAN = 0xB,
    VDS_VT_STRIPE = 0xC,
    VDS_VT_MIRROR = 0xD,
    VDS_VT_PARITY = 0xE,
} VDS_VOLUME_TYPE;

typedef enum _VDS_VOLUME_FLAG : LONG {
    VDS_VF_SYSTEM_VOLUME = 0x1,
    VDS_VF_BOOT_VOLUME = 0x2,
    VDS_VF_ACTIVE = 0x4,
    VDS_VF_READONLY = 0x8,
    VDS_VF_HIDDEN = 0x10,
    VDS_VF_CAN_EXTEND = 0x20,
    VDS_VF_CAN_SHRINK = 0x40,
    VDS_VF_PAGEFILE = 0x80,
    VDS_VF_HIBERNATION = 0x100,
    VDS_VF_CRASHDUMP = 0x200,
    VDS_VF_INSTALLABLE = 0x400,
    VDS_VF_LBN_REMAP_ENABLED = 0x800,
    VDS_VF_FORMATTING = 0x1000,
    VDS_VF_NOT_FORMATTABLE = 0x2000,
    VDS_VF_NTFS_NOT_SUPPORTED = 0x4000,
    VDS_VF_FAT32_NOT_SUPPORTED = 0x8000,
    VDS_VF_FAT_NOT_SUPPORTED = 0x10000,
    VDS_VF_NO_DEFAULT_DRIVE_LETTER = 0x20000,
    VDS_VF_PERMANENTLY_DISMOUNTED = 0x40000,
    VDS_VF_PERMANENT_DISMOUNT_SUPPORTED = 0x80000,
    VDS_VF_SHADOW_COPY = 0x100000,
    VDS_VF_FVE_ENABLED = 0x200000,
    VDS_VF_DIRTY = 0x400000,
    VDS_VF_REFS_NOT_SUPPORTED = 0x800000,
    VDS_VF_BACKS_BOOT_VOLUME = 0x1000000,
    VDS_VF_BACKED_BY_WIM_IMAGE = 0x2000000,
} VDS_VOLUME_FLAG;

typedef enum _VDS_VOLUME_PLEX_TYPE : LONG {
    VDS_VPT_UNKNOWN = 0x0,
    VDS_VPT_SIMPLE = 0xA,
    VDS_VPT_SPAN = 0xB,
    VDS_VPT_STRIPE = 0xC,
    VDS_VPT_PARITY = 0xE,
} VDS_VOLUME_PLEX_TYPE;

typedef enum _VDS_VOLUME_PLEX_STATUS : LONG {
    VDS_VPS_UNKNOWN = 0x0,
    VDS_VPS_ONLINE = 0x1,
    VDS_VPS_NO_MEDIA = 0x3,
    VDS_VPS_FAILED = 0x5,
} VDS_VOLUME_PLEX_STATUS;

typedef enum _VDS_DISK_EXTENT_TYPE : LONG {
    VDS_DET_UNKNOWN = 0x0,
    VDS_DET_FREE = 0x1,
    VDS_DET_DATA = 0x2,
    VDS_DET_OEM = 0x3,
    VDS_DET_ESP = 0x4,
    VDS_DET_MSR = 0x5,
    VDS_DET_LDM = 0x6,
    VDS_DET_CLUSTER = 0x7,
    VDS_DET_UNUSABLE = 0x7FFF,
} VDS_DISK_EXTENT_TYPE;

typedef enum _VDS_DISK_OFFLINE_REASON : LONG {
    VDSDiskOfflineReasonNone = 0x0,
    VDSDiskOfflineReasonPolicy = 0x1,
    VDSDiskOfflineReasonRedundantPath = 0x2,
    VDSDiskOfflineReasonSnapshot = 0x3,
    VDSDiskOfflineReasonCollision = 0x4,
    VDSDiskOfflineReasonResourceExhaustion = 0x5,
    VDSDiskOfflineReasonWriteFailure = 0x6,
    VDSDiskOfflineReasonDIScan = 0x7,
    VDSDiskOfflineReasonLostDataPersistence = 0x8,
} VDS_DISK_OFFLINE_REASON;

enum __VDS_PARTITION_STYLE : LONG {
    VDS_PARTITION_STYLE_MBR = 0x0,
    VDS_PARTITION_STYLE_GPT = 0x1,
    VDS_PARTITION_STYLE_RAW = 0x2,
};

typedef enum _VDS_VDISK_STATE : LONG {
    VDS_VST_UNKNOWN = 0x0,
    VDS_VST_ADDED = 0x1,
    VDS_VST_OPEN = 0x2,
    VDS_VST_ATTACH_PENDING = 0x3,
    VDS_VST_ATTACHED_NOT_OPEN = 0x4,
    VDS_VST_ATTACHED = 0x5,
    VDS_VST_DETACH_PENDING = 0x6,
    VDS_VST_COMPACTING = 0x7,
    VDS_VST_MERGING = 0x8,
    VDS_VST_EXPANDING = 0x9,
    VDS_VST_DELETED = 0xA,
    VDS_VST_MAX = 0xB,
} VDS_VDISK_STATE;

typedef enum _VDS_SERVICE_FLAG : LONG {
    VDS_SVF_SUPPORT_DYNAMIC = 0x1,
    VDS_SVF_SUPPORT_FAULT_TOLERANT = 0x2,
    VDS_SVF_SUPPORT_GPT = 0x4,
    VDS_SVF_SUPPORT_DYNAMIC_1394 = 0x8,
    VDS_SVF_CLUSTER_SERVICE_CONFIGURED = 0x10,
    VDS_SVF_AUTO_MOUNT_OFF = 0x20,
    VDS_SVF_OS_UNINSTALL_VALID = 0x40,
    VDS_SVF_EFI = 0x80,
    VDS_SVF_SUPPORT_MIRROR = 0x100,
    VDS_SVF_SUPPORT_RAID5 = 0x200,
    VDS_SVF_SUPPORT_REFS = 0x400,
} VDS_SERVICE_FLAG;

typedef enum _VDS_SAN_POLICY : LONG {
    VDS_SP_UNKNOWN = 0x0,
    VDS_SP_ONLINE = 0x1,
    VDS_SP_OFFLINE_SHARED = 0x2,
    VDS_SP_OFFLINE = 0x3,
    VDS_SP_OFFLINE_INTERNAL = 0x4,
    VDS_SP_MAX = 0x5,
} VDS_SAN_POLICY;

typedef enum _VDS_DRIVE_LETTER_FLAG : LONG {
    VDS_DLF_NON_PERSISTENT = 0x1,
} VDS_DRIVE_LETTER_FLAG;

typedef enum _VDS_FILE_SYSTEM_FLAG : LONG {
    VDS_FSF_SUPPORT_FORMAT = 0x1,
    VDS_FSF_SUPPORT_QUICK_FORMAT = 0x2,
    VDS_FSF_SUPPORT_COMPRESS = 0x4,
    VDS_FSF_SUPPORT_SPECIFY_LABEL = 0x8,
    VDS_FSF_SUPPORT_MOUNT_POINT = 0x10,
    VDS_FSF_SUPPORT_REMOVABLE_MEDIA = 0x20,
    VDS_FSF_SUPPORT_EXTEND = 0x40,
    VDS_FSF_ALLOCATION_UNIT_512 = 0x10000,
    VDS_FSF_ALLOCATION_UNIT_1K = 0x20000,
    VDS_FSF_ALLOCATION_UNIT_2K = 0x40000,
    VDS_FSF_ALLOCATION_UNIT_4K = 0x80000,
    VDS_FSF_ALLOCATION_UNIT_8K = 0x100000,
    VDS_FSF_ALLOCATION_UNIT_16K = 0x200000,
    VDS_FSF_ALLOCATION_UNIT_32K = 0x400000,
    VDS_FSF_ALLOCATION_UNIT_64K = 0x800000,
    VDS_FSF_ALLOCATION_UNIT_128K = 0x1000000,
    VDS_FSF_ALLOCATION_UNIT_256K = 0x2000000,
} VDS_FILE_SYSTEM_FLAG;

typedef enum _VDS_FILE_SYSTEM_FORMAT_SUPPORT_FLAG : LONG {
    VDS_FSS_DEFAULT = 0x1,
    VDS_FSS_PREVIOUS_REVISION = 0x2,
    VDS_FSS_RECOMMENDED = 0x4,
} VDS_FILE_SYSTEM_FORMAT_SUPPORT_FLAG;

typedef enum _VDS_FILE_SYSTEM_PROP_FLAG : LONG {
    VDS_FPF_COMPRESSED = 0x1,
} VDS_FILE_SYSTEM_PROP_FLAG;

typedef enum _VDS_FORMAT_OPTION_FLAGS : LONG {
    VDS_FSOF_NONE = 0x0,
    VDS_FSOF_FORCE = 0x1,
    VDS_FSOF_QUICK = 0x2,
    VDS_FSOF_COMPRESSION = 0x4,
    VDS_FSOF_DUPLICATE_METADATA = 0x8,
} VDS_FORMAT_OPTION_FLAGS;

typedef enum _VDS_QUERY_PROVIDER_FLAG : LONG {
    VDS_QUERY_SOFTWARE_PROVIDERS = 0x1,
    VDS_QUERY_HARDWARE_PROVIDERS = 0x2,
    VDS_QUERY_VIRTUALDISK_PROVIDERS = 0x4,
} VDS_QUERY_PROVIDER_FLAG;

struct IVdsServiceLoader;
struct IVdsService;
struct IVdsServiceInitialization;
struct IVdsServiceIscsi;
struct IVdsServiceHba;
struct IVdsServiceUninstallDisk;
struct IVdsIscsiPortalLocal;
struct IVdsIscsiInitiatorAdapter;
struct IVdsIscsiInitiatorPortal;
struct IVdsSwProvider;
struct IVdsPack;
struct IVdsPack2;
struct IVdsDisk;
struct IVdsDisk2;
struct IVdsDiskOnline;
struct IVdsAdvancedDisk;
struct IVdsAdvancedDisk2;
struct IVdsAdvancedDisk3;
struct IVdsCreatePartitionEx;
struct IVdsRemovable;
struct IVdsVolume;
struct IVdsVolume2;
struct IVdsVolumeOnline;
struct IVdsVolumePlex;
struct IVdsDisk3;
struct IVdsDiskPartitionMF;
struct IVdsVolumeMF;
struct IVdsVolumeMF2;
struct IVdsVolumeShrink;
struct IVdsServiceSAN;
struct IVdsVolumeMF3;
struct IVdsDiskPartitionMF2;
struct IVdsServiceSw;

typedef struct _VDS_ISCSI_INITIATOR_ADAPTER_PROP {
    VDS_OBJECT_ID id;
    LPWSTR pwszName;
} VDS_ISCSI_INITIATOR_ADAPTER_PROP;

typedef struct _VDS_ISCSI_INITIATOR_PORTAL_PROP {
    VDS_OBJECT_ID id;
    VDS_IPADDRESS address;
    ULONG ulPortIndex;
} VDS_ISCSI_INITIATOR_PORTAL_PROP;

typedef struct _VDS_PACK_PROP {
    VDS_OBJECT_ID id;
    LPWSTR pwszName;
    VDS_PACK_STATUS status;
    ULONG ulFlags;
} VDS_PACK_PROP;

typedef struct _VDS_DISK_PROP {
    VDS_OBJECT_ID id;
    VDS_DISK_STATUS status;
    VDS_LUN_RESERVE_MODE ReserveMode;
    VDS_HEALTH health;
    DWORD dwDeviceType;
    DWORD dwMediaType;
    ULONGLONG ullSize;
    ULONG ulBytesPerSector;
    ULONG ulSectorsPerTrack;
    ULONG ulTracksPerCylinder;
    ULONG ulFlags;
    VDS_STORAGE_BUS_TYPE BusType;
    VDS_PARTITION_STYLE PartitionStyle;
    union {
        DWORD dwSignature;
        GUID DiskGuid;
    };
    LPWSTR pwszDiskAddress;
    LPWSTR pwszName;
    LPWSTR pwszFriendlyName;
    LPWSTR pwszAdaptorName;
    LPWSTR pwszDevicePath;
} VDS_DISK_PROP;

typedef struct _VDS_DISK_PROP2 {
    VDS_OBJECT_ID id;
    VDS_DISK_STATUS status;
    VDS_DISK_OFFLINE_REASON OfflineReason;
    VDS_LUN_RESERVE_MODE ReserveMode;
    VDS_HEALTH health;
    DWORD dwDeviceType;
    DWORD dwMediaType;
    ULONGLONG ullSize;
    ULONG ulBytesPerSector;
    ULONG ulSectorsPerTrack;
    ULONG ulTracksPerCylinder;
    ULONG ulFlags;
    VDS_STORAGE_BUS_TYPE BusType;
    VDS_PARTITION_STYLE PartitionStyle;
    union {
        DWORD dwSignature;
        GUID DiskGuid;
    };
    LPWSTR pwszDiskAddress;
    LPWSTR pwszName;
    LPWSTR pwszFriendlyName;
    LPWSTR pwszAdaptorName;
    LPWSTR pwszDevicePath;
    LPWSTR pwszLocationPath;
} VDS_DISK_PROP2;

typedef struct _VDS_ADVANCEDDISK_PROP {
    LPWSTR pwszId;
    LPWSTR pwszPathname;
    LPWSTR pwszLocation;
    LPWSTR pwszFriendlyName;
    LPWSTR pswzIdentifier;
    USHORT usIdentifierFormat;
    ULONG ulNumber;
    LPWSTR pwszSerialNumber;
    LPWSTR pwszFirmwareVersion;
    LPWSTR pwszManufacturer;
    LPWSTR pwszModel;
    ULONGLONG ullTotalSize;
    ULONGLONG ullAllocatedSize;
    ULONG ulLogicalSectorSize;
    ULONG ulPhysicalSectorSize;
    ULONG ulPartitionCount;
    VDS_DISK_STATUS status;
    VDS_HEALTH health;
    VDS_STORAGE_BUS_TYPE BusType;
    VDS_PARTITION_STYLE PartitionStyle;
    union {
        DWORD dwSignature;
        GUID DiskGuid;
    };
    ULONG ulFlags;
    DWORD dwDeviceType;
} VDS_ADVANCEDDISK_PROP;

typedef struct _VDS_VOLUME_PROP {
    VDS_OBJECT_ID id;
    VDS_VOLUME_TYPE type;
    VDS_VOLUME_STATUS status;
    VDS_HEALTH health;
    VDS_TRANSITION_STATE TransitionState;
    ULONGLONG ullSize;
    ULONG ulFlags;
    VDS_FILE_SYSTEM_TYPE RecommendedFileSystemType;
    LPWSTR pwszName;
} VDS_VOLUME_PROP;

typedef struct _VDS_VOLUME_PROP2 {
    VDS_OBJECT_ID id;
    VDS_VOLUME_TYPE type;
    VDS_VOLUME_STATUS status;
    VDS_HEALTH health;
    VDS_TRANSITION_STATE TransitionState;
    ULONGLONG ullSize;
    ULONG ulFlags;
    VDS_FILE_SYSTEM_TYPE RecommendedFileSystemType;
    ULONG cbUniqueId;
    LPWSTR pwszName;
    BYTE* pUniqueId;
} VDS_VOLUME_PROP2;

typedef struct _VDS_VOLUME_PLEX_PROP {
    VDS_OBJECT_ID id;
    VDS_VOLUME_PLEX_TYPE type;
    VDS_VOLUME_PLEX_STATUS status;
    VDS_HEALTH health;
    VDS_TRANSITION_STATE TransitionState;
    ULONGLONG ullSize;
    ULONG ulStripeSize;
    ULONG ulNumberOfMembers;
} VDS_VOLUME_PLEX_PROP;

typedef struct _VDS_DISK_EXTENT {
    VDS_OBJECT_ID diskId;
    VDS_DISK_EXTENT_TYPE type;
    ULONGLONG ullOffset;
    ULONGLONG ullSize;
    VDS_OBJECT_ID volumeId;
    VDS_OBJECT_ID plexId;
    ULONG memberIdx;
} VDS_DISK_EXTENT;

typedef struct _VDS_DISK_FREE_EXTENT {
    VDS_OBJECT_ID diskId;
    ULONGLONG ullOffset;
    ULONGLONG ullSize;
} VDS_DISK_FREE_EXTENT;

typedef struct _VDS_INPUT_DISK {
    VDS_OBJECT_ID diskId;
    ULONGLONG ullSize;
    VDS_OBJECT_ID plexId;
    ULONG memberIdx;
} VDS_INPUT_DISK;

typedef struct _VDS_PARTITION_INFO_GPT {
    GUID partitionType;
    GUID partitionId;
    ULONGLONG attributes;
    WCHAR name[36];
} VDS_PARTITION_INFO_GPT;

typedef struct _VDS_PARTITION_INFO_MBR {
    BYTE partitionType;
    BOOLEAN bootIndicator;
    BOOLEAN recognizedPartition;
    ULONG hiddenSectors;
} VDS_PARTITION_INFO_MBR;

typedef struct _VDS_PARTITION_PROP {
    VDS_PARTITION_STYLE PartitionStyle;
    ULONG ulFlags;
    ULONG ulPartitionNumber;
    ULONGLONG ullOffset;
    ULONGLONG ullSize;
    union {
        VDS_PARTITION_INFO_MBR Mbr;
        VDS_PARTITION_INFO_GPT Gpt;
    };
} VDS_PARTITION_PROP;

typedef struct _VDS_PARTITION_INFORMATION_EX {
    __VDS_PARTITION_STYLE dwPartitionStyle;
    ULONGLONG ullStartingOffset;
    ULONGLONG ullPartitionLength;
    DWORD dwPartitionNumber;
    BOOLEAN bRewritePartition;
    union {
        VDS_PARTITION_INFO_MBR Mbr;
        VDS_PARTITION_INFO_GPT Gpt;
    };
} VDS_PARTITION_INFORMATION_EX;

typedef struct _CREATE_PARTITION_PARAMETERS {
    struct _MbrPartInfo {
        BYTE partitionType;
        BOOLEAN bootIndicator;
    };
    struct _GptPartInfo {
        GUID partitionType;
        GUID partitionId;
        ULONGLONG attributes;
        WCHAR name[36];
    };
    VDS_PARTITION_STYLE style;
    union {
        _MbrPartInfo MbrPartInfo;
        _GptPartInfo GptPartInfo;
    };
} CREATE_PARTITION_PARAMETERS;

typedef struct _CHANGE_ATTRIBUTES_PARAMETERS {
    struct _MbrPartInfo {
        BOOLEAN bootIndicator;
    };
    struct _GptPartInfo {
        ULONGLONG attributes;
    };
    VDS_PARTITION_STYLE style;
    union {
        _MbrPartInfo MbrPartInfo;
        _GptPartInfo GptPartInfo;
    };
} CHANGE_ATTRIBUTES_PARAMETERS;

typedef struct _CHANGE_PARTITION_TYPE_PARAMETERS {
    struct _MbrPartInfo {
        BYTE partitionType;
    };
    struct _GptPartInfo {
        GUID partitionType;
    };
    VDS_PARTITION_STYLE style;
    union {
        _MbrPartInfo MbrPartInfo;
        _GptPartInfo GptPartInfo;
    };
} CHANGE_PARTITION_TYPE_PARAMETERS;

typedef struct _VDS_SERVICE_PROP {
    LPWSTR pwszVersion;
    ULONG ulFlags;
} VDS_SERVICE_PROP;

typedef struct _VDS_REPARSE_POINT_PROP {
    VDS_OBJECT_ID SourceVolumeId;
    LPWSTR pwszPath;
} VDS_REPARSE_POINT_PROP;

typedef struct _VDS_DRIVE_LETTER_PROP {
    WCHAR wcLetter;
    VDS_OBJECT_ID volumeId;
    ULONG ulFlags;
    BOOL bUsed;
} VDS_DRIVE_LETTER_PROP;

typedef struct _VDS_FILE_SYSTEM_TYPE_PROP {
    VDS_FILE_SYSTEM_TYPE type;
    WCHAR wszName[8];
    ULONG ulFlags;
    ULONG ulCompressionFlags;
    ULONG ulMaxLableLength;
    LPWSTR pwszIllegalLabelCharSet;
} VDS_FILE_SYSTEM_TYPE_PROP;

typedef struct _VDS_FILE_SYSTEM_FORMAT_SUPPORT_PROP {
    ULONG ulFlags;
    USHORT usRevision;
    ULONG ulDefaultUnitAllocationSize;
    ULONG rgulAllowedUnitAllocationSizes[32];
    WCHAR wszName[32];
} VDS_FILE_SYSTEM_FORMAT_SUPPORT_PROP;

typedef struct _VDS_FILE_SYSTEM_PROP {
    VDS_FILE_SYSTEM_TYPE type;
    VDS_OBJECT_ID volumeId;
    ULONG ulFlags;
    ULONGLONG ullTotalAllocationUnits;
    ULONGLONG ullAvailableAllocationUnits;
    ULONG ulAllocationUnitSize;
    LPWSTR pwszLabel;
} VDS_FILE_SYSTEM_PROP;

// Interfaces have no virtual destructor: it would take slots of the vtable that the ABI gives to methods.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

struct IVdsServiceLoader : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE LoadService(LPWSTR pwszMachineName, IVdsService** ppService) = 0;
};
COMPAT_INTERFACE_ID(IVdsServiceLoader, "e0393303-90d4-4a97-ab71-e9b671ee2729");

struct IVdsService : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE IsServiceReady() = 0;
    virtual HRESULT STDMETHODCALLTYPE WaitForServiceReady() = 0;
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_SERVICE_PROP* pServiceProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryProviders(ULONG masks, IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryMaskedDisks(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryUnallocatedDisks(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetObject(VDS_OBJECT_ID ObjectId, VDS_OBJECT_TYPE type,
                                                IUnknown** ppObjectUnk) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryDriveLetters(WCHAR wcFirstLetter, ULONG count,
                                                        VDS_DRIVE_LETTER_PROP* pDriveLetterPropArray) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryFileSystemTypes(VDS_FILE_SYSTEM_TYPE_PROP** ppFileSystemTypeProps,
                                                           LONG* plNumberOfFileSystems) = 0;
    virtual HRESULT STDMETHODCALLTYPE Reenumerate() = 0;
    virtual HRESULT STDMETHODCALLTYPE Refresh() = 0;
    virtual HRESULT STDMETHODCALLTYPE CleanupObsoleteMountPoints() = 0;
    virtual HRESULT STDMETHODCALLTYPE Advise(IVdsAdviseSink* pSink, DWORD* pdwCookie) = 0;
    virtual HRESULT STDMETHODCALLTYPE Unadvise(DWORD dwCookie) = 0;
    virtual HRESULT STDMETHODCALLTYPE Reboot() = 0;
    virtual HRESULT STDMETHODCALLTYPE SetFlags(ULONG ulFlags) = 0;
    virtual HRESULT STDMETHODCALLTYPE ClearFlags(ULONG ulFlags) = 0;
};
COMPAT_INTERFACE_ID(IVdsService, "0818a8ef-9ba9-40d8-a6f9-e22833cc771e");

struct IVdsServiceInitialization : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE Initialize(LPWSTR pwszMachineName) = 0;
};
COMPAT_INTERFACE_ID(IVdsServiceInitialization, "4afc3636-db01-4052-80c3-03bbcb8d3c69");

struct IVdsServiceIscsi : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetInitiatorName(LPWSTR* ppwszIscsiName) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryInitiatorAdapters(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetIpsecGroupPresharedKey(VDS_ISCSI_IPSEC_KEY* pIpsecKey) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetAllIpsecTunnelAddresses(VDS_IPADDRESS* pTunnelAddress,
                                                                 VDS_IPADDRESS* pDestinationAddress) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetAllIpsecSecurity(VDS_OBJECT_ID targetPortalId, ULONGLONG ullSecurityFlags,
                                                          VDS_ISCSI_IPSEC_KEY* pIpsecKey) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetInitiatorSharedSecret(VDS_ISCSI_SHARED_SECRET* pInitiatorSharedSecret,
                                                               VDS_OBJECT_ID targetId) = 0;
    virtual HRESULT STDMETHODCALLTYPE RememberTargetSharedSecret(VDS_OBJECT_ID targetId,
                                                                 VDS_ISCSI_SHARED_SECRET* pTargetSharedSecret) = 0;
};
COMPAT_INTERFACE_ID(IVdsServiceIscsi, "14fbe036-3ed7-4e10-90e9-a5ff991aff01");

struct IVdsServiceHba : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryHbaPorts(IEnumVdsObject** ppEnum) = 0;
};
COMPAT_INTERFACE_ID(IVdsServiceHba, "0ac13689-3134-47c6-a17c-4669216801be");

struct IVdsServiceUninstallDisk : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetDiskIdFromLunInfo(VDS_LUN_INFORMATION* pLunInfo, VDS_OBJECT_ID* pDiskId) = 0;
    virtual HRESULT STDMETHODCALLTYPE UninstallDisks(VDS_OBJECT_ID* pDiskIdArray, ULONG ulCount, BOOLEAN bForce,
                                                     BYTE* pbReboot, HRESULT* pResults) = 0;
};
COMPAT_INTERFACE_ID(IVdsServiceUninstallDisk, "b6b22da8-f903-4be7-b492-c09d875ac9da");

struct IVdsIscsiPortalLocal : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE SetIpsecSecurityLocal(ULONGLONG ullSecurityFlags,
                                                            VDS_ISCSI_IPSEC_KEY* pIpsecKey) = 0;
};
COMPAT_INTERFACE_ID(IVdsIscsiPortalLocal, "ad837c28-52c1-421d-bf04-fae7da665396");

struct IVdsIscsiInitiatorAdapter : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_ISCSI_INITIATOR_ADAPTER_PROP* pInitiatorAdapterProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryInitiatorPortals(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE LoginToTarget(VDS_ISCSI_LOGIN_TYPE loginType, VDS_OBJECT_ID targetId,
                                                    VDS_OBJECT_ID targetPortalId, VDS_OBJECT_ID initiatorPortalId,
                                                    ULONG ulLoginFlags, BOOL bHeaderDigest, BOOL bDataDigest,
                                                    VDS_ISCSI_AUTH_TYPE authType, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE LogoutFromTarget(VDS_OBJECT_ID targetId, IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsIscsiInitiatorAdapter, "b07fedd4-1682-4440-9189-a39b55194dc5");

struct IVdsIscsiInitiatorPortal : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_ISCSI_INITIATOR_PORTAL_PROP* pInitiatorPortalProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetInitiatorAdapter(IVdsIscsiInitiatorAdapter** ppInitiatorAdapter) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetIpsecTunnelAddress(VDS_IPADDRESS* pTunnelAddress,
                                                            VDS_IPADDRESS* pDestinationAddress) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetIpsecSecurity(VDS_OBJECT_ID targetPortalId, ULONGLONG* pullSecurityFlags) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetIpsecSecurity(VDS_OBJECT_ID targetPortalId, ULONGLONG ullSecurityFlags,
                                                       VDS_ISCSI_IPSEC_KEY* pIpsecKey) = 0;
};
COMPAT_INTERFACE_ID(IVdsIscsiInitiatorPortal, "38a0a9ab-7cc8-4693-ac07-1f28bd03c3da");

struct IVdsSwProvider : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryPacks(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE CreatePack(IVdsPack** ppPack) = 0;
};
COMPAT_INTERFACE_ID(IVdsSwProvider, "9aa58360-ce33-4f92-b658-ed24b14425b8");

struct IVdsPack : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_PACK_PROP* pPackProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetProvider(IVdsProvider** ppProvider) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryVolumes(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryDisks(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE CreateVolume(VDS_VOLUME_TYPE type, VDS_INPUT_DISK* pInputDiskArray,
                                                   LONG lNumberOfDisks, ULONG ulStripeSize, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE AddDisk(VDS_OBJECT_ID DiskId, VDS_PARTITION_STYLE PartitionStyle,
                                              BOOL bAsHotSpare) = 0;
    virtual HRESULT STDMETHODCALLTYPE MigrateDisks(GUID* pDiskArray, LONG lNumberOfDisks, VDS_OBJECT_ID TargetPack,
                                                   BOOL bForce, BOOL bQueryOnly, HRESULT* pResults,
                                                   BOOL* pbRebootNeeded) = 0;
    virtual HRESULT STDMETHODCALLTYPE ReplaceDisk(VDS_OBJECT_ID OldDiskId, VDS_OBJECT_ID NewDiskId,
                                                  IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE RemoveMissingDisk(VDS_OBJECT_ID DiskId) = 0;
    virtual HRESULT STDMETHODCALLTYPE Recover(IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsPack, "3b69d7f5-9d94-4648-91ca-79939ba263bf");

struct IVdsPack2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE CreateVolume2(VDS_VOLUME_TYPE type, VDS_INPUT_DISK* pInputDiskArray,
                                                    LONG lNumberOfDisks, ULONG ulStripeSize, ULONG ulAlign,
                                                    IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsPack2, "13b50bff-290a-47dd-8558-b7c58db1a71a");

struct IVdsDisk : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_DISK_PROP* pDiskProperties) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetPack(IVdsPack** ppPack) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetIdentificationData(VDS_LUN_INFORMATION* pLunInfo) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryExtents(VDS_DISK_EXTENT** ppExtentArray, LONG* plNumberOfExtents) = 0;
    virtual HRESULT STDMETHODCALLTYPE ConvertStyle(VDS_PARTITION_STYLE NewStyle) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetFlags(ULONG ulFlags) = 0;
    virtual HRESULT STDMETHODCALLTYPE ClearFlags(ULONG ulFlags) = 0;
};
COMPAT_INTERFACE_ID(IVdsDisk, "07e5c822-f00c-47a1-8fce-b244da56fd06");

struct IVdsDisk2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE SetSANMode(BOOL bEnable) = 0;
};
COMPAT_INTERFACE_ID(IVdsDisk2, "40f73c8b-687d-4a13-8d96-3d7f2e683936");

struct IVdsDiskOnline : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE Online() = 0;
    virtual HRESULT STDMETHODCALLTYPE Offline() = 0;
};
COMPAT_INTERFACE_ID(IVdsDiskOnline, "90681b1d-6a7f-48e8-9061-31b7aa125322");

struct IVdsAdvancedDisk : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetPartitionProperties(ULONGLONG ullOffset,
                                                             VDS_PARTITION_PROP* pPartitionProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryPartitions(VDS_PARTITION_PROP** ppPartitionPropArray,
                                                      LONG* plNumberOfPartitions) = 0;
    virtual HRESULT STDMETHODCALLTYPE CreatePartition(ULONGLONG ullOffset, ULONGLONG ullSize,
                                                      CREATE_PARTITION_PARAMETERS* para, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE DeletePartition(ULONGLONG ullOffset, BOOL bForce, BOOL bForceProtected) = 0;
    virtual HRESULT STDMETHODCALLTYPE ChangeAttributes(ULONGLONG ullOffset, CHANGE_ATTRIBUTES_PARAMETERS* para) = 0;
    virtual HRESULT STDMETHODCALLTYPE AssignDriveLetter(ULONGLONG ullOffset, WCHAR wcLetter) = 0;
    virtual HRESULT STDMETHODCALLTYPE DeleteDriveLetter(ULONGLONG ullOffset, WCHAR wcLetter) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetDriveLetter(ULONGLONG ullOffset, LPWSTR pwcLetter) = 0;
    virtual HRESULT STDMETHODCALLTYPE FormatPartition(ULONGLONG ullOffset, VDS_FILE_SYSTEM_TYPE type, LPWSTR pwszLabel,
                                                      DWORD dwUnitAllocationSize, BOOL bForce, BOOL bQuickFormat,
                                                      BOOL bEnableCompression, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE Clean(BOOL bForce, BOOL bForceOEM, BOOL bFullClean, IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsAdvancedDisk, "6e6f6b40-977c-4069-bddd-ac710059f8c0");

struct IVdsAdvancedDisk2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE ChangePartitionType(ULONGLONG ullOffset, BOOL bForce,
                                                          CHANGE_PARTITION_TYPE_PARAMETERS* para) = 0;
};
COMPAT_INTERFACE_ID(IVdsAdvancedDisk2, "9723f420-9355-42de-ab66-e31bb15beeac");

struct IVdsAdvancedDisk3 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_ADVANCEDDISK_PROP* pAdvDiskProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetUniqueId(LPWSTR* ppwszId) = 0;
};
COMPAT_INTERFACE_ID(IVdsAdvancedDisk3, "3858c0d5-0f35-4bf5-9714-69874963bc36");

struct IVdsCreatePartitionEx : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE CreatePartitionEx(ULONGLONG ullOffset, ULONGLONG ullSize, ULONG ulAlign,
                                                        CREATE_PARTITION_PARAMETERS* para, IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsCreatePartitionEx, "9882f547-cfc3-420b-9750-00dfbec50662");

struct IVdsRemovable : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryMedia() = 0;
    virtual HRESULT STDMETHODCALLTYPE Eject() = 0;
};
COMPAT_INTERFACE_ID(IVdsRemovable, "0316560b-5db4-4ed9-bbb5-213436ddc0d9");

struct IVdsVolume : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_VOLUME_PROP* pVolumeProperties) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetPack(IVdsPack** ppPack) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryPlexes(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE Extend(VDS_INPUT_DISK* pInputDiskArray, LONG lNumberOfDisks,
                                             IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE Shrink(ULONGLONG ullNumberOfBytesToRemove, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE AddPlex(VDS_OBJECT_ID VolumeId, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE BreakPlex(VDS_OBJECT_ID plexId, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE RemovePlex(VDS_OBJECT_ID plexId, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE Delete(BOOL bForce) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetFlags(ULONG ulFlags, BOOL bRevertOnClose) = 0;
    virtual HRESULT STDMETHODCALLTYPE ClearFlags(ULONG ulFlags) = 0;
};
COMPAT_INTERFACE_ID(IVdsVolume, "88306bb2-e71f-478c-86a2-79da200a0f11");

struct IVdsVolume2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties2(VDS_VOLUME_PROP2* pVolumeProperties) = 0;
};
COMPAT_INTERFACE_ID(IVdsVolume2, "72ae6713-dcbb-4a03-b36b-371f6ac6b53d");

struct IVdsVolumeOnline : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE Online() = 0;
};
COMPAT_INTERFACE_ID(IVdsVolumeOnline, "1be2275a-b315-4f70-9e44-879b3a2a53f2");

struct IVdsVolumePlex : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_VOLUME_PLEX_PROP* pPlexProperties) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetVolume(IVdsVolume** ppVolume) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryExtents(VDS_DISK_EXTENT** ppExtentArray, LONG* plNumberOfExtents) = 0;
    virtual HRESULT STDMETHODCALLTYPE Repair(VDS_INPUT_DISK* pInputDiskArray, LONG lNumberOfDisks,
                                             IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsVolumePlex, "4daa0135-e1d1-40f1-aaa5-3cc1e53221c3");

struct IVdsDisk3 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties2(VDS_DISK_PROP2* pDiskProperties) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryFreeExtents(ULONG ulAlign, VDS_DISK_FREE_EXTENT** ppFreeExtentArray,
                                                       LONG* plNumberOfFreeExtents) = 0;
};
COMPAT_INTERFACE_ID(IVdsDisk3, "8f4b2f5d-ec15-4357-992f-473ef10975b9");

struct IVdsDiskPartitionMF : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetPartitionFileSystemProperties(ULONGLONG ullOffset,
                                                                       VDS_FILE_SYSTEM_PROP* pFileSystemProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetPartitionFileSystemTypeName(ULONGLONG ullOffset,
                                                                     LPWSTR* ppwszFileSystemTypeName) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryPartitionFileSystemFormatSupport(
        ULONGLONG ullOffset, VDS_FILE_SYSTEM_FORMAT_SUPPORT_PROP** ppFileSystemSupportProps,
        LONG* plNumberOfFileSystems) = 0;
    virtual HRESULT STDMETHODCALLTYPE FormatPartitionEx(ULONGLONG ullOffset, LPWSTR pwszFileSystemTypeName,
                                                        USHORT usFileSystemRevision, ULONG ulDesiredUnitAllocationSize,
                                                        LPWSTR pwszLabel, BOOL bForce, BOOL bQuickFormat,
                                                        BOOL bEnableCompression, IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsDiskPartitionMF, "538684e0-ba3d-4bc0-aca9-164aff85c2a9");

struct IVdsVolumeMF : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetFileSystemProperties(VDS_FILE_SYSTEM_PROP* pFileSystemProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE Format(VDS_FILE_SYSTEM_TYPE type, LPWSTR pwszLabel, DWORD dwUnitAllocationSize,
                                             BOOL bForce, BOOL bQuickFormat, BOOL bEnableCompression,
                                             IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE AddAccessPath(LPWSTR pwszPath) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryAccessPaths(LPWSTR** pwszPathArray, LONG* plNumberOfAccessPaths) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryReparsePoints(VDS_REPARSE_POINT_PROP** ppReparsePointProps,
                                                         LONG* plNumberOfReparsePointProps) = 0;
    virtual HRESULT STDMETHODCALLTYPE DeleteAccessPath(LPWSTR pwszPath, BOOL bForce) = 0;
    virtual HRESULT STDMETHODCALLTYPE Mount() = 0;
    virtual HRESULT STDMETHODCALLTYPE Dismount(BOOL bForce, BOOL bPermanent) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetFileSystemFlags(ULONG ulFlags) = 0;
    virtual HRESULT STDMETHODCALLTYPE ClearFileSystemFlags(ULONG ulFlags) = 0;
};
COMPAT_INTERFACE_ID(IVdsVolumeMF, "ee2d5ded-6236-4169-931d-b9778ce03dc6");

struct IVdsVolumeMF2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetFileSystemTypeName(LPWSTR* ppwszFileSystemTypeName) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryFileSystemFormatSupport(
        VDS_FILE_SYSTEM_FORMAT_SUPPORT_PROP** ppFileSystemSupportProps, LONG* plNumberOfFileSystems) = 0;
    virtual HRESULT STDMETHODCALLTYPE FormatEx(LPWSTR pwszFileSystemTypeName, USHORT usFileSystemRevision,
                                               ULONG ulDesiredUnitAllocationSize, LPWSTR pwszLabel, BOOL bForce,
                                               BOOL bQuickFormat, BOOL bEnableCompression, IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsVolumeMF2, "4dbcee9a-6343-4651-b85f-5e75d74d983c");

struct IVdsVolumeShrink : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryMaxReclaimableBytes(ULONGLONG* pullMaxNumberOfReclaimableBytes) = 0;
    virtual HRESULT STDMETHODCALLTYPE Shrink(ULONGLONG ullDesiredNumberOfReclaimableBytes,
                                             ULONGLONG ullMinNumberOfReclaimableBytes, IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsVolumeShrink, "d68168c9-82a2-4f85-b6e9-74707c49a58f");

struct IVdsServiceSAN : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetSANPolicy(VDS_SAN_POLICY* pSanPolicy) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetSANPolicy(VDS_SAN_POLICY SanPolicy) = 0;
};
COMPAT_INTERFACE_ID(IVdsServiceSAN, "fc5d23e8-a88b-41a5-8de0-2d2f73c5a630");

struct IVdsVolumeMF3 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryVolumeGuidPathnames(LPWSTR** pwszPathArray, ULONG* pulNumberOfPaths) = 0;
    virtual HRESULT STDMETHODCALLTYPE FormatEx2(LPWSTR pwszFileSystemTypeName, USHORT usFileSystemRevision,
                                                ULONG ulDesiredUnitAllocationSize, LPWSTR pwszLabel, ULONG Options,
                                                IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE OfflineVolume() = 0;
};
COMPAT_INTERFACE_ID(IVdsVolumeMF3, "6788faf9-214e-4b85-ba59-266953616e09");

struct IVdsDiskPartitionMF2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE FormatPartitionEx2(ULONGLONG ullOffset, LPWSTR pwszFileSystemTypeName,
                                                         USHORT usFileSystemRevision, ULONG ulDesiredUnitAllocationSize,
                                                         LPWSTR pwszLabel, ULONG Options, IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsDiskPartitionMF2, "9cbe50ca-f2d2-4bf4-ace1-96896b729625");

struct IVdsServiceSw : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetDiskObject(LPCWSTR pwszDeviceID, IUnknown** ppDiskUnk) = 0;
};
COMPAT_INTERFACE_ID(IVdsServiceSw, "15fc031c-0652-4306-b2c3-f558b8f837e2");

#pragma GCC diagnostic pop

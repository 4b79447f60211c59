// Virtual Disk Service, the side of a hardware provider: subsystems, drives, LUNs and plexes, iSCSI targets and
// portals, and what every object needs (asynchronous operations, enumerations, notifications).
//
// Layout, order of methods and values follow Microsoft's published binary interface; the comparison is mechanical
// (tests/abi). Strings and arrays that a method returns are freed by the caller with CoTaskMemFree.
#pragma once

#include "compat/com.h"
#include "vdserr.h"
#include "vdslun.h"

typedef GUID VDS_OBJECT_ID;

#define VDS_NF_CONTROLLER_ARRIVE 0x67
#define VDS_NF_CONTROLLER_DEPART 0x68
#define VDS_NF_CONTROLLER_MODIFY 0x15E
#define VDS_NF_CONTROLLER_REMOVED 0x15F
#define VDS_NF_DRIVE_ARRIVE 0x69
#define VDS_NF_DRIVE_DEPART 0x6A
#define VDS_NF_DRIVE_MODIFY 0x6B
#define VDS_NF_DRIVE_REMOVED 0x162
#define VDS_NF_PORT_ARRIVE 0x79
#define VDS_NF_PORT_DEPART 0x7A
#define VDS_NF_PORT_MODIFY 0x160
#define VDS_NF_PORT_REMOVED 0x161
#define VDS_NF_LUN_ARRIVE 0x6C
#define VDS_NF_LUN_DEPART 0x6D
#define VDS_NF_LUN_MODIFY 0x6E
#define VDS_NF_SUB_SYSTEM_ARRIVE 0x65
#define VDS_NF_SUB_SYSTEM_DEPART 0x66
#define VDS_NF_PORTAL_ARRIVE 0x7B
#define VDS_NF_PORTAL_DEPART 0x7C
#define VDS_NF_PORTAL_MODIFY 0x7D
#define VDS_NF_TARGET_ARRIVE 0x7E
#define VDS_NF_TARGET_DEPART 0x7F
#define VDS_NF_TARGET_MODIFY 0x80
#define VDS_NF_PORTAL_GROUP_ARRIVE 0x81
#define VDS_NF_PORTAL_GROUP_DEPART 0x82
#define VDS_NF_PORTAL_GROUP_MODIFY 0x83
#define VDS_NF_SUB_SYSTEM_MODIFY 0x97
#define VDS_HINT_FASTCRASHRECOVERYREQUIRED 0x1L
#define VDS_HINT_MOSTLYREADS 0x2L
#define VDS_HINT_OPTIMIZEFORSEQUENTIALREADS 0x4L
#define VDS_HINT_OPTIMIZEFORSEQUENTIALWRITES 0x8L
#define VDS_HINT_READBACKVERIFYENABLED 0x10L
#define VDS_HINT_REMAPENABLED 0x20L
#define VDS_HINT_WRITETHROUGHCACHINGENABLED 0x40L
#define VDS_HINT_HARDWARECHECKSUMENABLED 0x80L
#define VDS_HINT_ISYANKABLE 0x100L
#define VDS_HINT_ALLOCATEHOTSPARE 0x200L
#define VDS_HINT_BUSTYPE 0x400L
#define VDS_HINT_USEMIRROREDCACHE 0x800L
#define VDS_HINT_READCACHINGENABLED 0x1000L
#define VDS_HINT_WRITECACHINGENABLED 0x2000L
#define VDS_HINT_MEDIASCANENABLED 0x4000L
#define VDS_HINT_CONSISTENCYCHECKENABLED 0x8000L
#define VDS_REBUILD_PRIORITY_MIN 0x0
#define VDS_REBUILD_PRIORITY_MAX 0x10
#define VDS_POOL_ATTRIB_RAIDTYPE 0x1L
#define VDS_POOL_ATTRIB_BUSTYPE 0x2L
#define VDS_POOL_ATTRIB_ALLOW_SPINDOWN 0x4L
#define VDS_POOL_ATTRIB_THIN_PROVISION 0x8L
#define VDS_POOL_ATTRIB_NO_SINGLE_POF 0x10L
#define VDS_POOL_ATTRIB_DATA_RDNCY_MAX 0x20L
#define VDS_POOL_ATTRIB_DATA_RDNCY_MIN 0x40L
#define VDS_POOL_ATTRIB_DATA_RDNCY_DEF 0x80L
#define VDS_POOL_ATTRIB_PKG_RDNCY_MAX 0x100L
#define VDS_POOL_ATTRIB_PKG_RDNCY_MIN 0x200L
#define VDS_POOL_ATTRIB_PKG_RDNCY_DEF 0x400L
#define VDS_POOL_ATTRIB_STRIPE_SIZE 0x800L
#define VDS_POOL_ATTRIB_STRIPE_SIZE_MAX 0x1000L
#define VDS_POOL_ATTRIB_STRIPE_SIZE_MIN 0x2000L
#define VDS_POOL_ATTRIB_STRIPE_SIZE_DEF 0x4000L
#define VDS_POOL_ATTRIB_NUM_CLMNS 0x8000L
#define VDS_POOL_ATTRIB_NUM_CLMNS_MAX 0x10000L
#define VDS_POOL_ATTRIB_NUM_CLMNS_MIN 0x20000L
#define VDS_POOL_ATTRIB_NUM_CLMNS_DEF 0x40000L
#define VDS_POOL_ATTRIB_DATA_AVL_HINT 0x80000L
#define VDS_POOL_ATTRIB_ACCS_RNDM_HINT 0x100000L
#define VDS_POOL_ATTRIB_ACCS_DIR_HINT 0x200000L
#define VDS_POOL_ATTRIB_ACCS_SIZE_HINT 0x400000L
#define VDS_POOL_ATTRIB_ACCS_LTNCY_HINT 0x800000L
#define VDS_POOL_ATTRIB_ACCS_BDW_WT_HINT 0x1000000L
#define VDS_POOL_ATTRIB_STOR_COST_HINT 0x2000000L
#define VDS_POOL_ATTRIB_STOR_EFFCY_HINT 0x4000000L
#define VDS_POOL_ATTRIB_CUSTOM_ATTRIB 0x8000000L

typedef enum _VDS_OBJECT_TYPE : LONG {
    VDS_OT_UNKNOWN = 0x0,
    VDS_OT_PROVIDER = 0x1,
    VDS_OT_PACK = 0xA,
    VDS_OT_VOLUME = 0xB,
    VDS_OT_VOLUME_PLEX = 0xC,
    VDS_OT_DISK = 0xD,
    VDS_OT_SUB_SYSTEM = 0x1E,
    VDS_OT_CONTROLLER = 0x1F,
    VDS_OT_DRIVE = 0x20,
    VDS_OT_LUN = 0x21,
    VDS_OT_LUN_PLEX = 0x22,
    VDS_OT_PORT = 0x23,
    VDS_OT_PORTAL = 0x24,
    VDS_OT_TARGET = 0x25,
    VDS_OT_PORTAL_GROUP = 0x26,
    VDS_OT_STORAGE_POOL = 0x27,
    VDS_OT_HBAPORT = 0x5A,
    VDS_OT_INIT_ADAPTER = 0x5B,
    VDS_OT_INIT_PORTAL = 0x5C,
    VDS_OT_ASYNC = 0x64,
    VDS_OT_ENUM = 0x65,
    VDS_OT_VDISK = 0xC8,
    VDS_OT_OPEN_VDISK = 0xC9,
} VDS_OBJECT_TYPE;

typedef enum _VDS_PROVIDER_TYPE : LONG {
    VDS_PT_UNKNOWN = 0x0,
    VDS_PT_SOFTWARE = 0x1,
    VDS_PT_HARDWARE = 0x2,
    VDS_PT_VIRTUALDISK = 0x3,
    VDS_PT_MAX = 0x4,
} VDS_PROVIDER_TYPE;

typedef enum _VDS_PROVIDER_FLAG : ULONG {
    VDS_PF_DYNAMIC = 0x1,
    VDS_PF_INTERNAL_HARDWARE_PROVIDER = 0x2,
    VDS_PF_ONE_DISK_ONLY_PER_PACK = 0x4,
    VDS_PF_ONE_PACK_ONLINE_ONLY = 0x8,
    VDS_PF_VOLUME_SPACE_MUST_BE_CONTIGUOUS = 0x10,
    VDS_PF_SUPPORT_DYNAMIC = 0x80000000,
    VDS_PF_SUPPORT_FAULT_TOLERANT = 0x40000000,
    VDS_PF_SUPPORT_DYNAMIC_1394 = 0x20000000,
    VDS_PF_SUPPORT_MIRROR = 0x20,
    VDS_PF_SUPPORT_RAID5 = 0x40,
} VDS_PROVIDER_FLAG;

typedef enum _VDS_RECOVER_ACTION : LONG {
    VDS_RA_UNKNOWN = 0x0,
    VDS_RA_REFRESH = 0x1,
    VDS_RA_RESTART = 0x2,
} VDS_RECOVER_ACTION;

typedef enum _VDS_NOTIFICATION_TARGET_TYPE : LONG {
    VDS_NTT_UNKNOWN = 0x0,
    VDS_NTT_PACK = 0xA,
    VDS_NTT_VOLUME = 0xB,
    VDS_NTT_DISK = 0xD,
    VDS_NTT_PARTITION = 0x3C,
    VDS_NTT_DRIVE_LETTER = 0x3D,
    VDS_NTT_FILE_SYSTEM = 0x3E,
    VDS_NTT_MOUNT_POINT = 0x3F,
    VDS_NTT_SUB_SYSTEM = 0x1E,
    VDS_NTT_CONTROLLER = 0x1F,
    VDS_NTT_DRIVE = 0x20,
    VDS_NTT_LUN = 0x21,
    VDS_NTT_PORT = 0x23,
    VDS_NTT_PORTAL = 0x24,
    VDS_NTT_TARGET = 0x25,
    VDS_NTT_PORTAL_GROUP = 0x26,
    VDS_NTT_SERVICE = 0xC8,
} VDS_NOTIFICATION_TARGET_TYPE;

typedef enum _VDS_ASYNC_OUTPUT_TYPE : LONG {
    VDS_ASYNCOUT_UNKNOWN = 0x0,
    VDS_ASYNCOUT_CREATEVOLUME = 0x1,
    VDS_ASYNCOUT_EXTENDVOLUME = 0x2,
    VDS_ASYNCOUT_SHRINKVOLUME = 0x3,
    VDS_ASYNCOUT_ADDVOLUMEPLEX = 0x4,
    VDS_ASYNCOUT_BREAKVOLUMEPLEX = 0x5,
    VDS_ASYNCOUT_REMOVEVOLUMEPLEX = 0x6,
    VDS_ASYNCOUT_REPAIRVOLUMEPLEX = 0x7,
    VDS_ASYNCOUT_RECOVERPACK = 0x8,
    VDS_ASYNCOUT_REPLACEDISK = 0x9,
    VDS_ASYNCOUT_CREATEPARTITION = 0xA,
    VDS_ASYNCOUT_CLEAN = 0xB,
    VDS_ASYNCOUT_CREATELUN = 0x32,
    VDS_ASYNCOUT_ADDLUNPLEX = 0x34,
    VDS_ASYNCOUT_REMOVELUNPLEX = 0x35,
    VDS_ASYNCOUT_EXTENDLUN = 0x36,
    VDS_ASYNCOUT_SHRINKLUN = 0x37,
    VDS_ASYNCOUT_RECOVERLUN = 0x38,
    VDS_ASYNCOUT_LOGINTOTARGET = 0x3C,
    VDS_ASYNCOUT_LOGOUTFROMTARGET = 0x3D,
    VDS_ASYNCOUT_CREATETARGET = 0x3E,
    VDS_ASYNCOUT_CREATEPORTALGROUP = 0x3F,
    VDS_ASYNCOUT_DELETETARGET = 0x40,
    VDS_ASYNCOUT_ADDPORTAL = 0x41,
    VDS_ASYNCOUT_REMOVEPORTAL = 0x42,
    VDS_ASYNCOUT_DELETEPORTALGROUP = 0x43,
    VDS_ASYNCOUT_FORMAT = 0x65,
    VDS_ASYNCOUT_CREATE_VDISK = 0xC8,
    VDS_ASYNCOUT_ATTACH_VDISK = 0xC9,
    VDS_ASYNCOUT_COMPACT_VDISK = 0xCA,
    VDS_ASYNCOUT_MERGE_VDISK = 0xCB,
    VDS_ASYNCOUT_EXPAND_VDISK = 0xCC,
} VDS_ASYNC_OUTPUT_TYPE;

typedef enum _VDS_IPADDRESS_TYPE : LONG {
    VDS_IPT_TEXT = 0x0,
    VDS_IPT_IPV4 = 0x1,
    VDS_IPT_IPV6 = 0x2,
    VDS_IPT_EMPTY = 0x3,
} VDS_IPADDRESS_TYPE;

typedef enum _VDS_HEALTH : LONG {
    VDS_H_UNKNOWN = 0x0,
    VDS_H_HEALTHY = 0x1,
    VDS_H_REBUILDING = 0x2,
    VDS_H_STALE = 0x3,
    VDS_H_FAILING = 0x4,
    VDS_H_FAILING_REDUNDANCY = 0x5,
    VDS_H_FAILED_REDUNDANCY = 0x6,
    VDS_H_FAILED_REDUNDANCY_FAILING = 0x7,
    VDS_H_FAILED = 0x8,
    VDS_H_REPLACED = 0x9,
    VDS_H_PENDING_FAILURE = 0xA,
    VDS_H_DEGRADED = 0xB,
} VDS_HEALTH;

typedef enum _VDS_TRANSITION_STATE : LONG {
    VDS_TS_UNKNOWN = 0x0,
    VDS_TS_STABLE = 0x1,
    VDS_TS_EXTENDING = 0x2,
    VDS_TS_SHRINKING = 0x3,
    VDS_TS_RECONFIGING = 0x4,
    VDS_TS_RESTRIPING = 0x5,
} VDS_TRANSITION_STATE;

typedef enum _VDS_HBAPORT_TYPE : LONG {
    VDS_HPT_UNKNOWN = 0x1,
    VDS_HPT_OTHER = 0x2,
    VDS_HPT_NOTPRESENT = 0x3,
    VDS_HPT_NPORT = 0x5,
    VDS_HPT_NLPORT = 0x6,
    VDS_HPT_FLPORT = 0x7,
    VDS_HPT_FPORT = 0x8,
    VDS_HPT_EPORT = 0x9,
    VDS_HPT_GPORT = 0xA,
    VDS_HPT_LPORT = 0x14,
    VDS_HPT_PTP = 0x15,
} VDS_HBAPORT_TYPE;

typedef enum _VDS_HBAPORT_STATUS : LONG {
    VDS_HPS_UNKNOWN = 0x1,
    VDS_HPS_ONLINE = 0x2,
    VDS_HPS_OFFLINE = 0x3,
    VDS_HPS_BYPASSED = 0x4,
    VDS_HPS_DIAGNOSTICS = 0x5,
    VDS_HPS_LINKDOWN = 0x6,
    VDS_HPS_ERROR = 0x7,
    VDS_HPS_LOOPBACK = 0x8,
} VDS_HBAPORT_STATUS;

typedef enum _VDS_HBAPORT_SPEED_FLAG : LONG {
    VDS_HSF_UNKNOWN = 0x0,
    VDS_HSF_1GBIT = 0x1,
    VDS_HSF_2GBIT = 0x2,
    VDS_HSF_10GBIT = 0x4,
    VDS_HSF_4GBIT = 0x8,
    VDS_HSF_NOT_NEGOTIATED = 0x8000,
} VDS_HBAPORT_SPEED_FLAG;

typedef enum _VDS_PATH_STATUS : LONG {
    VDS_MPS_UNKNOWN = 0x0,
    VDS_MPS_ONLINE = 0x1,
    VDS_MPS_FAILED = 0x5,
    VDS_MPS_STANDBY = 0x7,
} VDS_PATH_STATUS;

typedef enum _VDS_LOADBALANCE_POLICY_ENUM : LONG {
    VDS_LBP_UNKNOWN = 0x0,
    VDS_LBP_FAILOVER = 0x1,
    VDS_LBP_ROUND_ROBIN = 0x2,
    VDS_LBP_ROUND_ROBIN_WITH_SUBSET = 0x3,
    VDS_LBP_DYN_LEAST_QUEUE_DEPTH = 0x4,
    VDS_LBP_WEIGHTED_PATHS = 0x5,
    VDS_LBP_LEAST_BLOCKS = 0x6,
    VDS_LBP_VENDOR_SPECIFIC = 0x7,
} VDS_LOADBALANCE_POLICY_ENUM;

typedef enum _VDS_PROVIDER_LBSUPPORT_FLAG : LONG {
    VDS_LBF_FAILOVER = 0x1,
    VDS_LBF_ROUND_ROBIN = 0x2,
    VDS_LBF_ROUND_ROBIN_WITH_SUBSET = 0x4,
    VDS_LBF_DYN_LEAST_QUEUE_DEPTH = 0x8,
    VDS_LBF_WEIGHTED_PATHS = 0x10,
    VDS_LBF_LEAST_BLOCKS = 0x20,
    VDS_LBF_VENDOR_SPECIFIC = 0x40,
} VDS_PROVIDER_LBSUPPORT_FLAG;

typedef enum _VDS_VERSION_SUPPORT_FLAG : LONG {
    VDS_VSF_1_0 = 0x1,
    VDS_VSF_1_1 = 0x2,
    VDS_VSF_2_0 = 0x4,
    VDS_VSF_2_1 = 0x8,
    VDS_VSF_3_0 = 0x10,
} VDS_VERSION_SUPPORT_FLAG;

typedef enum _VDS_HWPROVIDER_TYPE : LONG {
    VDS_HWT_UNKNOWN = 0x0,
    VDS_HWT_PCI_RAID = 0x1,
    VDS_HWT_FIBRE_CHANNEL = 0x2,
    VDS_HWT_ISCSI = 0x3,
    VDS_HWT_SAS = 0x4,
    VDS_HWT_HYBRID = 0x5,
} VDS_HWPROVIDER_TYPE;

typedef enum _VDS_ISCSI_IPSEC_FLAG : LONG {
    VDS_IIF_VALID = 0x1,
    VDS_IIF_IKE = 0x2,
    VDS_IIF_MAIN_MODE = 0x4,
    VDS_IIF_AGGRESSIVE_MODE = 0x8,
    VDS_IIF_PFS_ENABLE = 0x10,
    VDS_IIF_TRANSPORT_MODE_PREFERRED = 0x20,
    VDS_IIF_TUNNEL_MODE_PREFERRED = 0x40,
} VDS_ISCSI_IPSEC_FLAG;

typedef enum _VDS_SUB_SYSTEM_STATUS : LONG {
    VDS_SSS_UNKNOWN = 0x0,
    VDS_SSS_ONLINE = 0x1,
    VDS_SSS_NOT_READY = 0x2,
    VDS_SSS_OFFLINE = 0x4,
    VDS_SSS_FAILED = 0x5,
    VDS_SSS_PARTIALLY_MANAGED = 0x9,
} VDS_SUB_SYSTEM_STATUS;

typedef enum _VDS_SUB_SYSTEM_FLAG : LONG {
    VDS_SF_LUN_MASKING_CAPABLE = 0x1,
    VDS_SF_LUN_PLEXING_CAPABLE = 0x2,
    VDS_SF_LUN_REMAPPING_CAPABLE = 0x4,
    VDS_SF_DRIVE_EXTENT_CAPABLE = 0x8,
    VDS_SF_HARDWARE_CHECKSUM_CAPABLE = 0x10,
    VDS_SF_RADIUS_CAPABLE = 0x20,
    VDS_SF_READ_BACK_VERIFY_CAPABLE = 0x40,
    VDS_SF_WRITE_THROUGH_CACHING_CAPABLE = 0x80,
    VDS_SF_SUPPORTS_FAULT_TOLERANT_LUNS = 0x200,
    VDS_SF_SUPPORTS_NON_FAULT_TOLERANT_LUNS = 0x400,
    VDS_SF_SUPPORTS_SIMPLE_LUNS = 0x800,
    VDS_SF_SUPPORTS_SPAN_LUNS = 0x1000,
    VDS_SF_SUPPORTS_STRIPE_LUNS = 0x2000,
    VDS_SF_SUPPORTS_MIRROR_LUNS = 0x4000,
    VDS_SF_SUPPORTS_PARITY_LUNS = 0x8000,
    VDS_SF_SUPPORTS_AUTH_CHAP = 0x10000,
    VDS_SF_SUPPORTS_AUTH_MUTUAL_CHAP = 0x20000,
    VDS_SF_SUPPORTS_SIMPLE_TARGET_CONFIG = 0x40000,
    VDS_SF_SUPPORTS_LUN_NUMBER = 0x80000,
    VDS_SF_SUPPORTS_MIRRORED_CACHE = 0x100000,
    VDS_SF_READ_CACHING_CAPABLE = 0x200000,
    VDS_SF_WRITE_CACHING_CAPABLE = 0x400000,
    VDS_SF_MEDIA_SCAN_CAPABLE = 0x800000,
    VDS_SF_CONSISTENCY_CHECK_CAPABLE = 0x1000000,
} VDS_SUB_SYSTEM_FLAG;

typedef enum _VDS_SUB_SYSTEM_SUPPORTED_RAID_TYPE_FLAG : LONG {
    VDS_SF_SUPPORTS_RAID2_LUNS = 0x1,
    VDS_SF_SUPPORTS_RAID3_LUNS = 0x2,
    VDS_SF_SUPPORTS_RAID4_LUNS = 0x4,
    VDS_SF_SUPPORTS_RAID5_LUNS = 0x8,
    VDS_SF_SUPPORTS_RAID6_LUNS = 0x10,
    VDS_SF_SUPPORTS_RAID01_LUNS = 0x20,
    VDS_SF_SUPPORTS_RAID03_LUNS = 0x40,
    VDS_SF_SUPPORTS_RAID05_LUNS = 0x80,
    VDS_SF_SUPPORTS_RAID10_LUNS = 0x100,
    VDS_SF_SUPPORTS_RAID15_LUNS = 0x200,
    VDS_SF_SUPPORTS_RAID30_LUNS = 0x400,
    VDS_SF_SUPPORTS_RAID50_LUNS = 0x800,
    VDS_SF_SUPPORTS_RAID51_LUNS = 0x1000,
    VDS_SF_SUPPORTS_RAID53_LUNS = 0x2000,
    VDS_SF_SUPPORTS_RAID60_LUNS = 0x4000,
    VDS_SF_SUPPORTS_RAID61_LUNS = 0x8000,
} VDS_SUB_SYSTEM_SUPPORTED_RAID_TYPE_FLAG;

typedef enum _VDS_INTERCONNECT_FLAG : LONG {
    VDS_ITF_PCI_RAID = 0x1,
    VDS_ITF_FIBRE_CHANNEL = 0x2,
    VDS_ITF_ISCSI = 0x4,
    VDS_ITF_SAS = 0x8,
} VDS_INTERCONNECT_FLAG;

typedef enum _VDS_CONTROLLER_STATUS : LONG {
    VDS_CS_UNKNOWN = 0x0,
    VDS_CS_ONLINE = 0x1,
    VDS_CS_NOT_READY = 0x2,
    VDS_CS_OFFLINE = 0x4,
    VDS_CS_FAILED = 0x5,
    VDS_CS_REMOVED = 0x8,
} VDS_CONTROLLER_STATUS;

typedef enum _VDS_PORT_STATUS : LONG {
    VDS_PRS_UNKNOWN = 0x0,
    VDS_PRS_ONLINE = 0x1,
    VDS_PRS_NOT_READY = 0x2,
    VDS_PRS_OFFLINE = 0x4,
    VDS_PRS_FAILED = 0x5,
    VDS_PRS_REMOVED = 0x8,
} VDS_PORT_STATUS;

typedef enum _VDS_DRIVE_STATUS : LONG {
    VDS_DRS_UNKNOWN = 0x0,
    VDS_DRS_ONLINE = 0x1,
    VDS_DRS_NOT_READY = 0x2,
    VDS_DRS_OFFLINE = 0x4,
    VDS_DRS_FAILED = 0x5,
    VDS_DRS_REMOVED = 0x8,
} VDS_DRIVE_STATUS;

typedef enum _VDS_DRIVE_FLAG : LONG {
    VDS_DRF_HOTSPARE = 0x1,
    VDS_DRF_ASSIGNED = 0x2,
    VDS_DRF_UNASSIGNED = 0x4,
    VDS_DRF_HOTSPARE_IN_USE = 0x8,
    VDS_DRF_HOTSPARE_STANDBY = 0x10,
} VDS_DRIVE_FLAG;

typedef enum _VDS_LUN_TYPE : LONG {
    VDS_LT_UNKNOWN = 0x0,
    VDS_LT_DEFAULT = 0x1,
    VDS_LT_FAULT_TOLERANT = 0x2,
    VDS_LT_NON_FAULT_TOLERANT = 0x3,
    VDS_LT_SIMPLE = 0xA,
    VDS_LT_SPAN = 0xB,
    VDS_LT_STRIPE = 0xC,
    VDS_LT_MIRROR = 0xD,
    VDS_LT_PARITY = 0xE,
    VDS_LT_RAID2 = 0xF,
    VDS_LT_RAID3 = 0x10,
    VDS_LT_RAID4 = 0x11,
    VDS_LT_RAID5 = 0x12,
    VDS_LT_RAID6 = 0x13,
    VDS_LT_RAID01 = 0x14,
    VDS_LT_RAID03 = 0x15,
    VDS_LT_RAID05 = 0x16,
    VDS_LT_RAID10 = 0x17,
    VDS_LT_RAID15 = 0x18,
    VDS_LT_RAID30 = 0x19,
    VDS_LT_RAID50 = 0x1A,
    VDS_LT_RAID51 = 0x1B,
    VDS_LT_RAID53 = 0x1C,
    VDS_LT_RAID60 = 0x1D,
    VDS_LT_RAID61 = 0x1E,
} VDS_LUN_TYPE;

typedef enum _VDS_LUN_STATUS : LONG {
    VDS_LS_UNKNOWN = 0x0,
    VDS_LS_ONLINE = 0x1,
    VDS_LS_NOT_READY = 0x2,
    VDS_LS_OFFLINE = 0x4,
    VDS_LS_FAILED = 0x5,
} VDS_LUN_STATUS;

typedef enum _VDS_LUN_FLAG : LONG {
    VDS_LF_LBN_REMAP_ENABLED = 0x1,
    VDS_LF_READ_BACK_VERIFY_ENABLED = 0x2,
    VDS_LF_WRITE_THROUGH_CACHING_ENABLED = 0x4,
    VDS_LF_HARDWARE_CHECKSUM_ENABLED = 0x8,
    VDS_LF_READ_CACHE_ENABLED = 0x10,
    VDS_LF_WRITE_CACHE_ENABLED = 0x20,
    VDS_LF_MEDIA_SCAN_ENABLED = 0x40,
    VDS_LF_CONSISTENCY_CHECK_ENABLED = 0x80,
    VDS_LF_SNAPSHOT = 0x100,
} VDS_LUN_FLAG;

typedef enum _VDS_LUN_PLEX_TYPE : LONG {
    VDS_LPT_UNKNOWN = 0x0,
    VDS_LPT_SIMPLE = 0xA,
    VDS_LPT_SPAN = 0xB,
    VDS_LPT_STRIPE = 0xC,
    VDS_LPT_PARITY = 0xE,
    VDS_LPT_RAID2 = 0xF,
    VDS_LPT_RAID3 = 0x10,
    VDS_LPT_RAID4 = 0x11,
    VDS_LPT_RAID5 = 0x12,
    VDS_LPT_RAID6 = 0x13,
    VDS_LPT_RAID03 = 0x15,
    VDS_LPT_RAID05 = 0x16,
    VDS_LPT_RAID10 = 0x17,
    VDS_LPT_RAID15 = 0x18,
    VDS_LPT_RAID30 = 0x19,
    VDS_LPT_RAID50 = 0x1A,
    VDS_LPT_RAID53 = 0x1C,
    VDS_LPT_RAID60 = 0x1D,
} VDS_LUN_PLEX_TYPE;

typedef enum _VDS_LUN_PLEX_STATUS : LONG {
    VDS_LPS_UNKNOWN = 0x0,
    VDS_LPS_ONLINE = 0x1,
    VDS_LPS_NOT_READY = 0x2,
    VDS_LPS_OFFLINE = 0x4,
    VDS_LPS_FAILED = 0x5,
} VDS_LUN_PLEX_STATUS;

typedef enum _VDS_LUN_PLEX_FLAG : LONG {
    VDS_LPF_LBN_REMAP_ENABLED = 0x1,
} VDS_LUN_PLEX_FLAG;

typedef enum _VDS_ISCSI_PORTAL_STATUS : LONG {
    VDS_IPS_UNKNOWN = 0x0,
    VDS_IPS_ONLINE = 0x1,
    VDS_IPS_NOT_READY = 0x2,
    VDS_IPS_OFFLINE = 0x4,
    VDS_IPS_FAILED = 0x5,
} VDS_ISCSI_PORTAL_STATUS;

typedef enum _VDS_STORAGE_POOL_STATUS : LONG {
    VDS_SPS_UNKNOWN = 0x0,
    VDS_SPS_ONLINE = 0x1,
    VDS_SPS_NOT_READY = 0x2,
    VDS_SPS_OFFLINE = 0x4,
} VDS_STORAGE_POOL_STATUS;

typedef enum _VDS_STORAGE_POOL_TYPE : LONG {
    VDS_SPT_UNKNOWN = 0x0,
    VDS_SPT_PRIMORDIAL = 0x1,
    VDS_SPT_CONCRETE = 0x2,
} VDS_STORAGE_POOL_TYPE;

typedef enum _VDS_MAINTENANCE_OPERATION : LONG {
    BlinkLight = 0x1,
    BeepAlarm = 0x2,
    SpinDown = 0x3,
    SpinUp = 0x4,
    Ping = 0x5,
} VDS_MAINTENANCE_OPERATION;

typedef enum _VDS_RAID_TYPE : LONG {
    VDS_RT_UNKNOWN = 0x0,
    VDS_RT_RAID0 = 0xA,
    VDS_RT_RAID1 = 0xB,
    VDS_RT_RAID2 = 0xC,
    VDS_RT_RAID3 = 0xD,
    VDS_RT_RAID4 = 0xE,
    VDS_RT_RAID5 = 0xF,
    VDS_RT_RAID6 = 0x10,
    VDS_RT_RAID01 = 0x11,
    VDS_RT_RAID03 = 0x12,
    VDS_RT_RAID05 = 0x13,
    VDS_RT_RAID10 = 0x14,
    VDS_RT_RAID15 = 0x15,
    VDS_RT_RAID30 = 0x16,
    VDS_RT_RAID50 = 0x17,
    VDS_RT_RAID51 = 0x18,
    VDS_RT_RAID53 = 0x19,
    VDS_RT_RAID60 = 0x1A,
    VDS_RT_RAID61 = 0x1B,
} VDS_RAID_TYPE;

struct IVdsAdviseSink;
struct IVdsAsync;
struct IEnumVdsObject;
struct IVdsProvider;
struct IVdsProviderPrivate;
struct IVdsProviderSupport;
struct IVdsAdmin;
struct IVdsHwProvider;
struct IVdsHwProviderPrivate;
struct IVdsHwProviderPrivateMpio;
struct IVdsHwProviderType;
struct IVdsHwProviderType2;
struct IVdsHwProviderStoragePools;
struct IVdsSubSystem;
struct IVdsSubSystem2;
struct IVdsSubSystemIscsi;
struct IVdsSubSystemNaming;
struct IVdsSubSystemInterconnect;
struct IVdsSubSystemImportTarget;
struct IVdsController;
struct IVdsControllerPort;
struct IVdsControllerControllerPort;
struct IVdsDrive;
struct IVdsDrive2;
struct IVdsLun;
struct IVdsLun2;
struct IVdsLunNaming;
struct IVdsLunNumber;
struct IVdsLunControllerPorts;
struct IVdsLunMpio;
struct IVdsLunIscsi;
struct IVdsLunPlex;
struct IVdsMaintenance;
struct IVdsStoragePool;
struct IVdsIscsiTarget;
struct IVdsIscsiPortal;
struct IVdsIscsiPortalGroup;
struct IVdsHbaPort;

typedef struct _VDS_PACK_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID packId;
} VDS_PACK_NOTIFICATION;

typedef struct _VDS_DISK_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID diskId;
} VDS_DISK_NOTIFICATION;

typedef struct _VDS_VOLUME_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID volumeId;
    VDS_OBJECT_ID plexId;
    ULONG ulPercentCompleted;
} VDS_VOLUME_NOTIFICATION;

typedef struct _VDS_PARTITION_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID diskId;
    ULONGLONG ullOffset;
} VDS_PARTITION_NOTIFICATION;

typedef struct _VDS_SERVICE_NOTIFICATION {
    ULONG ulEvent;
    VDS_RECOVER_ACTION action;
} VDS_SERVICE_NOTIFICATION;

typedef struct _VDS_DRIVE_LETTER_NOTIFICATION {
    ULONG ulEvent;
    WCHAR wcLetter;
    VDS_OBJECT_ID volumeId;
} VDS_DRIVE_LETTER_NOTIFICATION;

typedef struct _VDS_FILE_SYSTEM_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID volumeId;
    DWORD dwPercentCompleted;
} VDS_FILE_SYSTEM_NOTIFICATION;

typedef struct _VDS_MOUNT_POINT_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID volumeId;
} VDS_MOUNT_POINT_NOTIFICATION;

typedef struct _VDS_SUB_SYSTEM_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID subSystemId;
} VDS_SUB_SYSTEM_NOTIFICATION;

typedef struct _VDS_CONTROLLER_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID controllerId;
} VDS_CONTROLLER_NOTIFICATION;

typedef struct _VDS_DRIVE_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID driveId;
} VDS_DRIVE_NOTIFICATION;

typedef struct _VDS_LUN_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID LunId;
} VDS_LUN_NOTIFICATION;

typedef struct _VDS_PORT_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID portId;
} VDS_PORT_NOTIFICATION;

typedef struct _VDS_PORTAL_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID portalId;
} VDS_PORTAL_NOTIFICATION;

typedef struct _VDS_TARGET_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID targetId;
} VDS_TARGET_NOTIFICATION;

typedef struct _VDS_PORTAL_GROUP_NOTIFICATION {
    ULONG ulEvent;
    VDS_OBJECT_ID portalGroupId;
} VDS_PORTAL_GROUP_NOTIFICATION;

typedef struct _VDS_NOTIFICATION {
    VDS_NOTIFICATION_TARGET_TYPE objectType;
    union {
        VDS_PACK_NOTIFICATION Pack;
        VDS_DISK_NOTIFICATION Disk;
        VDS_VOLUME_NOTIFICATION Volume;
        VDS_PARTITION_NOTIFICATION Partition;
        VDS_DRIVE_LETTER_NOTIFICATION Letter;
        VDS_FILE_SYSTEM_NOTIFICATION FileSystem;
        VDS_MOUNT_POINT_NOTIFICATION MountPoint;
        VDS_SUB_SYSTEM_NOTIFICATION SubSystem;
        VDS_CONTROLLER_NOTIFICATION Controller;
        VDS_DRIVE_NOTIFICATION Drive;
        VDS_LUN_NOTIFICATION Lun;
        VDS_PORT_NOTIFICATION Port;
        VDS_PORTAL_NOTIFICATION Portal;
        VDS_TARGET_NOTIFICATION Target;
        VDS_PORTAL_GROUP_NOTIFICATION PortalGroup;
        VDS_SERVICE_NOTIFICATION Service;
    };
} VDS_NOTIFICATION;

typedef struct _VDS_ASYNC_OUTPUT {
    struct _cp {
        ULONGLONG ullOffset;
        VDS_OBJECT_ID volumeId;
    };
    struct _cv {
        IUnknown* pVolumeUnk;
    };
    struct _bvp {
        IUnknown* pVolumeUnk;
    };
    struct _sv {
        ULONGLONG ullReclaimedBytes;
    };
    struct _cl {
        IUnknown* pLunUnk;
    };
    struct _ct {
        IUnknown* pTargetUnk;
    };
    struct _cpg {
        IUnknown* pPortalGroupUnk;
    };
    struct _cvd {
        IUnknown* pVDiskUnk;
    };
    VDS_ASYNC_OUTPUT_TYPE type;
    union {
        _cp cp;
        _cv cv;
        _bvp bvp;
        _sv sv;
        _cl cl;
        _ct ct;
        _cpg cpg;
        _cvd cvd;
    };
} VDS_ASYNC_OUTPUT;

typedef struct _VDS_PATH_ID {
    ULONGLONG ullSourceId;
    ULONGLONG ullPathId;
} VDS_PATH_ID;

typedef struct _VDS_WWN {
    BYTE rguchWwn[8];
} VDS_WWN;

typedef struct _VDS_IPADDRESS {
    VDS_IPADDRESS_TYPE type;
    ULONG ipv4Address;
    BYTE ipv6Address[16];
    ULONG ulIpv6FlowInfo;
    ULONG ulIpv6ScopeId;
    WCHAR wszTextAddress[257];
    ULONG ulPort;
} VDS_IPADDRESS;

typedef struct _VDS_ISCSI_IPSEC_KEY {
    BYTE* pKey;
    ULONG ulKeySize;
} VDS_ISCSI_IPSEC_KEY;

typedef struct _VDS_ISCSI_SHARED_SECRET {
    BYTE* pSharedSecret;
    ULONG ulSharedSecretSize;
} VDS_ISCSI_SHARED_SECRET;

typedef struct _VDS_HBAPORT_PROP {
    VDS_OBJECT_ID id;
    VDS_WWN wwnNode;
    VDS_WWN wwnPort;
    VDS_HBAPORT_TYPE type;
    VDS_HBAPORT_STATUS status;
    ULONG ulPortSpeed;
    ULONG ulSupportedPortSpeed;
} VDS_HBAPORT_PROP;

typedef struct _VDS_PROVIDER_PROP {
    VDS_OBJECT_ID id;
    LPWSTR pwszName;
    GUID guidVersionId;
    LPWSTR pwszVersion;
    VDS_PROVIDER_TYPE type;
    ULONG ulFlags;
    ULONG ulStripeSizeFlags;
    SHORT sRebuildPriority;
} VDS_PROVIDER_PROP;

typedef struct _VDS_PATH_INFO {
    VDS_PATH_ID pathId;
    VDS_HWPROVIDER_TYPE type;
    VDS_PATH_STATUS status;
    union {
        VDS_OBJECT_ID controllerPortId;
        VDS_OBJECT_ID targetPortalId;
    };
    union {
        VDS_OBJECT_ID hbaPortId;
        VDS_OBJECT_ID initiatorAdapterId;
    };
    union {
        VDS_HBAPORT_PROP* pHbaPortProp;
        VDS_IPADDRESS* pInitiatorPortalIpAddr;
    };
} VDS_PATH_INFO;

typedef struct _VDS_PATH_POLICY {
    VDS_PATH_ID pathId;
    BOOL bPrimaryPath;
    ULONG ulWeight;
} VDS_PATH_POLICY;

typedef struct _VDS_HINTS {
    ULONGLONG ullHintMask;
    ULONGLONG ullExpectedMaximumSize;
    ULONG ulOptimalReadSize;
    ULONG ulOptimalReadAlignment;
    ULONG ulOptimalWriteSize;
    ULONG ulOptimalWriteAlignment;
    ULONG ulMaximumDriveCount;
    ULONG ulStripeSize;
    BOOL bFastCrashRecoveryRequired;
    BOOL bMostlyReads;
    BOOL bOptimizeForSequentialReads;
    BOOL bOptimizeForSequentialWrites;
    BOOL bRemapEnabled;
    BOOL bReadBackVerifyEnabled;
    BOOL bWriteThroughCachingEnabled;
    BOOL bHardwareChecksumEnabled;
    BOOL bIsYankable;
    SHORT sRebuildPriority;
} VDS_HINTS;

typedef struct _VDS_HINTS2 {
    ULONGLONG ullHintMask;
    ULONGLONG ullExpectedMaximumSize;
    ULONG ulOptimalReadSize;
    ULONG ulOptimalReadAlignment;
    ULONG ulOptimalWriteSize;
    ULONG ulOptimalWriteAlignment;
    ULONG ulMaximumDriveCount;
    ULONG ulStripeSize;
    ULONG ulReserved1;
    ULONG ulReserved2;
    ULONG ulReserved3;
    BOOL bFastCrashRecoveryRequired;
    BOOL bMostlyReads;
    BOOL bOptimizeForSequentialReads;
    BOOL bOptimizeForSequentialWrites;
    BOOL bRemapEnabled;
    BOOL bReadBackVerifyEnabled;
    BOOL bWriteThroughCachingEnabled;
    BOOL bHardwareChecksumEnabled;
    BOOL bIsYankable;
    BOOL bAllocateHotSpare;
    BOOL bUseMirroredCache;
    BOOL bReadCachingEnabled;
    BOOL bWriteCachingEnabled;
    BOOL bMediaScanEnabled;
    BOOL bConsistencyCheckEnabled;
    VDS_STORAGE_BUS_TYPE BusType;
    BOOL bReserved1;
    BOOL bReserved2;
    BOOL bReserved3;
    SHORT sRebuildPriority;
} VDS_HINTS2;

typedef struct _VDS_SUB_SYSTEM_PROP {
    VDS_OBJECT_ID id;
    LPWSTR pwszFriendlyName;
    LPWSTR pwszIdentification;
    ULONG ulFlags;
    ULONG ulStripeSizeFlags;
    VDS_SUB_SYSTEM_STATUS status;
    VDS_HEALTH health;
    SHORT sNumberOfInternalBuses;
    SHORT sMaxNumberOfSlotsEachBus;
    SHORT sMaxNumberOfControllers;
    SHORT sRebuildPriority;
} VDS_SUB_SYSTEM_PROP;

typedef struct _VDS_SUB_SYSTEM_PROP2 {
    VDS_OBJECT_ID id;
    LPWSTR pwszFriendlyName;
    LPWSTR pwszIdentification;
    ULONG ulFlags;
    ULONG ulStripeSizeFlags;
    ULONG ulSupportedRaidTypeFlags;
    VDS_SUB_SYSTEM_STATUS status;
    VDS_HEALTH health;
    SHORT sNumberOfInternalBuses;
    SHORT sMaxNumberOfSlotsEachBus;
    SHORT sMaxNumberOfControllers;
    SHORT sRebuildPriority;
    ULONG ulNumberOfEnclosures;
} VDS_SUB_SYSTEM_PROP2;

typedef struct _VDS_CONTROLLER_PROP {
    VDS_OBJECT_ID id;
    LPWSTR pwszFriendlyName;
    LPWSTR pwszIdentification;
    VDS_CONTROLLER_STATUS status;
    VDS_HEALTH health;
    SHORT sNumberOfPorts;
} VDS_CONTROLLER_PROP;

typedef struct _VDS_DRIVE_PROP {
    VDS_OBJECT_ID id;
    ULONGLONG ullSize;
    LPWSTR pwszFriendlyName;
    LPWSTR pwszIdentification;
    ULONG ulFlags;
    VDS_DRIVE_STATUS status;
    VDS_HEALTH health;
    SHORT sInternalBusNumber;
    SHORT sSlotNumber;
} VDS_DRIVE_PROP;

typedef struct _VDS_DRIVE_PROP2 {
    VDS_OBJECT_ID id;
    ULONGLONG ullSize;
    LPWSTR pwszFriendlyName;
    LPWSTR pwszIdentification;
    ULONG ulFlags;
    VDS_DRIVE_STATUS status;
    VDS_HEALTH health;
    SHORT sInternalBusNumber;
    SHORT sSlotNumber;
    ULONG ulEnclosureNumber;
    VDS_STORAGE_BUS_TYPE busType;
    ULONG ulSpindleSpeed;
} VDS_DRIVE_PROP2;

typedef struct _VDS_DRIVE_EXTENT {
    VDS_OBJECT_ID id;
    VDS_OBJECT_ID LunId;
    ULONGLONG ullSize;
    BOOL bUsed;
} VDS_DRIVE_EXTENT;

typedef struct _VDS_LUN_PROP {
    VDS_OBJECT_ID id;
    ULONGLONG ullSize;
    LPWSTR pwszFriendlyName;
    LPWSTR pwszIdentification;
    LPWSTR pwszUnmaskingList;
    ULONG ulFlags;
    VDS_LUN_TYPE type;
    VDS_LUN_STATUS status;
    VDS_HEALTH health;
    VDS_TRANSITION_STATE TransitionState;
    SHORT sRebuildPriority;
} VDS_LUN_PROP;

typedef struct _VDS_LUN_PLEX_PROP {
    VDS_OBJECT_ID id;
    ULONGLONG ullSize;
    VDS_LUN_PLEX_TYPE type;
    VDS_LUN_PLEX_STATUS status;
    VDS_HEALTH health;
    VDS_TRANSITION_STATE TransitionState;
    ULONG ulFlags;
    ULONG ulStripeSize;
    SHORT sRebuildPriority;
} VDS_LUN_PLEX_PROP;

typedef struct _VDS_PORT_PROP {
    VDS_OBJECT_ID id;
    LPWSTR pwszFriendlyName;
    LPWSTR pwszIdentification;
    VDS_PORT_STATUS status;
} VDS_PORT_PROP;

typedef struct _VDS_ISCSI_PORTAL_PROP {
    VDS_OBJECT_ID id;
    VDS_IPADDRESS address;
    VDS_ISCSI_PORTAL_STATUS status;
} VDS_ISCSI_PORTAL_PROP;

typedef struct _VDS_ISCSI_TARGET_PROP {
    VDS_OBJECT_ID id;
    LPWSTR pwszIscsiName;
    LPWSTR pwszFriendlyName;
    BOOL bChapEnabled;
} VDS_ISCSI_TARGET_PROP;

typedef struct _VDS_ISCSI_PORTALGROUP_PROP {
    VDS_OBJECT_ID id;
    USHORT tag;
} VDS_ISCSI_PORTALGROUP_PROP;

typedef struct _VDS_POOL_CUSTOM_ATTRIBUTES {
    LPWSTR pwszName;
    LPWSTR pwszValue;
} VDS_POOL_CUSTOM_ATTRIBUTES;

typedef struct _VDS_POOL_ATTRIBUTES {
    ULONGLONG ullAttributeMask;
    VDS_RAID_TYPE raidType;
    VDS_STORAGE_BUS_TYPE busType;
    LPWSTR pwszIntendedUsage;
    BOOL bSpinDown;
    BOOL bIsThinProvisioned;
    ULONGLONG ullProvisionedSpace;
    BOOL bNoSinglePointOfFailure;
    ULONG ulDataRedundancyMax;
    ULONG ulDataRedundancyMin;
    ULONG ulDataRedundancyDefault;
    ULONG ulPackageRedundancyMax;
    ULONG ulPackageRedundancyMin;
    ULONG ulPackageRedundancyDefault;
    ULONG ulStripeSize;
    ULONG ulStripeSizeMax;
    ULONG ulStripeSizeMin;
    ULONG ulDefaultStripeSize;
    ULONG ulNumberOfColumns;
    ULONG ulNumberOfColumnsMax;
    ULONG ulNumberOfColumnsMin;
    ULONG ulDefaultNumberofColumns;
    ULONG ulDataAvailabilityHint;
    ULONG ulAccessRandomnessHint;
    ULONG ulAccessDirectionHint;
    ULONG ulAccessSizeHint;
    ULONG ulAccessLatencyHint;
    ULONG ulAccessBandwidthWeightHint;
    ULONG ulStorageCostHint;
    ULONG ulStorageEfficiencyHint;
    ULONG ulNumOfCustomAttributes;
    VDS_POOL_CUSTOM_ATTRIBUTES* pPoolCustomAttributes;
    BOOL bReserved1;
    BOOL bReserved2;
    ULONG ulReserved1;
    ULONG ulReserved2;
    ULONGLONG ullReserved1;
    ULONGLONG ullReserved2;
} VDS_POOL_ATTRIBUTES;

typedef struct _VDS_STORAGE_POOL_PROP {
    VDS_OBJECT_ID id;
    VDS_STORAGE_POOL_STATUS status;
    VDS_HEALTH health;
    VDS_STORAGE_POOL_TYPE type;
    LPWSTR pwszName;
    LPWSTR pwszDescription;
    ULONGLONG ullTotalConsumedSpace;
    ULONGLONG ullTotalManagedSpace;
    ULONGLONG ullRemainingFreeSpace;
} VDS_STORAGE_POOL_PROP;

typedef struct _VDS_STORAGE_POOL_DRIVE_EXTENT {
    VDS_OBJECT_ID id;
    ULONGLONG ullSize;
    BOOL bUsed;
} VDS_STORAGE_POOL_DRIVE_EXTENT;

// Interfaces have no virtual destructor: it would take slots of the vtable that the ABI gives to methods.
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wnon-virtual-dtor"

struct IVdsAdviseSink : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE OnNotify(LONG lNumberOfNotifications, VDS_NOTIFICATION* pNotificationArray) = 0;
};
COMPAT_INTERFACE_ID(IVdsAdviseSink, "8326cd1d-cf59-4936-b786-5efc08798e25");

struct IVdsAsync : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE Cancel() = 0;
    virtual HRESULT STDMETHODCALLTYPE Wait(HRESULT* pHrResult, VDS_ASYNC_OUTPUT* pAsyncOut) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryStatus(HRESULT* pHrResult, ULONG* pulPercentCompleted) = 0;
};
COMPAT_INTERFACE_ID(IVdsAsync, "d5d23b6d-5a55-4492-9889-397a3c2d2dbc");

struct IEnumVdsObject : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE Next(ULONG celt, IUnknown** ppObjectArray, ULONG* pcFetched) = 0;
    virtual HRESULT STDMETHODCALLTYPE Skip(ULONG celt) = 0;
    virtual HRESULT STDMETHODCALLTYPE Reset() = 0;
    virtual HRESULT STDMETHODCALLTYPE Clone(IEnumVdsObject** ppEnum) = 0;
};
COMPAT_INTERFACE_ID(IEnumVdsObject, "118610b7-8d94-4030-b5b8-500889788e4e");

struct IVdsProvider : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_PROVIDER_PROP* pProviderProp) = 0;
};
COMPAT_INTERFACE_ID(IVdsProvider, "10c5e575-7984-4e81-a56b-431f5f92ae42");

struct IVdsProviderPrivate : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetObject(VDS_OBJECT_ID ObjectId, VDS_OBJECT_TYPE type,
                                                IUnknown** ppObjectUnk) = 0;
    virtual HRESULT STDMETHODCALLTYPE OnLoad(LPWSTR pwszMachineName, IUnknown* pCallbackObject) = 0;
    virtual HRESULT STDMETHODCALLTYPE OnUnload(BOOL bForceUnload) = 0;
};
COMPAT_INTERFACE_ID(IVdsProviderPrivate, "11f3cd41-b7e8-48ff-9472-9dff018aa292");

struct IVdsProviderSupport : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetVersionSupport(ULONG* ulVersionSupport) = 0;
};
COMPAT_INTERFACE_ID(IVdsProviderSupport, "1732be13-e8f9-4a03-bfbc-5f616aa66ce1");

struct IVdsAdmin : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE RegisterProvider(VDS_OBJECT_ID providerId, CLSID providerClsid, LPWSTR pwszName,
                                                       VDS_PROVIDER_TYPE type, LPWSTR pwszMachineName,
                                                       LPWSTR pwszVersion, GUID guidVersionId) = 0;
    virtual HRESULT STDMETHODCALLTYPE UnregisterProvider(VDS_OBJECT_ID providerId) = 0;
};
COMPAT_INTERFACE_ID(IVdsAdmin, "d188e97d-85aa-4d33-abc6-26299a10ffc1");

struct IVdsHwProvider : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QuerySubSystems(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE Reenumerate() = 0;
    virtual HRESULT STDMETHODCALLTYPE Refresh() = 0;
};
COMPAT_INTERFACE_ID(IVdsHwProvider, "d99bdaae-b13a-4178-9fdb-e27f16b4603e");

struct IVdsHwProviderPrivate : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryIfCreatedLun(LPWSTR pwszDevicePath, VDS_LUN_INFORMATION* pVdsLunInformation,
                                                        VDS_OBJECT_ID* pLunId) = 0;
};
COMPAT_INTERFACE_ID(IVdsHwProviderPrivate, "98f17bf3-9f33-4f12-8714-8b4075092c2e");

struct IVdsHwProviderPrivateMpio : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE SetAllPathStatusesFromHbaPort(VDS_HBAPORT_PROP hbaPortProp,
                                                                    VDS_PATH_STATUS status) = 0;
};
COMPAT_INTERFACE_ID(IVdsHwProviderPrivateMpio, "310a7715-ac2b-4c6f-9827-3d742f351676");

struct IVdsHwProviderType : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProviderType(VDS_HWPROVIDER_TYPE* pType) = 0;
};
COMPAT_INTERFACE_ID(IVdsHwProviderType, "3e0f5166-542d-4fc6-947a-012174240b7e");

struct IVdsHwProviderType2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProviderType2(VDS_HWPROVIDER_TYPE* pType) = 0;
};
COMPAT_INTERFACE_ID(IVdsHwProviderType2, "8190236f-c4d0-4e81-8011-d69512fcc984");

struct IVdsHwProviderStoragePools : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryStoragePools(ULONG ulFlags, ULONGLONG ullRemainingFreeSpace,
                                                        VDS_POOL_ATTRIBUTES* pPoolAttributes,
                                                        IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE CreateLunInStoragePool(VDS_LUN_TYPE type, ULONGLONG ullSizeInBytes,
                                                             VDS_OBJECT_ID StoragePoolId, LPWSTR pwszUnmaskingList,
                                                             VDS_HINTS2* pHints2, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryMaxLunCreateSizeInStoragePool(VDS_LUN_TYPE type, VDS_OBJECT_ID StoragePoolId,
                                                                         VDS_HINTS2* pHints2,
                                                                         ULONGLONG* pullMaxLunSize) = 0;
};
COMPAT_INTERFACE_ID(IVdsHwProviderStoragePools, "d5b5937a-f188-4c79-b86c-11c920ad11b8");

struct IVdsSubSystem : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_SUB_SYSTEM_PROP* pSubSystemProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetProvider(IVdsProvider** ppProvider) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryControllers(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryLuns(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryDrives(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetDrive(SHORT sBusNumber, SHORT sSlotNumber, IVdsDrive** ppDrive) = 0;
    virtual HRESULT STDMETHODCALLTYPE Reenumerate() = 0;
    virtual HRESULT STDMETHODCALLTYPE SetControllerStatus(VDS_OBJECT_ID* pOnlineControllerIdArray,
                                                          LONG lNumberOfOnlineControllers,
                                                          VDS_OBJECT_ID* pOfflineControllerIdArray,
                                                          LONG lNumberOfOfflineControllers) = 0;
    virtual HRESULT STDMETHODCALLTYPE CreateLun(VDS_LUN_TYPE type, ULONGLONG ullSizeInBytes,
                                                VDS_OBJECT_ID* pDriveIdArray, LONG lNumberOfDrives,
                                                LPWSTR pwszUnmaskingList, VDS_HINTS* pHints, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE ReplaceDrive(VDS_OBJECT_ID DriveToBeReplaced, VDS_OBJECT_ID ReplacementDrive) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetStatus(VDS_SUB_SYSTEM_STATUS status) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryMaxLunCreateSize(VDS_LUN_TYPE type, VDS_OBJECT_ID* pDriveIdArray,
                                                            LONG lNumberOfDrives, VDS_HINTS* pHints,
                                                            ULONGLONG* pullMaxLunSize) = 0;
};
COMPAT_INTERFACE_ID(IVdsSubSystem, "6fcee2d3-6d90-4f91-80e2-a5c7caaca9d8");

struct IVdsSubSystem2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties2(VDS_SUB_SYSTEM_PROP2* pSubSystemProp2) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetDrive2(SHORT sBusNumber, SHORT sSlotNumber, ULONG ulEnclosureNumber,
                                                IVdsDrive** ppDrive) = 0;
    virtual HRESULT STDMETHODCALLTYPE CreateLun2(VDS_LUN_TYPE type, ULONGLONG ullSizeInBytes,
                                                 VDS_OBJECT_ID* pDriveIdArray, LONG lNumberOfDrives,
                                                 LPWSTR pwszUnmaskingList, VDS_HINTS2* pHints2,
                                                 IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryMaxLunCreateSize2(VDS_LUN_TYPE type, VDS_OBJECT_ID* pDriveIdArray,
                                                             LONG lNumberOfDrives, VDS_HINTS2* pHints2,
                                                             ULONGLONG* pullMaxLunSize) = 0;
};
COMPAT_INTERFACE_ID(IVdsSubSystem2, "be666735-7800-4a77-9d9c-40f85b87e292");

struct IVdsSubSystemIscsi : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryTargets(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryPortals(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE CreateTarget(LPWSTR pwszIscsiName, LPWSTR pwszFriendlyName,
                                                   IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetIpsecGroupPresharedKey(VDS_ISCSI_IPSEC_KEY* pIpsecKey) = 0;
};
COMPAT_INTERFACE_ID(IVdsSubSystemIscsi, "0027346f-40d0-4b45-8cec-5906dc0380c8");

struct IVdsSubSystemNaming : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE SetFriendlyName(LPWSTR pwszFriendlyName) = 0;
};
COMPAT_INTERFACE_ID(IVdsSubSystemNaming, "0d70faa3-9cd4-4900-aa20-6981b6aafc75");

struct IVdsSubSystemInterconnect : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetSupportedInterconnects(ULONG* pulSupportedInterconnectsFlag) = 0;
};
COMPAT_INTERFACE_ID(IVdsSubSystemInterconnect, "9e6fa560-c141-477b-83ba-0b6c38f7febf");

struct IVdsSubSystemImportTarget : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetImportTarget(LPWSTR* ppwszIscsiName) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetImportTarget(LPWSTR pwszIscsiName) = 0;
};
COMPAT_INTERFACE_ID(IVdsSubSystemImportTarget, "83bfb87f-43fb-4903-baa6-127f01029eec");

struct IVdsController : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_CONTROLLER_PROP* pControllerProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetSubSystem(IVdsSubSystem** ppSubSystem) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetPortProperties(SHORT sPortNumber, VDS_PORT_PROP* pPortProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE FlushCache() = 0;
    virtual HRESULT STDMETHODCALLTYPE InvalidateCache() = 0;
    virtual HRESULT STDMETHODCALLTYPE Reset() = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryAssociatedLuns(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetStatus(VDS_CONTROLLER_STATUS status) = 0;
};
COMPAT_INTERFACE_ID(IVdsController, "cb53d96e-dffb-474a-a078-790d1e2bc082");

struct IVdsControllerPort : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_PORT_PROP* pPortProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetController(IVdsController** ppController) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryAssociatedLuns(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE Reset() = 0;
    virtual HRESULT STDMETHODCALLTYPE SetStatus(VDS_PORT_STATUS status) = 0;
};
COMPAT_INTERFACE_ID(IVdsControllerPort, "18691d0d-4e7f-43e8-92e4-cf44beeed11c");

struct IVdsControllerControllerPort : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryControllerPorts(IEnumVdsObject** ppEnum) = 0;
};
COMPAT_INTERFACE_ID(IVdsControllerControllerPort, "ca5d735f-6bae-42c0-b30e-f2666045ce71");

struct IVdsDrive : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_DRIVE_PROP* pDriveProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetSubSystem(IVdsSubSystem** ppSubSystem) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryExtents(VDS_DRIVE_EXTENT** ppExtentArray, LONG* plNumberOfExtents) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetFlags(ULONG ulFlags) = 0;
    virtual HRESULT STDMETHODCALLTYPE ClearFlags(ULONG ulFlags) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetStatus(VDS_DRIVE_STATUS status) = 0;
};
COMPAT_INTERFACE_ID(IVdsDrive, "ff24efa4-aade-4b6b-898b-eaa6a20887c7");

struct IVdsDrive2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties2(VDS_DRIVE_PROP2* pDriveProp2) = 0;
};
COMPAT_INTERFACE_ID(IVdsDrive2, "60b5a730-addf-4436-8ca7-5769e2d1ffa4");

struct IVdsLun : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_LUN_PROP* pLunProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetSubSystem(IVdsSubSystem** ppSubSystem) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetIdentificationData(VDS_LUN_INFORMATION* pLunInfo) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryActiveControllers(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE Extend(ULONGLONG ullNumberOfBytesToAdd, VDS_OBJECT_ID* pDriveIdArray,
                                             LONG lNumberOfDrives, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE Shrink(ULONGLONG ullNumberOfBytesToRemove, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryPlexes(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE AddPlex(VDS_OBJECT_ID lunId, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE RemovePlex(VDS_OBJECT_ID plexId, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE Recover(IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetMask(LPWSTR pwszUnmaskingList) = 0;
    virtual HRESULT STDMETHODCALLTYPE Delete() = 0;
    virtual HRESULT STDMETHODCALLTYPE AssociateControllers(VDS_OBJECT_ID* pActiveControllerIdArray,
                                                           LONG lNumberOfActiveControllers,
                                                           VDS_OBJECT_ID* pInactiveControllerIdArray,
                                                           LONG lNumberOfInactiveControllers) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryHints(VDS_HINTS* pHints) = 0;
    virtual HRESULT STDMETHODCALLTYPE ApplyHints(VDS_HINTS* pHints) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetStatus(VDS_LUN_STATUS status) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryMaxLunExtendSize(VDS_OBJECT_ID* pDriveIdArray, LONG lNumberOfDrives,
                                                            ULONGLONG* pullMaxBytesToBeAdded) = 0;
};
COMPAT_INTERFACE_ID(IVdsLun, "3540a9c7-e60f-4111-a840-8bba6c2c83d8");

struct IVdsLun2 : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE QueryHints2(VDS_HINTS2* pHints2) = 0;
    virtual HRESULT STDMETHODCALLTYPE ApplyHints2(VDS_HINTS2* pHints2) = 0;
};
COMPAT_INTERFACE_ID(IVdsLun2, "e5b3a735-9efb-499a-8071-4394d9ee6fcb");

struct IVdsLunNaming : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE SetFriendlyName(LPWSTR pwszFriendlyName) = 0;
};
COMPAT_INTERFACE_ID(IVdsLunNaming, "907504cb-6b4e-4d88-a34d-17ba661fbb06");

struct IVdsLunNumber : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetLunNumber(ULONG* pulLunNumber) = 0;
};
COMPAT_INTERFACE_ID(IVdsLunNumber, "d3f95e46-54b3-41f9-b678-0f1871443a08");

struct IVdsLunControllerPorts : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE AssociateControllerPorts(VDS_OBJECT_ID* pActiveControllerPortIdArray,
                                                               LONG lNumberOfActiveControllerPorts,
                                                               VDS_OBJECT_ID* pInactiveControllerPortIdArray,
                                                               LONG lNumberOfInactiveControllerPorts) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryActiveControllerPorts(IEnumVdsObject** ppEnum) = 0;
};
COMPAT_INTERFACE_ID(IVdsLunControllerPorts, "451fe266-da6d-406a-bb60-82e534f85aeb");

struct IVdsLunMpio : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetPathInfo(VDS_PATH_INFO** ppPaths, LONG* plNumberOfPaths) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetLoadBalancePolicy(VDS_LOADBALANCE_POLICY_ENUM* pPolicy,
                                                           VDS_PATH_POLICY** ppPaths, LONG* plNumberOfPaths) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetLoadBalancePolicy(VDS_LOADBALANCE_POLICY_ENUM policy, VDS_PATH_POLICY* pPaths,
                                                           LONG lNumberOfPaths) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetSupportedLbPolicies(ULONG* pulLbFlags) = 0;
};
COMPAT_INTERFACE_ID(IVdsLunMpio, "7c5fbae3-333a-48a1-a982-33c15788cde3");

struct IVdsLunIscsi : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE AssociateTargets(VDS_OBJECT_ID* pTargetIdArray, LONG lNumberOfTargets) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryAssociatedTargets(IEnumVdsObject** ppEnum) = 0;
};
COMPAT_INTERFACE_ID(IVdsLunIscsi, "0d7c1e64-b59b-45ae-b86a-2c2cc6a42067");

struct IVdsLunPlex : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_LUN_PLEX_PROP* pPlexProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetLun(IVdsLun** ppLun) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryExtents(VDS_DRIVE_EXTENT** ppExtentArray, LONG* plNumberOfExtents) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryHints(VDS_HINTS* pHints) = 0;
    virtual HRESULT STDMETHODCALLTYPE ApplyHints(VDS_HINTS* pHints) = 0;
};
COMPAT_INTERFACE_ID(IVdsLunPlex, "0ee1a790-5d2e-4abb-8c99-c481e8be2138");

struct IVdsMaintenance : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE StartMaintenance(VDS_MAINTENANCE_OPERATION operation) = 0;
    virtual HRESULT STDMETHODCALLTYPE StopMaintenance(VDS_MAINTENANCE_OPERATION operation) = 0;
    virtual HRESULT STDMETHODCALLTYPE PulseMaintenance(VDS_MAINTENANCE_OPERATION operation, ULONG ulCount) = 0;
};
COMPAT_INTERFACE_ID(IVdsMaintenance, "daebeef3-8523-47ed-a2b9-05cecce2a1ae");

struct IVdsStoragePool : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProvider(IVdsProvider** ppProvider) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_STORAGE_POOL_PROP* pStoragePoolProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetAttributes(VDS_POOL_ATTRIBUTES* pStoragePoolAttributes) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryDriveExtents(VDS_STORAGE_POOL_DRIVE_EXTENT** ppExtentArray,
                                                        LONG* plNumberOfExtents) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryAllocatedLuns(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryAllocatedStoragePools(IEnumVdsObject** ppEnum) = 0;
};
COMPAT_INTERFACE_ID(IVdsStoragePool, "932ca8cf-0eb3-4ba8-9620-22665d7f8450");

struct IVdsIscsiTarget : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_ISCSI_TARGET_PROP* pTargetProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetSubSystem(IVdsSubSystem** ppSubSystem) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryPortalGroups(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryAssociatedLuns(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE CreatePortalGroup(IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE Delete(IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetFriendlyName(LPWSTR pwszFriendlyName) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetSharedSecret(VDS_ISCSI_SHARED_SECRET* pTargetSharedSecret,
                                                      LPWSTR pwszInitiatorName) = 0;
    virtual HRESULT STDMETHODCALLTYPE
    RememberInitiatorSharedSecret(LPWSTR pwszInitiatorName, VDS_ISCSI_SHARED_SECRET* pInitiatorSharedSecret) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetConnectedInitiators(LPWSTR** pppwszInitiatorList,
                                                             LONG* plNumberOfInitiators) = 0;
};
COMPAT_INTERFACE_ID(IVdsIscsiTarget, "aa8f5055-83e5-4bcc-aa73-19851a36a849");

struct IVdsIscsiPortal : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_ISCSI_PORTAL_PROP* pPortalProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetSubSystem(IVdsSubSystem** ppSubSystem) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryAssociatedPortalGroups(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetStatus(VDS_ISCSI_PORTAL_STATUS status) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetIpsecTunnelAddress(VDS_IPADDRESS* pTunnelAddress,
                                                            VDS_IPADDRESS* pDestinationAddress) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetIpsecSecurity(VDS_IPADDRESS* pInitiatorPortalAddress,
                                                       ULONGLONG* pullSecurityFlags) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetIpsecSecurity(VDS_IPADDRESS* pInitiatorPortalAddress,
                                                       ULONGLONG ullSecurityFlags, VDS_ISCSI_IPSEC_KEY* pIpsecKey) = 0;
};
COMPAT_INTERFACE_ID(IVdsIscsiPortal, "7fa1499d-ec85-4a8a-a47b-ff69201fcd34");

struct IVdsIscsiPortalGroup : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_ISCSI_PORTALGROUP_PROP* pPortalGroupProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE GetTarget(IVdsIscsiTarget** ppTarget) = 0;
    virtual HRESULT STDMETHODCALLTYPE QueryAssociatedPortals(IEnumVdsObject** ppEnum) = 0;
    virtual HRESULT STDMETHODCALLTYPE AddPortal(VDS_OBJECT_ID portalId, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE RemovePortal(VDS_OBJECT_ID portalId, IVdsAsync** ppAsync) = 0;
    virtual HRESULT STDMETHODCALLTYPE Delete(IVdsAsync** ppAsync) = 0;
};
COMPAT_INTERFACE_ID(IVdsIscsiPortalGroup, "fef5f89d-a3dd-4b36-bf28-e7dde045c593");

struct IVdsHbaPort : public IUnknown {
    virtual HRESULT STDMETHODCALLTYPE GetProperties(VDS_HBAPORT_PROP* pHbaPortProp) = 0;
    virtual HRESULT STDMETHODCALLTYPE SetAllPathStatuses(VDS_PATH_STATUS status) = 0;
};
COMPAT_INTERFACE_ID(IVdsHbaPort, "2abd757f-2851-4997-9a13-47d2a885d6ca");

#pragma GCC diagnostic pop

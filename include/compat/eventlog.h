// The event log as providers and writers use it. The process that loads a library defines these functions and exports
// them (umbra-provider-host does); nothing that is reported reaches a disk while a volume is frozen.
#pragma once

#include "compat/types.h"

#define EVENTLOG_SUCCESS 0x0000
#define EVENTLOG_ERROR_TYPE 0x0001
#define EVENTLOG_WARNING_TYPE 0x0002
#define EVENTLOG_INFORMATION_TYPE 0x0004

extern "C" {

/// lpUNCServerName is reserved: NULL. NULL when memory ran out.
HANDLE RegisterEventSourceW(LPCWSTR lpUNCServerName, LPCWSTR lpSourceName);
BOOL DeregisterEventSource(HANDLE hEventLog);
/// lpStrings: wNumStrings texts. lpUserSid and lpRawData are ignored. FALSE when the event was lost.
BOOL ReportEventW(HANDLE hEventLog, WORD wType, WORD wCategory, DWORD dwEventID, PVOID lpUserSid, WORD wNumStrings,
                  DWORD dwDataSize, LPCWSTR* lpStrings, LPVOID lpRawData);

}  // extern "C"

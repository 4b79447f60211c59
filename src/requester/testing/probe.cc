// A requester of its own process, linked with the shared library: opens an object, says "ready", and waits to be killed
// or, when its input ends, releases the object.
#include <unistd.h>

#include <cstdio>

#include "vsbackup.h"

int main() {
    IVssBackupComponents* object = nullptr;
    HRESULT result = CreateVssBackupComponents(&object);
    if (SUCCEEDED(result)) result = object->InitializeForBackup();
    if (FAILED(result)) {
        BSTR text = nullptr;
        UmbraGetLastErrorText(&text);
        printf("failed %08X %ls\n", static_cast<unsigned>(result), text != nullptr ? text : L"");
        SysFreeString(text);
        if (object != nullptr) object->Release();
        return 1;
    }
    puts("ready");
    fflush(stdout);
    char byte = 0;
    while (read(STDIN_FILENO, &byte, 1) > 0) {
    }
    object->Release();
    return 0;
}

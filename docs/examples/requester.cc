// A backup program in small: takes a shadow copy of one volume, lists what the copy holds, and lets it go.
//
//   c++ -std=c++17 requester.cc $(pkg-config --cflags --libs vssapi) -o requester
//   ./requester /srv/db
#include <clocale>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <string>

#include "vsbackup.h"

namespace {

template <class T>
class Pointer {
public:
    Pointer() = default;
    Pointer(const Pointer&) = delete;
    Pointer& operator=(const Pointer&) = delete;
    ~Pointer() {
        if (object_ != nullptr) object_->Release();
    }
    T** operator&() { return &object_; }
    T* operator->() const { return object_; }

private:
    T* object_ = nullptr;
};

// Ends the program: releasing the object then undoes what was begun.
class Failed {};

void check(HRESULT result, const char* what) {
    if (SUCCEEDED(result)) return;
    BSTR text = nullptr;
    UmbraGetLastErrorText(&text);
    std::fprintf(stderr, "%s: 0x%08X %ls\n", what, static_cast<unsigned>(result), text != nullptr ? text : L"");
    SysFreeString(text);
    throw Failed();
}

// That Wait succeeds does not mean that the operation did.
void finish(const Pointer<IVssAsync>& async, const char* what) {
    check(async->Wait(), what);
    HRESULT result = S_OK;
    check(async->QueryStatus(&result, nullptr), what);
    if (result == VSS_S_ASYNC_CANCELLED) result = E_ABORT;
    check(result, what);
}

void take(std::wstring volume) {
    Pointer<IVssBackupComponents> backup;
    check(CreateVssBackupComponents(&backup), "connecting");
    check(backup->InitializeForBackup(), "InitializeForBackup");
    // No writers, not persistent: the copy lives as long as `backup`.
    check(backup->SetContext(VSS_CTX_FILE_SHARE_BACKUP), "SetContext");
    check(backup->SetBackupState(false, false, VSS_BT_COPY), "SetBackupState");

    VSS_ID set = GUID_NULL;
    VSS_ID snapshot = GUID_NULL;
    check(backup->StartSnapshotSet(&set), "StartSnapshotSet");
    check(backup->AddToSnapshotSet(volume.data(), GUID_NULL, &snapshot), "AddToSnapshotSet");
    Pointer<IVssAsync> creating;
    check(backup->DoSnapshotSet(&creating), "DoSnapshotSet");
    finish(creating, "creating the shadow copy");

    VSS_SNAPSHOT_PROP properties{};
    check(backup->GetSnapshotProperties(snapshot, &properties), "GetSnapshotProperties");
    std::printf("%ls is at %ls\n", properties.m_pwszOriginalVolumeName, properties.m_pwszSnapshotDeviceObject);
    const std::filesystem::path root = properties.m_pwszSnapshotDeviceObject;
    VssFreeSnapshotProperties(&properties);

    // Here a real program copies the files.
    std::error_code error;
    for (const auto& entry : std::filesystem::directory_iterator(root, error)) {
        std::printf("  %s\n", entry.path().filename().c_str());
    }
    if (error) std::fprintf(stderr, "cannot list %s: %s\n", root.c_str(), error.message().c_str());
}

}  // namespace

int main(int argc, char** argv) {
    std::setlocale(LC_ALL, "");
    if (argc != 2) {
        std::fprintf(stderr, "usage: requester VOLUME\n");
        return 2;
    }
    try {
        take(std::filesystem::path(argv[1]).wstring());
    } catch (const Failed&) {
        return 1;
    }
    return 0;
}

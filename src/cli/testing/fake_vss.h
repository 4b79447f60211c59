// A VSS service in memory, for tests of requesters: IVssBackupComponents to Ex3 with the order of calls enforced, every
// call recorded, and any call made to fail. What is "transportable" can be imported by any object of the same world.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <vector>

#include "base/guid.h"
#include "vsbackup.h"

namespace umbra::cli::testing {

struct FakeShadow {
    base::Guid id;
    base::Guid set;
    int32_t count_in_set = 0;
    std::string volume;  ///< canonical
    std::string machine;
    std::string exposed;
    uint32_t attributes = 0;
    int64_t created = 0;
    bool here = false;            ///< listed and usable: made here and not transportable, or imported
    const void* owner = nullptr;  ///< the object whose release deletes it, for auto-release contexts
};

struct FakeProvider {
    base::Guid id;
    std::string name;
    VSS_PROVIDER_TYPE type;
    std::string version;
    base::Guid class_id;
};

/// The service. Outlives the objects that it makes.
class FakeVss {
public:
    FakeVss();

    /// CreateVssBackupComponents.
    HRESULT create(IVssBackupComponents** out);

    /// Volumes that exist here: name as callers give it to canonical name.
    std::map<std::string, std::string> volumes;
    std::set<std::string> unsupported;  ///< of those, by name
    std::vector<FakeProvider> providers;
    std::vector<FakeShadow> shadows;
    std::string machine = "alpha.example.org";
    int64_t now = 133'700'000'000'000'000;  ///< VSS_TIMESTAMP of the next creation; each adds a second

    /// Calls in order: "SetContext 0x29".
    std::vector<std::string> calls;
    /// What methods answer instead of doing anything, by name; asynchronous ones answer through IVssAsync when the name
    /// is "DoSnapshotSet.async".
    std::map<std::string, HRESULT> failures;
    std::string last_error_text;
    int objects = 0;  ///< alive

    base::Guid next_id();
    FakeShadow* find(const base::Guid& id);

private:
    uint64_t ids_ = 0;
};

}  // namespace umbra::cli::testing

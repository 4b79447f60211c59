// What the coordinator must not forget: shadow copy sets, the journal of intent, registered providers, events.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "base/guid.h"
#include "base/result.h"
#include "coordinator/lun_information.h"
#include "host/host.h"

namespace umbra::coordinator {

/// One LUN under a snapshot: the volume's original LUN, and the shadow copy's.
struct SourceLun {
    LunInformation lun;
    host::DiskSignature signature;
    bool operator==(const SourceLun&) const = default;
};

struct SnapshotRecord {
    base::Guid id;
    base::Guid provider;
    uint32_t attributes = 0;
    int64_t created = 0;  ///< VSS_TIMESTAMP
    std::string original_volume;
    std::string originating_machine;
    std::string service_machine;
    uint32_t partition = 0;
    uint64_t volume_bytes = 0;
    bool layered = false;
    std::vector<SourceLun> sources;
    std::vector<LunInformation> targets;  ///< parallel to sources; empty until GetTargetLuns
    std::vector<host::VolumeExtent> extents;
    std::string device_object;  ///< empty: not surfaced on this host
    std::string exposed_path;
    bool operator==(const SnapshotRecord&) const = default;
};

enum class SetState : uint8_t {
    kCreating = 1,     ///< undone at a restart
    kCreated = 2,      ///< on this host, surfaced
    kTransported = 3,  ///< created here for another host; nothing surfaced
    kImporting = 4,    ///< becomes kImportFailed at a restart
    kImported = 5,
    kImportFailed = 6,  ///< LUNs are presented to this host, nothing is mounted
    kBreaking = 7,      ///< finished at a restart
    // The two stages of a transportable set before kTransported (decision 0044).
    kUndelivered = 8,  ///< complete, but its document has not left: deleted at the session's end or at a restart
    kUnconfirmed = 9,  ///< its document has left, and nobody has said that it arrived: kept, and listed
};
std::string_view to_string(SetState state);

struct SetRecord {
    base::Guid id;
    SetState state = SetState::kCreating;
    uint32_t context = 0;
    uint32_t snapshots_created = 0;  ///< m_lSnapshotsCount
    std::vector<SnapshotRecord> snapshots;
    uint32_t break_flags = 0;  ///< kBreaking
    bool holds_point = false;  ///< kCreating: the commit may have been tried, LUNs may exist
    bool operator==(const SetRecord&) const = default;
};

/// A step that changes the outside and must be taken back or finished after a kill. Written before the step.
struct Intent {
    enum class Kind : uint8_t {
        kSourceFlags = 1,  ///< a disk carries shadow copy flags for the time of a commit: put `flags` back
        kRecover = 2,      ///< a resynchronisation
        kLunRelease = 3,   ///< shadow copy `id` of `set` is being deleted
    };
    base::Guid id;
    Kind kind = Kind::kSourceFlags;
    base::Guid set;
    std::string disk;     ///< kSourceFlags: device
    LunInformation lun;   ///< kSourceFlags
    uint32_t flags = 0;   ///< kSourceFlags: what was there
    base::Guid provider;  ///< kRecover
    /// kRecover: one element a destination disk.
    struct Destination {
        LunInformation source;
        LunInformation target;
        std::string disk;
        host::ReleasedDisk released;
        host::DiskSignature former;    ///< of the destination
        host::DiskSignature original;  ///< of the LUN that the shadow copy was made from
        bool operator==(const Destination& other) const {
            return source == other.source && target == other.target && disk == other.disk && former == other.former &&
                   original == other.original;
        }
    };
    enum class Phase : uint8_t {
        kReleasing = 1,   ///< nothing was asked of the array
        kCopying = 2,     ///< the array may be copying: nothing of the destinations may be used
        kIdentities = 3,  ///< copied
        kFailed = 4,      ///< ended otherwise, and nothing runs any more
    };
    Phase phase = Phase::kReleasing;
    uint32_t recover_flags = 0;
    std::vector<Destination> destinations;
};

struct RegisteredProvider {
    base::Guid id;
    std::string name;
    std::string version;
    base::Guid version_id;
    base::Guid class_id;
    std::string library;
    std::map<std::string, std::string> environment;
    bool operator==(const RegisteredProvider&) const = default;
};

struct EventRecord {
    uint64_t sequence = 0;  ///< given by the store
    int64_t unix_ms = 0;
    uint32_t id = 0;
    std::string severity;
    std::string text;
    std::map<std::string, std::string> fields;
    bool operator==(const EventRecord&) const = default;
};

/// Applied whole or not at all; durable when apply() returns.
struct StateChange {
    std::vector<SetRecord> put_sets;
    std::vector<base::Guid> erase_sets;
    std::vector<Intent> put_intents;
    std::vector<base::Guid> erase_intents;
    std::vector<RegisteredProvider> put_providers;
    std::vector<base::Guid> erase_providers;
};

struct State {
    std::vector<SetRecord> sets;  ///< in the order of their creation here
    std::vector<Intent> intents;
    std::vector<RegisteredProvider> providers;
};

inline constexpr size_t kEventsKept = 10'000;

/// Used from the coordinator's thread only; calls are short and never made while a volume is frozen.
class StateStore {
public:
    virtual ~StateStore() = default;
    virtual base::Result<State> load() = 0;
    virtual base::Result<void> apply(StateChange change) = 0;
    /// Need not be durable at once. Keeps the newest kEventsKept.
    virtual base::Result<uint64_t> append_event(EventRecord event) = 0;
    /// Oldest first, with sequence > `after`.
    virtual base::Result<std::vector<EventRecord>> events(uint64_t after, size_t limit) = 0;
};

// The stored form of records, docs/format/host-state.md.
std::vector<std::byte> encode(const SetRecord& set);
std::vector<std::byte> encode(const Intent& intent);
std::vector<std::byte> encode(const RegisteredProvider& provider);
base::Result<SetRecord> decode_set(base::Bytes bytes);
base::Result<Intent> decode_intent(base::Bytes bytes);
base::Result<RegisteredProvider> decode_provider(base::Bytes bytes);

}  // namespace umbra::coordinator

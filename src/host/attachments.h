// LUNs that this host has attached with its own initiator: one umbra-initiator process, one file, one loop device each.
// The registry is the files themselves (their extended attributes, answered by the process): it survives this service
// and cannot go stale. See docs/format/attach-registry.md.
#pragma once

#include <chrono>
#include <map>
#include <memory>
#include <mutex>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "host/host.h"
#include "host/iscsi_session.h"
#include "host/machine.h"
#include "host/process.h"

namespace umbra::host {

/// What umbra-hostd's configuration says about this host.
struct HostConfig {
    std::string run_dir = "/run/umbra";  ///< on a file system that is never frozen; one host service each
    std::string device_dir = "/dev/umbra";
    std::string state_dir;             ///< of the service; what it lies on is never frozen
    std::string initiator_iqn;         ///< of this host
    std::string array_address;         ///< management, "unix:/…"; for Attach and Detach only
    std::vector<std::string> portals;  ///< "ip:port", asked for LUNs by rescan()
    std::string initiator_program = "umbra-initiator";
    std::string freezer_program = "umbra-freezer";
    std::chrono::milliseconds abort_grace{120'000};  ///< see FreezerOptions
    std::vector<std::string> own_paths;              ///< state, programs, libraries: what carries them is never frozen

    std::string attach_dir() const { return run_dir + "/attach"; }
    std::string freeze_dir() const { return run_dir + "/freeze"; }
    std::string shadow_dir() const { return run_dir + "/shadow"; }
    std::string exposed_dir() const { return run_dir + "/exposed"; }
};

/// With directories as the mount table names them: no symbolic links, nothing relative.
HostConfig canonical(const HostConfig& config);

struct Attachment {
    LunIdentity lun;
    IscsiPath path;
    std::string file;
    std::string device;  ///< loop device; empty when it has none (an attach was interrupted)
    int pid = 0;
    bool read_only = false;
    bool dead = false;  ///< the initiator process is gone: I/O fails, attach() or detach() cleans up
    Fields notes;       ///< set_notes(): "name", "mask_added", …
};

/// Thread-safe; calls block.
class Attachments {
public:
    explicit Attachments(const HostConfig& config) : config_(canonical(config)), machine_(config_.attach_dir()) {}

    /// Idempotent. `expect_key`: refuse any other LUN (kNotFound). Partitions are announced to the kernel.
    base::Result<Attachment> attach(const IscsiPath& path, const std::string& expect_key, bool read_only);
    /// Success when it is not attached. kBusy while it is mounted or open; nothing has changed then.
    base::Result<void> detach(const LunIdentity& lun);
    base::Result<std::vector<Attachment>> list();
    base::Result<std::optional<Attachment>> find(const LunIdentity& lun);
    base::Result<std::optional<Attachment>> find_key(const std::string& key);
    /// detach() of Attachment::file, also of one that is dead. `keep_notes`: it is attached again soon, by whoever
    /// does it, and its notes are those of now.
    base::Result<void> detach_file(const std::string& file, bool keep_notes = false);
    base::Result<void> set_notes(const Attachment& attachment, Fields notes);
    /// Notes of a LUN that need not be attached: what is about to be done is written down before.
    base::Result<void> note(const std::string& key, const Fields& notes);
    Fields notes(const std::string& key) const;
    void forget_notes(const std::string& key);

    /// Asks every portal for LUNs that this host may see, attaches those that are wanted, and looks at kernel disks
    /// too.
    base::Result<std::vector<std::optional<Disk>>> search(const std::vector<WantedLun>& wanted,
                                                          std::chrono::milliseconds timeout);
    const Machine& machine() const { return machine_; }

private:
    std::string file_of(const std::string& key) const;
    base::Result<Attachment> read(const std::string& file) const;
    base::Result<void> clear_dead(const std::string& file);
    base::Result<void> end_file(const std::string& file, int pid, bool keep_notes);
    base::Result<bool> ask_portals(const std::vector<WantedLun>& wanted, std::vector<std::optional<Disk>>& found);
    base::Result<Attachment> attach_locked(const IscsiPath& path, const std::string& key, bool read_only);

    std::shared_ptr<std::mutex> mutex_of(const std::string& file);

    const HostConfig config_;
    Machine machine_;
    std::mutex mutex_;
    // One a LUN: an array that does not answer holds up nobody else.
    std::map<std::string, std::shared_ptr<std::mutex>> file_mutexes_;
};

}  // namespace umbra::host

// What the VDS objects know of one array: a copy of its records, kept current by the array's event stream.
//
// The copy is trusted until the stream breaks, an answer contradicts what was known, or the array cannot be asked. From
// then on every question is answered with VDS_E_PROVIDER_CACHE_CORRUPT until reenumerate() and then refresh() succeed.
// Thread-safe.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "provider/array_client.h"
#include "provider/events.h"
#include "vds.h"

namespace umbra::provider {

/// The HRESULT by which VDS says `code`. Always a failure.
HRESULT to_vds_hresult(base::Code code);

class VdsCache {
public:
    /// `notify` is called from the stream's thread with everything that one event changed.
    using Notify = std::function<void(std::vector<VDS_NOTIFICATION>)>;
    VdsCache(std::shared_ptr<ArrayClient> array, EventSink events, Notify notify);
    VdsCache(const VdsCache&) = delete;
    VdsCache& operator=(const VdsCache&) = delete;
    ~VdsCache();

    ArrayClient& array() const { return *array_; }
    /// True once the array has answered at least once: it is a subsystem from then on.
    bool known() const;

    /// The array is asked whether it is there. kGood stays, a broken cache waits for refresh(). Fails as the array
    /// does.
    HRESULT reenumerate();
    /// Reads everything anew after reenumerate(); of a cache that is good, the properties of the objects it knows.
    HRESULT refresh();
    /// Looks for drives and LUNs that are new or gone.
    HRESULT rescan();
    /// Ends the stream and breaks the cache; nothing is notified any more.
    void close();

    HRESULT status(ArrayRecord* out);
    /// Ordinary LUNs and shadow copies, as the array lists them now: not every creation is an event.
    HRESULT luns(std::vector<LunRecord>* out);
    HRESULT drives(std::vector<DriveRecord>* out);
    /// VDS_E_OBJECT_DELETED when there is no such object any more.
    HRESULT lun(const std::string& id, LunRecord* out);
    HRESULT drive(const std::string& id, DriveRecord* out);
    /// The code for an array's refusal; an array that does not answer breaks the cache.
    HRESULT failure(const base::Error& error);
    /// After a change of our own: the next question reads the array's records.
    void changed();

private:
    enum class Trust { kUnread, kGood, kBroken, kReenumerated };
    struct View {
        ArrayRecord array;
        std::map<std::string, LunRecord> luns;
        std::map<std::string, DriveRecord> drives;
    };

    Result<View> read() const;
    HRESULT broken(const std::string& why);
    void note_broken(const std::string& why);
    /// Brings the view up to date when an event said that something changed. Expects mutex_ held.
    HRESULT current();
    /// `at`: changes_ as it was before the records were read.
    HRESULT take(View fresh, uint64_t at, bool known_only, std::vector<VDS_NOTIFICATION>* changes);
    bool stale() const { return changes_ != read_at_; }
    HRESULT start_watch();
    void on_event(const EventRecord& event);

    const std::shared_ptr<ArrayClient> array_;
    const EventSink events_;
    const Notify notify_;

    mutable std::mutex mutex_;
    Trust trust_ = Trust::kUnread;
    bool seen_ = false;
    uint64_t changes_ = 0;  ///< grows with everything that may have made the view old
    uint64_t read_at_ = 0;  ///< changes_ when the view was read
    bool watching_ = false;
    uint64_t last_event_ = 0;
    uint64_t watch_ = 0;  ///< number of the stream that may still speak
    View view_;
};

}  // namespace umbra::provider

#include "provider/vds_cache.h"

#include "provider/text.h"

namespace umbra::provider {

using base::Code;
using base::fail;

namespace {

constexpr Timeout kStatusTimeout{5000};

VDS_NOTIFICATION lun_notification(ULONG event, const std::string& id) {
    VDS_NOTIFICATION notification{};
    notification.objectType = VDS_NTT_LUN;
    notification.Lun.ulEvent = event;
    notification.Lun.LunId = parse_com_guid(id);
    return notification;
}

VDS_NOTIFICATION drive_notification(ULONG event, const std::string& id) {
    VDS_NOTIFICATION notification{};
    notification.objectType = VDS_NTT_DRIVE;
    notification.Drive.ulEvent = event;
    notification.Drive.driveId = parse_com_guid(id);
    return notification;
}

template <class Record, class Make>
void compare(const std::map<std::string, Record>& before, const std::map<std::string, Record>& after, ULONG arrive,
             ULONG depart, ULONG modify, Make make, std::vector<VDS_NOTIFICATION>* out) {
    for (const auto& [id, record] : before) {
        auto now = after.find(id);
        if (now == after.end()) {
            out->push_back(make(depart, id));
        } else if (!(now->second == record)) {
            out->push_back(make(modify, id));
        }
    }
    for (const auto& [id, record] : after) {
        if (!before.contains(id)) out->push_back(make(arrive, id));
    }
}

}  // namespace

HRESULT to_vds_hresult(Code code) {
    switch (code) {
        case Code::kInvalidArgument:
            return E_INVALIDARG;
        case Code::kNotFound:
            return VDS_E_OBJECT_DELETED;
        case Code::kAlreadyExists:
            return VDS_E_NAME_NOT_UNIQUE;
        case Code::kBusy:
            return VDS_E_ANOTHER_CALL_IN_PROGRESS;
        case Code::kBadState:
            return VDS_E_INVALID_OPERATION;
        case Code::kPermissionDenied:
        case Code::kUnauthenticated:
            return E_ACCESSDENIED;
        case Code::kUnsupported:
            return VDS_E_NOT_SUPPORTED;
        case Code::kNoSpace:
            return VDS_E_NOT_ENOUGH_SPACE;
        case Code::kNoDrive:
            return VDS_E_NOT_ENOUGH_DRIVE;
        case Code::kMediaError:
        case Code::kDeviceFailed:
            return VDS_E_OBJECT_STATUS_FAILED;
        case Code::kWriteProtected:
            return VDS_E_MEDIA_WRITE_PROTECTED;
        case Code::kCancelled:
            return VDS_E_OPERATION_CANCELED;
        case Code::kUnavailable:
        case Code::kTimedOut:
        case Code::kCorrupt:
        case Code::kVersion:
            return VDS_E_PROVIDER_CACHE_CORRUPT;
        case Code::kIo:
            return VDS_E_IO_ERROR;
        case Code::kMiscompare:
        case Code::kInternal:
            return VDS_E_PROVIDER_INTERNAL_ERROR;
    }
    return VDS_E_PROVIDER_INTERNAL_ERROR;
}

VdsCache::VdsCache(std::shared_ptr<ArrayClient> array, EventSink events, Notify notify)
    : array_(std::move(array)), events_(std::move(events)), notify_(std::move(notify)) {}

VdsCache::~VdsCache() {
    close();
}

bool VdsCache::known() const {
    std::lock_guard lock(mutex_);
    return seen_;
}

Result<VdsCache::View> VdsCache::read() const {
    View view;
    UMBRA_ASSIGN(view.array, array_->status(kStatusTimeout));
    UMBRA_ASSIGN(auto luns, array_->list_luns());
    UMBRA_ASSIGN(auto drives, array_->drives());
    for (LunRecord& lun : luns) {
        if (lun.kind == LunKind::kSnapshot) continue;
        std::string id = lun.id;
        if (!view.luns.emplace(id, std::move(lun)).second) {
            return fail(Code::kCorrupt, "the array lists LUN " + id + " twice");
        }
    }
    for (DriveRecord& drive : drives) {
        std::string id = drive.id;
        view.drives.emplace(id, std::move(drive));
    }
    return view;
}

void VdsCache::note_broken(const std::string& why) {
    if (trust_ == Trust::kBroken || trust_ == Trust::kUnread) return;
    trust_ = Trust::kBroken;
    events_({Severity::kWarning, EventId::kCacheBroken,
             "VDS: what is known of array " + array_->address() + " can no longer be trusted: " + why +
                 ". Reenumerate, then refresh (diskraid: reenumerate subsystems, refresh provider)."});
}

HRESULT VdsCache::broken(const std::string& why) {
    note_broken(why);
    return VDS_E_PROVIDER_CACHE_CORRUPT;
}

HRESULT VdsCache::take(View fresh, uint64_t at, bool known_only, std::vector<VDS_NOTIFICATION>* changes) {
    if (seen_) {
        if (fresh.array.id != view_.array.id) return broken("another array answers at its address");
        for (const auto& [id, lun] : fresh.luns) {
            auto before = view_.luns.find(id);
            if (before != view_.luns.end() && lun.generation < before->second.generation) {
                return broken("LUN " + lun.name + " went back to an earlier state");
            }
        }
    }
    if (known_only) {
        std::erase_if(fresh.drives, [&](const auto& entry) { return !view_.drives.contains(entry.first); });
        std::erase_if(fresh.luns, [&](const auto& entry) { return !view_.luns.contains(entry.first); });
    }
    if (changes != nullptr && seen_) {
        compare(view_.luns, fresh.luns, VDS_NF_LUN_ARRIVE, VDS_NF_LUN_DEPART, VDS_NF_LUN_MODIFY, lun_notification,
                changes);
        compare(view_.drives, fresh.drives, VDS_NF_DRIVE_ARRIVE, VDS_NF_DRIVE_DEPART, VDS_NF_DRIVE_MODIFY,
                drive_notification, changes);
    }
    view_ = std::move(fresh);
    seen_ = true;
    read_at_ = at;
    return S_OK;
}

HRESULT VdsCache::current() {
    if (trust_ != Trust::kGood) return VDS_E_PROVIDER_CACHE_CORRUPT;
    if (!stale()) return S_OK;
    auto fresh = read();
    if (!fresh) return broken(fresh.error().message);
    return take(std::move(*fresh), changes_, false, nullptr);
}

HRESULT VdsCache::reenumerate() {
    auto status = array_->status(kStatusTimeout);
    std::lock_guard lock(mutex_);
    if (!status) {
        if (trust_ == Trust::kGood) return broken(status.error().message);
        if (seen_) trust_ = Trust::kBroken;
        return VDS_E_PROVIDER_CACHE_CORRUPT;
    }
    if (seen_ && status->id != view_.array.id) {
        trust_ = Trust::kBroken;
        return VDS_E_PROVIDER_CACHE_CORRUPT;
    }
    if (trust_ != Trust::kGood) trust_ = Trust::kReenumerated;
    return S_OK;
}

HRESULT VdsCache::start_watch() {
    // No callback of an older stream runs after this.
    array_->stop_watching();
    auto newest = array_->newest_event();
    uint64_t watch = 0;
    {
        std::lock_guard lock(mutex_);
        if (!newest) return broken(newest.error().message);
        last_event_ = *newest;
        watch = ++watch_;
        watching_ = true;
    }
    auto started = array_->watch_events(
        *newest, [this](const EventRecord& event) { on_event(event); },
        [this, watch](const base::Error& error) {
            std::lock_guard lock(mutex_);
            if (watch != watch_) return;
            watching_ = false;
            note_broken("its event stream ended: " + error.message);
        });
    if (!started) {
        std::lock_guard lock(mutex_);
        watching_ = false;
        return broken(started.error().message);
    }
    return S_OK;
}

HRESULT VdsCache::refresh() {
    bool known_only = false;
    bool watching = false;
    {
        std::lock_guard lock(mutex_);
        if (trust_ != Trust::kGood && trust_ != Trust::kReenumerated) return VDS_E_PROVIDER_CACHE_CORRUPT;
        known_only = trust_ == Trust::kGood && !stale();
        watching = watching_ && trust_ == Trust::kGood;
    }
    // The stream first: what changes while the records are read is then an event that comes after them.
    if (!watching) {
        if (HRESULT hr = start_watch(); FAILED(hr)) return hr;
    }
    // Reading and taking are one step: of two that overlap, the older could be taken for the array going back.
    std::lock_guard lock(mutex_);
    uint64_t at = changes_;
    auto fresh = read();
    if (!fresh) return broken(fresh.error().message);
    bool ended_meanwhile = !watching_;
    if (HRESULT hr = take(std::move(*fresh), at, known_only, nullptr); FAILED(hr)) return hr;
    if (ended_meanwhile) return broken("its event stream ended");
    trust_ = Trust::kGood;
    return S_OK;
}

HRESULT VdsCache::rescan() {
    std::vector<VDS_NOTIFICATION> changes;
    {
        std::lock_guard lock(mutex_);
        if (trust_ != Trust::kGood) return VDS_E_PROVIDER_CACHE_CORRUPT;
        uint64_t at = changes_;
        auto fresh = read();
        if (!fresh) return broken(fresh.error().message);
        if (HRESULT hr = take(std::move(*fresh), at, false, &changes); FAILED(hr)) return hr;
    }
    if (!changes.empty() && notify_) notify_(std::move(changes));
    return S_OK;
}

void VdsCache::close() {
    {
        std::lock_guard lock(mutex_);
        ++watch_;
        watching_ = false;
        trust_ = Trust::kUnread;
    }
    array_->stop_watching();
}

void VdsCache::on_event(const EventRecord& event) {
    std::vector<VDS_NOTIFICATION> changes;
    {
        std::lock_guard lock(mutex_);
        if (event.sequence <= last_event_) {
            note_broken("its events went back from number " + std::to_string(last_event_) + " to " +
                        std::to_string(event.sequence));
            return;
        }
        last_event_ = event.sequence;
        const uint64_t at = ++changes_;
        if (!notify_ || trust_ != Trust::kGood) return;
        auto fresh = read();
        if (!fresh) {
            note_broken(fresh.error().message);
            return;
        }
        if (FAILED(take(std::move(*fresh), at, false, &changes))) return;
    }
    if (!changes.empty()) notify_(std::move(changes));
}

HRESULT VdsCache::status(ArrayRecord* out) {
    std::lock_guard lock(mutex_);
    if (HRESULT hr = current(); FAILED(hr)) return hr;
    *out = view_.array;
    return S_OK;
}

HRESULT VdsCache::luns(std::vector<LunRecord>* out) {
    std::lock_guard lock(mutex_);
    if (HRESULT hr = current(); FAILED(hr)) return hr;
    auto listed = array_->list_luns();
    if (!listed) return broken(listed.error().message);
    View fresh;
    fresh.array = view_.array;
    fresh.drives = view_.drives;
    for (LunRecord& lun : *listed) {
        std::string id = lun.id;
        if (lun.kind != LunKind::kSnapshot) fresh.luns.emplace(std::move(id), std::move(lun));
    }
    if (HRESULT hr = take(std::move(fresh), read_at_, false, nullptr); FAILED(hr)) return hr;
    for (const auto& [id, lun] : view_.luns) out->push_back(lun);
    return S_OK;
}

HRESULT VdsCache::drives(std::vector<DriveRecord>* out) {
    std::lock_guard lock(mutex_);
    if (HRESULT hr = current(); FAILED(hr)) return hr;
    for (const auto& [id, drive] : view_.drives) out->push_back(drive);
    return S_OK;
}

HRESULT VdsCache::lun(const std::string& id, LunRecord* out) {
    std::lock_guard lock(mutex_);
    if (HRESULT hr = current(); FAILED(hr)) return hr;
    auto found = view_.luns.find(id);
    if (found == view_.luns.end()) return VDS_E_OBJECT_DELETED;
    *out = found->second;
    return S_OK;
}

HRESULT VdsCache::drive(const std::string& id, DriveRecord* out) {
    std::lock_guard lock(mutex_);
    if (HRESULT hr = current(); FAILED(hr)) return hr;
    auto found = view_.drives.find(id);
    if (found == view_.drives.end()) return VDS_E_OBJECT_DELETED;
    *out = found->second;
    return S_OK;
}

HRESULT VdsCache::failure(const base::Error& error) {
    HRESULT hr = to_vds_hresult(error.code);
    std::lock_guard lock(mutex_);
    if (hr == VDS_E_PROVIDER_CACHE_CORRUPT) return broken(error.message);
    ++changes_;  // it refused for a reason that the copy may not show yet
    return hr;
}

void VdsCache::changed() {
    std::lock_guard lock(mutex_);
    ++changes_;
}

}  // namespace umbra::provider

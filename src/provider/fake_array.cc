#include "provider/fake_array.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/guid.h"
#include "provider/text.h"

namespace umbra::provider {

using base::Code;
using base::fail;

namespace {

constexpr char kTarget[] = "iqn.2025-01.org.umbra:fake";

std::string number_text(uint64_t number, size_t digits) {
    std::string text = std::to_string(number);
    return std::string(digits - text.size(), '0') + text;
}

std::string binary(const std::string& hex) {
    std::string out;
    for (size_t i = 0; i + 1 < hex.size(); i += 2) {
        out += static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16));
    }
    return out;
}

std::string page83_of(const std::string& naa) {
    std::string page("\x01\x03\x00\x10", 4);
    page += binary(naa);
    std::string vendor = "UMBRA   " + naa;
    page += std::string("\x02\x01\x00", 3) + static_cast<char>(vendor.size()) + vendor;
    return page;
}

}  // namespace

FakeArray::FakeArray(std::string name) : address_("fake:" + name) {
    record.id = base::Guid::from_name(base::Guid{}, name).text();
    record.name = std::move(name);
    record.state = "ready";
    record.raw_bytes = 100ull << 30;
    record.free_bytes = 50ull << 30;
    record.drives = 4;
    record.drives_online = 4;
    record.vendor_id = "UMBRA";
    record.product_id = "VIRTUAL-DISK";
    record.product_revision = "0001";
    for (uint32_t i = 0; i < 4; ++i) {
        std::string drive = "d" + std::to_string(i);
        drive_list.push_back({drive, base::Guid::from_name(base::Guid{}, record.name + drive).text(),
                              "/dev/fake/" + drive, 25ull << 30, i == 3 ? 0 : 1ull << 30, "online", i});
    }
    next_task.state = "done";
    next_task.percent = 100;
}

FakeArray::~FakeArray() = default;

std::optional<FakeArray::Fault> FakeArray::strike(const std::string& method) {
    auto fault = faults.find(method);
    if (fault == faults.end()) fault = faults.find("*");
    if (fault == faults.end()) return std::nullopt;
    if (fault->second.after > 0) {
        --fault->second.after;
        return std::nullopt;
    }
    return fault->second;
}

LunRecord& FakeArray::add_lun(const std::string& name, const std::string& type, uint64_t size) {
    LunRecord lun;
    uint64_t number = next_++;
    lun.name = name;
    lun.id = base::Guid::from_name(base::Guid{}, record.name + "lun" + std::to_string(number)).text();
    lun.naa = "6" + lun.id.substr(0, 8) + lun.id.substr(9, 4) + number_text(number, 19);
    lun.serial = "SN" + std::to_string(number);
    lun.type = type;
    lun.size_bytes = size;
    lun.health = "healthy";
    lun.page83 = page83_of(lun.naa);
    lun.generation = 1;
    for (int i = 0; i < (type == "mirror" ? 2 : 1); ++i) {
        std::string plex = base::Guid::from_name(base::Guid{}, lun.id + std::to_string(i)).text();
        lun.plexes.push_back({plex, "healthy", {"d" + std::to_string(i)}});
    }
    return luns[lun.naa] = lun;
}

const LunRecord* FakeArray::find(const std::string& name) const {
    for (const auto& [naa, lun] : luns) {
        if (lun.name == name) return &lun;
    }
    return nullptr;
}

size_t FakeArray::count(LunKind kind) const {
    return static_cast<size_t>(
        std::count_if(luns.begin(), luns.end(), [&](const auto& entry) { return entry.second.kind == kind; }));
}

Result<LunRecord*> FakeArray::known(const std::string& naa) {
    auto found = luns.find(naa);
    if (found == luns.end()) return fail(Code::kNotFound, "no LUN naa." + naa);
    return &found->second;
}

void FakeArray::emit(const std::string& id) {
    EventRecord event;
    event.sequence = ++last_event;
    event.id = id;
    if (on_event_) on_event_(event);
}

void FakeArray::emit_numbered(uint64_t sequence) {
    EventRecord event;
    event.sequence = sequence;
    if (on_event_) on_event_(event);
}

void FakeArray::break_stream() {
    auto end = std::move(on_end_);
    on_event_ = nullptr;
    on_end_ = nullptr;
    if (end) end({Code::kUnavailable, "the connection broke"});
}

Result<ArrayRecord> FakeArray::status(Timeout) {
    if (auto fault = strike("status")) return fail(fault->code, "status fails as ordered");
    return record;
}

Result<std::vector<LunRecord>> FakeArray::list_luns() {
    if (auto fault = strike("list_luns")) return fail(fault->code, "list_luns fails as ordered");
    std::vector<LunRecord> all;
    for (const auto& [naa, lun] : luns) all.push_back(lun);
    return all;
}

Result<LunRecord> FakeArray::get_lun_by_naa(const std::string& naa) {
    if (auto fault = strike("get_lun")) return fail(fault->code, "get_lun fails as ordered");
    UMBRA_ASSIGN(LunRecord * lun, known(naa));
    return *lun;
}

Result<LunRecord> FakeArray::create_lun(const std::string& name, uint64_t size_bytes, const std::string& type) {
    if (auto fault = strike("create_lun")) return fail(fault->code, "create_lun fails as ordered");
    calls.push_back("create_lun");
    LunRecord& lun = add_lun(name, type, size_bytes);
    return lun;
}

Result<void> FakeArray::delete_lun(const std::string& naa, bool force) {
    if (auto fault = strike("delete_lun")) return fail(fault->code, "delete_lun fails as ordered");
    UMBRA_ASSIGN(LunRecord * lun, known(naa));
    for (const SessionRecord& session : session_list) {
        bool sees = std::find(session.luns.begin(), session.luns.end(), lun->name) != session.luns.end();
        if (sees && !force) return fail(Code::kBusy, session.initiator + " is logged in");
    }
    calls.push_back("delete_lun " + lun->name);
    luns.erase(naa);
    return {};
}

Result<LunRecord> FakeArray::resize_lun(const std::string& naa, uint64_t size_bytes, bool force) {
    if (auto fault = strike("resize_lun")) return fail(fault->code, "resize_lun fails as ordered");
    UMBRA_ASSIGN(LunRecord * lun, known(naa));
    if (size_bytes < lun->size_bytes && !force) return fail(Code::kInvalidArgument, "shrinking needs force");
    calls.push_back("resize_lun");
    lun->size_bytes = size_bytes;
    ++lun->generation;
    return *lun;
}

Result<LunRecord> FakeArray::rename_lun(const std::string& naa, const std::string& name) {
    if (auto fault = strike("rename_lun")) return fail(fault->code, "rename_lun fails as ordered");
    UMBRA_ASSIGN(LunRecord * lun, known(naa));
    if (find(name)) return fail(Code::kAlreadyExists, "the name is taken");
    lun->name = name;
    ++lun->generation;
    return *lun;
}

Result<LunRecord> FakeArray::update_lun(const std::string& naa, const LunUpdate& update) {
    auto fault = strike("update_lun");
    if (fault && !fault->done_all_the_same) return fail(fault->code, "update_lun fails as ordered");
    UMBRA_ASSIGN(LunRecord * lun, known(naa));
    for (const auto& [key, value] : update.expect_attributes) {
        if (lun->attribute(key) != value) return fail(Code::kBusy, key + " is " + lun->attribute(key));
    }
    calls.push_back("update_lun " + lun->name);
    if (update.flags) lun->flags = *update.flags;
    if (update.write_protect) write_protected[naa] = *update.write_protect;
    for (const auto& key : update.remove_attributes) lun->attributes.erase(key);
    for (const auto& [key, value] : update.set_attributes) lun->attributes[key] = value;
    if (update.break_shadow_copy) lun->kind = LunKind::kLun;
    ++lun->generation;
    if (fault) return fail(fault->code, "the answer to update_lun is lost");
    return *lun;
}

Result<std::vector<LunRecord>> FakeArray::create_shadow_copies(const std::vector<ShadowRequest>& requests, Timeout) {
    auto fault = strike("create_shadow_copies");
    if (fault && fault->late) queued_ = requests;
    if (fault && !fault->done_all_the_same) return fail(fault->code, "create_shadow_copies fails as ordered");
    calls.push_back("create_shadow_copies " + std::to_string(requests.size()));
    for (const ShadowRequest& request : requests) {
        UMBRA_TRY(known(request.source_naa));
        if (find(request.name)) return fail(Code::kAlreadyExists, request.name + " is taken");
        if (request.name.size() > 64) return fail(Code::kInvalidArgument, "the name is too long");
    }
    std::vector<LunRecord> made;
    for (const ShadowRequest& request : requests) {
        LunRecord source = luns.at(request.source_naa);
        LunRecord& copy = add_lun(request.name, source.type, source.size_bytes);
        copy.kind = LunKind::kShadowCopy;
        copy.origin = source.name;
        copy.attributes = request.attributes;
        copy.flags = request.flags;
        made.push_back(copy);
    }
    if (fault) return fail(fault->code, "the answer to create_shadow_copies is lost");
    return made;
}

Result<void> FakeArray::settle() {
    if (auto fault = strike("settle")) return fail(fault->code, "settle fails as ordered");
    if (queued_.empty()) return {};
    std::vector<ShadowRequest> requests = std::exchange(queued_, {});
    faults.erase("create_shadow_copies");
    UMBRA_TRY(create_shadow_copies(requests, {}));
    return {};
}

Result<std::vector<TaskRecord>> FakeArray::list_tasks() {
    if (auto fault = strike("list_tasks")) return fail(fault->code, "list_tasks fails as ordered");
    std::vector<TaskRecord> all;
    for (const auto& [id, task] : tasks) all.push_back(task);
    return all;
}

Result<TaskRecord> FakeArray::start(const std::string& kind, const LunRecord& lun, const std::string& source) {
    TaskRecord task = next_task;
    task.id = next_++;
    task.kind = kind;
    task.object = lun.name;
    task.object_naa = lun.naa;
    if (!task.ended()) task.source_naa = source;
    tasks[task.id] = task;
    return task;
}

Result<TaskRecord> FakeArray::resync(const std::string& destination_naa, const std::string& source_naa, bool force) {
    auto fault = strike("resync");
    if (fault && !fault->done_all_the_same) return fail(fault->code, "resync fails as ordered");
    UMBRA_ASSIGN(LunRecord * destination, known(destination_naa));
    UMBRA_ASSIGN(LunRecord * source, known(source_naa));
    for (const auto& [id, task] : tasks) {
        if (!task.ended() && task.object_naa == destination_naa) return fail(Code::kBusy, "a task changes it");
    }
    calls.push_back("resync " + destination->name + " from " + source->name + (force ? " by force" : ""));
    destination->size_bytes = source->size_bytes;
    UMBRA_ASSIGN(TaskRecord task, start("resync", *destination, source_naa));
    if (fault) return fail(fault->code, "the answer to resync is lost");
    return task;
}

Result<TaskRecord> FakeArray::recover(const std::string& naa) {
    if (auto fault = strike("recover")) return fail(fault->code, "recover fails as ordered");
    UMBRA_ASSIGN(LunRecord * lun, known(naa));
    if (lun->type == "simple") return fail(Code::kInvalidArgument, "a simple LUN has no redundancy");
    calls.push_back("recover " + lun->name);
    return start("recover", *lun);
}

Result<void> FakeArray::add_mask(const std::string& naa, const std::string& initiator) {
    if (auto fault = strike("add_mask")) return fail(fault->code, "add_mask fails as ordered");
    UMBRA_ASSIGN(LunRecord * lun, known(naa));
    calls.push_back("add_mask " + lun->name + " " + initiator);
    lun->masks.push_back({initiator, kTarget, static_cast<uint32_t>(next_++)});
    ++lun->generation;
    return {};
}

Result<void> FakeArray::remove_mask(const std::string& naa, const std::string& initiator, const std::string&, bool) {
    if (auto fault = strike("remove_mask")) return fail(fault->code, "remove_mask fails as ordered");
    UMBRA_ASSIGN(LunRecord * lun, known(naa));
    calls.push_back("remove_mask " + lun->name + " " + initiator);
    if (std::erase_if(lun->masks, [&](const LunMask& mask) { return mask.initiator == initiator; }) == 0) {
        return fail(Code::kNotFound, "no such mask");
    }
    ++lun->generation;
    return {};
}

Result<std::vector<SessionRecord>> FakeArray::sessions() {
    if (auto fault = strike("sessions")) return fail(fault->code, "sessions fails as ordered");
    return session_list;
}

Result<std::vector<DriveRecord>> FakeArray::drives() {
    if (auto fault = strike("drives")) return fail(fault->code, "drives fails as ordered");
    return drive_list;
}

Result<TaskRecord> FakeArray::get_task(uint64_t id) {
    if (auto fault = strike("get_task")) return fail(fault->code, "get_task fails as ordered");
    auto found = tasks.find(id);
    if (found == tasks.end()) return fail(Code::kNotFound, "no such task");
    return found->second;
}

Result<TaskRecord> FakeArray::wait_task(uint64_t id, Timeout) {
    auto found = tasks.find(id);
    if (found == tasks.end()) return fail(Code::kNotFound, "no such task");
    if (waiting_ends_tasks && found->second.state == "running") {
        found->second.state = "done";
        found->second.percent = 100;
    }
    return found->second;
}

Result<TaskRecord> FakeArray::cancel_task(uint64_t id) {
    if (auto fault = strike("cancel_task")) return fail(fault->code, "cancel_task fails as ordered");
    auto found = tasks.find(id);
    if (found == tasks.end()) return fail(Code::kNotFound, "no such task");
    if (found->second.ended()) return fail(Code::kBadState, "the task has ended");
    calls.push_back("cancel_task");
    found->second.state = "cancelled";
    return found->second;
}

Result<uint64_t> FakeArray::newest_event() {
    if (auto fault = strike("newest_event")) return fail(fault->code, "newest_event fails as ordered");
    return last_event;
}

Result<void> FakeArray::watch_events(uint64_t, std::function<void(const EventRecord&)> on_event,
                                     std::function<void(const base::Error&)> on_end) {
    if (auto fault = strike("watch_events")) return fail(fault->code, "watch_events fails as ordered");
    on_event_ = std::move(on_event);
    on_end_ = std::move(on_end);
    return {};
}

void FakeArray::stop_watching() {
    on_event_ = nullptr;
    on_end_ = nullptr;
}

VDS_LUN_INFORMATION information_of(const LunRecord& lun) {
    VDS_LUN_INFORMATION information{};
    information.m_version = VER_VDS_LUN_INFORMATION;
    information.m_BusType = VDSBusTypeiScsi;
    auto* identifier = static_cast<VDS_STORAGE_IDENTIFIER*>(CoTaskMemAlloc(sizeof(VDS_STORAGE_IDENTIFIER)));
    identifier->m_CodeSet = VDSStorageIdCodeSetBinary;
    identifier->m_Type = VDSStorageIdTypeFCPHName;
    identifier->m_cbIdentifier = 16;
    identifier->m_rgbIdentifier = reinterpret_cast<BYTE*>(task_string(binary(lun.naa)));
    information.m_deviceIdDescriptor.m_version = 1;
    information.m_deviceIdDescriptor.m_cIdentifiers = 1;
    information.m_deviceIdDescriptor.m_rgIdentifiers = identifier;
    return information;
}

}  // namespace umbra::provider

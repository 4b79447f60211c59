// What initiators see: masks, numbers, sessions, reservations.
#include "array/presentation.h"

#include <fmt/format.h>

#include <algorithm>

#include "array/model.h"
#include "array/names.h"

namespace umbra::array {

using base::Code;
using base::fail;
using base::Guid;
using base::Result;
using env::Task;

bool ArrayModel::masked_in(const Lun& lun, const std::string& target, const std::string& initiator) {
    return std::ranges::any_of(lun.record.masks, [&](const MaskRecord& mask) {
        return mask.target == target && (mask.initiator == "*" || mask.initiator == initiator);
    });
}

bool ArrayModel::visible(const Lun& lun, const std::string& target, const std::string& initiator) {
    return lun.volume != nullptr && !lun.withheld && masked_in(lun, target, initiator);
}

PresentedLun ArrayModel::presented(const Lun& lun, uint16_t number) const {
    return {number, lun.identity, lun.volume};
}

std::vector<std::string> ArrayModel::targets_for(const std::string& initiator) const {
    std::vector<std::string> result;
    for (const auto& [target, numbers] : numbers_) {
        if (target == head_.default_target) continue;
        const bool sees = std::ranges::any_of(
            numbers, [&](const auto& entry) { return visible(luns_.at(entry.second), target, initiator); });
        if (sees) result.push_back(target);
    }
    result.insert(result.begin(), head_.default_target);
    return result;
}

bool ArrayModel::has_target(const std::string& target_iqn) const {
    return targets_.contains(target_iqn);
}

std::vector<PresentedLun> ArrayModel::luns(const std::string& target_iqn, const std::string& initiator) const {
    std::vector<PresentedLun> result;
    const auto numbers = numbers_.find(target_iqn);
    if (numbers == numbers_.end()) return result;
    for (const auto& [number, id] : numbers->second) {
        const Lun& lun = luns_.at(id);
        if (visible(lun, target_iqn, initiator)) result.push_back(presented(lun, number));
    }
    return result;
}

std::optional<PresentedLun> ArrayModel::lun(const std::string& target_iqn, const std::string& initiator,
                                            uint16_t number) const {
    const auto numbers = numbers_.find(target_iqn);
    if (numbers == numbers_.end()) return std::nullopt;
    const auto found = numbers->second.find(number);
    if (found == numbers->second.end()) return std::nullopt;
    const Lun& lun = luns_.at(found->second);
    if (!visible(lun, target_iqn, initiator)) return std::nullopt;
    return presented(lun, number);
}

void ArrayModel::add_listener(PresentationListener* listener) {
    listeners_.push_back(listener);
}

void ArrayModel::remove_listener(PresentationListener* listener) {
    std::erase(listeners_, listener);
}

void ArrayModel::session_started(const SessionInfo& session) {
    sessions_[session.id] = session;
    wake_watchers();
}

void ArrayModel::session_ended(uint64_t session_id) {
    sessions_.erase(session_id);
    wake_watchers();
}

std::vector<SessionView> ArrayModel::list_sessions() const {
    std::vector<SessionView> result;
    for (const auto& [id, session] : sessions_) {
        SessionView view{session.initiator, session.target_iqn, session.peer, session.isid, {}};
        for (const PresentedLun& lun : luns(session.target_iqn, session.initiator))
            view.luns.push_back(lun.identity->name);
        result.push_back(std::move(view));
    }
    return result;
}

void ArrayModel::notify_luns(const std::string& target, const std::string& initiator) {
    std::set<std::string> told;
    for (const auto& [id, session] : sessions_) {
        if (session.target_iqn != target || (initiator != "*" && initiator != session.initiator)) continue;
        if (!told.insert(session.initiator).second) continue;
        for (PresentationListener* listener : listeners_) listener->on_luns_changed(target, session.initiator);
    }
}

void ArrayModel::notify_masked(const Lun& lun) {
    for (const MaskRecord& mask : lun.record.masks) notify_luns(mask.target, mask.initiator);
}

void ArrayModel::attention(const Guid& lun, UnitAttentionCause cause) {
    for (PresentationListener* listener : listeners_) listener->on_lun_attention(lun, cause);
}

Task<void> ArrayModel::end_access(Guid lun) {
    const std::vector<PresentationListener*> told = listeners_;
    for (PresentationListener* listener : told) {
        if (std::ranges::find(listeners_, listener) == listeners_.end())
            continue;  // it went while another was waited for
        co_await listener->on_access_withdrawn(lun);
    }
}

std::string ArrayModel::reservations(const Guid& lun) const {
    const auto found = reservations_.find(lun);
    return found == reservations_.end() ? std::string() : found->second;
}

Task<Result<void>> ArrayModel::save_reservations(Guid lun, std::string record) {
    if (record.size() > kMaxReservationBytes) co_return fail(Code::kNoSpace, "too many registrations of one LUN");
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    if (!luns_.contains(lun)) co_return fail(Code::kNotFound, "the LUN has been deleted");
    lun::MetaBatch batch;
    batch.changes[reservation_key(lun)] = record.empty() ? std::nullopt : std::optional(record);
    UMBRA_CO_TRY(co_await backend_->update_meta(std::move(batch)));
    if (record.empty()) {
        reservations_.erase(lun);
    } else {
        reservations_[lun] = std::move(record);
    }
    co_return Result<void>();
}

Task<Result<LunView>> ArrayModel::add_mask(MaskChange change) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_ASSIGN(Lun * lun, find(change.lun));
    const std::string name = full_name(lun->record);
    if (lun->record.kind == LunKind::kSnapshot) {
        co_return fail(Code::kUnsupported, fmt::format("snapshots are not presented: make a shadow copy of {}", name));
    }
    UMBRA_CO_ASSIGN(const std::string initiator, normalize_initiator(change.initiator));
    std::string target = head_.default_target;
    if (!change.target_iqn.empty()) {
        UMBRA_CO_ASSIGN(target, normalize_iscsi_name(change.target_iqn));
    }
    if (lun->changing_task != 0) UMBRA_CO_TRY(check_unused(*lun));
    const MaskRecord mask{initiator, target};
    if (std::ranges::find(lun->record.masks, mask) != lun->record.masks.end()) co_return view(*lun);
    if (lun->record.masks.size() >= kMaxMasksPerLun) {
        co_return fail(Code::kNoSpace,
                       fmt::format("{} has {} masks, which is all that a LUN can have", name, kMaxMasksPerLun));
    }
    if (!targets_.contains(target) && targets_.size() >= kMaxTargets) {
        co_return fail(Code::kNoSpace, fmt::format("an array has at most {} targets", kMaxTargets));
    }

    LunRecord record = lun->record;
    record.masks.push_back(mask);
    ++record.generation;
    lun::MetaBatch batch;
    TargetRecord target_record = targets_.contains(target) ? targets_.at(target) : TargetRecord{target, 1};
    if (!record.numbers.contains(target)) {
        if (target_record.next_number > kMaxLunNumber) {
            co_return fail(Code::kNoSpace,
                           fmt::format("every LUN number of {} has been given away: use another target", target));
        }
        record.numbers[target] = target_record.next_number++;
        batch.changes[target_key(target)] = encode(target_record);
    }
    put(batch, record);
    UMBRA_CO_TRY(co_await backend_->update_meta(std::move(batch)));
    targets_[target] = target_record;
    const Guid id = record.id;
    adopt(std::move(record));
    notify_luns(target, initiator);
    emit("mask.added", "info",
         fmt::format("{} presented to {} on {} as LUN {}", name, initiator == "*" ? "everyone" : initiator, target,
                     luns_.at(id).record.numbers.at(target)),
         name);
    co_return view(luns_.at(id));
}

Task<Result<LunView>> ArrayModel::remove_mask(MaskChange change) {
    auto guard = co_await changes_.lock();
    UMBRA_CO_TRY(check_open());
    UMBRA_CO_ASSIGN(Lun * lun, find(change.lun));
    const std::string name = full_name(lun->record);
    UMBRA_CO_ASSIGN(const std::string initiator, normalize_initiator(change.initiator));
    std::string target = head_.default_target;
    if (!change.target_iqn.empty()) {
        UMBRA_CO_ASSIGN(target, normalize_iscsi_name(change.target_iqn));
    }
    LunRecord record = lun->record;
    if (std::erase(record.masks, MaskRecord{initiator, target}) == 0) {
        co_return fail(Code::kNotFound, fmt::format("{} is not presented to {} on {}", name, initiator, target));
    }
    if (lun->changing_task != 0) UMBRA_CO_TRY(check_unused(*lun));
    Lun after;
    after.record = record;
    for (const auto& [id, session] : sessions_) {
        if (change.force || session.target_iqn != target) continue;
        if (!masked_in(*lun, target, session.initiator) || masked_in(after, target, session.initiator)) continue;
        co_return fail(Code::kBusy, fmt::format("initiator {} ({}) is logged in and sees {}: log it out, or use force",
                                                session.initiator, session.peer, name));
    }
    ++record.generation;
    lun::MetaBatch batch;
    put(batch, record);
    UMBRA_CO_TRY(co_await backend_->update_meta(std::move(batch)));
    const Guid id = record.id;
    adopt(std::move(record));
    notify_luns(target, initiator);
    emit("mask.removed", "info",
         fmt::format("{} no longer presented to {} on {}", name, initiator == "*" ? "everyone" : initiator, target),
         name);
    LunView result = view(luns_.at(id));
    guard.unlock();
    co_await end_access(id);
    co_return result;
}

}  // namespace umbra::array

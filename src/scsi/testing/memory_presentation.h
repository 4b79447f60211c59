// An array::Presentation over volumes in memory, for tests of everything that stands on one.
#pragma once

#include <algorithm>
#include <map>
#include <memory>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "array/presentation.h"
#include "lun/testing/memory_volume.h"

namespace umbra::scsi::testing {

inline constexpr const char* kTarget = "iqn.2026-01.test.umbra:array";

class MemoryPresentation final : public array::Presentation {
public:
    struct Lun {
        std::shared_ptr<array::LunIdentity> identity;
        std::shared_ptr<lun::testing::MemoryVolume> volume;
        std::set<std::string> initiators;  ///< "*": every one
    };

    Lun& add_lun(uint16_t number, uint64_t size_bytes, std::string initiator = "*") {
        Lun& lun = luns_[number];
        lun.identity = std::make_shared<array::LunIdentity>();
        lun.identity->name = "lun" + std::to_string(number);
        lun.identity->id = base::Guid::from_random(0x1234567890abcdefu, number + 1u);
        lun.identity->naa[0] = std::byte{0x60};
        lun.identity->naa[1] = std::byte{0x25};
        base::store_be(&lun.identity->naa[14], number);
        lun.identity->serial = "UMBRA-TEST-" + std::to_string(number);
        lun.volume = std::make_shared<lun::testing::MemoryVolume>(size_bytes);
        lun.initiators.insert(std::move(initiator));
        return lun;
    }
    Lun& at(uint16_t number) { return luns_.at(number); }
    void remove_lun(uint16_t number) { luns_.erase(number); }
    void tell_luns_changed(const std::string& initiator) {
        for (auto* listener : listeners_) listener->on_luns_changed(kTarget, initiator);
    }
    void tell_attention(uint16_t number, array::UnitAttentionCause cause) {
        for (auto* listener : listeners_) listener->on_lun_attention(luns_.at(number).identity->id, cause);
    }
    /// To be run when a mask or write protection was changed: returns when the device server has ended what may not go
    /// on.
    env::Task<void> end_access(uint16_t number) {
        const base::Guid id = luns_.at(number).identity->id;
        for (auto* listener : listeners_) co_await listener->on_access_withdrawn(id);
    }
    const std::map<uint64_t, array::SessionInfo>& sessions() const { return sessions_; }
    std::map<base::Guid, std::string>& reservation_records() { return reservations_; }
    void fail_saving(bool fail) { fail_saving_ = fail; }

    void restart() { run_id_ = base::Guid::from_random(++runs_, 0); }

    const array::ProductStrings& product() const override { return product_; }
    const base::Guid& run_id() const override { return run_id_; }
    std::vector<std::string> targets_for(const std::string&) const override { return {kTarget}; }
    bool has_target(const std::string& target_iqn) const override { return target_iqn == kTarget; }
    std::vector<array::PresentedLun> luns(const std::string& target_iqn, const std::string& initiator) const override {
        std::vector<array::PresentedLun> out;
        for (const auto& [number, lun] : luns_) {
            if (target_iqn == kTarget && visible(lun, initiator)) out.push_back({number, lun.identity, lun.volume});
        }
        return out;
    }
    std::optional<array::PresentedLun> lun(const std::string& target_iqn, const std::string& initiator,
                                           uint16_t number) const override {
        const auto found = luns_.find(number);
        if (target_iqn != kTarget || found == luns_.end() || !visible(found->second, initiator)) return std::nullopt;
        return array::PresentedLun{number, found->second.identity, found->second.volume};
    }
    void add_listener(array::PresentationListener* listener) override { listeners_.push_back(listener); }
    void remove_listener(array::PresentationListener* listener) override { std::erase(listeners_, listener); }
    void session_started(const array::SessionInfo& session) override { sessions_[session.id] = session; }
    void session_ended(uint64_t session_id) override { sessions_.erase(session_id); }
    std::string reservations(const base::Guid& lun) const override {
        const auto found = reservations_.find(lun);
        return found == reservations_.end() ? std::string() : found->second;
    }
    env::Task<base::Result<void>> save_reservations(base::Guid lun, std::string record) override {
        if (fail_saving_) co_return base::fail(base::Code::kNoSpace, "the record has no room");
        if (record.empty()) {
            reservations_.erase(lun);
        } else {
            reservations_[lun] = std::move(record);
        }
        co_return base::Result<void>();
    }

private:
    static bool visible(const Lun& lun, const std::string& initiator) {
        return lun.initiators.contains("*") || lun.initiators.contains(initiator);
    }

    array::ProductStrings product_;
    uint64_t runs_ = 1;
    base::Guid run_id_ = base::Guid::from_random(1, 0);
    std::map<uint16_t, Lun> luns_;
    std::vector<array::PresentationListener*> listeners_;
    std::map<uint64_t, array::SessionInfo> sessions_;
    std::map<base::Guid, std::string> reservations_;
    bool fail_saving_ = false;
};

}  // namespace umbra::scsi::testing

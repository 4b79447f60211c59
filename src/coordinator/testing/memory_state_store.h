// The state in memory, through its encoded form; survives the coordinator that a test kills.
#pragma once

#include <algorithm>
#include <functional>
#include <map>
#include <utility>
#include <vector>

#include "base/check.h"
#include "coordinator/state_store.h"

namespace umbra::coordinator::testing {

class MemoryStateStore final : public StateStore {
public:
    /// Asked before each apply(): an error is returned and nothing is written.
    std::function<base::Result<void>()> gate;

    base::Result<State> load() override {
        State state;
        for (const auto& [id, bytes] : sets_) {
            UMBRA_ASSIGN(SetRecord set, decode_set(bytes));
            state.sets.push_back(std::move(set));
        }
        for (const auto& [id, bytes] : intents_) {
            UMBRA_ASSIGN(Intent intent, decode_intent(bytes));
            state.intents.push_back(std::move(intent));
        }
        for (const auto& [id, bytes] : providers_) {
            UMBRA_ASSIGN(RegisteredProvider provider, decode_provider(bytes));
            state.providers.push_back(std::move(provider));
        }
        return state;
    }
    base::Result<void> apply(StateChange change) override {
        if (gate) UMBRA_TRY(gate());
        for (const SetRecord& set : change.put_sets) put(sets_, set.id, encode(set));
        for (const base::Guid& id : change.erase_sets) erase(sets_, id);
        for (const Intent& intent : change.put_intents) put(intents_, intent.id, encode(intent));
        for (const base::Guid& id : change.erase_intents) erase(intents_, id);
        for (const RegisteredProvider& one : change.put_providers) put(providers_, one.id, encode(one));
        for (const base::Guid& id : change.erase_providers) erase(providers_, id);
        return {};
    }
    base::Result<uint64_t> append_event(EventRecord event) override {
        event.sequence = events_.size() + 1;
        events_.push_back(std::move(event));
        return events_.size();
    }
    base::Result<std::vector<EventRecord>> events(uint64_t after, size_t limit) override {
        std::vector<EventRecord> out;
        for (const EventRecord& event : events_) {
            if (event.sequence > after && out.size() < limit) out.push_back(event);
        }
        return out;
    }

    const std::vector<EventRecord>& all_events() const { return events_; }
    size_t set_count() const { return sets_.size(); }
    size_t intent_count() const { return intents_.size(); }

private:
    using Table = std::vector<std::pair<base::Guid, std::vector<std::byte>>>;
    static void put(Table& table, const base::Guid& id, std::vector<std::byte> bytes) {
        for (auto& [key, value] : table) {
            if (key == id) {
                value = std::move(bytes);
                return;
            }
        }
        table.emplace_back(id, std::move(bytes));
    }
    static void erase(Table& table, const base::Guid& id) {
        std::erase_if(table, [&](const auto& row) { return row.first == id; });
    }

    Table sets_;
    Table intents_;
    Table providers_;
    std::vector<EventRecord> events_;
};

}  // namespace umbra::coordinator::testing

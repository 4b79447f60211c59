// Hosts around one array in virtual time, each with a coordinator that can be killed and started again.
#pragma once

#include <memory>
#include <string>

#include "coordinator/coordinator.h"
#include "coordinator/session.h"
#include "coordinator/testing/fake_array.h"
#include "coordinator/testing/killable_host.h"
#include "coordinator/testing/memory_state_store.h"
#include "env/random.h"
#include "sim/executor.h"

namespace umbra::coordinator::testing {

class FakeRegistry final : public ProviderRegistry {
public:
    std::vector<Provider*> list;
    std::vector<Provider*> providers() override { return list; }
};

inline const base::Guid kProviderId = *base::Guid::parse("7e1f5a52-6f0c-4a40-9d7c-0a4a4f4d5a01");

template <class T>
T run(sim::SimExecutor& executor, env::Task<T> task) {
    std::optional<T> out;
    struct Into {
        static env::Task<void> go(env::Task<T> inner, std::optional<T>* result) {
            T value = co_await std::move(inner);
            result->emplace(std::move(value));
        }
    };
    executor.run(Into::go(std::move(task), &out));
    return std::move(*out);
}
inline void run(sim::SimExecutor& executor, env::Task<void> task) {
    executor.run(std::move(task));
}

class TestHost {
public:
    TestHost(sim::SimExecutor& executor, FakeArray& array, std::string name)
        : executor_(executor),
          name_(std::move(name)),
          random_(std::hash<std::string>()(name_)),
          fake(executor),
          killable_(fake, kill),
          provider(array, fake, executor, name_, &kill, kProviderId) {
        registry.list.push_back(&provider);
        store.gate = [this]() -> base::Result<void> {
            if (!kill.pass()) return base::fail(base::Code::kUnavailable, "killed");
            return {};
        };
        options.machine = name_;
        create();
        UMBRA_CHECK(run(executor_, coordinator->start()).has_value());
    }
    ~TestHost() { shut_down(); }

    /// The coordinator ends, as a process that is killed does when the switch has fired, and a new one starts.
    void restart() {
        shut_down();
        kill = KillSwitch{};
        provider.restart();
        create();
        UMBRA_CHECK(run(executor_, coordinator->start()).has_value());
    }
    SessionPtr open() { return coordinator->open_session("test"); }
    /// Waits for an operation, but not for one of a coordinator that was killed; its result.
    ComCode wait(const OperationPtr& operation) {
        struct Wait {
            static env::Task<void> go(env::Executor& executor, OperationPtr one, const KillSwitch& kill) {
                while (one->running() && !kill.dead) co_await env::sleep_for(executor, std::chrono::milliseconds(1));
            }
        };
        run(executor_, Wait::go(executor_, operation, kill));
        return operation->result;
    }
    void wait_all() {
        for (const OperationPtr& one : coordinator->operations()) wait(one);
    }
    bool has_event(EventId id) const {
        return std::ranges::any_of(store.all_events(),
                                   [&](const EventRecord& event) { return event.id == static_cast<uint32_t>(id); });
    }
    size_t event_count(EventId id) const {
        return static_cast<size_t>(std::ranges::count_if(
            store.all_events(), [&](const EventRecord& event) { return event.id == static_cast<uint32_t>(id); }));
    }

private:
    void create() {
        events_ = std::make_unique<EventLog>(executor_, store, [this](const EventRecord&) {
            if (!fake.frozen().empty()) ++events_while_frozen;
        });
        coordinator = std::make_unique<Coordinator>(env::Environment{executor_, random_}, killable_, store, registry,
                                                    *events_, options);
    }
    void shut_down() {
        if (coordinator) run(executor_, coordinator->stop());
        coordinator.reset();
    }

    sim::SimExecutor& executor_;
    std::string name_;
    env::SeededRandom random_;

public:
    KillSwitch kill;
    host::testing::FakeHost fake;

private:
    KillableHost killable_;

public:
    FakeProvider provider;
    FakeRegistry registry;
    MemoryStateStore store;
    Options options;
    int events_while_frozen = 0;

private:
    std::unique_ptr<EventLog> events_;

public:
    std::unique_ptr<Coordinator> coordinator;
};

}  // namespace umbra::coordinator::testing

// A kill at every call to the outside, and what the next start makes of it; and the stored forms.
#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <set>

#include "coordinator/sqlite_state_store.h"
#include "coordinator/testing/rig.h"

namespace umbra::coordinator {
namespace {

using base::Guid;
using testing::FakeArray;
using testing::run;
using testing::TestHost;

constexpr uint32_t kPersistent = vss::kContextNasRollback;
constexpr uint32_t kTransportable = kPersistent | vss::kAttrTransportable;
constexpr uint64_t kDb = 1;
constexpr int kMoreThanAnyFlowCalls = 400;

struct World {
    World() { array.add_lun(a.fake, kDb, "/srv/db", "db 1", host::TableKind::kGpt); }

    SessionPtr session(TestHost& host, uint32_t context) {
        SessionPtr one = host.open();
        (void)one->initialize_for_backup(std::nullopt);
        (void)one->set_context(context);
        return one;
    }
    /// The document; empty when it failed.
    std::string create(TestHost& host, uint32_t context, Guid* snapshot) {
        SessionPtr one = session(host, context);
        if (!run(executor, one->start_snapshot_set({}))) return {};
        const Answer<Guid> id = run(executor, one->add_to_snapshot_set("/srv/db", {}));
        if (!id) return {};
        *snapshot = *id;
        Answer<OperationPtr> operation = run(executor, one->do_snapshot_set());
        if (!operation || host.wait(*operation) != vss::kAsyncFinished) return {};
        return one->save_as_xml().value_or("");
    }
    ComCode import(TestHost& host, const std::string& xml) {
        SessionPtr one = host.open();
        if (!one->initialize_for_backup(xml)) return vss::kInvalidXmlDocument;
        Answer<OperationPtr> operation = one->import_snapshots();
        return operation ? host.wait(*operation) : operation.error().code;
    }
    ComCode recover(TestHost& host, const std::string& xml, const Guid& snapshot) {
        SessionPtr one = host.open();
        if (!one->initialize_for_restore(xml)) return vss::kInvalidXmlDocument;
        const Answer<> added = run(executor, one->add_snapshot_to_recovery_set(snapshot, 0, {}));
        if (!added) return added.error().code;
        Answer<OperationPtr> operation = run(executor, one->recover_set(0));
        return operation ? host.wait(*operation) : operation.error().code;
    }
    /// RecoverSet's operation; nullptr when it failed at once.
    OperationPtr begin_recovery(const std::string& xml, const std::vector<Guid>& snapshots) {
        SessionPtr one = a.open();
        EXPECT_TRUE(one->initialize_for_restore(xml));
        for (const Guid& snapshot : snapshots) {
            EXPECT_TRUE(run(executor, one->add_snapshot_to_recovery_set(snapshot, 0, {})));
        }
        Answer<OperationPtr> operation = run(executor, one->recover_set(0));
        return operation ? *operation : nullptr;
    }
    void pass(env::Duration time) {
        struct Sleep {
            static env::Task<void> go(env::Executor& executor, env::Duration time) {
                co_await env::sleep_for(executor, time);
            }
        };
        run(executor, Sleep::go(executor, time));
    }
    /// The destination is back with `content`, its own identity and none of the copy's flags.
    void expect_recovered(const std::string& content, const Guid& former) {
        expect_source_untouched();
        EXPECT_EQ(array.find(kDb)->content, content);
        EXPECT_EQ(db()->disk.signature.gpt_guid, former);
        EXPECT_FALSE(array.replaced_in_use);
    }
    host::testing::FakeHost::FakeDisk* db() { return a.fake.find(host::testing::fake_lun(kDb)); }

    void expect_source_untouched() {
        EXPECT_TRUE(a.fake.frozen().empty());
        EXPECT_EQ(db()->flags, 0u);
        EXPECT_TRUE(db()->attached);
        EXPECT_EQ(db()->volumes[0].second.mounts, std::vector<std::string>{"/srv/db"});
        EXPECT_EQ(a.store.intent_count(), 0u);
    }

    sim::SimExecutor executor;
    FakeArray array;
    TestHost a{executor, array, "host-a"};
};

env::Task<void> pause(env::Executor* executor, env::Duration duration) {
    co_await env::sleep_for(*executor, duration);
}
env::Task<void> wait_turn(SessionPtr session, std::optional<ComCode>* code) {
    Answer<Guid> started = co_await session->start_snapshot_set(std::chrono::hours(1000));
    *code = started ? vss::kOk : started.error().code;
}

/// Runs `flow` with a kill at its nth call, for every n until it runs through.
void for_each_kill(const std::function<bool(int kill_at)>& survived) {
    for (int kill_at = 0; kill_at < kMoreThanAnyFlowCalls; ++kill_at) {
        SCOPED_TRACE(kill_at);
        if (survived(kill_at)) {
            EXPECT_GT(kill_at, 5) << "the flow must have made calls";
            return;
        }
        if (::testing::Test::HasFailure()) return;
    }
    ADD_FAILURE() << "the flow never ran through";
}

TEST(Kill, CreationLeavesAllOrNothing) {
    for_each_kill([](int kill_at) {
        World world;
        world.a.kill.kill_at = world.a.kill.calls + kill_at;
        Guid snapshot;
        (void)world.create(world.a, kPersistent, &snapshot);
        const bool survived = !world.a.kill.dead;
        world.a.restart();
        world.expect_source_untouched();
        const auto& sets = world.a.coordinator->sets();
        if (sets.empty()) {
            EXPECT_EQ(world.array.shadow_count(), 0u);
            EXPECT_TRUE(world.a.fake.shadows().empty());
            EXPECT_EQ(world.a.store.set_count(), 0u);
        } else {
            EXPECT_EQ(sets.begin()->second.state, SetState::kCreated);
            EXPECT_EQ(world.array.shadow_count(), 1u);
            EXPECT_EQ(world.a.fake.shadows().size(), 1u);
        }
        Guid next;
        EXPECT_NE(world.create(world.a, kPersistent, &next), "") << "the host works again";
        return survived;
    });
}

TEST(Kill, VolatileCopiesDoNotOutliveTheService) {
    for_each_kill([](int kill_at) {
        World world;
        world.a.kill.kill_at = world.a.kill.calls + kill_at;
        Guid snapshot;
        (void)world.create(world.a, vss::kContextFileShareBackup, &snapshot);
        const bool survived = !world.a.kill.dead;
        if (survived) world.a.kill.dead = true;  // killed while the requester holds its copy
        world.a.restart();
        world.expect_source_untouched();
        EXPECT_EQ(world.array.shadow_count(), 0u);
        EXPECT_TRUE(world.a.fake.shadows().empty());
        EXPECT_EQ(world.a.store.set_count(), 0u);
        return survived;
    });
}

/// Copies of transportable sets: what is listed on this host, and whether it can be deleted by the set's id.
size_t listed(World& world) {
    SessionPtr one = world.session(world.a, vss::kContextAll);
    const size_t count = one->query_snapshots({}, vss::kObjectNone)->size();
    run(world.executor, world.a.coordinator->close_session(one->id()));
    return count;
}
void expect_deletable(World& world, const Guid& set) {
    SessionPtr one = world.session(world.a, vss::kContextAll);
    const Coordinator::Deleted deleted = run(world.executor, one->delete_snapshots(set, vss::kObjectSnapshotSet));
    EXPECT_TRUE(deleted.result);
    EXPECT_EQ(world.array.shadow_count(), 0u);
    EXPECT_EQ(world.a.store.set_count(), 0u);
}

TEST(Kill, ATransportableSetIsHandedOverOrDeleted) {
    std::set<SetState> seen;
    for_each_kill([&](int kill_at) {
        World world;
        world.a.kill.kill_at = world.a.kill.calls + kill_at;
        SessionPtr one = world.session(world.a, kTransportable);
        const Answer<Guid> set = run(world.executor, one->start_snapshot_set({}));
        EXPECT_TRUE(set);
        std::string xml;
        if (run(world.executor, one->add_to_snapshot_set("/srv/db", {}))) {
            Answer<OperationPtr> operation = run(world.executor, one->do_snapshot_set());
            if (operation && world.a.wait(*operation) == vss::kAsyncFinished) xml = one->save_as_xml().value_or("");
        }
        run(world.executor, world.a.coordinator->close_session(one->id()));
        const bool survived = !world.a.kill.dead;
        world.a.restart();
        world.expect_source_untouched();
        const auto& sets = world.a.coordinator->sets();
        if (xml.empty()) {
            EXPECT_TRUE(sets.empty()) << "nobody has its document";
            EXPECT_EQ(world.array.shadow_count(), 0u);
            EXPECT_EQ(world.a.store.set_count(), 0u);
        } else {
            EXPECT_EQ(world.array.shadow_count(), 1u) << "somebody may import it";
            EXPECT_EQ(sets.size(), 1u);
            if (sets.size() != 1) return survived;
            const SetState state = sets.begin()->second.state;
            seen.insert(state);
            EXPECT_EQ(state, survived ? SetState::kTransported : SetState::kUnconfirmed);
            EXPECT_EQ(listed(world), survived ? 0u : 1u);
            expect_deletable(world, *set);
        }
        return survived;
    });
    EXPECT_EQ(seen, (std::set{SetState::kTransported, SetState::kUnconfirmed}));
}

TEST(Kill, BetweenTheEndOfTheCreationAndItsDocument) {
    World world;
    SessionPtr one = world.session(world.a, kTransportable);
    EXPECT_TRUE(run(world.executor, one->start_snapshot_set({})));
    EXPECT_TRUE(run(world.executor, one->add_to_snapshot_set("/srv/db", {})));
    Answer<OperationPtr> operation = run(world.executor, one->do_snapshot_set());
    ASSERT_TRUE(operation);
    EXPECT_EQ(world.a.wait(*operation), vss::kAsyncFinished);
    EXPECT_EQ(world.array.shadow_count(), 1u);
    world.a.kill.dead = true;
    world.a.restart();
    world.expect_source_untouched();
    EXPECT_TRUE(world.a.coordinator->sets().empty());
    EXPECT_EQ(world.array.shadow_count(), 0u);
    EXPECT_EQ(world.a.store.set_count(), 0u);
}

// The array cannot be reached when the service comes back; what is left is neither forgotten nor leaked.
TEST(Kill, LeftoversWaitForTheArray) {
    for (const uint32_t context : {kPersistent, kTransportable, vss::kContextFileShareBackup}) {
        SCOPED_TRACE(context);
        for_each_kill([&](int kill_at) {
            World world;
            world.a.kill.kill_at = world.a.kill.calls + kill_at;
            SessionPtr one = world.session(world.a, context);
            EXPECT_TRUE(run(world.executor, one->start_snapshot_set({})));
            if (run(world.executor, one->add_to_snapshot_set("/srv/db", {}))) {
                Answer<OperationPtr> operation = run(world.executor, one->do_snapshot_set());
                if (operation) (void)world.a.wait(*operation);
            }
            const bool survived = !world.a.kill.dead;
            world.a.kill.dead = true;
            world.a.provider.array_away = true;
            const size_t shadows = world.array.shadow_count();
            world.a.restart();
            EXPECT_EQ(world.array.shadow_count(), shadows) << "nothing can be deleted now";
            world.a.provider.array_away = false;
            world.executor.run(pause(&world.executor, std::chrono::hours(1)));
            world.expect_source_untouched();
            const bool kept = context == kPersistent && survived;
            const auto& sets = world.a.coordinator->sets();
            if (!sets.empty()) {
                EXPECT_EQ(context, kPersistent);
                EXPECT_EQ(sets.begin()->second.state, SetState::kCreated);
            }
            EXPECT_TRUE(!kept || sets.size() == 1);
            EXPECT_EQ(world.array.shadow_count(), sets.size());
            EXPECT_EQ(world.a.store.set_count(), sets.size());
            Guid next;
            EXPECT_NE(world.create(world.a, kPersistent, &next), "") << "the host works again";
            return survived;
        });
    }
}

// --- The requester dies
// ------------------------------------------------------------------------------------------------

/// Every call of host and provider takes a moment, so that something can happen between any two.
void slow_down(TestHost& host) {
    for (const char* method :
         {"resolve", "list_volumes", "list_volumes_on", "list_disks", "prepare_freeze", "freeze", "thaw",
          "write_lun_flags", "read_lun_flags", "rescan", "detach", "mount_shadow", "unmount_shadow"}) {
        host.fake.set_delay(method, std::chrono::milliseconds(1));
    }
    for (const char* method : {"EndPrepareSnapshots", "PreCommitSnapshots", "CommitSnapshots", "PostCommitSnapshots",
                               "GetTargetLuns", "LocateLuns", "FillInLunInfo", "PreFinalCommitSnapshots",
                               "PostFinalCommitSnapshots", "AbortSnapshots", "OnLunEmpty"}) {
        host.provider.delay[method] = std::chrono::milliseconds(1);
    }
}

void expect_nothing_left(World& world) {
    world.expect_source_untouched();
    EXPECT_EQ(world.array.shadow_count(), 0u);
    EXPECT_TRUE(world.a.fake.shadows().empty());
    EXPECT_TRUE(world.a.coordinator->sets().empty());
    EXPECT_EQ(world.a.store.set_count(), 0u);
    EXPECT_FALSE(world.a.coordinator->creation_in_progress());
}

TEST(RequesterDies, AtEveryStepOfTheCreation) {
    for (const uint32_t context : {kPersistent, kTransportable, vss::kContextFileShareBackup}) {
        SCOPED_TRACE(context);
        bool completed = false;
        for (int steps = 0; !completed; ++steps) {
            SCOPED_TRACE(steps);
            ASSERT_LT(steps, 1000);
            World world;
            SessionPtr one = world.session(world.a, context);
            EXPECT_TRUE(run(world.executor, one->start_snapshot_set({})));
            EXPECT_TRUE(run(world.executor, one->add_to_snapshot_set("/srv/db", {})));
            slow_down(world.a);
            Answer<OperationPtr> operation = run(world.executor, one->do_snapshot_set());
            ASSERT_TRUE(operation);
            for (int i = 0; i < steps; ++i) world.executor.step();
            completed = !(*operation)->running();
            world.a.coordinator->abandon_session(one->id());
            one.reset();
            run(world.executor, world.a.coordinator->wait_no_session());
            world.a.wait_all();
            EXPECT_EQ(world.a.events_while_frozen, 0);
            // Only a persistent set that is for this host and was complete before it could be stopped stays.
            if (context == kPersistent && !world.a.coordinator->sets().empty()) {
                EXPECT_EQ((*operation)->result, vss::kAsyncFinished);
                EXPECT_EQ(world.array.shadow_count(), 1u);
                EXPECT_EQ(listed(world), 1u);
                continue;
            }
            EXPECT_FALSE(context == kPersistent && completed);
            expect_nothing_left(world);
            if (::testing::Test::HasFailure()) return;
        }
    }
}

TEST(RequesterDies, AfterTheDocumentHasLeft) {
    World world;
    SessionPtr one = world.session(world.a, kTransportable);
    const Answer<Guid> set = run(world.executor, one->start_snapshot_set({}));
    ASSERT_TRUE(set);
    EXPECT_TRUE(run(world.executor, one->add_to_snapshot_set("/srv/db", {})));
    Answer<OperationPtr> operation = run(world.executor, one->do_snapshot_set());
    ASSERT_TRUE(operation);
    EXPECT_EQ(world.a.wait(*operation), vss::kAsyncFinished);
    EXPECT_NE(one->save_as_xml().value_or(""), "");
    world.a.coordinator->abandon_session(one->id());
    run(world.executor, world.a.coordinator->wait_no_session());
    for (int restarts = 0; restarts < 2; ++restarts) {
        EXPECT_EQ(world.array.shadow_count(), 1u) << "it may have written the document down";
        EXPECT_EQ(world.a.coordinator->sets().at(*set).state, SetState::kUnconfirmed);
        EXPECT_EQ(listed(world), 1u) << "whoever looks finds it";
        world.a.restart();
    }
    expect_deletable(world, *set);
}

TEST(RequesterDies, AfterBackupComplete) {
    World world;
    SessionPtr one = world.session(world.a, vss::kContextAppRollback | vss::kAttrTransportable);
    EXPECT_TRUE(one->set_backup_state(false, false, 1, false));
    EXPECT_TRUE(one->gather_writer_metadata());
    const Answer<Guid> set = run(world.executor, one->start_snapshot_set({}));
    ASSERT_TRUE(set);
    EXPECT_TRUE(run(world.executor, one->add_to_snapshot_set("/srv/db", {})));
    EXPECT_TRUE(one->prepare_for_backup());
    Answer<OperationPtr> operation = run(world.executor, one->do_snapshot_set());
    ASSERT_TRUE(operation);
    EXPECT_EQ(world.a.wait(*operation), vss::kAsyncFinished);
    EXPECT_NE(one->save_as_xml().value_or(""), "");
    EXPECT_TRUE(one->backup_complete());
    world.a.coordinator->abandon_session(one->id());
    run(world.executor, world.a.coordinator->wait_no_session());
    EXPECT_EQ(world.a.coordinator->sets().at(*set).state, SetState::kTransported);
    EXPECT_EQ(world.array.shadow_count(), 1u);
}

TEST(RequesterDies, WhileItWaitsItsTurn) {
    World world;
    SessionPtr first = world.session(world.a, kPersistent);
    EXPECT_TRUE(run(world.executor, first->start_snapshot_set({})));
    SessionPtr second = world.session(world.a, kPersistent);
    env::TaskGroup waiting(world.executor);
    std::optional<ComCode> code;
    waiting.spawn(wait_turn(second, &code));
    world.a.coordinator->abandon_session(second->id());
    run(world.executor, waiting.join());
    EXPECT_EQ(code, vss::kSnapshotSetInProgress);
    EXPECT_EQ(world.a.coordinator->session_count(), 1u);
}

TEST(Kill, InterruptedImportMountsNothingAndCanBeRepeated) {
    for_each_kill([](int kill_at) {
        World world;
        TestHost b(world.executor, world.array, "host-b");
        Guid snapshot;
        const std::string xml = world.create(world.a, kTransportable, &snapshot);
        EXPECT_NE(xml, "");
        b.kill.kill_at = b.kill.calls + kill_at;
        (void)world.import(b, xml);
        const bool survived = !b.kill.dead;
        b.restart();
        EXPECT_EQ(world.array.shadow_count(), 1u) << "LUNs are left as they are";
        const auto& sets = b.coordinator->sets();
        const bool imported = !sets.empty() && sets.begin()->second.state == SetState::kImported;
        EXPECT_EQ(b.fake.shadows().size(), imported ? 1u : 0u);
        if (!imported) {
            if (!sets.empty()) {
                EXPECT_EQ(sets.begin()->second.state, SetState::kImportFailed);
            }
            EXPECT_EQ(world.import(b, xml), vss::kAsyncFinished);
        }
        return survived;
    });
}

TEST(Kill, ResynchronisationEndsWholeAndMounted) {
    for_each_kill([](int kill_at) {
        World world;
        Guid snapshot;
        const std::string xml = world.create(world.a, kTransportable, &snapshot);
        world.array.find(kDb)->content = "db 2";
        const Guid former = world.db()->disk.signature.gpt_guid;
        world.a.kill.kill_at = world.a.kill.calls + kill_at;
        (void)world.recover(world.a, xml, snapshot);
        const bool survived = !world.a.kill.dead;
        world.a.restart();
        world.a.wait_all();
        world.expect_source_untouched();
        EXPECT_EQ(world.db()->disk.signature.gpt_guid, former);
        const std::string& content = world.array.find(kDb)->content;
        EXPECT_TRUE(content == "db 1" || content == "db 2") << content;
        if (survived) {
            EXPECT_EQ(content, "db 1");
        }
        return survived;
    });
}

TEST(Kill, ACopyThatOutlivesTheServiceIsTakenUpAgain) {
    for_each_kill([](int kill_at) {
        World world;
        Guid snapshot;
        const std::string xml = world.create(world.a, kTransportable, &snapshot);
        world.array.find(kDb)->content = "db 2";
        const Guid former = world.db()->disk.signature.gpt_guid;
        world.a.provider.polls_until_done = 12;
        const size_t before = world.a.provider.count("ResyncLuns");
        world.a.kill.kill_at = world.a.kill.calls + kill_at;
        (void)world.recover(world.a, xml, snapshot);
        const bool survived = !world.a.kill.dead;
        const bool begun = world.a.provider.count("ResyncLuns") > before;
        world.a.restart();
        world.a.wait_all();
        const bool copied = begun || world.array.find(kDb)->content == "db 1";
        world.expect_recovered(copied ? "db 1" : "db 2", former);
        return survived;
    });
}

TEST(Kill, AFailedResynchronisationIsSettledWithoutAnotherCopy) {
    for_each_kill([](int kill_at) {
        World world;
        Guid snapshot;
        const std::string xml = world.create(world.a, kTransportable, &snapshot);
        world.array.find(kDb)->content = "db 2";
        const Guid former = world.db()->disk.signature.gpt_guid;
        world.a.provider.resync_result = vss::kProviderVeto;
        world.a.kill.kill_at = world.a.kill.calls + kill_at;
        (void)world.recover(world.a, xml, snapshot);
        const bool survived = !world.a.kill.dead;
        world.a.restart();
        world.a.wait_all();
        world.expect_recovered("db 2", former);
        return survived;
    });
}

// --- A resynchronisation of which something is not known -----------------------------------------------------------

class DoubtTest : public ::testing::Test {
protected:
    void SetUp() override {
        xml = world.create(world.a, kTransportable, &snapshot);
        ASSERT_NE(xml, "");
        former = world.db()->disk.signature.gpt_guid;
        world.array.find(kDb)->content = "db 2";
        world.a.provider.polls_until_done = 12;
    }
    World world;
    std::string xml;
    Guid snapshot;
    Guid former;
};

TEST_F(DoubtTest, NothingIsMountedWhenTheAnswerOfResyncLunsIsLost) {
    world.a.provider.lose_reply.insert("ResyncLuns");
    OperationPtr operation = world.begin_recovery(xml, {snapshot});
    ASSERT_TRUE(operation);
    EXPECT_TRUE(world.db()->volumes[0].second.mounts.empty());
    EXPECT_EQ(world.a.wait(operation), vss::kAsyncFinished);
    world.expect_recovered("db 1", former);
}

TEST_F(DoubtTest, ALostProviderIsAskedUntilItsCopyHasEnded) {
    OperationPtr operation = world.begin_recovery(xml, {snapshot});
    ASSERT_TRUE(operation);
    world.pass(std::chrono::seconds(1));
    world.a.provider.restart();
    EXPECT_EQ(world.a.wait(operation), vss::kAsyncFinished);
    world.expect_recovered("db 1", former);
    EXPECT_GT(world.a.provider.count("ResyncLuns"), 2u) << "busy at first";
}

TEST_F(DoubtTest, AnEndThatTheProviderDoesNotKnowIsFoundOut) {
    world.a.provider.resync_result = vss::kUnexpected;
    world.a.provider.polls_until_done = 2;
    OperationPtr operation = world.begin_recovery(xml, {snapshot});
    ASSERT_TRUE(operation);
    world.pass(std::chrono::seconds(5));
    EXPECT_TRUE(operation->running());
    EXPECT_TRUE(world.db()->volumes[0].second.mounts.empty());
    EXPECT_NE(world.a.store.intent_count(), 0u);
    world.a.provider.resync_result = vss::kAsyncFinished;
    EXPECT_EQ(world.a.wait(operation), vss::kAsyncFinished);
    world.expect_recovered("db 1", former);
}

TEST_F(DoubtTest, OnlyCancelGivesItUpAndNothingIsMounted) {
    world.a.provider.lose["ResyncLuns"] = "crashed";
    OperationPtr operation = world.begin_recovery(xml, {snapshot});
    ASSERT_TRUE(operation);
    world.pass(std::chrono::hours(3));
    EXPECT_TRUE(operation->running());
    EXPECT_LT(world.a.provider.count("ResyncLuns"), 100u);
    EXPECT_EQ(world.a.coordinator->cancel_operation(operation->id), vss::kOk);
    EXPECT_EQ(world.a.wait(operation), vss::kUnexpectedProviderError);
    EXPECT_FALSE(world.db()->attached);
    EXPECT_EQ(world.a.store.intent_count(), 0u);
    world.a.restart();
    EXPECT_FALSE(world.db()->attached) << "it is over";
}

TEST_F(DoubtTest, ADestinationThatCameBackMountedIsReleasedFirst) {
    OperationPtr operation = world.begin_recovery(xml, {snapshot});
    ASSERT_TRUE(operation);
    world.pass(std::chrono::seconds(1));
    world.a.kill.dead = true;
    // As after a reboot that attached and mounted it before the service started.
    world.db()->attached = true;
    world.db()->volumes[0].second.mounts = {"/srv/db"};
    world.db()->held_open = true;
    world.a.restart();
    world.pass(std::chrono::seconds(10));
    EXPECT_NE(world.a.store.intent_count(), 0u);
    world.db()->held_open = false;
    world.a.wait_all();
    world.expect_recovered("db 1", former);
}

TEST(PartOfARecoverySet, IsNotMountedAndKeepsNoFlags) {
    World world;
    constexpr uint64_t kLog = 2;
    world.array.add_lun(world.a.fake, kLog, "/srv/log", "log 1", host::TableKind::kGpt);
    SessionPtr one = world.session(world.a, kTransportable);
    ASSERT_TRUE(run(world.executor, one->start_snapshot_set({})));
    const Answer<Guid> db = run(world.executor, one->add_to_snapshot_set("/srv/db", {}));
    const Answer<Guid> log = run(world.executor, one->add_to_snapshot_set("/srv/log", {}));
    ASSERT_TRUE(db && log);
    Answer<OperationPtr> made = run(world.executor, one->do_snapshot_set());
    ASSERT_TRUE(made);
    ASSERT_EQ(world.a.wait(*made), vss::kAsyncFinished);
    const std::string xml = *one->save_as_xml();
    world.array.find(kDb)->content = "db 2";
    world.array.find(kLog)->content = "log 2";
    const Guid former = world.db()->disk.signature.gpt_guid;
    world.a.provider.resync_result = vss::kProviderVeto;
    world.a.provider.copies_of_failure = 1;
    OperationPtr operation = world.begin_recovery(xml, {*db, *log});
    ASSERT_TRUE(operation);
    EXPECT_EQ(world.a.wait(operation), vss::kProviderVeto);
    EXPECT_EQ(world.array.find(kDb)->content, "db 1");
    EXPECT_TRUE(world.db()->volumes[0].second.mounts.empty()) << "half of a set is new";
    EXPECT_EQ(world.db()->flags, 0u);
    EXPECT_EQ(world.db()->disk.signature.gpt_guid, former);
    const auto* other = world.a.fake.find(host::testing::fake_lun(kLog));
    EXPECT_EQ(world.array.find(kLog)->content, "log 2");
    EXPECT_EQ(other->volumes[0].second.mounts, std::vector<std::string>{"/srv/log"});
    EXPECT_EQ(world.a.store.intent_count(), 0u);
    const EventRecord& event = world.a.store.all_events().back();
    EXPECT_EQ(event.id, static_cast<uint32_t>(EventId::kRecoverFailed));
    EXPECT_EQ(event.fields.at("shadow copy's content"), world.db()->disk.device);
    EXPECT_EQ(event.fields.at("as it was"), other->disk.device);
    EXPECT_FALSE(world.array.replaced_in_use);
}

TEST(Kill, DeletionIsFinishedOrNotBegun) {
    for_each_kill([](int kill_at) {
        World world;
        Guid snapshot;
        EXPECT_NE(world.create(world.a, kPersistent, &snapshot), "");
        world.a.kill.kill_at = world.a.kill.calls + kill_at;
        SessionPtr one = world.session(world.a, vss::kContextAll);
        (void)run(world.executor, one->delete_snapshots(snapshot, vss::kObjectSnapshot));
        const bool survived = !world.a.kill.dead;
        world.a.restart();
        world.expect_source_untouched();
        EXPECT_EQ(world.array.shadow_count(), world.a.coordinator->sets().size());
        EXPECT_EQ(world.a.fake.shadows().size(), world.a.coordinator->sets().size());
        return survived;
    });
}

TEST(Kill, BreakIsFinishedOrNotBegun) {
    for_each_kill([](int kill_at) {
        World world;
        Guid snapshot;
        EXPECT_NE(world.create(world.a, kPersistent, &snapshot), "");
        const Guid set = world.a.coordinator->sets().begin()->first;
        world.a.kill.kill_at = world.a.kill.calls + kill_at;
        SessionPtr one = world.session(world.a, vss::kContextAll);
        (void)run(world.executor, one->break_snapshot_set(set, vss::kBreakMakeReadWrite));
        const bool survived = !world.a.kill.dead;
        world.a.restart();
        world.expect_source_untouched();
        const bool broken = world.a.coordinator->sets().empty();
        EXPECT_EQ(world.array.shadow_count(), broken ? 0u : 1u);
        return survived;
    });
}

// --- Stored forms ----------------------------------------------------------------------------------------------------

SetRecord sample_set() {
    SetRecord set;
    set.id = Guid::from_random(1, 2);
    set.state = SetState::kImported;
    set.context = kTransportable;
    set.snapshots_created = 1;
    SnapshotRecord snapshot;
    snapshot.id = Guid::from_random(3, 4);
    snapshot.provider = testing::kProviderId;
    snapshot.attributes = 0x90019;
    snapshot.created = 133'000'000'000'000'000;
    snapshot.original_volume = host::volume_name("naa.62", 1);
    snapshot.originating_machine = "host-a";
    snapshot.partition = 1;
    snapshot.volume_bytes = 1u << 30;
    SourceLun source;
    source.lun = lun_information(host::testing::fake_lun(1));
    source.lun.vendor_id = "A\\B\x01\xff<&\"";
    source.lun.product_revision.reset();
    source.signature.kind = host::TableKind::kGpt;
    source.signature.gpt_guid = Guid::from_random(5, 6);
    source.signature.partition_guids.emplace_back(1, Guid::from_random(7, 8));
    snapshot.sources.push_back(source);
    snapshot.targets.push_back(lun_information(host::testing::fake_lun(2)));
    snapshot.extents.push_back({0, 0, 1u << 20, 1u << 29});
    set.snapshots.push_back(snapshot);
    return set;
}

TEST(StoredForms, DocumentSurvivesItsText) {
    Document document;
    document.backup_type = 1;
    document.components.push_back({Guid::from_random(1, 1), Guid::from_random(2, 2), 2, "path", "na\"me", true});
    const SetRecord set = sample_set();
    document.set = DocumentSet{set.id, set.context, set.snapshots_created, set.snapshots};
    const auto again = parse_document(write_document(document));
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(*again, document);
}

TEST(StoredForms, DocumentsThatAreRefused) {
    Document document;
    const SetRecord set = sample_set();
    document.set = DocumentSet{set.id, set.context, set.snapshots_created, set.snapshots};
    const std::string good = write_document(document);
    ASSERT_TRUE(parse_document(good));
    const auto with = [&](const std::string& from, const std::string& to) {
        std::string text = good;
        const size_t at = text.find(from);
        EXPECT_NE(at, std::string::npos) << from;
        text.replace(at, from.size(), to);
        return parse_document(text);
    };
    EXPECT_EQ(with("version=\"1\"", "version=\"2\"").error().code, base::Code::kVersion);
    EXPECT_FALSE(with("<backup ", "<!-- x --><backup "));
    EXPECT_FALSE(with("<components", "<surprise/><components"));
    EXPECT_FALSE(with("partition=\"1\"", "partition=\"1\" partition=\"1\""));
    EXPECT_FALSE(with("partition=\"1\"", "partition=\"-1\""));
    EXPECT_FALSE(with("layered=\"no\"", "layered=\"maybe\""));
    EXPECT_FALSE(with("layered=\"no\"", "layered=\"no\" extra=\"1\""));
    EXPECT_FALSE(with("count=\"1\"", "count=\"65\""));
    EXPECT_FALSE(with("extent lun=\"0\"", "extent lun=\"1\""));
    EXPECT_FALSE(with("</target-luns>", "text</target-luns>"));
    EXPECT_FALSE(with("original-volume=\"", "original-volume=\"x"));
    EXPECT_FALSE(with("value=\"62", "value=\"6"));
    EXPECT_FALSE(
        parse_document("<?xml version=\"1.0\"?><!DOCTYPE x [<!ENTITY a \"b\">]>" + good.substr(good.find("?>") + 2)));
    EXPECT_FALSE(parse_document(good + "<again/>"));
    EXPECT_FALSE(parse_document(""));
    EXPECT_FALSE(parse_document("<a><b></a>"));
    EXPECT_FALSE(parse_document(std::string(kMaximumDocumentBytes + 1, ' ')));
    for (size_t cut = 0; cut < good.size() - 2; cut += 7) EXPECT_FALSE(parse_document(good.substr(0, cut)));
}

TEST(StoredForms, RecordsSurviveTheirBytesAndNothingElseDecodes) {
    const SetRecord set = sample_set();
    const std::vector<std::byte> bytes = encode(set);
    const auto again = decode_set(bytes);
    ASSERT_TRUE(again);
    EXPECT_EQ(*again, set);
    for (size_t cut = 0; cut < bytes.size(); ++cut) EXPECT_FALSE(decode_set(base::Bytes(bytes).first(cut)));
    std::vector<std::byte> longer = bytes;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode_set(longer));
    std::vector<std::byte> later = bytes;
    later[0] = std::byte{2};
    EXPECT_EQ(decode_set(later).error().code, base::Code::kVersion);
}

TEST(StoredForms, SqliteKeepsWhatWasApplied) {
    std::string directory = std::filesystem::temp_directory_path() / "umbra-state-XXXXXX";
    ASSERT_NE(mkdtemp(directory.data()), nullptr);
    const std::string path = directory + "/state.db";
    const SetRecord set = sample_set();
    {
        auto store = open_sqlite_state_store(path);
        ASSERT_TRUE(store) << store.error().text();
        StateChange change;
        change.put_sets.push_back(set);
        Intent intent;
        intent.id = Guid::from_random(9, 9);
        intent.kind = Intent::Kind::kRecover;
        intent.destinations.resize(1);
        intent.destinations[0].released.mounts.push_back({1, "/srv/db", "ext4", "rw"});
        change.put_intents.push_back(intent);
        ASSERT_TRUE((*store)->apply(std::move(change)));
        for (size_t i = 0; i < kEventsKept + 5; i += kEventsKept / 4) {
            EventRecord event;
            event.text = std::to_string(i);
            event.fields["a"] = "b";
            ASSERT_TRUE((*store)->append_event(event));
        }
    }
    {
        auto store = open_sqlite_state_store(path);
        ASSERT_TRUE(store) << store.error().text();
        const auto state = (*store)->load();
        ASSERT_TRUE(state) << state.error().text();
        ASSERT_EQ(state->sets.size(), 1u);
        EXPECT_EQ(state->sets[0], set);
        ASSERT_EQ(state->intents.size(), 1u);
        EXPECT_EQ(state->intents[0].destinations[0].released.mounts[0].mount_point, "/srv/db");
        const auto events = (*store)->events(1, 2);
        ASSERT_TRUE(events);
        ASSERT_EQ(events->size(), 2u);
        EXPECT_EQ(events->front().sequence, 2u);
        EXPECT_EQ(events->front().fields.at("a"), "b");
        StateChange erase;
        erase.erase_sets.push_back(set.id);
        ASSERT_TRUE((*store)->apply(std::move(erase)));
        EXPECT_TRUE((*store)->load()->sets.empty());
        EXPECT_FALSE(open_sqlite_state_store(path)) << "one owner";
    }
    std::filesystem::remove_all(directory);
}

}  // namespace
}  // namespace umbra::coordinator

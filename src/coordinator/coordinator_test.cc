// The coordinator against an array and hosts in memory. "Row n" is vss.md section 9.
#include <gtest/gtest.h>

#include "coordinator/testing/rig.h"

namespace umbra::coordinator {
namespace {

using base::Guid;
using testing::FakeArray;
using testing::FakeProvider;
using testing::run;
using testing::TestHost;

constexpr uint32_t kPersistentNoWriters = vss::kContextNasRollback;
constexpr uint32_t kPersistentTransportable = vss::kContextNasRollback | vss::kAttrTransportable;
constexpr uint32_t kVolatileNoWriters = vss::kContextFileShareBackup;
constexpr uint64_t kDb = 1;
constexpr uint64_t kLog = 2;

class CoordinatorTest : public ::testing::Test {
protected:
    CoordinatorTest() {
        array.add_lun(a.fake, kDb, "/srv/db", "db 1", host::TableKind::kGpt);
        array.add_lun(a.fake, kLog, "/srv/log", "log 1");
    }

    SessionPtr backup(TestHost& host, uint32_t context) {
        SessionPtr session = host.open();
        EXPECT_TRUE(session->initialize_for_backup(std::nullopt));
        EXPECT_TRUE(session->set_context(context));
        return session;
    }
    Answer<Guid> start(const SessionPtr& session) { return run(executor, session->start_snapshot_set({})); }
    Answer<Guid> add(const SessionPtr& session, const std::string& volume, Guid provider = {}) {
        return run(executor, session->add_to_snapshot_set(volume, provider));
    }
    ComCode do_set(TestHost& host, const SessionPtr& session) {
        Answer<OperationPtr> operation = run(executor, session->do_snapshot_set());
        return operation ? host.wait(*operation) : operation.error().code;
    }
    struct Created {
        SessionPtr session;
        Guid set;
        std::vector<Guid> snapshots;
        std::string xml;
        ComCode result = 0;
    };
    Created create(TestHost& host, uint32_t context, std::vector<std::string> volumes) {
        Created out;
        out.session = backup(host, context);
        const Answer<Guid> set = start(out.session);
        if (!set) {
            out.result = set.error().code;
            return out;
        }
        out.set = *set;
        for (const std::string& volume : volumes) {
            const Answer<Guid> id = add(out.session, volume);
            if (!id) {
                out.result = id.error().code;
                return out;
            }
            out.snapshots.push_back(*id);
        }
        out.result = do_set(host, out.session);
        out.xml = out.session->save_as_xml().value_or("");
        return out;
    }
    struct Imported {
        SessionPtr session;
        ComCode result = 0;
    };
    Imported import(TestHost& host, const std::string& xml) {
        Imported out;
        out.session = host.open();
        EXPECT_TRUE(out.session->initialize_for_backup(xml));
        EXPECT_TRUE(out.session->set_context(vss::kContextAll));
        Answer<OperationPtr> operation = out.session->import_snapshots();
        out.result = operation ? host.wait(*operation) : operation.error().code;
        return out;
    }
    struct Recovered {
        ComCode added = 0;
        ComCode result = 0;
    };
    Recovered recover(TestHost& host, const std::string& xml, std::vector<Guid> snapshots, uint32_t flags = 0,
                      std::optional<std::string> destination = std::nullopt) {
        Recovered out;
        SessionPtr session = host.open();
        EXPECT_TRUE(session->initialize_for_restore(xml));
        for (const Guid& id : snapshots) {
            const Answer<> added = run(executor, session->add_snapshot_to_recovery_set(id, 0, destination));
            if (!added) out.added = added.error().code;
        }
        Answer<OperationPtr> operation = run(executor, session->recover_set(flags));
        out.result = operation ? host.wait(*operation) : operation.error().code;
        close(host, session);
        return out;
    }
    void close(TestHost& host, const SessionPtr& session) {
        run(executor, host.coordinator->close_session(session->id()));
    }
    void pass(env::Duration duration) {
        struct Pass {
            static env::Task<void> go(env::Executor* clock, env::Duration time) {
                co_await env::sleep_for(*clock, time);
            }
        };
        executor.run(Pass::go(&executor, duration));
    }
    uint32_t flags_of(TestHost& host, uint64_t tag) { return host.fake.find(host::testing::fake_lun(tag))->flags; }

    /// After a failed creation nothing may be left anywhere.
    void expect_clean(TestHost& host) {
        EXPECT_TRUE(host.fake.frozen().empty());
        EXPECT_EQ(array.shadow_count(), 0u);
        EXPECT_TRUE(host.fake.shadows().empty());
        EXPECT_EQ(flags_of(host, kDb), 0u);
        EXPECT_EQ(host.store.set_count(), 0u);
        EXPECT_EQ(host.store.intent_count(), 0u);
        EXPECT_FALSE(host.coordinator->creation_in_progress());
        EXPECT_EQ(host.events_while_frozen, 0);
    }

    sim::SimExecutor executor;
    FakeArray array;
    TestHost a{executor, array, "host-a"};
};

// --- Creation --------------------------------------------------------------------------------------------------------

TEST_F(CoordinatorTest, CreatesASetThatIsSurfacedHere) {
    Created made = create(a, kPersistentNoWriters, {"/srv/db", "/srv/log"});
    ASSERT_EQ(made.result, vss::kAsyncFinished);
    EXPECT_TRUE(a.provider.commit_was_frozen);
    EXPECT_EQ(a.fake.shadows().size(), 2u);
    const Answer<SnapshotRecord> properties = made.session->get_snapshot_properties(made.snapshots[0]);
    ASSERT_TRUE(properties);
    EXPECT_EQ(properties->device_object, a.fake.shadow_path(made.snapshots[0]));
    EXPECT_EQ(properties->originating_machine, "host-a");
    EXPECT_NE(properties->attributes & vss::kAttrHardwareAssisted, 0u);
    array.find(kDb)->content = "db 2";
    EXPECT_EQ(array.find(properties->targets[0])->content, "db 1");
    close(a, made.session);
    EXPECT_EQ(array.shadow_count(), 2u) << "persistent copies outlive their requester";
}

TEST_F(CoordinatorTest, Row6And7And10ProviderCallsInOrder) {
    ASSERT_EQ(create(a, kPersistentTransportable, {"/srv/db", "/srv/log"}).result, vss::kAsyncFinished);
    const std::vector<std::string> expected{
        "AreLunsSupported",    "BeginPrepareSnapshot", "AreLunsSupported",        "BeginPrepareSnapshot",
        "EndPrepareSnapshots", "PreCommitSnapshots",   "CommitSnapshots",         "PostCommitSnapshots",
        "GetTargetLuns",       "GetTargetLuns",        "PreFinalCommitSnapshots", "PostFinalCommitSnapshots"};
    EXPECT_EQ(a.provider.calls, expected);
}

TEST_F(CoordinatorTest, Row8FlagsAreOnTheSourceOnlyForTheCommitAndStayOnTheCopy) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    ASSERT_EQ(made.result, vss::kAsyncFinished);
    constexpr uint32_t kAll =
        host::kFlagReadOnly | host::kFlagHidden | host::kFlagNoDriveLetter | host::kFlagShadowCopy;
    EXPECT_EQ(a.provider.flags_at_commit, kAll);
    EXPECT_EQ(flags_of(a, kDb), 0u);
    EXPECT_EQ(array.luns.begin()->second.shadow + array.shadow_count(), 1u);
    EXPECT_EQ(a.store.intent_count(), 0u);
}

TEST_F(CoordinatorTest, Row1OneCreationAtATime) {
    SessionPtr first = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(first));
    SessionPtr second = backup(a, kPersistentNoWriters);
    EXPECT_EQ(start(second).error().code, vss::kSnapshotSetInProgress);
    EXPECT_EQ(start(first).error().code, vss::kSnapshotSetInProgress);
    close(a, first);
    EXPECT_TRUE(start(second));
}

TEST_F(CoordinatorTest, ARequesterMayWaitItsTurn) {
    SessionPtr first = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(first));
    SessionPtr second = backup(a, kPersistentNoWriters);
    EXPECT_EQ(run(executor, second->start_snapshot_set(std::chrono::seconds(3))).error().code,
              vss::kSnapshotSetInProgress);
    ASSERT_TRUE(run(executor, first->abort_backup()));
    EXPECT_TRUE(run(executor, second->start_snapshot_set(std::chrono::seconds(3))));
}

TEST_F(CoordinatorTest, Row2SixtyFifthVolume) {
    for (uint64_t i = 0; i < 65; ++i) array.add_lun(a.fake, 100 + i, "/v/" + std::to_string(i), "x");
    SessionPtr session = backup(a, kPersistentTransportable);
    ASSERT_TRUE(start(session));
    for (uint64_t i = 0; i < 64; ++i) ASSERT_TRUE(add(session, "/v/" + std::to_string(i)));
    EXPECT_EQ(add(session, "/v/64").error().code, vss::kMaximumVolumesReached);
}

TEST_F(CoordinatorTest, Row3ProviderIds) {
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    EXPECT_EQ(add(session, "/srv/db", Guid::from_random(1, 2)).error().code, vss::kProviderNotRegistered);
    a.provider.supports = false;
    EXPECT_EQ(add(session, "/srv/db").error().code, vss::kVolumeNotSupported);
    EXPECT_EQ(add(session, "/srv/db", testing::kProviderId).error().code, vss::kVolumeNotSupportedByProvider);
    EXPECT_EQ(add(session, "/nowhere").error().code, vss::kObjectNotFound);
    a.provider.supports = true;
    EXPECT_TRUE(add(session, "/srv/db", testing::kProviderId));
    EXPECT_EQ(add(session, "/srv/db").error().code, vss::kObjectAlreadyExists);
}

TEST_F(CoordinatorTest, AVolumeThatCannotFreezeIsRefused) {
    array.add_lun(a.fake, 3, "/srv/odd", "x");
    a.fake.find(host::testing::fake_lun(3))->volumes[0].second.fs_type = "vfat";
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    EXPECT_EQ(add(session, "/srv/odd").error().code, vss::kVolumeNotSupported);
}

TEST_F(CoordinatorTest, ClientAccessibleContextsHaveNoProvider) {
    SessionPtr session = backup(a, vss::kContextClientAccessible);
    ASSERT_TRUE(start(session));
    EXPECT_EQ(add(session, "/srv/db").error().code, vss::kVolumeNotSupported);
    EXPECT_EQ(a.provider.count("AreLunsSupported"), 0u);
}

TEST_F(CoordinatorTest, Row11CommitWindow) {
    a.provider.delay["CommitSnapshots"] = std::chrono::seconds(30);
    const env::Instant begin = executor.now();
    EXPECT_EQ(create(a, kPersistentNoWriters, {"/srv/db"}).result, vss::kHoldWritesTimeout);
    EXPECT_LE(executor.now() - begin, env::Duration(std::chrono::seconds(45)));
    EXPECT_TRUE(a.has_event(EventId::kCommitWindowExceeded));
    EXPECT_EQ(a.provider.give_ups, 1);
    EXPECT_EQ(a.provider.count("PostCommitSnapshots"), 0u);
}

TEST_F(CoordinatorTest, CommitWindowIsReleasedAtTheDeadlineNotWhenTheProviderReturns) {
    a.provider.delay["CommitSnapshots"] = std::chrono::seconds(3000);
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    ASSERT_TRUE(add(session, "/srv/db"));
    Answer<OperationPtr> operation = run(executor, session->do_snapshot_set());
    ASSERT_TRUE(operation);
    const env::Instant begin = executor.now();
    EXPECT_EQ(a.wait(*operation), vss::kHoldWritesTimeout);
    EXPECT_LE(executor.now() - begin, env::Duration(std::chrono::seconds(11)));
    EXPECT_TRUE(a.fake.frozen().empty());
}

TEST_F(CoordinatorTest, FlushThatTakesTooLong) {
    a.fake.set_delay("freeze", std::chrono::seconds(20));
    EXPECT_EQ(create(a, kPersistentNoWriters, {"/srv/db"}).result, vss::kFlushWritesTimeout);
    EXPECT_EQ(a.provider.count("CommitSnapshots"), 0u);
    EXPECT_EQ(a.event_count(EventId::kFreezeFailed), 1u);
    expect_clean(a);
}

TEST_F(CoordinatorTest, Row13And14AnyProviderFailureFailsTheSetAndLeavesNothing) {
    const std::vector<std::string> methods{"EndPrepareSnapshots",     "PreCommitSnapshots",      "CommitSnapshots",
                                           "PostCommitSnapshots",     "GetTargetLuns",           "LocateLuns",
                                           "PreFinalCommitSnapshots", "PostFinalCommitSnapshots"};
    const std::vector<std::pair<ComCode, ComCode>> codes{
        {vss::kProviderVeto, vss::kProviderVeto},
        {vss::kInsufficientStorage, vss::kInsufficientStorage},
        {vss::kOutOfMemory, vss::kOutOfMemory},
        {vss::kFalse, vss::kUnexpectedProviderError},
        {vss::kFail, vss::kUnexpectedProviderError},
        {vss::kAbort, vss::kUnexpectedProviderError},
        {vss::kEUnexpected, vss::kUnexpectedProviderError},
        {vss::kNotImplemented, vss::kUnexpectedProviderError},
    };
    for (const std::string& method : methods) {
        for (const auto& [returned, expected] : codes) {
            SCOPED_TRACE(method + " " + vss::name(returned));
            a.provider.fail.clear();
            a.provider.fail[method] = returned;
            const size_t aborts = a.provider.count("AbortSnapshots");
            const size_t bad = a.event_count(EventId::kProviderBadCode);
            const size_t failed = a.event_count(EventId::kProviderFailed);
            Created made = create(a, kPersistentNoWriters, {"/srv/db", "/srv/log"});
            EXPECT_EQ(made.result, expected);
            EXPECT_EQ(a.provider.count("AbortSnapshots"), aborts + 1);
            const bool documented = returned == expected;
            EXPECT_EQ(a.event_count(EventId::kProviderBadCode) - bad, documented ? 0u : 1u);
            EXPECT_EQ(a.event_count(EventId::kProviderFailed) - failed, documented ? 1u : 0u);
            const EventRecord* event = nullptr;
            for (const EventRecord& one : a.store.all_events()) {
                if (one.id == static_cast<uint32_t>(documented ? EventId::kProviderFailed : EventId::kProviderBadCode))
                    event = &one;
            }
            ASSERT_NE(event, nullptr);
            EXPECT_EQ(event->fields.at("method"), method);
            EXPECT_EQ(event->fields.at("provider"), "fake");
            EXPECT_FALSE(event->fields.at("remedy").empty());
            expect_clean(a);
            close(a, made.session);
        }
    }
}

TEST_F(CoordinatorTest, AProviderThatDiesFailsTheSetAndLeavesNothing) {
    for (const std::string method : {"EndPrepareSnapshots", "PreCommitSnapshots", "CommitSnapshots",
                                     "PostCommitSnapshots", "GetTargetLuns", "LocateLuns", "PreFinalCommitSnapshots"}) {
        SCOPED_TRACE(method);
        a.provider.lose = {{method, "the process ended"}};
        Created made = create(a, kPersistentNoWriters, {"/srv/db"});
        EXPECT_EQ(made.result, vss::kUnexpectedProviderError);
        EXPECT_TRUE(a.has_event(EventId::kProviderLost));
        expect_clean(a);
        close(a, made.session);
    }
}

TEST_F(CoordinatorTest, AnyHostFailureFailsTheSetAndLeavesNothing) {
    for (const std::string method : {"prepare_freeze", "read_lun_flags", "write_lun_flags", "freeze", "rescan",
                                     "list_volumes_on", "mount_shadow"}) {
        SCOPED_TRACE(method);
        a.fake.fail_next(method, base::Error{base::Code::kIo, "injected"});
        Created made = create(a, kPersistentNoWriters, {"/srv/db"});
        EXPECT_TRUE(vss::failed(made.result)) << vss::name(made.result);
        expect_clean(a);
        close(a, made.session);
    }
}

TEST_F(CoordinatorTest, AStateThatCannotBeWrittenFailsTheSetAndLeavesNothing) {
    // Each write in turn fails; only the last ones (which erase) may succeed as a creation.
    for (int nth = 0; nth < 4; ++nth) {
        SCOPED_TRACE(nth);
        int writes = 0;
        const auto gate = a.store.gate;
        a.store.gate = [&]() -> base::Result<void> {
            if (writes++ == nth) return base::fail(base::Code::kNoSpace, "injected");
            return {};
        };
        Created made = create(a, kPersistentNoWriters, {"/srv/db"});
        a.store.gate = gate;
        if (made.result == vss::kAsyncFinished) {
            EXPECT_EQ(run(executor, made.session->delete_snapshots(made.set, vss::kObjectSnapshotSet)).count, 1u);
        } else {
            EXPECT_TRUE(vss::failed(made.result));
        }
        close(a, made.session);
        a.restart();
        expect_clean(a);
    }
}

TEST_F(CoordinatorTest, Row15BadCodesOfAbortSnapshotsAreNotTranslated) {
    a.provider.fail["PreCommitSnapshots"] = vss::kProviderVeto;
    a.provider.fail["AbortSnapshots"] = vss::kFail;
    EXPECT_EQ(create(a, kPersistentNoWriters, {"/srv/db"}).result, vss::kProviderVeto);
    EXPECT_FALSE(a.has_event(EventId::kProviderBadCode));
    EXPECT_TRUE(a.has_event(EventId::kCleanupFailed));
}

TEST_F(CoordinatorTest, Row16AbortBeforeDoSnapshotSetTellsProvidersNothing) {
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    ASSERT_TRUE(add(session, "/srv/db"));
    ASSERT_TRUE(run(executor, session->abort_backup()));
    EXPECT_EQ(a.provider.count("AbortSnapshots"), 0u);
    expect_clean(a);
    EXPECT_EQ(create(a, kPersistentNoWriters, {"/srv/db"}).result, vss::kAsyncFinished);
}

TEST_F(CoordinatorTest, Row18AbortWithNothingRunning) {
    SessionPtr session = a.open();
    EXPECT_EQ(run(executor, session->abort_backup()).error().code, vss::kBadState);
    ASSERT_TRUE(session->initialize_for_backup(std::nullopt));
    EXPECT_TRUE(run(executor, session->abort_backup()));
}

TEST_F(CoordinatorTest, CancelDuringEndPrepareSendsAbortOnceAndLeavesNothing) {
    a.provider.delay["EndPrepareSnapshots"] = std::chrono::hours(1);
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    ASSERT_TRUE(add(session, "/srv/db"));
    Answer<OperationPtr> operation = run(executor, session->do_snapshot_set());
    ASSERT_TRUE(operation);
    EXPECT_EQ(a.coordinator->cancel_operation((*operation)->id), vss::kOk);
    EXPECT_EQ(a.wait(*operation), vss::kAsyncCancelled);
    EXPECT_EQ(a.coordinator->cancel_operation((*operation)->id), vss::kAsyncCancelled);
    EXPECT_EQ(a.provider.count("AbortSnapshots"), 1u);
    EXPECT_EQ(a.provider.count("CommitSnapshots"), 0u);
    expect_clean(a);
}

TEST_F(CoordinatorTest, EndPrepareThatIgnoresAbortIsEnded) {
    a.provider.delay["EndPrepareSnapshots"] = std::chrono::hours(20);
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    ASSERT_TRUE(add(session, "/srv/db"));
    Answer<OperationPtr> operation = run(executor, session->do_snapshot_set());
    ASSERT_TRUE(operation);
    const env::Instant begin = executor.now();
    EXPECT_EQ(a.coordinator->cancel_operation((*operation)->id), vss::kOk);
    EXPECT_EQ(a.wait(*operation), vss::kAsyncCancelled);
    EXPECT_LE(executor.now() - begin, env::Duration(std::chrono::minutes(2)));
    EXPECT_EQ(a.provider.give_ups, 1);
    expect_clean(a);
}

// --- Nothing hangs ---------------------------------------------------------------------------------------------------

TEST_F(CoordinatorTest, TheArrayGoesAwayInsideTheFreezeForMinutes) {
    a.provider.delay["CommitSnapshots"] = std::chrono::hours(1);
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    ASSERT_TRUE(add(session, "/srv/db"));
    Answer<OperationPtr> operation = run(executor, session->do_snapshot_set());
    ASSERT_TRUE(operation);
    while (a.provider.count("CommitSnapshots") == 0) ASSERT_TRUE(executor.step());
    const env::Instant begin = executor.now();
    // I/O hangs until the watchdog cuts the device off, and longer on other disks of the array.
    a.fake.set_delay("thaw", std::chrono::seconds(130));
    a.fake.set_delay("write_lun_flags", std::chrono::seconds(200));
    a.fake.set_delay("list_disks", std::chrono::seconds(200));
    a.provider.delay["AbortSnapshots"] = std::chrono::seconds(200);
    a.provider.array_away = true;

    EXPECT_EQ(a.wait(*operation), vss::kHoldWritesTimeout);
    EXPECT_LE(executor.now() - begin, env::Duration(std::chrono::seconds(50)));
    EXPECT_NE((*operation)->message.find("taken back later"), std::string::npos) << (*operation)->message;
    EXPECT_TRUE(a.fake.frozen().empty()) << "the watchdog needs nobody";
    EXPECT_TRUE(a.coordinator->events().held()) << "perhaps something is frozen yet";
    EXPECT_FALSE(a.has_event(EventId::kCommitWindowExceeded));
    SessionPtr next = backup(a, kPersistentNoWriters);
    EXPECT_EQ(start(next).error().code, vss::kSnapshotSetInProgress) << "at once, not when the array answers";
    const env::Instant closing = executor.now();
    close(a, session);
    EXPECT_EQ(executor.now(), closing);

    pass(std::chrono::seconds(200));
    EXPECT_FALSE(a.coordinator->events().held());
    EXPECT_TRUE(a.has_event(EventId::kCommitWindowExceeded));
    EXPECT_TRUE(a.has_event(EventId::kSourceFlagsLeft));

    for (const char* method : {"thaw", "write_lun_flags", "list_disks"}) a.fake.set_delay(method, {});
    a.provider.delay.clear();
    a.provider.array_away = false;
    pass(std::chrono::hours(1));
    expect_clean(a);
    EXPECT_EQ(create(a, kPersistentNoWriters, {"/srv/db"}).result, vss::kAsyncFinished);
    EXPECT_EQ(flags_of(a, kDb), 0u);
}

TEST_F(CoordinatorTest, AnyHostCallThatHangsFailsTheSetInTimeAndLeavesNothing) {
    for (const std::string method : {"list_disks", "prepare_freeze", "read_lun_flags", "write_lun_flags", "freeze",
                                     "thaw", "rescan", "list_volumes_on", "mount_shadow", "unmount_shadow", "detach"}) {
        SCOPED_TRACE(method);
        SessionPtr session = backup(a, kPersistentNoWriters);
        ASSERT_TRUE(start(session));
        ASSERT_TRUE(add(session, "/srv/db"));
        a.fake.set_delay(method, std::chrono::hours(2));
        // Those two are called only when something is taken back.
        const bool undoing = method == "unmount_shadow" || method == "detach";
        if (undoing) a.provider.fail["PostFinalCommitSnapshots"] = vss::kProviderVeto;
        Answer<OperationPtr> operation = run(executor, session->do_snapshot_set());
        ASSERT_TRUE(operation);
        const env::Instant begin = executor.now();
        const ComCode result = a.wait(*operation);
        EXPECT_TRUE(vss::failed(result) || result == vss::kAsyncFinished) << vss::name(result);
        EXPECT_LE(executor.now() - begin, env::Duration(std::chrono::minutes(4)));
        a.fake.set_delay(method, {});
        a.provider.fail.clear();
        pass(std::chrono::hours(6));
        if (result == vss::kAsyncFinished) {
            EXPECT_EQ(method, "list_disks") << "each of the others is needed";
            for (const auto& [id, set] : std::map(a.coordinator->sets()))
                EXPECT_TRUE(run(executor, session->delete_snapshots(id, vss::kObjectSnapshotSet)).result);
        }
        close(a, session);
        expect_clean(a);
    }
}

TEST_F(CoordinatorTest, AVolumeWhoseDiskHangsIsRefusedInTime) {
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    a.fake.set_delay("resolve", std::chrono::hours(2));
    const env::Instant begin = executor.now();
    EXPECT_EQ(add(session, "/srv/db").error().code, vss::kUnexpected);
    EXPECT_LE(executor.now() - begin, env::Duration(std::chrono::minutes(1)));
    a.fake.set_delay("resolve", {});
}

TEST_F(CoordinatorTest, ACopyIsNotForgottenWhileItsArrayIsAway) {
    Created made = create(a, kPersistentNoWriters, {"/srv/db"});
    a.provider.array_away = true;
    Coordinator::Deleted refused = run(executor, made.session->delete_snapshots(made.set, vss::kObjectSnapshotSet));
    EXPECT_EQ(refused.result.error().code, vss::kProviderVeto);
    EXPECT_EQ(refused.count, 0u);
    EXPECT_EQ(a.coordinator->sets().size(), 1u);
    a.provider.array_away = false;
    EXPECT_EQ(run(executor, made.session->delete_snapshots(made.set, vss::kObjectSnapshotSet)).count, 1u);
    expect_clean(a);
}

TEST_F(CoordinatorTest, AutoReleaseWaitsForTheArray) {
    Created made = create(a, kVolatileNoWriters, {"/srv/db"});
    a.provider.array_away = true;
    close(a, made.session);
    EXPECT_EQ(array.shadow_count(), 1u);
    a.provider.array_away = false;
    pass(std::chrono::minutes(1));
    expect_clean(a);
}

TEST_F(CoordinatorTest, AnEmptySetLeavesNoRecord) {
    EXPECT_EQ(create(a, kPersistentTransportable, {}).result, vss::kAsyncFinished);
    EXPECT_EQ(create(a, kPersistentNoWriters, {}).result, vss::kAsyncFinished);
    EXPECT_EQ(a.store.set_count(), 0u);
    EXPECT_TRUE(a.coordinator->sets().empty());
}

TEST_F(CoordinatorTest, ARequesterThatDiesDuringTheCreationLeavesNothing) {
    a.provider.delay["PreCommitSnapshots"] = std::chrono::seconds(2);
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    ASSERT_TRUE(add(session, "/srv/db"));
    ASSERT_TRUE(run(executor, session->do_snapshot_set()));
    close(a, session);
    expect_clean(a);
}

TEST_F(CoordinatorTest, Row26And40AutoReleaseWhenTheRequesterEnds) {
    Created made = create(a, kVolatileNoWriters, {"/srv/db", "/srv/log"});
    ASSERT_EQ(made.result, vss::kAsyncFinished);
    EXPECT_EQ(array.shadow_count(), 2u);
    close(a, made.session);
    EXPECT_EQ(a.provider.count("OnLunEmpty"), 2u);
    expect_clean(a);
}

TEST_F(CoordinatorTest, Row28PropertiesDuringCreation) {
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(start(session));
    const Answer<Guid> id = add(session, "/srv/db");
    ASSERT_TRUE(id);
    EXPECT_EQ(session->get_snapshot_properties(*id).error().code, vss::kObjectNotFound);
}

TEST_F(CoordinatorTest, Row39WriterlessContext) {
    SessionPtr session = backup(a, kPersistentNoWriters);
    ASSERT_TRUE(session->set_backup_state(false, false, 1, false));
    ASSERT_TRUE(start(session));
    EXPECT_EQ(session->prepare_for_backup().error().code, vss::kBadState);
    EXPECT_EQ(session->edit_component({}).error().code, vss::kBadState);
    ASSERT_TRUE(add(session, "/srv/db"));
    ASSERT_EQ(do_set(a, session), vss::kAsyncFinished);
    EXPECT_EQ(session->backup_complete().error().code, vss::kBadState);
}

TEST_F(CoordinatorTest, WritersContextNeedsGatherAndPrepare) {
    SessionPtr session = a.open();
    ASSERT_TRUE(session->initialize_for_backup(std::nullopt));
    ASSERT_TRUE(session->set_backup_state(true, false, 1, false));
    ASSERT_TRUE(start(session));
    ASSERT_TRUE(add(session, "/srv/db"));
    EXPECT_EQ(do_set(a, session), vss::kBadState);
    EXPECT_EQ(session->get_writer_metadata().error().code, vss::kBadState);
    ASSERT_TRUE(session->gather_writer_metadata());
    EXPECT_EQ(session->gather_writer_metadata().error().code, vss::kBadState);
    ASSERT_TRUE(session->prepare_for_backup());
    EXPECT_EQ(do_set(a, session), vss::kAsyncFinished);
    EXPECT_TRUE(session->backup_complete());
    EXPECT_EQ(session->backup_complete().error().code, vss::kBadState);
}

TEST_F(CoordinatorTest, Contexts) {
    const auto code = [&](uint32_t context) {
        SessionPtr session = a.open();
        EXPECT_TRUE(session->initialize_for_backup(std::nullopt));
        const Answer<> set = session->set_context(context);
        return set ? vss::kOk : set.error().code;
    };
    EXPECT_EQ(code(vss::kContextBackup), vss::kOk);
    EXPECT_EQ(code(vss::kContextAppRollback | vss::kAttrTransportable | vss::kAttrPlex), vss::kOk);
    EXPECT_EQ(code(vss::kAttrDifferential | vss::kAttrPlex), vss::kInvalidArgument);
    EXPECT_EQ(code(vss::kContextClientAccessible | vss::kAttrTransportable), vss::kInvalidArgument);
    EXPECT_EQ(code(vss::kAttrImported), vss::kInvalidArgument);
    EXPECT_EQ(code(1), vss::kInvalidArgument);
    EXPECT_EQ(code(vss::kContextAll), vss::kOk);
    SessionPtr all = backup(a, vss::kContextAll);
    EXPECT_EQ(start(all).error().code, vss::kBadState);
    EXPECT_EQ(all->set_context(0).error().code, vss::kBadState) << "once";
}

// --- Import ----------------------------------------------------------------------------------------------------------

TEST_F(CoordinatorTest, Row22TransportableSurfacesNothingAndIsImportedElsewhere) {
    TestHost b(executor, array, "host-b");
    Created made = create(a, kPersistentTransportable, {"/srv/db", "/srv/log"});
    ASSERT_EQ(made.result, vss::kAsyncFinished);
    EXPECT_TRUE(a.fake.shadows().empty());
    EXPECT_EQ(a.provider.count("LocateLuns"), 0u);
    const Answer<SnapshotRecord> here = made.session->get_snapshot_properties(made.snapshots[0]);
    ASSERT_TRUE(here);
    EXPECT_TRUE(here->device_object.empty());
    close(a, made.session);

    Imported imported = import(b, made.xml);
    ASSERT_EQ(imported.result, vss::kAsyncFinished);
    EXPECT_EQ(b.fake.shadows().size(), 2u);
    const Answer<SnapshotRecord> there = imported.session->get_snapshot_properties(made.snapshots[0]);
    ASSERT_TRUE(there);
    EXPECT_EQ(there->device_object, b.fake.shadow_path(made.snapshots[0]));
    EXPECT_EQ(there->originating_machine, "host-a");
    EXPECT_EQ(there->service_machine, "host-b");
    EXPECT_NE(there->attributes & vss::kAttrImported, 0u);
    EXPECT_EQ(imported.session->query_snapshots({}, vss::kObjectNone)->size(), 2u);
    close(b, imported.session);
    EXPECT_EQ(b.fake.shadows().size(), 2u) << "persistent";
}

TEST_F(CoordinatorTest, Row23SecondImportIsRefusedOnEveryHost) {
    TestHost b(executor, array, "host-b");
    TestHost c(executor, array, "host-c");
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    ASSERT_EQ(import(b, made.xml).result, vss::kAsyncFinished);
    EXPECT_EQ(import(b, made.xml).result, vss::kBadState);
    EXPECT_TRUE(b.has_event(EventId::kImportRefused));
    EXPECT_EQ(import(c, made.xml).result, vss::kBadState);
    EXPECT_TRUE(c.has_event(EventId::kImportRefused));
    EXPECT_TRUE(c.coordinator->sets().empty()) << "what another host holds is not ours to clean up";
}

TEST_F(CoordinatorTest, Row24ImportInTheWrongState) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    SessionPtr uninitialised = a.open();
    EXPECT_EQ(uninitialised->import_snapshots().error().code, vss::kBadState);
    SessionPtr restore = a.open();
    ASSERT_TRUE(restore->initialize_for_restore(made.xml));
    EXPECT_EQ(restore->import_snapshots().error().code, vss::kBadState);
    SessionPtr empty = a.open();
    ASSERT_TRUE(empty->initialize_for_backup(std::nullopt));
    EXPECT_EQ(empty->import_snapshots().error().code, vss::kBadState);
}

TEST_F(CoordinatorTest, Row19And25MismatchImportsNothingAndLeavesTheLuns) {
    TestHost b(executor, array, "host-b");
    Created made = create(a, kPersistentTransportable, {"/srv/db", "/srv/log"});
    b.provider.corrupt_fill_in = true;
    EXPECT_EQ(import(b, made.xml).result, vss::kNoSnapshotsImported);
    EXPECT_TRUE(b.fake.shadows().empty());
    EXPECT_EQ(array.shadow_count(), 2u);
    EXPECT_EQ(b.coordinator->sets().at(made.set).state, SetState::kImportFailed);
    EXPECT_EQ(b.provider.count("OnLunEmpty"), 0u);
    b.provider.corrupt_fill_in = false;
    EXPECT_EQ(import(b, made.xml).result, vss::kAsyncFinished) << "once means once successfully";
}

TEST_F(CoordinatorTest, Row19SomeSnapshotsNotImported) {
    TestHost b(executor, array, "host-b");
    Created made = create(a, kPersistentTransportable, {"/srv/db", "/srv/log"});
    b.fake.fail_next("mount_shadow", base::Error{base::Code::kIo, "injected"});
    Imported imported = import(b, made.xml);
    EXPECT_EQ(imported.result, vss::kSomeSnapshotsNotImported);
    EXPECT_EQ(b.fake.shadows().size(), 1u);
    EXPECT_EQ(imported.session->query_snapshots({}, vss::kObjectNone)->size(), 1u);
    EXPECT_EQ(run(executor, imported.session->delete_snapshots(made.set, vss::kObjectSnapshotSet)).count, 2u);
    EXPECT_EQ(array.shadow_count(), 0u);
}

TEST_F(CoordinatorTest, Row20IgnoredFieldsStillMatch) {
    TestHost b(executor, array, "host-b");
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    b.provider.change_ignored_fields = true;
    EXPECT_EQ(import(b, made.xml).result, vss::kAsyncFinished);
}

TEST_F(CoordinatorTest, Row21FillInLunInfo) {
    TestHost b(executor, array, "host-b");
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    b.provider.foreign_fill_in = true;
    EXPECT_EQ(import(b, made.xml).result, vss::kNoSnapshotsImported);
    b.provider.foreign_fill_in = false;
    b.provider.fail["FillInLunInfo"] = vss::kFail;
    EXPECT_EQ(import(b, made.xml).result, vss::kAsyncFinished) << "its HRESULT is ignored";
}

TEST_F(CoordinatorTest, LunsThatDoNotArriveAreCleanedUpOnRequestOnly) {
    TestHost b(executor, array, "host-b");
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    b.provider.arrive = false;
    EXPECT_EQ(import(b, made.xml).result, vss::kNoSnapshotsImported);
    EXPECT_EQ(array.find(1000)->importer, "host-b");
    Answer<uint32_t> cleaned = run(executor, b.coordinator->cleanup_set(made.set));
    ASSERT_TRUE(cleaned);
    EXPECT_EQ(b.store.set_count(), 0u);
    EXPECT_EQ(array.find(1000)->importer, "") << "given back, not deleted";
    EXPECT_EQ(array.shadow_count(), 1u);
}

TEST_F(CoordinatorTest, NonTransportableDocument) {
    TestHost b(executor, array, "host-b");
    Created made = create(a, kPersistentNoWriters, {"/srv/db"});
    EXPECT_EQ(import(b, made.xml).result, vss::kNonTransportableBcd);
}

TEST_F(CoordinatorTest, ADocumentThatNamesALunInUseIsRefused) {
    TestHost b(executor, array, "host-b");
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    // The forged document names the live LUN as the shadow copy.
    std::string forged = made.xml;
    const std::string shadow_naa = base::to_hex(host::testing::fake_lun(1000).designators[0].id);
    const std::string live_naa = base::to_hex(host::testing::fake_lun(kLog).designators[0].id);
    for (size_t at = forged.find(shadow_naa); at != std::string::npos; at = forged.find(shadow_naa)) {
        forged.replace(at, shadow_naa.size(), live_naa);
    }
    close(a, made.session);
    EXPECT_EQ(import(a, forged).result, vss::kNoSnapshotsImported);
    EXPECT_EQ(a.provider.count("LocateLuns"), 0u);
    EXPECT_TRUE(a.fake.shadows().empty());
}

TEST_F(CoordinatorTest, Row26AutoReleaseBelongsToTheImporter) {
    TestHost b(executor, array, "host-b");
    Created made = create(a, kVolatileNoWriters | vss::kAttrTransportable, {"/srv/db"});
    ASSERT_EQ(made.result, vss::kAsyncFinished);
    close(a, made.session);
    EXPECT_EQ(array.shadow_count(), 1u) << "the creator does not release what it handed over";
    Imported imported = import(b, made.xml);
    ASSERT_EQ(imported.result, vss::kAsyncFinished);
    close(b, imported.session);
    EXPECT_EQ(array.shadow_count(), 0u);
    EXPECT_EQ(b.store.set_count(), 0u);
}

TEST_F(CoordinatorTest, ImportBesideTheOriginalGetsItsOwnDiskIdentity) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    ASSERT_EQ(import(a, made.xml).result, vss::kAsyncFinished);
    const auto* copy = a.fake.find(host::testing::fake_lun(1000));
    ASSERT_NE(copy, nullptr);
    EXPECT_NE(copy->disk.signature.gpt_guid, array.find(kDb)->signature.gpt_guid);
    EXPECT_TRUE(copy->disk.read_only);
}

// --- Query, delete, break, expose ------------------------------------------------------------------------------------

TEST_F(CoordinatorTest, Row27Query) {
    Created persistent = create(a, kPersistentNoWriters, {"/srv/db"});
    Created volatile_one = create(a, kVolatileNoWriters, {"/srv/log"});
    EXPECT_EQ(backup(a, kPersistentNoWriters)->query_snapshots({}, vss::kObjectNone)->size(), 1u);
    EXPECT_EQ(backup(a, vss::kContextBackup)->query_snapshots({}, vss::kObjectNone)->size(), 0u);
    SessionPtr all = backup(a, vss::kContextAll);
    EXPECT_EQ(all->query_snapshots({}, vss::kObjectNone)->size(), 2u);
    EXPECT_EQ(all->query_snapshots(persistent.set, vss::kObjectSnapshotSet).error().code, vss::kInvalidArgument);
    EXPECT_EQ(all->query_providers({}, vss::kObjectNone)->size(), 1u);
}

TEST_F(CoordinatorTest, Row29DeleteStopsAtTheFirstFailure) {
    Created made = create(a, kPersistentNoWriters, {"/srv/db", "/srv/log"});
    a.provider.fail["OnLunEmpty"] = vss::kProviderVeto;
    Coordinator::Deleted failed = run(executor, made.session->delete_snapshots(made.set, vss::kObjectSnapshotSet));
    EXPECT_EQ(failed.count, 0u);
    EXPECT_EQ(failed.failed, made.snapshots[0]);
    EXPECT_EQ(failed.result.error().code, vss::kProviderVeto);
    a.provider.fail.clear();
    Coordinator::Deleted done = run(executor, made.session->delete_snapshots(made.set, vss::kObjectSnapshotSet));
    EXPECT_EQ(done.count, 2u);
    EXPECT_TRUE(done.failed.is_null());
    expect_clean(a);
    Coordinator::Deleted gone = run(executor, made.session->delete_snapshots(made.snapshots[0], vss::kObjectSnapshot));
    EXPECT_EQ(gone.result.error().code, vss::kObjectNotFound);
}

TEST_F(CoordinatorTest, Row30BreakForgetsTheSetAndKeepsTheLun) {
    Created made = create(a, kPersistentNoWriters, {"/srv/db"});
    EXPECT_TRUE(run(executor, made.session->break_snapshot_set(made.set, 0)));
    EXPECT_EQ(backup(a, vss::kContextAll)->query_snapshots({}, vss::kObjectNone)->size(), 0u);
    EXPECT_TRUE(a.fake.find(host::testing::fake_lun(1000))->attached);
    EXPECT_TRUE(a.fake.shadows().empty());
    EXPECT_EQ(run(executor, made.session->break_snapshot_set(made.set, 0)).error().code, vss::kObjectNotFound);
}

TEST_F(CoordinatorTest, BreakExMakesWritableOrMasks) {
    Created made = create(a, kPersistentNoWriters, {"/srv/db"});
    Answer<OperationPtr> operation = made.session->break_snapshot_set_ex(made.set, vss::kBreakMakeReadWrite);
    ASSERT_TRUE(operation);
    EXPECT_EQ(a.wait(*operation), vss::kAsyncFinished);
    EXPECT_FALSE(array.find(1000)->shadow);
    EXPECT_FALSE(a.fake.find(host::testing::fake_lun(1000))->disk.read_only);
    EXPECT_EQ(flags_of(a, 1000), 0u);
    Created second = create(a, kPersistentNoWriters, {"/srv/log"});
    operation = second.session->break_snapshot_set_ex(second.set, vss::kBreakMaskLuns | vss::kBreakMakeReadWrite);
    EXPECT_EQ(a.wait(*operation), vss::kInvalidArgument);
    operation = second.session->break_snapshot_set_ex(second.set, vss::kBreakMaskLuns);
    EXPECT_EQ(a.wait(*operation), vss::kAsyncFinished);
    EXPECT_FALSE(a.fake.find(host::testing::fake_lun(1001))->attached);
    Created third = create(a, kPersistentNoWriters, {"/srv/log"});
    a.provider.ex = false;
    operation = third.session->break_snapshot_set_ex(third.set, vss::kBreakMaskLuns);
    EXPECT_EQ(a.wait(*operation), vss::kLegacyProvider);
}

TEST_F(CoordinatorTest, Row31RevertIdentityWithTheOriginalVisible) {
    Created made = create(a, kPersistentNoWriters, {"/srv/db"});
    Answer<OperationPtr> operation = made.session->break_snapshot_set_ex(made.set, vss::kBreakRevertIdentityAll);
    EXPECT_EQ(a.wait(*operation), vss::kBreakRevertIdFailed);
    EXPECT_TRUE(a.coordinator->sets().contains(made.set)) << "nothing changed";
    TestHost b(executor, array, "host-b");
    Created transported = create(a, kPersistentTransportable, {"/srv/db"});
    Imported imported = import(b, transported.xml);
    ASSERT_EQ(imported.result, vss::kAsyncFinished);
    operation = imported.session->break_snapshot_set_ex(transported.set,
                                                        vss::kBreakRevertIdentityAll | vss::kBreakMakeReadWrite);
    EXPECT_EQ(b.wait(*operation), vss::kAsyncFinished);
    EXPECT_EQ(b.fake.find(host::testing::fake_lun(1001))->disk.signature.gpt_guid, array.find(kDb)->signature.gpt_guid);
}

TEST_F(CoordinatorTest, Row32Expose) {
    Created made = create(a, kPersistentNoWriters, {"/srv/db"});
    const Guid id = made.snapshots[0];
    const auto expose = [&](std::optional<std::string> root, uint32_t attributes, std::optional<std::string> target) {
        return run(executor, made.session->expose_snapshot(id, root, attributes, target));
    };
    EXPECT_EQ(run(executor, made.session->unexpose_snapshot(id)).error().code, vss::kObjectNotFound);
    EXPECT_EQ(expose("path", vss::kAttrExposedLocally, "/mnt/x").error().code, vss::kInvalidArgument);
    EXPECT_EQ(expose({}, 0, "/mnt/x").error().code, vss::kInvalidArgument);
    EXPECT_EQ(expose({}, vss::kAttrExposedLocally, "X:").error().code, vss::kInvalidArgument);
    EXPECT_EQ(expose({}, vss::kAttrExposedRemotely, "share").error().code, vss::kProviderVeto);
    EXPECT_EQ(*expose({}, vss::kAttrExposedLocally, "/mnt/x"), "/mnt/x");
    EXPECT_NE(made.session->get_snapshot_properties(id)->attributes & vss::kAttrExposedLocally, 0u);
    EXPECT_EQ(expose({}, vss::kAttrExposedLocally, "/mnt/y").error().code, vss::kObjectAlreadyExists);
    EXPECT_TRUE(run(executor, made.session->unexpose_snapshot(id)));
    EXPECT_TRUE(a.fake.exposed().empty());
    EXPECT_EQ(*expose({}, vss::kAttrExposedLocally, {}), a.fake.exposed_path(id));
    EXPECT_EQ(run(executor, made.session->delete_snapshots(id, vss::kObjectSnapshot)).count, 1u);
    EXPECT_TRUE(a.fake.exposed().empty());
    Created volatile_one = create(a, kVolatileNoWriters, {"/srv/log"});
    EXPECT_EQ(run(executor,
                  volatile_one.session->expose_snapshot(volatile_one.snapshots[0], {}, vss::kAttrExposedLocally, {}))
                  .error()
                  .code,
              vss::kBadState);
}

TEST_F(CoordinatorTest, Row33Revert) {
    Created made = create(a, kVolatileNoWriters, {"/srv/db"});
    EXPECT_EQ(made.session->revert_to_snapshot(made.snapshots[0]).error().code, vss::kUnsupportedContext);
    EXPECT_EQ(made.session->revert_to_snapshot(Guid::from_random(1, 1)).error().code, vss::kObjectNotFound);
}

// --- Recovery set ----------------------------------------------------------------------------------------------------

TEST_F(CoordinatorTest, RecoverSetBringsTheContentBackInTheArray) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    array.find(kDb)->content = "db 2, damaged";
    const Guid former = array.find(kDb)->signature.gpt_guid;
    Recovered done = recover(a, made.xml, made.snapshots);
    EXPECT_EQ(done.added, 0u);
    EXPECT_EQ(done.result, vss::kAsyncFinished);
    EXPECT_EQ(array.find(kDb)->content, "db 1");
    const auto* disk = a.fake.find(host::testing::fake_lun(kDb));
    EXPECT_TRUE(disk->attached);
    EXPECT_EQ(disk->volumes[0].second.mounts, std::vector<std::string>{"/srv/db"});
    EXPECT_EQ(disk->disk.signature.gpt_guid, former);
    EXPECT_EQ(disk->flags, 0u) << "the copy's flags came along and are cleared";
    EXPECT_EQ(a.store.intent_count(), 0u);
}

TEST_F(CoordinatorTest, Row36SignaturePolicy) {
    array.add_lun(a.fake, 9, "/srv/other", "other", host::TableKind::kGpt);
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    const Guid original = array.find(kDb)->signature.gpt_guid;
    const Guid former = array.find(9)->signature.gpt_guid;
    EXPECT_EQ(recover(a, made.xml, made.snapshots, 0, "/srv/other").result, vss::kAsyncFinished);
    EXPECT_EQ(a.fake.find(host::testing::fake_lun(9))->disk.signature.gpt_guid, former);
    EXPECT_EQ(array.find(9)->content, "db 1");
    // The original is visible: its identity cannot be given to another disk.
    EXPECT_EQ(recover(a, made.xml, made.snapshots, vss::kRecoverRevertIdentityAll, "/srv/other").result,
              vss::kCannotRevertDiskId);
    EXPECT_TRUE(a.has_event(EventId::kCannotRevertDiskId));
    EXPECT_TRUE(a.fake.find(host::testing::fake_lun(9))->volumes[0].second.mounts.empty())
        << "identities before any mount";
    // Gone from this host: now it can.
    a.fake.find(host::testing::fake_lun(kDb))->volumes[0].second.mounts.clear();
    a.fake.find(host::testing::fake_lun(kDb))->attached = false;
    const std::string device = a.fake.find(host::testing::fake_lun(9))->disk.device + "p1";
    EXPECT_EQ(recover(a, made.xml, made.snapshots, vss::kRecoverRevertIdentityAll, device).result, vss::kAsyncFinished);
    EXPECT_EQ(a.fake.find(host::testing::fake_lun(9))->disk.signature.gpt_guid, original);
}

TEST_F(CoordinatorTest, AnotherKindOfTableCannotKeepItsIdentity) {
    array.add_lun(a.fake, 9, "/srv/other", "other", host::TableKind::kMbr);
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    EXPECT_EQ(recover(a, made.xml, made.snapshots, 0, "/srv/other").result, vss::kCannotRevertDiskId);
}

TEST_F(CoordinatorTest, ABlankLunIsAValidDestination) {
    const std::string device = array.add_lun(a.fake, 9, "", "blank");
    a.fake.find_device(device)->volumes[0].second.fs_type.clear();
    Created made = create(a, kPersistentTransportable, {"/srv/log"});
    EXPECT_EQ(recover(a, made.xml, made.snapshots, 0, device).result, vss::kAsyncFinished);
    EXPECT_EQ(array.find(9)->content, "log 1");
}

TEST_F(CoordinatorTest, Row34RecoverSetInTheWrongState) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    SessionPtr backup_mode = a.open();
    ASSERT_TRUE(backup_mode->initialize_for_backup(made.xml));
    EXPECT_EQ(run(executor, backup_mode->recover_set(0)).error().code, vss::kBadState);
    EXPECT_EQ(run(executor, backup_mode->add_snapshot_to_recovery_set(made.snapshots[0], 0, {})).error().code,
              vss::kBadState);
    SessionPtr empty = a.open();
    EXPECT_EQ(run(executor, empty->recover_set(0)).error().code, vss::kBadState);
    ASSERT_TRUE(empty->initialize_for_restore(made.xml));
    EXPECT_EQ(run(executor, empty->recover_set(0)).error().code, vss::kBadState);
    EXPECT_EQ(run(executor, empty->recover_set(0x1)).error().code, vss::kInvalidArgument);
    EXPECT_EQ(run(executor, empty->add_snapshot_to_recovery_set(made.snapshots[0], 1, {})).error().code,
              vss::kInvalidArgument);
    EXPECT_EQ(run(executor, empty->add_snapshot_to_recovery_set({}, 0, {})).error().code, vss::kInvalidArgument);
}

TEST_F(CoordinatorTest, SafeModeRefusesResynchronisation) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    close(a, made.session);
    a.options.safe_mode = true;
    a.restart();
    const Recovered refused = recover(a, made.xml, made.snapshots);
    EXPECT_EQ(refused.added, vss::kBadState);
    EXPECT_EQ(refused.result, vss::kBadState);
}

TEST_F(CoordinatorTest, Row35UnselectedVolume) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    auto* disk = a.fake.find(host::testing::fake_lun(kDb));
    disk->volumes.emplace_back(2, host::testing::FakeHost::FakeVolume{});
    array.find(kDb)->content = "db 2";
    EXPECT_EQ(recover(a, made.xml, made.snapshots).result, vss::kUnselectedVolume);
    EXPECT_EQ(array.find(kDb)->content, "db 2");
    EXPECT_TRUE(a.has_event(EventId::kUnselectedVolume));
    EXPECT_EQ(a.provider.count("ResyncLuns"), 0u);
    EXPECT_EQ(recover(a, made.xml, made.snapshots, vss::kRecoverNoVolumeCheck).result, vss::kAsyncFinished);
    EXPECT_EQ(array.find(kDb)->content, "db 1");
}

TEST_F(CoordinatorTest, Row37AddSnapshotToRecoverySet) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    EXPECT_EQ(recover(a, made.xml, {Guid::from_random(3, 3)}).added, vss::kSnapshotNotInSet);
    EXPECT_EQ(recover(a, made.xml, made.snapshots, 0, "/nowhere").added, vss::kObjectNotFound);
    a.provider.ex = false;
    EXPECT_EQ(recover(a, made.xml, made.snapshots).added, vss::kLegacyProvider);
    a.provider.ex = true;
    a.provider.supports = false;
    EXPECT_EQ(recover(a, made.xml, made.snapshots).added, vss::kObjectNotFound);
    a.provider.supports = true;
    // A destination that the provider does not own.
    array.add_lun(a.fake, 9, "/srv/other", "other");
    array.luns.erase(host::testing::fake_lun(9).key());
    EXPECT_EQ(recover(a, made.xml, made.snapshots, 0, "/srv/other").added, vss::kVolumeNotSupported);
    // A dynamic disk.
    a.fake.find(host::testing::fake_lun(kLog))->volumes[0].second.layered = true;
    EXPECT_EQ(recover(a, made.xml, made.snapshots, 0, "/srv/log").added, vss::kVolumeNotSupported);
    a.registry.list.clear();
    EXPECT_EQ(recover(a, made.xml, made.snapshots).added, vss::kObjectNotFound);
    a.registry.list.push_back(&a.provider);
    a.fake.find(host::testing::fake_lun(kDb))->attached = false;
    EXPECT_EQ(recover(a, made.xml, made.snapshots).added, vss::kObjectNotFound) << "the original is gone";
}

TEST_F(CoordinatorTest, RecoverSetCodesOfResyncLuns) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    array.find(kDb)->content = "db 2";
    for (const auto& [returned, expected] :
         std::vector<std::pair<ComCode, ComCode>>{{vss::kNotImplemented, vss::kNotImplemented},
                                                  {vss::kProviderVeto, vss::kProviderVeto},
                                                  {vss::kInsufficientStorage, vss::kInsufficientStorage}}) {
        SCOPED_TRACE(vss::name(returned));
        a.provider.fail["ResyncLuns"] = returned;
        EXPECT_EQ(recover(a, made.xml, made.snapshots).result, expected);
        a.provider.fail.clear();
        a.provider.resync_result = returned;
        if (vss::failed(returned)) {
            EXPECT_EQ(recover(a, made.xml, made.snapshots).result, expected);
        }
        a.provider.resync_result = vss::kAsyncFinished;
        const auto* disk = a.fake.find(host::testing::fake_lun(kDb));
        EXPECT_EQ(disk->volumes[0].second.mounts, std::vector<std::string>{"/srv/db"}) << "as it was";
        EXPECT_EQ(array.find(kDb)->content, "db 2");
        EXPECT_EQ(a.store.intent_count(), 0u);
    }
}

TEST_F(CoordinatorTest, ABusyDestinationIsAVetoWithAnEvent) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    a.fake.find(host::testing::fake_lun(kDb))->held_open = true;
    EXPECT_EQ(recover(a, made.xml, made.snapshots).result, vss::kProviderVeto);
    EXPECT_TRUE(a.has_event(EventId::kRecoverFailed));
    EXPECT_EQ(a.provider.count("ResyncLuns"), 0u);
    EXPECT_EQ(a.store.intent_count(), 0u);
}

TEST_F(CoordinatorTest, AnySuccessOfTheProvidersAsyncIsTheEnd) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    a.provider.resync_result = vss::kOk;
    EXPECT_EQ(recover(a, made.xml, made.snapshots).result, vss::kAsyncFinished);
}

TEST_F(CoordinatorTest, OnlyCancelStopsAResynchronisation) {
    Created made = create(a, kPersistentTransportable, {"/srv/db"});
    array.find(kDb)->content = "db 2";
    a.provider.polls_until_done = 1000;
    SessionPtr session = a.open();
    ASSERT_TRUE(session->initialize_for_restore(made.xml));
    ASSERT_TRUE(run(executor, session->add_snapshot_to_recovery_set(made.snapshots[0], 0, {})));
    Answer<OperationPtr> operation = run(executor, session->recover_set(0));
    ASSERT_TRUE(operation);
    SessionPtr other = a.open();
    ASSERT_TRUE(other->initialize_for_restore(made.xml));
    EXPECT_EQ(run(executor, other->add_snapshot_to_recovery_set(made.snapshots[0], 0, {})).error().code,
              vss::kResyncInProgress);
    close(a, session);
    a.coordinator->release_operation((*operation)->id);
    EXPECT_TRUE((*operation)->running()) << "the requester's death stops nothing";
    EXPECT_NE(a.coordinator->find_operation((*operation)->id), nullptr);
    EXPECT_EQ(a.coordinator->cancel_operation((*operation)->id), vss::kOk);
    EXPECT_EQ(a.wait(*operation), vss::kAsyncCancelled);
    EXPECT_EQ(array.find(kDb)->content, "db 2");
    EXPECT_EQ(a.fake.find(host::testing::fake_lun(kDb))->volumes[0].second.mounts.size(), 1u);
}

}  // namespace
}  // namespace umbra::coordinator

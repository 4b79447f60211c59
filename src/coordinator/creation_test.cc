// Creations whose volumes move, whose requester lets go, whose provider is gone; and what they leave.
#include "coordinator/testing/fixture.h"

namespace umbra::coordinator {
namespace {

using base::Guid;
using testing::HostFixture;
using testing::run;
using testing::TestHost;

class CreationTest : public HostFixture {
protected:
    host::testing::FakeHost::FakeVolume& volume(uint64_t tag) { return disk(a, tag)->volumes[0].second; }
    /// What is frozen when the providers commit.
    void watch_freeze() {
        a.fake.on_call = [this](const std::string& call) {
            if (call.starts_with("thaw ")) frozen = a.fake.frozen();
        };
    }
    void expect_nothing_left() {
        EXPECT_TRUE(a.fake.frozen().empty());
        EXPECT_EQ(array.shadow_count(), 0u);
        EXPECT_EQ(a.store.set_count(), 0u);
        EXPECT_EQ(a.store.intent_count(), 0u);
    }

    std::vector<std::string> frozen;
};

// --- Volumes that move between AddToSnapshotSet and the freeze -------------------------------------------------------

TEST_F(CreationTest, AVolumeIsFrozenWhereItIsMountedNow) {
    watch_freeze();
    Created made = open_set(a, kPersistent, {"/srv/db"});
    volume(kDb).mounts = {"/srv/elsewhere"};
    do_set(a, &made);
    EXPECT_EQ(made.result, vss::kAsyncFinished);
    EXPECT_EQ(frozen, std::vector<std::string>{"/srv/elsewhere"});
}

TEST_F(CreationTest, ARawVolumeThatIsMountedMeanwhileIsFrozen) {
    watch_freeze();
    volume(kDb).mounts.clear();
    Created made = open_set(a, kPersistent, {disk(a, kDb)->disk.device + "p1"});
    volume(kDb).mounts = {"/srv/db"};
    do_set(a, &made);
    EXPECT_EQ(made.result, vss::kAsyncFinished);
    EXPECT_EQ(frozen, std::vector<std::string>{"/srv/db"});
}

TEST_F(CreationTest, AVolumeThatCanNoLongerBeFrozenFailsTheSet) {
    Created made = open_set(a, kPersistent, {"/srv/db", "/srv/log"});
    volume(kLog).fs_type = "vfat";
    do_set(a, &made);
    EXPECT_EQ(made.result, vss::kVolumeNotSupported);
    expect_nothing_left();
}

TEST_F(CreationTest, AVolumeThatIsGoneFailsTheSet) {
    Created made = open_set(a, kPersistent, {"/srv/db", "/srv/log"});
    disk(a, kLog)->attached = false;
    do_set(a, &made);
    EXPECT_EQ(made.result, vss::kUnexpected);
    EXPECT_EQ(a.provider.count("CommitSnapshots"), 0u);
    expect_nothing_left();
}

TEST_F(CreationTest, AVolumeThatGrewSinceItWasAddedFailsTheSet) {
    Created made = open_set(a, kPersistent, {"/srv/db"});
    disk(a, kDb)->disk.size_bytes *= 2;
    do_set(a, &made);
    EXPECT_EQ(made.result, vss::kUnexpected);
    expect_nothing_left();
}

TEST_F(CreationTest, FlagsGoToTheDiskThatHasTheLunNow) {
    Created made = open_set(a, kPersistent, {"/srv/db"});
    std::swap(disk(a, kDb)->disk.device, disk(a, kLog)->disk.device);
    do_set(a, &made);
    EXPECT_EQ(made.result, vss::kAsyncFinished);
    EXPECT_NE(a.provider.flags_at_commit & host::kFlagShadowCopy, 0u);
    EXPECT_EQ(disk(a, kDb)->flags, 0u);
}

TEST_F(CreationTest, AVolumeThatCarriesTheServiceIsRefusedWhenItIsAdded) {
    volume(kDb).carries_service = true;
    SessionPtr session = backup(a, kPersistent);
    ASSERT_TRUE(run(executor, session->start_snapshot_set({})));
    const Answer<Guid> added = run(executor, session->add_to_snapshot_set("/srv/db", {}));
    ASSERT_FALSE(added);
    EXPECT_EQ(added.error().code, vss::kVolumeNotSupported);
    EXPECT_EQ(a.provider.count("BeginPrepareSnapshot"), 0u);
}

// --- Flags of the source after a restart -----------------------------------------------------------------------------

TEST_F(CreationTest, FlagsAreNeverPutBackOnAnotherLun) {
    constexpr uint64_t kOther = 3;
    constexpr uint32_t kItsFlags = host::kFlagReadOnly | host::kFlagHidden;
    array.add_lun(a.fake, kOther, "", "other", host::TableKind::kGpt);
    disk(a, kOther)->attached = false;
    disk(a, kOther)->flags = kItsFlags;
    a.fake.on_call = [&](const std::string& call) {
        if (call.starts_with("freeze ")) a.kill.dead = true;
    };
    Created made = create(a, kPersistent, {"/srv/db"});
    EXPECT_NE(made.result, vss::kAsyncFinished);
    EXPECT_NE(disk(a, kDb)->flags, 0u);
    a.fake.on_call = nullptr;
    // A reboot: the LUN is not there, and another has its device name.
    disk(a, kDb)->attached = false;
    disk(a, kOther)->disk.device = disk(a, kDb)->disk.device;
    disk(a, kOther)->attached = true;
    a.restart();
    EXPECT_EQ(disk(a, kOther)->flags, kItsFlags) << "flags of another LUN were overwritten";
    EXPECT_EQ(a.store.intent_count(), 1u) << "forgotten, and still on the source";
    EXPECT_TRUE(a.has_event(EventId::kSourceFlagsLeft));
    disk(a, kDb)->disk.device = "/dev/fake77";
    disk(a, kDb)->attached = true;
    advance(std::chrono::minutes(1));
    EXPECT_EQ(disk(a, kDb)->flags, 0u);
    EXPECT_EQ(disk(a, kOther)->flags, kItsFlags);
    EXPECT_EQ(a.store.intent_count(), 0u);
}

TEST_F(CreationTest, FlagsWaitForAHostThatCannotListItsDisks) {
    a.fake.on_call = [&](const std::string& call) {
        if (call.starts_with("freeze ")) a.kill.dead = true;
    };
    (void)create(a, kPersistent, {"/srv/db"});
    a.fake.on_call = nullptr;
    a.fake.fail_next("list_disks", base::Error{base::Code::kIo, "broken"});
    a.restart();
    EXPECT_TRUE(a.has_event(EventId::kSourceFlagsLeft));
    advance(std::chrono::minutes(1));
    EXPECT_EQ(disk(a, kDb)->flags, 0u);
    EXPECT_EQ(a.store.intent_count(), 0u);
}

// --- Aborts ----------------------------------------------------------------------------------------------------------

TEST_F(CreationTest, AbortBackupEndsACreationWhoseHandleWasReleased) {
    Created made = open_set(a, kPersistent, {"/srv/db"});
    a.provider.delay["EndPrepareSnapshots"] = std::chrono::hours(20);
    Answer<OperationPtr> operation = run(executor, made.session->do_snapshot_set());
    ASSERT_TRUE(operation);
    a.coordinator->release_operation((*operation)->id);
    advance(std::chrono::seconds(1));
    const env::Instant before = executor.now();
    EXPECT_TRUE(run(executor, made.session->abort_backup()));
    EXPECT_LT(executor.now() - before, env::Duration(std::chrono::minutes(5)));
    EXPECT_EQ((*operation)->result, vss::kAsyncCancelled);
    EXPECT_EQ(a.provider.count("AbortSnapshots"), 1u);
    advance(std::chrono::minutes(1));
    expect_nothing_left();
}

TEST_F(CreationTest, ADeadRequestersSetIsNotCompleted) {
    Created made = open_set(a, kPersistent, {"/srv/db"});
    a.provider.delay["EndPrepareSnapshots"] = std::chrono::seconds(30);
    Answer<OperationPtr> operation = run(executor, made.session->do_snapshot_set());
    ASSERT_TRUE(operation);
    a.coordinator->release_operation((*operation)->id);
    a.coordinator->abandon_session(made.session->id());
    a.wait(*operation);
    EXPECT_EQ((*operation)->result, vss::kAsyncCancelled);
    EXPECT_EQ(a.provider.count("CommitSnapshots"), 0u);
    advance(std::chrono::minutes(1));
    expect_nothing_left();
}

TEST_F(CreationTest, TheNextSetWaitsUntilAbortSnapshotsHasBeenAnswered) {
    Created made = open_set(a, kPersistent, {"/srv/db"});
    a.provider.delay["EndPrepareSnapshots"] = std::chrono::hours(1);
    a.provider.delay["AbortSnapshots"] = std::chrono::seconds(10);
    Answer<OperationPtr> operation = run(executor, made.session->do_snapshot_set());
    advance(std::chrono::seconds(1));
    const env::Instant before = executor.now();
    EXPECT_TRUE(run(executor, made.session->abort_backup()));
    EXPECT_GE(executor.now() - before, env::Duration(std::chrono::seconds(10)));
    a.provider.delay.clear();
    SessionPtr next = backup(a, kPersistent);
    EXPECT_TRUE(run(executor, next->start_snapshot_set(std::chrono::minutes(2))));
}

// --- What is forgotten, and what is not ------------------------------------------------------------------------------

TEST_F(CreationTest, AVolumeThatItsProviderRefusedLeavesNoRecord) {
    a.provider.fail["BeginPrepareSnapshot"] = vss::kProviderVeto;
    SessionPtr session = backup(a, kPersistent);
    ASSERT_TRUE(run(executor, session->start_snapshot_set({})));
    EXPECT_FALSE(run(executor, session->add_to_snapshot_set("/srv/db", {})));
    EXPECT_TRUE(run(executor, session->abort_backup()));
    EXPECT_EQ(a.store.set_count(), 0u);
    a.restart();
    EXPECT_FALSE(a.has_event(EventId::kSetUndone)) << "nothing was undone";
}

TEST_F(CreationTest, ASetWhoseProviderIsGoneAfterTheCommitIsNotForgotten) {
    a.fake.on_call = [&](const std::string& call) {
        if (call.starts_with("thaw ")) a.kill.dead = true;
    };
    (void)create(a, kPersistent, {"/srv/db"});
    a.fake.on_call = nullptr;
    ASSERT_EQ(array.shadow_count(), 1u);
    a.registry.list.clear();
    a.restart();
    EXPECT_EQ(a.store.set_count(), 1u) << "its LUN is in the array, and nobody knows";
    EXPECT_FALSE(a.has_event(EventId::kSetUndone));
    EXPECT_TRUE(a.has_event(EventId::kCleanupFailed));
    a.registry.list.push_back(&a.provider);
    a.restart();
    EXPECT_TRUE(a.has_event(EventId::kSetUndone));
    expect_nothing_left();
}

TEST_F(CreationTest, AnAbortThatTheArrayRefusedAfterTheCommitIsNotForgotten) {
    a.fake.on_call = [&](const std::string& call) {
        if (call.starts_with("thaw ")) a.kill.dead = true;
    };
    (void)create(a, kPersistent, {"/srv/db"});
    a.fake.on_call = nullptr;
    ASSERT_EQ(array.shadow_count(), 1u);
    a.provider.fail["AbortSnapshots"] = vss::kProviderVeto;
    a.restart();
    EXPECT_EQ(a.store.set_count(), 1u);
    EXPECT_FALSE(a.has_event(EventId::kSetUndone));
    a.provider.fail.clear();
    advance(std::chrono::minutes(20));
    expect_nothing_left();
}

// --- Break -----------------------------------------------------------------------------------------------------------

TEST_F(CreationTest, ABreakWhoseProviderIsGoneStaysToBeFinished) {
    Created made = create(a, kPersistent, {"/srv/db"});
    ASSERT_EQ(made.result, vss::kAsyncFinished);
    a.provider.delay["OnLunStateChange"] = std::chrono::seconds(10);
    Answer<OperationPtr> broken = query(a)->break_snapshot_set_ex(made.set, vss::kBreakMakeReadWrite);
    ASSERT_TRUE(broken);
    advance(std::chrono::seconds(1));
    a.kill.dead = true;
    a.registry.list.clear();
    a.provider.delay.clear();
    a.restart();
    ASSERT_EQ(a.coordinator->sets().size(), 1u) << "forgotten, and a shadow copy in its array for ever";
    EXPECT_EQ(a.coordinator->sets().begin()->second.state, SetState::kBreaking);
    EXPECT_TRUE(a.has_event(EventId::kCleanupFailed));
    a.registry.list.push_back(&a.provider);
    a.restart();
    EXPECT_TRUE(a.coordinator->sets().empty());
    EXPECT_FALSE(array.find(1000)->shadow);
}

TEST_F(CreationTest, ABreakIsCancelledBeforeItBeginsOnly) {
    Created made = create(a, kPersistent, {"/srv/db"});
    Created other = create(a, kPersistent, {"/srv/log"});
    SessionPtr session = query(a);
    a.provider.delay["OnLunStateChange"] = std::chrono::seconds(10);
    Answer<OperationPtr> first = session->break_snapshot_set_ex(made.set, vss::kBreakMakeReadWrite);
    Answer<OperationPtr> waiting = session->break_snapshot_set_ex(other.set, vss::kBreakMakeReadWrite);
    ASSERT_TRUE(first && waiting);
    advance(std::chrono::seconds(1));
    EXPECT_EQ(a.coordinator->cancel_operation((*waiting)->id), vss::kOk);
    EXPECT_EQ(a.wait(*first), vss::kAsyncFinished);
    EXPECT_EQ(a.wait(*waiting), vss::kAsyncCancelled);
    EXPECT_EQ(a.coordinator->sets().size(), 1u);
    EXPECT_TRUE(array.find(1001)->shadow);
}

}  // namespace
}  // namespace umbra::coordinator

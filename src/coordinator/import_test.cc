// Imports: documents that lie, disks that move, two at once, two providers, cancellation, and what is left of them.
#include "coordinator/testing/fixture.h"

namespace umbra::coordinator {
namespace {

using base::Guid;
using testing::FakeProvider;
using testing::HostFixture;
using testing::run;
using testing::TestHost;

const Guid kSecondProviderId = *Guid::parse("7e1f5a52-6f0c-4a40-9d7c-0a4a4f4d5a02");
const Guid kForgedSet = *Guid::parse("ffffffff-ffff-4fff-bfff-ffffffffffff");

class ImportTest : public HostFixture {
protected:
    std::string forge(const std::string& xml, const std::function<void(DocumentSet*)>& change) {
        auto document = parse_document(xml);
        EXPECT_TRUE(document);
        change(&*document->set);
        return write_document(*document);
    }
    const SetRecord* record(TestHost& host, const Guid& set) {
        const auto found = host.coordinator->sets().find(set);
        return found == host.coordinator->sets().end() ? nullptr : &found->second;
    }
    Answer<uint32_t> cleanup(TestHost& host, const Guid& set) {
        return run(executor, host.coordinator->cleanup_set(set));
    }

    TestHost b{executor, array, "host-b"};
};

// --- Device names ----------------------------------------------------------------------------------------------------

TEST_F(ImportTest, ACopyThatGetsAFreshIdentityIsMountedWhereverItIsAttachedThen) {
    array.add_lun(a.fake, 3, "", "another", host::TableKind::kGpt);
    disk(a, 3)->attached = false;
    a.fake.names_are_reused = true;
    int rescans = 0;
    a.fake.on_call = [&](const std::string& call) {
        if (!call.starts_with("rescan") || ++rescans != 3) return;
        // The copy is detached for the last time: another LUN takes the device name that it had.
        const std::string former = disk(a, 1000)->disk.device;
        a.fake.attach(disk(a, 3), false);
        EXPECT_EQ(disk(a, 3)->disk.device, former);
    };
    Created made = create(a, kPersistent, {"/srv/db"});
    ASSERT_EQ(made.result, vss::kAsyncFinished);
    EXPECT_GE(rescans, 3);
    ASSERT_EQ(a.fake.shadows().size(), 1u);
    EXPECT_EQ(disk(a, 1000)->volumes[0].second.mounts.size(), 1u);
    EXPECT_TRUE(disk(a, 3)->volumes[0].second.mounts.empty()) << "another LUN was mounted as the copy";
}

TEST_F(ImportTest, ACopyThatDoesNotComeBackWithItsIdentityIsMissing) {
    int rescans = 0;
    a.fake.on_call = [&](const std::string& call) {
        if (call.starts_with("rescan") && ++rescans == 3) disk(a, 1000)->visible = false;
    };
    Created made = create(a, kPersistent, {"/srv/db"});
    EXPECT_EQ(made.result, vss::kMissingDisk);
    EXPECT_TRUE(a.fake.shadows().empty());
}

// --- Documents that lie ----------------------------------------------------------------------------------------------

TEST_F(ImportTest, ADocumentCannotClaimAShadowCopyOfAnotherSet) {
    Created genuine = create(a, kPersistent, {"/srv/db"});
    Created other = create(a, kTransportable, {"/srv/log"});
    ASSERT_EQ(genuine.result, vss::kAsyncFinished);
    ASSERT_EQ(other.result, vss::kAsyncFinished);
    const std::string xml = forge(other.xml, [&](DocumentSet* set) {
        set->id = kForgedSet;
        set->snapshots[0].id = genuine.snapshots[0];
        set->snapshots[0].targets = {lun_information(host::testing::fake_lun(77))};
    });
    EXPECT_EQ(import(a, xml), vss::kNoSnapshotsImported);
    EXPECT_TRUE(a.has_event(EventId::kBadDocument));
    EXPECT_EQ(record(a, kForgedSet), nullptr);
    // What cleans up after a failed import must not reach the genuine copy.
    EXPECT_EQ(erase_set(a, kForgedSet), vss::kObjectNotFound);
    a.restart();
    EXPECT_EQ(a.fake.shadows().size(), 1u);
    EXPECT_EQ(array.shadow_count(), 2u);
    EXPECT_TRUE(query(a)->get_snapshot_properties(genuine.snapshots[0]));
}

TEST_F(ImportTest, ADocumentCannotClaimTheLunOfAnotherSet) {
    Created genuine = create(a, kPersistent, {"/srv/db"});
    Created other = create(a, kTransportable, {"/srv/log"});
    const std::string xml = forge(other.xml, [&](DocumentSet* set) {
        set->id = kForgedSet;
        set->snapshots[0].id = kForgedSet;
        set->snapshots[0].targets = genuine.session->document().set->snapshots[0].targets;
    });
    a.provider.calls.clear();
    EXPECT_EQ(import(a, xml), vss::kNoSnapshotsImported);
    EXPECT_EQ(a.provider.count("LocateLuns"), 0u);
    EXPECT_EQ(record(a, kForgedSet), nullptr);
    EXPECT_EQ(a.fake.shadows().size(), 1u);
}

TEST_F(ImportTest, ADocumentCannotGiveAKnownSetOtherLuns) {
    Created mine = create(a, kTransportable, {"/srv/db"});
    array.add_lun(a.fake, 50, "", "foreign copy");
    array.find(50)->shadow = true;
    const std::string xml = forge(mine.xml, [&](DocumentSet* set) {
        set->snapshots[0].targets = {lun_information(host::testing::fake_lun(50))};
    });
    EXPECT_EQ(import(a, xml), vss::kNoSnapshotsImported);
    EXPECT_EQ(array.find(50)->importer, "");
    ASSERT_NE(record(a, mine.set), nullptr);
    EXPECT_EQ(record(a, mine.set)->snapshots[0].targets[0].key(), host::testing::fake_lun(1000).key());
    EXPECT_EQ(import(a, mine.xml), vss::kAsyncFinished) << "the true document";
}

// --- Two at once, two providers --------------------------------------------------------------------------------------

TEST_F(ImportTest, ASecondImportOfASetThatIsBeingImportedIsRefused) {
    Created made = create(a, kTransportable, {"/srv/db"});
    b.fake.set_delay("list_volumes", std::chrono::seconds(1));
    Importing first = begin_import(b, made.xml);
    Importing second = begin_import(b, made.xml);
    EXPECT_EQ(second.refused, vss::kBadState);
    ASSERT_TRUE(first.operation);
    EXPECT_EQ(b.wait(first.operation), vss::kAsyncFinished);
    ASSERT_NE(record(b, made.set), nullptr);
    EXPECT_EQ(record(b, made.set)->state, SetState::kImported);
    EXPECT_EQ(b.fake.shadows().size(), 1u);
}

class TwoProvidersTest : public ImportTest {
protected:
    TwoProvidersTest() {
        for (TestHost* host : {&a, &b}) {
            host->provider.supports_lun = [](const LunInformation& lun) {
                return lun.key() == host::testing::fake_lun(kDb).key();
            };
        }
        a.registry.list.push_back(&a2);
        b.registry.list.push_back(&b2);
    }
    ~TwoProvidersTest() override {
        a.restart();  // nothing of it may use the second provider any more
        b.restart();
        a.registry.list.pop_back();
        b.registry.list.pop_back();
    }
    FakeProvider a2{array, a.fake, executor, "host-a", &a.kill, kSecondProviderId, "second"};
    FakeProvider b2{array, b.fake, executor, "host-b", &b.kill, kSecondProviderId, "second"};
};

TEST_F(TwoProvidersTest, WhatTheFirstPresentedStaysOnRecordWhenTheSecondRefuses) {
    Created made = create(a, kTransportable, {"/srv/db", "/srv/log"});
    ASSERT_EQ(made.result, vss::kAsyncFinished);
    b2.fail["LocateLuns"] = vss::kBadState;
    EXPECT_EQ(import(b, made.xml), vss::kBadState);
    EXPECT_EQ(array.find(1000)->importer, "host-b");
    ASSERT_NE(record(b, made.set), nullptr) << "LUNs are presented to this host, and nobody knows";
    EXPECT_EQ(record(b, made.set)->state, SetState::kImportFailed);
    EXPECT_TRUE(b.has_event(EventId::kImportFailed));
    b2.fail.clear();
    EXPECT_TRUE(cleanup(b, made.set));
    EXPECT_EQ(array.find(1000)->importer, "");
    EXPECT_EQ(record(b, made.set), nullptr);
}

TEST_F(TwoProvidersTest, NothingIsRecordedWhenTheFirstRefuses) {
    Created made = create(a, kTransportable, {"/srv/db", "/srv/log"});
    b.provider.fail["LocateLuns"] = vss::kBadState;
    b2.fail["LocateLuns"] = vss::kBadState;
    EXPECT_EQ(import(b, made.xml), vss::kBadState);
    EXPECT_EQ(record(b, made.set), nullptr);
    EXPECT_EQ(b.store.set_count(), 0u);
}

// --- Cleanup ---------------------------------------------------------------------------------------------------------

TEST_F(ImportTest, CleanupKeepsTheSetUntilItsLunsAreMasked) {
    Created made = create(a, kTransportable, {"/srv/db"});
    b.provider.arrive = false;
    EXPECT_EQ(import(b, made.xml), vss::kNoSnapshotsImported);
    EXPECT_EQ(array.find(1000)->importer, "host-b");
    b.provider.fail["OnLunStateChange"] = vss::kProviderVeto;
    Answer<uint32_t> cleaned = cleanup(b, made.set);
    ASSERT_FALSE(cleaned);
    EXPECT_EQ(cleaned.error().code, vss::kProviderVeto);
    EXPECT_NE(record(b, made.set), nullptr);
    b.provider.fail.clear();
    EXPECT_TRUE(cleanup(b, made.set));
    EXPECT_EQ(array.find(1000)->importer, "");
    EXPECT_EQ(b.store.set_count(), 0u);
}

TEST_F(ImportTest, CleanupOfLunsThatAreGoneFromTheirArray) {
    Created made = create(a, kTransportable, {"/srv/db"});
    b.provider.arrive = false;
    EXPECT_EQ(import(b, made.xml), vss::kNoSnapshotsImported);
    array.luns.erase(host::testing::fake_lun(1000).key());
    EXPECT_TRUE(cleanup(b, made.set));
    EXPECT_EQ(b.store.set_count(), 0u);
}

TEST_F(ImportTest, AnImportDoesNotBeginDuringACleanup) {
    Created made = create(a, kTransportable, {"/srv/db"});
    b.provider.arrive = false;
    EXPECT_EQ(import(b, made.xml), vss::kNoSnapshotsImported);
    b.provider.arrive = true;
    b.provider.delay["OnLunStateChange"] = std::chrono::seconds(2);
    std::optional<Answer<uint32_t>> cleaned;
    env::TaskGroup group(executor);
    struct Into {
        static env::Task<void> go(env::Task<Answer<uint32_t>> task, std::optional<Answer<uint32_t>>* out) {
            out->emplace(co_await std::move(task));
        }
    };
    group.spawn(Into::go(b.coordinator->cleanup_set(made.set), &cleaned));
    advance(std::chrono::seconds(1));
    EXPECT_EQ(import(b, made.xml), vss::kBadState);
    executor.run(group.join());
    ASSERT_TRUE(cleaned);
    EXPECT_TRUE(*cleaned);
    EXPECT_EQ(b.store.set_count(), 0u);
    EXPECT_EQ(import(b, made.xml), vss::kAsyncFinished);
}

// --- Cancellation ----------------------------------------------------------------------------------------------------

TEST_F(ImportTest, CancelBeforeAnythingIsPresentedLeavesNothing) {
    Created made = create(a, kTransportable, {"/srv/db"});
    b.fake.set_delay("list_volumes", std::chrono::seconds(1));
    Importing begun = begin_import(b, made.xml);
    ASSERT_TRUE(begun.operation);
    EXPECT_EQ(b.coordinator->cancel_operation(begun.operation->id), vss::kOk);
    EXPECT_EQ(b.wait(begun.operation), vss::kAsyncCancelled);
    EXPECT_EQ(b.provider.count("LocateLuns"), 0u);
    EXPECT_EQ(b.store.set_count(), 0u);
    EXPECT_EQ(record(b, made.set), nullptr);
}

TEST_F(ImportTest, CancelOfAnImportMountsNothingAndCanBeRepeated) {
    Created made = create(a, kTransportable, {"/srv/db", "/srv/log"});
    for (const char* step : {"rescan", "mount_shadow"}) {
        SCOPED_TRACE(step);
        b.fake.set_delay(step, std::chrono::seconds(5));
        Importing begun = begin_import(b, made.xml);
        ASSERT_TRUE(begun.operation);
        advance(std::chrono::seconds(1));
        EXPECT_EQ(b.coordinator->cancel_operation(begun.operation->id), vss::kOk);
        EXPECT_EQ(b.wait(begun.operation), vss::kAsyncCancelled);
        EXPECT_TRUE(b.fake.shadows().empty());
        ASSERT_NE(record(b, made.set), nullptr);
        EXPECT_EQ(record(b, made.set)->state, SetState::kImportFailed);
        b.fake.set_delay(step, {});
    }
    EXPECT_EQ(import(b, made.xml), vss::kAsyncFinished);
    EXPECT_EQ(b.fake.shadows().size(), 2u);
}

// --- What a failed import shows --------------------------------------------------------------------------------------

TEST_F(ImportTest, ACopyThatWasNotImportedHasNoProperties) {
    Created made = create(a, kTransportable, {"/srv/db", "/srv/log"});
    b.provider.arrive = false;
    EXPECT_EQ(import(b, made.xml), vss::kNoSnapshotsImported);
    EXPECT_EQ(query(b)->get_snapshot_properties(made.snapshots[0]).error().code, vss::kObjectNotFound);
    // One of two arrives.
    b.provider.arrive = true;
    b.fake.on_call = [&](const std::string& call) {
        if (call.starts_with("rescan")) disk(b, 1001)->visible = false;
    };
    EXPECT_EQ(import(b, made.xml), vss::kSomeSnapshotsNotImported);
    EXPECT_TRUE(query(b)->get_snapshot_properties(made.snapshots[0]));
    EXPECT_EQ(query(b)->get_snapshot_properties(made.snapshots[1]).error().code, vss::kObjectNotFound);
}

// --- After a reboot --------------------------------------------------------------------------------------------------

TEST_F(ImportTest, ACopyThatCannotBeSurfacedAgainIsShownWithoutAPath) {
    Created made = create(a, kPersistent, {"/srv/db"});
    ASSERT_EQ(made.result, vss::kAsyncFinished);
    run(executor, a.fake.unmount_shadow(made.snapshots[0]));
    for (const char* step : {"list_volumes", "mount_shadow"}) {
        SCOPED_TRACE(step);
        const size_t events = a.event_count(EventId::kImportFailed);
        a.fake.fail_next(step, base::Error{base::Code::kIo, "broken"});
        a.restart();
        EXPECT_GT(a.event_count(EventId::kImportFailed), events);
        const Answer<SnapshotRecord> properties = query(a)->get_snapshot_properties(made.snapshots[0]);
        ASSERT_TRUE(properties);
        EXPECT_EQ(properties->device_object, "");
    }
    a.restart();
    const Answer<SnapshotRecord> properties = query(a)->get_snapshot_properties(made.snapshots[0]);
    ASSERT_TRUE(properties);
    EXPECT_EQ(properties->device_object, a.fake.shadow_path(made.snapshots[0])) << "the record kept it";
}

// --- Expose ----------------------------------------------------------------------------------------------------------

TEST_F(ImportTest, OfTwoWhoExposeOneCopyAtOnceOneSucceedsAndNothingIsLeft) {
    Created made = create(a, kPersistent, {"/srv/db"});
    a.fake.set_delay("expose", std::chrono::seconds(1));
    using Exposed = std::optional<Answer<std::string>>;
    struct Into {
        static env::Task<void> go(env::Task<Answer<std::string>> task, Exposed* out) {
            out->emplace(co_await std::move(task));
        }
    };
    Exposed first;
    Exposed second;
    SessionPtr one = query(a);
    SessionPtr two = query(a);
    env::TaskGroup group(executor);
    group.spawn(
        Into::go(one->expose_snapshot(made.snapshots[0], std::nullopt, vss::kAttrExposedLocally, "/mnt/one"), &first));
    group.spawn(
        Into::go(two->expose_snapshot(made.snapshots[0], std::nullopt, vss::kAttrExposedLocally, "/mnt/two"), &second));
    executor.run(group.join());
    ASSERT_TRUE(first && second);
    ASSERT_TRUE(*first);
    ASSERT_FALSE(*second);
    EXPECT_EQ(second->error().code, vss::kObjectAlreadyExists);
    EXPECT_EQ(a.fake.exposed().size(), 1u);
    a.fake.set_delay("expose", {});
    EXPECT_EQ(erase_set(a, made.set), vss::kOk);
    EXPECT_TRUE(a.fake.exposed().empty());
}

}  // namespace
}  // namespace umbra::coordinator

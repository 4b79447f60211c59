#include "provider/vds_objects.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "provider/fake_array.h"
#include "provider/lun_information.h"
#include "provider/text.h"

namespace umbra::provider {
namespace {

using base::Code;

class Sink final : public com::RefCounted<IVdsAdviseSink> {
public:
    HRESULT STDMETHODCALLTYPE OnNotify(LONG lNumberOfNotifications, VDS_NOTIFICATION* pNotificationArray) override {
        batches.emplace_back(pNotificationArray, pNotificationArray + lNumberOfNotifications);
        return S_OK;
    }
    std::vector<std::vector<VDS_NOTIFICATION>> batches;
};

class VdsTest : public testing::Test {
protected:
    void SetUp() override {
        array = std::make_shared<FakeArray>("a1");
        array->add_lun("db", "parity");
        array->add_lun("logs", "mirror");
        array->add_lun("scratch", "simple");
        array->add_lun("db@before", "parity").kind = LunKind::kSnapshot;
        degrade("db");
        sink = com::make<Sink>();
        provider = com::make<VdsProvider>(std::vector<std::shared_ptr<ArrayClient>>{array},
                                          [this](const ProviderEvent& event) { events.push_back(event); });
    }
    void TearDown() override { provider->OnUnload(TRUE); }
    void degrade(const std::string& name) { record(name).health = "failed-redundancy"; }
    void load() { ASSERT_EQ(provider->OnLoad(nullptr, sink.get()), S_OK); }

    template <class T>
    std::vector<com::Ptr<T>> all(IEnumVdsObject* list) {
        auto owned = com::Ptr<IEnumVdsObject>::adopt(list);
        std::vector<com::Ptr<T>> out;
        com::Ptr<IUnknown> object;
        ULONG fetched = 0;
        while (owned->Next(1, object.put(), &fetched) == S_OK) {
            auto typed = object.as<T>();
            EXPECT_TRUE(typed);
            out.push_back(std::move(typed));
        }
        return out;
    }
    com::Ptr<IVdsSubSystem> subsystem() {
        IEnumVdsObject* list = nullptr;
        EXPECT_EQ(provider->QuerySubSystems(&list), S_OK);
        auto found = all<IVdsSubSystem>(list);
        EXPECT_EQ(found.size(), 1u);
        return found.empty() ? nullptr : found[0];
    }
    static std::string name_of(IVdsLun& lun) {
        VDS_LUN_PROP properties{};
        EXPECT_EQ(lun.GetProperties(&properties), S_OK);
        auto name = com::to_utf8(properties.pwszFriendlyName ? properties.pwszFriendlyName : L"");
        free_properties(properties);
        return *name;
    }
    static void free_properties(VDS_LUN_PROP& properties) {
        CoTaskMemFree(properties.pwszFriendlyName);
        CoTaskMemFree(properties.pwszIdentification);
        CoTaskMemFree(properties.pwszUnmaskingList);
    }
    com::Ptr<IVdsLun> lun(const std::string& name) {
        IEnumVdsObject* list = nullptr;
        EXPECT_EQ(subsystem()->QueryLuns(&list), S_OK);
        for (auto& candidate : all<IVdsLun>(list)) {
            if (name_of(*candidate) == name) return candidate;
        }
        ADD_FAILURE() << "no LUN " << name;
        return nullptr;
    }
    LunRecord& record(const std::string& name) { return array->luns.at(array->find(name)->naa); }
    HRESULT recover(const std::string& name) {
        async.reset();
        return lun(name)->Recover(async.put());
    }
    std::pair<HRESULT, ULONG> status() {
        HRESULT hr = E_UNEXPECTED;
        ULONG percent = 777;
        EXPECT_EQ(async->QueryStatus(&hr, &percent), S_OK);
        return {hr, percent};
    }
    std::pair<HRESULT, VDS_ASYNC_OUTPUT> wait() {
        HRESULT hr = E_UNEXPECTED;
        VDS_ASYNC_OUTPUT output{};
        EXPECT_EQ(async->Wait(&hr, &output), S_OK);
        return {hr, output};
    }

    std::vector<ProviderEvent> events;
    std::shared_ptr<FakeArray> array;
    com::Ptr<Sink> sink;
    com::Ptr<VdsProvider> provider;
    com::Ptr<IVdsAsync> async;
};

// --- Provider and cache --------------------------------------------------------------------------------------------

TEST_F(VdsTest, NothingIsAnsweredBeforeOnLoad) {
    com::Ptr<IEnumVdsObject> list;
    com::Ptr<IUnknown> object;
    VDS_PROVIDER_PROP properties{};
    EXPECT_EQ(provider->QuerySubSystems(list.put()), VDS_E_INITIALIZE_NOT_CALLED);
    EXPECT_EQ(provider->Reenumerate(), VDS_E_INITIALIZE_NOT_CALLED);
    EXPECT_EQ(provider->Refresh(), VDS_E_INITIALIZE_NOT_CALLED);
    EXPECT_EQ(provider->GetProperties(&properties), VDS_E_INITIALIZE_NOT_CALLED);
    EXPECT_EQ(provider->GetObject(kVdsProviderId, VDS_OT_PROVIDER, object.put()), VDS_E_INITIALIZE_NOT_CALLED);
    load();
    EXPECT_EQ(provider->OnLoad(nullptr, nullptr), VDS_E_INITIALIZED_FAILED);
    EXPECT_EQ(provider->OnUnload(FALSE), S_OK);
    EXPECT_FALSE(array->watched());
    EXPECT_EQ(provider->QuerySubSystems(list.put()), VDS_E_INITIALIZE_NOT_CALLED);
}

TEST_F(VdsTest, ProviderSaysWhatItIs) {
    load();
    VDS_PROVIDER_PROP properties{};
    ASSERT_EQ(provider->GetProperties(&properties), S_OK);
    EXPECT_TRUE(properties.id == kVdsProviderId);
    EXPECT_EQ(properties.type, VDS_PT_HARDWARE);
    EXPECT_STREQ(properties.pwszName, L"Umbra array provider");
    CoTaskMemFree(properties.pwszName);
    CoTaskMemFree(properties.pwszVersion);
    VDS_HWPROVIDER_TYPE type{};
    EXPECT_EQ(provider->GetProviderType(&type), S_OK);
    EXPECT_EQ(type, VDS_HWT_ISCSI);
    EXPECT_EQ(provider->GetProperties(nullptr), E_INVALIDARG);
    EXPECT_EQ(provider->QuerySubSystems(nullptr), E_INVALIDARG);
}

TEST_F(VdsTest, SubsystemShowsTheArraysLunsAndDrives) {
    load();
    VDS_SUB_SYSTEM_PROP properties{};
    auto sub = subsystem();
    ASSERT_EQ(sub->GetProperties(&properties), S_OK);
    EXPECT_EQ(properties.status, VDS_SSS_ONLINE);
    EXPECT_EQ(properties.health, VDS_H_HEALTHY);
    EXPECT_NE(properties.ulFlags & VDS_SF_LUN_MASKING_CAPABLE, 0u);
    EXPECT_EQ(properties.ulFlags & VDS_SF_LUN_PLEXING_CAPABLE, 0u);
    CoTaskMemFree(properties.pwszFriendlyName);
    CoTaskMemFree(properties.pwszIdentification);
    IEnumVdsObject* list = nullptr;
    ASSERT_EQ(sub->QueryLuns(&list), S_OK);
    EXPECT_EQ(all<IVdsLun>(list).size(), 3u);  // snapshots inside the array are no LUNs
    ASSERT_EQ(sub->QueryDrives(&list), S_OK);
    EXPECT_EQ(all<IVdsDrive>(list).size(), 4u);
    ASSERT_EQ(sub->QueryControllers(&list), S_OK);
    EXPECT_EQ(all<IUnknown>(list).size(), 0u);
    com::Ptr<IVdsDrive> drive;
    EXPECT_EQ(sub->GetDrive(0, 2, drive.put()), S_OK);
    EXPECT_EQ(sub->GetDrive(0, 9, drive.put()), VDS_E_OBJECT_NOT_FOUND);
    EXPECT_EQ(sub->GetDrive(1, 0, drive.put()), VDS_E_OBJECT_NOT_FOUND);
    EXPECT_EQ(sub->SetStatus(VDS_SSS_UNKNOWN), E_INVALIDARG);
    EXPECT_EQ(sub->SetStatus(VDS_SSS_OFFLINE), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(sub->ReplaceDrive(GUID_NULL, GUID_NULL), VDS_E_NOT_SUPPORTED);
    GUID somebody = kVdsProviderId;
    EXPECT_EQ(sub->SetControllerStatus(&somebody, 1, nullptr, 0), E_INVALIDARG);
    EXPECT_EQ(sub->SetControllerStatus(nullptr, 0, nullptr, 0), S_OK);
    com::Ptr<IVdsProvider> back;
    EXPECT_EQ(sub->GetProvider(back.put()), S_OK);
    EXPECT_TRUE(back.as<IVdsHwProvider>());
    array->record.drives_online = 3;
    array->emit("drive.failed");
    ASSERT_EQ(sub->GetProperties(&properties), S_OK);
    EXPECT_EQ(properties.status, VDS_SSS_PARTIALLY_MANAGED);
    EXPECT_EQ(properties.health, VDS_H_DEGRADED);
    CoTaskMemFree(properties.pwszFriendlyName);
    CoTaskMemFree(properties.pwszIdentification);
}

TEST_F(VdsTest, DrivesReportTheirState) {
    load();
    auto drive = [&](SHORT slot) {
        com::Ptr<IVdsDrive> found;
        EXPECT_EQ(subsystem()->GetDrive(0, slot, found.put()), S_OK);
        VDS_DRIVE_PROP properties{};
        EXPECT_EQ(found->GetProperties(&properties), S_OK);
        CoTaskMemFree(properties.pwszFriendlyName);
        CoTaskMemFree(properties.pwszIdentification);
        return properties;
    };
    EXPECT_EQ(drive(0).status, VDS_DRS_ONLINE);
    EXPECT_EQ(drive(0).ulFlags, static_cast<ULONG>(VDS_DRF_ASSIGNED));
    EXPECT_EQ(drive(3).ulFlags, static_cast<ULONG>(VDS_DRF_UNASSIGNED));
    array->drive_list[1].state = "failed";
    array->drive_list[2].state = "missing";
    array->emit("drive.failed");
    EXPECT_EQ(drive(1).status, VDS_DRS_FAILED);
    EXPECT_EQ(drive(1).health, VDS_H_FAILED);
    EXPECT_EQ(drive(2).status, VDS_DRS_REMOVED);
    com::Ptr<IVdsDrive> one;
    ASSERT_EQ(subsystem()->GetDrive(0, 0, one.put()), S_OK);
    EXPECT_EQ(one->SetStatus(VDS_DRS_UNKNOWN), E_INVALIDARG);
    EXPECT_EQ(one->SetStatus(VDS_DRS_OFFLINE), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(one->SetFlags(VDS_DRF_ASSIGNED), E_INVALIDARG);  // not a caller's to set
    EXPECT_EQ(one->SetFlags(VDS_DRF_HOTSPARE), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(one->ClearFlags(VDS_DRF_HOTSPARE), VDS_E_NOT_SUPPORTED);
    VDS_DRIVE_EXTENT* extents = nullptr;
    LONG count = 7;
    EXPECT_EQ(one->QueryExtents(&extents, &count), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(count, 0);
    array->drive_list.erase(array->drive_list.begin());
    array->emit("drive.gone");
    VDS_DRIVE_PROP properties{};
    EXPECT_EQ(one->GetProperties(&properties), VDS_E_OBJECT_DELETED);
}

TEST_F(VdsTest, EventsKeepTheViewCurrentAndAreToldInOneBatch) {
    load();
    auto db = lun("db");
    record("db").health = "failed-redundancy";
    ++record("db").generation;
    array->drive_list[0].state = "failed";
    array->emit("drive.failed");
    ASSERT_EQ(sink->batches.size(), 1u);
    ASSERT_EQ(sink->batches[0].size(), 2u);
    EXPECT_EQ(sink->batches[0][0].objectType, VDS_NTT_LUN);
    EXPECT_EQ(sink->batches[0][0].Lun.ulEvent, static_cast<ULONG>(VDS_NF_LUN_MODIFY));
    EXPECT_EQ(sink->batches[0][1].objectType, VDS_NTT_DRIVE);
    EXPECT_EQ(sink->batches[0][1].Drive.ulEvent, static_cast<ULONG>(VDS_NF_DRIVE_MODIFY));
    VDS_LUN_PROP properties{};
    ASSERT_EQ(db->GetProperties(&properties), S_OK);
    EXPECT_EQ(properties.health, VDS_H_FAILED_REDUNDANCY);
    EXPECT_EQ(properties.status, VDS_LS_ONLINE);
    free_properties(properties);
    array->add_lun("new", "simple");
    array->luns.erase(array->find("logs")->naa);
    array->emit("lun.created");
    ASSERT_EQ(sink->batches.size(), 2u);
    EXPECT_EQ(sink->batches[1].size(), 2u);
    EXPECT_TRUE(lun("new"));
    array->emit("nothing.changed");
    EXPECT_EQ(sink->batches.size(), 2u);
}

/// What must happen before anything is answered again.
void expect_broken_until_restored(VdsProvider& provider, IVdsLun& lun, IVdsSubSystem& sub, IVdsDrive& drive) {
    com::Ptr<IVdsAsync> async;
    com::Ptr<IEnumVdsObject> list;
    VDS_LUN_PROP properties{};
    VDS_DRIVE_PROP drive_properties{};
    VDS_SUB_SYSTEM_PROP sub_properties{};
    VDS_LUN_INFORMATION information{};
    EXPECT_EQ(lun.GetProperties(&properties), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(lun.Recover(async.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(lun.GetIdentificationData(&information), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(lun.QueryPlexes(list.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(lun.Delete(), VDS_E_PROVIDER_CACHE_CORRUPT);
    wchar_t nobody[] = L"";
    EXPECT_EQ(lun.SetMask(nobody), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(lun.Extend(4096, nullptr, 0, async.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(lun.Shrink(4096, async.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(sub.GetProperties(&sub_properties), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(sub.QueryLuns(list.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(sub.QueryDrives(list.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(sub.Reenumerate(), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(drive.GetProperties(&drive_properties), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(provider.QuerySubSystems(list.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    // Refresh alone is not enough, and Reenumerate alone neither.
    EXPECT_EQ(provider.Refresh(), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(provider.Reenumerate(), S_OK);
    EXPECT_EQ(lun.Recover(async.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(provider.Refresh(), S_OK);
    EXPECT_EQ(lun.Recover(async.put()), S_OK);
}

TEST_F(VdsTest, RecoverCacheCorruptWhenTheStreamBreaks) {
    load();
    auto db = lun("db");
    auto sub = subsystem();
    com::Ptr<IVdsDrive> drive;
    ASSERT_EQ(sub->GetDrive(0, 0, drive.put()), S_OK);
    array->break_stream();
    ASSERT_EQ(events.size(), 1u);
    EXPECT_EQ(events[0].id, EventId::kCacheBroken);
    expect_broken_until_restored(*provider, *db, *sub, *drive);
    EXPECT_TRUE(array->watched());
}

TEST_F(VdsTest, RecoverCacheCorruptWhenEventsContradict) {
    array->last_event = 41;
    load();
    auto db = lun("db");
    auto sub = subsystem();
    com::Ptr<IVdsDrive> drive;
    ASSERT_EQ(sub->GetDrive(0, 0, drive.put()), S_OK);
    array->emit("a");  // 42
    EXPECT_EQ(name_of(*db), "db");
    array->emit_numbered(42);
    expect_broken_until_restored(*provider, *db, *sub, *drive);
}

TEST_F(VdsTest, RecoverCacheCorruptWhenALunGoesBackInTime) {
    load();
    record("db").generation = 9;
    array->emit("a");
    auto db = lun("db");
    record("db").generation = 3;
    array->emit("b");
    com::Ptr<IVdsAsync> none;
    EXPECT_EQ(db->Recover(none.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
}

TEST_F(VdsTest, RecoverCacheCorruptWhenTheArrayDoesNotAnswer) {
    load();
    auto db = lun("db");
    auto sub = subsystem();
    com::Ptr<IVdsDrive> drive;
    ASSERT_EQ(sub->GetDrive(0, 0, drive.put()), S_OK);
    array->faults["recover"] = {Code::kUnavailable};
    com::Ptr<IVdsAsync> none;
    EXPECT_EQ(db->Recover(none.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_FALSE(none);
    array->faults.clear();
    expect_broken_until_restored(*provider, *db, *sub, *drive);
}

TEST_F(VdsTest, AnArrayThatStaysAwayIsNotRestored) {
    load();
    auto db = lun("db");
    array->break_stream();
    array->faults["status"] = {Code::kUnavailable};
    EXPECT_EQ(provider->Reenumerate(), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(provider->Refresh(), VDS_E_PROVIDER_CACHE_CORRUPT);
    array->faults.clear();
    EXPECT_EQ(provider->Reenumerate(), S_OK);
    array->faults["drives"] = {Code::kUnavailable};
    EXPECT_EQ(provider->Refresh(), VDS_E_PROVIDER_CACHE_CORRUPT);
    array->faults.clear();
    EXPECT_EQ(provider->Refresh(), VDS_E_PROVIDER_CACHE_CORRUPT);  // from the beginning, please
    EXPECT_EQ(provider->Reenumerate(), S_OK);
    EXPECT_EQ(provider->Refresh(), S_OK);
    EXPECT_EQ(name_of(*db), "db");
}

TEST_F(VdsTest, AnotherArrayAtTheSameAddressIsNotTheSame) {
    load();
    auto db = lun("db");
    array->record.id = "99999999-0000-4000-8000-000000000009";
    array->break_stream();
    EXPECT_EQ(provider->Reenumerate(), VDS_E_PROVIDER_CACHE_CORRUPT);
}

TEST_F(VdsTest, AnArrayThatIsDownAtLoadIsFoundLater) {
    array->faults["status"] = {Code::kUnavailable};
    load();
    IEnumVdsObject* list = nullptr;
    ASSERT_EQ(provider->QuerySubSystems(&list), S_OK);
    EXPECT_EQ(all<IVdsSubSystem>(list).size(), 0u);
    EXPECT_EQ(provider->Refresh(), S_OK);
    array->faults.clear();
    EXPECT_EQ(provider->Reenumerate(), S_OK);
    EXPECT_TRUE(lun("db"));
}

TEST_F(VdsTest, RefreshDiscoversNoDriveAndReenumerateDoes) {
    load();
    auto sub = subsystem();
    DriveRecord extra = array->drive_list[0];
    extra.id = "77777777-0000-4000-8000-000000000007";
    extra.index = 4;
    array->drive_list.push_back(extra);
    com::Ptr<IVdsDrive> drive;
    EXPECT_EQ(provider->Refresh(), S_OK);
    EXPECT_EQ(sub->GetDrive(0, 4, drive.put()), VDS_E_OBJECT_NOT_FOUND);
    VDS_LUN_PROP before{}, after{};
    auto db = lun("db");
    ASSERT_EQ(db->GetProperties(&before), S_OK);
    EXPECT_EQ(sub->Reenumerate(), S_OK);
    EXPECT_EQ(sub->GetDrive(0, 4, drive.put()), S_OK);
    ASSERT_EQ(db->GetProperties(&after), S_OK);
    EXPECT_TRUE(before.id == after.id);
    ASSERT_EQ(sink->batches.size(), 1u);
    EXPECT_EQ(sink->batches[0][0].Drive.ulEvent, static_cast<ULONG>(VDS_NF_DRIVE_ARRIVE));
    free_properties(before);
    free_properties(after);
}

TEST_F(VdsTest, ObjectsAreFoundByIdAndType) {
    load();
    auto find = [&](const std::string& id, VDS_OBJECT_TYPE type) {
        com::Ptr<IUnknown> object;
        HRESULT hr = provider->GetObject(parse_com_guid(id), type, object.put());
        EXPECT_EQ(SUCCEEDED(hr), static_cast<bool>(object));
        return hr;
    };
    EXPECT_EQ(find(array->record.id, VDS_OT_SUB_SYSTEM), S_OK);
    EXPECT_EQ(find(record("db").id, VDS_OT_LUN), S_OK);
    EXPECT_EQ(find(array->drive_list[1].id, VDS_OT_DRIVE), S_OK);
    EXPECT_EQ(find(record("logs").plexes[1].id, VDS_OT_LUN_PLEX), S_OK);
    EXPECT_EQ(find(record("db").id, VDS_OT_DRIVE), VDS_E_OBJECT_NOT_FOUND);
    EXPECT_EQ(find(record("db@before").id, VDS_OT_LUN), VDS_E_OBJECT_NOT_FOUND);
    EXPECT_EQ(find(record("db").id, VDS_OT_VOLUME), VDS_E_OBJECT_NOT_FOUND);
}

// --- Recover -------------------------------------------------------------------------------------------------------

TEST_F(VdsTest, RecoverRunsInTheArrayWithProgress) {
    load();
    array->next_task.state = "running";
    array->next_task.percent = 30;
    ASSERT_EQ(recover("db"), S_OK);
    EXPECT_THAT(array->calls, testing::ElementsAre("recover db"));
    EXPECT_EQ(status(), std::make_pair(VDS_E_OPERATION_PENDING, ULONG{30}));
    array->tasks.begin()->second.percent = 100;
    EXPECT_EQ(status(), std::make_pair(VDS_E_OPERATION_PENDING, ULONG{99}));
    auto [hr, output] = wait();
    EXPECT_EQ(hr, S_OK);
    EXPECT_EQ(output.type, VDS_ASYNCOUT_RECOVERLUN);
    EXPECT_EQ(output.cl.pLunUnk, nullptr);
    EXPECT_EQ(status(), std::make_pair(S_OK, ULONG{100}));
    EXPECT_EQ(async->Cancel(), VDS_E_CANCEL_TOO_LATE);
    HRESULT* null = nullptr;
    ULONG percent = 0;
    EXPECT_EQ(async->QueryStatus(null, &percent), E_INVALIDARG);
    EXPECT_EQ(async->Wait(null, &output), E_INVALIDARG);
}

TEST_F(VdsTest, RecoverOfAHealthyLunIsFinishedAtOnce) {
    load();
    ASSERT_EQ(recover("logs"), S_OK);
    EXPECT_EQ(status(), std::make_pair(S_OK, ULONG{100}));
    auto [hr, output] = wait();
    EXPECT_EQ(hr, S_OK);
    EXPECT_EQ(output.type, VDS_ASYNCOUT_RECOVERLUN);
    EXPECT_THAT(array->calls, testing::IsEmpty());
    degrade("logs");  // no event has told of it
    ASSERT_EQ(recover("logs"), S_OK);
    EXPECT_THAT(array->calls, testing::ElementsAre("recover logs"));
}

TEST_F(VdsTest, RecoverInvalidOperationWithoutFaultTolerance) {
    load();
    EXPECT_EQ(recover("scratch"), VDS_E_INVALID_OPERATION);
    EXPECT_FALSE(async);
    EXPECT_THAT(array->calls, testing::IsEmpty());
    array->faults["recover"] = {Code::kInvalidArgument};  // the array knows better than the type's name
    EXPECT_EQ(recover("db"), VDS_E_INVALID_OPERATION);
    EXPECT_EQ(lun("db")->Recover(nullptr), E_INVALIDARG);
}

TEST_F(VdsTest, RecoverObjectDeleted) {
    load();
    auto db = lun("db");
    auto logs = lun("logs");
    array->luns.erase(array->find("db")->naa);
    com::Ptr<IVdsAsync> none;
    EXPECT_EQ(db->Recover(none.put()), VDS_E_OBJECT_DELETED);  // the array says so before any event does
    EXPECT_EQ(db->Recover(none.put()), VDS_E_OBJECT_DELETED);
    VDS_LUN_PROP properties{};
    EXPECT_EQ(db->GetProperties(&properties), VDS_E_OBJECT_DELETED);
    EXPECT_EQ(name_of(*logs), "logs");
}

TEST_F(VdsTest, RecoverObjectStatusFailed) {
    load();
    auto db = lun("db");
    array->faults["recover"] = {Code::kDeviceFailed};
    com::Ptr<IVdsAsync> none;
    EXPECT_EQ(db->Recover(none.put()), VDS_E_OBJECT_STATUS_FAILED);
    array->faults.clear();
    record("db").health = "failed";
    record("scratch").health = "failed";
    array->emit("lun.failed");
    EXPECT_EQ(db->Recover(none.put()), VDS_E_OBJECT_STATUS_FAILED);
    EXPECT_EQ(lun("scratch")->Recover(none.put()), VDS_E_OBJECT_STATUS_FAILED);
    EXPECT_THAT(array->calls, testing::IsEmpty());
    // A failed LUN still shows its properties, and no other face.
    VDS_LUN_PROP properties{};
    ASSERT_EQ(db->GetProperties(&properties), S_OK);
    EXPECT_EQ(properties.status, VDS_LS_FAILED);
    EXPECT_EQ(properties.health, VDS_H_FAILED);
    free_properties(properties);
    VDS_LUN_INFORMATION information{};
    EXPECT_EQ(db->GetIdentificationData(&information), VDS_E_OBJECT_STATUS_FAILED);
    EXPECT_EQ(db->Extend(4096, nullptr, 0, none.put()), VDS_E_OBJECT_STATUS_FAILED);
    EXPECT_EQ(db->Delete(), S_OK);  // or it would stay for ever
}

TEST_F(VdsTest, RecoverAnotherCallInProgress) {
    load();
    array->faults["recover"] = {Code::kBusy};
    EXPECT_EQ(recover("db"), VDS_E_ANOTHER_CALL_IN_PROGRESS);
    EXPECT_FALSE(async);
}

TEST_F(VdsTest, RecoverWithNothingToRecoverToEndsSo) {
    load();
    array->faults["recover"] = {Code::kNoDrive};
    ASSERT_EQ(recover("db"), S_OK);
    EXPECT_EQ(status(), std::make_pair(VDS_E_NOT_ENOUGH_DRIVE, ULONG{100}));
    array->faults.clear();
    array->next_task.state = "failed";
    array->next_task.error_code = Code::kNoDrive;
    ASSERT_EQ(recover("db"), S_OK);
    EXPECT_EQ(wait().first, VDS_E_NOT_ENOUGH_DRIVE);
    array->next_task.error_code = Code::kDeviceFailed;
    ASSERT_EQ(recover("db"), S_OK);
    EXPECT_EQ(wait().first, VDS_E_OBJECT_STATUS_FAILED);
}

TEST_F(VdsTest, RecoverGoesOnWithoutItsHandleAndStopsWhenCancelled) {
    load();
    array->next_task.state = "running";
    ASSERT_EQ(recover("db"), S_OK);
    async.reset();
    EXPECT_EQ(array->tasks.begin()->second.state, "running");
    degrade("logs");
    ASSERT_EQ(recover("logs"), S_OK);
    array->faults["cancel_task"] = {Code::kBadState};
    EXPECT_EQ(async->Cancel(), VDS_E_CANCEL_TOO_LATE);
    array->faults["cancel_task"] = {Code::kUnsupported};
    EXPECT_EQ(async->Cancel(), VDS_E_NOT_SUPPORTED);
    array->faults.clear();
    EXPECT_EQ(async->Cancel(), S_OK);
    EXPECT_EQ(status().first, VDS_E_OPERATION_CANCELED);
    EXPECT_EQ(async->Cancel(), VDS_E_OPERATION_CANCELED);
    EXPECT_EQ(wait().first, VDS_E_OPERATION_CANCELED);
}

TEST_F(VdsTest, RecoverWhoseTaskIsLostSaysSo) {
    load();
    array->next_task.state = "running";
    ASSERT_EQ(recover("db"), S_OK);
    array->tasks.clear();
    EXPECT_EQ(status().first, VDS_E_ASYNC_OBJECT_FAILURE);
    ASSERT_EQ(recover("db"), S_OK);
    array->faults["get_task"] = {Code::kUnavailable};
    EXPECT_EQ(status().first, VDS_E_PROVIDER_CACHE_CORRUPT);
}

// --- Other methods of a LUN ----------------------------------------------------------------------------------------

TEST_F(VdsTest, LunPropertiesAndPlexes) {
    record("logs").masks = {{"iqn.b", "t", 1}, {"iqn.a", "t", 2}, {"iqn.a", "u", 3}};
    load();
    VDS_LUN_PROP properties{};
    auto logs = lun("logs");
    ASSERT_EQ(logs->GetProperties(&properties), S_OK);
    EXPECT_EQ(properties.type, VDS_LT_MIRROR);
    EXPECT_EQ(properties.ullSize, 1ull << 30);
    EXPECT_EQ(properties.TransitionState, VDS_TS_STABLE);
    EXPECT_STREQ(properties.pwszUnmaskingList, L"iqn.a;iqn.b");
    free_properties(properties);
    IEnumVdsObject* list = nullptr;
    ASSERT_EQ(logs->QueryPlexes(&list), S_OK);
    auto plexes = all<IVdsLunPlex>(list);
    ASSERT_EQ(plexes.size(), 2u);
    VDS_LUN_PLEX_PROP plex{};
    ASSERT_EQ(plexes[1]->GetProperties(&plex), S_OK);
    EXPECT_EQ(plex.type, VDS_LPT_SIMPLE);
    EXPECT_EQ(plex.status, VDS_LPS_ONLINE);
    record("logs").plexes[1].health = "failed";
    array->emit("plex.failed");
    ASSERT_EQ(plexes[1]->GetProperties(&plex), S_OK);
    EXPECT_EQ(plex.status, VDS_LPS_FAILED);
    com::Ptr<IVdsLun> owner;
    ASSERT_EQ(plexes[0]->GetLun(owner.put()), S_OK);
    EXPECT_EQ(name_of(*owner), "logs");
    record("logs").plexes.pop_back();
    array->emit("plex.gone");
    EXPECT_EQ(plexes[1]->GetProperties(&plex), VDS_E_OBJECT_DELETED);
    record("db").plexes.clear();
    array->emit("a");
    ASSERT_EQ(lun("db")->QueryPlexes(&list), S_OK);
    auto only = all<IVdsLunPlex>(list);
    ASSERT_EQ(only.size(), 1u);
    ASSERT_EQ(only[0]->GetProperties(&plex), S_OK);
    EXPECT_EQ(plex.type, VDS_LPT_PARITY);
}

TEST_F(VdsTest, IdentificationIsWhatAnInitiatorReads) {
    load();
    VDS_LUN_INFORMATION information{};
    ASSERT_EQ(lun("db")->GetIdentificationData(&information), S_OK);
    EXPECT_EQ(naa_of(information), record("db").naa);
    EXPECT_EQ(information.m_BusType, VDSBusTypeiScsi);
    free_lun_information(information);
}

TEST_F(VdsTest, MasksAreReplacedNotAdded) {
    load();
    auto db = lun("db");
    auto set = [&](const wchar_t* list) {
        std::wstring copy = list;
        return db->SetMask(copy.data());
    };
    auto initiators = [&] {
        std::vector<std::string> out;
        for (const LunMask& mask : record("db").masks) out.push_back(mask.initiator);
        return out;
    };
    EXPECT_EQ(set(L"iqn.2025-01.a:x;iqn.2025-01.b:y;IQN.2025-01.A:x"), S_OK);
    EXPECT_THAT(initiators(), testing::UnorderedElementsAre("iqn.2025-01.a:x", "iqn.2025-01.b:y"));
    EXPECT_EQ(set(L"iqn.2025-01.b:y;iqn.2025-01.c:z;"), S_OK);
    EXPECT_THAT(initiators(), testing::UnorderedElementsAre("iqn.2025-01.b:y", "iqn.2025-01.c:z"));
    EXPECT_EQ(set(L"*;iqn.2025-01.b:y"), E_INVALIDARG);
    EXPECT_EQ(set(L"2000000000000001"), E_INVALIDARG);
    EXPECT_EQ(set(L";"), E_INVALIDARG);
    EXPECT_EQ(db->SetMask(nullptr), E_INVALIDARG);
    EXPECT_EQ(initiators().size(), 2u);
    EXPECT_EQ(set(L"*"), S_OK);
    EXPECT_THAT(initiators(), testing::ElementsAre("*"));
    EXPECT_EQ(set(L""), S_OK);
    EXPECT_THAT(initiators(), testing::IsEmpty());
    EXPECT_TRUE(lun("db"));  // masked from everyone it is still managed
}

TEST_F(VdsTest, SizesChangeInWholeBlocks) {
    load();
    auto db = lun("db");
    ASSERT_EQ(db->Extend(5000, nullptr, 0, async.put()), S_OK);
    EXPECT_EQ(wait().second.type, VDS_ASYNCOUT_EXTENDLUN);
    EXPECT_EQ(record("db").size_bytes, (1ull << 30) + 8192);
    ASSERT_EQ(db->Shrink(5000, async.put()), S_OK);
    EXPECT_EQ(wait().second.type, VDS_ASYNCOUT_SHRINKLUN);
    EXPECT_EQ(record("db").size_bytes, (1ull << 30) + 4096);  // never a byte more than asked for
    EXPECT_EQ(db->Shrink(1ull << 40, async.put()), VDS_E_INVALID_SHRINK_SIZE);
    EXPECT_EQ(db->Extend(1ull << 47, nullptr, 0, async.put()), VDS_E_NOT_ENOUGH_SPACE);
    EXPECT_EQ(db->Extend(0, nullptr, 0, async.put()), E_INVALIDARG);
    EXPECT_EQ(db->Extend(4096, nullptr, 1, async.put()), E_INVALIDARG);
    GUID drive = parse_com_guid(array->drive_list[0].id);
    EXPECT_EQ(db->Extend(4096, &drive, 1, async.put()), VDS_E_NOT_SUPPORTED);
    array->faults["resize_lun"] = {Code::kNoSpace};
    EXPECT_EQ(db->Extend(4096, nullptr, 0, async.put()), VDS_E_NOT_ENOUGH_SPACE);
    ULONGLONG most = 0;
    EXPECT_EQ(db->QueryMaxLunExtendSize(nullptr, 0, &most), S_OK);
    EXPECT_EQ(most, (64ull << 40) - (1ull << 30) - 4096);
}

TEST_F(VdsTest, LunsAreCreatedNamedAndDeleted) {
    load();
    auto sub = subsystem();
    wchar_t mask[] = L"iqn.2025-01.a:x";
    wchar_t bad[] = L"nonsense";
    GUID drive = parse_com_guid(array->drive_list[0].id);
    auto type = [](int value) { return static_cast<VDS_LUN_TYPE>(value); };
    EXPECT_EQ(sub->CreateLun(type(9), 4096, nullptr, 0, mask, nullptr, async.put()), E_INVALIDARG);
    EXPECT_EQ(sub->CreateLun(VDS_LT_RAID51, 4096, nullptr, 0, mask, nullptr, async.put()), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(sub->CreateLun(VDS_LT_SIMPLE, 4096, &drive, 1, mask, nullptr, async.put()), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(sub->CreateLun(VDS_LT_SIMPLE, 4096, nullptr, 1, mask, nullptr, async.put()), E_INVALIDARG);
    EXPECT_EQ(sub->CreateLun(VDS_LT_SIMPLE, 0, nullptr, 0, mask, nullptr, async.put()), E_INVALIDARG);
    EXPECT_EQ(sub->CreateLun(VDS_LT_SIMPLE, 4096, nullptr, 0, bad, nullptr, async.put()), E_INVALIDARG);
    array->faults["add_mask"] = {Code::kUnavailable};
    EXPECT_EQ(sub->CreateLun(VDS_LT_SIMPLE, 4096, nullptr, 0, mask, nullptr, async.put()),
              VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(array->luns.size(), 4u);  // half a LUN is none
    array->faults.clear();
    ASSERT_EQ(provider->Reenumerate(), S_OK);
    ASSERT_EQ(provider->Refresh(), S_OK);
    ASSERT_EQ(sub->CreateLun(VDS_LT_DEFAULT, 5000, nullptr, 0, mask, nullptr, async.put()), S_OK);
    auto [hr, output] = wait();
    EXPECT_EQ(hr, S_OK);
    ASSERT_EQ(output.type, VDS_ASYNCOUT_CREATELUN);
    ASSERT_NE(output.cl.pLunUnk, nullptr);
    auto created = com::Ptr<IUnknown>::adopt(output.cl.pLunUnk).as<IVdsLun>();
    VDS_LUN_PROP properties{};
    ASSERT_EQ(created->GetProperties(&properties), S_OK);
    EXPECT_EQ(properties.type, VDS_LT_PARITY);  // never one of the automagic types
    EXPECT_EQ(properties.ullSize, 8192u);
    EXPECT_STREQ(properties.pwszUnmaskingList, mask);
    free_properties(properties);
    auto naming = created.as<IVdsLunNaming>();
    ASSERT_TRUE(naming);
    wchar_t fresh[] = L"fresh", taken[] = L"db";
    EXPECT_EQ(naming->SetFriendlyName(taken), VDS_E_NAME_NOT_UNIQUE);
    EXPECT_EQ(naming->SetFriendlyName(fresh), S_OK);
    EXPECT_EQ(name_of(*created), "fresh");
    array->session_list.push_back({"iqn.2025-01.a:x", "", {"fresh"}});
    EXPECT_EQ(created->Delete(), VDS_E_ANOTHER_CALL_IN_PROGRESS);
    array->session_list.clear();
    EXPECT_EQ(created->Delete(), S_OK);
    EXPECT_EQ(created->Delete(), VDS_E_OBJECT_DELETED);
    EXPECT_EQ(created->GetProperties(&properties), VDS_E_OBJECT_DELETED);
}

TEST_F(VdsTest, WhatIsNotThereSaysSo) {
    load();
    auto db = lun("db");
    auto logs = lun("logs");
    com::Ptr<IVdsAsync> none;
    VDS_HINTS hints{};
    GUID first = parse_com_guid(record("logs").plexes[0].id);
    EXPECT_EQ(db->AddPlex(first, none.put()), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(db->RemovePlex(first, none.put()), VDS_E_OBJECT_NOT_FOUND);
    EXPECT_EQ(logs->RemovePlex(first, none.put()), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(db->RemovePlex(parse_com_guid(record("db").plexes[0].id), none.put()), VDS_E_INVALID_OPERATION);
    EXPECT_EQ(db->QueryHints(&hints), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(db->ApplyHints(&hints), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(db->SetStatus(VDS_LS_UNKNOWN), E_INVALIDARG);
    EXPECT_EQ(db->SetStatus(VDS_LS_FAILED), E_INVALIDARG);
    EXPECT_EQ(db->SetStatus(VDS_LS_ONLINE), S_OK);
    EXPECT_EQ(db->SetStatus(VDS_LS_OFFLINE), VDS_E_NOT_SUPPORTED);
    EXPECT_EQ(db->AssociateControllers(&first, 1, nullptr, 0), E_INVALIDARG);
    EXPECT_EQ(db->AssociateControllers(nullptr, 0, nullptr, 0), S_OK);
    IEnumVdsObject* list = nullptr;
    ASSERT_EQ(db->QueryActiveControllers(&list), S_OK);
    EXPECT_EQ(all<IUnknown>(list).size(), 0u);
    EXPECT_THAT(array->calls, testing::IsEmpty());
}

TEST(VdsEnum, CountsAndClones) {
    std::vector<com::Ptr<IUnknown>> objects;
    for (int i = 0; i < 3; ++i) {
        objects.push_back(com::Ptr<IUnknown>::adopt(static_cast<IVdsAdviseSink*>(com::make<Sink>().detach())));
    }
    auto list = com::make<VdsEnum>(objects);
    IUnknown* out[5] = {};
    ULONG fetched = 9;
    EXPECT_EQ(list->Next(5, out, &fetched), S_FALSE);
    EXPECT_EQ(fetched, 3u);
    EXPECT_EQ(out[3], nullptr);
    for (ULONG i = 0; i < fetched; ++i) out[i]->Release();
    EXPECT_EQ(list->Next(1, out, &fetched), S_FALSE);
    EXPECT_EQ(fetched, 0u);
    EXPECT_EQ(list->Reset(), S_OK);
    EXPECT_EQ(list->Skip(2), S_OK);
    com::Ptr<IEnumVdsObject> clone;
    ASSERT_EQ(list->Clone(clone.put()), S_OK);
    EXPECT_EQ(list->Skip(2), S_FALSE);
    EXPECT_EQ(clone->Next(1, out, &fetched), S_OK);
    EXPECT_EQ(out[0], objects[2].get());
    out[0]->Release();
    EXPECT_EQ(clone->Next(0, out, &fetched), E_INVALIDARG);
    EXPECT_EQ(clone->Next(1, nullptr, &fetched), E_INVALIDARG);
    EXPECT_EQ(clone->Clone(nullptr), E_INVALIDARG);
}

TEST(VdsCodes, EveryErrorHasAFailure) {
    for (int i = 0; i <= static_cast<int>(Code::kInternal); ++i) {
        EXPECT_TRUE(FAILED(to_vds_hresult(static_cast<Code>(i)))) << i;
    }
}

}  // namespace
}  // namespace umbra::provider

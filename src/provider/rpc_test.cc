// The provider against a real array model behind its real management channel, over a store in memory.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdlib>
#include <filesystem>
#include <future>
#include <thread>

#include "array/model.h"
#include "array_rpc/server.h"
#include "com/ptr.h"
#include "env/loop.h"
#include "lun/testing/memory_backend.h"
#include "provider/fake_array.h"
#include "provider/hardware_provider.h"
#include "provider/lun_information.h"
#include "provider/rpc_array_client.h"
#include "provider/vds_objects.h"
#include "vsserror.h"

namespace umbra::provider {
namespace {

using base::Code;

constexpr char kHostA[] = "iqn.2025-01.org.umbra:host-a";
constexpr char kHostB[] = "iqn.2025-01.org.umbra:host-b";
const VSS_ID kSet = ::compat::guid_literal("11111111-0000-4000-8000-000000000001");

class FixedRandom final : public env::Random {
public:
    uint64_t next() override { return state_ = state_ * 6364136223846793005ull + 1442695040888963407ull; }

private:
    uint64_t state_ = 42;
};

env::Task<void> open_model(env::Environment environment, std::unique_ptr<lun::Backend> backend,
                           std::unique_ptr<array::ArrayModel>* out) {
    auto model = co_await array::ArrayModel::open(environment, std::move(backend), {});
    if (model) *out = std::move(*model);
}

env::Task<void> close_model(array::ArrayModel* model) {
    (void)co_await model->close();
}

class RpcTest : public testing::Test {
protected:
    void SetUp() override {
        std::string pattern = std::filesystem::temp_directory_path() / "umbra-provider-XXXXXX";
        ASSERT_NE(mkdtemp(pattern.data()), nullptr);
        directory = pattern;
        config.initiator = kHostA;
        config.machine = "host-a";
        config.min_free_bytes = 1 << 20;
        config.arrays = {"unix:" + directory + "/array.sock"};
        memory = lun::testing::MemoryArray::make(5, 8ull << 30);
        start();
    }
    void TearDown() override {
        if (vds) vds->OnUnload(TRUE);
        vds.reset();
        provider.reset();
        clients.clear();
        stop();
        std::filesystem::remove_all(directory);
    }
    void start() {
        auto created = env::Loop::create();
        ASSERT_TRUE(created);
        loop = std::move(*created);
        auto backend = std::make_unique<lun::testing::MemoryBackend>(*loop, memory);
        env::Environment environment{*loop, random};
        ASSERT_TRUE(loop->run(open_model(environment, std::move(backend), &model)));
        ASSERT_TRUE(model);
        thread = std::thread([this] { loop->run(); });
        auto started = array_rpc::ManagementServer::start(*loop, *model, {config.arrays[0], "umbra"});
        ASSERT_TRUE(started) << started.error().text();
        server = std::move(*started);
    }
    void stop() {
        if (!server) return;
        server->shutdown();
        server.reset();
        loop->stop();
        thread.join();
        loop->run(close_model(model.get()));
        model.reset();
        loop.reset();
    }
    std::shared_ptr<ArrayClient> client() {
        auto connected = connect_arrays(config);
        EXPECT_TRUE(connected);
        clients.push_back((*connected)[0]);
        return clients.back();
    }
    com::Ptr<HardwareProvider> host(const std::string& initiator) {
        ProviderConfig own = config;
        own.initiator = initiator;
        own.machine = initiator.substr(initiator.find(':') + 1);
        auto made = com::make<HardwareProvider>(own, std::vector<std::shared_ptr<ArrayClient>>{client()},
                                                [this](const ProviderEvent& event) { events.push_back(event.text); });
        EXPECT_EQ(made->OnLoad(nullptr), S_OK);
        return made;
    }
    std::vector<LunRecord> shadows(ArrayClient& array) {
        auto all = array.list_luns();
        EXPECT_TRUE(all);
        std::erase_if(*all, [](const LunRecord& lun) { return lun.kind != LunKind::kShadowCopy; });
        return *all;
    }

    std::string directory;
    ProviderConfig config;
    FixedRandom random;
    std::shared_ptr<lun::testing::MemoryArray> memory;
    std::unique_ptr<env::Loop> loop;
    std::unique_ptr<array::ArrayModel> model;
    std::unique_ptr<array_rpc::ManagementServer> server;
    std::thread thread;
    std::vector<std::shared_ptr<ArrayClient>> clients;
    std::vector<std::string> events;
    com::Ptr<HardwareProvider> provider;
    com::Ptr<VdsProvider> vds;
};

TEST_F(RpcTest, ASetIsCreatedImportedResynchronisedAndDeleted) {
    auto array = client();
    auto db = array->create_lun("db", 64 << 20, "parity");
    ASSERT_TRUE(db) << db.error().text();
    auto logs = array->create_lun("logs", 32 << 20, "mirror");
    ASSERT_TRUE(logs);
    provider = host(kHostA);
    VDS_LUN_INFORMATION sources[] = {information_of(*db), information_of(*logs)};
    VDS_LUN_INFORMATION targets[2] = {};
    constexpr LONG kContext = LONG{VSS_CTX_NAS_ROLLBACK} | VSS_VOLSNAP_ATTR_TRANSPORTABLE;

    BOOL supported = FALSE;
    ASSERT_EQ(provider->AreLunsSupported(2, kContext, nullptr, sources, &supported), S_OK);
    ASSERT_TRUE(supported) << testing::PrintToString(events);
    ASSERT_EQ(provider->BeginPrepareSnapshot(kSet, kSet, kContext, 2, nullptr, sources), S_OK);
    ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->CommitSnapshots(kSet), S_OK) << testing::PrintToString(events);
    ASSERT_EQ(provider->PostCommitSnapshots(kSet, 1), S_OK);
    ASSERT_EQ(provider->GetTargetLuns(2, nullptr, sources, targets), S_OK);
    ASSERT_EQ(provider->PreFinalCommitSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PostFinalCommitSnapshots(kSet), S_OK);
    ASSERT_EQ(shadows(*array).size(), 2u);
    for (const LunRecord& copy : shadows(*array)) {
        EXPECT_EQ(copy.flags, 0xFu);
        EXPECT_EQ(copy.attribute("vss.state"), "created");
        EXPECT_TRUE(copy.masks.empty());
    }

    auto host_b = host(kHostB);
    ASSERT_EQ(host_b->LocateLuns(2, targets), S_OK) << testing::PrintToString(events);
    EXPECT_EQ(provider->LocateLuns(2, targets), VSS_E_BAD_STATE);
    BOOL ours = FALSE;
    ASSERT_EQ(host_b->FillInLunInfo(nullptr, &targets[0], &ours), S_OK);
    EXPECT_TRUE(ours);
    EXPECT_EQ(array->get_lun_by_naa(*naa_of(targets[0]))->masks.size(), 1u);

    com::Ptr<IVssAsync> async;
    ASSERT_EQ(host_b->ResyncLuns(targets, sources, 2, async.put()), S_OK) << testing::PrintToString(events);
    ASSERT_EQ(async->Wait(INFINITE), S_OK);
    HRESULT outcome = E_UNEXPECTED;
    ASSERT_EQ(async->QueryStatus(&outcome, nullptr), S_OK);
    EXPECT_EQ(outcome, VSS_S_ASYNC_FINISHED) << testing::PrintToString(events);
    ULONG percent = 0;
    EXPECT_EQ(async.as<IUmbraAsyncProgress>()->GetPercentCompleted(&percent), S_OK);
    EXPECT_EQ(percent, 100u);

    EXPECT_EQ(provider->OnLunEmpty(nullptr, &targets[0]), VSS_E_PROVIDER_VETO);  // host B's
    EXPECT_EQ(host_b->OnLunEmpty(nullptr, &targets[0]), S_OK);
    EXPECT_EQ(host_b->OnLunStateChange(&targets[1], nullptr, 1, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE), S_OK);
    EXPECT_EQ(host_b->OnLunEmpty(nullptr, &targets[1]), VSS_E_PROVIDER_VETO);  // an ordinary LUN now
    EXPECT_TRUE(shadows(*array).empty());
    for (auto& information : sources) free_lun_information(information);
    for (auto& information : targets) free_lun_information(information);
}

TEST_F(RpcTest, WhatWasNeverCompletedGoesWithTheArraysRestart) {
    auto array = client();
    auto db = array->create_lun("db", 64 << 20, "parity");
    ASSERT_TRUE(db);
    provider = host(kHostA);
    VDS_LUN_INFORMATION source = information_of(*db);
    ASSERT_EQ(provider->BeginPrepareSnapshot(kSet, kSet, 0, 1, nullptr, &source), S_OK);
    ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->CommitSnapshots(kSet), S_OK);
    EXPECT_EQ(shadows(*array).size(), 1u);
    stop();
    EXPECT_EQ(provider->AbortSnapshots(kSet), VSS_E_PROVIDER_VETO);  // nobody answers
    start();
    auto again = host(kHostA);
    EXPECT_TRUE(shadows(*array).empty()) << testing::PrintToString(events);
    free_lun_information(source);
}

TEST_F(RpcTest, VdsRecoversALunAndSurvivesARestartOfTheArray) {
    auto array = client();
    ASSERT_TRUE(array->create_lun("db", 64 << 20, "parity"));
    ASSERT_TRUE(array->create_lun("plain", 64 << 20, "simple"));
    vds = com::make<VdsProvider>(std::vector<std::shared_ptr<ArrayClient>>{client()},
                                 [this](const ProviderEvent& event) { events.push_back(event.text); });
    ASSERT_EQ(vds->OnLoad(nullptr, nullptr), S_OK);
    com::Ptr<IEnumVdsObject> list;
    ASSERT_EQ(vds->QuerySubSystems(list.put()), S_OK);
    com::Ptr<IUnknown> object;
    ULONG fetched = 0;
    ASSERT_EQ(list->Next(1, object.put(), &fetched), S_OK);
    auto subsystem = object.as<IVdsSubSystem>();
    std::map<std::wstring, com::Ptr<IVdsLun>> luns;
    auto read_luns = [&] {
        luns.clear();
        ASSERT_EQ(subsystem->QueryLuns(list.put()), S_OK);
        while (list->Next(1, object.put(), &fetched) == S_OK) {
            auto lun = object.as<IVdsLun>();
            VDS_LUN_PROP properties{};
            ASSERT_EQ(lun->GetProperties(&properties), S_OK);
            luns[properties.pwszFriendlyName] = lun;
            CoTaskMemFree(properties.pwszFriendlyName);
            CoTaskMemFree(properties.pwszIdentification);
            CoTaskMemFree(properties.pwszUnmaskingList);
        }
    };
    read_luns();
    ASSERT_EQ(luns.size(), 2u);
    com::Ptr<IVdsAsync> async;
    EXPECT_EQ(luns[L"plain"]->Recover(async.put()), VDS_E_INVALID_OPERATION);
    ASSERT_EQ(luns[L"db"]->Recover(async.put()), S_OK);  // healthy

    // A drive under db fails, and db is recovered into the fifth.
    auto record = array->list_luns();
    ASSERT_TRUE(record);
    std::string drive;
    for (const LunRecord& lun : *record) {
        if (lun.name == "db") drive = lun.plexes.at(0).drives.at(0);
    }
    std::promise<bool> failed;
    struct Failer {
        static env::Task<void> run(array::ArrayModel* model, std::string name, std::promise<bool>* done) {
            auto outcome = co_await model->fail_drive(name, true);
            done->set_value(outcome.has_value());
        }
    };
    loop->post([&] { env::spawn_detached(Failer::run(model.get(), drive, &failed)); });
    ASSERT_TRUE(failed.get_future().get());
    ASSERT_EQ(luns[L"db"]->Recover(async.put()), S_OK) << testing::PrintToString(events);
    HRESULT hr = E_UNEXPECTED;
    VDS_ASYNC_OUTPUT output{};
    ASSERT_EQ(async->Wait(&hr, &output), S_OK);
    EXPECT_EQ(hr, S_OK);
    EXPECT_EQ(output.type, VDS_ASYNCOUT_RECOVERLUN);
    ULONG percent = 0;
    ASSERT_EQ(async->QueryStatus(&hr, &percent), S_OK);
    EXPECT_EQ(percent, 100u);
    VDS_LUN_PROP properties{};
    ASSERT_EQ(luns[L"db"]->GetProperties(&properties), S_OK);
    EXPECT_EQ(properties.health, VDS_H_HEALTHY);
    CoTaskMemFree(properties.pwszFriendlyName);
    CoTaskMemFree(properties.pwszIdentification);
    CoTaskMemFree(properties.pwszUnmaskingList);

    // The array goes away and comes back: nothing is believed until both steps are done.
    stop();
    EXPECT_EQ(luns[L"db"]->Recover(async.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(vds->Reenumerate(), VDS_E_PROVIDER_CACHE_CORRUPT);
    start();
    EXPECT_EQ(luns[L"db"]->Recover(async.put()), VDS_E_PROVIDER_CACHE_CORRUPT);
    EXPECT_EQ(vds->Reenumerate(), S_OK);
    EXPECT_EQ(vds->Refresh(), S_OK);
    EXPECT_EQ(luns[L"db"]->Recover(async.put()), S_OK);
    EXPECT_EQ(luns[L"db"]->Delete(), S_OK);
    EXPECT_EQ(luns[L"db"]->Recover(async.put()), VDS_E_OBJECT_DELETED);
}

}  // namespace
}  // namespace umbra::provider

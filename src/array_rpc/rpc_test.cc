// The management channel over a real unix socket, with an array in memory behind it.
#include <gmock/gmock.h>
#include <grpcpp/create_channel.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <thread>

#include "array.grpc.pb.h"
#include "array_rpc/client.h"
#include "array_rpc/convert.h"
#include "array_rpc/server.h"
#include "array_rpc/status.h"
#include "array_rpc/testing/memory_array_server.h"

namespace umbra::array_rpc {
namespace {

using array::LunRef;
using base::Code;
using base::Result;
using lun::testing::MemoryBackend;
using ::testing::HasSubstr;

constexpr uint64_t kMiB = 1 << 20;

class RpcTest : public ::testing::Test {
protected:
    RpcTest() : client_(connect()) {}
    std::unique_ptr<ArrayClient> connect() {
        ClientOptions options;
        options.address = server_.address();
        auto client = ArrayClient::make(std::move(options));
        EXPECT_TRUE(client);
        return std::move(*client);
    }
    void create(const std::string& name) {
        const auto lun = client_->create_lun({name, 256 * kMiB, "parity", 0});
        ASSERT_TRUE(lun) << lun.error().text();
    }

    testing::MemoryArrayServer server_;
    std::unique_ptr<ArrayClient> client_;
};

TEST(Status, EveryCodeSurvivesTheWire) {
    for (int value = 0; value <= static_cast<int>(Code::kInternal); ++value) {
        const auto code = static_cast<Code>(value);
        const grpc::Status status = to_status({code, "text"});
        EXPECT_FALSE(status.ok());
        const base::Error back = from_status(status, base::to_string(code));
        EXPECT_EQ(back.code, code);
        EXPECT_EQ(back.message, "text");
        EXPECT_EQ(parse_code(base::to_string(code)), code);
    }
    EXPECT_EQ(from_status({grpc::StatusCode::UNAVAILABLE, "x"}, "").code, Code::kUnavailable);
    EXPECT_EQ(from_status({grpc::StatusCode::NOT_FOUND, "x"}, "nonsense").code, Code::kNotFound);
}

TEST_F(RpcTest, LunsAsTheModelHasThem) {
    create("db");
    const auto masked = client_->add_mask({LunRef::name("db"), "*", "", false});
    ASSERT_TRUE(masked) << masked.error().text();
    const auto lun = client_->get_lun(LunRef::name("db"));
    ASSERT_TRUE(lun);
    const array::LunView direct =
        server_.on_array([](array::ArrayModel& model) { return *model.get_lun(LunRef::name("db")); });
    EXPECT_EQ(lun->naa, direct.naa);
    EXPECT_EQ(lun->id, direct.id);
    EXPECT_EQ(lun->serial, direct.serial);
    EXPECT_EQ(lun->page83, direct.page83);
    EXPECT_EQ(lun->masks, direct.masks);
    EXPECT_EQ(lun->paths, direct.paths);
    EXPECT_EQ(lun->created_unix_ms, direct.created_unix_ms);
    EXPECT_EQ(lun->generation, direct.generation);
    ASSERT_EQ(lun->plexes.size(), 1u);
    EXPECT_EQ(lun->plexes[0].drives, direct.plexes[0].drives);
    EXPECT_EQ(client_->list_luns({array::LunKind::kSnapshot})->size(), 0u);
    EXPECT_EQ(client_->list_luns()->size(), 1u);
    const auto status = client_->status();
    ASSERT_TRUE(status);
    EXPECT_EQ(status->state, "ready");
    EXPECT_EQ(status->luns, 1u);
    EXPECT_EQ(status->vendor_id, "UMBRA");
    ASSERT_EQ(status->targets.size(), 1u);
    EXPECT_TRUE(status->targets[0].is_default);
}

TEST_F(RpcTest, ErrorsKeepTheirCodeAndText) {
    const auto missing = client_->get_lun(LunRef::name("nope"));
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().code, Code::kNotFound);
    EXPECT_EQ(missing.error().message, "no LUN or snapshot named nope");
    EXPECT_EQ(client_->create_lun({"x", kMiB, "parity", 7}).error().code, Code::kNoDrive);
    EXPECT_EQ(client_->get_task(7).error().code, Code::kNotFound);
    EXPECT_EQ(client_->wait_task(7).error().code, Code::kNotFound);
}

TEST_F(RpcTest, ARequestThatNamesNothingIsRefused) {
    auto stub =
        array::v1::ArrayManagement::NewStub(grpc::CreateChannel(server_.address(), grpc::InsecureChannelCredentials()));
    grpc::ClientContext context;
    array::v1::Lun reply;
    const grpc::Status status = stub->GetLun(&context, array::v1::LunRef(), &reply);
    EXPECT_EQ(status.error_code(), grpc::StatusCode::INVALID_ARGUMENT);
    grpc::ClientContext other;
    array::v1::CreateSnapshotsRequest request;
    request.set_kind(static_cast<array::v1::LunKind>(99));
    array::v1::ListLunsReply luns;
    EXPECT_EQ(stub->CreateSnapshots(&other, request, &luns).error_code(), grpc::StatusCode::INVALID_ARGUMENT);
}

TEST_F(RpcTest, SnapshotsAttributesAndResize) {
    create("a");
    create("b");
    const auto made = client_->create_snapshots(
        {{LunRef::name("a"), "s", {{"k", "v"}}, 0, false}, {LunRef::name("b"), "s", {}, 0, false}},
        array::LunKind::kSnapshot);
    ASSERT_TRUE(made) << made.error().text();
    EXPECT_EQ((*made)[0].name, "a@s");
    EXPECT_EQ((*made)[0].attributes.at("k"), "v");
    EXPECT_EQ((*made)[1].kind, array::LunKind::kSnapshot);
    const auto copy = client_->create_snapshots({{LunRef::id((*made)[0].id), "", {}, array::kLunHidden, true}},
                                                array::LunKind::kShadowCopy);
    ASSERT_TRUE(copy) << copy.error().text();
    EXPECT_EQ((*copy)[0].name, "a.copy-1");
    EXPECT_TRUE((*copy)[0].write_protected);
    array::UpdateLun update;
    update.write_protect = false;
    update.set_attributes = {{"vss.importer", "h"}};
    update.expect_attributes = {{"vss.importer", ""}};
    const auto updated = client_->update_lun(LunRef::naa((*copy)[0].naa), update);
    ASSERT_TRUE(updated) << updated.error().text();
    EXPECT_FALSE(updated->write_protected);
    EXPECT_EQ(updated->flags, array::kLunHidden);
    EXPECT_EQ(client_->update_lun(LunRef::naa((*copy)[0].naa), update).error().code, Code::kBusy);
    EXPECT_EQ(client_->resize_lun(LunRef::name("b"), 128 * kMiB).error().code, Code::kBadState);
    EXPECT_EQ(client_->resize_lun(LunRef::name("b"), 128 * kMiB, true)->size_bytes, 128 * kMiB);
    EXPECT_EQ(client_->rename_lun(LunRef::name("b"), "c")->name, "c");
    EXPECT_TRUE(client_->delete_lun(LunRef::name("c@s")));
    EXPECT_EQ(client_->delete_lun(LunRef::name("c@s")).error().code, Code::kNotFound);
    EXPECT_EQ(client_->remove_mask({LunRef::name("c"), "*", "", false}).error().code, Code::kNotFound);
    EXPECT_TRUE(client_->sessions()->empty());
}

TEST(Convert, TextThatIsNoUtf8DoesNotSpoilTheAnswer) {
    pb::Session session;
    to_proto(array::SessionView{"iqn.2026-01.test:\xff\xfe", "iqn.2026-01.test:t", "10.0.0.1:1", "0x1", {"db"}},
             &session);
    pb::Session back;
    ASSERT_TRUE(back.ParseFromString(session.SerializeAsString()));
    EXPECT_EQ(back.initiator(), "iqn.2026-01.test:\xef\xbf\xbd\xef\xbf\xbd");
}

TEST_F(RpcTest, WaitingForATaskTellsItsEnd) {
    create("db");
    ASSERT_TRUE(client_->create_snapshots({{LunRef::name("db"), "s", {}, 0, false}}, array::LunKind::kSnapshot));
    const auto task = client_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""});
    ASSERT_TRUE(task) << task.error().text();
    size_t reports = 0;
    const auto ended = client_->wait_task(task->id, [&](const array::TaskView&) {
        ++reports;
        return true;
    });
    ASSERT_TRUE(ended) << ended.error().text();
    EXPECT_EQ(ended->state, array::TaskState::kDone);
    EXPECT_EQ(ended->result, "kept the head before it as db@before-resync-1");
    EXPECT_GE(reports, 1u);
    EXPECT_EQ(client_->tasks()->size(), 1u);
    EXPECT_EQ(client_->cancel_task(task->id).error().code, Code::kBadState);
}

TEST_F(RpcTest, AWaiterMayLeaveAndTheTaskGoesOn) {
    create("db");
    ASSERT_TRUE(client_->create_snapshots({{LunRef::name("db"), "s", {}, 0, false}}, array::LunKind::kSnapshot));
    server_.hold("resync");
    const auto task = client_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""});
    ASSERT_TRUE(task);
    const auto left = client_->wait_task(task->id, [](const array::TaskView&) { return false; });
    ASSERT_FALSE(left);
    EXPECT_EQ(left.error().code, Code::kCancelled);
    EXPECT_FALSE(client_->get_task(task->id)->ended());
    // The second report comes by the tick, without any change.
    size_t reports = 0;
    EXPECT_FALSE(client_->wait_task(task->id, [&](const array::TaskView&) { return ++reports < 2; }));
    EXPECT_EQ(reports, 2u);
    server_.release();
    EXPECT_EQ(client_->wait_task(task->id)->state, array::TaskState::kDone);
}

TEST_F(RpcTest, AChangeIsNotMadeAfterItsCallerStoppedWaiting) {
    create("db");
    ASSERT_TRUE(client_->create_snapshots({{LunRef::name("db"), "s", {}, 0, false}}, array::LunKind::kSnapshot));
    server_.hold("create");
    std::thread first([&] { EXPECT_TRUE(connect()->create_lun({"slow", 256 * kMiB, "parity", 0})); });
    // Only when the first change is under way do the others wait behind it.
    while (!server_.holding()) std::this_thread::yield();
    ClientOptions hasty;
    hasty.address = server_.address();
    hasty.call_timeout = std::chrono::milliseconds(100);
    auto client = ArrayClient::make(hasty);
    ASSERT_TRUE(client);
    const auto late =
        (*client)->create_snapshots({{LunRef::name("db"), "late", {}, 0, false}}, array::LunKind::kShadowCopy);
    ASSERT_FALSE(late);
    EXPECT_EQ(late.error().code, Code::kTimedOut);
    const auto resync = (*client)->resync_lun({LunRef::name("db"), LunRef::name("db@s"), true, ""});
    ASSERT_FALSE(resync);
    EXPECT_EQ(resync.error().code, Code::kTimedOut);
    server_.release();
    first.join();
    EXPECT_EQ(client_->update_lun(LunRef::naa(std::string(32, '0')), {}).error().code, Code::kNotFound);
    EXPECT_EQ(client_->get_lun(LunRef::name("late")).error().code, Code::kNotFound);
    EXPECT_TRUE(client_->tasks()->empty());
}

TEST_F(RpcTest, ARunningResyncNamesItsLuns) {
    create("db");
    ASSERT_TRUE(client_->create_snapshots({{LunRef::name("db"), "s", {}, 0, false}}, array::LunKind::kSnapshot));
    server_.hold("resync");
    const auto task = client_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""});
    ASSERT_TRUE(task);
    EXPECT_EQ(task->object_naa, client_->get_lun(LunRef::name("db"))->naa);
    EXPECT_EQ(task->source_naa, client_->get_lun(LunRef::name("db@s"))->naa);
    server_.release();
    EXPECT_EQ(client_->wait_task(task->id)->source_naa, "") << "only while it runs";
}

TEST_F(RpcTest, AFailedDriveAndItsRecovery) {
    create("db");
    EXPECT_EQ(client_->fail_drive("d1")->state, "failed");
    EXPECT_EQ(client_->get_lun(LunRef::name("db"))->health, "failed-redundancy");
    EXPECT_EQ(client_->fail_drive("d2").error().code, Code::kBadState);
    const auto task = client_->recover_lun(LunRef::name("db"));
    ASSERT_TRUE(task);
    EXPECT_EQ(client_->wait_task(task->id)->state, array::TaskState::kDone);
    EXPECT_EQ(client_->get_lun(LunRef::name("db"))->health, "healthy");
    EXPECT_EQ(client_->drives()->size(), 6u);
    const auto scrub = client_->start_scrub();
    ASSERT_TRUE(scrub);
    EXPECT_EQ(client_->wait_task(scrub->id)->state, array::TaskState::kDone);
}

TEST_F(RpcTest, EventsAreWatchedAsTheyCome) {
    const uint64_t last = client_->events()->back().sequence;
    std::vector<std::string> seen;
    std::thread maker([&] {
        const auto other = connect();
        for (const char* name : {"a", "b", "c"}) EXPECT_TRUE(other->create_lun({name, kMiB, "simple", 0}));
    });
    const auto watched = client_->watch_events(last, [&](const array::EventView& event) {
        seen.push_back(event.lun);
        return seen.size() < 3;
    });
    maker.join();
    EXPECT_TRUE(watched);
    EXPECT_EQ(seen, (std::vector<std::string>{"a", "b", "c"}));
    EXPECT_EQ(client_->events(last, 2)->size(), 2u);
}

TEST_F(RpcTest, StreamsEndWhenToldTo) {
    std::atomic<bool> first = false;
    std::thread ender([&] {
        first.wait(false);
        client_->cancel_streams();
    });
    const auto watched = client_->watch_events(0, [&](const array::EventView&) {
        first = true;
        first.notify_all();
        return true;
    });
    ender.join();
    ASSERT_FALSE(watched);
    EXPECT_EQ(watched.error().code, Code::kCancelled);
}

TEST_F(RpcTest, ShutdownEndsStreamsAndRemovesTheSocket) {
    std::atomic<bool> first = false;
    Result<void> watched;
    std::thread watcher([&] {
        watched = client_->watch_events(0, [&](const array::EventView&) {
            first = true;
            first.notify_all();
            return true;
        });
    });
    first.wait(false);
    server_.shutdown();
    watcher.join();
    ASSERT_FALSE(watched);
    EXPECT_EQ(watched.error().code, Code::kUnavailable);
    EXPECT_FALSE(std::filesystem::exists(server_.path()));
}

TEST_F(RpcTest, TheSocketIsForItsOwnerAndGroupOnly) {
    struct stat info{};
    ASSERT_EQ(stat(server_.path().c_str(), &info), 0);
    EXPECT_EQ(info.st_mode & 07777, 0660u);
}

TEST_F(RpcTest, ManyClientsAtOnce) {
    std::vector<std::thread> threads;
    for (int t = 0; t < 4; ++t) {
        threads.emplace_back([this, t] {
            const auto client = connect();
            for (int i = 0; i < 10; ++i) {
                const std::string name = "l" + std::to_string(t) + "-" + std::to_string(i);
                EXPECT_TRUE(client->create_lun({name, kMiB, "simple", 0}));
                EXPECT_TRUE(client->add_mask({LunRef::name(name), "*", "", false}));
            }
        });
    }
    for (auto& thread : threads) thread.join();
    const auto luns = client_->list_luns();
    ASSERT_EQ(luns->size(), 40u);
    std::set<uint16_t> numbers;
    for (const auto& lun : *luns) numbers.insert(lun.masks.at(0).lun);
    EXPECT_EQ(numbers.size(), 40u);
}

TEST(Client, SaysThatNobodyAnswers) {
    ClientOptions options;
    options.address = "unix:/nonexistent/array.sock";
    options.connect_deadline = std::chrono::milliseconds(0);
    const auto client = ArrayClient::make(std::move(options));
    ASSERT_TRUE(client);
    const auto status = (*client)->status();
    ASSERT_FALSE(status);
    EXPECT_EQ(status.error().code, Code::kUnavailable);
    EXPECT_THAT(status.error().message, HasSubstr("/nonexistent/array.sock"));
    EXPECT_EQ(ArrayClient::make({.address = "127.0.0.1:1", .connect_deadline = {}, .call_timeout = {}}).error().code,
              Code::kInvalidArgument);
}

}  // namespace
}  // namespace umbra::array_rpc

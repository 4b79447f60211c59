// The service over a real gRPC server on a unix socket, in front of a coordinator whose host and array are in memory.
#include "service.h"

#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>
#include <vss.grpc.pb.h>

#include <filesystem>
#include <future>
#include <thread>

#include "coordinator/session.h"
#include "coordinator/testing/fake_array.h"
#include "coordinator/testing/memory_state_store.h"
#include "env/random.h"

namespace umbra::coordinator {
namespace {

namespace v1 = umbra::vss::v1;
using base::Guid;

constexpr uint32_t kTransportable = vss::kContextNasRollback | vss::kAttrTransportable;
constexpr uint32_t kInfinite = 0xffffffff;

class Registry final : public ProviderRegistry {
public:
    std::vector<Provider*> list;
    std::vector<Provider*> providers() override { return list; }
};

/// umbra-hostd without its processes: the loop's thread does what main() does.
class Daemon {
public:
    Daemon() {
        EXPECT_NE(mkdtemp(directory_.data()), nullptr);
        address_ = "unix:" + directory_ + "/host.sock";
        array.add_lun(fake, 1, "/srv/db", "db 1", host::TableKind::kGpt);
        registry_.list.push_back(&provider);
        Options options;
        options.machine = "host-a";
        options.abort_limit = std::chrono::milliseconds(1);  // an EndPrepareSnapshots that ignores the abort ends soon
        coordinator =
            std::make_unique<Coordinator>(env::Environment{*loop_, random_}, fake, store, registry_, events_, options);
        context_ = std::make_unique<ServiceContext>(
            ServiceContext{*loop_, *coordinator, store, [] { return std::vector<const Surrogate*>(); }, "test"});
        vss_ = make_vss_service(*context_);
        administration_ = make_vss_administration(*context_);
        std::promise<void> started;
        thread_ = std::thread([&] {
            EXPECT_TRUE(loop_->run(start(coordinator.get())));
            started.set_value();
            loop_->run();
            ShutdownLimits limits;
            limits.all = std::chrono::minutes(5);
            shut_down(*loop_, *server_, *coordinator, limits);
        });
        started.get_future().wait();
        grpc::ServerBuilder builder;
        builder.SetMaxReceiveMessageSize(64 << 20);
        builder.AddListeningPort(address_, grpc::InsecureServerCredentials());
        builder.RegisterService(vss_.get());
        builder.RegisterService(administration_.get());
        server_ = builder.BuildAndStart();
        EXPECT_NE(server_, nullptr);
    }
    ~Daemon() {
        stop();
        std::filesystem::remove_all(directory_);
    }
    void stop() {
        if (!thread_.joinable()) return;
        loop_->stop();
        thread_.join();
        EXPECT_EQ(coordinator->session_count(), 0u);
        EXPECT_FALSE(coordinator->creation_in_progress());
    }
    /// Runs `function` on the loop.
    template <class F>
    auto on_loop(F function) -> decltype(function()) {
        std::promise<decltype(function())> promise;
        loop_->post([&] { promise.set_value(function()); });
        return promise.get_future().get();
    }
    void wait_no_session() {
        std::promise<void> done;
        loop_->post([&] { env::spawn_detached(tell(coordinator.get(), &done)); });
        done.get_future().wait();
    }
    const std::string& address() const { return address_; }

private:
    static env::Task<void> start(Coordinator* coordinator) {
        const base::Result<void> started = co_await coordinator->start();
        EXPECT_TRUE(started);
    }
    static env::Task<void> tell(Coordinator* coordinator, std::promise<void>* done) {
        co_await coordinator->wait_no_session();
        done->set_value();
    }

    std::string directory_ = std::filesystem::temp_directory_path() / "umbra-service-XXXXXX";
    std::string address_;
    std::unique_ptr<env::Loop> loop_ = std::move(*env::Loop::create());
    env::SeededRandom random_{1};

public:
    testing::MemoryStateStore store;
    testing::FakeArray array;
    host::testing::FakeHost fake{*loop_};
    testing::FakeProvider provider{array, fake, *loop_, "host-a", nullptr, Guid::from_random(7, 7)};

private:
    Registry registry_;
    EventLog events_{*loop_, store, [](const EventRecord&) {}};

public:
    std::unique_ptr<Coordinator> coordinator;

private:
    std::unique_ptr<ServiceContext> context_;
    std::unique_ptr<grpc::Service> vss_;
    std::unique_ptr<grpc::Service> administration_;
    std::unique_ptr<grpc::Server> server_;
    std::thread thread_;
};

/// A requester, as libvssapi talks.
class Client {
public:
    explicit Client(const Daemon& daemon) {
        grpc::ChannelArguments arguments;
        arguments.SetInt(GRPC_ARG_USE_LOCAL_SUBCHANNEL_POOL, 1);
        channel_ = grpc::CreateCustomChannel(daemon.address(), grpc::InsecureChannelCredentials(), arguments);
        stub = v1::Vss::NewStub(channel_);
        administration = v1::VssAdministration::NewStub(channel_);
    }
    ~Client() { vanish(); }

    void begin() {
        v1::OpenSessionRequest request;
        request.set_client("test");
        stream_ = stub->OpenSession(&context_, request);
    }
    void open() {
        begin();
        v1::SessionOpened opened;
        ASSERT_TRUE(stream_->Read(&opened));
        session = opened.session();
        ASSERT_TRUE(Guid::parse(session));
    }
    /// The process is gone: the stream breaks.
    void vanish() {
        if (!stream_) return;
        context_.TryCancel();
        (void)stream_->Finish();
        stream_.reset();
    }
    /// Until the service ends the stream.
    grpc::Status wait_for_the_end() {
        v1::SessionOpened more;
        while (stream_->Read(&more)) {
        }
        const grpc::Status status = stream_->Finish();
        stream_.reset();
        return status;
    }
    template <class Reply, class Request>
    Reply call(grpc::Status (v1::Vss::Stub::*method)(grpc::ClientContext*, const Request&, Reply*), Request request) {
        grpc::ClientContext context;
        Reply reply;
        const grpc::Status status = (stub.get()->*method)(&context, request, &reply);
        EXPECT_TRUE(status.ok()) << status.error_message();
        return reply;
    }
    template <class Request>
    Request with_session() {
        Request request;
        request.set_session(session);
        return request;
    }
    ComCode initialize(const std::optional<std::string>& xml = std::nullopt) {
        auto request = with_session<v1::InitializeRequest>();
        if (xml) request.set_xml(*xml);
        return call(&v1::Vss::Stub::InitializeForBackup, request).status().hresult();
    }
    ComCode set_context(uint32_t context) {
        auto request = with_session<v1::SetContextRequest>();
        request.set_context(context);
        return call(&v1::Vss::Stub::SetContext, request).status().hresult();
    }
    v1::IdReply start_set() {
        return call(&v1::Vss::Stub::StartSnapshotSet, with_session<v1::StartSnapshotSetRequest>());
    }
    v1::IdReply add(const std::string& volume) {
        auto request = with_session<v1::AddToSnapshotSetRequest>();
        request.set_volume(volume);
        return call(&v1::Vss::Stub::AddToSnapshotSet, request);
    }
    v1::OperationReply do_set() { return call(&v1::Vss::Stub::DoSnapshotSet, with_session<v1::SessionRequest>()); }
    v1::OperationState wait(const std::string& operation) {
        v1::WaitOperationRequest request;
        request.set_operation(operation);
        request.set_timeout_ms(kInfinite);
        return call(&v1::Vss::Stub::WaitOperation, request);
    }
    v1::XmlReply save() { return call(&v1::Vss::Stub::SaveAsXML, with_session<v1::SessionRequest>()); }
    ComCode close() {
        return call(&v1::Vss::Stub::CloseSession, with_session<v1::SessionRequest>()).status().hresult();
    }
    std::vector<std::string> set_states() {
        grpc::ClientContext context;
        v1::ListShadowsReply reply;
        EXPECT_TRUE(administration->ListShadows(&context, v1::ListShadowsRequest(), &reply).ok());
        std::vector<std::string> states;
        for (const v1::ShadowSet& set : reply.sets()) states.push_back(set.state());
        return states;
    }

    std::unique_ptr<v1::Vss::Stub> stub;
    std::unique_ptr<v1::VssAdministration::Stub> administration;
    std::string session;

private:
    std::shared_ptr<grpc::Channel> channel_;
    grpc::ClientContext context_;
    std::unique_ptr<grpc::ClientReader<v1::SessionOpened>> stream_;
};

/// How far a client gets before it vanishes.
enum class Progress : uint8_t {
    kOpened,
    kInitialized,
    kSetStarted,
    kVolumeAdded,
    kSnapshotting,
    kSnapshotted,
    kSaved,
};
constexpr Progress kEveryProgress[] = {Progress::kOpened,      Progress::kInitialized,  Progress::kSetStarted,
                                       Progress::kVolumeAdded, Progress::kSnapshotting, Progress::kSnapshotted,
                                       Progress::kSaved};

/// The document, when it came that far.
std::string advance(Daemon& daemon, Client& client, Progress to) {
    client.open();
    if (to == Progress::kOpened) return {};
    EXPECT_EQ(client.initialize(), vss::kOk);
    EXPECT_EQ(client.set_context(kTransportable), vss::kOk);
    if (to == Progress::kInitialized) return {};
    EXPECT_EQ(client.start_set().status().hresult(), vss::kOk);
    if (to == Progress::kSetStarted) return {};
    EXPECT_EQ(client.add("/srv/db").status().hresult(), vss::kOk);
    if (to == Progress::kVolumeAdded) return {};
    if (to == Progress::kSnapshotting) {
        daemon.on_loop([&] { return daemon.provider.delay["EndPrepareSnapshots"] = std::chrono::hours(1); });
    }
    const v1::OperationReply operation = client.do_set();
    EXPECT_EQ(operation.status().hresult(), vss::kOk);
    if (to == Progress::kSnapshotting) return {};
    EXPECT_EQ(client.wait(operation.operation()).result(), vss::kAsyncFinished);
    if (to == Progress::kSnapshotted) return {};
    return client.save().xml();
}

TEST(Service, ASessionFromItsBeginningToItsEnd) {
    Daemon daemon;
    Client client(daemon);
    const std::string xml = advance(daemon, client, Progress::kSaved);
    EXPECT_TRUE(parse_document(xml));
    EXPECT_EQ(client.set_states(), std::vector<std::string>{"unconfirmed"});
    EXPECT_EQ(client.close(), vss::kOk);
    EXPECT_TRUE(client.wait_for_the_end().ok()) << "the stream ends with the session";
    EXPECT_EQ(client.set_states(), std::vector<std::string>{"transported"});
    EXPECT_EQ(client.initialize(), vss::kBadState) << "there is no such session any more";
    EXPECT_EQ(daemon.on_loop([&] { return daemon.array.shadow_count(); }), 1u);

    Client importer(daemon);
    importer.open();
    EXPECT_EQ(importer.initialize(xml), vss::kOk);
    const auto import = importer.call(&v1::Vss::Stub::ImportSnapshots, importer.with_session<v1::SessionRequest>());
    EXPECT_EQ(import.status().hresult(), vss::kOk);
    EXPECT_EQ(importer.wait(import.operation()).result(), vss::kAsyncFinished);
    auto query = importer.with_session<v1::QueryRequest>();
    query.set_queried_type(vss::kObjectNone);
    query.set_returned_type(vss::kObjectSnapshot);
    const v1::QueryReply found = importer.call(&v1::Vss::Stub::Query, query);
    EXPECT_EQ(found.status().hresult(), vss::kOk) << found.status().message();
    auto erase = importer.with_session<v1::DeleteSnapshotsRequest>();
    erase.set_object(daemon.on_loop([&] { return daemon.coordinator->sets().begin()->first.text(); }));
    erase.set_type(vss::kObjectSnapshotSet);
    EXPECT_EQ(importer.call(&v1::Vss::Stub::DeleteSnapshots, erase).deleted(), 1u);
    EXPECT_EQ(daemon.on_loop([&] { return daemon.array.shadow_count(); }), 0u);
}

TEST(Service, ClientsThatCancelAtOnce) {
    Daemon daemon;
    for (int i = 0; i < 200; ++i) {
        Client client(daemon);
        client.begin();
        if (i % 3 == 1) {
            Client other(daemon);
            other.open();
        }
    }
    daemon.stop();
}

TEST(Service, AClientThatVanishesInAnyStateLeavesNothing) {
    for (const Progress progress : kEveryProgress) {
        SCOPED_TRACE(static_cast<int>(progress));
        Daemon daemon;
        Client client(daemon);
        (void)advance(daemon, client, progress);
        client.vanish();
        daemon.wait_no_session();
        const bool kept = progress == Progress::kSaved;
        daemon.stop();
        EXPECT_EQ(daemon.array.shadow_count(), kept ? 1u : 0u);
        EXPECT_EQ(daemon.store.set_count(), kept ? 1u : 0u);
        EXPECT_EQ(daemon.store.intent_count(), 0u);
        EXPECT_TRUE(daemon.fake.frozen().empty());
    }
}

TEST(Service, StopsWithSessionsOpenInAnyState) {
    for (const Progress progress : kEveryProgress) {
        SCOPED_TRACE(static_cast<int>(progress));
        Daemon daemon;
        Client client(daemon);
        Client idle(daemon);
        idle.open();
        (void)advance(daemon, client, progress);
        daemon.stop();
        (void)idle.wait_for_the_end();
        EXPECT_EQ(daemon.array.shadow_count(), progress == Progress::kSaved ? 1u : 0u);
        EXPECT_EQ(daemon.store.set_count(), progress == Progress::kSaved ? 1u : 0u);
    }
}

TEST(Service, StopsWhileSomebodyWaitsForEver) {
    Daemon daemon;
    Client client(daemon);
    client.open();
    ASSERT_EQ(client.initialize(), vss::kOk);
    ASSERT_EQ(client.set_context(kTransportable), vss::kOk);
    ASSERT_EQ(client.start_set().status().hresult(), vss::kOk);
    ASSERT_EQ(client.add("/srv/db").status().hresult(), vss::kOk);
    daemon.on_loop([&] { return daemon.provider.delay["EndPrepareSnapshots"] = std::chrono::hours(1); });
    const std::string operation = client.do_set().operation();
    Client other(daemon);
    other.open();
    ASSERT_EQ(other.initialize(), vss::kOk);
    // Two wait without end: for the operation, and for the turn to create a set.
    std::promise<void> asked;
    std::thread waiter([&] {
        grpc::ClientContext context;
        v1::WaitOperationRequest request;
        request.set_operation(operation);
        request.set_timeout_ms(kInfinite);
        v1::OperationState state;
        asked.set_value();
        const grpc::Status status = client.stub->WaitOperation(&context, request, &state);
        EXPECT_TRUE(!status.ok() || state.result() != vss::kAsyncPending);
    });
    std::thread queued([&] {
        auto request = other.with_session<v1::StartSnapshotSetRequest>();
        request.set_wait_ms(kInfinite);
        grpc::ClientContext context;
        v1::IdReply reply;
        const grpc::Status status = other.stub->StartSnapshotSet(&context, request, &reply);
        EXPECT_TRUE(!status.ok() || vss::failed(reply.status().hresult()));
    });
    asked.get_future().wait();
    daemon.stop();
    waiter.join();
    queued.join();
    EXPECT_EQ(daemon.store.set_count(), 0u);
}

TEST(Service, WhatIsNoDocumentIsRefused) {
    Daemon daemon;
    Client maker(daemon);
    const std::string good = advance(daemon, maker, Progress::kSaved);
    std::vector<std::string> bad{"",
                                 "x",
                                 "<",
                                 "<?xml version=\"1.0\"?><!DOCTYPE a [<!ENTITY b \"c\">]><a>&b;</a>",
                                 std::string(64, '\0'),
                                 good + good,
                                 good.substr(0, good.size() / 2),
                                 std::string(kMaximumDocumentBytes + 1, ' ')};
    std::string deep;
    for (int i = 0; i < 100'000; ++i) deep += "<a>";
    bad.push_back(deep);
    for (const std::string& xml : bad) {
        SCOPED_TRACE(xml.substr(0, 40));
        Client client(daemon);
        client.open();
        EXPECT_EQ(client.initialize(xml), vss::kInvalidXmlDocument);
        EXPECT_EQ(client.initialize(good), vss::kOk) << "the object is still new";
    }
}

TEST(Service, RequestsThatNameNothing) {
    Daemon daemon;
    Client client(daemon);
    for (const std::string& session : {std::string(), std::string("x"), Guid::from_random(1, 1).text()}) {
        client.session = session;
        EXPECT_EQ(client.initialize(), vss::kBadState);
        EXPECT_EQ(client.start_set().status().hresult(), vss::kBadState);
        EXPECT_EQ(client.add("/srv/db").status().hresult(), vss::kBadState);
        EXPECT_EQ(client.save().status().hresult(), vss::kBadState);
        EXPECT_EQ(client.close(), vss::kOk);
        EXPECT_EQ(client.wait(session).status().hresult(), vss::kObjectNotFound);
    }
    client.open();
    EXPECT_EQ(client.initialize(), vss::kOk);
    auto query = client.with_session<v1::QueryRequest>();
    query.set_queried_object("not a guid");
    query.set_returned_type(77);
    EXPECT_TRUE(vss::failed(client.call(&v1::Vss::Stub::Query, query).status().hresult()));
    auto add = client.with_session<v1::AddToSnapshotSetRequest>();
    add.set_provider("not a guid");
    EXPECT_EQ(client.call(&v1::Vss::Stub::AddToSnapshotSet, add).status().hresult(), vss::kInvalidArgument);
    auto edit = client.with_session<v1::EditComponentRequest>();
    edit.set_edit(static_cast<v1::EditComponentRequest::Edit>(99));
    EXPECT_EQ(client.call(&v1::Vss::Stub::EditComponent, edit).status().hresult(), vss::kInvalidArgument);
    auto erase = client.with_session<v1::DeleteSnapshotsRequest>();
    erase.set_object("not a guid");
    erase.set_type(vss::kObjectSnapshotSet);
    EXPECT_EQ(client.call(&v1::Vss::Stub::DeleteSnapshots, erase).status().hresult(), vss::kObjectNotFound);
}

}  // namespace
}  // namespace umbra::coordinator

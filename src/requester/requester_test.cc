// libvssapi against a coordinator that answers as it is told and writes down what it was asked.
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <spawn.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <condition_variable>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <mutex>
#include <thread>
#include <vector>

#include "com/ptr.h"
#include "com/text.h"
#include "requester/backup_components.h"
#include "requester/channel.h"
#include "vsbackup.h"
#include "vss.grpc.pb.h"
#include "vsserror.h"

namespace umbra::requester {
namespace {

using namespace std::chrono_literals;
using com::Ptr;
using google::protobuf::Message;

constexpr const char* kSession = "0f0e0d0c-0b0a-4908-8706-050403020100";
constexpr const char* kSet = "11111111-1111-4111-8111-111111111111";
constexpr const char* kSnapshot = "22222222-2222-4222-8222-222222222222";
constexpr const char* kProvider = "33333333-3333-4333-8333-333333333333";
const GUID kSetId = compat::guid_literal("11111111-1111-4111-8111-111111111111");
const GUID kSnapshotId = compat::guid_literal("22222222-2222-4222-8222-222222222222");
const GUID kProviderId = compat::guid_literal("33333333-3333-4333-8333-333333333333");

class FakeCoordinator final : public proto::Vss::Service {
public:
    explicit FakeCoordinator(const std::string& path) : path_(path) { start(); }
    ~FakeCoordinator() override { stop(); }

    void start() {
        grpc::ServerBuilder builder;
        builder.AddListeningPort("unix:" + path_, grpc::InsecureServerCredentials());
        builder.RegisterService(this);
        builder.SetMaxReceiveMessageSize(64 << 20);
        server_ = builder.BuildAndStart();
    }
    void stop() {
        if (!server_) return;
        server_->Shutdown(std::chrono::system_clock::now());
        server_.reset();
    }

    /// Every method answers with this code until told otherwise.
    void answer_all(HRESULT code) {
        const std::lock_guard lock(mutex_);
        default_code_ = code;
    }
    void answer(const std::string& method, const Message& reply) {
        const std::lock_guard lock(mutex_);
        replies_[method].reset(reply.New());
        replies_[method]->CopyFrom(reply);
    }
    void break_channel(grpc::Status status) {
        const std::lock_guard lock(mutex_);
        channel_status_ = std::move(status);
    }

    std::vector<std::string> calls() const {
        const std::lock_guard lock(mutex_);
        return calls_;
    }
    /// "Method{fields}" of the last call, with the session's id left out.
    std::string last() const {
        const std::lock_guard lock(mutex_);
        return calls_.empty() ? "" : calls_.back();
    }
    size_t count(const std::string& method) const {
        const std::lock_guard lock(mutex_);
        return static_cast<size_t>(
            std::ranges::count_if(calls_, [&](const auto& call) { return call.starts_with(method + "{"); }));
    }
    /// Waits until that many sessions have ended from the client's side.
    bool wait_for_ended(int sessions) {
        std::unique_lock lock(mutex_);
        return changed_.wait_for(lock, 30s, [&] { return ended_ >= sessions; });
    }

    grpc::Status OpenSession(grpc::ServerContext* context, const proto::OpenSessionRequest* request,
                             grpc::ServerWriter<proto::SessionOpened>* stream) override {
        {
            const std::lock_guard lock(mutex_);
            if (!channel_status_.ok()) return channel_status_;
            pid_ = request->pid();
        }
        proto::SessionOpened opened;
        opened.set_session(kSession);
        stream->Write(opened);
        std::unique_lock lock(mutex_);
        while (!context->IsCancelled() && !closed_) changed_.wait_for(lock, 5ms);
        closed_ = false;
        ++ended_;
        changed_.notify_all();
        return grpc::Status::OK;
    }
    uint32_t client_pid() const {
        const std::lock_guard lock(mutex_);
        return pid_;
    }

#define FAKE_METHOD(method, request, reply)                                                                   \
    grpc::Status method(grpc::ServerContext*, const proto::request* message, proto::reply* answer) override { \
        return handle(#method, *message, *answer);                                                            \
    }
    VSS_CHANNEL_CALLS(FAKE_METHOD)
#undef FAKE_METHOD

private:
    grpc::Status handle(const std::string& method, const Message& request, Message& reply) {
        const std::lock_guard lock(mutex_);
        std::string text = request.ShortDebugString();
        const std::string session = std::string("session: \"") + kSession + "\"";
        if (const auto at = text.find(session); at != std::string::npos) {
            text.erase(at, std::min(session.size() + 1, text.size() - at));
            has_session_ = true;
        }
        calls_.push_back(method + "{" + text + "}");
        if (method == "CloseSession") {
            closed_ = true;
            changed_.notify_all();
        }
        if (!channel_status_.ok()) return channel_status_;
        if (const auto at = replies_.find(method); at != replies_.end()) {
            reply.CopyFrom(*at->second);
            return grpc::Status::OK;
        }
        const auto* field = reply.GetDescriptor()->FindFieldByName("status");
        auto& status = dynamic_cast<proto::Status&>(*reply.GetReflection()->MutableMessage(&reply, field));
        status.set_hresult(static_cast<uint32_t>(default_code_));
        if (FAILED(default_code_)) status.set_message("refused by the fake");
        return grpc::Status::OK;
    }

    const std::string path_;
    std::unique_ptr<grpc::Server> server_;
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    HRESULT default_code_ = S_OK;
    std::map<std::string, std::unique_ptr<Message>> replies_;
    std::vector<std::string> calls_;
    grpc::Status channel_status_;
    bool closed_ = false;
    bool has_session_ = false;
    int ended_ = 0;
    uint32_t pid_ = 0;
};

std::string error_text() {
    com::Bstr text;
    EXPECT_EQ(UmbraGetLastErrorText(text.put()), S_OK);
    return com::bstr_to_utf8(text.get()).value();
}

class RequesterTest : public testing::Test {
protected:
    RequesterTest() {
        char path[] = "/tmp/umbra-requester-XXXXXX";
        directory_ = mkdtemp(path);
        socket_ = directory_ + "/host.sock";
        setenv("UMBRA_HOST", ("unix:" + socket_).c_str(), 1);
        fake_ = std::make_unique<FakeCoordinator>(socket_);
    }
    ~RequesterTest() override {
        fake_.reset();
        std::filesystem::remove_all(directory_);
        unsetenv("UMBRA_HOST");
    }

    Ptr<IVssBackupComponentsEx4> create() {
        Ptr<IVssBackupComponents> object;
        EXPECT_EQ(CreateVssBackupComponents(object.put()), S_OK) << error_text();
        auto extended = object.as<IVssBackupComponentsEx4>();
        EXPECT_TRUE(extended);
        return extended;
    }

    std::string directory_;
    std::string socket_;
    std::unique_ptr<FakeCoordinator> fake_;
};

TEST_F(RequesterTest, AnObjectIsASession) {
    {
        auto object = create();
        EXPECT_EQ(fake_->client_pid(), static_cast<uint32_t>(getpid()));
        VSS_ID session{};
        EXPECT_EQ(object->GetSessionId(&session), S_OK);
        EXPECT_EQ(com::from_guid(session).text(), kSession);
        EXPECT_TRUE(object.as<IVssBackupComponents>());
        EXPECT_TRUE(object.as<IVssBackupComponentsEx>());
        EXPECT_TRUE(object.as<IVssBackupComponentsEx2>());
        EXPECT_TRUE(object.as<IVssBackupComponentsEx3>());
        EXPECT_FALSE(object.as<IVssAsync>());
    }
    EXPECT_TRUE(fake_->wait_for_ended(1));
    EXPECT_EQ(fake_->count("CloseSession"), 1U);
}

TEST_F(RequesterTest, AChannelThatGoesAwayEndsTheSession) {
    {
        auto channel = connect({"unix:" + socket_});
        ASSERT_TRUE(channel);
        ASSERT_EQ((*channel)->open_session().value(), kSession);
    }
    EXPECT_TRUE(fake_->wait_for_ended(1));
    EXPECT_EQ(fake_->count("CloseSession"), 0U);
}

// The requester's process, linked with the shared library.
class Probe {
public:
    /// `command`: the program and its arguments.
    explicit Probe(const std::vector<std::string>& command) {
        int in[2];
        int out[2];
        EXPECT_EQ(pipe2(in, O_CLOEXEC), 0);
        EXPECT_EQ(pipe2(out, O_CLOEXEC), 0);
        posix_spawn_file_actions_t actions;
        posix_spawn_file_actions_init(&actions);
        posix_spawn_file_actions_adddup2(&actions, in[0], STDIN_FILENO);
        posix_spawn_file_actions_adddup2(&actions, out[1], STDOUT_FILENO);
        std::vector<char*> argv;
        for (const std::string& word : command) argv.push_back(const_cast<char*>(word.c_str()));
        argv.push_back(nullptr);
        EXPECT_EQ(posix_spawnp(&pid_, argv[0], &actions, nullptr, argv.data(), environ), 0);
        posix_spawn_file_actions_destroy(&actions);
        close(in[0]);
        close(out[1]);
        input_ = in[1];
        output_ = out[0];
    }
    ~Probe() {
        if (pid_ > 0) kill(SIGKILL);
        close_input();
        close(output_);
    }
    std::string line() {
        std::string text;
        char byte = 0;
        while (read(output_, &byte, 1) == 1 && byte != '\n') text += byte;
        return text;
    }
    void close_input() {
        if (input_ >= 0) close(input_);
        input_ = -1;
    }
    int kill(int signal) {
        ::kill(pid_, signal);
        return wait();
    }
    int wait() {
        int status = 0;
        waitpid(pid_, &status, 0);
        pid_ = -1;
        return status;
    }

private:
    pid_t pid_ = -1;
    int input_ = -1;
    int output_ = -1;
};

TEST_F(RequesterTest, AKilledRequesterEndsItsSession) {
    Probe probe({REQUESTER_PROBE});
    ASSERT_EQ(probe.line(), "ready");
    EXPECT_EQ(fake_->count("InitializeForBackup"), 1U);
    probe.kill(SIGKILL);
    EXPECT_TRUE(fake_->wait_for_ended(1));
    EXPECT_EQ(fake_->count("CloseSession"), 0U);
}

TEST_F(RequesterTest, AnOrderlyRequesterClosesItsSession) {
    Probe probe({REQUESTER_PROBE});
    ASSERT_EQ(probe.line(), "ready");
    probe.close_input();
    EXPECT_EQ(probe.wait(), 0);
    EXPECT_TRUE(fake_->wait_for_ended(1));
    EXPECT_EQ(fake_->count("CloseSession"), 1U);
}

TEST_F(RequesterTest, ConnectingFailsWithAReason) {
    const auto missing = connect({"unix:" + directory_ + "/none.sock", 50ms});
    ASSERT_FALSE(missing);
    EXPECT_EQ(missing.error().hresult, VSS_E_UNEXPECTED);
    EXPECT_NE(missing.error().error.message.find("No such file"), std::string::npos);
    for (const std::string& bad :
         {std::string("localhost:1"), std::string("unix:"), "unix:/" + std::string(200, 'x')}) {
        const auto refused = connect({bad, 50ms});
        ASSERT_FALSE(refused) << bad;
        EXPECT_EQ(refused.error().hresult, VSS_E_UNEXPECTED);
    }
    fake_->break_channel({grpc::StatusCode::PERMISSION_DENIED, "user nobody is not in the group umbra"});
    IVssBackupComponents* object = reinterpret_cast<IVssBackupComponents*>(this);
    EXPECT_EQ(CreateVssBackupComponents(&object), E_ACCESSDENIED);
    EXPECT_EQ(object, nullptr);
    EXPECT_EQ(error_text(), "user nobody is not in the group umbra");
    EXPECT_EQ(CreateVssBackupComponents(nullptr), E_INVALIDARG);
}

// Root passes every permission: then the requester runs as nobody.
TEST_F(RequesterTest, NoAccessToTheSocketIsAccessDenied) {
    ASSERT_EQ(chmod(directory_.c_str(), 0755), 0);
    ASSERT_EQ(chmod(socket_.c_str(), 0600), 0);
    if (geteuid() != 0) {
        ASSERT_EQ(chmod(socket_.c_str(), 0), 0);
        IVssBackupComponents* object = nullptr;
        EXPECT_EQ(CreateVssBackupComponents(&object), E_ACCESSDENIED);
        return;
    }
    const std::vector<std::string> as_nobody = {"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"};
    auto command = as_nobody;
    command.insert(command.end(), {"test", "-x", REQUESTER_PROBE});
    if (Probe(command).wait() != 0) GTEST_SKIP() << "nobody cannot run " << REQUESTER_PROBE;
    command = as_nobody;
    command.push_back(REQUESTER_PROBE);
    Probe probe(command);
    EXPECT_TRUE(probe.line().starts_with("failed 80070005 no access to umbra-hostd"));
    EXPECT_EQ(fake_->calls().size(), 0U);
}

TEST_F(RequesterTest, WaitsForACoordinatorThatIsStarting) {
    fake_->stop();
    std::filesystem::remove(socket_);
    com::Result<std::shared_ptr<Channel>> channel;
    std::thread client([&] { channel = connect({"unix:" + socket_}); });
    fake_->start();
    client.join();
    ASSERT_TRUE(channel) << channel.error().error.message;
    EXPECT_TRUE((*channel)->open_session());
}

TEST_F(RequesterTest, ALostCoordinatorIsUnexpected) {
    auto object = create();
    fake_->stop();
    EXPECT_EQ(object->InitializeForBackup(), VSS_E_UNEXPECTED);
    EXPECT_NE(error_text().find("umbra-hostd at unix:"), std::string::npos);
    Ptr<IVssAsync> async;
    EXPECT_EQ(object->DoSnapshotSet(async.put()), VSS_E_UNEXPECTED);
    EXPECT_FALSE(async);
}

TEST_F(RequesterTest, ARestartedCoordinatorDoesNotKnowTheSession) {
    auto object = create();
    fake_->stop();
    fake_->start();
    // Until the end of the stream is noticed, the fake, which knows no sessions, would answer.
    while (object->SetContext(0) == S_OK) std::this_thread::yield();
    while (error_text().find("is lost") == std::string::npos) EXPECT_EQ(object->SetContext(0), VSS_E_UNEXPECTED);
    const size_t before = fake_->calls().size();
    EXPECT_EQ(object->AbortBackup(), VSS_E_UNEXPECTED);
    object.reset();
    EXPECT_EQ(fake_->calls().size(), before);
    EXPECT_TRUE(create()) << "a new object is a new session";
}

// Every method that goes to the coordinator, with good parameters, and what the coordinator is to be asked.
struct Call {
    const char* name;
    std::function<HRESULT(IVssBackupComponentsEx4&)> make;
    const char* asked;
};

template <class... Args>
auto async_call(HRESULT (STDMETHODCALLTYPE IVssBackupComponents::*method)(IVssAsync**)) {
    return [method](IVssBackupComponentsEx4& object) {
        Ptr<IVssAsync> async;
        const HRESULT result = (object.*method)(async.put());
        EXPECT_EQ(SUCCEEDED(result), static_cast<bool>(async));
        return result;
    };
}

wchar_t kVolume[] = L"/srv/d\xE4ten";
wchar_t kMountPoint[] = L"/mnt/copy";

const std::vector<Call>& every_call() {
    using Ex4 = IVssBackupComponentsEx4;
    constexpr auto kType = VSS_CT_FILEGROUP;
    static const std::vector<Call> calls = {
        {"InitializeForBackup", [](Ex4& o) { return o.InitializeForBackup(); }, "InitializeForBackup{}"},
        {"InitializeForBackup, document",
         [](Ex4& o) {
             const com::Bstr xml(L"<a b=\"\xFC\"/>");
             return o.InitializeForBackup(xml.get());
         },
         R"(InitializeForBackup{xml: "<a b=\"\303\274\"/>"})"},
        {"InitializeForRestore",
         [](Ex4& o) {
             const com::Bstr xml(L"<a/>");
             return o.InitializeForRestore(xml.get());
         },
         R"(InitializeForRestore{xml: "<a/>"})"},
        {"SetBackupState", [](Ex4& o) { return o.SetBackupState(true, false, VSS_BT_COPY); },
         "SetBackupState{select_components: true backup_type: 5}"},
        {"SetRestoreState", [](Ex4& o) { return o.SetRestoreState(VSS_RTYPE_IMPORT); },
         "SetRestoreState{restore_type: 2}"},
        {"SetContext", [](Ex4& o) { return o.SetContext(VSS_CTX_ALL); }, "SetContext{context: 4294967295}"},
        {"GatherWriterMetadata", async_call(&IVssBackupComponents::GatherWriterMetadata), "GatherWriterMetadata{}"},
        {"GetWriterMetadataCount",
         [](Ex4& o) {
             UINT count = 7;
             const HRESULT result = o.GetWriterMetadataCount(&count);
             EXPECT_EQ(count, 0U);
             return result;
         },
         "GetWriterMetadata{}"},
        {"PrepareForBackup", async_call(&IVssBackupComponents::PrepareForBackup), "PrepareForBackup{}"},
        {"AbortBackup", [](Ex4& o) { return o.AbortBackup(); }, "AbortBackup{}"},
        {"GatherWriterStatus", async_call(&IVssBackupComponents::GatherWriterStatus), "GatherWriterStatus{}"},
        {"GetWriterStatusCount",
         [](Ex4& o) {
             UINT count = 7;
             return o.GetWriterStatusCount(&count);
         },
         "GetWriterStatus{}"},
        {"GetWriterComponentsCount",
         [](Ex4& o) {
             UINT count = 7;
             return o.GetWriterComponentsCount(&count);
         },
         "GetWriterComponents{}"},
        {"AddComponent", [](Ex4& o) { return o.AddComponent(kSetId, kProviderId, kType, nullptr, L"name"); },
         "EditComponent{edit: EDIT_ADD_COMPONENT instance: \"11111111-1111-4111-8111-111111111111\" "
         "writer: \"33333333-3333-4333-8333-333333333333\" type: 2 name: \"name\"}"},
        {"SetBackupSucceeded",
         [](Ex4& o) { return o.SetBackupSucceeded(kSetId, GUID_NULL, kType, L"path", L"name", true); },
         "EditComponent{edit: EDIT_SET_BACKUP_SUCCEEDED instance: \"11111111-1111-4111-8111-111111111111\" type: 2 "
         "logical_path: \"path\" name: \"name\" flag: true}"},
        {"SetBackupOptions", [](Ex4& o) { return o.SetBackupOptions(GUID_NULL, kType, L"p", L"n", L"opt"); },
         R"(EditComponent{edit: EDIT_SET_BACKUP_OPTIONS type: 2 logical_path: "p" name: "n" texts: "opt"})"},
        {"SetRestoreOptions", [](Ex4& o) { return o.SetRestoreOptions(GUID_NULL, kType, L"p", L"n", L"opt"); },
         R"(EditComponent{edit: EDIT_SET_RESTORE_OPTIONS type: 2 logical_path: "p" name: "n" texts: "opt"})"},
        {"SetSelectedForRestore", [](Ex4& o) { return o.SetSelectedForRestore(GUID_NULL, kType, L"p", L"n", true); },
         R"(EditComponent{edit: EDIT_SET_SELECTED_FOR_RESTORE type: 2 logical_path: "p" name: "n" flag: true})"},
        {"SetSelectedForRestoreEx",
         [](Ex4& o) { return o.SetSelectedForRestoreEx(GUID_NULL, kType, L"p", L"n", true, kSetId); },
         "EditComponent{edit: EDIT_SET_SELECTED_FOR_RESTORE instance: \"11111111-1111-4111-8111-111111111111\" "
         "type: 2 logical_path: \"p\" name: \"n\" flag: true}"},
        {"SetAdditionalRestores", [](Ex4& o) { return o.SetAdditionalRestores(GUID_NULL, kType, L"p", L"n", true); },
         R"(EditComponent{edit: EDIT_SET_ADDITIONAL_RESTORES type: 2 logical_path: "p" name: "n" flag: true})"},
        {"SetPreviousBackupStamp",
         [](Ex4& o) { return o.SetPreviousBackupStamp(GUID_NULL, kType, L"p", L"n", L"stamp"); },
         R"(EditComponent{edit: EDIT_SET_PREVIOUS_BACKUP_STAMP type: 2 logical_path: "p" name: "n" texts: "stamp"})"},
        {"AddAlternativeLocationMapping",
         [](Ex4& o) { return o.AddAlternativeLocationMapping(GUID_NULL, kType, L"p", L"n", L"/a", L"*", true, L"/b"); },
         R"(EditComponent{edit: EDIT_ADD_ALTERNATIVE_LOCATION type: 2 logical_path: "p" name: "n" flag: true )"
         R"(texts: "/a" texts: "*" texts: "/b"})"},
        {"AddRestoreSubcomponent",
         [](Ex4& o) { return o.AddRestoreSubcomponent(GUID_NULL, kType, L"p", L"n", L"sp", L"sn"); },
         R"(EditComponent{edit: EDIT_ADD_RESTORE_SUBCOMPONENT type: 2 logical_path: "p" name: "n" )"
         R"(texts: "sp" texts: "sn"})"},
        {"SetFileRestoreStatus",
         [](Ex4& o) { return o.SetFileRestoreStatus(GUID_NULL, kType, L"p", L"n", VSS_RS_FAILED); },
         R"(EditComponent{edit: EDIT_SET_FILE_RESTORE_STATUS type: 2 logical_path: "p" name: "n" number: 3})"},
        {"AddNewTarget", [](Ex4& o) { return o.AddNewTarget(GUID_NULL, kType, L"p", L"n", L"/a", L"f", false, L"/b"); },
         R"(EditComponent{edit: EDIT_ADD_NEW_TARGET type: 2 logical_path: "p" name: "n" )"
         R"(texts: "/a" texts: "f" texts: "/b"})"},
        {"SetRangesFilePath", [](Ex4& o) { return o.SetRangesFilePath(GUID_NULL, kType, L"p", L"n", 4, L"/r"); },
         R"(EditComponent{edit: EDIT_SET_RANGES_FILE_PATH type: 2 logical_path: "p" name: "n" number: 4 texts: "/r"})"},
        {"SetAuthoritativeRestore",
         [](Ex4& o) { return o.SetAuthoritativeRestore(GUID_NULL, kType, L"p", L"n", true); },
         R"(EditComponent{edit: EDIT_SET_AUTHORITATIVE_RESTORE type: 2 logical_path: "p" name: "n" flag: true})"},
        {"SetRollForward",
         [](Ex4& o) { return o.SetRollForward(GUID_NULL, kType, L"p", L"n", VSS_RF_PARTIAL, L"point"); },
         R"(EditComponent{edit: EDIT_SET_ROLL_FORWARD type: 2 logical_path: "p" name: "n" number: 3 texts: "point"})"},
        {"SetRestoreName", [](Ex4& o) { return o.SetRestoreName(GUID_NULL, kType, L"p", L"n", L"new"); },
         R"(EditComponent{edit: EDIT_SET_RESTORE_NAME type: 2 logical_path: "p" name: "n" texts: "new"})"},
        {"BackupComplete", async_call(&IVssBackupComponents::BackupComplete), "BackupComplete{}"},
        {"PreRestore", async_call(&IVssBackupComponents::PreRestore), "PreRestore{}"},
        {"PostRestore", async_call(&IVssBackupComponents::PostRestore), "PostRestore{}"},
        {"SaveAsXML",
         [](Ex4& o) {
             com::Bstr xml;
             return o.SaveAsXML(xml.put());
         },
         "SaveAsXML{}"},
        {"StartSnapshotSet",
         [](Ex4& o) {
             VSS_ID set = kProviderId;
             const HRESULT result = o.StartSnapshotSet(&set);
             EXPECT_EQ(set, GUID_NULL);
             return result;
         },
         "StartSnapshotSet{}"},
        {"AddToSnapshotSet",
         [](Ex4& o) {
             VSS_ID snapshot{};
             return o.AddToSnapshotSet(kVolume, kProviderId, &snapshot);
         },
         R"(AddToSnapshotSet{volume: "/srv/d\303\244ten" provider: "33333333-3333-4333-8333-333333333333"})"},
        {"DoSnapshotSet", async_call(&IVssBackupComponents::DoSnapshotSet), "DoSnapshotSet{}"},
        {"DeleteSnapshots",
         [](Ex4& o) {
             LONG deleted = 0;
             VSS_ID bad{};
             return o.DeleteSnapshots(kSetId, VSS_OBJECT_SNAPSHOT_SET, TRUE, &deleted, &bad);
         },
         R"(DeleteSnapshots{object: "11111111-1111-4111-8111-111111111111" type: 2 force: true})"},
        {"ImportSnapshots", async_call(&IVssBackupComponents::ImportSnapshots), "ImportSnapshots{}"},
        {"BreakSnapshotSet", [](Ex4& o) { return o.BreakSnapshotSet(kSetId); },
         R"(BreakSnapshotSet{set: "11111111-1111-4111-8111-111111111111"})"},
        {"BreakSnapshotSetEx",
         [](Ex4& o) {
             Ptr<IVssAsync> async;
             return o.BreakSnapshotSetEx(kSetId, VSS_BREAKEX_FLAG_MAKE_READ_WRITE, async.put());
         },
         R"(BreakSnapshotSetEx{set: "11111111-1111-4111-8111-111111111111" flags: 2})"},
        {"GetSnapshotProperties",
         [](Ex4& o) {
             VSS_SNAPSHOT_PROP properties{};
             const HRESULT result = o.GetSnapshotProperties(kSnapshotId, &properties);
             VssFreeSnapshotProperties(&properties);
             return result;
         },
         R"(GetSnapshotProperties{snapshot: "22222222-2222-4222-8222-222222222222"})"},
        {"Query",
         [](Ex4& o) {
             Ptr<IVssEnumObject> objects;
             return o.Query(GUID_NULL, VSS_OBJECT_NONE, VSS_OBJECT_SNAPSHOT, objects.put());
         },
         "Query{queried_type: 1 returned_type: 3}"},
        {"IsVolumeSupported",
         [](Ex4& o) {
             BOOL supported = TRUE;
             const HRESULT result = o.IsVolumeSupported(GUID_NULL, kVolume, &supported);
             EXPECT_FALSE(supported);
             return result;
         },
         R"(IsVolumeSupported{volume: "/srv/d\303\244ten"})"},
        {"DisableWriterClasses", [](Ex4& o) { return o.DisableWriterClasses(&kSetId, 1); },
         R"(SelectWriters{how: HOW_DISABLE_CLASSES ids: "11111111-1111-4111-8111-111111111111"})"},
        {"EnableWriterClasses", [](Ex4& o) { return o.EnableWriterClasses(&kSetId, 1); },
         R"(SelectWriters{how: HOW_ENABLE_CLASSES ids: "11111111-1111-4111-8111-111111111111"})"},
        {"DisableWriterInstances", [](Ex4& o) { return o.DisableWriterInstances(&kSetId, 1); },
         R"(SelectWriters{how: HOW_DISABLE_INSTANCES ids: "11111111-1111-4111-8111-111111111111"})"},
        {"ExposeSnapshot",
         [](Ex4& o) {
             VSS_PWSZ exposed = nullptr;
             const HRESULT result =
                 o.ExposeSnapshot(kSnapshotId, nullptr, VSS_VOLSNAP_ATTR_EXPOSED_LOCALLY, kMountPoint, &exposed);
             CoTaskMemFree(exposed);
             return result;
         },
         R"(ExposeSnapshot{snapshot: "22222222-2222-4222-8222-222222222222" attributes: 1048576 expose: "/mnt/copy"})"},
        {"UnexposeSnapshot", [](Ex4& o) { return o.UnexposeSnapshot(kSnapshotId); },
         R"(UnexposeSnapshot{snapshot: "22222222-2222-4222-8222-222222222222"})"},
        {"RevertToSnapshot", [](Ex4& o) { return o.RevertToSnapshot(kSnapshotId, TRUE); },
         R"(RevertToSnapshot{snapshot: "22222222-2222-4222-8222-222222222222" force_dismount: true})"},
        {"QueryRevertStatus",
         [](Ex4& o) {
             Ptr<IVssAsync> async;
             return o.QueryRevertStatus(kVolume, async.put());
         },
         R"(QueryRevertStatus{volume: "/srv/d\303\244ten"})"},
        {"AddSnapshotToRecoverySet", [](Ex4& o) { return o.AddSnapshotToRecoverySet(kSnapshotId, 0, kVolume); },
         R"(AddSnapshotToRecoverySet{snapshot: "22222222-2222-4222-8222-222222222222" )"
         R"(destination: "/srv/d\303\244ten"})"},
        {"AddSnapshotToRecoverySet, original", [](Ex4& o) { return o.AddSnapshotToRecoverySet(kSnapshotId, 0); },
         R"(AddSnapshotToRecoverySet{snapshot: "22222222-2222-4222-8222-222222222222"})"},
        {"RecoverSet",
         [](Ex4& o) {
             Ptr<IVssAsync> async;
             return o.RecoverSet(VSS_RECOVERY_NO_VOLUME_CHECK, async.put());
         },
         "RecoverSet{flags: 512}"},
    };
    return calls;
}

TEST_F(RequesterTest, EveryMethodAsksItsQuestion) {
    auto object = create();
    for (const Call& call : every_call()) {
        EXPECT_EQ(call.make(*object), S_OK) << call.name << ": " << error_text();
        auto calls = fake_->calls();
        while (!calls.empty() && calls.back().starts_with("ReleaseOperation")) calls.pop_back();
        EXPECT_EQ(calls.back(), call.asked) << call.name;
    }
}

TEST_F(RequesterTest, EveryMethodPassesTheCoordinatorsCodeOn) {
    auto object = create();
    for (const HRESULT code : {VSS_E_BAD_STATE, E_ACCESSDENIED, VSS_E_PROVIDER_VETO}) {
        fake_->answer_all(code);
        for (const Call& call : every_call()) {
            EXPECT_EQ(call.make(*object), code) << call.name;
            EXPECT_EQ(error_text(), "refused by the fake") << call.name;
        }
    }
    fake_->answer_all(S_OK);
}

TEST_F(RequesterTest, EveryMethodReportsALostConnection) {
    auto object = create();
    fake_->break_channel({grpc::StatusCode::INTERNAL, "lost"});
    for (const Call& call : every_call()) EXPECT_EQ(call.make(*object), VSS_E_UNEXPECTED) << call.name;
    fake_->break_channel({});
}

TEST_F(RequesterTest, AnObjectIsSharedByThreadsAndEachHasItsOwnErrorText) {
    auto object = create();
    proto::StatusReply refused;
    refused.mutable_status()->set_hresult(static_cast<uint32_t>(VSS_E_BAD_STATE));
    refused.mutable_status()->set_message("the context is fixed");
    fake_->answer("SetContext", refused);
    proto::SnapshotReply found;
    *found.mutable_snapshot()->mutable_id() = kSnapshot;
    fake_->answer("GetSnapshotProperties", found);
    constexpr int kRounds = 100;
    std::vector<std::thread> threads;
    for (int i = 0; i < 2; ++i) {
        threads.emplace_back([object] {
            for (int round = 0; round < kRounds; ++round) {
                EXPECT_EQ(object->SetContext(0), VSS_E_BAD_STATE);
                EXPECT_EQ(error_text(), "the context is fixed");
            }
        });
        threads.emplace_back([object] {
            VSS_ID id{};
            for (int round = 0; round < kRounds; ++round) {
                EXPECT_EQ(object->AddToSnapshotSet(nullptr, GUID_NULL, &id), E_INVALIDARG);
                EXPECT_EQ(error_text(), "a text argument is NULL");
            }
        });
        threads.emplace_back([object] {
            for (int round = 0; round < kRounds; ++round) {
                VSS_SNAPSHOT_PROP properties{};
                EXPECT_EQ(object->GetSnapshotProperties(kSnapshotId, &properties), S_OK);
                EXPECT_EQ(properties.m_SnapshotId, kSnapshotId);
                VssFreeSnapshotProperties(&properties);
            }
        });
    }
    object.reset();  // the last of the threads releases it
    for (std::thread& thread : threads) thread.join();
    EXPECT_TRUE(fake_->wait_for_ended(1));
    EXPECT_EQ(fake_->count("CloseSession"), 1U);
}

TEST_F(RequesterTest, BadArgumentsNeverLeaveTheLibrary) {
    auto owner = create();
    IVssBackupComponentsEx4& o = *owner;
    wchar_t bad_text[] = {static_cast<wchar_t>(0xD800), 0};
    VSS_ID id{};
    VSS_ID other{};
    LONG number = 0;
    BOOL flag = FALSE;
    BSTR text = nullptr;
    VSS_WRITER_STATE state{};
    HRESULT hr = S_OK;
    Ptr<IVssAsync> async;
    Ptr<IVssEnumObject> objects;
    VSS_PWSZ exposed = nullptr;
    constexpr auto kNoWriter = GUID_NULL;

    const std::vector<std::function<HRESULT()>> calls = {
        [&] { return o.InitializeForRestore(nullptr); },
        [&] { return o.SetBackupState(true, true, static_cast<VSS_BACKUP_TYPE>(7)); },
        [&] { return o.SetRestoreState(static_cast<VSS_RESTORE_TYPE>(9)); },
        [&] { return o.GatherWriterMetadata(nullptr); },
        [&] { return o.GetWriterMetadataCount(nullptr); },
        [&] { return o.GetWriterMetadata(0, &id, nullptr); },
        [&] { return o.GetWriterMetadataEx(0, nullptr, nullptr); },
        [&] { return o.PrepareForBackup(nullptr); },
        [&] { return o.GatherWriterStatus(nullptr); },
        [&] { return o.GetWriterStatusCount(nullptr); },
        [&] { return o.GetWriterStatus(0, &id, &other, &text, &state, nullptr); },
        [&] { return o.GetWriterStatusEx(0, nullptr, &other, &text, &state, &hr); },
        [&] { return o.GetWriterComponentsCount(nullptr); },
        [&] { return o.GetWriterComponents(0, nullptr); },
        [&] { return o.AddComponent(kNoWriter, kNoWriter, VSS_CT_UNDEFINED, L"p", L"n"); },
        [&] { return o.AddComponent(kNoWriter, kNoWriter, VSS_CT_DATABASE, L"p", nullptr); },
        [&] { return o.AddComponent(kNoWriter, kNoWriter, VSS_CT_DATABASE, bad_text, L"n"); },
        [&] { return o.SetBackupOptions(kNoWriter, VSS_CT_DATABASE, L"p", L"n", nullptr); },
        [&] { return o.SetRestoreOptions(kNoWriter, VSS_CT_DATABASE, L"p", L"n", nullptr); },
        [&] { return o.SetPreviousBackupStamp(kNoWriter, VSS_CT_DATABASE, L"p", L"n", nullptr); },
        [&] { return o.AddRestoreSubcomponent(kNoWriter, VSS_CT_DATABASE, L"p", L"n", nullptr, L"s"); },
        [&] { return o.SetFileRestoreStatus(kNoWriter, VSS_CT_DATABASE, L"p", L"n", VSS_RS_UNDEFINED); },
        [&] { return o.AddNewTarget(kNoWriter, VSS_CT_DATABASE, L"p", L"n", L"/a", nullptr, true, L"/b"); },
        [&] { return o.SetRollForward(kNoWriter, VSS_CT_DATABASE, L"p", L"n", VSS_RF_UNDEFINED, L""); },
        [&] { return o.SetRollForward(kNoWriter, VSS_CT_DATABASE, L"p", L"n", VSS_RF_PARTIAL, nullptr); },
        [&] { return o.SetRestoreName(kNoWriter, VSS_CT_DATABASE, L"p", L"n", nullptr); },
        [&] { return o.BackupComplete(nullptr); },
        [&] { return o.PreRestore(nullptr); },
        [&] { return o.PostRestore(nullptr); },
        [&] { return o.SaveAsXML(nullptr); },
        [&] { return o.StartSnapshotSet(nullptr); },
        [&] { return o.AddToSnapshotSet(nullptr, GUID_NULL, &id); },
        [&] { return o.AddToSnapshotSet(kVolume, GUID_NULL, nullptr); },
        [&] { return o.AddToSnapshotSet(bad_text, GUID_NULL, &id); },
        [&] { return o.DoSnapshotSet(nullptr); },
        [&] { return o.DeleteSnapshots(kSetId, VSS_OBJECT_SNAPSHOT, TRUE, nullptr, &id); },
        [&] { return o.DeleteSnapshots(kSetId, VSS_OBJECT_SNAPSHOT, TRUE, &number, nullptr); },
        [&] { return o.DeleteSnapshots(kSetId, VSS_OBJECT_PROVIDER, TRUE, &number, &id); },
        [&] { return o.ImportSnapshots(nullptr); },
        [&] { return o.BreakSnapshotSetEx(kSetId, 0, nullptr); },
        [&] { return o.GetSnapshotProperties(kSnapshotId, nullptr); },
        [&] { return o.Query(kSetId, VSS_OBJECT_SNAPSHOT_SET, VSS_OBJECT_SNAPSHOT, objects.put()); },
        [&] { return o.Query(GUID_NULL, VSS_OBJECT_NONE, VSS_OBJECT_SNAPSHOT_SET, objects.put()); },
        [&] { return o.Query(GUID_NULL, VSS_OBJECT_NONE, VSS_OBJECT_SNAPSHOT, nullptr); },
        [&] { return o.IsVolumeSupported(GUID_NULL, nullptr, &flag); },
        [&] { return o.IsVolumeSupported(GUID_NULL, kVolume, nullptr); },
        [&] { return o.DisableWriterClasses(nullptr, 1); },
        [&] { return o.EnableWriterClasses(&kSetId, 0); },
        [&] { return o.DisableWriterInstances(nullptr, 0); },
        [&] { return o.ExposeSnapshot(kSnapshotId, nullptr, 0, nullptr, nullptr); },
        [&] { return o.ExposeSnapshot(kSnapshotId, bad_text, 0, nullptr, &exposed); },
        [&] { return o.QueryRevertStatus(nullptr, async.put()); },
        [&] { return o.QueryRevertStatus(kVolume, nullptr); },
        [&] { return o.AddSnapshotToRecoverySet(GUID_NULL, 0); },
        [&] { return o.AddSnapshotToRecoverySet(kSnapshotId, 1); },
        [&] { return o.RecoverSet(0, nullptr); },
        [&] { return o.GetSessionId(nullptr); },
        [&] { return o.PreFastRecovery(kSetId, 0, nullptr); },
        [&] { return o.GetRootAndLogicalPrefixPaths(kVolume, nullptr, &exposed); },
        [&] { return IsVolumeSnapshotted(nullptr, &flag, &number); },
        [&] { return IsVolumeSnapshotted(kVolume, nullptr, &number); },
        [&] { return CreateVssExamineWriterMetadata(nullptr, reinterpret_cast<IVssExamineWriterMetadata**>(&text)); },
        [&] { return UmbraGetLastErrorText(nullptr); },
    };
    const size_t before = fake_->calls().size();
    for (size_t i = 0; i < calls.size(); ++i) EXPECT_EQ(calls[i](), E_INVALIDARG) << "call " << i;
    EXPECT_EQ(fake_->calls().size(), before) << fake_->last();
}

TEST_F(RequesterTest, WhatIsNotOfferedSaysSo) {
    auto object = create();
    Ptr<IVssAsync> async;
    EXPECT_EQ(object->PreFastRecovery(kSetId, 0, async.put()), E_NOTIMPL);
    EXPECT_EQ(object->FastRecovery(kSetId, 0, async.put()), E_NOTIMPL);
    VSS_PWSZ root = kVolume;
    VSS_PWSZ prefix = kVolume;
    EXPECT_EQ(object->GetRootAndLogicalPrefixPaths(kVolume, &root, &prefix), E_NOTIMPL);
    EXPECT_EQ(root, nullptr);
    Ptr<IUnknown> unknown;
    EXPECT_EQ(GetProviderMgmtInterface(kProviderId, IID_IUnknown, unknown.put()), E_NOINTERFACE);
    bool block = true;
    EXPECT_EQ(ShouldBlockRevert(kVolume, &block), S_OK);
    EXPECT_FALSE(block);

    VSS_ID id{};
    Ptr<IVssExamineWriterMetadata> metadata;
    EXPECT_EQ(object->GetWriterMetadata(0, &id, metadata.put()), VSS_E_OBJECT_NOT_FOUND);
    proto::WriterMetadataReply writers;
    writers.add_writers()->set_xml("<writer/>");
    fake_->answer("GetWriterMetadata", writers);
    EXPECT_EQ(object->GetWriterMetadata(0, &id, metadata.put()), E_NOTIMPL);
    EXPECT_EQ(object->GetWriterMetadata(1, &id, metadata.put()), VSS_E_OBJECT_NOT_FOUND);
    const com::Bstr xml(L"<writer/>");
    EXPECT_EQ(CreateVssExamineWriterMetadata(xml.get(), metadata.put()), E_NOTIMPL);

    Ptr<IVssWriterComponentsExt> components;
    EXPECT_EQ(object->GetWriterComponents(0, components.put()), VSS_E_OBJECT_NOT_FOUND);
}

TEST_F(RequesterTest, FreedMetadataAndStatusAreGone) {
    auto object = create();
    UINT count = 5;
    EXPECT_EQ(object->FreeWriterMetadata(), S_OK);
    EXPECT_EQ(object->GetWriterMetadataCount(&count), VSS_E_BAD_STATE);
    EXPECT_EQ(object->FreeWriterMetadata(), VSS_E_BAD_STATE);
    EXPECT_EQ(object->FreeWriterStatus(), S_OK);
    EXPECT_EQ(object->GetWriterStatusCount(&count), VSS_E_BAD_STATE);
    Ptr<IVssAsync> async;
    EXPECT_EQ(object->GatherWriterStatus(async.put()), S_OK);
    EXPECT_EQ(object->GetWriterStatusCount(&count), S_OK);
}

TEST_F(RequesterTest, WriterStatus) {
    proto::WriterStatusReply reply;
    auto* writer = reply.add_writers();
    writer->set_instance(kSet);
    writer->set_writer(kProvider);
    writer->set_name("P\xC3\xB6stgres");
    writer->set_state(VSS_WS_FAILED_AT_FREEZE);
    writer->set_failure(static_cast<uint32_t>(VSS_E_WRITERERROR_TIMEOUT));
    writer->set_application_failure(static_cast<uint32_t>(E_FAIL));
    writer->set_application_message("too slow");
    fake_->answer("GetWriterStatus", reply);
    auto object = create();
    UINT count = 0;
    EXPECT_EQ(object->GetWriterStatusCount(&count), S_OK);
    EXPECT_EQ(count, 1U);
    VSS_ID instance{};
    VSS_ID id{};
    com::Bstr name;
    com::Bstr message;
    VSS_WRITER_STATE state{};
    HRESULT failure = S_OK;
    HRESULT application = S_OK;
    EXPECT_EQ(object->GetWriterStatus(0, &instance, &id, name.put(), &state, &failure), S_OK);
    EXPECT_EQ(instance, kSetId);
    EXPECT_EQ(id, kProviderId);
    EXPECT_EQ(name.view(), L"P\xF6stgres");
    EXPECT_EQ(state, VSS_WS_FAILED_AT_FREEZE);
    EXPECT_EQ(failure, VSS_E_WRITERERROR_TIMEOUT);
    EXPECT_EQ(object->GetWriterStatusEx(0, &instance, &id, name.put(), &state, &failure, &application, message.put()),
              S_OK);
    EXPECT_EQ(application, E_FAIL);
    EXPECT_EQ(message.view(), L"too slow");
    EXPECT_EQ(object->GetWriterStatus(1, &instance, &id, name.put(), &state, &failure), VSS_E_OBJECT_NOT_FOUND);
}

proto::Snapshot a_snapshot() {
    proto::Snapshot snapshot;
    snapshot.set_id(kSnapshot);
    snapshot.set_set(kSet);
    snapshot.set_snapshots_in_set(2);
    snapshot.set_device_object("/run/umbra/shadow/x");
    snapshot.set_original_volume("\\\\?\\Volume{aa}\\");
    snapshot.set_originating_machine("a.example");
    snapshot.set_provider(kProvider);
    snapshot.set_attributes(VSS_VOLSNAP_ATTR_TRANSPORTABLE | VSS_VOLSNAP_ATTR_PERSISTENT);
    snapshot.set_created(133000000000000000);
    snapshot.set_state(VSS_SS_CREATED);
    return snapshot;
}

TEST_F(RequesterTest, SnapshotProperties) {
    proto::SnapshotReply reply;
    *reply.mutable_snapshot() = a_snapshot();
    fake_->answer("GetSnapshotProperties", reply);
    auto object = create();
    VSS_SNAPSHOT_PROP properties{};
    ASSERT_EQ(object->GetSnapshotProperties(kSnapshotId, &properties), S_OK);
    EXPECT_EQ(properties.m_SnapshotId, kSnapshotId);
    EXPECT_EQ(properties.m_SnapshotSetId, kSetId);
    EXPECT_EQ(properties.m_ProviderId, kProviderId);
    EXPECT_EQ(properties.m_lSnapshotsCount, 2);
    EXPECT_STREQ(properties.m_pwszSnapshotDeviceObject, L"/run/umbra/shadow/x");
    EXPECT_STREQ(properties.m_pwszOriginalVolumeName, L"\\\\?\\Volume{aa}\\");
    EXPECT_STREQ(properties.m_pwszOriginatingMachine, L"a.example");
    EXPECT_STREQ(properties.m_pwszServiceMachine, L"") << "never NULL";
    EXPECT_EQ(properties.m_pwszExposedName, nullptr);
    EXPECT_EQ(properties.m_pwszExposedPath, nullptr);
    EXPECT_EQ(properties.m_lSnapshotAttributes, 0x21);
    EXPECT_EQ(properties.m_tsCreationTimestamp, 133000000000000000);
    EXPECT_EQ(properties.m_eStatus, VSS_SS_CREATED);
    VssFreeSnapshotProperties(&properties);
    EXPECT_EQ(properties.m_pwszOriginalVolumeName, nullptr);
    VssFreeSnapshotProperties(&properties);
    VssFreeSnapshotProperties(nullptr);

    reply.mutable_snapshot()->set_set("not a guid");
    fake_->answer("GetSnapshotProperties", reply);
    EXPECT_EQ(object->GetSnapshotProperties(kSnapshotId, &properties), VSS_E_UNEXPECTED);
    EXPECT_EQ(properties.m_SnapshotId, GUID_NULL);
}

TEST_F(RequesterTest, Enumeration) {
    proto::QueryReply reply;
    for (int i = 0; i < 3; ++i) *reply.add_snapshots() = a_snapshot();
    auto* provider = reply.add_providers();
    provider->set_id(kProvider);
    provider->set_name("Umbra");
    provider->set_type(VSS_PROV_HARDWARE);
    fake_->answer("Query", reply);
    auto object = create();
    Ptr<IVssEnumObject> objects;
    ASSERT_EQ(object->Query(GUID_NULL, VSS_OBJECT_NONE, VSS_OBJECT_SNAPSHOT, objects.put()), S_OK);
    VSS_OBJECT_PROP got[5] = {};
    ULONG fetched = 9;
    EXPECT_EQ(objects->Next(1, got, nullptr), E_POINTER);
    EXPECT_EQ(objects->Next(1, nullptr, &fetched), E_POINTER);
    EXPECT_EQ(fetched, 0U);
    EXPECT_EQ(objects->Next(0, nullptr, &fetched), S_OK);
    ASSERT_EQ(objects->Next(2, got, &fetched), S_OK);
    EXPECT_EQ(fetched, 2U);
    EXPECT_EQ(got[1].Type, VSS_OBJECT_SNAPSHOT);
    EXPECT_EQ(got[1].Obj.Snap.m_SnapshotId, kSnapshotId);
    for (ULONG i = 0; i < fetched; ++i) VssFreeSnapshotProperties(&got[i].Obj.Snap);

    Ptr<IVssEnumObject> copy;
    ASSERT_EQ(objects->Clone(copy.put()), S_OK);
    EXPECT_EQ(objects->Skip(1), S_OK);
    ASSERT_EQ(objects->Next(5, got, &fetched), S_FALSE);
    ASSERT_EQ(fetched, 1U);
    EXPECT_EQ(got[0].Type, VSS_OBJECT_PROVIDER);
    EXPECT_STREQ(got[0].Obj.Prov.m_pwszProviderName, L"Umbra");
    EXPECT_STREQ(got[0].Obj.Prov.m_pwszProviderVersion, L"");
    CoTaskMemFree(got[0].Obj.Prov.m_pwszProviderName);
    CoTaskMemFree(got[0].Obj.Prov.m_pwszProviderVersion);
    EXPECT_EQ(objects->Next(1, got, &fetched), S_FALSE);
    EXPECT_EQ(fetched, 0U);
    EXPECT_EQ(objects->Skip(1), S_FALSE);
    EXPECT_EQ(objects->Reset(), S_OK);
    EXPECT_EQ(objects->Skip(4), S_OK);
    EXPECT_EQ(copy->Skip(2), S_OK) << "a clone has a position of its own";
    EXPECT_EQ(copy->Skip(1), S_FALSE);
}

TEST_F(RequesterTest, ADeletionThatStopsSaysWhere) {
    proto::DeleteSnapshotsReply reply;
    reply.mutable_status()->set_hresult(static_cast<uint32_t>(VSS_E_PROVIDER_VETO));
    reply.set_deleted(3);
    reply.set_nondeleted(kSnapshot);
    fake_->answer("DeleteSnapshots", reply);
    auto object = create();
    LONG deleted = 0;
    VSS_ID bad{};
    EXPECT_EQ(object->DeleteSnapshots(kSetId, VSS_OBJECT_SNAPSHOT_SET, FALSE, &deleted, &bad), VSS_E_PROVIDER_VETO);
    EXPECT_EQ(deleted, 3);
    EXPECT_EQ(bad, kSnapshotId);
}

proto::OperationState state_of(HRESULT result, uint32_t percent) {
    proto::OperationState state;
    state.set_result(static_cast<uint32_t>(result));
    state.set_percent(percent);
    if (FAILED(result)) state.set_message("the array is full");
    return state;
}

TEST_F(RequesterTest, AnAsyncFollowsItsOperation) {
    proto::OperationReply reply;
    reply.set_operation("op 1");
    fake_->answer("DoSnapshotSet", reply);
    fake_->answer("QueryOperation", state_of(VSS_S_ASYNC_PENDING, 40));
    fake_->answer("WaitOperation", state_of(VSS_S_ASYNC_PENDING, 40));
    auto object = create();
    Ptr<IVssAsync> async;
    ASSERT_EQ(object->DoSnapshotSet(async.put()), S_OK);
    HRESULT result = S_OK;
    EXPECT_EQ(async->QueryStatus(&result, nullptr), S_OK);
    EXPECT_EQ(result, VSS_S_ASYNC_PENDING);
    EXPECT_EQ(fake_->last(), R"(QueryOperation{operation: "op 1"})");
    INT reserved = 0;
    EXPECT_EQ(async->QueryStatus(&result, &reserved), E_INVALIDARG);
    EXPECT_EQ(async->QueryStatus(nullptr, nullptr), E_INVALIDARG);
    EXPECT_EQ(async->Wait(0), VSS_S_ASYNC_PENDING);
    EXPECT_EQ(fake_->last(), R"(WaitOperation{operation: "op 1"})");
    EXPECT_EQ(async->Wait(1), VSS_S_ASYNC_PENDING);
    const auto progress = async.as<IUmbraAsyncProgress>();
    ASSERT_TRUE(progress);
    ULONG percent = 0;
    EXPECT_EQ(progress->GetPercentCompleted(&percent), S_OK);
    EXPECT_EQ(percent, 40U);
    ULONGLONG done = 1;
    ULONGLONG total = 1;
    EXPECT_EQ(progress->GetBytes(&done, &total), S_OK);
    EXPECT_EQ(done + total, 0U);

    fake_->answer("WaitOperation", state_of(VSS_E_INSUFFICIENT_STORAGE, 60));
    EXPECT_EQ(async->Wait(), S_OK) << "QueryStatus tells how it ended";
    fake_->stop();
    EXPECT_EQ(async->QueryStatus(&result, nullptr), S_OK) << "how it ended is known without the coordinator";
    EXPECT_EQ(result, VSS_E_INSUFFICIENT_STORAGE);
    EXPECT_EQ(async->Wait(0), S_OK);
    com::Bstr message;
    EXPECT_EQ(progress->GetMessageText(message.put()), S_OK);
    EXPECT_EQ(message.view(), L"the array is full");
}

TEST_F(RequesterTest, CancelSaysWhatTheOperationIs) {
    auto object = create();
    Ptr<IVssAsync> async;
    ASSERT_EQ(object->DoSnapshotSet(async.put()), S_OK);
    for (const HRESULT code : {S_OK, VSS_S_ASYNC_FINISHED, VSS_S_ASYNC_CANCELLED, VSS_E_PROVIDER_VETO}) {
        proto::StatusReply reply;
        reply.mutable_status()->set_hresult(static_cast<uint32_t>(code));
        fake_->answer("CancelOperation", reply);
        EXPECT_EQ(async->Cancel(), code);
    }
}

TEST_F(RequesterTest, AnAsyncOutlivesItsObjectAndGivesItsHandleBack) {
    auto object = create();
    Ptr<IVssAsync> async;
    ASSERT_EQ(object->DoSnapshotSet(async.put()), S_OK);
    object.reset();
    EXPECT_TRUE(fake_->wait_for_ended(1));
    fake_->answer("QueryOperation", state_of(VSS_S_ASYNC_FINISHED, 100));
    HRESULT result = S_OK;
    EXPECT_EQ(async->QueryStatus(&result, nullptr), S_OK);
    EXPECT_EQ(result, VSS_S_ASYNC_FINISHED);
    EXPECT_EQ(fake_->count("ReleaseOperation"), 0U);
    async.reset();
    EXPECT_EQ(fake_->count("ReleaseOperation"), 1U);
    EXPECT_EQ(fake_->count("CancelOperation"), 0U);
}

TEST_F(RequesterTest, BigDocumentsPass) {
    const std::string big(6 << 20, 'x');
    proto::XmlReply reply;
    reply.set_xml(big);
    fake_->answer("SaveAsXML", reply);
    auto object = create();
    com::Bstr xml;
    ASSERT_EQ(object->SaveAsXML(xml.put()), S_OK) << error_text();
    EXPECT_EQ(xml.view().size(), big.size());
    EXPECT_EQ(object->InitializeForBackup(xml.get()), S_OK) << error_text();
    com::Bstr invalid(std::wstring(1, static_cast<wchar_t>(0xDC00)));
    EXPECT_EQ(object->InitializeForBackup(invalid.get()), VSS_E_INVALID_XML_DOCUMENT);
}

TEST_F(RequesterTest, IsVolumeSnapshottedNeedsNoSession) {
    proto::VolumeSnapshottedReply reply;
    reply.set_snapshotted(true);
    reply.set_compatibility(VSS_SC_DISABLE_DEFRAG);
    fake_->answer("IsVolumeSnapshotted", reply);
    BOOL present = FALSE;
    LONG compatibility = 0;
    EXPECT_EQ(IsVolumeSnapshotted(kVolume, &present, &compatibility), S_OK);
    EXPECT_TRUE(present);
    EXPECT_EQ(compatibility, VSS_SC_DISABLE_DEFRAG);
    EXPECT_EQ(fake_->calls().size(), 1U);
}

}  // namespace
}  // namespace umbra::requester

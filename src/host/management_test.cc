// Attach and detach through the gRPC service, with tgt as the data side and an array in memory as the management side.
#include <array.grpc.pb.h>
#include <fcntl.h>
#include <grpcpp/grpcpp.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdio>
#include <filesystem>
#include <mutex>

#include "array_rpc/status.h"
#include "host/iscsi_session.h"
#include "host/machine.h"
#include "host/management_client.h"
#include "host/mounts.h"
#include "host/process.h"
#include "host/testing/tgt_target.h"

namespace umbra::host {
namespace {

namespace v1 = umbra::array::v1;
using base::Code;

// One LUN, "db", that is tgt's LUN 1.
class ArrayInMemory final : public v1::ArrayManagement::Service {
public:
    std::string naa, iqn, portal;
    uint64_t mapped = 0;

    std::vector<std::string> masks() {
        const std::lock_guard lock(mutex_);
        return masks_;
    }
    grpc::Status GetStatus(grpc::ServerContext*, const v1::GetStatusRequest*, v1::ArrayStatus* reply) override {
        reply->add_portals("192.0.2.1:3260");  // one that this host does not reach
        reply->add_portals(portal);
        return grpc::Status::OK;
    }
    grpc::Status GetLun(grpc::ServerContext* context, const v1::LunRef* ref, v1::Lun* reply) override {
        if (ref->name() != "db" && ref->naa() != naa) {
            context->AddTrailingMetadata(array_rpc::kCodeMetadata, "not_found");
            return {grpc::StatusCode::NOT_FOUND, "no such LUN"};
        }
        fill(reply);
        return grpc::Status::OK;
    }
    grpc::Status AddMask(grpc::ServerContext*, const v1::MaskRequest* request, v1::Lun* reply) override {
        {
            const std::lock_guard lock(mutex_);
            masks_.push_back(request->initiator());
        }
        fill(reply);
        return grpc::Status::OK;
    }
    grpc::Status RemoveMask(grpc::ServerContext* context, const v1::MaskRequest* request, v1::Lun* reply) override {
        // As an array answers while the host has a session for another LUN.
        if (!request->force()) {
            context->AddTrailingMetadata(array_rpc::kCodeMetadata, "busy");
            return {grpc::StatusCode::FAILED_PRECONDITION, "the initiator is logged in and sees the LUN"};
        }
        {
            const std::lock_guard lock(mutex_);
            std::erase(masks_, request->initiator());
        }
        fill(reply);
        return grpc::Status::OK;
    }

private:
    void fill(v1::Lun* lun) {
        const std::lock_guard lock(mutex_);
        lun->set_name("db");
        lun->set_naa(naa);
        lun->set_kind(v1::LUN_KIND_LUN);
        lun->set_mapped_bytes(mapped);
        for (const std::string& initiator : masks_) {
            v1::Mask* mask = lun->add_masks();
            mask->set_initiator(initiator);
            mask->set_target_iqn(iqn);
            mask->set_lun(1);
        }
    }
    std::mutex mutex_;
    std::vector<std::string> masks_;
};

class ManagementTest : public ::testing::Test {
protected:
    void SetUp() override {
        char name[] = "/tmp/umbra-host-test-XXXXXX";
        ASSERT_NE(::mkdtemp(name), nullptr);
        directory_ = name;
        auto target = testing::TgtTarget::start(directory_, 1, 512u << 20);
        ASSERT_TRUE(target) << target.error().text();
        target_ = std::move(*target);
        config_.run_dir = directory_ + "/run";
        config_.device_dir = directory_ + "/dev";
        config_.initiator_iqn = "iqn.2026-01.test.umbra:host-a";
        config_.array_address = "unix:" + directory_ + "/array.sock";
        config_.initiator_program = UMBRA_INITIATOR;
        config_.portals = {target_->portal()};
        auto session = IscsiSession::login(target_->portal(), target_->iqn(), config_.initiator_iqn, 20);
        ASSERT_TRUE(session);
        array_.naa = (*session)->read_facts(1)->identity.naa();
        array_.iqn = target_->iqn();
        array_.portal = target_->portal();
        session->reset();
        attachments_ = std::make_unique<Attachments>(config_);
        management_ = std::make_unique<Management>(config_, *attachments_);
        service_ = make_management_service(*management_);
        array_server_ = listen(config_.array_address, &array_);
        host_server_ = listen("unix:" + directory_ + "/host.sock", service_.get());
        auto client = ManagementClient::make("unix:" + directory_ + "/host.sock");
        ASSERT_TRUE(client);
        client_ = std::move(*client);
        mount_ = directory_ + "/srv/db";
    }
    void TearDown() override {
        if (client_) {
            client_.reset();
            host_server_->Shutdown();
            array_server_->Shutdown();
            static_cast<void>(unmount(mount_));
            const auto all = attachments_->list();
            ASSERT_TRUE(all);
            for (const Attachment& attachment : *all) EXPECT_TRUE(attachments_->detach_file(attachment.file));
        }
        target_.reset();
        std::filesystem::remove_all(directory_);
    }
    static std::unique_ptr<grpc::Server> listen(const std::string& address, grpc::Service* service) {
        grpc::ServerBuilder builder;
        builder.AddListeningPort(address, grpc::InsecureServerCredentials());
        builder.RegisterService(service);
        return builder.BuildAndStart();
    }
    AttachWish wish(const std::string& mkfs = "") const { return {"db", mount_, mkfs, false}; }
    bool mounted() const {
        const auto mounts = read_mounts();
        return mounts && std::any_of(mounts->begin(), mounts->end(),
                                     [&](const MountEntry& m) { return m.mount_point == mount_; });
    }
    bool nothing_left() {
        const auto all = client_->attachments();
        return !mounted() && all && all->empty() && array_.masks().empty();
    }

    std::string directory_, mount_;
    HostConfig config_;
    ArrayInMemory array_;
    std::unique_ptr<testing::TgtTarget> target_;
    std::unique_ptr<Attachments> attachments_;
    std::unique_ptr<Management> management_;
    std::unique_ptr<grpc::Service> service_;
    std::unique_ptr<grpc::Server> array_server_, host_server_;
    std::unique_ptr<ManagementClient> client_;
};

TEST_F(ManagementTest, AttachMakesMountsAndPresentsDetachTakesAllBack) {
    // An empty LUN has nothing to mount; the try leaves nothing.
    auto attached = client_->attach(wish());
    ASSERT_FALSE(attached);
    EXPECT_EQ(attached.error().code, Code::kBadState);
    EXPECT_TRUE(nothing_left());

    attached = client_->attach(wish("ext4"));
    ASSERT_TRUE(attached) << attached.error().text();
    EXPECT_EQ(attached->lun, "db");
    EXPECT_EQ(attached->naa, array_.naa);
    EXPECT_EQ(attached->mount_points, std::vector<std::string>{mount_});
    EXPECT_TRUE(mounted());
    EXPECT_EQ(array_.masks(), std::vector<std::string>{config_.initiator_iqn});
    const auto volumes = client_->volumes(false);
    ASSERT_TRUE(volumes);
    ASSERT_EQ(volumes->size(), 1u);
    EXPECT_EQ(volumes->front().fs_type, "ext4");
    EXPECT_TRUE(volumes->front().freezable);

    const auto again = client_->attach(wish());
    ASSERT_TRUE(again) << again.error().text();
    EXPECT_EQ(again->device, attached->device);
    {
        Fd open(::open((mount_ + "/file").c_str(), O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
        const auto busy = client_->detach("db");
        ASSERT_FALSE(busy);
        EXPECT_EQ(busy.error().code, Code::kBusy);
        EXPECT_TRUE(mounted());
    }
    const auto detached = client_->detach("db");
    ASSERT_TRUE(detached) << detached.error().text();
    EXPECT_EQ(*detached, "");
    EXPECT_TRUE(nothing_left());
    const auto gone = client_->detach("db");
    ASSERT_FALSE(gone);
    EXPECT_EQ(gone.error().code, Code::kNotFound);

    // What is there is not made over, and nothing is mounted or presented.
    const auto refused = client_->attach(wish("xfs"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kBadState);
    EXPECT_TRUE(nothing_left());
    ASSERT_TRUE(client_->attach(wish()));
    EXPECT_TRUE(std::filesystem::exists(mount_ + "/file"));
}

TEST_F(ManagementTest, ForeignPresentationStaysAndWrongWishesAreRefused) {
    v1::MaskRequest everyone;
    everyone.set_initiator("*");
    v1::Lun ignored;
    array_.AddMask(nullptr, &everyone, &ignored);
    ASSERT_TRUE(client_->attach(wish("xfs")));
    ASSERT_TRUE(client_->detach("db"));
    EXPECT_EQ(array_.masks(), std::vector<std::string>{"*"});
    const auto code = [&](AttachWish wrong) {
        const auto result = client_->attach(wrong);
        return result ? Code::kInternal : result.error().code;
    };
    EXPECT_EQ(code({"nobody", mount_, "", false}), Code::kNotFound);
    EXPECT_EQ(code({"db", "relative", "", false}), Code::kInvalidArgument);
    EXPECT_EQ(code({"db", mount_, "ntfs", false}), Code::kInvalidArgument);
    EXPECT_EQ(code({"", mount_, "", false}), Code::kInvalidArgument);
    EXPECT_FALSE(mounted());
}

TEST_F(ManagementTest, DataThatOnlyTheArrayKnowsOfIsNotOverwritten) {
    Fd image(::open(target_->image(1).c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(image.get(), "x", 1, 100 << 20), 1);
    array_.mapped = 4096;
    const auto refused = client_->attach(wish("ext4"));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kBadState);
    EXPECT_TRUE(nothing_left());
}

}  // namespace
}  // namespace umbra::host

int main(int argc, char** argv) {
    const bool able = ::geteuid() == 0 && ::access("/dev/fuse", R_OK | W_OK) == 0 &&
                      ::access("/dev/loop-control", R_OK | W_OK) == 0 && ::access("/usr/sbin/tgtd", X_OK) == 0 &&
                      ::access("/usr/sbin/mkfs.xfs", X_OK) == 0;
    if (!able) {
        std::printf("SKIP: needs root, /dev/fuse, loop devices, tgt and xfsprogs\n");
        return 77;
    }
    ::testing::InitGoogleTest(&argc, argv);
    return RUN_ALL_TESTS();
}

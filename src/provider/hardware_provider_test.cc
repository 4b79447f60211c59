#include "provider/hardware_provider.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstring>

#include "com/ptr.h"
#include "provider/attributes.h"
#include "provider/fake_array.h"
#include "provider/lun_information.h"
#include "vsserror.h"

namespace umbra::provider {
namespace {

using base::Code;

constexpr char kHostA[] = "iqn.2025-01.org.umbra:host-a";
constexpr char kHostB[] = "iqn.2025-01.org.umbra:host-b";
constexpr LONG kTransportable = LONG{VSS_CTX_NAS_ROLLBACK} | VSS_VOLSNAP_ATTR_TRANSPORTABLE;
const VSS_ID kSet = ::compat::guid_literal("11111111-0000-4000-8000-000000000001");
const VSS_ID kOtherSet = ::compat::guid_literal("22222222-0000-4000-8000-000000000002");

VSS_ID snapshot_id(int number) {
    VSS_ID id = ::compat::guid_literal("aaaaaaaa-0000-4000-8000-000000000000");
    id.Data4[7] = static_cast<uint8_t>(number + 1);
    return id;
}

/// Frees what the structures hold when it goes.
class Luns {
public:
    Luns() = default;
    explicit Luns(std::vector<VDS_LUN_INFORMATION> all) : all_(std::move(all)) {}
    Luns(const Luns&) = delete;
    Luns(Luns&& other) noexcept : all_(std::exchange(other.all_, {})) {}
    ~Luns() {
        for (auto& information : all_) free_lun_information(information);
    }
    VDS_LUN_INFORMATION* data() { return all_.data(); }
    LONG count() const { return static_cast<LONG>(all_.size()); }
    VDS_LUN_INFORMATION& operator[](size_t i) { return all_[i]; }

private:
    std::vector<VDS_LUN_INFORMATION> all_;
};

class HardwareProviderTest : public testing::Test {
protected:
    void SetUp() override {
        array = std::make_shared<FakeArray>("a1");
        array->add_lun("db", "parity");
        array->add_lun("logs", "mirror");
        provider = make_host(kHostA);
        ASSERT_EQ(provider->OnLoad(nullptr), S_OK);
    }

    com::Ptr<HardwareProvider> make_host(const std::string& initiator, uint64_t min_free = 64 << 20) {
        ProviderConfig config;
        config.initiator = initiator;
        config.machine = initiator.substr(initiator.find(':') + 1);
        config.min_free_bytes = min_free;
        std::vector<std::shared_ptr<ArrayClient>> arrays{array};
        if (second) arrays.push_back(second);
        return com::make<HardwareProvider>(config, arrays,
                                           [this](const ProviderEvent& event) { events.push_back(event); });
    }
    Luns of(std::vector<std::string> names) {
        std::vector<VDS_LUN_INFORMATION> all;
        for (const std::string& name : names) {
            const LunRecord* lun = array->find(name);
            if (lun == nullptr && second) lun = second->find(name);
            EXPECT_NE(lun, nullptr) << name;
            all.push_back(information_of(*lun));
        }
        return Luns(std::move(all));
    }
    Luns of_shadows() {
        std::vector<VDS_LUN_INFORMATION> all;
        for (const auto& [naa, lun] : array->luns) {
            if (lun.kind == LunKind::kShadowCopy) all.push_back(information_of(lun));
        }
        return Luns(std::move(all));
    }
    HRESULT begin(HardwareProvider& p, VSS_ID set, int snapshot, std::vector<std::string> names,
                  LONG context = kTransportable) {
        Luns luns = of(std::move(names));
        return p.BeginPrepareSnapshot(set, snapshot_id(snapshot), context, luns.count(), nullptr, luns.data());
    }
    /// The whole creation of db and logs as two volumes.
    void create(VSS_ID set = kSet, LONG context = kTransportable) {
        ASSERT_EQ(begin(*provider, set, 0, {"db"}, context), S_OK);
        ASSERT_EQ(begin(*provider, set, 1, {"logs"}, context), S_OK);
        ASSERT_EQ(provider->EndPrepareSnapshots(set), S_OK);
        ASSERT_EQ(provider->PreCommitSnapshots(set), S_OK);
        ASSERT_EQ(provider->CommitSnapshots(set), S_OK);
        ASSERT_EQ(provider->PostCommitSnapshots(set, 2), S_OK);
        ASSERT_EQ(provider->PreFinalCommitSnapshots(set), S_OK);
        ASSERT_EQ(provider->PostFinalCommitSnapshots(set), S_OK);
    }
    BOOL supported(std::vector<std::string> names, LONG context = kTransportable) {
        Luns luns = of(std::move(names));
        BOOL answer = TRUE;
        EXPECT_EQ(provider->AreLunsSupported(luns.count(), context, nullptr, luns.data(), &answer), S_OK);
        return answer;
    }
    /// A veto comes with an entry that names what was hit and what to do.
    void expect_event(EventId id, const std::string& part) {
        for (const ProviderEvent& event : events) {
            if (event.id == id && event.text.find(part) != std::string::npos) return;
        }
        ADD_FAILURE() << "no event " << static_cast<int>(id) << " with \"" << part << "\" among "
                      << testing::PrintToString(texts());
    }
    std::vector<std::string> texts() const {
        std::vector<std::string> all;
        for (const ProviderEvent& event : events) all.push_back(event.text);
        return all;
    }

    std::vector<ProviderEvent> events;
    std::shared_ptr<FakeArray> array;
    std::shared_ptr<FakeArray> second;
    com::Ptr<HardwareProvider> provider;
};

TEST_F(HardwareProviderTest, AnswersForItsInterfacesOnly) {
    auto unknown = com::Ptr<IVssHardwareSnapshotProviderEx>::retain(provider.get());
    EXPECT_TRUE(unknown.as<IVssHardwareSnapshotProvider>());
    EXPECT_TRUE(unknown.as<IVssHardwareSnapshotProviderEx>());
    EXPECT_TRUE(unknown.as<IVssProviderCreateSnapshotSet>());
    EXPECT_TRUE(unknown.as<IVssProviderNotifications>());
    EXPECT_FALSE(unknown.as<IVssSoftwareSnapshotProvider>());
}

// --- AreLunsSupported ----------------------------------------------------------------------------------------------

TEST_F(HardwareProviderTest, SupportsItsLunsOnlyAndAllOrNone) {
    EXPECT_TRUE(supported({"db"}));
    EXPECT_TRUE(supported({"db", "logs"}));
    EXPECT_TRUE(supported({"db"}, LONG{VSS_CTX_BACKUP} | VSS_VOLSNAP_ATTR_DIFFERENTIAL));
    std::vector<VDS_LUN_INFORMATION> all{information_of(*array->find("db")), {}};
    LunRecord foreign = *array->find("db");
    foreign.naa = "6fffffffffffffffffffffffffffffff";
    all[1] = information_of(foreign);
    Luns luns(std::move(all));
    BOOL answer = TRUE;
    EXPECT_EQ(provider->AreLunsSupported(2, kTransportable, nullptr, luns.data(), &answer), S_OK);
    EXPECT_FALSE(answer);
    EXPECT_TRUE(events.empty());  // a LUN of somebody else's is no event
}

TEST_F(HardwareProviderTest, PromisesNoContextThatItCannotKeep) {
    EXPECT_FALSE(supported({"db"}, VSS_VOLSNAP_ATTR_PLEX));
    EXPECT_FALSE(supported({"db"}, VSS_VOLSNAP_ATTR_PLEX | VSS_VOLSNAP_ATTR_DIFFERENTIAL));
    EXPECT_FALSE(supported({"db"}, VSS_CTX_CLIENT_ACCESSIBLE));
    EXPECT_FALSE(supported({"db"}, VSS_VOLSNAP_ATTR_FILE_SHARE));
    EXPECT_FALSE(supported({"db"}, static_cast<LONG>(VSS_CTX_ALL)));
}

TEST_F(HardwareProviderTest, PromisesNothingThatCannotBeDoneNow) {
    array->record.free_bytes = 1 << 20;
    EXPECT_FALSE(supported({"db"}));
    expect_event(EventId::kLowSpace, "Free space in the array");
    array->record.free_bytes = 1ull << 40;
    array->luns.begin()->second.health = "failed";
    EXPECT_FALSE(supported({"db", "logs"}));
    array->luns.begin()->second.health = "failed-redundancy";
    EXPECT_TRUE(supported({"db", "logs"}));
    array->faults["get_lun"] = {Code::kUnavailable};
    EXPECT_FALSE(supported({"db"}));
    expect_event(EventId::kArrayUnreachable, "umbra-arrayd");
}

TEST_F(HardwareProviderTest, SupportsShadowLunsForResync) {
    create();
    Luns luns = of_shadows();
    BOOL answer = FALSE;
    EXPECT_EQ(provider->AreLunsSupported(luns.count(), kTransportable, nullptr, luns.data(), &answer), S_OK);
    EXPECT_TRUE(answer);
}

TEST_F(HardwareProviderTest, RefusesBadArguments) {
    Luns luns = of({"db"});
    BOOL answer = TRUE;
    EXPECT_EQ(provider->AreLunsSupported(1, 0, nullptr, luns.data(), nullptr), E_INVALIDARG);
    EXPECT_EQ(provider->AreLunsSupported(0, 0, nullptr, luns.data(), &answer), E_INVALIDARG);
    EXPECT_FALSE(answer);
    EXPECT_EQ(provider->AreLunsSupported(1, 0, nullptr, nullptr, &answer), E_INVALIDARG);
    EXPECT_EQ(provider->FillInLunInfo(nullptr, luns.data(), nullptr), E_INVALIDARG);
    EXPECT_EQ(provider->FillInLunInfo(nullptr, nullptr, &answer), E_INVALIDARG);
    EXPECT_EQ(provider->BeginPrepareSnapshot(GUID_NULL, snapshot_id(0), 0, 1, nullptr, luns.data()), E_INVALIDARG);
    EXPECT_EQ(provider->BeginPrepareSnapshot(kSet, GUID_NULL, 0, 1, nullptr, luns.data()), E_INVALIDARG);
    EXPECT_EQ(provider->BeginPrepareSnapshot(kSet, snapshot_id(0), 0, 0, nullptr, luns.data()), E_INVALIDARG);
    EXPECT_EQ(provider->BeginPrepareSnapshot(kSet, snapshot_id(0), 0, 1, nullptr, nullptr), E_INVALIDARG);
    EXPECT_EQ(provider->AbortSnapshots(GUID_NULL), E_INVALIDARG);
    EXPECT_EQ(provider->GetTargetLuns(0, nullptr, luns.data(), luns.data()), E_INVALIDARG);
    EXPECT_EQ(provider->GetTargetLuns(1, nullptr, nullptr, luns.data()), E_INVALIDARG);
    EXPECT_EQ(provider->LocateLuns(0, luns.data()), E_INVALIDARG);
    EXPECT_EQ(provider->LocateLuns(1, nullptr), E_INVALIDARG);
    EXPECT_EQ(provider->OnLunEmpty(nullptr, nullptr), E_INVALIDARG);
    EXPECT_EQ(provider->OnLunStateChange(nullptr, nullptr, 1, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), E_INVALIDARG);
    EXPECT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 0, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), E_INVALIDARG);
    EXPECT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 1, 0x1), E_INVALIDARG);
    EXPECT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 1, 0x200 | 0x400), E_INVALIDARG);
    IVssAsync* async = nullptr;
    EXPECT_EQ(provider->ResyncLuns(luns.data(), luns.data(), 1, nullptr), E_INVALIDARG);
    EXPECT_EQ(provider->ResyncLuns(nullptr, luns.data(), 1, &async), E_INVALIDARG);
    EXPECT_EQ(provider->ResyncLuns(luns.data(), nullptr, 1, &async), E_INVALIDARG);
    EXPECT_EQ(provider->ResyncLuns(luns.data(), luns.data(), 0, &async), E_INVALIDARG);
    ULONGLONG mask = 7;
    EXPECT_EQ(provider->GetProviderCapabilities(&mask), E_NOTIMPL);
    EXPECT_EQ(provider->OnReuseLuns(luns.data(), luns.data(), 1), E_NOTIMPL);
    EXPECT_THAT(array->calls, testing::IsEmpty());
}

// --- The state machine ---------------------------------------------------------------------------------------------

enum class At { kUnknown, kPreparing, kPrepared, kPrecommitted, kCommitted, kCreated, kFinal, kAborted };
enum class Call {
    kBeginSame,
    kBeginNew,
    kEndPrepare,
    kPreCommit,
    kCommit,
    kPostCommit,
    kPreFinal,
    kPostFinal,
    kAbort,
    kUnload
};

struct Cell {
    HRESULT result;
    bool copies_stay;  ///< the shadow copies that the state has made are still there
};

class StateMachine : public HardwareProviderTest, public testing::WithParamInterface<std::tuple<At, Call, bool>> {
protected:
    void reach(At at) {
        if (at == At::kUnknown) return;
        if (at == At::kAborted) {
            ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
            ASSERT_EQ(provider->AbortSnapshots(kSet), S_OK);
            return;
        }
        ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
        if (at == At::kPreparing) return;
        ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
        if (at == At::kPrepared) return;
        ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
        if (at == At::kPrecommitted) return;
        ASSERT_EQ(provider->CommitSnapshots(kSet), S_OK);
        if (at == At::kCommitted) return;
        ASSERT_EQ(provider->PostCommitSnapshots(kSet, 1), S_OK);
        if (at == At::kCreated) return;
        ASSERT_EQ(provider->PreFinalCommitSnapshots(kSet), S_OK);
        ASSERT_EQ(provider->PostFinalCommitSnapshots(kSet), S_OK);
    }
    HRESULT make_call(Call call, VSS_ID set) {
        switch (call) {
            case Call::kBeginSame:
                return begin(*provider, set, 5, {"logs"});
            case Call::kBeginNew:
                return begin(*provider, ::compat::guid_literal("33333333-0000-4000-8000-000000000003"), 6, {"logs"});
            case Call::kEndPrepare:
                return provider->EndPrepareSnapshots(set);
            case Call::kPreCommit:
                return provider->PreCommitSnapshots(set);
            case Call::kCommit:
                return provider->CommitSnapshots(set);
            case Call::kPostCommit:
                return provider->PostCommitSnapshots(set, 1);
            case Call::kPreFinal:
                return provider->PreFinalCommitSnapshots(set);
            case Call::kPostFinal:
                return provider->PostFinalCommitSnapshots(set);
            case Call::kAbort:
                return provider->AbortSnapshots(set);
            case Call::kUnload:
                return provider->OnUnload(FALSE);
        }
        return E_UNEXPECTED;
    }
    static Cell expected(At at, Call call, bool right_set) {
        bool made = at == At::kCommitted || at == At::kCreated || at == At::kFinal;
        bool complete = at == At::kCreated || at == At::kFinal;
        bool in_flight = at == At::kPreparing || at == At::kPrepared || at == At::kPrecommitted || at == At::kCommitted;
        switch (call) {
            case Call::kBeginSame:
            case Call::kBeginNew:
                return {S_OK, complete};
            case Call::kUnload:
                return {S_OK, complete};
            case Call::kAbort:
                // A stray abort hits the set that is being created, as any wrong call does.
                if (in_flight) return {right_set ? S_OK : VSS_E_PROVIDER_VETO, false};
                return {S_OK, at == At::kFinal || (at == At::kCreated && !right_set)};
            case Call::kEndPrepare:
                if (right_set && at == At::kPreparing) return {S_OK, false};
                break;
            case Call::kPreCommit:
                if (right_set && at == At::kPrepared) return {S_OK, false};
                break;
            case Call::kCommit:
                if (right_set && at == At::kPrecommitted) return {S_OK, true};
                break;
            case Call::kPostCommit:
                if (right_set && at == At::kCommitted) return {S_OK, true};
                break;
            case Call::kPreFinal:
            case Call::kPostFinal:
                if (right_set && complete) return {S_OK, true};
                break;
        }
        return {VSS_E_PROVIDER_VETO, made && complete};
    }
};

TEST_P(StateMachine, EveryCell) {
    auto [at, call, right_set] = GetParam();
    reach(at);
    events.clear();
    Cell cell = expected(at, call, right_set);
    EXPECT_EQ(make_call(call, right_set ? kSet : kOtherSet), cell.result);
    EXPECT_EQ(array->count(LunKind::kShadowCopy) > 0, cell.copies_stay);
    if (cell.result == VSS_E_PROVIDER_VETO) {
        expect_event(EventId::kWrongOrder, "Create the shadow copy set anew");
        // In flight the set is gone: nothing of it can be continued.
        if (at != At::kCreated && at != At::kFinal) {
            EXPECT_EQ(provider->EndPrepareSnapshots(kSet), VSS_E_PROVIDER_VETO);
            EXPECT_EQ(provider->CommitSnapshots(kSet), VSS_E_PROVIDER_VETO);
            EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
        }
    } else {
        EXPECT_TRUE(events.empty()) << testing::PrintToString(texts());
    }
    // A new set can begin from everywhere and be completed.
    create(::compat::guid_literal("44444444-0000-4000-8000-000000000004"));
}

INSTANTIATE_TEST_SUITE_P(
    All, StateMachine,
    testing::Combine(testing::Values(At::kUnknown, At::kPreparing, At::kPrepared, At::kPrecommitted, At::kCommitted,
                                     At::kCreated, At::kFinal, At::kAborted),
                     testing::Values(Call::kBeginSame, Call::kBeginNew, Call::kEndPrepare, Call::kPreCommit,
                                     Call::kCommit, Call::kPostCommit, Call::kPreFinal, Call::kPostFinal, Call::kAbort,
                                     Call::kUnload),
                     testing::Bool()));

// --- Creation ------------------------------------------------------------------------------------------------------

TEST_F(HardwareProviderTest, CommitIsOneCallAndRecordsWhatTheSetIs) {
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    ASSERT_EQ(begin(*provider, kSet, 1, {"db", "logs"}), S_OK);  // db again, for another volume
    ASSERT_EQ(begin(*provider, kSet, 2, {"logs", "logs"}), S_OK);
    ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    EXPECT_THAT(array->calls, testing::IsEmpty());
    ASSERT_EQ(provider->CommitSnapshots(kSet), S_OK);
    EXPECT_THAT(array->calls, testing::ElementsAre("create_shadow_copies 2"));
    const LunRecord* copy = nullptr;
    for (const auto& [naa, lun] : array->luns) {
        if (lun.kind == LunKind::kShadowCopy && lun.origin == "db") copy = &lun;
    }
    ASSERT_NE(copy, nullptr);
    EXPECT_EQ(copy->attribute("vss.set"), "11111111-0000-4000-8000-000000000001");
    EXPECT_EQ(copy->attribute("vss.snapshot"),
              "aaaaaaaa-0000-4000-8000-000000000001,aaaaaaaa-0000-4000-8000-000000000002");
    EXPECT_EQ(copy->attribute("vss.context"), std::to_string(kTransportable));
    EXPECT_EQ(copy->attribute("vss.transportable"), "yes");
    EXPECT_EQ(copy->attribute("vss.creator"), kHostA);
    EXPECT_EQ(copy->attribute("vss.creator.machine"), "host-a");
    EXPECT_EQ(copy->attribute("vss.source"), array->find("db")->naa);
    EXPECT_EQ(copy->attribute("vss.state"), "creating");
    EXPECT_EQ(copy->flags, 0xFu);
    EXPECT_TRUE(copy->masks.empty());
    ASSERT_EQ(provider->PostCommitSnapshots(kSet, 3), S_OK);
    ASSERT_EQ(provider->PostFinalCommitSnapshots(kSet), S_OK);
    EXPECT_EQ(copy->attribute("vss.state"), "created");
}

TEST_F(HardwareProviderTest, SixtyFourVolumesAndNotOneMore) {
    for (int i = 0; i < 64; ++i) ASSERT_EQ(begin(*provider, kSet, i, {"db"}), S_OK) << i;
    EXPECT_EQ(begin(*provider, kSet, 64, {"db"}), VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED);
    // 64 shadow copies on one LUN need three attributes.
    for (int i = 0; i < 64; ++i) ASSERT_EQ(begin(*provider, kOtherSet, i, {"db"}), S_OK) << i;
    ASSERT_EQ(provider->EndPrepareSnapshots(kOtherSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kOtherSet), S_OK);
    ASSERT_EQ(provider->CommitSnapshots(kOtherSet), S_OK);
    for (const auto& [naa, lun] : array->luns) {
        if (lun.kind != LunKind::kShadowCopy) continue;
        EXPECT_EQ(lun.attributes.count("vss.snapshot.3"), 1u);
        for (const auto& [key, value] : lun.attributes) EXPECT_LE(value.size(), 1024u) << key;
        EXPECT_LE(lun.attributes.size(), 32u);
    }
}

TEST_F(HardwareProviderTest, BeginRefusesByItsDocumentedCodes) {
    EXPECT_EQ(begin(*provider, kSet, 0, {"db"}, VSS_VOLSNAP_ATTR_PLEX), VSS_E_UNSUPPORTED_CONTEXT);
    LunRecord foreign = *array->find("db");
    foreign.naa = "6fffffffffffffffffffffffffffffff";
    Luns luns({information_of(foreign)});
    EXPECT_EQ(provider->BeginPrepareSnapshot(kSet, snapshot_id(0), 0, 1, nullptr, luns.data()),
              VSS_E_VOLUME_NOT_SUPPORTED_BY_PROVIDER);
    array->faults["get_lun"] = {Code::kUnavailable};
    EXPECT_EQ(begin(*provider, kSet, 0, {"db"}), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kArrayUnreachable, "BeginPrepareSnapshot");
    array->faults.clear();
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    EXPECT_EQ(begin(*provider, kSet, 0, {"logs"}), E_INVALIDARG);  // the shadow copy's id again
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    EXPECT_EQ(begin(*provider, kSet, 1, {"logs"}, VSS_CTX_BACKUP), E_INVALIDARG);  // another context
    EXPECT_EQ(provider->EndPrepareSnapshots(kSet), VSS_E_PROVIDER_VETO);           // which ended the set
}

TEST_F(HardwareProviderTest, EndPrepareSaysWhenSpaceIsShort) {
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    array->record.free_bytes = 1;
    EXPECT_EQ(provider->EndPrepareSnapshots(kSet), VSS_E_INSUFFICIENT_STORAGE);
    expect_event(EventId::kLowSpace, "Free space");
    EXPECT_EQ(provider->PreCommitSnapshots(kSet), VSS_E_PROVIDER_VETO);
}

TEST_F(HardwareProviderTest, EndPrepareSeesThatALunIsGoneOrFailed) {
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    std::string naa = array->find("db")->naa;
    array->luns[naa].health = "failed";
    EXPECT_EQ(provider->EndPrepareSnapshots(kSet), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kLunFailed, "umbra drive list");
    array->luns[naa].health = "healthy";
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    array->luns.erase(naa);
    EXPECT_EQ(provider->EndPrepareSnapshots(kSet), VSS_E_PROVIDER_VETO);
}

TEST_F(HardwareProviderTest, ACommitThatFailsLeavesNothing) {
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    array->faults["create_shadow_copies"] = {Code::kNoSpace};
    EXPECT_EQ(provider->CommitSnapshots(kSet), VSS_E_PROVIDER_VETO);  // the page lists no other code for it
    expect_event(EventId::kLowSpace, "Free space");
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
    EXPECT_EQ(provider->PostCommitSnapshots(kSet, 1), VSS_E_PROVIDER_VETO);
}

TEST_F(HardwareProviderTest, ACommitWhoseAnswerIsLostLeavesNothing) {
    ASSERT_EQ(begin(*provider, kSet, 0, {"db", "logs"}), S_OK);
    ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    array->faults["create_shadow_copies"] = {Code::kTimedOut, true};
    EXPECT_EQ(provider->CommitSnapshots(kSet), VSS_E_PROVIDER_VETO);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
}

TEST_F(HardwareProviderTest, ACommitThatTheArrayDoesAfterItsCallerGaveUpLeavesNothing) {
    auto commit = [this](const VSS_ID& set) {
        ASSERT_EQ(begin(*provider, set, 0, {"db", "logs"}), S_OK);
        ASSERT_EQ(provider->EndPrepareSnapshots(set), S_OK);
        ASSERT_EQ(provider->PreCommitSnapshots(set), S_OK);
        array->faults["create_shadow_copies"] = {Code::kTimedOut, false, 0, true};
        EXPECT_EQ(provider->CommitSnapshots(set), VSS_E_PROVIDER_VETO);
    };
    commit(kSet);
    array->faults["settle"] = {Code::kTimedOut};
    EXPECT_EQ(provider->AbortSnapshots(kSet), VSS_E_PROVIDER_VETO) << "nobody knows yet";
    array->faults.erase("settle");
    EXPECT_EQ(provider->AbortSnapshots(kSet), S_OK);
    EXPECT_THAT(array->calls, testing::Contains("create_shadow_copies 2"));
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
    // Without AbortSnapshots the next set comes upon it, and so does a fresh process.
    commit(kSet);
    ASSERT_EQ(begin(*provider, kOtherSet, 0, {"logs"}), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
    commit(kSet);
    provider = make_host(kHostA);
    EXPECT_EQ(provider->OnLoad(nullptr), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
}

TEST_F(HardwareProviderTest, WhatCannotBeDeletedNowIsDeletedLater) {
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->CommitSnapshots(kSet), S_OK);
    array->faults["*"] = {Code::kUnavailable};
    EXPECT_EQ(provider->AbortSnapshots(kSet), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kLeftBehind, "umbra lun list");
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 1u);
    array->faults.clear();
    ASSERT_EQ(begin(*provider, kOtherSet, 0, {"logs"}), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
}

TEST_F(HardwareProviderTest, AProviderThatDiedInTheMiddleLeavesNothing) {
    create(kOtherSet);  // complete: stays
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->CommitSnapshots(kSet), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 3u);
    auto on_host_b = make_host(kHostB);
    ASSERT_EQ(on_host_b->OnLoad(nullptr), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 3u);  // not its business
    auto again = make_host(kHostA);
    ASSERT_EQ(again->OnLoad(nullptr), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 2u);
}

TEST_F(HardwareProviderTest, ACoordinatorThatDiedCanAbortBySetId) {
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->CommitSnapshots(kSet), S_OK);
    auto again = make_host(kHostA);  // never told of the set, and OnLoad has not run
    EXPECT_EQ(again->AbortSnapshots(kOtherSet), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 1u);
    EXPECT_EQ(again->AbortSnapshots(kSet), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
}

TEST_F(HardwareProviderTest, AbortTakesAwayASetWhoseCompletionFailedHalfway) {
    ASSERT_EQ(begin(*provider, kSet, 0, {"db", "logs"}), S_OK);
    ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->CommitSnapshots(kSet), S_OK);
    ASSERT_EQ(provider->PostCommitSnapshots(kSet, 1), S_OK);
    array->faults["update_lun"] = {Code::kUnavailable, false, 1};
    EXPECT_EQ(provider->PostFinalCommitSnapshots(kSet), VSS_E_PROVIDER_VETO);
    array->faults.clear();
    EXPECT_EQ(provider->AbortSnapshots(kSet), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
}

TEST_F(HardwareProviderTest, SetsSpanArraysAndFailTogether) {
    second = std::make_shared<FakeArray>("a2");
    second->add_lun("mail", "simple");
    provider = make_host(kHostA);
    ASSERT_EQ(provider->OnLoad(nullptr), S_OK);
    auto until_commit = [&] {
        ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
        ASSERT_EQ(begin(*provider, kSet, 1, {"mail"}), S_OK);
        ASSERT_EQ(provider->EndPrepareSnapshots(kSet), S_OK);
        ASSERT_EQ(provider->PreCommitSnapshots(kSet), S_OK);
    };
    for (auto& one : {array, second}) {
        until_commit();
        one->faults["create_shadow_copies"] = {Code::kUnavailable};
        EXPECT_EQ(provider->CommitSnapshots(kSet), VSS_E_PROVIDER_VETO);
        one->faults.clear();
        EXPECT_EQ(array->count(LunKind::kShadowCopy) + second->count(LunKind::kShadowCopy), 0u);
    }
    until_commit();
    EXPECT_EQ(provider->CommitSnapshots(kSet), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 1u);
    EXPECT_EQ(second->count(LunKind::kShadowCopy), 1u);
    EXPECT_EQ(provider->PostCommitSnapshots(kSet, 1), E_INVALIDARG);  // fewer than this provider alone made
}

TEST_F(HardwareProviderTest, TargetLunsAreWhatAnInitiatorReads) {
    ASSERT_EQ(begin(*provider, kSet, 0, {"db"}), S_OK);
    Luns sources = of({"db"});
    Luns targets(std::vector<VDS_LUN_INFORMATION>(1));
    EXPECT_EQ(provider->GetTargetLuns(1, nullptr, sources.data(), targets.data()), VSS_E_PROVIDER_VETO);
    create(kOtherSet);
    ASSERT_EQ(provider->GetTargetLuns(1, nullptr, sources.data(), targets.data()), S_OK);
    VDS_LUN_INFORMATION& target = targets[0];
    EXPECT_EQ(target.m_version, static_cast<ULONG>(VER_VDS_LUN_INFORMATION));
    EXPECT_STREQ(target.m_szVendorId, "UMBRA   ");
    EXPECT_STREQ(target.m_szProductId, "VIRTUAL-DISK    ");
    EXPECT_STREQ(target.m_szProductRevision, "0001");
    EXPECT_TRUE(target.m_diskSignature == GUID_NULL);
    ASSERT_EQ(target.m_deviceIdDescriptor.m_cIdentifiers, 2u);
    EXPECT_EQ(target.m_deviceIdDescriptor.m_rgIdentifiers[1].m_Type, VDSStorageIdTypeVendorId);
    auto naa = naa_of(target);
    ASSERT_TRUE(naa);
    const LunRecord& copy = array->luns.at(*naa);
    EXPECT_EQ(copy.origin, "db");
    EXPECT_EQ(copy.serial, target.m_szSerialNumber);

    // What arrives at a host is filled in to the same bytes.
    Luns arrived({information_of(copy)});
    BOOL ours = FALSE;
    arrived[0].m_BusType = VDSBusTypeSas;
    ASSERT_EQ(provider->FillInLunInfo(nullptr, arrived.data(), &ours), S_OK);
    EXPECT_TRUE(ours);
    EXPECT_EQ(arrived[0].m_BusType, VDSBusTypeSas);
    EXPECT_STREQ(arrived[0].m_szSerialNumber, target.m_szSerialNumber);
    EXPECT_STREQ(arrived[0].m_szProductId, target.m_szProductId);
    ASSERT_EQ(arrived[0].m_deviceIdDescriptor.m_cIdentifiers, target.m_deviceIdDescriptor.m_cIdentifiers);
    for (ULONG i = 0; i < target.m_deviceIdDescriptor.m_cIdentifiers; ++i) {
        const auto& a = arrived[0].m_deviceIdDescriptor.m_rgIdentifiers[i];
        const auto& b = target.m_deviceIdDescriptor.m_rgIdentifiers[i];
        ASSERT_EQ(a.m_cbIdentifier, b.m_cbIdentifier);
        EXPECT_EQ(std::memcmp(a.m_rgbIdentifier, b.m_rgbIdentifier, a.m_cbIdentifier), 0);
    }
    Luns unknown = of({"db"});
    unknown[0].m_deviceIdDescriptor.m_rgIdentifiers[0].m_rgbIdentifier[3] ^= 1;
    EXPECT_EQ(provider->GetTargetLuns(1, nullptr, unknown.data(), targets.data()), VSS_E_PROVIDER_VETO);
    EXPECT_EQ(provider->FillInLunInfo(nullptr, unknown.data(), &ours), S_OK);
    EXPECT_FALSE(ours);
}

TEST_F(HardwareProviderTest, BrokenPage83FromTheArrayIsRefused) {
    create();
    for (std::string page : {std::string("\x01\x03\x00\x10", 4), std::string("\x01", 1), std::string(),
                             std::string("\x0F\x03\x00\x00", 4), std::string("\x01\x13\x00\x00", 4)}) {
        LunRecord lun = *array->find("db");
        lun.page83 = page;
        VDS_LUN_INFORMATION information{};
        auto filled = fill_lun_information(lun, array->record, information);
        ASSERT_FALSE(filled);
        EXPECT_EQ(filled.error().code, Code::kCorrupt);
        EXPECT_EQ(information.m_szVendorId, nullptr);
    }
}

// --- Import --------------------------------------------------------------------------------------------------------

TEST_F(HardwareProviderTest, ImportsOnceAndNamesTheHolder) {
    create();
    auto host_b = make_host(kHostB);
    auto host_c = make_host("iqn.2025-01.org.umbra:host-c");
    Luns luns = of_shadows();
    ASSERT_EQ(host_b->LocateLuns(luns.count(), luns.data()), S_OK);
    for (const auto& [naa, lun] : array->luns) {
        if (lun.kind != LunKind::kShadowCopy) continue;
        EXPECT_EQ(lun.attribute("vss.importer"), kHostB);
        ASSERT_EQ(lun.masks.size(), 1u);
        EXPECT_EQ(lun.masks[0].initiator, kHostB);
        EXPECT_FALSE(array->write_protected[naa]);
    }
    EXPECT_EQ(host_b->LocateLuns(luns.count(), luns.data()), S_OK);  // the same host may ask again
    EXPECT_EQ(host_c->LocateLuns(luns.count(), luns.data()), VSS_E_BAD_STATE);
    expect_event(EventId::kHeldElsewhere, kHostB);
    EXPECT_EQ(provider->LocateLuns(luns.count(), luns.data()), VSS_E_BAD_STATE);
}

TEST_F(HardwareProviderTest, ConcurrentImportsHaveOneWinner) {
    create();
    auto host_b = make_host(kHostB);
    Luns luns = of_shadows();
    // Host C claims the second LUN after host B looked at it.
    array->faults["update_lun"] = {Code::kBusy, false, 1};
    std::string last = array->luns.rbegin()->first;
    for (auto& [naa, lun] : array->luns) {
        if (lun.kind == LunKind::kShadowCopy) last = naa;
    }
    EXPECT_EQ(host_b->LocateLuns(luns.count(), luns.data()), VSS_E_PROVIDER_VETO);
    array->faults.clear();
    // All or none: the first LUN is neither claimed nor presented any more... once the array answers again.
    for (const auto& [naa, lun] : array->luns) EXPECT_TRUE(lun.masks.empty()) << lun.name;
}

TEST_F(HardwareProviderTest, AFailedLocateGivesBackWhatItTook) {
    create();
    auto host_b = make_host(kHostB);
    Luns luns = of_shadows();
    array->faults["add_mask"] = {Code::kUnavailable, false, 1};  // the second LUN's
    EXPECT_EQ(host_b->LocateLuns(luns.count(), luns.data()), VSS_E_PROVIDER_VETO);
    array->faults.clear();
    for (const auto& [naa, lun] : array->luns) {
        EXPECT_TRUE(lun.masks.empty()) << lun.name;
        EXPECT_EQ(lun.attribute("vss.importer"), "") << lun.name;
    }
    auto host_c = make_host("iqn.2025-01.org.umbra:host-c");
    EXPECT_EQ(host_c->LocateLuns(luns.count(), luns.data()), S_OK);
}

TEST_F(HardwareProviderTest, ALostAnswerToAClaimIsAClaim) {
    create();
    auto host_b = make_host(kHostB);
    Luns luns = of_shadows();
    array->faults["update_lun"] = {Code::kUnavailable, true};
    EXPECT_EQ(host_b->LocateLuns(luns.count(), luns.data()), S_OK);
}

TEST_F(HardwareProviderTest, TrustsTheArrayAndNotTheDocument) {
    create();
    auto host_b = make_host(kHostB);
    Luns ordinary = of({"db"});
    EXPECT_EQ(host_b->LocateLuns(1, ordinary.data()), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kNotAShadowCopy, "nothing was changed");
    EXPECT_EQ(host_b->OnLunEmpty(nullptr, ordinary.data()), VSS_E_PROVIDER_VETO);
    EXPECT_EQ(host_b->OnLunStateChange(ordinary.data(), nullptr, 1, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE),
              VSS_E_PROVIDER_VETO);
    EXPECT_NE(array->find("db"), nullptr);
    EXPECT_TRUE(array->find("db")->masks.empty());
    LunRecord gone = *array->find("db");
    gone.naa = "6fffffffffffffffffffffffffffffff";
    Luns missing({information_of(gone)});
    EXPECT_EQ(host_b->LocateLuns(1, missing.data()), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kLunUnknown, "find out who deleted");
}

TEST_F(HardwareProviderTest, OnlyTransportableAndCompleteSetsTravel) {
    create(kSet, VSS_CTX_NAS_ROLLBACK);
    auto host_b = make_host(kHostB);
    Luns luns = of_shadows();
    EXPECT_EQ(host_b->LocateLuns(luns.count(), luns.data()), VSS_E_BAD_STATE);
    expect_event(EventId::kHeldElsewhere, "transportable option");
    EXPECT_EQ(provider->LocateLuns(luns.count(), luns.data()), S_OK);  // the automatic import on its own host
}

// --- Deletion and changes ------------------------------------------------------------------------------------------

TEST_F(HardwareProviderTest, EmptyLunsAreDeletedOnce) {
    create();
    Luns luns = of_shadows();
    array->session_list.push_back({kHostA, "127.0.0.1:1", {array->luns.begin()->second.name, "db"}});
    EXPECT_EQ(provider->OnLunEmpty(nullptr, &luns[0]), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 1u);
    EXPECT_EQ(provider->OnLunEmpty(nullptr, &luns[0]), S_OK);
    EXPECT_EQ(provider->OnLunEmpty(nullptr, &luns[1]), S_OK);
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 0u);
    array->faults["get_lun"] = {Code::kUnavailable};
    EXPECT_EQ(provider->OnLunEmpty(nullptr, &luns[1]), VSS_E_PROVIDER_VETO);
}

TEST_F(HardwareProviderTest, ALunInUseElsewhereIsNotDeleted) {
    create();
    Luns luns = of_shadows();
    auto host_b = make_host(kHostB);
    ASSERT_EQ(host_b->LocateLuns(luns.count(), luns.data()), S_OK);
    EXPECT_EQ(provider->OnLunEmpty(nullptr, &luns[0]), VSS_E_PROVIDER_VETO);  // the importer's now
    expect_event(EventId::kHeldElsewhere, kHostB);
    auto naa = naa_of(luns[0]);
    array->session_list.push_back({"iqn.2025-01.org.umbra:spy", "10.0.0.9:1", {array->luns.at(*naa).name}});
    EXPECT_EQ(host_b->OnLunEmpty(nullptr, &luns[0]), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kHeldElsewhere, "spy");
    array->session_list.clear();
    EXPECT_EQ(host_b->OnLunEmpty(nullptr, &luns[0]), S_OK);
}

TEST_F(HardwareProviderTest, RecoveryOpensAndClosesTheLun) {
    create(kSet, VSS_CTX_NAS_ROLLBACK);
    Luns luns = of_shadows();
    std::string naa = *naa_of(luns[0]);
    EXPECT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_PRE_RECOVERY), S_OK);
    EXPECT_FALSE(array->write_protected.at(naa));
    EXPECT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_NOTIFY_LUN_POST_RECOVERY), S_OK);
    EXPECT_TRUE(array->write_protected.at(naa));
    EXPECT_EQ(array->luns.at(naa).kind, LunKind::kShadowCopy);
}

TEST_F(HardwareProviderTest, ABrokenOffLunBelongsToVssNoMore) {
    create();
    Luns luns = of_shadows();
    ASSERT_EQ(provider->LocateLuns(luns.count(), luns.data()), S_OK);
    ASSERT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE), S_OK);
    const LunRecord& lun = array->luns.at(*naa_of(luns[0]));
    EXPECT_EQ(lun.kind, LunKind::kLun);
    EXPECT_EQ(lun.flags, 0u);
    EXPECT_EQ(lun.attributes.size(), 2u);
    EXPECT_EQ(lun.attribute("vss.broken-by"), kHostA);
    EXPECT_EQ(lun.attribute("vss.broken-from"), "11111111-0000-4000-8000-000000000001");
    EXPECT_EQ(lun.masks.size(), 1u);
    EXPECT_EQ(provider->OnLunEmpty(nullptr, luns.data()), VSS_E_PROVIDER_VETO);
    EXPECT_EQ(array->luns.count(lun.naa), 1u);
    // For the second shadow copy on the same LUN, or after a kill: done already. Not for another host.
    EXPECT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE), S_OK);
    auto host_b = make_host(kHostB);
    EXPECT_EQ(host_b->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_NOTIFY_READ_WRITE),
              VSS_E_PROVIDER_VETO);
}

TEST_F(HardwareProviderTest, NotMoreLunsThanAnArrayTakesAtOnce) {
    std::vector<std::string> names;
    for (int i = 0; i < 65; ++i) {
        names.push_back("v" + std::to_string(i));
        array->add_lun(names.back(), "simple");
    }
    EXPECT_EQ(begin(*provider, kSet, 0, names), VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED);
    names.pop_back();
    EXPECT_EQ(begin(*provider, kSet, 0, names), S_OK);
    EXPECT_EQ(begin(*provider, kSet, 1, {"db"}), VSS_E_MAXIMUM_NUMBER_OF_VOLUMES_REACHED);
}

TEST_F(HardwareProviderTest, MaskedLunsCanBeImportedAgain) {
    create();
    Luns luns = of_shadows();
    ASSERT_EQ(provider->LocateLuns(luns.count(), luns.data()), S_OK);
    ASSERT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);
    for (const auto& [naa, lun] : array->luns) EXPECT_TRUE(lun.masks.empty());
    EXPECT_EQ(array->count(LunKind::kShadowCopy), 2u);
    EXPECT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);  // twice
    auto host_b = make_host(kHostB);
    EXPECT_EQ(host_b->LocateLuns(luns.count(), luns.data()), S_OK);
    EXPECT_EQ(provider->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS),
              VSS_E_PROVIDER_VETO);
    EXPECT_EQ(host_b->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);
    EXPECT_EQ(host_b->OnLunStateChange(luns.data(), nullptr, 2, VSS_ONLUNSTATECHANGE_DO_MASK_LUNS), S_OK);
}

// --- Resynchronisation ---------------------------------------------------------------------------------------------

class ResyncTest : public HardwareProviderTest {
protected:
    void SetUp() override {
        HardwareProviderTest::SetUp();
        create();
        std::vector<VDS_LUN_INFORMATION> from;
        for (const char* name : {"db", "logs"}) {
            for (const auto& [naa, lun] : array->luns) {
                if (lun.origin == name) from.push_back(information_of(lun));
            }
        }
        sources = std::make_unique<Luns>(std::move(from));
        targets = std::make_unique<Luns>(of({"db", "logs"}));
        array->calls.clear();
        array->next_task.state = "running";
        array->next_task.percent = 40;
        array->next_task.done_bytes = 400;
        array->next_task.total_bytes = 1000;
    }
    HRESULT resync(DWORD count = 2) {
        async.reset();
        return provider->ResyncLuns(sources->data(), targets->data(), count, async.put());
    }
    HRESULT status() {
        HRESULT hr = E_UNEXPECTED;
        EXPECT_EQ(async->QueryStatus(&hr, nullptr), S_OK);
        return hr;
    }
    TaskRecord& task(size_t i) { return std::next(array->tasks.begin(), static_cast<long>(i))->second; }

    std::unique_ptr<Luns> sources;
    std::unique_ptr<Luns> targets;
    com::Ptr<IVssAsync> async;
};

TEST_F(ResyncTest, RunsInTheArrayAndShowsProgress) {
    ASSERT_EQ(resync(), S_OK);
    EXPECT_THAT(array->calls, testing::ElementsAre(testing::StartsWith("resync db from db-shadow-"),
                                                   testing::StartsWith("resync logs from logs-shadow-")));
    EXPECT_EQ(status(), VSS_S_ASYNC_PENDING);
    auto progress = async.as<IUmbraAsyncProgress>();
    ASSERT_TRUE(progress);
    ULONG percent = 0;
    EXPECT_EQ(progress->GetPercentCompleted(&percent), S_OK);
    EXPECT_EQ(percent, 40u);
    ULONGLONG done = 0, total = 0;
    EXPECT_EQ(progress->GetBytes(&done, &total), S_OK);
    EXPECT_EQ(done, 800u);
    EXPECT_EQ(total, 2000u);
    EXPECT_EQ(async->Wait(0), S_OK);
    EXPECT_EQ(status(), VSS_S_ASYNC_PENDING);
    EXPECT_EQ(async->Wait(INFINITE), S_OK);
    EXPECT_EQ(status(), VSS_S_ASYNC_FINISHED);
    EXPECT_EQ(progress->GetPercentCompleted(&percent), S_OK);
    EXPECT_EQ(percent, 100u);
    EXPECT_EQ(async->Cancel(), VSS_S_ASYNC_FINISHED);
    INT reserved = 0;
    HRESULT hr = S_OK;
    EXPECT_EQ(async->QueryStatus(nullptr, nullptr), E_INVALIDARG);
    EXPECT_EQ(async->QueryStatus(&hr, &reserved), E_INVALIDARG);
}

TEST_F(ResyncTest, ReleasingStopsNothingAndCancelDoes) {
    ASSERT_EQ(resync(), S_OK);
    async.reset();
    EXPECT_EQ(task(0).state, "running");
    // Asked for again by a coordinator that was killed meanwhile: the same tasks.
    ASSERT_EQ(resync(), S_OK);
    EXPECT_EQ(array->tasks.size(), 2u);
    EXPECT_EQ(status(), VSS_S_ASYNC_PENDING);
    EXPECT_EQ(async->Cancel(), S_OK);
    EXPECT_EQ(status(), VSS_S_ASYNC_CANCELLED);
    EXPECT_EQ(async->Cancel(), VSS_S_ASYNC_CANCELLED);
    EXPECT_EQ(task(0).state, "cancelled");
    EXPECT_EQ(task(1).state, "cancelled");
    EXPECT_EQ(async->Wait(INFINITE), S_OK);
}

TEST_F(ResyncTest, ATaskOfOtherLunsIsNotJoined) {
    ASSERT_EQ(resync(1), S_OK);
    task(0).source_naa = *naa_of((*sources)[1]);
    EXPECT_EQ(resync(1), VSS_E_PROVIDER_VETO);
    task(0).source_naa = *naa_of((*sources)[0]);
    task(0).kind = "recover";
    EXPECT_EQ(resync(1), VSS_E_PROVIDER_VETO);
    task(0).kind = "resync";
    EXPECT_EQ(resync(1), S_OK);
    EXPECT_EQ(array->tasks.size(), 1u);
}

TEST_F(ResyncTest, AStartWithoutAnAnswerIsADoubtAndNoVeto) {
    for (bool done : {false, true}) {
        SCOPED_TRACE(done);
        array->faults["resync"] = {Code::kTimedOut, done};
        ASSERT_EQ(resync(1), S_OK);
        EXPECT_EQ(status(), VSS_E_UNEXPECTED);
        expect_event(EventId::kResyncFailed, "not known");
        EXPECT_EQ(events.back().text.find("as they were before"), std::string::npos);
        array->faults.clear();
        ASSERT_EQ(resync(1), S_OK);
        EXPECT_EQ(status(), VSS_S_ASYNC_PENDING);
        EXPECT_EQ(array->tasks.size(), 1u) << "started once";
        if (!done) array->tasks.clear();
    }
    array->tasks.clear();
    array->faults["resync"] = {Code::kUnavailable, false, 1};
    ASSERT_EQ(resync(), S_OK);
    EXPECT_EQ(task(0).state, "running") << "asked for again, it is taken up";
    task(0).state = "done";
    EXPECT_EQ(status(), VSS_E_UNEXPECTED);
}

TEST_F(ResyncTest, ALunThatWasDoneBeforeAnotherWasRefusedIsNamed) {
    array->next_task.state = "done";
    array->faults["resync"] = {Code::kDeviceFailed, false, 1};
    ASSERT_EQ(resync(), S_OK);
    EXPECT_EQ(status(), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kResyncFailed, "Resynchronised all the same: db");
}

TEST_F(ResyncTest, PastItsPointOfNoReturnItFinishes) {
    ASSERT_EQ(resync(1), S_OK);
    array->faults["cancel_task"] = {Code::kBadState};
    EXPECT_EQ(async->Cancel(), S_OK);
    EXPECT_EQ(status(), VSS_S_ASYNC_PENDING);
    task(0).state = "done";
    EXPECT_EQ(status(), VSS_S_ASYNC_FINISHED);
}

TEST_F(ResyncTest, FailuresComeThroughTheAsync) {
    ASSERT_EQ(resync(), S_OK);
    task(0).state = "failed";
    task(0).error_code = Code::kNoSpace;
    task(0).error = "the pool is full";
    EXPECT_EQ(status(), VSS_S_ASYNC_PENDING);
    task(1).state = "done";
    EXPECT_EQ(status(), VSS_E_INSUFFICIENT_STORAGE);
    expect_event(EventId::kLowSpace, "Resynchronised all the same: logs");
    EXPECT_EQ(async->Cancel(), VSS_E_INSUFFICIENT_STORAGE);
    com::Bstr message;
    EXPECT_EQ(async.as<IUmbraAsyncProgress>()->GetMessageText(message.put()), S_OK);
    EXPECT_NE(message.view().find(L"the pool is full"), std::wstring_view::npos);
    size_t before = events.size();
    status();
    EXPECT_EQ(events.size(), before);  // one event, however often it is asked

    ASSERT_EQ(resync(1), S_OK);
    task(2).state = "failed";
    task(2).error_code = Code::kMediaError;
    EXPECT_EQ(status(), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kResyncFailed, "as they were before");
}

TEST_F(ResyncTest, AnArrayThatRestartedKnowsItsTasksNoMore) {
    ASSERT_EQ(resync(1), S_OK);
    array->faults["get_task"] = {Code::kUnavailable};
    EXPECT_EQ(status(), VSS_S_ASYNC_PENDING);  // it may come back
    array->faults.clear();
    array->tasks.clear();
    EXPECT_EQ(status(), VSS_E_UNEXPECTED);
    expect_event(EventId::kResyncFailed, "umbra lun show db");
    EXPECT_EQ(events.back().text.find("as they were before"), std::string::npos);  // that is not known
}

TEST_F(ResyncTest, SpaceThatIsShortIsSaidAtOnce) {
    array->faults["resync"] = {Code::kNoSpace};
    EXPECT_EQ(resync(), VSS_E_INSUFFICIENT_STORAGE);
    EXPECT_FALSE(async);
    array->faults["resync"] = {Code::kNoSpace, false, 1};
    EXPECT_EQ(resync(), S_OK);
    EXPECT_EQ(status(), VSS_E_INSUFFICIENT_STORAGE);
    EXPECT_EQ(task(0).state, "cancelled");  // the first LUN's does not go on alone
    array->faults["resync"] = {Code::kBusy};
    EXPECT_EQ(resync(), VSS_E_PROVIDER_VETO);
}

TEST_F(ResyncTest, ADestinationInUseElsewhereIsNotTouched) {
    array->session_list.push_back({kHostA, "127.0.0.1:1", {"db"}});
    array->session_list.push_back({kHostB, "10.0.0.2:9", {"logs"}});
    EXPECT_EQ(resync(), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kHeldElsewhere, kHostB);
    EXPECT_THAT(array->calls, testing::IsEmpty());
    array->session_list.pop_back();
    EXPECT_EQ(resync(), S_OK);
}

TEST_F(ResyncTest, ImpossiblePairsAreRefusedBeforeAnyChange) {
    Luns one = of({"db"});
    Luns twice = of({"db", "db"});
    EXPECT_EQ(provider->ResyncLuns(one.data(), targets->data(), 1, async.put()),
              VSS_E_PROVIDER_VETO);  // no shadow copy
    EXPECT_EQ(provider->ResyncLuns(sources->data(), twice.data(), 2, async.put()), E_INVALIDARG);
    EXPECT_EQ(provider->ResyncLuns(sources->data(), sources->data(), 1, async.put()), E_INVALIDARG);
    array->luns.at(*naa_of((*targets)[0])).health = "failed";
    EXPECT_EQ(resync(), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kLunFailed, "db has failed");
    array->luns.at(*naa_of((*targets)[0])).health = "healthy";
    second = std::make_shared<FakeArray>("a2");
    second->add_lun("elsewhere", "simple");
    provider = make_host(kHostA);
    Luns elsewhere = of({"elsewhere"});
    EXPECT_EQ(provider->ResyncLuns(sources->data(), elsewhere.data(), 1, async.put()), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kArrayRefused, "different arrays");
    EXPECT_THAT(array->calls, testing::IsEmpty());
}

TEST_F(ResyncTest, ACopyImportedElsewhereIsNoSource) {
    auto host_b = make_host(kHostB);
    ASSERT_EQ(host_b->LocateLuns(sources->count(), sources->data()), S_OK);
    array->calls.clear();
    EXPECT_EQ(resync(), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kHeldElsewhere, kHostB);
    EXPECT_THAT(array->calls, testing::IsEmpty());
    async.reset();
    EXPECT_EQ(host_b->ResyncLuns(sources->data(), targets->data(), 1, async.put()), S_OK);
}

TEST_F(HardwareProviderTest, LoadingWithoutAnInitiatorNameIsRefused) {
    auto nameless = make_host("");
    EXPECT_EQ(nameless->OnLoad(nullptr), VSS_E_PROVIDER_VETO);
    expect_event(EventId::kConfiguration, "UMBRA_PROVIDER_CONFIG");
}

TEST_F(HardwareProviderTest, AnArrayThatIsDownDoesNotKeepTheProviderFromLoading) {
    array->faults["list_luns"] = {Code::kUnavailable};
    EXPECT_EQ(provider->OnLoad(nullptr), S_OK);
    expect_event(EventId::kLeftBehind, "umbra-arrayd");
}

}  // namespace
}  // namespace umbra::provider

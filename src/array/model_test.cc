#include "array/model.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "lun/testing/memory_backend.h"
#include "sim/executor.h"

namespace umbra::array {
namespace {

using base::Code;
using base::Result;
using env::Task;
using lun::testing::MemoryArray;
using lun::testing::MemoryBackend;
using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;

constexpr uint64_t kMiB = 1 << 20;
constexpr const char* kHostA = "iqn.2026-01.com.example:host-a";
constexpr const char* kHostB = "iqn.2026-01.com.example:host-b";

template <class T>
Task<void> store(Task<T> task, std::optional<T>* into) {
    into->emplace(co_await std::move(task));
}

class Listener final : public PresentationListener {
public:
    void on_luns_changed(const std::string&, const std::string& initiator) override { changed.push_back(initiator); }
    void on_lun_attention(const base::Guid& lun, UnitAttentionCause cause) override {
        attentions.emplace_back(lun, cause);
    }
    Task<void> on_access_withdrawn(base::Guid lun) override {
        withdrawn.push_back(lun);
        if (gate != nullptr) co_await gate->wait();
    }
    std::vector<base::Guid> withdrawn;
    env::Event* gate = nullptr;  ///< commands take until it is set
    std::vector<std::string> changed;
    std::vector<std::pair<base::Guid, UnitAttentionCause>> attentions;
};

class ModelTest : public testing::Test {
protected:
    ModelTest() { start(); }
    ~ModelTest() override {
        if (model_) stop();
    }

    template <class T>
    T run(Task<T> task) {
        std::optional<T> result;
        executor_.run(store(std::move(task), &result));
        return std::move(*result);
    }
    Result<std::unique_ptr<ArrayModel>> open() {
        auto backend = std::make_unique<MemoryBackend>(executor_, drives_);
        backend_ = backend.get();
        ModelOptions options;
        options.name = "demo";
        options.portals = {"127.0.0.1:3260"};
        return run(ArrayModel::open({executor_, random_}, std::move(backend), options));
    }
    void start() {
        auto model = open();
        ASSERT_TRUE(model) << model.error().text();
        model_ = std::move(*model);
        model_->add_listener(&listener_);
    }
    void stop() {
        ASSERT_TRUE(run(model_->close()));
        model_.reset();
    }
    void restart() {
        stop();
        start();
    }
    /// The machine goes down: the next model sees what was durable now, whatever this one still does.
    void crash() {
        auto survived = std::make_shared<MemoryArray>(*drives_);
        for (auto& [id, volume] : survived->volumes) {
            auto content = std::make_shared<lun::testing::MemoryVolume>(0, volume.content->writable());
            content->copy_from(*volume.content);
            volume.content = std::move(content);
            volume.gone = std::make_shared<bool>(*volume.gone);
        }
        backend_->set_hook({});
        stop();
        drives_ = std::move(survived);
        start();
    }

    LunView create(const std::string& name, const std::string& type = "parity", uint64_t size = 256 * kMiB) {
        const auto lun = run(model_->create_lun({name, size, type, 0}));
        EXPECT_TRUE(lun) << lun.error().text();
        return lun.value_or(LunView{});
    }
    std::vector<LunView> snapshot(std::vector<std::string> names, const std::string& name,
                                  LunKind kind = LunKind::kSnapshot) {
        std::vector<SnapshotItem> items;
        for (const std::string& source : names) items.push_back({LunRef::name(source), name, {}, 0, false});
        const auto made = run(model_->create_snapshots(items, kind));
        EXPECT_TRUE(made) << made.error().text();
        return made.value_or(std::vector<LunView>{});
    }
    LunView mask(const std::string& lun, const std::string& initiator, const std::string& target = {}) {
        const auto masked = run(model_->add_mask({LunRef::name(lun), initiator, target, false}));
        EXPECT_TRUE(masked) << masked.error().text();
        return masked.value_or(LunView{});
    }
    void login(uint64_t id, const std::string& initiator) {
        model_->session_started({id, initiator, model_->default_target(), "127.0.0.1:999", "isid"});
    }
    TaskView finish(uint64_t id) {
        while (!model_->get_task(id)->ended()) {
            if (!executor_.step()) {
                ADD_FAILURE() << "task " << id << " hangs";
                break;
            }
        }
        return *model_->get_task(id);
    }
    std::vector<std::string> names() const {
        std::vector<std::string> result;
        for (const LunView& lun : model_->list_luns()) result.push_back(lun.name);
        return result;
    }
    std::vector<uint16_t> numbers(const std::string& initiator) const {
        std::vector<uint16_t> result;
        for (const PresentedLun& lun : model_->luns(model_->default_target(), initiator)) result.push_back(lun.number);
        return result;
    }
    LunView get(const std::string& name) const {
        const auto lun = model_->get_lun(LunRef::name(name));
        EXPECT_TRUE(lun) << lun.error().text();
        return lun.value_or(LunView{});
    }
    void write(const std::string& name, char byte) {
        const auto seen = volume(name);
        const std::vector<std::byte> data(4096, static_cast<std::byte>(byte));
        ASSERT_TRUE(run(seen->write(0, data, {})));
    }
    char read(const std::string& name) {
        std::vector<std::byte> data(4096);
        EXPECT_TRUE(run(volume(name)->read(0, data)));
        return static_cast<char>(data[0]);
    }
    std::shared_ptr<lun::Volume> volume(const std::string& name) {
        for (const auto& [key, value] : drives_->meta) {
            if (!key.starts_with("lun/")) continue;
            const LunRecord record = decode_lun(value).value();
            if (model_->get_lun(LunRef::id(record.id.text()))->name == name)
                return backend_->open(record.volume).value();
        }
        ADD_FAILURE() << "no LUN " << name;
        return nullptr;
    }

    sim::SimExecutor executor_;
    env::SeededRandom random_{42};
    std::shared_ptr<MemoryArray> drives_ = MemoryArray::make(6, 4096 * kMiB);
    MemoryBackend* backend_ = nullptr;
    Listener listener_;
    std::unique_ptr<ArrayModel> model_;
};

TEST_F(ModelTest, ALunHasAnIdentityThatSurvivesARestart) {
    const LunView made = create("db");
    EXPECT_EQ(made.naa.size(), 32u);
    EXPECT_EQ(made.naa.substr(0, 7), "602554d");
    EXPECT_EQ(made.health, "healthy");
    EXPECT_EQ(made.width, 5u);
    EXPECT_THAT(made.paths, IsEmpty());
    restart();
    const LunView again = get("db");
    EXPECT_EQ(again.id, made.id);
    EXPECT_EQ(again.naa, made.naa);
    EXPECT_EQ(again.serial, made.serial);
    EXPECT_EQ(again.created_unix_ms, made.created_unix_ms);
    EXPECT_EQ(again.page83, made.page83);
    EXPECT_EQ(model_->get_lun(LunRef::naa(made.naa))->name, "db");
    EXPECT_EQ(model_->get_lun(LunRef::id(made.id))->name, "db");
}

TEST_F(ModelTest, IdentifiersAreNeverGivenTwice) {
    std::set<std::string> naas;
    for (int round = 0; round < 3; ++round) {
        for (int i = 0; i < 3; ++i) {
            EXPECT_TRUE(naas.insert(create("x").naa).second);
            ASSERT_TRUE(run(model_->delete_lun(LunRef::name("x"), false)));
        }
        restart();
    }
}

TEST_F(ModelTest, RefusesWhatIsWrong) {
    create("db");
    const auto code = [&](CreateLun request) { return run(model_->create_lun(std::move(request))).error().code; };
    EXPECT_EQ(code({"db", kMiB, "simple", 0}), Code::kAlreadyExists);
    EXPECT_EQ(code({"a@b", kMiB, "simple", 0}), Code::kInvalidArgument);
    EXPECT_EQ(code({"x", 0, "simple", 0}), Code::kInvalidArgument);
    EXPECT_EQ(code({"x", 4095, "simple", 0}), Code::kInvalidArgument);
    EXPECT_EQ(code({"x", lun::kMaxVolumeBytes + 4096, "simple", 0}), Code::kInvalidArgument);
    EXPECT_EQ(code({"x", kMiB, "raid17", 0}), Code::kInvalidArgument);
    EXPECT_EQ(code({"x", kMiB, "stripe", 0}), Code::kUnsupported);
    EXPECT_EQ(code({"x", kMiB, "parity", 7}), Code::kNoDrive);
    EXPECT_THAT(names(), ElementsAre("db"));
    EXPECT_EQ(model_->get_lun(LunRef::name("nope")).error().code, Code::kNotFound);
}

TEST_F(ModelTest, ARefusedOperationChangesNothing) {
    create("db");
    mask("db", kHostA);
    backend_->set_hook([](std::string, MemoryBackend::Step step) -> Task<Result<void>> {
        if (step == MemoryBackend::Step::kBefore) co_return base::fail(Code::kNoSpace, "injected");
        co_return Result<void>();
    });
    const auto meta = drives_->meta;
    EXPECT_EQ(run(model_->create_lun({"x", kMiB, "simple", 0})).error().code, Code::kNoSpace);
    EXPECT_EQ(run(model_->delete_lun(LunRef::name("db"), true)).error().code, Code::kNoSpace);
    EXPECT_EQ(run(model_->resize_lun(LunRef::name("db"), 512 * kMiB, false)).error().code, Code::kNoSpace);
    EXPECT_EQ(run(model_->rename_lun(LunRef::name("db"), "other")).error().code, Code::kNoSpace);
    EXPECT_EQ(run(model_->create_snapshots({{LunRef::name("db"), "s", {}, 0, false}}, LunKind::kSnapshot)).error().code,
              Code::kNoSpace);
    EXPECT_EQ(run(model_->add_mask({LunRef::name("db"), kHostB, "", false})).error().code, Code::kNoSpace);
    EXPECT_EQ(run(model_->remove_mask({LunRef::name("db"), kHostA, "", false})).error().code, Code::kNoSpace);
    EXPECT_EQ(run(model_->resync_lun({LunRef::name("db"), LunRef::name("db2"), false, ""})).error().code,
              Code::kNotFound);
    EXPECT_EQ(run(model_->recover_lun(LunRef::name("db"))).error().code, Code::kNoSpace);
    UpdateLun update;
    update.flags = kLunHidden;
    EXPECT_EQ(run(model_->update_lun(LunRef::name("db"), update)).error().code, Code::kNoSpace);
    EXPECT_EQ(drives_->meta, meta);
    backend_->set_hook({});
    EXPECT_THAT(names(), ElementsAre("db"));
    EXPECT_EQ(get("db").size_bytes, 256 * kMiB);
    EXPECT_EQ(get("db").flags, 0u);
    EXPECT_THAT(numbers(kHostA), ElementsAre(1));
    EXPECT_THAT(numbers(kHostB), IsEmpty());
    restart();
    EXPECT_THAT(names(), ElementsAre("db"));
}

TEST_F(ModelTest, WhatIsDurableIsThereAfterACrashThatSwallowedTheAnswer) {
    create("db");
    const auto crash_after = [&](const std::string& operation) {
        backend_->set_hook([operation](std::string now, MemoryBackend::Step step) -> Task<Result<void>> {
            if (now == operation && step == MemoryBackend::Step::kAfter)
                co_return base::fail(Code::kDeviceFailed, "power");
            co_return Result<void>();
        });
    };
    crash_after("create");
    EXPECT_FALSE(run(model_->create_lun({"late", kMiB, "simple", 0})));
    crash();
    EXPECT_THAT(names(), ElementsAre("db", "late"));
    crash_after("snapshot");
    EXPECT_FALSE(run(model_->create_snapshots({{LunRef::name("db"), "s", {}, 0, false}}, LunKind::kSnapshot)));
    crash();
    EXPECT_THAT(names(), ElementsAre("db", "db@s", "late"));
    crash_after("remove");
    EXPECT_FALSE(run(model_->delete_lun(LunRef::name("late"), false)));
    crash();
    EXPECT_THAT(names(), ElementsAre("db", "db@s"));
    // Nothing of these three leaves a volume that nobody points at.
    EXPECT_EQ(drives_->volumes.size(), 2u);
}

TEST_F(ModelTest, MasksDecideWhatAnInitiatorSees) {
    create("a");
    create("b");
    mask("a", kHostA);
    const LunView b = mask("b", "*");
    EXPECT_THAT(numbers(kHostA), ElementsAre(1, 2));
    EXPECT_THAT(numbers(kHostB), ElementsAre(2));
    EXPECT_EQ(model_->lun(model_->default_target(), kHostB, 1), std::nullopt);
    ASSERT_TRUE(model_->lun(model_->default_target(), kHostB, 2));
    EXPECT_EQ(model_->lun(model_->default_target(), kHostB, 2)->identity->name, "b");
    EXPECT_THAT(b.paths, ElementsAre(LunPathView{model_->default_target(), 2, "127.0.0.1:3260"}));
    restart();
    EXPECT_THAT(numbers(kHostA), ElementsAre(1, 2));
    EXPECT_EQ(mask("a", kHostA).masks.size(), 1u);  // the same again changes nothing
}

TEST_F(ModelTest, LunNumbersAreNotReused) {
    create("a");
    mask("a", "*");
    ASSERT_TRUE(run(model_->delete_lun(LunRef::name("a"), false)));
    restart();
    create("b");
    mask("b", "*");
    EXPECT_THAT(numbers(kHostA), ElementsAre(2));
    ASSERT_TRUE(run(model_->remove_mask({LunRef::name("b"), "*", "", false})));
    mask("b", kHostA);
    EXPECT_THAT(numbers(kHostA), ElementsAre(2));  // its own number comes back to it
}

TEST_F(ModelTest, TargetsOfTheirOwn) {
    create("a");
    const std::string other = "iqn.2026-01.com.example:other";
    mask("a", kHostA, other);
    EXPECT_TRUE(model_->has_target(other));
    EXPECT_THAT(model_->targets_for(kHostA), ElementsAre(model_->default_target(), other));
    EXPECT_THAT(model_->targets_for(kHostB), ElementsAre(model_->default_target()));
    EXPECT_THAT(numbers(kHostA), IsEmpty());
    EXPECT_EQ(model_->luns(other, kHostA).size(), 1u);
    restart();
    EXPECT_TRUE(model_->has_target(other));
}

TEST_F(ModelTest, AMaskIsNotTakenFromUnderASession) {
    create("a");
    mask("a", kHostA);
    login(1, kHostA);
    EXPECT_EQ(run(model_->remove_mask({LunRef::name("a"), kHostA, "", false})).error().code, Code::kBusy);
    EXPECT_EQ(run(model_->delete_lun(LunRef::name("a"), false)).error().code, Code::kBusy);
    mask("a", "*");
    EXPECT_TRUE(run(model_->remove_mask({LunRef::name("a"), kHostA, "", false})));  // still seen through "*"
    listener_.changed.clear();
    EXPECT_TRUE(run(model_->remove_mask({LunRef::name("a"), "*", "", true})));
    EXPECT_THAT(listener_.changed, ElementsAre(kHostA));
    EXPECT_THAT(numbers(kHostA), IsEmpty());
    model_->session_ended(1);
    EXPECT_TRUE(run(model_->delete_lun(LunRef::name("a"), false)));
}

TEST_F(ModelTest, ListenersHearOfWhatSessionsSee) {
    create("a");
    login(1, kHostA);
    login(2, kHostB);
    login(3, kHostB);
    mask("a", kHostA);
    EXPECT_THAT(listener_.changed, ElementsAre(kHostA));
    mask("a", "*");
    EXPECT_THAT(listener_.changed, ElementsAre(kHostA, kHostA, kHostB));
    ASSERT_TRUE(run(model_->resize_lun(LunRef::name("a"), 512 * kMiB, false)));
    ASSERT_EQ(listener_.attentions.size(), 1u);
    EXPECT_EQ(listener_.attentions[0].second, UnitAttentionCause::kCapacityChanged);
    UpdateLun update;
    update.write_protect = true;
    ASSERT_TRUE(run(model_->update_lun(LunRef::name("a"), update)));
    EXPECT_EQ(listener_.attentions.back().second, UnitAttentionCause::kModeParametersChanged);
    EXPECT_TRUE(model_->lun(model_->default_target(), kHostA, 1)->identity->write_protected);
    const auto sessions = model_->list_sessions();
    ASSERT_EQ(sessions.size(), 3u);
    EXPECT_THAT(sessions[0].luns, ElementsAre("a"));
    model_->remove_listener(&listener_);
}

TEST_F(ModelTest, SnapshotsAreTakenAllOrNone) {
    create("a");
    create("b");
    const auto made = snapshot({"a", "b"}, "before");
    ASSERT_EQ(made.size(), 2u);
    EXPECT_EQ(made[0].name, "a@before");
    EXPECT_EQ(made[1].name, "b@before");
    EXPECT_NE(made[0].naa, get("a").naa);
    EXPECT_EQ(made[0].origin, "a");
    EXPECT_EQ(made[0].kind, LunKind::kSnapshot);
    // One name is taken: none is made.
    ASSERT_TRUE(run(model_->delete_lun(LunRef::name("a@before"), false)));
    EXPECT_EQ(run(model_->create_snapshots(
                      {{LunRef::name("a"), "before", {}, 0, false}, {LunRef::name("b"), "before", {}, 0, false}},
                      LunKind::kSnapshot))
                  .error()
                  .code,
              Code::kAlreadyExists);
    EXPECT_THAT(names(), ElementsAre("a", "b", "b@before"));
    EXPECT_EQ(
        run(model_->create_snapshots({{LunRef::name("a"), "x", {}, 0, false}, {LunRef::name("a"), "y", {}, 0, false}},
                                     LunKind::kSnapshot))
            .error()
            .code,
        Code::kInvalidArgument);
    EXPECT_EQ(run(model_->add_mask({LunRef::name("b@before"), "*", "", false})).error().code, Code::kUnsupported);
    EXPECT_EQ(run(model_->delete_lun(LunRef::name("b"), false)).error().code, Code::kBadState);
    restart();
    EXPECT_THAT(names(), ElementsAre("a", "b", "b@before"));
    snapshot({"a", "b"}, "");
    EXPECT_THAT(names(), ElementsAre("a", "a@auto-1", "b", "b@auto-1", "b@before"));
}

TEST_F(ModelTest, ARenamedLunTakesItsSnapshotsAlong) {
    create("a");
    snapshot({"a"}, "s");
    ASSERT_TRUE(run(model_->rename_lun(LunRef::name("a"), "b")));
    EXPECT_THAT(names(), ElementsAre("b", "b@s"));
    ASSERT_TRUE(run(model_->rename_lun(LunRef::name("b@s"), "t")));
    EXPECT_THAT(names(), ElementsAre("b", "b@t"));
    restart();
    EXPECT_THAT(names(), ElementsAre("b", "b@t"));
    EXPECT_EQ(get("b@t").origin, "b");
}

TEST_F(ModelTest, AShadowCopyIsALunOfItsOwn) {
    create("db");
    mask("db", "*");
    write("db", 'x');
    SnapshotItem item{LunRef::name("db"), "copy", {{"vss.set", "{1}"}}, kLunHidden, true};
    const auto made = run(model_->create_snapshots({item}, LunKind::kShadowCopy));
    ASSERT_TRUE(made) << made.error().text();
    const LunView copy = made->front();
    EXPECT_EQ(copy.kind, LunKind::kShadowCopy);
    EXPECT_THAT(copy.masks, IsEmpty());
    EXPECT_NE(copy.naa, get("db").naa);
    EXPECT_EQ(copy.flags, kLunHidden);
    EXPECT_TRUE(copy.write_protected);
    EXPECT_EQ(copy.attributes.at("vss.set"), "{1}");
    write("db", 'y');
    EXPECT_EQ(read("copy"), 'x');

    UpdateLun claim;
    claim.expect_attributes = {{"vss.importer", ""}};
    claim.set_attributes = {{"vss.importer", "host-a"}};
    EXPECT_TRUE(run(model_->update_lun(LunRef::name("copy"), claim)));
    claim.set_attributes = {{"vss.importer", "host-b"}};
    EXPECT_EQ(run(model_->update_lun(LunRef::name("copy"), claim)).error().code, Code::kBusy);
    EXPECT_EQ(get("copy").attributes.at("vss.importer"), "host-a");

    UpdateLun brk;
    brk.break_shadow_copy = true;
    brk.write_protect = false;
    ASSERT_TRUE(run(model_->update_lun(LunRef::name("copy"), brk)));
    EXPECT_EQ(get("copy").kind, LunKind::kLun);
    EXPECT_EQ(get("copy").naa, copy.naa);
    EXPECT_EQ(run(model_->update_lun(LunRef::name("copy"), brk)).error().code, Code::kBadState);
    restart();
    EXPECT_EQ(get("copy").kind, LunKind::kLun);
    // The origin may go; the copy lives on.
    ASSERT_TRUE(run(model_->delete_lun(LunRef::name("db"), false)));
    EXPECT_EQ(get("copy").origin, "");
    EXPECT_EQ(read("copy"), 'x');
}

TEST_F(ModelTest, AttributesHaveLimits) {
    create("db");
    UpdateLun update;
    update.set_attributes = {{"key", std::string(kMaxAttributeBytes + 1, 'x')}};
    EXPECT_EQ(run(model_->update_lun(LunRef::name("db"), update)).error().code, Code::kInvalidArgument);
    update.set_attributes = {{"no key", "x"}};
    EXPECT_EQ(run(model_->update_lun(LunRef::name("db"), update)).error().code, Code::kInvalidArgument);
    update.set_attributes.clear();
    for (size_t i = 0; i <= kMaxAttributes; ++i) update.set_attributes["k" + std::to_string(i)] = "v";
    EXPECT_EQ(run(model_->update_lun(LunRef::name("db"), update)).error().code, Code::kInvalidArgument);
    update = {};
    update.flags = 1u << 10;
    EXPECT_EQ(run(model_->update_lun(LunRef::name("db"), update)).error().code, Code::kInvalidArgument);
}

TEST_F(ModelTest, ShrinkingIsForced) {
    create("db");
    mask("db", kHostA);
    EXPECT_EQ(run(model_->resize_lun(LunRef::name("db"), 128 * kMiB, false)).error().code, Code::kBadState);
    EXPECT_TRUE(run(model_->resize_lun(LunRef::name("db"), 128 * kMiB, true)));
    const auto presented = model_->lun(model_->default_target(), kHostA, 1);
    ASSERT_TRUE(presented);
    EXPECT_EQ(presented->identity->content_generation, 2u);
    restart();
    EXPECT_EQ(get("db").size_bytes, 128 * kMiB);
}

// Resync.

TEST_F(ModelTest, ResyncReplacesContentAndNothingElse) {
    const LunView before = create("db");
    mask("db", "*");
    write("db", 'x');
    snapshot({"db"}, "before");
    write("db", 'y');
    ASSERT_TRUE(run(model_->resize_lun(LunRef::name("db"), 512 * kMiB, false)));
    listener_.attentions.clear();
    const auto task = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@before"), false, ""}));
    ASSERT_TRUE(task) << task.error().text();
    EXPECT_EQ(task->kind, "resync");
    const TaskView done = finish(task->id);
    EXPECT_EQ(done.state, TaskState::kDone);
    EXPECT_EQ(done.percent, 100u);
    EXPECT_EQ(done.result, "kept the head before it as db@before-resync-1");
    EXPECT_EQ(read("db"), 'x');
    EXPECT_EQ(read("db@before-resync-1"), 'y');
    const LunView after = get("db");
    EXPECT_EQ(after.naa, before.naa);
    EXPECT_EQ(after.id, before.id);
    EXPECT_EQ(after.masks.size(), 1u);
    EXPECT_EQ(after.size_bytes, 256 * kMiB);
    ASSERT_EQ(listener_.attentions.size(), 1u);
    EXPECT_EQ(listener_.attentions[0].second, UnitAttentionCause::kCapacityChanged);
    const auto content = [&] {
        const auto lun = model_->lun(model_->default_target(), kHostA, 1);
        return lun ? lun->identity->content_generation : 0;
    };
    EXPECT_EQ(content(), 2u);
    const base::Guid run_before = model_->run_id();
    restart();
    EXPECT_NE(model_->run_id(), run_before);
    EXPECT_EQ(content(), 2u) << "who comes back after a restart must see that the content is another";
    EXPECT_EQ(model_->get_task(task->id)->state, TaskState::kDone);
    EXPECT_EQ(get("db@before-resync-1").size_bytes, 512 * kMiB);
    // Back again, from what was kept.
    const auto undo = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@before-resync-1"), false, ""}));
    ASSERT_TRUE(undo);
    EXPECT_EQ(finish(undo->id).result, "kept the head before it as db@before-resync-2");
    EXPECT_EQ(read("db"), 'y');
}

TEST_F(ModelTest, ResyncRefusesWhileSomebodyIsLoggedIn) {
    create("db");
    snapshot({"db"}, "s");
    mask("db", kHostA);
    login(1, kHostB);
    login(2, kHostA);
    const auto refused = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""}));
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().code, Code::kBusy);
    EXPECT_THAT(refused.error().message, HasSubstr(kHostA));
    EXPECT_THAT(model_->list_tasks(), IsEmpty());
    const auto forced = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), true, ""}));
    ASSERT_TRUE(forced);
    EXPECT_EQ(finish(forced->id).state, TaskState::kDone);
    model_->session_ended(2);
    EXPECT_TRUE(run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""})));
}

TEST_F(ModelTest, DuringAResyncNobodyGetsAtTheLun) {
    create("db");
    snapshot({"db"}, "s");
    mask("db", kHostA);
    const auto task = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, "kept"}));
    ASSERT_TRUE(task);
    ASSERT_FALSE(model_->get_task(task->id)->ended());
    login(1, kHostA);
    EXPECT_THAT(numbers(kHostA), IsEmpty());
    const LunRef db = LunRef::name("db");
    EXPECT_EQ(run(model_->delete_lun(db, true)).error().code, Code::kBusy);
    EXPECT_EQ(run(model_->resize_lun(db, 512 * kMiB, false)).error().code, Code::kBusy);
    EXPECT_EQ(run(model_->rename_lun(db, "x")).error().code, Code::kBusy);
    EXPECT_EQ(run(model_->add_mask({db, kHostB, "", false})).error().code, Code::kBusy);
    EXPECT_EQ(run(model_->recover_lun(db)).error().code, Code::kBusy);
    EXPECT_EQ(run(model_->create_snapshots({{db, "t", {}, 0, false}}, LunKind::kSnapshot)).error().code, Code::kBusy);
    EXPECT_EQ(run(model_->resync_lun({db, LunRef::name("db@s"), true, ""})).error().code, Code::kBusy);
    EXPECT_EQ(run(model_->delete_lun(LunRef::name("db@s"), true)).error().code, Code::kBusy);
    listener_.changed.clear();
    EXPECT_EQ(finish(task->id).state, TaskState::kDone);
    EXPECT_THAT(numbers(kHostA), ElementsAre(1));
    EXPECT_THAT(listener_.changed, ElementsAre(kHostA));
    EXPECT_THAT(names(), ElementsAre("db", "db@kept", "db@s"));
}

TEST_F(ModelTest, NobodyIsLetInWhileAResyncIsBeingRecorded) {
    create("db");
    snapshot({"db"}, "s");
    mask("db", kHostA);
    std::vector<uint16_t> seen{99};
    bool refuse = true;
    backend_->set_hook([&](std::string operation, MemoryBackend::Step step) -> Task<Result<void>> {
        if (operation == "update_meta" && step == MemoryBackend::Step::kBefore) {
            if (model_->list_sessions().empty()) login(1, kHostA);  // in the middle of the step
            seen = numbers(kHostA);
            if (refuse) co_return base::fail(Code::kNoSpace, "injected");
        }
        co_return Result<void>();
    });
    EXPECT_EQ(run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""})).error().code,
              Code::kNoSpace);
    EXPECT_THAT(seen, IsEmpty());
    // It did not begin: whoever logged in meanwhile is told that the LUN is there.
    EXPECT_THAT(numbers(kHostA), ElementsAre(1));
    EXPECT_THAT(listener_.changed, ElementsAre(kHostA));
    model_->session_ended(1);
    refuse = false;
    backend_->set_hook({});
    const auto task = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""}));
    ASSERT_TRUE(task);
    EXPECT_EQ(finish(task->id).state, TaskState::kDone);
}

TEST_F(ModelTest, NobodyIsLetInWhileALunIsBeingDeleted) {
    create("db");
    mask("db", kHostA);
    std::vector<uint16_t> seen{99};
    bool refuse = true;
    backend_->set_hook([&](std::string operation, MemoryBackend::Step step) -> Task<Result<void>> {
        if (operation == "remove" && step == MemoryBackend::Step::kBefore) {
            seen = numbers(kHostA);
            if (refuse) co_return base::fail(Code::kNoSpace, "injected");
        }
        co_return Result<void>();
    });
    EXPECT_FALSE(run(model_->delete_lun(LunRef::name("db"), false)));
    EXPECT_THAT(seen, IsEmpty());
    EXPECT_THAT(numbers(kHostA), ElementsAre(1));
    refuse = false;
    EXPECT_TRUE(run(model_->delete_lun(LunRef::name("db"), false)));
    EXPECT_THAT(numbers(kHostA), IsEmpty());
    backend_->set_hook({});
}

TEST_F(ModelTest, AMaskIsGoneWhenNoCommandOfItCanWriteAnyMore) {
    const LunView db = create("db");
    mask("db", kHostA);
    login(1, kHostA);
    env::Event gate(executor_);
    listener_.gate = &gate;
    std::optional<Result<LunView>> removed;
    env::spawn_detached(store(model_->remove_mask({LunRef::name("db"), kHostA, "", true}), &removed));
    while (executor_.step()) {
    }
    EXPECT_FALSE(removed) << "answered while a write could still land";
    EXPECT_THAT(numbers(kHostA), IsEmpty());
    // What ends meanwhile may have to save a reservation first.
    EXPECT_TRUE(run(model_->save_reservations(*base::Guid::parse(db.id), "record")));
    gate.set();
    while (executor_.step()) {
    }
    ASSERT_TRUE(removed && *removed);
    EXPECT_THAT(listener_.withdrawn, ElementsAre(*base::Guid::parse(db.id)));
    UpdateLun update;
    update.write_protect = true;
    EXPECT_TRUE(run(model_->update_lun(LunRef::name("db"), update)));
    EXPECT_EQ(listener_.withdrawn.size(), 2u);
    update.write_protect = false;
    EXPECT_TRUE(run(model_->update_lun(LunRef::name("db"), update)));
    EXPECT_EQ(listener_.withdrawn.size(), 2u);
    listener_.gate = nullptr;
    model_->session_ended(1);
}

TEST_F(ModelTest, AResyncBeginsWhenOldCommandsHaveEnded) {
    create("db");
    write("db", 'x');
    snapshot({"db"}, "s");
    write("db", 'y');
    env::Event gate(executor_);
    listener_.gate = &gate;
    const auto task = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""}));
    ASSERT_TRUE(task);
    while (executor_.step()) {
    }
    EXPECT_FALSE(model_->get_task(task->id)->ended());
    EXPECT_EQ(read("db"), 'y') << "replaced while an older write could still land on it";
    gate.set();
    EXPECT_EQ(finish(task->id).state, TaskState::kDone);
    EXPECT_EQ(read("db"), 'x');
    listener_.gate = nullptr;
}

TEST_F(ModelTest, NamesAreUtf8) {
    create("db");
    EXPECT_EQ(run(model_->add_mask({LunRef::name("db"), "iqn.2026-01.test:\xff\xfe", "", false})).error().code,
              Code::kInvalidArgument);
    EXPECT_TRUE(run(model_->add_mask({LunRef::name("db"), "iqn.2026-01.test:\xc3\xa4", "", false})));
}

TEST_F(ModelTest, ACancelledResyncLeavesEverythingAsItWas) {
    create("db");
    write("db", 'x');
    snapshot({"db"}, "s");
    write("db", 'y');
    const auto task = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""}));
    ASSERT_TRUE(task);
    ASSERT_TRUE(model_->cancel_task(task->id));
    const TaskView ended = finish(task->id);
    EXPECT_EQ(ended.state, TaskState::kCancelled);
    EXPECT_LT(ended.percent, 100u);
    EXPECT_EQ(read("db"), 'y');
    EXPECT_THAT(names(), ElementsAre("db", "db@s"));
    EXPECT_EQ(model_->cancel_task(task->id).error().code, Code::kBadState);
    EXPECT_EQ(drives_->volumes.size(), 2u);
    restart();
    EXPECT_EQ(model_->get_task(task->id)->state, TaskState::kCancelled);
}

TEST_F(ModelTest, ACrashDuringAResyncFailsTheTaskAndKeepsTheLun) {
    create("db");
    write("db", 'x');
    snapshot({"db"}, "s");
    write("db", 'y');
    const auto task = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""}));
    ASSERT_TRUE(task);
    crash();
    const TaskView ended = *model_->get_task(task->id);
    EXPECT_EQ(ended.state, TaskState::kFailed);
    EXPECT_EQ(ended.error_code, "unavailable");
    EXPECT_THAT(ended.error, HasSubstr("wholly as it was before"));
    EXPECT_THAT(get("db").failed_task, HasSubstr("the array stopped"));
    EXPECT_EQ(read("db"), 'y');
    EXPECT_THAT(names(), ElementsAre("db", "db@s"));
}

TEST_F(ModelTest, ACrashRightAfterTheSwapFindsTheTaskDone) {
    create("db");
    write("db", 'x');
    snapshot({"db"}, "s");
    write("db", 'y');
    bool swapped = false;
    backend_->set_hook([&](std::string operation, MemoryBackend::Step step) -> Task<Result<void>> {
        if (operation == "resync" && step == MemoryBackend::Step::kAfter) {
            swapped = true;
            co_await env::sleep_for(executor_, std::chrono::hours(1));
        }
        co_return Result<void>();
    });
    const auto task = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""}));
    ASSERT_TRUE(task);
    while (!swapped) ASSERT_TRUE(executor_.step());
    crash();
    EXPECT_EQ(model_->get_task(task->id)->state, TaskState::kDone);
    EXPECT_EQ(read("db"), 'x');
    EXPECT_EQ(read("db@before-resync-1"), 'y');
}

TEST_F(ModelTest, StoppingInterruptsTasks) {
    create("db", "parity", 4096 * kMiB);
    snapshot({"db"}, "s");
    const auto task = run(model_->resync_lun({LunRef::name("db"), LunRef::name("db@s"), false, ""}));
    ASSERT_TRUE(task);
    restart();
    const TaskView ended = *model_->get_task(task->id);
    EXPECT_EQ(ended.state, TaskState::kFailed);
    EXPECT_THAT(ended.error, HasSubstr("the array stopped"));
}

TEST_F(ModelTest, ResyncRefusesNonsense) {
    create("db");
    snapshot({"db"}, "s");
    const auto code = [&](const char* to, const char* from, const char* keep) {
        return run(model_->resync_lun({LunRef::name(to), LunRef::name(from), false, keep})).error().code;
    };
    EXPECT_EQ(code("db", "db", ""), Code::kInvalidArgument);
    EXPECT_EQ(code("db@s", "db", ""), Code::kInvalidArgument);
    EXPECT_EQ(code("db", "db@s", "s"), Code::kAlreadyExists);
    EXPECT_EQ(code("db", "db@s", "a b"), Code::kInvalidArgument);
    EXPECT_EQ(code("nope", "db@s", ""), Code::kNotFound);
}

// Recover, drives, scrub.

TEST_F(ModelTest, ALostDriveIsRecovered) {
    create("db");
    EXPECT_EQ(model_->status().state, "ready");
    const auto failed = run(model_->fail_drive("d1", false));
    ASSERT_TRUE(failed) << failed.error().text();
    EXPECT_EQ(failed->state, "failed");
    EXPECT_EQ(get("db").health, "failed-redundancy");
    EXPECT_EQ(model_->status().state, "degraded");
    EXPECT_EQ(run(model_->fail_drive("d1", false)).error().code, Code::kBadState);
    EXPECT_EQ(run(model_->fail_drive("d9", false)).error().code, Code::kNotFound);
    const auto task = run(model_->recover_lun(LunRef::name("db")));
    ASSERT_TRUE(task);
    EXPECT_EQ(run(model_->recover_lun(LunRef::name("db"))).error().code, Code::kBusy);
    EXPECT_EQ(run(model_->delete_lun(LunRef::name("db"), true)).error().code, Code::kBusy);
    EXPECT_EQ(finish(task->id).state, TaskState::kDone);
    EXPECT_EQ(get("db").health, "healthy");
    // No drive is left that it does not use.
    ASSERT_TRUE(run(model_->fail_drive("d2", false)));
    const auto again = run(model_->recover_lun(LunRef::name("db")));
    ASSERT_TRUE(again);
    const TaskView ended = finish(again->id);
    EXPECT_EQ(ended.state, TaskState::kFailed);
    EXPECT_EQ(ended.error_code, "no_drive");
    EXPECT_THAT(get("db").failed_task, HasSubstr("recover"));
}

TEST_F(ModelTest, ADriveWhoseLossCostsDataIsTakenOutOnlyWhenForced) {
    create("scratch", "simple");
    EXPECT_EQ(run(model_->fail_drive("d0", false)).error().code, Code::kBadState);
    EXPECT_TRUE(run(model_->fail_drive("d5", false)));
    create("db");
    ASSERT_TRUE(run(model_->fail_drive("d1", false)));
    EXPECT_EQ(run(model_->fail_drive("d2", false)).error().code, Code::kBadState);
    ASSERT_TRUE(run(model_->fail_drive("d0", true)));
    EXPECT_EQ(get("scratch").health, "failed");
    EXPECT_EQ(get("db").health, "failed");
}

TEST_F(ModelTest, OneScrubAtATime) {
    create("db");
    for (char c = 'a'; c < 'e'; ++c) write("db", c);
    const auto task = run(model_->start_scrub());
    ASSERT_TRUE(task);
    EXPECT_EQ(run(model_->start_scrub()).error().code, Code::kBusy);
    const TaskView ended = finish(task->id);
    EXPECT_EQ(ended.state, TaskState::kDone);
    EXPECT_EQ(ended.object, "");
    EXPECT_EQ(ended.result, "0 bad reads, 0 blocks repaired");
}

TEST_F(ModelTest, OnlySoManyEndedTasksAreKept) {
    create("db");
    uint64_t last = 0;
    for (size_t i = 0; i < kKeptTasks + 5; ++i) {
        const auto task = run(model_->start_scrub());
        ASSERT_TRUE(task);
        last = finish(task->id).id;
    }
    EXPECT_EQ(model_->list_tasks().size(), kKeptTasks);
    EXPECT_EQ(model_->list_tasks().back().id, last);
    const auto count = std::ranges::count_if(drives_->meta, [](const auto& e) { return e.first.starts_with("task/"); });
    EXPECT_LE(static_cast<size_t>(count), kKeptTasks + 1);
    restart();
    EXPECT_EQ(model_->get_task(last)->state, TaskState::kDone);
}

// Events.

TEST_F(ModelTest, EventsSurviveWithRisingNumbers) {
    create("db");
    const auto before = model_->list_events(0, 1000);
    ASSERT_GE(before.size(), 2u);
    EXPECT_EQ(before.front().id, "array.started");
    restart();
    const auto after = model_->list_events(0, 1000);
    ASSERT_GT(after.size(), before.size());
    for (size_t i = 1; i < after.size(); ++i) EXPECT_LT(after[i - 1].sequence, after[i].sequence);
    EXPECT_EQ(after[after.size() - 2].id, "array.stopped");
    EXPECT_EQ(after.back().sequence, after[after.size() - 2].sequence + 1);
    EXPECT_EQ(model_->list_events(after.back().sequence, 1000).size(), 0u);
    EXPECT_EQ(model_->list_events(0, 1).size(), 1u);
}

TEST_F(ModelTest, AfterACrashNoEventNumberIsGivenTwice) {
    uint64_t highest = 0;
    for (int round = 0; round < 4; ++round) {
        // Events that never become durable: the power goes first.
        for (int i = 0; i < 100; ++i) model_->emit("test", "info", "text");
        const uint64_t first = model_->list_events(highest, 1000).front().sequence;
        EXPECT_GT(first, highest);
        highest = model_->list_events(0, 1000).back().sequence;
        crash();
    }
}

TEST_F(ModelTest, TheRingOfEventsIsBounded) {
    for (size_t i = 0; i < 3 * kKeptEvents; ++i) model_->emit("test", "info", "text " + std::to_string(i));
    while (executor_.step()) {
    }
    EXPECT_EQ(model_->list_events(0, 10000).size(), kKeptEvents);
    const auto count =
        std::ranges::count_if(drives_->meta, [](const auto& e) { return e.first.starts_with("event/"); });
    EXPECT_LE(static_cast<size_t>(count), kKeptEvents);
    restart();
    EXPECT_EQ(model_->list_events(0, 10000).size(), kKeptEvents);
}

TEST_F(ModelTest, BackendEventsGetNames) {
    create("db");
    EventRelay relay;
    const lun::EventSink sink = relay.sink();
    sink({"block.lost", "early", lun::VolumeId(), lun::DriveIndex(2)});
    relay.connect(model_.get());
    sink({"block.repaired", "late", decode_lun(drives_->meta.at("lun/" + get("db").id))->volume, std::nullopt});
    const auto events = model_->list_events(0, 1000);
    const auto& lost = events[events.size() - 2];
    EXPECT_EQ(lost.severity, "error");
    EXPECT_EQ(lost.drive, "d2");
    EXPECT_EQ(events.back().severity, "warning");
    EXPECT_EQ(events.back().lun, "db");
    relay.connect(nullptr);
}

// What the target keeps with the array.

TEST_F(ModelTest, ReservationsBelongToTheLun) {
    const LunView lun = create("db");
    const base::Guid id = *base::Guid::parse(lun.id);
    EXPECT_EQ(model_->reservations(id), "");
    ASSERT_TRUE(run(model_->save_reservations(id, "record")));
    restart();
    EXPECT_EQ(model_->reservations(id), "record");
    ASSERT_TRUE(run(model_->delete_lun(LunRef::name("db"), false)));
    EXPECT_EQ(model_->reservations(id), "");
    EXPECT_FALSE(drives_->meta.contains("reservation/" + lun.id));
    EXPECT_EQ(run(model_->save_reservations(id, "record")).error().code, Code::kNotFound);
}

TEST_F(ModelTest, BrokenRecordsKeepTheArrayClosed) {
    const LunView lun = create("db");
    stop();
    const auto meta = drives_->meta;
    drives_->meta["lun/" + lun.id].pop_back();
    EXPECT_EQ(open().error().code, Code::kCorrupt);
    drives_->meta = meta;
    drives_->meta["lun/" + lun.id][2] = 9;
    const auto newer = open();
    ASSERT_FALSE(newer);
    EXPECT_EQ(newer.error().code, Code::kVersion);
    EXPECT_THAT(newer.error().message, HasSubstr("lun/" + lun.id));
    drives_->meta = meta;
    start();
}

TEST_F(ModelTest, ALunWithoutAVolumeIsNotPresentedAndAVolumeWithoutALunIsTold) {
    const LunView lun = create("db");
    mask("db", "*");
    stop();
    const auto volumes = drives_->volumes;
    drives_->volumes.clear();
    start();
    EXPECT_EQ(get("db").health, "failed");
    EXPECT_THAT(numbers(kHostA), IsEmpty());
    EXPECT_TRUE(run(model_->delete_lun(LunRef::name("db"), false)));
    stop();
    drives_->volumes = volumes;
    start();
    EXPECT_EQ(model_->list_events(0, 1000).back().id, "volume.orphaned");
}

TEST_F(ModelTest, WatchersWake) {
    bool woken = false;
    struct Watch {
        static Task<void> run(ArrayModel* model, bool* flag) {
            co_await model->wait_change_or_tick(model->version());
            *flag = true;
        }
    };
    env::TaskGroup group(executor_);
    group.spawn(Watch::run(model_.get(), &woken));
    while (!woken) ASSERT_TRUE(executor_.step());               // by the tick alone
    executor_.run(model_->wait_change(model_->version() - 1));  // what was missed is not waited for
    woken = false;
    group.spawn(Watch::run(model_.get(), &woken));
    model_->emit("test", "info", "text");
    while (!woken) ASSERT_TRUE(executor_.step());
    executor_.run(group.join());
}

}  // namespace
}  // namespace umbra::array

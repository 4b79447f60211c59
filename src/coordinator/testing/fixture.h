// A host with two volumes on an array, and the calls of a requester in one line each.
#pragma once

#include <gtest/gtest.h>

#include <optional>
#include <string>
#include <vector>

#include "coordinator/testing/rig.h"

namespace umbra::coordinator::testing {

class HostFixture : public ::testing::Test {
protected:
    static constexpr uint32_t kPersistent = vss::kContextNasRollback;
    static constexpr uint32_t kTransportable = vss::kContextNasRollback | vss::kAttrTransportable;
    static constexpr uint64_t kDb = 1;   // GPT, /srv/db
    static constexpr uint64_t kLog = 2;  // no table, /srv/log

    HostFixture() {
        array.add_lun(a.fake, kDb, "/srv/db", "db 1", host::TableKind::kGpt);
        array.add_lun(a.fake, kLog, "/srv/log", "log 1");
    }

    SessionPtr backup(TestHost& host, uint32_t context) {
        SessionPtr session = host.open();
        EXPECT_TRUE(session->initialize_for_backup(std::nullopt));
        EXPECT_TRUE(session->set_context(context));
        return session;
    }
    SessionPtr query(TestHost& host) { return backup(host, vss::kContextAll); }
    struct Created {
        SessionPtr session;
        base::Guid set;
        std::vector<base::Guid> snapshots;
        std::string xml;
        ComCode result = 0;
    };
    /// Up to DoSnapshotSet, which is left to the caller.
    Created open_set(TestHost& host, uint32_t context, const std::vector<std::string>& volumes) {
        Created out;
        out.session = backup(host, context);
        const Answer<base::Guid> set = run(executor, out.session->start_snapshot_set({}));
        EXPECT_TRUE(set);
        if (set) out.set = *set;
        for (const std::string& volume : volumes) {
            const Answer<base::Guid> id = run(executor, out.session->add_to_snapshot_set(volume, {}));
            EXPECT_TRUE(id) << (id ? "" : id.error().message);
            if (id) out.snapshots.push_back(*id);
        }
        return out;
    }
    void do_set(TestHost& host, Created* set) {
        Answer<OperationPtr> operation = run(executor, set->session->do_snapshot_set());
        set->result = operation ? host.wait(*operation) : operation.error().code;
        set->xml = set->session->save_as_xml().value_or("");
    }
    Created create(TestHost& host, uint32_t context, const std::vector<std::string>& volumes) {
        Created out = open_set(host, context, volumes);
        do_set(host, &out);
        return out;
    }
    struct Importing {
        SessionPtr session;
        OperationPtr operation;
        ComCode refused = 0;
    };
    Importing begin_import(TestHost& host, const std::string& xml) {
        Importing out;
        out.session = host.open();
        EXPECT_TRUE(out.session->initialize_for_backup(xml));
        EXPECT_TRUE(out.session->set_context(vss::kContextAll));
        Answer<OperationPtr> operation = out.session->import_snapshots();
        if (operation) {
            out.operation = *operation;
        } else {
            out.refused = operation.error().code;
        }
        return out;
    }
    ComCode import(TestHost& host, const std::string& xml) {
        Importing begun = begin_import(host, xml);
        return begun.operation ? host.wait(begun.operation) : begun.refused;
    }
    ComCode erase(TestHost& host, const base::Guid& object, uint32_t type) {
        const Coordinator::Deleted deleted = run(executor, query(host)->delete_snapshots(object, type));
        return deleted.result ? vss::kOk : deleted.result.error().code;
    }
    ComCode erase_set(TestHost& host, const base::Guid& set) { return erase(host, set, vss::kObjectSnapshotSet); }
    void close(TestHost& host, const SessionPtr& session) {
        run(executor, host.coordinator->close_session(session->id()));
    }
    host::testing::FakeHost::FakeDisk* disk(TestHost& host, uint64_t tag) {
        return host.fake.find(host::testing::fake_lun(tag));
    }
    void advance(env::Duration duration) {
        struct Sleep {
            static env::Task<void> go(env::Executor* on, env::Duration time) { co_await env::sleep_for(*on, time); }
        };
        executor.run(Sleep::go(&executor, duration));
    }

    sim::SimExecutor executor;
    FakeArray array;
    TestHost a{executor, array, "host-a"};
};

}  // namespace umbra::coordinator::testing

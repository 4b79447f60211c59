#include "coordinator/sqlite_state_store.h"

#include <sqlite3.h>

#include <utility>

namespace umbra::coordinator {

namespace {

using base::Code;
using base::fail;
using base::Result;

constexpr int kSchemaVersion = 1;
constexpr const char* kSchema = R"(
create table if not exists sets(
  id blob primary key, ordinal integer not null, record blob not null) without rowid;
create table if not exists intents(
  id blob primary key, ordinal integer not null, record blob not null) without rowid;
create table if not exists providers(
  id blob primary key, ordinal integer not null, record blob not null) without rowid;
create table if not exists events(
  sequence integer primary key autoincrement, unix_ms integer not null, id integer not null, severity text not null,
  text text not null, fields blob not null);
)";

struct CloseDatabase {
    void operator()(sqlite3* database) const { sqlite3_close(database); }
};
struct FinalizeStatement {
    void operator()(sqlite3_stmt* statement) const { sqlite3_finalize(statement); }
};
using Database = std::unique_ptr<sqlite3, CloseDatabase>;
using Statement = std::unique_ptr<sqlite3_stmt, FinalizeStatement>;

class SqliteStateStore final : public StateStore {
public:
    SqliteStateStore(Database database, std::string path) : database_(std::move(database)), path_(std::move(path)) {}

    Result<void> prepare_schema();
    Result<State> load() override;
    Result<void> apply(StateChange change) override;
    Result<uint64_t> append_event(EventRecord event) override;
    Result<std::vector<EventRecord>> events(uint64_t after, size_t limit) override;

private:
    std::unexpected<base::Error> error(const char* what) const {
        const int code = sqlite3_errcode(database_.get());
        const Code ours = code == SQLITE_FULL                               ? Code::kNoSpace
                          : code == SQLITE_BUSY || code == SQLITE_LOCKED    ? Code::kBusy
                          : code == SQLITE_CORRUPT || code == SQLITE_NOTADB ? Code::kCorrupt
                                                                            : Code::kIo;
        return fail(ours, path_ + ": " + what + ": " + sqlite3_errmsg(database_.get()));
    }
    Result<void> execute(const char* sql) {
        if (sqlite3_exec(database_.get(), sql, nullptr, nullptr, nullptr) != SQLITE_OK) return error(sql);
        return {};
    }
    Result<Statement> prepare(const std::string& sql) {
        sqlite3_stmt* raw = nullptr;
        if (sqlite3_prepare_v2(database_.get(), sql.c_str(), -1, &raw, nullptr) != SQLITE_OK) return error(sql.c_str());
        return Statement(raw);
    }
    Result<void> step_done(sqlite3_stmt* statement) {
        if (sqlite3_step(statement) != SQLITE_DONE) return error("write");
        return {};
    }
    Result<void> put(const char* table, const base::Guid& id, const std::vector<std::byte>& record) {
        const std::string name(table);
        UMBRA_ASSIGN(Statement statement,
                     prepare("insert into " + name +
                             "(id, ordinal, record) values(?1, (select coalesce(max(ordinal), 0) + 1 from " + name +
                             "), ?2) on conflict(id) do update set record = excluded.record"));
        sqlite3_bind_blob(statement.get(), 1, id.bytes.data(), static_cast<int>(id.bytes.size()), SQLITE_STATIC);
        sqlite3_bind_blob(statement.get(), 2, record.data(), static_cast<int>(record.size()), SQLITE_STATIC);
        return step_done(statement.get());
    }
    Result<void> erase(const char* table, const base::Guid& id) {
        UMBRA_ASSIGN(Statement statement, prepare(std::string("delete from ") + table + " where id = ?1"));
        sqlite3_bind_blob(statement.get(), 1, id.bytes.data(), static_cast<int>(id.bytes.size()), SQLITE_STATIC);
        return step_done(statement.get());
    }
    template <class Record>
    Result<void> load_table(const char* table, Result<Record> (*decode)(base::Bytes), std::vector<Record>& into) {
        UMBRA_ASSIGN(Statement statement, prepare(std::string("select record from ") + table + " order by ordinal"));
        int step = 0;
        while ((step = sqlite3_step(statement.get())) == SQLITE_ROW) {
            const auto* data = static_cast<const std::byte*>(sqlite3_column_blob(statement.get(), 0));
            const auto size = static_cast<size_t>(sqlite3_column_bytes(statement.get(), 0));
            auto record = decode(base::Bytes(data, size));
            if (!record) return base::with_context(record.error(), path_);
            into.push_back(std::move(*record));
        }
        if (step != SQLITE_DONE) return error("read");
        return {};
    }
    Result<void> write(const StateChange& change);

    Database database_;
    std::string path_;
};

Result<void> SqliteStateStore::prepare_schema() {
    UMBRA_TRY(execute("pragma locking_mode = exclusive"));
    UMBRA_TRY(execute("pragma journal_mode = wal"));
    UMBRA_TRY(execute("pragma synchronous = full"));
    UMBRA_ASSIGN(Statement version, prepare("pragma user_version"));
    if (sqlite3_step(version.get()) != SQLITE_ROW) return error("user_version");
    const int found = sqlite3_column_int(version.get(), 0);
    version.reset();
    if (found > kSchemaVersion) {
        return fail(Code::kVersion, path_ + " is of version " + std::to_string(found) + ", this build knows " +
                                        std::to_string(kSchemaVersion));
    }
    UMBRA_TRY(execute("begin immediate"));
    UMBRA_TRY(execute(kSchema));
    UMBRA_TRY(execute(("pragma user_version = " + std::to_string(kSchemaVersion)).c_str()));
    return execute("commit");
}

Result<State> SqliteStateStore::load() {
    State state;
    UMBRA_TRY(load_table<SetRecord>("sets", decode_set, state.sets));
    UMBRA_TRY(load_table<Intent>("intents", decode_intent, state.intents));
    UMBRA_TRY(load_table<RegisteredProvider>("providers", decode_provider, state.providers));
    return state;
}

Result<void> SqliteStateStore::write(const StateChange& change) {
    for (const SetRecord& set : change.put_sets) UMBRA_TRY(put("sets", set.id, encode(set)));
    for (const base::Guid& id : change.erase_sets) UMBRA_TRY(erase("sets", id));
    for (const Intent& intent : change.put_intents) UMBRA_TRY(put("intents", intent.id, encode(intent)));
    for (const base::Guid& id : change.erase_intents) UMBRA_TRY(erase("intents", id));
    for (const RegisteredProvider& one : change.put_providers) UMBRA_TRY(put("providers", one.id, encode(one)));
    for (const base::Guid& id : change.erase_providers) UMBRA_TRY(erase("providers", id));
    return {};
}

Result<void> SqliteStateStore::apply(StateChange change) {
    UMBRA_TRY(execute("begin immediate"));
    auto written = write(change);
    if (written) written = execute("commit");
    if (!written) (void)execute("rollback");
    return written;
}

Result<uint64_t> SqliteStateStore::append_event(EventRecord event) {
    base::Encoder fields;
    fields.put<uint32_t>(static_cast<uint32_t>(event.fields.size()));
    for (const auto& [name, value] : event.fields) {
        fields.put_string(name);
        fields.put_string(value);
    }
    UMBRA_ASSIGN(Statement statement,
                 prepare("insert into events(unix_ms, id, severity, text, fields) values(?1, ?2, ?3, ?4, ?5)"));
    sqlite3_bind_int64(statement.get(), 1, event.unix_ms);
    sqlite3_bind_int64(statement.get(), 2, event.id);
    sqlite3_bind_text(statement.get(), 3, event.severity.c_str(), static_cast<int>(event.severity.size()),
                      SQLITE_STATIC);
    sqlite3_bind_text(statement.get(), 4, event.text.c_str(), static_cast<int>(event.text.size()), SQLITE_STATIC);
    sqlite3_bind_blob(statement.get(), 5, fields.bytes().data(), static_cast<int>(fields.size()), SQLITE_STATIC);
    UMBRA_TRY(step_done(statement.get()));
    const auto sequence = static_cast<uint64_t>(sqlite3_last_insert_rowid(database_.get()));
    statement.reset();
    if (sequence > kEventsKept) {
        UMBRA_ASSIGN(Statement trim, prepare("delete from events where sequence <= ?1"));
        sqlite3_bind_int64(trim.get(), 1, static_cast<sqlite3_int64>(sequence - kEventsKept));
        UMBRA_TRY(step_done(trim.get()));
    }
    return sequence;
}

Result<std::vector<EventRecord>> SqliteStateStore::events(uint64_t after, size_t limit) {
    UMBRA_ASSIGN(Statement statement,
                 prepare("select sequence, unix_ms, id, severity, text, fields from events where sequence > ?1 "
                         "order by sequence limit ?2"));
    sqlite3_bind_int64(statement.get(), 1, static_cast<sqlite3_int64>(after));
    sqlite3_bind_int64(statement.get(), 2, static_cast<sqlite3_int64>(limit));
    std::vector<EventRecord> events;
    int step = 0;
    while ((step = sqlite3_step(statement.get())) == SQLITE_ROW) {
        EventRecord event;
        event.sequence = static_cast<uint64_t>(sqlite3_column_int64(statement.get(), 0));
        event.unix_ms = sqlite3_column_int64(statement.get(), 1);
        event.id = static_cast<uint32_t>(sqlite3_column_int64(statement.get(), 2));
        event.severity = reinterpret_cast<const char*>(sqlite3_column_text(statement.get(), 3));
        event.text = reinterpret_cast<const char*>(sqlite3_column_text(statement.get(), 4));
        base::Decoder fields(base::Bytes(static_cast<const std::byte*>(sqlite3_column_blob(statement.get(), 5)),
                                         static_cast<size_t>(sqlite3_column_bytes(statement.get(), 5))));
        const size_t count = fields.get_count(8);
        for (size_t i = 0; i < count; ++i) {
            std::string name = fields.get_string();
            event.fields.emplace(std::move(name), fields.get_string());
        }
        events.push_back(std::move(event));
    }
    if (step != SQLITE_DONE) return error("read events");
    return events;
}

}  // namespace

Result<std::unique_ptr<StateStore>> open_sqlite_state_store(std::string path) {
    sqlite3* raw = nullptr;
    const int opened =
        sqlite3_open_v2(path.c_str(), &raw, SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOFOLLOW, nullptr);
    Database database(raw);
    if (opened != SQLITE_OK) {
        return fail(Code::kIo, path + ": " + (raw != nullptr ? sqlite3_errmsg(raw) : "out of memory"));
    }
    auto store = std::make_unique<SqliteStateStore>(std::move(database), std::move(path));
    UMBRA_TRY(store->prepare_schema());
    return store;
}

}  // namespace umbra::coordinator

#include "coordinator/testing/fake_array.h"

#include <algorithm>

namespace umbra::coordinator::testing {

using base::Guid;
using env::Task;
using host::testing::fake_lun;
using host::testing::FakeHost;

std::string FakeArray::add_lun(FakeHost& host, uint64_t tag, std::string mount, std::string content,
                               host::TableKind table) {
    const host::LunIdentity identity = fake_lun(tag);
    const std::string device = host.add_disk(identity, std::move(mount), true, table);
    ArrayLun lun;
    lun.identity = identity;
    lun.content = std::move(content);
    lun.signature.kind = table;
    lun.signature.mbr_id = static_cast<uint32_t>(tag);
    lun.signature.gpt_guid = Guid::from_random(tag, tag);
    if (table == host::TableKind::kGpt) lun.signature.partition_guids.emplace_back(1, Guid::from_random(tag, 1));
    host.find(identity)->disk.signature = lun.signature;
    luns[identity.key()] = std::move(lun);
    return device;
}

ArrayLun* FakeArray::find(const LunInformation& lun) {
    const auto found = luns.find(lun.key());
    return found == luns.end() ? nullptr : &found->second;
}

ArrayLun* FakeArray::find(uint64_t tag) {
    const auto found = luns.find(fake_lun(tag).key());
    return found == luns.end() ? nullptr : &found->second;
}

size_t FakeArray::shadow_count() const {
    return static_cast<size_t>(std::ranges::count_if(luns, [](const auto& one) { return one.second.shadow; }));
}

size_t FakeProvider::count(const std::string& method) const {
    return static_cast<size_t>(std::ranges::count(calls, method));
}

Task<ProviderReply> FakeProvider::enter(std::string method) {
    ProviderReply reply;
    if (kill_ != nullptr && !kill_->pass()) {
        reply.lost = "killed";
        co_return reply;
    }
    calls.push_back(method);
    if (const auto slow = delay.find(method); slow != delay.end()) {
        const bool killed = co_await given_up_.wait_until(executor_.now() + slow->second);
        if (killed) {
            reply.lost = "given up";
            co_return reply;
        }
    }
    const bool local = method.starts_with("Pre") || method == "PostCommitSnapshots" || method == "GetTargetLuns";
    if (array_away && !local) reply.code = vss::kProviderVeto;
    if (const auto lost = lose.find(method); lost != lose.end()) {
        reply.lost = lost->second;
        restart();
    }
    if (const auto code = fail.find(method); code != fail.end()) reply.code = code->second;
    co_return reply;
}

namespace {
bool good(const ProviderReply& reply) {
    return reply.lost.empty() && reply.code == vss::kOk;
}
ProviderReply veto() {
    ProviderReply reply;
    reply.code = vss::kProviderVeto;
    return reply;
}
}  // namespace

ProviderReply FakeProvider::advance(int from, int to, const Guid& set) {
    if (state_ != from || set != set_) return veto();
    state_ = to;
    return {};
}

Task<std::expected<bool, std::string>> FakeProvider::has_ex() {
    ProviderReply reply = co_await enter("OnLoad");
    if (!reply.lost.empty()) co_return std::unexpected(reply.lost);
    co_return ex;
}

void FakeProvider::give_up(std::string) {
    ++give_ups;
    restart();
    given_up_.notify_all();
}

Task<SupportReply> FakeProvider::are_luns_supported(uint32_t, std::vector<std::string>,
                                                    std::vector<LunInformation> luns) {
    SupportReply out;
    static_cast<ProviderReply&>(out) = co_await enter("AreLunsSupported");
    if (!good(out)) co_return out;
    out.supported = supports;
    for (const LunInformation& lun : luns) {
        if (array_.find(lun) == nullptr || (supports_lun && !supports_lun(lun))) out.supported = false;
    }
    out.luns = std::move(luns);
    co_return out;
}

Task<ProviderReply> FakeProvider::begin_prepare_snapshot(Guid set, Guid, uint32_t, std::vector<std::string>,
                                                         std::vector<LunInformation> luns) {
    ProviderReply reply = co_await enter("BeginPrepareSnapshot");
    if (!good(reply)) co_return reply;
    if (state_ != 1 || set != set_) prepared_.clear();
    state_ = 1;
    set_ = set;
    for (const LunInformation& lun : luns) prepared_.emplace(lun.key(), "");  // the same LUN again is no error
    co_return reply;
}

Task<ProviderReply> FakeProvider::end_prepare_snapshots(Guid set) {
    ProviderReply reply = co_await enter("EndPrepareSnapshots");
    if (!good(reply)) co_return reply;
    co_return advance(1, 2, set);
}

Task<ProviderReply> FakeProvider::pre_commit_snapshots(Guid set) {
    ProviderReply reply = co_await enter("PreCommitSnapshots");
    if (!good(reply)) co_return reply;
    co_return advance(2, 3, set);
}

Task<ProviderReply> FakeProvider::commit_snapshots(Guid set) {
    commit_was_frozen = !host_.frozen().empty();
    ProviderReply reply = co_await enter("CommitSnapshots");
    if (!good(reply)) co_return reply;
    reply = advance(3, 4, set);
    if (!good(reply)) co_return reply;
    for (auto& [source, target] : prepared_) {
        const ArrayLun& from = array_.luns[source];
        ArrayLun lun;
        lun.identity = fake_lun(array_.next_tag++);
        lun.content = from.content;
        const FakeHost::FakeDisk* disk = host_.find(from.identity);
        lun.signature = disk->disk.signature;
        lun.flags = disk->flags;
        flags_at_commit = disk->flags;
        lun.shadow = true;
        lun.set = set;
        target = lun.identity.key();
        array_.luns[target] = std::move(lun);
    }
    co_return reply;
}

Task<ProviderReply> FakeProvider::post_commit_snapshots(Guid set, uint32_t) {
    ProviderReply reply = co_await enter("PostCommitSnapshots");
    if (!good(reply)) co_return reply;
    co_return advance(4, 5, set);
}

Task<ProviderReply> FakeProvider::pre_final_commit_snapshots(Guid) {
    ProviderReply reply = co_await enter("PreFinalCommitSnapshots");
    co_return reply;
}

Task<ProviderReply> FakeProvider::post_final_commit_snapshots(Guid set) {
    ProviderReply reply = co_await enter("PostFinalCommitSnapshots");
    if (!good(reply)) co_return reply;
    for (auto& [key, lun] : array_.luns) {
        if (lun.set == set) lun.final = true;
    }
    co_return reply;
}

Task<ProviderReply> FakeProvider::abort_snapshots(Guid set) {
    ProviderReply reply = co_await enter("AbortSnapshots");
    if (!good(reply)) co_return reply;
    // Drops what is not final, and nothing else; a fresh process asks the array.
    std::erase_if(array_.luns, [&](const auto& one) {
        const bool drop = one.second.shadow && one.second.set == set && !one.second.final;
        if (drop) host_.remove(one.second.identity);
        return drop;
    });
    state_ = 6;
    prepared_.clear();
    co_return reply;
}

Task<LunsReply> FakeProvider::get_target_luns(std::vector<std::string>, std::vector<LunInformation> luns) {
    LunsReply out;
    static_cast<ProviderReply&>(out) = co_await enter("GetTargetLuns");
    if (!good(out)) co_return out;
    for (const LunInformation& lun : luns) {
        const ArrayLun& target = array_.luns[prepared_[lun.key()]];
        out.luns.push_back(lun_information(target.identity));
    }
    co_return out;
}

Task<ProviderReply> FakeProvider::locate_luns(std::vector<LunInformation> luns) {
    ProviderReply reply = co_await enter("LocateLuns");
    if (!good(reply)) co_return reply;
    for (const LunInformation& lun : luns) {
        ArrayLun* found = array_.find(lun);
        if (found == nullptr || !found->shadow) co_return veto();
        if (!found->importer.empty() && found->importer != host_name_) {
            reply.code = vss::kBadState;
            co_return reply;
        }
    }
    for (const LunInformation& lun : luns) {
        ArrayLun* found = array_.find(lun);
        found->importer = host_name_;
        if (!arrive) continue;
        if (host_.find(found->identity) == nullptr) {
            host_.add_disk(found->identity, "", false, found->signature.kind);
            host_.find(found->identity)->disk.signature = found->signature;
            host_.find(found->identity)->flags = found->flags;
        }
        host_.find(found->identity)->visible = true;
    }
    co_return reply;
}

Task<SupportReply> FakeProvider::fill_in_lun_info(std::string, LunInformation lun) {
    SupportReply out;
    static_cast<ProviderReply&>(out) = co_await enter("FillInLunInfo");
    if (!out.lost.empty()) co_return out;
    out.supported = !array_away && !foreign_fill_in && array_.find(lun) != nullptr;
    if (corrupt_fill_in) lun.serial_number = "another";
    if (change_ignored_fields) {
        lun.bus_type = 6;
        lun.disk_signature = Guid::from_random(7, 7);
    }
    out.luns.push_back(std::move(lun));
    co_return out;
}

Task<ProviderReply> FakeProvider::on_lun_empty(std::string, LunInformation lun) {
    ProviderReply reply = co_await enter("OnLunEmpty");
    if (!good(reply)) co_return reply;
    ArrayLun* found = array_.find(lun);
    if (found == nullptr || !found->shadow) {
        reply.code = vss::kObjectNotFound;
        co_return reply;
    }
    host_.remove(found->identity);
    array_.luns.erase(lun.key());
    co_return reply;
}

Task<ProviderReply> FakeProvider::on_lun_state_change(std::vector<LunInformation> snapshots,
                                                      std::vector<LunInformation>, uint32_t flags) {
    ProviderReply reply = co_await enter("OnLunStateChange");
    if (!good(reply)) co_return reply;
    for (const LunInformation& lun : snapshots) {
        ArrayLun* found = array_.find(lun);
        if (found == nullptr) co_return veto();
        if (flags == vss::kNotifyReadWrite) found->shadow = false;
        if (flags == vss::kDoMaskLuns) {
            found->importer.clear();
            if (auto* disk = host_.find(found->identity)) disk->visible = false;
        }
    }
    co_return reply;
}

void FakeProvider::copy(const std::vector<Pair>& pairs) {
    for (const Pair& pair : pairs) {
        const ArrayLun& from = array_.luns[pair.source];
        ArrayLun& to = array_.luns[pair.target];
        to.content = from.content;
        to.signature = from.signature;
        to.flags = from.flags;
        if (auto* disk = host_.find(to.identity)) {
            for (const auto& [partition, volume] : disk->volumes) {
                if (!volume.mounts.empty()) array_.replaced_in_use = true;
            }
            disk->disk.signature = from.signature;
            disk->flags = from.flags;
        }
    }
}

void FakeProvider::abandon(uint64_t id) {
    const auto found = asyncs_.find(id);
    if (found == asyncs_.end() || found->second.cancelled || found->second.ended) return;
    for (const Pair& pair : found->second.pairs) array_.running[pair.target] = {pair.source, found->second.polls};
}

void FakeProvider::restart() {
    prepared_.clear();
    for (const auto& [id, async] : asyncs_) abandon(id);
    asyncs_.clear();
    state_ = 0;
}

bool FakeProvider::busy(const std::vector<Pair>& pairs) {
    bool overwritten = false;
    for (const Pair& pair : pairs) {
        const auto found = array_.running.find(pair.target);
        if (found == array_.running.end()) continue;
        overwritten = true;
        if (++found->second.polls < polls_until_done) continue;
        if (!vss::failed(resync_result)) copy({{found->second.source, found->first}});
        array_.running.erase(found);
    }
    return overwritten;
}

Task<AsyncReply> FakeProvider::resync_luns(std::vector<LunInformation> sources, std::vector<LunInformation> targets) {
    AsyncReply out;
    static_cast<ProviderReply&>(out) = co_await enter("ResyncLuns");
    if (!good(out)) co_return out;
    Async async;
    for (size_t i = 0; i < sources.size(); ++i) {
        if (array_.find(sources[i]) == nullptr || array_.find(targets[i]) == nullptr) {
            out.code = vss::kProviderVeto;
            co_return out;
        }
        async.pairs.push_back({sources[i].key(), targets[i].key()});
    }
    if (busy(async.pairs)) {
        out.code = vss::kProviderVeto;
        co_return out;
    }
    const uint64_t id = next_async_++;
    asyncs_[id] = std::move(async);
    if (lose_reply.erase("ResyncLuns") != 0) {
        restart();
        out.lost = "killed after it had started";
        co_return out;
    }
    out.async = id;
    co_return out;
}

Task<AsyncState> FakeProvider::query_async(uint64_t id) {
    AsyncState out;
    static_cast<ProviderReply&>(out) = co_await enter("QueryStatus");
    if (!good(out)) co_return out;
    const auto found = asyncs_.find(id);
    if (found == asyncs_.end()) {
        out.lost = "no such operation";
        co_return out;
    }
    Async& async = found->second;
    if (async.cancelled) {
        out.result = vss::kAsyncCancelled;
    } else if (++async.polls < polls_until_done) {
        out.result = vss::kAsyncPending;
        out.percent = async.polls * 100 / polls_until_done;
    } else {
        async.ended = true;
        out.result = resync_result;
        if (vss::failed(resync_result)) async.pairs.resize(std::min(async.pairs.size(), copies_of_failure));
        copy(async.pairs);
    }
    co_return out;
}

Task<ProviderReply> FakeProvider::cancel_async(uint64_t id) {
    ProviderReply reply = co_await enter("Cancel");
    if (good(reply) && asyncs_.contains(id)) asyncs_[id].cancelled = true;
    co_return reply;
}

Task<void> FakeProvider::release_async(uint64_t id) {
    if (kill_ != nullptr && kill_->dead) co_return;
    abandon(id);
    asyncs_.erase(id);
    co_return;
}

}  // namespace umbra::coordinator::testing

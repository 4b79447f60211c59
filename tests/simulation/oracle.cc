#include "simulation/oracle.h"

#include <fmt/core.h>

#include <algorithm>

namespace umbra::simulation {

Content::Content(History& history, uint64_t sectors, uint64_t lineage)
    : history_(&history), lineage_(lineage), sectors_(sectors, Candidates(1)) {}

bool Content::legal(const Candidates& list, const Candidate& candidate, EventNumber start) const {
    for (const Candidate& other : list) {
        if (candidate.acknowledged < other.issued && other.acknowledged < start) return false;
    }
    return true;
}

bool Content::crash_legal(const Candidates& list, const Candidate& candidate) const {
    for (const Candidate& other : list) {
        if (other.durable && candidate.acknowledged < other.issued) return false;
    }
    return true;
}

void Content::prune(Candidates& list) {
    if (list.size() < 2) return;
    const EventNumber oldest = history_->oldest_reader();
    Candidates kept;
    for (const Candidate& candidate : list) {
        const bool dead = std::any_of(list.begin(), list.end(), [&](const Candidate& other) {
            return other.durable && candidate.acknowledged < other.issued && other.acknowledged < oldest;
        });
        if (!dead) kept.push_back(candidate);
    }
    list = std::move(kept);
}

Stamp Content::begin_write(uint64_t first, uint64_t count, bool zeros) {
    const Stamp stamp = history_->writes_.size();
    WriteRecord record;
    record.issued = history_->next();
    record.acknowledged = kNever;
    record.zeros = zeros;
    const uint64_t unit = lun::kAtomicWriteBytes / kSectorBytes;
    record.atomic = first / unit == (first + count - 1) / unit;
    record.first = first;
    record.count = count;
    record.lineage = lineage_;
    history_->writes_.push_back(record);
    Candidate candidate;
    candidate.stamp = stamp;
    candidate.issued = record.issued;
    candidate.acknowledged = candidate.settled = kNever;
    candidate.durable = false;
    for (uint64_t i = first; i < first + count; ++i) {
        prune(sectors_[i]);
        sectors_[i].push_back(candidate);
    }
    return stamp;
}

void Content::end_write(Stamp stamp, bool acknowledged, bool durable) {
    WriteRecord& record = history_->write(stamp);
    const EventNumber now = history_->next();
    if (acknowledged) record.acknowledged = now;
    record.failed = !acknowledged;
    for (uint64_t i = record.first; i < record.first + record.count; ++i) {
        for (Candidate& candidate : sectors_[i]) {
            if (candidate.stamp != stamp) continue;
            candidate.settled = now;
            if (acknowledged) candidate.acknowledged = now;
            candidate.durable = acknowledged && durable;
        }
        prune(sectors_[i]);
    }
    if (!(acknowledged && durable)) undurable_.push_back(stamp);
}

void Content::withdraw(Stamp stamp) {
    const WriteRecord& record = history_->write(stamp);
    for (uint64_t i = record.first; i < record.first + record.count; ++i) {
        std::erase_if(sectors_[i], [&](const Candidate& candidate) { return candidate.stamp == stamp; });
    }
    std::erase(undurable_, stamp);
}

void Content::flushed(EventNumber start) {
    std::vector<Stamp> left;
    for (const Stamp stamp : undurable_) {
        const WriteRecord& record = history_->write(stamp);
        for (uint64_t i = record.first; i < std::min<uint64_t>(record.first + record.count, sectors_.size()); ++i) {
            for (Candidate& candidate : sectors_[i]) {
                if (candidate.stamp == stamp && candidate.acknowledged < start) candidate.durable = true;
            }
            prune(sectors_[i]);
        }
        if (!(record.acknowledged < start)) left.push_back(stamp);
    }
    undurable_ = std::move(left);
}

bool Content::certain(uint64_t first, uint64_t count) const {
    for (uint64_t i = first; i < first + count; ++i) {
        size_t live = 0;
        for (const Candidate& candidate : sectors_[i]) live += legal(sectors_[i], candidate, kNever - 1);
        if (live != 1) return false;
    }
    return true;
}

void Content::expected(uint64_t first, uint64_t count, std::byte* into) const {
    for (uint64_t i = first; i < first + count; ++i, into += kSectorBytes) {
        for (const Candidate& candidate : sectors_[i]) {
            if (!legal(sectors_[i], candidate, kNever - 1)) continue;
            if (history_->write(candidate.stamp).zeros) {
                std::memset(into, 0, kSectorBytes);
            } else {
                fill_sector(into, candidate.stamp, i);
            }
        }
    }
}

std::string Content::describe(const Candidate& candidate) const {
    const auto number = [](EventNumber value) { return value == kNever ? std::string("-") : fmt::format("{}", value); };
    return fmt::format("{}{} issued {} acknowledged {}{}{}", history_->write(candidate.stamp).zeros ? "zeros #" : "#",
                       candidate.stamp, number(candidate.issued), number(candidate.acknowledged),
                       candidate.durable ? " durable" : "", candidate.recovered ? " recovered" : "");
}

std::string Content::describe(uint64_t sector, const std::byte* bytes, EventNumber start) const {
    std::string found = "bytes of no write";
    uint64_t stamp = 0;
    uint64_t place = 0;
    std::memcpy(&stamp, bytes, sizeof stamp);
    std::memcpy(&place, bytes + sizeof stamp, sizeof place);
    if (base::is_zero({bytes, kSectorBytes})) {
        found = "zeros";
    } else if (stamp < history_->writes_.size() && is_sector(bytes, stamp, place)) {
        const WriteRecord& record = history_->write(stamp);
        found = fmt::format(
            "write #{} for sector {} of lineage {} (issued {}, {})", stamp, place, record.lineage, record.issued,
            record.acknowledged == kNever ? "never acknowledged" : fmt::format("acknowledged {}", record.acknowledged));
    } else if (stamp < history_->writes_.size() && stamp != 0) {
        found = fmt::format("a damaged sector of write #{}", stamp);
    }
    std::string text =
        fmt::format("sector {} (lineage {}) read from event {} holds {}; legal were:", sector, lineage_, start, found);
    for (const Candidate& candidate : sectors_[sector]) {
        if (legal(sectors_[sector], candidate, start)) text += " [" + describe(candidate) + "]";
    }
    return text;
}

void Content::observe(Candidates& list, Stamp seen, bool blurred, EventNumber start) {
    for (const Candidate& candidate : list) {
        if (candidate.settled >= start) return;  // something was under way: the next read tells
    }
    const EventNumber now = history_->now();
    const auto found = std::find_if(list.begin(), list.end(), [&](const Candidate& c) { return c.stamp == seen; });
    Candidate winner = *found;
    Candidates kept;
    for (const Candidate& candidate : list) {
        if (candidate.stamp == seen) continue;
        if (candidate.recovered && winner.recovered) continue;  // the crash is decided
        if (candidate.acknowledged == kNever) continue;         // failed, and not in
        // A snapshot that began before may still hold it.
        if (candidate.recovered && winner.durable && winner.acknowledged < history_->oldest_reader()) continue;
        kept.push_back(candidate);
    }
    const bool order_open =
        winner.acknowledged == kNever ||
        std::any_of(kept.begin(), kept.end(), [&](const Candidate& c) { return !(c.acknowledged < winner.issued); });
    // Whatever the order was, this one is the latest of those that are settled.
    if (order_open) winner.issued = winner.acknowledged = winner.settled = now;
    if (winner.recovered) winner.durable = true;
    winner.blurred = winner.blurred || blurred;
    winner.recovered = false;
    kept.push_back(winner);
    list = std::move(kept);
    prune(list);
}

std::optional<std::string> Content::check(uint64_t first, base::Bytes bytes, EventNumber start, bool rollback_allowed,
                                          uint64_t* rollbacks, Observation* observation) {
    const uint64_t count = bytes.size() / kSectorBytes;
    history_->next();
    observation->first = first;
    observation->stamps.assign(count, kAmbiguous);
    for (uint64_t i = 0; i < count; ++i) {
        const std::byte* sector = bytes.data() + i * kSectorBytes;
        Candidates& list = sectors_[first + i];
        const bool zeros = base::is_zero({sector, kSectorBytes});
        size_t matches = 0;
        Stamp seen = 0;
        bool blurred = false;
        for (const Candidate& candidate : list) {
            if (!legal(list, candidate, start)) continue;
            const bool match =
                history_->write(candidate.stamp).zeros ? zeros : is_sector(sector, candidate.stamp, first + i);
            if (!match) continue;
            ++matches;
            blurred = candidate.blurred;
            seen = candidate.stamp;  // of several zeros the latest: they cannot be told apart
        }
        if (matches == 0) {
            uint64_t stamp = 0;
            std::memcpy(&stamp, sector, sizeof stamp);
            const bool older =
                zeros || (stamp != 0 && stamp < history_->writes_.size() && is_sector(sector, stamp, first + i));
            if (!rollback_allowed || !older) return describe(first + i, sector, start);
            ++*rollbacks;
            Candidate back;
            back.stamp = zeros ? 0 : stamp;
            back.issued = back.acknowledged = back.settled = history_->now();
            list.assign(1, back);
            continue;
        }
        if (matches == 1 && !blurred) observation->stamps[i] = seen;
        if (list.size() > 1) observation->uncertain.emplace(first + i, list);
    }
    for (const auto& [sector, list] : observation->uncertain) {
        const std::byte* at = bytes.data() + (sector - first) * kSectorBytes;
        Stamp seen = observation->stamps[sector - first];
        const bool blurred = seen == kAmbiguous;
        if (blurred) {
            // Several writes of zeros: the newest of them stands for all, which never makes more content legal.
            for (const Candidate& candidate : list) {
                if (history_->write(candidate.stamp).zeros && legal(list, candidate, start)) seen = candidate.stamp;
            }
            if (!base::is_zero({at, kSectorBytes})) continue;
        }
        observe(sectors_[sector], seen, blurred, start);
    }
    return std::nullopt;
}

void Content::crash() {
    const EventNumber now = history_->next();
    for (Candidates& list : sectors_) {
        if (list.size() == 1 && list[0].acknowledged != kNever) {
            list[0].durable = true;
            continue;
        }
        Candidates kept;
        for (Candidate candidate : list) {
            if (!crash_legal(list, candidate)) continue;
            kept.push_back(candidate);
        }
        if (kept.size() > 1) {
            for (const Candidate& candidate : kept) history_->write(candidate.stamp).crashed = true;
        }
        for (Candidate& candidate : kept) {
            candidate.issued = candidate.acknowledged = candidate.settled = now;
            candidate.recovered = kept.size() > 1;
            candidate.durable = true;  // none was issued after another was acknowledged, so all stay legal together
        }
        list = std::move(kept);
    }
    undurable_.clear();
}

void Content::resize(uint64_t sectors) {
    const EventNumber now = history_->next();
    Candidate zero;
    zero.issued = zero.acknowledged = zero.settled = now;
    sectors_.resize(sectors, Candidates(1, zero));
}

Content Content::frozen(EventNumber start, uint64_t lineage) const {
    Content copy = *this;
    copy.lineage_ = lineage;
    copy.undurable_.clear();
    const EventNumber now = history_->next();
    for (Candidates& list : copy.sectors_) {
        Candidates kept;
        for (const Candidate& candidate : list) {
            if (legal(list, candidate, start)) kept.push_back(candidate);
        }
        for (Candidate& candidate : kept) {
            // A write longer than the atomic length may be caught half done.
            if (kept.size() > 1 && candidate.stamp != 0) history_->write(candidate.stamp).crashed = true;
            candidate.inherited = candidate.recovered;
            candidate.issued = candidate.acknowledged = candidate.settled = now;
            candidate.durable = true;
            candidate.recovered = kept.size() > 1;
        }
        list = std::move(kept);
    }
    return copy;
}

std::optional<std::string> find_torn(const History& history, const Observation& observation, bool serial) {
    struct Seen {
        std::optional<uint64_t> fresh;
        std::optional<uint64_t> old;
    };
    std::map<Stamp, Seen> writes;
    for (const auto& [sector, list] : observation.uncertain) {
        const Stamp seen = observation.stamps[sector - observation.first];
        if (seen == kAmbiguous) continue;
        for (const Candidate& candidate : list) {
            const WriteRecord& record = history.write(candidate.stamp);
            const bool whole = record.failed ? false : (record.atomic || (serial && !record.crashed));
            if (candidate.stamp == 0 || !whole) continue;
            if (candidate.stamp == seen) {
                writes[candidate.stamp].fresh = sector;
            } else if (history.write(seen).acknowledged < record.issued) {
                writes[candidate.stamp].old = sector;
            }
        }
    }
    for (const auto& [stamp, seen] : writes) {
        if (seen.fresh && seen.old) {
            const WriteRecord& record = history.write(stamp);
            return fmt::format("write #{} of sectors {}+{} is torn: sector {} has it, sector {} is from before it",
                               stamp, record.first, record.count, *seen.fresh, *seen.old);
        }
    }
    return std::nullopt;
}

std::optional<std::string> find_not_one_instant(const History& history, const std::vector<Observation>& members) {
    EventNumber latest = 0;
    Stamp latest_stamp = 0;
    for (const Observation& member : members) {
        for (const Stamp stamp : member.stamps) {
            if (stamp == kAmbiguous || history.write(stamp).issued <= latest) continue;
            latest = history.write(stamp).issued;
            latest_stamp = stamp;
        }
    }
    for (const Observation& member : members) {
        for (const auto& [sector, list] : member.uncertain) {
            const Stamp seen = member.stamps[sector - member.first];
            if (seen == kAmbiguous) continue;
            for (const Candidate& other : list) {
                const WriteRecord& record = history.write(other.stamp);
                if (other.inherited) continue;
                if (history.write(seen).acknowledged < record.issued && record.acknowledged < latest) {
                    return fmt::format(
                        "snapshot is not of one instant: it has write #{} (issued {}), but lacks #{} (acknowledged {}) "
                        "at "
                        "sector {}",
                        latest_stamp, latest, other.stamp, record.acknowledged, sector);
                }
            }
        }
    }
    return std::nullopt;
}

}  // namespace umbra::simulation

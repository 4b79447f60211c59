// What each sector of each volume may contain, at every moment, as lun/backend.h promises it.
//
// Every sector has a list of candidates: the writes whose content a read may return. Events are numbered in their
// order; a write is issued, then settled (acknowledged or failed). With that:
//   - a read that starts at s may return a candidate unless another one was issued after its acknowledgement and itself
//     acknowledged before s;
//   - a crash keeps every candidate that no *durable* one (flushed, FUA) supersedes so; which of them came back is
//   known
//     when it is first read, and then it stays, also over further crashes;
//   - a failed write is in or out; the first read that started after it settles which;
//   - a snapshot holds what a read at its call could return, and is durable as a whole.
// Mixtures: calls are serial whatever their size, so no read sees part of a write; in a crash, and in a snapshot, that
// holds for writes within the atomic unit.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "lun/backend.h"
#include "simulation/content.h"

namespace umbra::simulation {

using EventNumber = uint64_t;
inline constexpr EventNumber kNever = std::numeric_limits<EventNumber>::max();
inline constexpr Stamp kAmbiguous = std::numeric_limits<Stamp>::max();

/// One write, of data or zeros.
struct WriteRecord {
    EventNumber issued = 0;
    EventNumber acknowledged = 0;
    bool zeros = true;
    bool atomic = true;
    bool failed = false;   ///< returned an error while the power was on
    bool crashed = false;  ///< was not certain when the power went
    uint64_t first = 0;
    uint64_t count = 0;
    uint64_t lineage = 0;
};

struct Candidate {
    Stamp stamp = 0;
    EventNumber issued = 0;
    EventNumber acknowledged = 0;  ///< kNever while under way, and for a failed write
    EventNumber settled = 0;       ///< kNever while under way
    bool durable = true;
    bool recovered = false;  ///< one of those that a crash, or the call that made this volume, left open
    bool blurred = false;    ///< zeros of one of several writes: which one was never seen
    bool inherited = false;  ///< was so in the source of this snapshot: its write's times say nothing here
};
using Candidates = std::vector<Candidate>;

class Content;

/// The writes and the order of events of one seed.
class History {
public:
    History() : writes_(1) {}
    EventNumber next() { return ++now_; }
    EventNumber now() const { return now_; }
    const WriteRecord& write(Stamp stamp) const { return writes_[stamp]; }
    WriteRecord& write(Stamp stamp) { return writes_[stamp]; }
    size_t writes() const { return writes_.size() - 1; }

    /// A call that reads: candidates that were legal when it started are kept until it ends.
    EventNumber begin_reader() {
        const EventNumber start = next();
        readers_.insert(start);
        return start;
    }
    void end_reader(EventNumber start) { readers_.erase(readers_.find(start)); }
    EventNumber oldest_reader() const { return readers_.empty() ? kNever : *readers_.begin(); }

private:
    friend class Content;
    EventNumber now_ = 0;
    std::vector<WriteRecord> writes_;
    std::multiset<EventNumber> readers_;
};

/// What was seen in one reading of a range, before it narrowed the candidates.
struct Observation {
    uint64_t first = 0;
    std::vector<Stamp> stamps;                 ///< by sector; kAmbiguous when several zeros were possible
    std::map<uint64_t, Candidates> uncertain;  ///< sectors that had more than one candidate
};

/// The content of one volume.
class Content {
public:
    Content(History& history, uint64_t sectors, uint64_t lineage);
    uint64_t sectors() const { return sectors_.size(); }
    uint64_t lineage() const { return lineage_; }

    Stamp begin_write(uint64_t first, uint64_t count, bool zeros);
    void end_write(Stamp stamp, bool acknowledged, bool durable);
    /// The write turned out to be none: compare_and_write found other data.
    void withdraw(Stamp stamp);
    /// Everything acknowledged before `start` is durable now.
    void flushed(EventNumber start);
    /// Sectors of a write under way, from this volume's view.
    bool certain(uint64_t first, uint64_t count) const;
    /// Fills in what a certain range holds.
    void expected(uint64_t first, uint64_t count, std::byte* into) const;

    /// Checks bytes returned by a read from `start`. The cause when they are illegal. `rollback_allowed`: any earlier
    /// content of the sector is accepted as well (what no store can detect); counted in `*rollbacks`.
    std::optional<std::string> check(uint64_t first, base::Bytes bytes, EventNumber start, bool rollback_allowed,
                                     uint64_t* rollbacks, Observation* observation);

    void crash();
    void resize(uint64_t sectors);
    /// What a snapshot called at `start` and returned now holds.
    Content frozen(EventNumber start, uint64_t lineage) const;
    void replace(Content&& other) { sectors_ = std::move(other.sectors_), undurable_.clear(); }

private:
    bool legal(const Candidates& list, const Candidate& candidate, EventNumber start) const;
    bool crash_legal(const Candidates& list, const Candidate& candidate) const;
    void prune(Candidates& list);
    void observe(Candidates& list, Stamp seen, bool blurred, EventNumber start);
    std::string describe(uint64_t sector, const std::byte* bytes, EventNumber start) const;
    std::string describe(const Candidate& candidate) const;

    History* history_;
    uint64_t lineage_;
    std::vector<Candidates> sectors_;
    std::vector<Stamp> undurable_;
};

/// Whether some write that may not be torn is there in part. `serial`: the read was not of a crashed or frozen content,
/// so writes of any size count.
std::optional<std::string> find_torn(const History& history, const Observation& observation, bool serial);
/// Whether volumes of one snapshot call show one instant.
std::optional<std::string> find_not_one_instant(const History& history, const std::vector<Observation>& members);

}  // namespace umbra::simulation

// One SCSI command of an initiator: collects its data (immediate, unsolicited, by R2T) for the device server.
#pragma once

#include <cstdint>
#include <deque>
#include <list>
#include <optional>

#include "base/bytes.h"
#include "env/sync.h"
#include "iscsi/pdu.h"
#include "iscsi/text.h"
#include "scsi/command.h"

namespace umbra::iscsi {

/// Bytes of command data that may be held at a time; first come, first served. What is taken is taken of the parent,
/// the larger budget that this one is a share of, too. The parent must outlive it.
class ByteBudget {
public:
    ByteBudget(env::Executor& executor, size_t bytes, ByteBudget* parent = nullptr)
        : changed_(executor), bytes_(bytes), capacity_(bytes), parent_(parent) {}
    /// False once `*cancelled`. A request beyond the capacity waits for all of it.
    env::Task<bool> take(size_t bytes, const bool* cancelled);
    /// Without waiting. False: there is not so much, or somebody waits for it.
    bool try_take(size_t bytes);
    void give_back(size_t bytes);
    /// Lets waiters look at their `cancelled` again.
    void wake();

private:
    env::Event changed_;
    size_t bytes_;
    const size_t capacity_;
    ByteBudget* const parent_;
    std::list<int> queue_;  ///< one entry a waiter; the front is served next
};

/// How a task asks for data; the connection implements it.
class R2tSender {
public:
    virtual ~R2tSender() = default;
    virtual env::Task<base::Result<void>> send_r2t(Header header) = 0;
    virtual uint32_t next_transfer_tag() = 0;
};

class ScsiTask final : public scsi::DataOut {
public:
    /// Solicited and returned data is counted in `budget`, which is waited for; unsolicited data in `arriving`, which
    /// is not: without room there the task is refused().
    ScsiTask(env::Executor& executor, const Header& command, const SessionParameters& parameters, ByteBudget& budget,
             ByteBudget& arriving, R2tSender& sender);
    ~ScsiTask() override;

    uint32_t itt() const { return header_.itt(); }
    const Header& header() const { return header_; }
    bool reads() const { return (header_.flags() & 0x40) != 0; }
    bool writes() const { return (header_.flags() & 0x20) != 0; }
    uint32_t expected_bytes() const { return header_.word(20); }
    void set_started() { started_ = true; }
    bool started() const { return started_; }
    /// There is no memory for the data that comes unasked: it is thrown away, and the initiator must try again (BUSY).
    bool refused() const { return refused_; }
    scsi::Command& command() { return command_; }

    /// Where the data of this PDU (immediate data or Data-Out) goes; nullopt: it is not wanted. Then data_arrived().
    std::optional<base::MutableBytes> place_for(const Header& pdu);
    /// `intact`: the data was placed and its digest is right.
    void data_arrived(const Header& pdu, bool placed, bool intact);
    /// Waits until the initiator has finished the sequences that it began, so that none of their PDUs comes late.
    env::Task<void> finish_sequences();

    /// The condition that ends the task if its data did not come as it should.
    const std::optional<scsi::Sense>& data_failure() const { return failure_; }
    size_t data_received() const { return received_; }
    uint32_t r2t_count() const { return r2t_sn_; }

    env::Task<base::Result<base::MutableBytes>> fetch(size_t bytes) override;
    size_t announced() const override { return writes() ? expected_bytes() : 0; }
    env::Task<base::Result<void>> reserve(size_t bytes) override;
    void cancel() override;

private:
    struct Sequence {
        uint32_t transfer_tag = kReservedTag;
        uint32_t offset = 0;
        uint32_t end = 0;
        uint32_t data_sn = 0;
    };
    Sequence* sequence_for(const Header& pdu);
    void fail_data(const scsi::Sense& sense);

    const Header header_;
    const SessionParameters& parameters_;
    ByteBudget& budget_;
    ByteBudget& arriving_;
    R2tSender& sender_;
    scsi::Command command_;
    base::Buffer buffer_;
    size_t received_ = 0;  ///< contiguous from the start
    size_t taken_ = 0;     ///< from budget_
    size_t arrived_ = 0;   ///< from arriving_
    std::optional<Sequence> unsolicited_;
    std::deque<Sequence> solicited_;
    uint32_t r2t_sn_ = 0;
    std::optional<scsi::Sense> failure_;
    bool cancelled_ = false;
    bool started_ = false;
    bool refused_ = false;
    env::Event progress_;
};

}  // namespace umbra::iscsi

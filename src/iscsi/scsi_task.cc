#include "iscsi/scsi_task.h"

#include <algorithm>
#include <cstring>
#include <utility>

namespace umbra::iscsi {

using base::Code;
using base::fail;

env::Task<bool> ByteBudget::take(size_t bytes, const bool* cancelled) {
    const size_t wanted = std::min(bytes, capacity_);
    const auto mine = queue_.insert(queue_.end(), 0);
    while (!*cancelled && (mine != queue_.begin() || bytes_ < wanted)) co_await changed_.wait();
    queue_.erase(mine);
    const bool granted = !*cancelled;
    if (granted) bytes_ -= wanted;
    changed_.wake_all();  // the next one may have become the first
    if (!granted || parent_ == nullptr) co_return granted;
    const bool granted_above = co_await parent_->take(bytes, cancelled);
    if (!granted_above) {
        bytes_ += wanted;
        changed_.wake_all();
    }
    co_return granted_above;
}

bool ByteBudget::try_take(size_t bytes) {
    if (bytes == 0) return true;
    if (!queue_.empty() || bytes_ < bytes) return false;
    if (parent_ != nullptr && !parent_->try_take(bytes)) return false;
    bytes_ -= bytes;
    return true;
}

void ByteBudget::wake() {
    changed_.wake_all();
    if (parent_ != nullptr) parent_->wake();
}

void ByteBudget::give_back(size_t bytes) {
    if (bytes == 0) return;
    bytes_ += std::min(bytes, capacity_);
    changed_.wake_all();
    if (parent_ != nullptr) parent_->give_back(bytes);
}

ScsiTask::ScsiTask(env::Executor& executor, const Header& command, const SessionParameters& parameters,
                   ByteBudget& budget, ByteBudget& arriving, R2tSender& sender)
    : header_(command),
      parameters_(parameters),
      budget_(budget),
      arriving_(arriving),
      sender_(sender),
      progress_(executor) {
    command_.lun = command.lun();
    std::copy_n(&command.bytes[32], 16, command_.cdb.begin());
    switch (command.flags() & 0x07) {
        case 2:
            command_.attribute = scsi::TaskAttribute::kOrdered;
            break;
        case 3:
            command_.attribute = scsi::TaskAttribute::kHeadOfQueue;
            break;
        case 4:
            command_.attribute = scsi::TaskAttribute::kAca;
            break;
        default:
            command_.attribute = scsi::TaskAttribute::kSimple;
            break;  // 0 is untagged
    }
    command_.data_out = this;
    if (!writes()) return;
    const uint32_t first = std::min(expected_bytes(), parameters_.first_burst);
    const bool more = !command.final() && !parameters_.initial_r2t;
    const size_t unasked = more ? first : std::min(command.data_bytes(), first);
    refused_ = !arriving_.try_take(unasked);
    if (!refused_) {
        arrived_ = unasked;
        if (unasked > 0) buffer_ = base::Buffer(unasked);
    }
    if (more) {
        unsolicited_ = Sequence{kReservedTag, std::min(command.data_bytes(), first), first, 0};
    }
}

ScsiTask::~ScsiTask() {
    budget_.give_back(taken_);
    arriving_.give_back(arrived_);
}

ScsiTask::Sequence* ScsiTask::sequence_for(const Header& pdu) {
    if (pdu.ttt() == kReservedTag) return unsolicited_ ? &*unsolicited_ : nullptr;
    if (solicited_.empty() || solicited_.front().transfer_tag != pdu.ttt()) return nullptr;
    return &solicited_.front();
}

std::optional<base::MutableBytes> ScsiTask::place_for(const Header& pdu) {
    const size_t count = pdu.data_bytes();
    if (pdu.is(Opcode::kScsiCommand)) {
        const size_t limit = std::min(expected_bytes(), parameters_.first_burst);
        if (!writes() || !parameters_.immediate_data || count > limit) {
            fail_data(scsi::sense::kUnexpectedUnsolicitedData);
            return std::nullopt;
        }
        if (refused_) return std::nullopt;
        return buffer_.span(0, count);
    }
    Sequence* sequence = sequence_for(pdu);
    if (sequence == nullptr) {
        fail_data(scsi::sense::kUnexpectedUnsolicitedData);
        return std::nullopt;
    }
    if (refused_) return std::nullopt;
    const uint32_t data_sn = pdu.word(36);
    const uint32_t offset = pdu.word(40);
    // At recovery level 0 a missing PDU ends the task (RFC 7143 §7.8); DataPDUInOrder is Yes.
    if (data_sn != sequence->data_sn || offset != sequence->offset) {
        fail_data(scsi::sense::kProtocolServiceCrcError);
    } else if (count > sequence->end - sequence->offset) {
        fail_data(scsi::sense::kIncorrectAmountOfData);
    }
    if (failure_ || cancelled_) return std::nullopt;
    return buffer_.span(offset, count);
}

void ScsiTask::data_arrived(const Header& pdu, bool placed, bool intact) {
    if (placed && !intact) fail_data(scsi::sense::kProtocolServiceCrcError);
    if (pdu.is(Opcode::kScsiCommand)) {
        if (placed && intact) received_ = pdu.data_bytes();
        return;
    }
    Sequence* sequence = sequence_for(pdu);
    if (sequence == nullptr) return;
    if (placed && intact) {
        sequence->offset += pdu.data_bytes();
        ++sequence->data_sn;
        received_ = sequence->offset;
    }
    if (pdu.final()) {
        if (sequence == (unsolicited_ ? &*unsolicited_ : nullptr)) {
            unsolicited_.reset();
        } else {
            if (sequence->offset != sequence->end) fail_data(scsi::sense::kIncorrectAmountOfData);
            solicited_.pop_front();
        }
    }
    progress_.wake_all();
}

void ScsiTask::fail_data(const scsi::Sense& sense) {
    if (!failure_) failure_ = sense;
    progress_.wake_all();
}

env::Task<base::Result<base::MutableBytes>> ScsiTask::fetch(size_t bytes) {
    const size_t want = std::min(bytes, announced());
    while (unsolicited_ && !cancelled_ && !failure_) co_await progress_.wait();
    if (cancelled_ || failure_) co_return fail(Code::kCancelled, "no more data is taken");
    if (received_ >= want) {
        co_return want == 0 ? base::MutableBytes() : buffer_.span(0, want);
    }
    const bool granted = co_await budget_.take(want, &cancelled_);
    if (!granted) co_return fail(Code::kCancelled, "the task was aborted");
    taken_ += want;
    if (buffer_.size() < want) {
        base::Buffer whole(want);
        if (received_ > 0) std::memcpy(whole.data(), buffer_.data(), received_);
        buffer_ = std::move(whole);
        arriving_.give_back(std::exchange(arrived_, 0));
    }
    uint32_t asked = static_cast<uint32_t>(received_);
    while (received_ < want || !solicited_.empty()) {
        if (cancelled_ || failure_) co_return fail(Code::kCancelled, "no more data is taken");
        if (asked < want && solicited_.size() < parameters_.max_outstanding_r2t) {
            const uint32_t count = std::min<uint32_t>(parameters_.max_burst, static_cast<uint32_t>(want) - asked);
            Sequence sequence{sender_.next_transfer_tag(), asked, asked + count, 0};
            Header r2t(Opcode::kR2t);
            r2t.set_lun(header_.lun());
            r2t.set_word(16, header_.itt());
            r2t.set_word(20, sequence.transfer_tag);
            r2t.set_word(36, r2t_sn_++);
            r2t.set_word(40, asked);
            r2t.set_word(44, count);
            asked += count;
            solicited_.push_back(sequence);
            const auto sent = co_await sender_.send_r2t(r2t);
            if (!sent) co_return fail(Code::kCancelled, "the connection is gone");
            continue;
        }
        co_await progress_.wait();
    }
    co_return buffer_.span(0, want);
}

env::Task<base::Result<void>> ScsiTask::reserve(size_t bytes) {
    const bool granted = co_await budget_.take(bytes, &cancelled_);
    if (!granted) co_return fail(Code::kCancelled, "the task was aborted");
    taken_ += bytes;
    co_return base::Result<void>();
}

env::Task<void> ScsiTask::finish_sequences() {
    while ((unsolicited_ || !solicited_.empty()) && !cancelled_) co_await progress_.wait();
}

void ScsiTask::cancel() {
    cancelled_ = true;
    progress_.wake_all();
    budget_.wake();
}

}  // namespace umbra::iscsi

// A small initiator over any transport, for tests: it sends what it is told, also what is wrong.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "env/transport.h"
#include "iscsi/pdu.h"
#include "iscsi/text.h"

namespace umbra::iscsi::testing {

struct Pdu {
    Header header;
    std::vector<std::byte> data;
};

class Initiator {
public:
    explicit Initiator(std::unique_ptr<env::Stream> stream)
        : stream_(std::move(stream)), reader_(std::make_unique<PduReader>(*stream_)) {}

    env::Stream& stream() { return *stream_; }
    void set_digests(Digests digests) {
        digests_ = digests;
        reader_->set_digests(digests);
    }
    env::Task<bool> send(Header header, std::vector<std::byte> data) {
        PduWriter writer(digests_);
        writer.add(header, data);
        const auto sent = co_await stream_->write_all(writer.spans());
        co_return sent.has_value();
    }
    /// nullopt: the target closed the connection.
    env::Task<std::optional<Pdu>> receive() {
        auto header = co_await reader_->read_header(16u << 20);
        if (!header || !*header) co_return std::nullopt;
        Pdu pdu{**header, std::vector<std::byte>((*header)->data_bytes())};
        const auto intact = co_await reader_->read_data(pdu.data);
        if (!intact || !*intact) co_return std::nullopt;
        co_return std::optional<Pdu>(std::move(pdu));
    }

    static Header login(uint8_t csg, uint8_t nsg, uint8_t isid = 1) {
        Header header(Opcode::kLoginRequest, static_cast<uint8_t>(0x80 | (csg << 2) | nsg));
        header.bytes[0] |= std::byte{0x40};
        header.set_byte(8, 0x80);
        header.set_byte(13, isid);
        header.set_word(16, 0x77);
        header.set_word(24, 1);
        return header;
    }
    static std::vector<std::byte> text(const std::vector<KeyValue>& keys) {
        std::string out;
        for (const auto& [key, value] : keys) put_key(out, key, value);
        const base::Bytes bytes = base::as_bytes(out);
        return {bytes.begin(), bytes.end()};
    }
    /// One step to full feature phase; the response.
    env::Task<std::optional<Pdu>> log_in(std::vector<KeyValue> keys, uint8_t isid) {
        const Header header = login(1, 3, isid);
        auto request = text(keys);
        const bool sent = co_await send(header, std::move(request));
        if (!sent) co_return std::nullopt;
        auto answer = co_await receive();
        co_return answer;
    }

    /// SCSI Command with the next CmdSN.
    Header command(const std::vector<uint8_t>& cdb, uint32_t itt, uint8_t flags, uint32_t expected, uint16_t lun) {
        Header header(Opcode::kScsiCommand, flags);
        header.set_half(8, lun);
        header.set_word(16, itt);
        header.set_word(20, expected);
        header.set_word(24, cmd_sn++);
        for (size_t i = 0; i < cdb.size(); ++i) header.set_byte(32 + i, cdb[i]);
        return header;
    }
    Header immediate(Opcode opcode, uint32_t itt, uint8_t flags = kFinal) {
        Header header(opcode, flags);
        header.bytes[0] |= std::byte{0x40};
        header.set_word(16, itt);
        header.set_word(20, kReservedTag);
        header.set_word(24, cmd_sn);
        return header;
    }

    uint32_t cmd_sn = 1;

private:
    std::unique_ptr<env::Stream> stream_;
    std::unique_ptr<PduReader> reader_;
    Digests digests_;
};

}  // namespace umbra::iscsi::testing

#include "iscsi/pdu.h"

#include <algorithm>
#include <cstring>

#include "base/crc32c.h"

namespace umbra::iscsi {

using base::Bytes;
using base::Code;
using base::fail;

std::array<std::byte, 4> digest_of(Bytes first, Bytes second) {
    std::array<std::byte, 4> out;
    base::store_le(out.data(), base::crc32c(second, base::crc32c(first)));
    return out;
}

env::Task<base::Result<void>> PduReader::read_exactly(base::MutableBytes into) {
    while (!into.empty()) {
        if (begin_ < end_) {
            const size_t count = std::min(into.size(), end_ - begin_);
            std::memcpy(into.data(), buffer_.data() + begin_, count);
            begin_ += count;
            into = into.subspan(count);
            continue;
        }
        // What fills most of the buffer goes straight to its place.
        if (into.size() >= kBufferBytes / 2) {
            UMBRA_CO_ASSIGN(const size_t count, co_await stream_.read_some(into));
            if (count == 0) co_return fail(Code::kUnavailable, "the peer closed the connection inside a PDU");
            received_ += count;
            into = into.subspan(count);
            continue;
        }
        UMBRA_CO_ASSIGN(const size_t count, co_await stream_.read_some(buffer_.span()));
        if (count == 0) co_return fail(Code::kUnavailable, "the peer closed the connection inside a PDU");
        received_ += count;
        begin_ = 0;
        end_ = count;
    }
    co_return base::Result<void>();
}

env::Task<base::Result<std::optional<Header>>> PduReader::read_header(uint32_t max_data_bytes) {
    if (begin_ == end_) {
        UMBRA_CO_ASSIGN(const size_t count, co_await stream_.read_some(buffer_.span()));
        if (count == 0) co_return std::optional<Header>();
        received_ += count;
        begin_ = 0;
        end_ = count;
    }
    Header header;
    UMBRA_CO_TRY(co_await read_exactly(header.bytes));
    // Additional headers carry nothing that we support (bidirectional lengths, CDBs beyond 16 bytes); their size is at
    // most 1020 bytes by its encoding.
    std::array<std::byte, 1020> additional;
    const base::MutableBytes ahs = base::MutableBytes(additional).first(header.ahs_bytes());
    UMBRA_CO_TRY(co_await read_exactly(ahs));
    if (digests_.header) {
        std::array<std::byte, 4> digest;
        UMBRA_CO_TRY(co_await read_exactly(digest));
        if (digest != digest_of(header.bytes, ahs)) co_return fail(Code::kCorrupt, "header digest is wrong");
    }
    if (header.data_bytes() > max_data_bytes) {
        co_return fail(Code::kCorrupt, "data segment of " + std::to_string(header.data_bytes()) + " bytes, at most " +
                                           std::to_string(max_data_bytes) + " were announced");
    }
    co_return std::optional<Header>(header);
}

env::Task<base::Result<bool>> PduReader::read_data(base::MutableBytes into) {
    if (into.empty()) co_return true;
    UMBRA_CO_TRY(co_await read_exactly(into));
    std::array<std::byte, 3> pad{};
    const base::MutableBytes padded = base::MutableBytes(pad).first(padding(into.size()));
    UMBRA_CO_TRY(co_await read_exactly(padded));
    if (!digests_.data) co_return true;
    std::array<std::byte, 4> digest;
    UMBRA_CO_TRY(co_await read_exactly(digest));
    co_return digest == digest_of(into, padded);
}

void PduWriter::add(Header header, Bytes data) {
    header.set_data_bytes(static_cast<uint32_t>(data.size()));
    Frame frame;
    frame.header = header;
    frame.data = data;
    if (digests_.header) frame.header_digest = digest_of(header.bytes);
    frame.trailer.fill(std::byte{0});
    frame.trailer_bytes = padding(data.size());
    if (digests_.data && !data.empty()) {
        const auto digest = digest_of(data, Bytes(frame.trailer).first(frame.trailer_bytes));
        std::ranges::copy(digest, frame.trailer.begin() + static_cast<ptrdiff_t>(frame.trailer_bytes));
        frame.trailer_bytes += digest.size();
    }
    frames_.push_back(frame);
}

std::span<const Bytes> PduWriter::spans() {
    spans_.clear();
    for (const Frame& frame : frames_) {
        spans_.emplace_back(frame.header.bytes);
        if (digests_.header) spans_.emplace_back(frame.header_digest);
        if (!frame.data.empty()) spans_.push_back(frame.data);
        if (frame.trailer_bytes > 0) spans_.push_back(Bytes(frame.trailer).first(frame.trailer_bytes));
    }
    return spans_;
}

}  // namespace umbra::iscsi

// iSCSI PDUs (RFC 7143 §11): the 48-byte header, reading PDUs from a stream, and framing those that we send.
#pragma once

#include <algorithm>
#include <array>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/bytes.h"
#include "base/result.h"
#include "env/transport.h"

namespace umbra::iscsi {

enum class Opcode : uint8_t {
    kNopOut = 0x00,
    kScsiCommand = 0x01,
    kTaskManagementRequest = 0x02,
    kLoginRequest = 0x03,
    kTextRequest = 0x04,
    kDataOut = 0x05,
    kLogoutRequest = 0x06,
    kSnackRequest = 0x10,
    kNopIn = 0x20,
    kScsiResponse = 0x21,
    kTaskManagementResponse = 0x22,
    kLoginResponse = 0x23,
    kTextResponse = 0x24,
    kDataIn = 0x25,
    kLogoutResponse = 0x26,
    kR2t = 0x31,
    kAsyncMessage = 0x32,
    kReject = 0x3f,
};

inline constexpr uint32_t kReservedTag = 0xffffffff;
inline constexpr uint8_t kFinal = 0x80;
inline constexpr uint8_t kContinue = 0x40;

enum class RejectReason : uint8_t {
    kDataDigestError = 0x02,
    kSnackReject = 0x03,
    kProtocolError = 0x04,
    kCommandNotSupported = 0x05,
    kTooManyImmediateCommands = 0x06,
    kTaskInProgress = 0x07,
    kInvalidPduField = 0x09,
    kOutOfResources = 0x0a,
};

/// Basic header segment. Offsets in bytes, as RFC 7143 draws them.
struct Header {
    static constexpr size_t kBytes = 48;
    std::array<std::byte, kBytes> bytes{};

    Header() = default;
    explicit Header(Opcode opcode, uint8_t flags = kFinal) {
        bytes[0] = static_cast<std::byte>(opcode);
        bytes[1] = std::byte{flags};
    }

    uint8_t opcode() const { return std::to_integer<uint8_t>(bytes[0]) & 0x3f; }
    bool is(Opcode wanted) const { return opcode() == static_cast<uint8_t>(wanted); }
    bool immediate() const { return (bytes[0] & std::byte{0x40}) != std::byte{0}; }
    uint8_t flags() const { return byte(1); }
    bool final() const { return (flags() & kFinal) != 0; }
    size_t ahs_bytes() const { return size_t{byte(4)} * 4; }
    uint32_t data_bytes() const { return base::load_be<uint32_t>(&bytes[4]) & 0xffffff; }
    std::array<std::byte, 8> lun() const {
        std::array<std::byte, 8> lun;
        std::copy_n(&bytes[8], 8, lun.begin());
        return lun;
    }
    uint32_t itt() const { return word(16); }
    uint32_t ttt() const { return word(20); }

    uint8_t byte(size_t at) const { return std::to_integer<uint8_t>(bytes[at]); }
    uint16_t half(size_t at) const { return base::load_be<uint16_t>(&bytes[at]); }
    uint32_t word(size_t at) const { return base::load_be<uint32_t>(&bytes[at]); }
    void set_byte(size_t at, uint8_t value) { bytes[at] = std::byte{value}; }
    void set_half(size_t at, uint16_t value) { base::store_be(&bytes[at], value); }
    void set_word(size_t at, uint32_t value) { base::store_be(&bytes[at], value); }
    void set_lun(const std::array<std::byte, 8>& lun) { std::copy(lun.begin(), lun.end(), &bytes[8]); }
    void set_data_bytes(uint32_t count) { set_word(4, (word(4) & 0xff000000) | (count & 0xffffff)); }
};

/// RFC 1982 order of CmdSN and its like.
inline bool serial_less(uint32_t a, uint32_t b) {
    return static_cast<int32_t>(a - b) < 0;
}

struct Digests {
    bool header = false;
    bool data = false;
};

/// CRC32C as it stands on the wire (RFC 7143 §13.1: least significant byte first).
std::array<std::byte, 4> digest_of(base::Bytes first, base::Bytes second = {});

inline constexpr size_t padding(size_t data_bytes) {
    return (4 - data_bytes % 4) % 4;
}

/// Reads PDUs. After an error the connection is of no more use.
class PduReader {
public:
    explicit PduReader(env::Stream& stream) : stream_(stream), buffer_(kBufferBytes) {}

    void set_digests(Digests digests) { digests_ = digests; }
    /// nullopt: the peer closed between two PDUs. kCorrupt: a header digest is wrong, or a length beyond the limits
    /// (`max_data_bytes`, additional headers). kUnavailable: the connection is gone.
    env::Task<base::Result<std::optional<Header>>> read_header(uint32_t max_data_bytes);
    /// The data segment of the PDU whose header was read last, into `into` (as long as the header said). False: the
    /// digest is wrong. To be called for every header, also with no data.
    env::Task<base::Result<bool>> read_data(base::MutableBytes into);
    /// Bytes received so far, for whoever watches whether the peer lives.
    uint64_t received() const { return received_; }

private:
    static constexpr size_t kBufferBytes = 64u << 10;

    env::Task<base::Result<void>> read_exactly(base::MutableBytes into);

    env::Stream& stream_;
    Digests digests_;
    base::Buffer buffer_;
    size_t begin_ = 0;
    size_t end_ = 0;
    uint64_t received_ = 0;
};

/// Collects framed PDUs for one write. Data spans must stay valid until the write is over.
class PduWriter {
public:
    explicit PduWriter(Digests digests) : digests_(digests) {}
    /// The data length is put into the header here.
    void add(Header header, base::Bytes data);
    std::span<const base::Bytes> spans();

private:
    struct Frame {
        Header header;
        std::array<std::byte, 4> header_digest;
        base::Bytes data;
        std::array<std::byte, 8> trailer;  ///< padding and data digest
        size_t trailer_bytes = 0;
    };
    Digests digests_;
    std::vector<Frame> frames_;
    std::vector<base::Bytes> spans_;
};

}  // namespace umbra::iscsi

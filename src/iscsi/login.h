// The login phase of one connection (RFC 7143 §6.3, §11.12, §11.13) as a state machine without I/O: requests in,
// responses out. Sequence numbers and the TSIH are filled in by the connection.
#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/bytes.h"
#include "iscsi/limits.h"
#include "iscsi/pdu.h"
#include "iscsi/text.h"

namespace umbra::iscsi {

/// Status class and detail.
enum class LoginStatus : uint16_t {
    kSuccess = 0x0000,
    kInitiatorError = 0x0200,
    kAuthenticationFailure = 0x0201,
    kAuthorizationFailure = 0x0202,
    kNotFound = 0x0203,
    kUnsupportedVersion = 0x0205,
    kTooManyConnections = 0x0206,
    kMissingParameter = 0x0207,
    kCannotIncludeInSession = 0x0208,
    kSessionTypeNotSupported = 0x0209,
    kSessionDoesNotExist = 0x020a,
    kInvalidRequest = 0x020b,
    kTargetError = 0x0300,
    kServiceUnavailable = 0x0301,
    kOutOfResources = 0x0302,
};

struct LoginIdentity {
    std::string initiator;
    std::string target;  ///< empty in a discovery session
    bool discovery = false;
    std::array<std::byte, 6> isid{};
    uint16_t tsih = 0;
    uint16_t cid = 0;

    std::string isid_text() const { return "0x" + base::to_hex(isid); }
};

/// Whether the target takes an initiator in.
class LoginPolicy {
public:
    virtual ~LoginPolicy() = default;
    virtual LoginStatus admit(const LoginIdentity& identity) = 0;
};

class LoginMachine {
public:
    explicit LoginMachine(LoginPolicy& policy) : policy_(policy) {}

    struct Reply {
        Header header;  ///< no sequence numbers yet
        std::string text;
        LoginStatus status = LoginStatus::kSuccess;
        bool finished = false;  ///< the full feature phase begins after this response
    };
    /// Any other status than kSuccess ends the connection after the reply.
    Reply handle(const Header& request, base::Bytes data);

    const LoginIdentity& identity() const { return identity_; }
    const SessionParameters& parameters() const { return parameters_; }

private:
    LoginStatus process(const Header& request, Reply& reply);
    LoginStatus take_identity(const std::vector<KeyValue>& keys);
    LoginStatus security(const KeyValue& key, std::string& text);

    LoginPolicy& policy_;
    LoginIdentity identity_;
    SessionParameters parameters_;
    std::string text_;  ///< of requests that were continued
    std::vector<std::string> seen_keys_;
    int requests_ = 0;
    uint8_t stage_ = 0;
    uint32_t itt_ = 0;
    bool started_ = false;
    bool identified_ = false;
    bool declared_ = false;  ///< our own keys have been sent
};

}  // namespace umbra::iscsi

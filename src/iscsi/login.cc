#include "iscsi/login.h"

#include <algorithm>

namespace umbra::iscsi {

namespace {
constexpr uint8_t kSecurityStage = 0;
constexpr uint8_t kOperationalStage = 1;
constexpr uint8_t kFullFeatureStage = 3;
constexpr uint8_t kTransit = 0x80;
constexpr uint8_t kVersion = 0;

const std::string* find_key(const std::vector<KeyValue>& keys, std::string_view key) {
    const auto found = std::ranges::find(keys, key, &KeyValue::first);
    return found == keys.end() ? nullptr : &found->second;
}
}  // namespace

LoginStatus LoginMachine::take_identity(const std::vector<KeyValue>& keys) {
    const std::string* initiator = find_key(keys, "InitiatorName");
    if (initiator == nullptr) return LoginStatus::kMissingParameter;
    // Names compare without regard to case: RFC 3722 folds them before they are sent; not every initiator does.
    const auto folded = [](std::string name) {
        for (char& c : name) {
            if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
        }
        return name;
    };
    identity_.initiator = folded(*initiator);
    if (!valid_iscsi_name(identity_.initiator)) return LoginStatus::kInitiatorError;
    if (const std::string* type = find_key(keys, "SessionType")) {
        if (*type == "Discovery") {
            identity_.discovery = true;
        } else if (*type != "Normal") {
            return LoginStatus::kSessionTypeNotSupported;
        }
    }
    if (!identity_.discovery) {
        const std::string* target = find_key(keys, "TargetName");
        if (target == nullptr) return LoginStatus::kMissingParameter;
        identity_.target = folded(*target);
        if (!valid_iscsi_name(identity_.target)) return LoginStatus::kNotFound;
    }
    identified_ = true;
    return policy_.admit(identity_);
}

LoginStatus LoginMachine::security(const KeyValue& key, std::string& text) {
    if (key.first != "AuthMethod") return LoginStatus::kInvalidRequest;
    std::string_view list = key.second;
    while (!list.empty()) {
        const size_t comma = list.find(',');
        if (list.substr(0, comma) == "None") {
            put_key(text, "AuthMethod", "None");
            return LoginStatus::kSuccess;
        }
        if (comma == std::string_view::npos) break;
        list.remove_prefix(comma + 1);
    }
    return LoginStatus::kAuthenticationFailure;
}

LoginStatus LoginMachine::process(const Header& request, Reply& reply) {
    const uint8_t flags = request.flags();
    const bool transit = (flags & kTransit) != 0;
    const uint8_t current = (flags >> 2) & 0x03;
    const uint8_t next = flags & 0x03;
    auto keys = parse_text(base::as_bytes(text_));
    text_.clear();
    if (!keys) return LoginStatus::kInitiatorError;
    if (!identified_) {
        const LoginStatus status = take_identity(*keys);
        if (status != LoginStatus::kSuccess) return status;
        if (!identity_.discovery) put_key(reply.text, "TargetPortalGroupTag", "1");
    }
    for (const KeyValue& pair : *keys) {
        const std::string& key = pair.first;
        // §6.3: a key is negotiated once a login.
        if (std::ranges::find(seen_keys_, key) != seen_keys_.end()) return LoginStatus::kInitiatorError;
        if (seen_keys_.size() >= kMaxKeysPerText) return LoginStatus::kInitiatorError;
        seen_keys_.push_back(key);
        if (key == "InitiatorName" || key == "TargetName" || key == "SessionType" || key == "InitiatorAlias") continue;
        if (key == "AuthMethod" || key.starts_with("CHAP_")) {
            if (current != kSecurityStage) return LoginStatus::kInvalidRequest;
            const LoginStatus status = security(pair, reply.text);
            if (status != LoginStatus::kSuccess) return status;
            continue;
        }
        if (!is_operational_key(key)) {
            put_key(reply.text, key, "NotUnderstood");
            continue;
        }
        auto answer = negotiate(pair, identity_.discovery, parameters_);
        if (!answer) return LoginStatus::kInitiatorError;
        if (*answer) put_key(reply.text, key, **answer);
    }
    // Burst lengths are known to be consistent only once all keys are in.
    parameters_.first_burst = std::min(parameters_.first_burst, parameters_.max_burst);
    if (current == kOperationalStage && !declared_) {
        put_key(reply.text, "MaxRecvDataSegmentLength", std::to_string(kMaxRecvDataSegmentLength));
        declared_ = true;
    }
    if (transit) {
        reply.header.set_byte(1, static_cast<uint8_t>(kTransit | (current << 2) | next));
        stage_ = next;
        reply.finished = next == kFullFeatureStage;
    } else {
        reply.header.set_byte(1, static_cast<uint8_t>(current << 2));
    }
    return LoginStatus::kSuccess;
}

LoginMachine::Reply LoginMachine::handle(const Header& request, base::Bytes data) {
    Reply reply;
    reply.header = Header(Opcode::kLoginResponse, 0);
    std::copy_n(&request.bytes[8], 8, &reply.header.bytes[8]);  // ISID, TSIH
    reply.header.set_word(16, request.itt());
    reply.header.set_byte(2, kVersion);
    reply.header.set_byte(3, kVersion);

    const uint8_t flags = request.flags();
    const bool transit = (flags & kTransit) != 0;
    const bool continues = (flags & kContinue) != 0;
    const uint8_t current = (flags >> 2) & 0x03;
    const uint8_t next = flags & 0x03;
    const auto check = [&]() -> LoginStatus {
        if (!request.is(Opcode::kLoginRequest) || ++requests_ > kMaxLoginRequests) return LoginStatus::kInvalidRequest;
        if (request.byte(3) > kVersion) return LoginStatus::kUnsupportedVersion;
        if (current != kSecurityStage && current != kOperationalStage) return LoginStatus::kInvalidRequest;
        if (transit && (continues || next <= current || next == 2)) return LoginStatus::kInvalidRequest;
        if (!started_) {
            started_ = true;
            stage_ = current;
            itt_ = request.itt();
            std::copy_n(&request.bytes[8], 6, identity_.isid.begin());
            identity_.tsih = request.half(14);
            identity_.cid = request.half(20);
        } else if (current != stage_ || request.itt() != itt_ || request.half(20) != identity_.cid ||
                   !std::equal(identity_.isid.begin(), identity_.isid.end(), &request.bytes[8])) {
            return LoginStatus::kInvalidRequest;
        }
        if (text_.size() + data.size() > kMaxTextBytes) return LoginStatus::kInitiatorError;
        text_.append(base::as_text(data));
        if (continues) {
            reply.header.set_byte(1, static_cast<uint8_t>(current << 2));
            return LoginStatus::kSuccess;
        }
        return process(request, reply);
    };
    reply.status = check();
    if (reply.status != LoginStatus::kSuccess) {
        reply.finished = false;
        reply.text.clear();
        reply.header.set_byte(1, static_cast<uint8_t>(current << 2));
        reply.header.set_half(36, static_cast<uint16_t>(reply.status));
    } else if (reply.text.size() > kLoginDataSegmentLength) {
        // Only a flood of unknown keys makes an answer that long.
        reply.finished = false;
        reply.text.clear();
        reply.status = LoginStatus::kInitiatorError;
        reply.header.set_byte(1, static_cast<uint8_t>(current << 2));
        reply.header.set_half(36, static_cast<uint16_t>(reply.status));
    }
    return reply;
}

}  // namespace umbra::iscsi

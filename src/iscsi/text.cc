#include "iscsi/text.h"

#include <algorithm>
#include <charconv>

#include "base/utf8.h"

namespace umbra::iscsi {

using base::Code;
using base::fail;

namespace {

bool key_character(char c) {
    return (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' ||
           c == '+' || c == '@' || c == '_' || c == '/';
}

/// Decimal or 0x hexadecimal (§6.1), within bounds.
std::optional<uint32_t> parse_number(std::string_view text, uint32_t least, uint32_t most) {
    int base = 10;
    if (text.starts_with("0x") || text.starts_with("0X")) {
        text.remove_prefix(2);
        base = 16;
    }
    uint32_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value, base);
    if (error != std::errc() || end != text.data() + text.size() || text.empty()) return std::nullopt;
    if (value < least || value > most) return std::nullopt;
    return value;
}

std::optional<bool> parse_boolean(std::string_view text) {
    if (text == "Yes") return true;
    if (text == "No") return false;
    return std::nullopt;
}

std::string_view yes_no(bool value) {
    return value ? "Yes" : "No";
}

/// The first of the offered values that we know; nullopt when there is none.
std::optional<std::string_view> first_known(std::string_view list, std::initializer_list<std::string_view> known) {
    while (true) {
        const size_t comma = list.find(',');
        const std::string_view value = list.substr(0, comma);
        if (std::ranges::find(known, value) != known.end()) return value;
        if (comma == std::string_view::npos) return std::nullopt;
        list.remove_prefix(comma + 1);
    }
}

/// The operational keys of §13: what negotiate() switches over.
enum class OperationalKey : uint8_t {
    kHeaderDigest,
    kDataDigest,
    kMaxConnections,
    kInitialR2T,
    kImmediateData,
    kMaxRecvDataSegmentLength,
    kMaxBurstLength,
    kFirstBurstLength,
    kDefaultTime2Wait,
    kDefaultTime2Retain,
    kMaxOutstandingR2T,
    kDataPDUInOrder,
    kDataSequenceInOrder,
    kErrorRecoveryLevel,
    kTaskReporting,
    kIscsiProtocolLevel,
    kMarker,
    kMarkerInterval,
};
constexpr std::pair<std::string_view, OperationalKey> kOperationalKeys[] = {
    {"HeaderDigest", OperationalKey::kHeaderDigest},
    {"DataDigest", OperationalKey::kDataDigest},
    {"MaxConnections", OperationalKey::kMaxConnections},
    {"InitialR2T", OperationalKey::kInitialR2T},
    {"ImmediateData", OperationalKey::kImmediateData},
    {"MaxRecvDataSegmentLength", OperationalKey::kMaxRecvDataSegmentLength},
    {"MaxBurstLength", OperationalKey::kMaxBurstLength},
    {"FirstBurstLength", OperationalKey::kFirstBurstLength},
    {"DefaultTime2Wait", OperationalKey::kDefaultTime2Wait},
    {"DefaultTime2Retain", OperationalKey::kDefaultTime2Retain},
    {"MaxOutstandingR2T", OperationalKey::kMaxOutstandingR2T},
    {"DataPDUInOrder", OperationalKey::kDataPDUInOrder},
    {"DataSequenceInOrder", OperationalKey::kDataSequenceInOrder},
    {"ErrorRecoveryLevel", OperationalKey::kErrorRecoveryLevel},
    {"TaskReporting", OperationalKey::kTaskReporting},
    {"iSCSIProtocolLevel", OperationalKey::kIscsiProtocolLevel},
    {"IFMarker", OperationalKey::kMarker},
    {"OFMarker", OperationalKey::kMarker},
    {"IFMarkInt", OperationalKey::kMarkerInterval},
    {"OFMarkInt", OperationalKey::kMarkerInterval},
};

std::optional<OperationalKey> find_operational_key(std::string_view name) {
    for (const auto& [known, key] : kOperationalKeys) {
        if (known == name) return key;
    }
    return std::nullopt;
}

/// Keys of normal sessions only (§13).
bool irrelevant_to_discovery(OperationalKey key) {
    switch (key) {
        case OperationalKey::kMaxConnections:
        case OperationalKey::kInitialR2T:
        case OperationalKey::kImmediateData:
        case OperationalKey::kMaxBurstLength:
        case OperationalKey::kFirstBurstLength:
        case OperationalKey::kMaxOutstandingR2T:
        case OperationalKey::kDataPDUInOrder:
        case OperationalKey::kDataSequenceInOrder:
            return true;
        default:
            return false;
    }
}

}  // namespace

base::Result<std::vector<KeyValue>> parse_text(base::Bytes text) {
    std::vector<KeyValue> out;
    std::string_view rest = base::as_text(text);
    while (!rest.empty()) {
        const size_t end = std::min(rest.find('\0'), rest.size());
        const std::string_view pair = rest.substr(0, end);
        rest.remove_prefix(std::min(end + 1, rest.size()));
        if (pair.empty()) continue;  // padding
        const size_t equals = pair.find('=');
        if (equals == 0 || equals == std::string_view::npos || equals > kMaxKeyBytes) {
            return fail(Code::kCorrupt, "text without a key");
        }
        const std::string_view key = pair.substr(0, equals);
        const std::string_view value = pair.substr(equals + 1);
        if (!std::ranges::all_of(key, key_character)) return fail(Code::kCorrupt, "text key with a wrong character");
        if (value.size() > kMaxValueBytes) return fail(Code::kCorrupt, "text value is too long");
        if (std::ranges::find(out, key, &KeyValue::first) != out.end()) {
            return fail(Code::kCorrupt, "text key appears twice");
        }
        if (out.size() == kMaxKeysPerText) return fail(Code::kCorrupt, "too many text keys");
        out.emplace_back(key, value);
    }
    return out;
}

void put_key(std::string& text, std::string_view key, std::string_view value) {
    text.append(key).append(1, '=').append(value).append(1, '\0');
}

bool valid_iscsi_name(std::string_view name) {
    if (name.size() > kMaxIscsiNameBytes || name.size() < 5) return false;
    if (!name.starts_with("iqn.") && !name.starts_with("eui.") && !name.starts_with("naa.")) return false;
    const bool allowed = std::ranges::all_of(name, [](char c) {
        const auto u = static_cast<unsigned char>(c);
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == ':' || u >= 0x80;
    });
    return allowed && base::is_utf8(name);
}

bool is_operational_key(std::string_view key) {
    return find_operational_key(key).has_value();
}

base::Result<std::optional<std::string>> negotiate(const KeyValue& offer, bool discovery,
                                                   SessionParameters& parameters) {
    const auto& [key, value] = offer;
    using Answer = std::optional<std::string>;
    const auto wrong = [&] {
        return fail(Code::kInvalidArgument, key + "=" + value.substr(0, 64) + " is not a value");
    };
    // §6.2: these answer an offer of ours; we make none.
    if (value == "NotUnderstood" || value == "Irrelevant" || value == "Reject") return Answer();

    const auto number_min = [&](uint32_t least, uint32_t most, uint32_t ours) -> base::Result<uint32_t> {
        const auto offered = parse_number(value, least, most);
        if (!offered) return wrong();
        return std::min(*offered, ours);
    };
    constexpr uint32_t kMaxSegment = (1u << 24) - 1;

    const auto known = find_operational_key(key);
    if (!known) return Answer("NotUnderstood");
    if (discovery && irrelevant_to_discovery(*known)) return Answer("Irrelevant");
    switch (*known) {
        case OperationalKey::kHeaderDigest:
        case OperationalKey::kDataDigest: {
            const auto chosen = first_known(value, {"CRC32C", "None"});
            if (!chosen) return Answer("Reject");
            const bool header = *known == OperationalKey::kHeaderDigest;
            (header ? parameters.header_digest : parameters.data_digest) = *chosen == "CRC32C";
            return Answer(*chosen);
        }
        case OperationalKey::kMaxRecvDataSegmentLength: {
            const auto declared = parse_number(value, 512, kMaxSegment);
            if (!declared) return wrong();
            parameters.peer_max_recv_data_segment = *declared;
            return Answer();
        }
        case OperationalKey::kDefaultTime2Wait: {
            const auto offered = parse_number(value, 0, 3600);
            if (!offered) return wrong();
            parameters.time2wait = static_cast<uint16_t>(*offered);  // the greater of it and our 0
            return Answer(std::to_string(*offered));
        }
        case OperationalKey::kDefaultTime2Retain: {
            UMBRA_ASSIGN(const uint32_t result, number_min(0, 3600, 0));
            return Answer(std::to_string(result));
        }
        case OperationalKey::kErrorRecoveryLevel: {
            UMBRA_ASSIGN(const uint32_t result, number_min(0, 2, 0));
            return Answer(std::to_string(result));
        }
        case OperationalKey::kTaskReporting: {
            const auto chosen = first_known(value, {"RFC3720"});
            return Answer(chosen ? *chosen : "Reject");
        }
        case OperationalKey::kIscsiProtocolLevel: {
            UMBRA_ASSIGN(const uint32_t result, number_min(0, 31, 1));
            return Answer(std::to_string(result));
        }
        case OperationalKey::kMarker:
            if (!parse_boolean(value)) return wrong();
            return Answer("No");
        case OperationalKey::kMarkerInterval:
            return Answer("Irrelevant");
        case OperationalKey::kMaxConnections: {
            UMBRA_ASSIGN(const uint32_t result, number_min(1, 65535, 1));
            return Answer(std::to_string(result));
        }
        case OperationalKey::kInitialR2T: {
            const auto offered = parse_boolean(value);
            if (!offered) return wrong();
            parameters.initial_r2t = *offered;  // OR with our No
            return Answer(yes_no(*offered));
        }
        case OperationalKey::kImmediateData: {
            const auto offered = parse_boolean(value);
            if (!offered) return wrong();
            parameters.immediate_data = *offered;  // AND with our Yes
            return Answer(yes_no(*offered));
        }
        case OperationalKey::kMaxBurstLength: {
            UMBRA_ASSIGN(parameters.max_burst, number_min(512, kMaxSegment, kMaxBurstLength));
            return Answer(std::to_string(parameters.max_burst));
        }
        case OperationalKey::kFirstBurstLength: {
            UMBRA_ASSIGN(parameters.first_burst, number_min(512, kMaxSegment, kFirstBurstLength));
            return Answer(std::to_string(parameters.first_burst));
        }
        case OperationalKey::kMaxOutstandingR2T: {
            UMBRA_ASSIGN(parameters.max_outstanding_r2t, number_min(1, 65535, kMaxOutstandingR2t));
            return Answer(std::to_string(parameters.max_outstanding_r2t));
        }
        case OperationalKey::kDataPDUInOrder:
        case OperationalKey::kDataSequenceInOrder:
            if (!parse_boolean(value)) return wrong();
            return Answer("Yes");
    }
    return Answer("NotUnderstood");
}

}  // namespace umbra::iscsi

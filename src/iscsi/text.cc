#include "iscsi/text.h"

#include <algorithm>
#include <array>
#include <charconv>

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

constexpr std::array<std::string_view, 20> kOperationalKeys = {
    "HeaderDigest",        "DataDigest",         "MaxConnections",
    "InitialR2T",          "ImmediateData",      "MaxRecvDataSegmentLength",
    "MaxBurstLength",      "FirstBurstLength",   "DefaultTime2Wait",
    "DefaultTime2Retain",  "MaxOutstandingR2T",  "DataPDUInOrder",
    "DataSequenceInOrder", "ErrorRecoveryLevel", "TaskReporting",
    "iSCSIProtocolLevel",  "IFMarker",           "OFMarker",
    "IFMarkInt",           "OFMarkInt"};

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
    return std::ranges::all_of(name, [](char c) {
        const auto u = static_cast<unsigned char>(c);
        return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '-' || c == ':' || u >= 0x80;
    });
}

bool is_operational_key(std::string_view key) {
    return std::ranges::find(kOperationalKeys, key) != kOperationalKeys.end();
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

    if (key == "HeaderDigest" || key == "DataDigest") {
        const auto chosen = first_known(value, {"CRC32C", "None"});
        if (!chosen) return Answer("Reject");
        (key == "HeaderDigest" ? parameters.header_digest : parameters.data_digest) = *chosen == "CRC32C";
        return Answer(*chosen);
    }
    if (key == "MaxRecvDataSegmentLength") {
        const auto declared = parse_number(value, 512, kMaxSegment);
        if (!declared) return wrong();
        parameters.peer_max_recv_data_segment = *declared;
        return Answer();
    }
    if (key == "DefaultTime2Wait") {
        const auto offered = parse_number(value, 0, 3600);
        if (!offered) return wrong();
        parameters.time2wait = static_cast<uint16_t>(*offered);  // the greater of it and our 0
        return Answer(std::to_string(*offered));
    }
    if (key == "DefaultTime2Retain") {
        UMBRA_ASSIGN(const uint32_t result, number_min(0, 3600, 0));
        return Answer(std::to_string(result));
    }
    if (key == "ErrorRecoveryLevel") {
        UMBRA_ASSIGN(const uint32_t result, number_min(0, 2, 0));
        return Answer(std::to_string(result));
    }
    if (key == "TaskReporting") {
        const auto chosen = first_known(value, {"RFC3720"});
        return Answer(chosen ? *chosen : "Reject");
    }
    if (key == "iSCSIProtocolLevel") {
        UMBRA_ASSIGN(const uint32_t result, number_min(0, 31, 1));
        return Answer(std::to_string(result));
    }
    if (key == "IFMarker" || key == "OFMarker") {
        if (!parse_boolean(value)) return wrong();
        return Answer("No");
    }
    if (key == "IFMarkInt" || key == "OFMarkInt") return Answer("Irrelevant");

    // The rest is irrelevant to a discovery session (§13).
    if (discovery) return Answer("Irrelevant");
    if (key == "MaxConnections") {
        UMBRA_ASSIGN(const uint32_t result, number_min(1, 65535, 1));
        return Answer(std::to_string(result));
    }
    if (key == "InitialR2T") {
        const auto offered = parse_boolean(value);
        if (!offered) return wrong();
        parameters.initial_r2t = *offered;  // OR with our No
        return Answer(yes_no(*offered));
    }
    if (key == "ImmediateData") {
        const auto offered = parse_boolean(value);
        if (!offered) return wrong();
        parameters.immediate_data = *offered;  // AND with our Yes
        return Answer(yes_no(*offered));
    }
    if (key == "MaxBurstLength") {
        UMBRA_ASSIGN(parameters.max_burst, number_min(512, kMaxSegment, kMaxBurstLength));
        return Answer(std::to_string(parameters.max_burst));
    }
    if (key == "FirstBurstLength") {
        UMBRA_ASSIGN(parameters.first_burst, number_min(512, kMaxSegment, kFirstBurstLength));
        return Answer(std::to_string(parameters.first_burst));
    }
    if (key == "MaxOutstandingR2T") {
        UMBRA_ASSIGN(parameters.max_outstanding_r2t, number_min(1, 65535, kMaxOutstandingR2t));
        return Answer(std::to_string(parameters.max_outstanding_r2t));
    }
    if (key == "DataPDUInOrder" || key == "DataSequenceInOrder") {
        if (!parse_boolean(value)) return wrong();
        return Answer("Yes");
    }
    return Answer("NotUnderstood");
}

}  // namespace umbra::iscsi

// Names of LUNs and volumes: page 83 and what follows from it.
#include <algorithm>
#include <cctype>

#include "host/host.h"

namespace umbra::host {

namespace {

using base::Bytes;
using base::Code;
using base::Result;

// Namespace of volume names; part of the format (docs/format/volume-name.md): never changed.
constexpr std::string_view kVolumeNamespace = "6f0b9a52-2f55-5c0e-9d8e-6d5b3a41c7f1";

const Designator* best(const std::vector<Designator>& designators) {
    // NAA first, then EUI-64, SCSI name, T10 vendor: from the most to the least likely to be unique in the world.
    for (const uint8_t type : {3, 2, 8, 1}) {
        const Designator* found = nullptr;
        for (const Designator& d : designators) {
            if (d.association != 0 || d.type != type || d.id.empty()) continue;
            if (found == nullptr || d.id.size() > found->id.size()) found = &d;  // NAA 6 before a shorter NAA
        }
        if (found != nullptr) return found;
    }
    return nullptr;
}

std::string printable(const Designator& d) {
    if (d.code_set == 1) return base::to_hex(d.id);
    std::string text;
    for (const std::byte b : d.id) {
        const auto c = std::to_integer<unsigned char>(b);
        if (c == 0) break;
        text += static_cast<char>(c);
    }
    while (!text.empty() && text.back() == ' ') text.pop_back();
    return text;
}

}  // namespace

std::string LunIdentity::key() const {
    const Designator* d = best(designators);
    if (d == nullptr) return {};
    const char* prefix = d->type == 3 ? "naa." : d->type == 2 ? "eui." : d->type == 8 ? "name." : "t10.";
    return prefix + printable(*d);
}

std::string LunIdentity::naa() const {
    const Designator* d = best(designators);
    return d != nullptr && d->type == 3 && d->code_set == 1 ? base::to_hex(d->id) : std::string{};
}

std::string volume_name(std::string_view lun_key, uint32_t partition) {
    const auto space = base::Guid::parse(kVolumeNamespace);
    UMBRA_CHECK(space.has_value());
    std::string name(lun_key);
    name += '/';
    name += std::to_string(partition);
    return "\\\\?\\Volume" + base::Guid::from_name(*space, name).braced() + "\\";
}

std::optional<base::Guid> parse_volume_name(std::string_view text) {
    constexpr std::string_view kPrefix = "\\\\?\\volume";
    if (text.size() < kPrefix.size()) return std::nullopt;
    for (size_t i = 0; i < kPrefix.size(); ++i) {
        if (std::tolower(static_cast<unsigned char>(text[i])) != kPrefix[i]) return std::nullopt;
    }
    text.remove_prefix(kPrefix.size());
    if (!text.empty() && (text.back() == '\\' || text.back() == '/')) text.remove_suffix(1);
    if (text.empty() || text.front() != '{') return std::nullopt;
    return base::Guid::parse(text);
}

Result<std::vector<Designator>> parse_designators(Bytes bytes) {
    std::vector<Designator> out;
    while (!bytes.empty()) {
        if (bytes.size() < 4) return base::fail(Code::kCorrupt, "page 83: a designator's header is cut off");
        const size_t length = std::to_integer<size_t>(bytes[3]);
        if (bytes.size() < 4 + length) return base::fail(Code::kCorrupt, "page 83: a designator is cut off");
        Designator d;
        d.code_set = static_cast<uint8_t>(std::to_integer<unsigned>(bytes[0]) & 0x0f);
        d.association = static_cast<uint8_t>((std::to_integer<unsigned>(bytes[1]) >> 4) & 0x03);
        d.type = static_cast<uint8_t>(std::to_integer<unsigned>(bytes[1]) & 0x0f);
        d.id.assign(bytes.begin() + 4, bytes.begin() + 4 + static_cast<std::ptrdiff_t>(length));
        out.push_back(std::move(d));
        bytes = bytes.subspan(4 + length);
    }
    return out;
}

Result<std::vector<Designator>> parse_page83(Bytes page) {
    if (page.size() < 4 || page[1] != std::byte{0x83}) return base::fail(Code::kCorrupt, "not a VPD page 83");
    const size_t length = base::load_be<uint16_t>(page.data() + 2);
    if (page.size() < 4 + length) return base::fail(Code::kCorrupt, "page 83 is shorter than it says");
    return parse_designators(page.subspan(4, length));
}

std::vector<std::byte> encode_designators(const std::vector<Designator>& designators) {
    std::vector<std::byte> out;
    for (const Designator& d : designators) {
        UMBRA_CHECK(d.id.size() <= 255);
        out.push_back(static_cast<std::byte>(d.code_set & 0x0f));
        out.push_back(static_cast<std::byte>((d.association << 4) | (d.type & 0x0f)));
        out.push_back(std::byte{0});
        out.push_back(static_cast<std::byte>(d.id.size()));
        out.insert(out.end(), d.id.begin(), d.id.end());
    }
    return out;
}

}  // namespace umbra::host

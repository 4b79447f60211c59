#include "cli/diskshadow_print.h"

#include <fmt/format.h>

#include <algorithm>

#include "cli/diskshadow_codes.h"
#include "vss.h"

namespace umbra::cli::diskshadow {

namespace {

constexpr int64_t kTicksPerSecond = 10'000'000;
constexpr int64_t kSecondsFrom1601To1970 = 11'644'473'600;

std::string_view writer_state_name(int state) {
    switch (static_cast<VSS_WRITER_STATE>(state)) {
        case VSS_WS_UNKNOWN:
            return "VSS_WS_UNKNOWN";
        case VSS_WS_STABLE:
            return "VSS_WS_STABLE";
        case VSS_WS_WAITING_FOR_FREEZE:
            return "VSS_WS_WAITING_FOR_FREEZE";
        case VSS_WS_WAITING_FOR_THAW:
            return "VSS_WS_WAITING_FOR_THAW";
        case VSS_WS_WAITING_FOR_POST_SNAPSHOT:
            return "VSS_WS_WAITING_FOR_POST_SNAPSHOT";
        case VSS_WS_WAITING_FOR_BACKUP_COMPLETE:
            return "VSS_WS_WAITING_FOR_BACKUP_COMPLETE";
        case VSS_WS_FAILED_AT_IDENTIFY:
            return "VSS_WS_FAILED_AT_IDENTIFY";
        case VSS_WS_FAILED_AT_PREPARE_BACKUP:
            return "VSS_WS_FAILED_AT_PREPARE_BACKUP";
        case VSS_WS_FAILED_AT_PREPARE_SNAPSHOT:
            return "VSS_WS_FAILED_AT_PREPARE_SNAPSHOT";
        case VSS_WS_FAILED_AT_FREEZE:
            return "VSS_WS_FAILED_AT_FREEZE";
        case VSS_WS_FAILED_AT_THAW:
            return "VSS_WS_FAILED_AT_THAW";
        case VSS_WS_FAILED_AT_POST_SNAPSHOT:
            return "VSS_WS_FAILED_AT_POST_SNAPSHOT";
        case VSS_WS_FAILED_AT_BACKUP_COMPLETE:
            return "VSS_WS_FAILED_AT_BACKUP_COMPLETE";
        case VSS_WS_FAILED_AT_PRE_RESTORE:
            return "VSS_WS_FAILED_AT_PRE_RESTORE";
        case VSS_WS_FAILED_AT_POST_RESTORE:
            return "VSS_WS_FAILED_AT_POST_RESTORE";
        case VSS_WS_FAILED_AT_BACKUPSHUTDOWN:
            return "VSS_WS_FAILED_AT_BACKUPSHUTDOWN";
        case VSS_WS_COUNT:
            break;
    }
    return "unknown state";
}

std::string_view provider_type_name(int type) {
    switch (static_cast<VSS_PROVIDER_TYPE>(type)) {
        case VSS_PROV_SYSTEM:
            return "VSS_PROV_SYSTEM";
        case VSS_PROV_SOFTWARE:
            return "VSS_PROV_SOFTWARE";
        case VSS_PROV_HARDWARE:
            return "VSS_PROV_HARDWARE";
        case VSS_PROV_FILESHARE:
            return "VSS_PROV_FILESHARE";
        case VSS_PROV_UNKNOWN:
            break;
    }
    return "VSS_PROV_UNKNOWN";
}

std::string exposure(const Shadow& shadow) {
    if ((shadow.attributes & VSS_VOLSNAP_ATTR_EXPOSED_LOCALLY) != 0) {
        return fmt::format("\t\t- Exposed locally as: {}\n", shadow.exposed_name.value_or(""));
    }
    if ((shadow.attributes & VSS_VOLSNAP_ATTR_EXPOSED_REMOTELY) != 0) {
        auto text = fmt::format("\t\t- Exposed remotely as {}\n", shadow.exposed_name.value_or(""));
        if (shadow.exposed_path && !shadow.exposed_path->empty()) {
            text += fmt::format("\t\t- Path exposed: {}\n", *shadow.exposed_path);
        }
        return text;
    }
    return "\t\t- Not exposed\n";
}

std::string percented(const std::optional<std::string>& alias) {
    return alias ? "%" + *alias + "%" : "";
}

}  // namespace

std::string local_time(time_t time) {
    struct tm parts{};
    if (::localtime_r(&time, &parts) == nullptr) return "(time out of range)";
    const int hour = parts.tm_hour % 12 == 0 ? 12 : parts.tm_hour % 12;
    return fmt::format("{}/{}/{} {}:{:02}:{:02} {}", parts.tm_mon + 1, parts.tm_mday, parts.tm_year + 1900, hour,
                       parts.tm_min, parts.tm_sec, parts.tm_hour < 12 ? "AM" : "PM");
}

std::string local_time_of_timestamp(int64_t timestamp) {
    return local_time(static_cast<time_t>(timestamp / kTicksPerSecond - kSecondsFrom1601To1970));
}

std::string attribute_words(uint32_t attributes) {
    std::string out;
    const auto add = [&](uint32_t bit, std::string_view word) {
        if ((attributes & bit) == 0) return;
        out += ' ';
        out += word;
    };
    add(VSS_VOLSNAP_ATTR_TRANSPORTABLE, "Transportable");
    out += (attributes & VSS_VOLSNAP_ATTR_NO_AUTO_RELEASE) != 0 ? " No_Auto_Release" : " Auto_Release";
    add(VSS_VOLSNAP_ATTR_PERSISTENT, "Persistent");
    add(VSS_VOLSNAP_ATTR_CLIENT_ACCESSIBLE, "Client_accessible");
    add(VSS_VOLSNAP_ATTR_HARDWARE_ASSISTED, "Hardware");
    add(VSS_VOLSNAP_ATTR_NO_WRITERS, "No_Writers");
    add(VSS_VOLSNAP_ATTR_IMPORTED, "Imported");
    add(VSS_VOLSNAP_ATTR_PLEX, "Plex");
    add(VSS_VOLSNAP_ATTR_DIFFERENTIAL, "Differential");
    add(VSS_VOLSNAP_ATTR_FILE_SHARE, "FileShare");
    return out;
}

std::string shadow_block(const Shadow& shadow, const ShadowLabels& labels) {
    std::string out;
    out += fmt::format("\t* Shadow copy ID = {}\t\t{}\n", shadow.id.braced(),
                       labels.alias ? percented(labels.alias) : "<No Alias>");
    out += fmt::format("\t\t- Shadow copy set: {}\t{}\n", shadow.set.braced(), percented(labels.set_alias));
    out += fmt::format("\t\t- Original count of shadow copies = {}\n", shadow.count_in_set);
    out += fmt::format("\t\t- Original volume name: {}{}{}\n", shadow.volume, labels.volume_note.empty() ? "" : " ",
                       labels.volume_note);
    out += fmt::format("\t\t- Creation time: {}\n", local_time_of_timestamp(shadow.created));
    out += fmt::format("\t\t- Shadow copy device name: {}\n", shadow.device);
    out += fmt::format("\t\t- Originating machine: {}\n", shadow.originating_machine);
    out += fmt::format("\t\t- Service machine: {}\n", shadow.service_machine);
    out += exposure(shadow);
    out += fmt::format("\t\t- Provider ID: {}\n", shadow.provider.braced());
    out += fmt::format("\t\t- Attributes: {}\n\n", attribute_words(shadow.attributes));
    return out;
}

std::string provider_block(const Provider& provider) {
    return fmt::format(
        "* ProviderID: {}\n"
        "\tType: [{}] {}\n"
        "\tName: {}\n"
        "\tVersion: {}\n"
        "\tCLSID: {}\n\n",
        provider.id.braced(), provider.type, provider_type_name(provider.type), provider.name, provider.version,
        provider.class_id.braced());
}

std::string writer_status_block(const WriterStatus& status) {
    return fmt::format(
        "* WRITER \"{}\"\n"
        "        - Status: {} ({})\n"
        "        - Writer Failure code: 0x{} ({})\n"
        "        - Writer ID: {}\n"
        "        - Instance ID: {}\n\n",
        status.name, status.state, writer_state_name(status.state), code_number(status.failure),
        code_name(status.failure), status.writer.braced(), status.instance.braced());
}

std::string failure_text(const CallFailure& failure) {
    auto text = fmt::format("COM call \"{}\" failed.\nThe last operation failed.\n", failure.call);
    text += fmt::format("\t- Returned HRESULT: {}\n\t- Error text: {}\n", code_number(failure.code),
                        code_name(failure.code));
    if (!failure.cause.value_or("").empty()) text += fmt::format("\t- Cause: {}\n", *failure.cause);
    return text;
}

std::string short_host_name(const std::string& host) {
    constexpr size_t kNetBiosCharacters = 15;
    std::string name = host.substr(0, std::min(host.find('.'), kNetBiosCharacters));
    std::ranges::transform(name, name.begin(),
                           [](char c) { return c >= 'a' && c <= 'z' ? static_cast<char>(c - 32) : c; });
    return name;
}

std::string banner(const std::string& host, time_t now) {
    return fmt::format(
        "Umbra DiskShadow version 1.0\n"
        "Copyright (C) 2026 the Umbra authors\n"
        "On computer:  {},  {}\n\n",
        short_host_name(host), local_time(now));
}

}  // namespace umbra::cli::diskshadow

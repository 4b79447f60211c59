// The listings of diskshadow, as text. Their form is fixed: scripts search in it. Lines end in LF.
#pragma once

#include <ctime>
#include <optional>
#include <string>
#include <vector>

#include "cli/diskshadow_requester.h"

namespace umbra::cli::diskshadow {

/// "9/9/2026 8:01:54 AM" in the local time zone.
std::string local_time(time_t time);
/// The same of a VSS_TIMESTAMP.
std::string local_time_of_timestamp(int64_t timestamp);

/// " No_Auto_Release Persistent": a blank before each word.
std::string attribute_words(uint32_t attributes);

struct ShadowLabels {
    std::optional<std::string> alias;      ///< of the shadow copy
    std::optional<std::string> set_alias;  ///< of its set
    std::string volume_note;               ///< "[/srv/db]", "[volume not on this machine]" or nothing
};
/// The block of one shadow copy, with the blank line that follows it.
std::string shadow_block(const Shadow& shadow, const ShadowLabels& labels);
std::string provider_block(const Provider& provider);
std::string writer_status_block(const WriterStatus& status);

/// "The last operation failed." and its lines. With a call's name, the line that names it comes first.
std::string failure_text(const CallFailure& failure);

/// The first label of a host name as NetBIOS shows it.
std::string short_host_name(const std::string& host);
std::string banner(const std::string& host, time_t now);

}  // namespace umbra::cli::diskshadow

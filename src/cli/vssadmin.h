// vssadmin: lists writers, providers, shadow copies and volumes, in the words of Windows' tool.
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "cli/diskshadow_requester.h"

namespace umbra::cli::vssadmin {

struct VolumeName {
    std::string canonical;                  ///< \\?\Volume{…}\, as shadow copies name their original
    std::vector<std::string> mount_points;  ///< may be empty
    std::string device;
};

struct Services {
    diskshadow::Factory create;                    ///< CreateVssBackupComponents
    std::function<std::string()> last_error_text;  ///< UmbraGetLastErrorText
    std::function<base::Result<std::vector<VolumeName>>()> volumes;
    std::function<void(std::string_view)> write;
};

/// `arguments` without the program's name. The exit code: 0, or 1 when it failed or the command line is wrong.
int run(const std::vector<std::string>& arguments, const Services& services);

}  // namespace umbra::cli::vssadmin

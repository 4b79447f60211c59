// diskshadow as a process: command line, terminal, log, child programs. All but main() and the factory.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "cli/diskshadow_requester.h"

namespace umbra::cli::diskshadow {

struct CommandLine {
    std::optional<std::string> script;
    std::vector<std::string> parameters;
    std::optional<std::string> log;
    bool help = false;
};

/// `arguments` without the program's name. Switches start with / or -, in either case; behind `/s FILE` all words are
/// parameters except an exact "/l" or "-l" and the word after it: paths start with a slash, too.
base::Result<CommandLine> parse_command_line(const std::vector<std::string>& arguments);

/// Standard output, and a copy of it in a log.
class Screen {
public:
    Screen() = default;
    ~Screen();
    Screen(const Screen&) = delete;
    Screen& operator=(const Screen&) = delete;
    /// Starts the log over if the file exists.
    base::Result<> open_log(const std::string& path);
    bool has_log() const { return log_ >= 0; }
    void write(std::string_view text);
    /// To the log only: what somebody else has put on the screen.
    void write_log(std::string_view text);
    /// False once the log, or the standard output, could not be written.
    bool intact() const { return intact_; }

private:
    int log_ = -1;
    bool intact_ = true;
};

/// The mount point of the file system that holds `path`; empty if there is no such path.
std::string mount_point_of(const std::string& path);

/// Runs `program`, found as execvp finds it but in the current directory first, and waits for it. A file without #! is
/// a shell script. Its output goes to the screen, and to the log if there is one.
std::expected<int, std::string> run_program(const std::string& program, const std::vector<std::string>& environment,
                                            Screen& screen);

/// The whole program. The exit code: 0 or 1.
int run_diskshadow(const std::vector<std::string>& arguments, const Factory& factory,
                   const std::function<std::string()>& last_error_text);

}  // namespace umbra::cli::diskshadow

// Lines from a person (libedit: history, completion) or from a pipe.
#pragma once

#include <memory>
#include <optional>
#include <string>

namespace umbra::cli::diskshadow {

class Screen;

/// Reads standard input. At most one exists at a time.
class LineReader {
public:
    explicit LineReader(Screen& screen);
    ~LineReader();
    LineReader(const LineReader&) = delete;
    LineReader& operator=(const LineReader&) = delete;

    /// Shows the prompt and returns the next line; nothing at the end of input.
    std::optional<std::string> read(const std::string& prompt);

private:
    std::optional<std::string> read_terminal(const std::string& prompt);
    std::optional<std::string> read_pipe(const std::string& prompt);

    struct Editor;
    Screen& screen_;
    std::unique_ptr<Editor> editor_;  ///< only at a terminal
    std::string buffer_;
    bool ended_ = false;
};

}  // namespace umbra::cli::diskshadow

#include "cli/diskshadow_console.h"

#include <histedit.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>

#include "cli/diskshadow_help.h"
#include "cli/diskshadow_program.h"
#include "cli/diskshadow_text.h"

namespace umbra::cli::diskshadow {

namespace {

constexpr int kHistoryLines = 500;

}  // namespace

struct LineReader::Editor {
    EditLine* line = nullptr;
    History* history = nullptr;
    std::string prompt;

    static char* show_prompt(EditLine* from) {
        Editor* self = nullptr;
        el_get(from, EL_CLIENTDATA, &self);
        return self->prompt.data();
    }

    // Completes a word that can be only one, up to what all candidates share otherwise.
    static unsigned char complete(EditLine* from, int /*key*/) {
        const LineInfo* info = el_line(from);
        const std::string_view before(info->buffer, static_cast<size_t>(info->cursor - info->buffer));
        const auto candidates = completions(before);
        if (candidates.empty()) return CC_ERROR;
        const size_t word_start = before.find_last_of(" \t");
        const size_t typed = word_start == std::string_view::npos ? before.size() : before.size() - word_start - 1;
        std::string shared = candidates.front();
        for (const auto& candidate : candidates) {
            size_t same = 0;
            while (same < shared.size() && same < candidate.size() && shared[same] == candidate[same]) ++same;
            shared.resize(same);
        }
        std::string insert = shared.substr(std::min(typed, shared.size()));
        if (candidates.size() == 1) insert += ' ';
        if (insert.empty()) {
            std::string list = "\n";
            for (const auto& candidate : candidates) list += candidate + "  ";
            std::fputs((list + "\n").c_str(), stdout);
            return CC_REDISPLAY;
        }
        return el_insertstr(from, insert.c_str()) == 0 ? CC_REFRESH : CC_ERROR;
    }
};

LineReader::LineReader(Screen& screen) : screen_(screen) {
    if (::isatty(STDIN_FILENO) == 0) return;
    editor_ = std::make_unique<Editor>();
    editor_->line = el_init("diskshadow", stdin, stdout, stderr);
    editor_->history = history_init();
    if (editor_->line == nullptr || editor_->history == nullptr) {
        if (editor_->line != nullptr) el_end(editor_->line);
        if (editor_->history != nullptr) history_end(editor_->history);
        editor_.reset();
        return;
    }
    HistEvent event;
    history(editor_->history, &event, H_SETSIZE, kHistoryLines);
    el_set(editor_->line, EL_CLIENTDATA, editor_.get());
    el_set(editor_->line, EL_PROMPT, &Editor::show_prompt);
    el_set(editor_->line, EL_SIGNAL, 1);
    el_set(editor_->line, EL_EDITOR, "emacs");
    el_set(editor_->line, EL_HIST, &history, editor_->history);
    el_set(editor_->line, EL_ADDFN, "diskshadow-complete", "Completes keywords", &Editor::complete);
    el_set(editor_->line, EL_BIND, "^I", "diskshadow-complete", nullptr);
}

LineReader::~LineReader() {
    if (!editor_) return;
    history_end(editor_->history);
    el_end(editor_->line);
}

std::optional<std::string> LineReader::read(const std::string& prompt) {
    return editor_ ? read_terminal(prompt) : read_pipe(prompt);
}

std::optional<std::string> LineReader::read_terminal(const std::string& prompt) {
    editor_->prompt = prompt;
    int count = 0;
    const char* text = el_gets(editor_->line, &count);
    if (text == nullptr || count <= 0) return std::nullopt;
    std::string line(text, static_cast<size_t>(count));
    if (line.ends_with('\n')) line.pop_back();
    if (!is_comment_or_blank(line)) {
        HistEvent event;
        history(editor_->history, &event, H_ENTER, line.c_str());
    }
    screen_.write_log(prompt + line + "\n");
    return line;
}

std::optional<std::string> LineReader::read_pipe(const std::string& prompt) {
    screen_.write(prompt);
    while (true) {
        const size_t end = buffer_.find('\n');
        if (end != std::string::npos || (ended_ && !buffer_.empty())) {
            std::string line = buffer_.substr(0, end);
            buffer_.erase(0, end == std::string::npos ? end : end + 1);
            if (line.ends_with('\r')) line.pop_back();
            screen_.write(line + "\n");
            return line;
        }
        if (ended_ || buffer_.size() > kMaxLineBytes) return std::nullopt;
        char chunk[4096];
        const ssize_t n = ::read(STDIN_FILENO, chunk, sizeof chunk);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) {
            ended_ = true;
        } else {
            buffer_.append(chunk, static_cast<size_t>(n));
        }
    }
}

}  // namespace umbra::cli::diskshadow

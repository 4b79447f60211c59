#include "cli/diskshadow_text.h"

#include <algorithm>

namespace umbra::cli::diskshadow {

namespace {

char lower(char c) {
    return c >= 'A' && c <= 'Z' ? static_cast<char>(c - 'A' + 'a') : c;
}

bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

bool is_name_character(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           std::string_view("_-.()").find(c) != std::string_view::npos;
}

}  // namespace

bool same_word(std::string_view a, std::string_view b) {
    return std::ranges::equal(a, b, [](char x, char y) { return lower(x) == lower(y); });
}

bool WordLess::operator()(std::string_view a, std::string_view b) const {
    return std::ranges::lexicographical_compare(a, b, [](char x, char y) {
        return static_cast<unsigned char>(lower(x)) < static_cast<unsigned char>(lower(y));
    });
}

std::string lower(std::string_view text) {
    std::string out(text);
    std::ranges::transform(out, out.begin(), [](char c) { return lower(c); });
    return out;
}

std::string trimmed(std::string_view text) {
    while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
    while (!text.empty() && is_blank(text.back())) text.remove_suffix(1);
    return std::string(text);
}

base::Result<std::vector<std::string>> split_lines(std::string_view script) {
    using base::Code;
    if (script.size() > kMaxScriptBytes) return base::fail(Code::kInvalidArgument, "the script is larger than 16 MiB");
    if (script.starts_with("\xff\xfe") || script.starts_with("\xfe\xff")) {
        return base::fail(Code::kInvalidArgument, "the script is in UTF-16; save it as UTF-8 or ASCII");
    }
    if (script.starts_with("\xef\xbb\xbf")) script.remove_prefix(3);
    if (script.find('\0') != std::string_view::npos) {
        return base::fail(Code::kInvalidArgument, "the script contains NUL bytes: it is not a text file");
    }
    std::vector<std::string> lines;
    while (!script.empty()) {
        const size_t end = script.find('\n');
        std::string_view line = script.substr(0, end);
        script.remove_prefix(end == std::string_view::npos ? script.size() : end + 1);
        if (line.ends_with('\r')) line.remove_suffix(1);
        if (line.size() > kMaxLineBytes) {
            return base::fail(Code::kInvalidArgument,
                              "line " + std::to_string(lines.size() + 1) + " of the script is longer than 32 KiB");
        }
        lines.emplace_back(line);
    }
    return lines;
}

base::Result<std::vector<std::string>> split_words(std::string_view line) {
    std::vector<std::string> words;
    bool in_word = false;
    bool quoted = false;
    for (const char c : line) {
        if (c == '"') {
            if (!in_word) words.emplace_back();  // "" is a word: the empty one
            in_word = true;
            quoted = !quoted;
        } else if (is_blank(c) && !quoted) {
            in_word = false;
        } else {
            if (!in_word) words.emplace_back();
            in_word = true;
            words.back().push_back(c);
        }
    }
    if (quoted) return base::fail(base::Code::kInvalidArgument, "a double quote is not closed");
    return words;
}

bool is_comment_or_blank(std::string_view line) {
    const size_t first = line.find_first_not_of(" \t");
    return first == std::string_view::npos || line[first] == '#';
}

base::Result<Expanded> expand(std::string_view line, const Lookup& lookup) {
    Expanded out;
    size_t at = 0;
    while (at < line.size()) {
        if (line[at] != '%') {
            out.line.push_back(line[at++]);
            continue;
        }
        size_t end = at + 1;
        while (end < line.size() && is_name_character(line[end])) ++end;
        if (end == at + 1 || end == line.size() || line[end] != '%') {
            out.line.push_back(line[at++]);
            continue;
        }
        const std::string name(line.substr(at + 1, end - at - 1));
        auto value = lookup(name);
        if (!value) {
            return base::fail(base::Code::kNotFound, "%" + name + "% is neither an alias nor an environment variable");
        }
        out.line += *value;
        out.substitutions.push_back({name, std::move(*value)});
        at = end + 1;
    }
    return out;
}

}  // namespace umbra::cli::diskshadow

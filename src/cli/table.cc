#include "cli/table.h"

#include <fmt/format.h>

#include <algorithm>
#include <ctime>
#include <ostream>

#include "base/check.h"

namespace umbra::cli {

void Table::add(std::vector<std::string> cells) {
    UMBRA_CHECK(cells.size() == columns_.size());
    rows_.push_back(std::move(cells));
}

void Table::print(std::ostream& out) const {
    std::vector<size_t> widths;
    for (size_t i = 0; i < columns_.size(); ++i) {
        size_t width = columns_[i].title.size();
        for (const auto& row : rows_) width = std::max(width, row[i].size());
        widths.push_back(width);
    }
    const auto line = [&](const auto& cell) {
        std::string text;
        for (size_t i = 0; i < columns_.size(); ++i) {
            const std::string& value = cell(i);
            text += columns_[i].align == Align::kLeft ? fmt::format("{:<{}}", value, widths[i])
                                                      : fmt::format("{:>{}}", value, widths[i]);
            if (i + 1 < columns_.size()) text += "  ";
        }
        text.erase(text.find_last_not_of(' ') + 1);
        out << text << "\n";
    };
    line([&](size_t i) -> const std::string& { return columns_[i].title; });
    for (const auto& row : rows_) line([&](size_t i) -> const std::string& { return row[i]; });
}

std::string format_time(int64_t unix_ms) {
    if (unix_ms == 0) return "-";
    const std::time_t seconds = unix_ms / 1000;
    std::tm parts{};
    gmtime_r(&seconds, &parts);
    return fmt::format("{:04}-{:02}-{:02} {:02}:{:02}:{:02}", parts.tm_year + 1900, parts.tm_mon + 1, parts.tm_mday,
                       parts.tm_hour, parts.tm_min, parts.tm_sec);
}

std::string format_seconds(int64_t seconds) {
    if (seconds < 60) return fmt::format("{} s", seconds);
    if (seconds < 3600) return fmt::format("{} min {} s", seconds / 60, seconds % 60);
    return fmt::format("{} h {} min", seconds / 3600, seconds % 3600 / 60);
}

}  // namespace umbra::cli

// Columns of text for people.
#pragma once

#include <cstdint>
#include <iosfwd>
#include <string>
#include <vector>

namespace umbra::cli {

class Table {
public:
    enum class Align : uint8_t { kLeft, kRight };
    struct Column {
        std::string title;
        Align align = Align::kLeft;
    };
    explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}
    /// As many cells as columns.
    void add(std::vector<std::string> cells);
    /// The titles, then the rows; lines have no spaces at their end.
    void print(std::ostream& out) const;

private:
    std::vector<Column> columns_;
    std::vector<std::vector<std::string>> rows_;
};

/// "2026-11-21 06:36:55" in UTC; "-" for 0.
std::string format_time(int64_t unix_ms);
/// "41 s", "3 min 20 s", "2 h 5 min".
std::string format_seconds(int64_t seconds);

}  // namespace umbra::cli

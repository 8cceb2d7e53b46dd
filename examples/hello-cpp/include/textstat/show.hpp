// Showing results: tables, bars, CSV, JSON, differences.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "textstat/count.hpp"

namespace textstat {

using Rows = std::vector<std::vector<std::string>>;

std::string table(const Rows& rows);                               // columns aligned on the left
std::string bars(const std::vector<std::pair<std::string, std::size_t>>& counts, std::size_t width);
Rows read_csv(std::string_view text);
std::string write_csv(const Rows& rows);
std::string json(const Histogram& counts);
std::string quote(std::string_view text);                          // as a JSON string
std::vector<std::string> diff(const std::vector<std::string>& a, const std::vector<std::string>& b);  // "- ", "+ ", "  "
std::string thousands(std::size_t number);                         // 1234567 -> 1,234,567

}  // namespace textstat

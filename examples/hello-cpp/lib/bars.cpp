#include <algorithm>
#include <iomanip>
#include <sstream>

#include "textstat/show.hpp"

namespace textstat {

std::string bars(const std::vector<std::pair<std::string, std::size_t>>& counts, std::size_t width) {
  std::size_t most = 1;
  for (const auto& [name, count] : counts) most = std::max(most, count);
  Rows rows;
  for (const auto& [name, count] : counts) {
    rows.push_back({name, thousands(count), std::string((count * width + most - 1) / most, '#')});
  }
  return table(rows);
}

std::string thousands(std::size_t number) {
  auto digits = std::to_string(number);
  for (auto at = static_cast<int>(digits.size()) - 3; at > 0; at -= 3) digits.insert(static_cast<std::size_t>(at), ",");
  return digits;
}

}  // namespace textstat

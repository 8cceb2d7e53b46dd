#include <algorithm>
#include <iomanip>
#include <sstream>

#include "textstat/show.hpp"

namespace textstat {

std::string table(const Rows& rows) {
  std::map<std::size_t, std::size_t> widths;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::ostringstream out;
  for (const auto& row : rows) {
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i + 1 < row.size()) {
        out << std::left << std::setw(static_cast<int>(widths[i] + 2)) << row[i];
      } else {
        out << row[i];
      }
    }
    out << '\n';
  }
  return out.str();
}

}  // namespace textstat

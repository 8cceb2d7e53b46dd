#include "textstat/find.hpp"
#include "textstat/pattern.hpp"

namespace textstat {

std::vector<Match> grep(const std::vector<std::string>& lines, const std::string& pattern) {
  const Pattern wanted(pattern);
  std::vector<Match> found;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    if (wanted.occurs_in(lines[i])) found.push_back({i + 1, lines[i]});
  }
  return found;
}

}  // namespace textstat

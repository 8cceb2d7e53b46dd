#include <algorithm>
#include <functional>
#include <limits>
#include <numeric>
#include <utility>

#include "textstat/language.hpp"

namespace textstat {

std::size_t edit_distance(std::string_view a, std::string_view b) {
  std::vector<std::size_t> row(b.size() + 1);
  std::iota(row.begin(), row.end(), std::size_t{0});
  for (std::size_t i = 1; i <= a.size(); ++i) {
    auto diagonal = std::exchange(row[0], i);
    for (std::size_t j = 1; j <= b.size(); ++j) {
      const auto replaced = diagonal + (a[i - 1] == b[j - 1] ? 0 : 1);
      diagonal = std::exchange(row[j], std::min({row[j] + 1, row[j - 1] + 1, replaced}));
    }
  }
  return row.back();
}

std::optional<std::string> suggest(const std::string& word, const Words& dictionary) {
  std::optional<std::string> best;
  std::size_t nearest = 3;
  for (const auto& candidate : dictionary) {
    if (const auto distance = edit_distance(word, candidate); distance < nearest) {
      nearest = distance;
      best = candidate;
    }
  }
  return best;
}

}  // namespace textstat

#include <algorithm>
#include <functional>

#include "textstat/count.hpp"

namespace textstat {

Histogram frequencies(const Words& words) {
  Histogram counts;
  for (const auto& word : words) ++counts[lower(word)];
  return counts;
}

std::vector<std::pair<std::string, std::size_t>> top(const Histogram& counts, std::size_t n) {
  std::vector<std::pair<std::string, std::size_t>> sorted(counts.begin(), counts.end());
  std::stable_sort(sorted.begin(), sorted.end(), [](const auto& a, const auto& b) { return a.second > b.second; });
  sorted.resize(std::min(n, sorted.size()));
  return sorted;
}

}  // namespace textstat

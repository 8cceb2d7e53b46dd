#include <deque>
#include <functional>
#include <numeric>

#include "textstat/count.hpp"

namespace textstat {

Histogram ngrams(const Words& words, std::size_t n) {
  Histogram counts;
  std::deque<std::string> window;
  for (const auto& word : words) {
    window.push_back(lower(word));
    if (window.size() > n) window.pop_front();
    if (n > 0 && window.size() == n) ++counts[join({window.begin(), window.end()}, " ")];
  }
  return counts;
}

}  // namespace textstat

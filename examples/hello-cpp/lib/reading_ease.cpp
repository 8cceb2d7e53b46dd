#include <algorithm>
#include <functional>
#include <numeric>

#include "textstat/language.hpp"

namespace textstat {

double reading_ease(const std::string& text) {
  const auto all = words(text);
  const auto parts = sentences(text);
  if (all.empty() || parts.empty()) return 0;
  const auto sounds = std::transform_reduce(all.begin(), all.end(), std::size_t{0}, std::plus<>{},
                                            [](const auto& word) { return syllables(word); });
  const auto count = static_cast<double>(all.size());
  return 206.835 - 1.015 * count / static_cast<double>(parts.size()) - 84.6 * static_cast<double>(sounds) / count;
}

}  // namespace textstat

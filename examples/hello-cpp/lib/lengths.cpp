#include <algorithm>

#include "textstat/count.hpp"
#include "textstat/pattern.hpp"

namespace textstat {

std::map<std::size_t, std::size_t> lengths(const Words& words) {
  static const Pattern continuation("[\x80-\xBF]");  // the later bytes of a UTF-8 character
  std::map<std::size_t, std::size_t> counts;
  for (const auto& word : words) ++counts[continuation.replace(word, "").size()];
  return counts;
}

}  // namespace textstat

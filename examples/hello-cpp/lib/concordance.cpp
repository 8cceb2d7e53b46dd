#include <algorithm>
#include <unordered_map>

#include "textstat/count.hpp"
#include "textstat/language.hpp"

namespace textstat {

std::map<std::string, std::set<std::size_t>> concordance(const std::vector<std::string>& lines) {
  std::unordered_map<std::string, std::set<std::size_t>> places;
  for (std::size_t i = 0; i < lines.size(); ++i) {
    for (const auto& word : words(lines[i])) {
      if (const auto key = lower(word); !is_stopword(key)) places[key].insert(i + 1);
    }
  }
  return {places.begin(), places.end()};
}

}  // namespace textstat

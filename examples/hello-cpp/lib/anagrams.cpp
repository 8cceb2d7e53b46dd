#include <algorithm>
#include <functional>

#include "textstat/count.hpp"

namespace textstat {

std::map<std::string, Words> anagrams(const Words& words) {
  std::map<std::string, std::set<std::string>> groups;
  for (const auto& word : words) {
    auto key = lower(word);
    std::sort(key.begin(), key.end());
    groups[key].insert(lower(word));
  }
  std::map<std::string, Words> result;
  for (const auto& [key, group] : groups) {
    if (group.size() > 1) result.emplace(key, Words(group.begin(), group.end()));
  }
  return result;
}

}  // namespace textstat

#include <algorithm>
#include <functional>

#include "textstat/find.hpp"

namespace textstat {

void Trie::add(std::string_view word) {
  if (word.empty()) {
    word_ = true;
    return;
  }
  auto& next = next_[word[0]];
  if (!next) next = std::make_unique<Trie>();
  next->add(word.substr(1));
}

const Trie* Trie::walk(std::string_view path) const {
  if (path.empty()) return this;
  const auto next = next_.find(path[0]);
  return next == next_.end() ? nullptr : next->second->walk(path.substr(1));
}

bool Trie::contains(std::string_view word) const {
  const Trie* end = walk(word);
  return end != nullptr && end->word_;
}

std::vector<std::string> Trie::starting_with(std::string_view prefix) const {
  std::vector<std::string> found;
  const std::function<void(const Trie&, std::string)> collect = [&](const Trie& node, std::string path) {
    if (node.word_) found.push_back(path);
    for (const auto& [letter, next] : node.next_) collect(*next, path + letter);
  };
  if (const Trie* start = walk(prefix)) collect(*start, std::string(prefix));
  return found;
}

}  // namespace textstat

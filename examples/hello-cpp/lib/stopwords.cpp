#include <algorithm>
#include <string>
#include <unordered_set>

#include "textstat/language.hpp"

namespace textstat {

bool is_stopword(const std::string& word) {
  static const std::unordered_set<std::string> stopwords{
      "a",  "an", "and", "are", "as", "at", "be", "but", "by",  "for",  "from", "has", "have", "he",   "her", "his",
      "i",  "if", "in",  "is",  "it", "its", "not", "of", "on",  "or",   "she",  "so",  "that", "the",  "they", "this",
      "to", "was", "we", "were", "which", "with", "you"};
  return stopwords.count(lower(word)) != 0;
}

}  // namespace textstat

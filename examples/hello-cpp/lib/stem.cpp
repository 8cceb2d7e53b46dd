#include <utility>

#include "textstat/language.hpp"
#include "textstat/pattern.hpp"

namespace textstat {

std::string stem(std::string word) {
  // The first rule that fits is the one that counts.
  static const std::pair<Pattern, const char*> rules[] = {
      {Pattern("^(.{2,})ies$"), "$1y"},          {Pattern("^(.+(ss|sh|ch|x))es$"), "$1"},
      {Pattern("^(.{2,}[^su])s$"), "$1"},        {Pattern(R"(^(.*[aeiouy].*)([^aeiouls])\2(ing|ed)$)"), "$1$2"},
      {Pattern("^(.*[aeiouy].+)(ing|ed|ly)$"), "$1"}};
  for (const auto& [pattern, replacement] : rules) {
    if (pattern.matches(word)) return pattern.replace(word, replacement);
  }
  return word;
}

}  // namespace textstat

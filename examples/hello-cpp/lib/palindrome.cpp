#include <algorithm>

#include "textstat/language.hpp"
#include "textstat/pattern.hpp"

namespace textstat {

bool is_palindrome(std::string_view text) {
  static const Pattern other("[^a-z0-9]+");
  const auto letters = other.replace(lower(text), "");
  return !letters.empty() && std::equal(letters.begin(), letters.end(), letters.rbegin());
}

}  // namespace textstat

#include <algorithm>
#include <cctype>
#include <sstream>

#include "textstat/text.hpp"

namespace textstat {

std::string lower(std::string_view text) {
  std::string result(text);
  std::transform(result.begin(), result.end(), result.begin(), [](unsigned char c) { return std::tolower(c); });
  return result;
}

std::string title_case(std::string_view text) {
  std::istringstream in(lower(text));
  Words result;
  for (std::string word; in >> word;) {
    word[0] = static_cast<char>(std::toupper(static_cast<unsigned char>(word[0])));
    result.push_back(word);
  }
  return join(result, " ");
}

}  // namespace textstat

#include <algorithm>
#include <cctype>
#include <iterator>

#include "textstat/text.hpp"

namespace textstat {

Words words(std::string_view text) {
  const auto letter = [](unsigned char c) { return std::isalnum(c) != 0 || c >= 0x80; };
  Words found;
  for (auto begin = std::find_if(text.begin(), text.end(), letter); begin != text.end();) {
    auto end = begin;
    while (end != text.end() && (letter(*end) || (*end == '\'' && std::next(end) != text.end() && letter(*std::next(end))))) ++end;
    found.emplace_back(begin, end);
    begin = std::find_if(end, text.end(), letter);
  }
  return found;
}

}  // namespace textstat

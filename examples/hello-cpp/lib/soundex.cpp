#include <algorithm>
#include <cctype>
#include <map>

#include "textstat/language.hpp"

namespace textstat {

std::string soundex(std::string_view name) {
  static const std::map<char, char> codes{{'b', '1'}, {'f', '1'}, {'p', '1'}, {'v', '1'}, {'c', '2'}, {'g', '2'},
                                          {'j', '2'}, {'k', '2'}, {'q', '2'}, {'s', '2'}, {'x', '2'}, {'z', '2'},
                                          {'d', '3'}, {'t', '3'}, {'l', '4'}, {'m', '5'}, {'n', '5'}, {'r', '6'}};
  const auto code_of = [](char c) { return codes.count(c) != 0 ? codes.at(c) : '0'; };
  std::string result;
  char last = '0';
  for (char c : lower(name)) {
    if (std::isalpha(static_cast<unsigned char>(c)) == 0) continue;
    const char code = code_of(c);
    if (result.empty()) {
      result += static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
    } else if (code != '0' && code != last) {
      result += code;
    }
    if (c != 'h' && c != 'w') last = code;
  }
  if (!result.empty()) result.resize(4, '0');
  return result;
}

}  // namespace textstat

#include "textstat/pattern.hpp"
#include "textstat/text.hpp"

namespace textstat {

std::string trim(std::string_view text) {
  constexpr std::string_view blanks = " \t\r\n\f\v";
  const auto begin = text.find_first_not_of(blanks);
  return begin == text.npos ? std::string() : std::string(text.substr(begin, text.find_last_not_of(blanks) - begin + 1));
}

std::string squeeze(const std::string& text) {
  static const Pattern run(R"(\s+)");
  return run.replace(text, " ");
}

}  // namespace textstat

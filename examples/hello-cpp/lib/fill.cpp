#include "textstat/find.hpp"
#include "textstat/pattern.hpp"

namespace textstat {

std::string fill(const std::string& text, const std::map<std::string, std::string>& values) {
  static const Pattern field(R"(\{(\w+)\})");
  std::string result;
  std::size_t rest = 0;
  for (const auto& match : field.all_in(text)) {
    result.append(text, rest, match.begin - rest);
    const auto value = values.find(match.groups[1]);
    result += value == values.end() ? match.groups[0] : value->second;
    rest = match.end;
  }
  return result.append(text, rest);
}

}  // namespace textstat

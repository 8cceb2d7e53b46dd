#include <utility>

#include "textstat/pattern.hpp"
#include "textstat/text.hpp"

namespace textstat {

std::string strip_markdown(const std::string& text) {
  static const std::pair<Pattern, const char*> rules[] = {
      {Pattern(R"((^|\n)#+ +)"), "$1"},
      {Pattern(R"(!?\[([^\]]*)\]\([^)]*\))"), "$1"},
      {Pattern(R"(\*\*?([^*]+)\*\*?)"), "$1"},
      {Pattern("`([^`]*)`"), "$1"}};
  auto result = text;
  for (const auto& [pattern, plain] : rules) result = pattern.replace(result, plain);
  return result;
}

}  // namespace textstat

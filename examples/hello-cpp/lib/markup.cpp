#include <utility>

#include "textstat/pattern.hpp"
#include "textstat/text.hpp"

namespace textstat {

std::string strip_markup(const std::string& html) {
  static const Pattern tag("<[^>]*>");
  static const std::pair<Pattern, const char*> entities[] = {
      {Pattern("&lt;"), "<"}, {Pattern("&gt;"), ">"}, {Pattern("&quot;"), "\""}, {Pattern("&amp;"), "&"}};
  auto text = tag.replace(html, "");
  for (const auto& [entity, character] : entities) text = entity.replace(text, character);
  return text;
}

}  // namespace textstat

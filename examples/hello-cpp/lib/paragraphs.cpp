#include <algorithm>
#include <functional>
#include <utility>

#include "textstat/text.hpp"

namespace textstat {

std::vector<std::string> paragraphs(std::string_view text) {
  std::vector<std::string> found;
  std::string current;
  for (const auto& line : lines(text)) {
    if (trim(line).empty()) {
      if (!current.empty()) found.push_back(std::move(current));
      current.clear();
    } else {
      current += (current.empty() ? "" : " ") + trim(line);
    }
  }
  if (!current.empty()) found.push_back(std::move(current));
  return found;
}

}  // namespace textstat

#include <iterator>

#include "textstat/find.hpp"
#include "textstat/pattern.hpp"

namespace textstat {

std::vector<std::string> links(const std::string& text) {
  static const Pattern link(R"((https?|ftp)://[^\s<>"')\]]*[^\s<>"')\].,;:!?])");
  std::vector<std::string> found;
  for (const auto& match : link.all_in(text)) found.push_back(match.groups[0]);
  return found;
}

std::vector<std::string> addresses(const std::string& text) {
  static const Pattern address(R"([\w.+-]+@[\w-]+(\.[\w-]+)+)");
  std::vector<std::string> found;
  for (const auto& match : address.all_in(text)) found.push_back(match.groups[0]);
  return found;
}

}  // namespace textstat

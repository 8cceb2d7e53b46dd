#include <algorithm>
#include <numeric>
#include <sstream>

#include "textstat/text.hpp"

namespace textstat {

std::vector<std::string> split(std::string_view text, char separator) {
  std::vector<std::string> parts;
  std::size_t begin = 0;
  for (auto end = text.find(separator); end != text.npos; end = text.find(separator, begin)) {
    parts.emplace_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  parts.emplace_back(text.substr(begin));
  return parts;
}

std::string join(const std::vector<std::string>& parts, std::string_view separator) {
  std::ostringstream out;
  for (std::size_t i = 0; i < parts.size(); ++i) out << (i == 0 ? "" : separator) << parts[i];
  return out.str();
}

}  // namespace textstat

#include <algorithm>
#include <iomanip>
#include <sstream>

#include "textstat/show.hpp"

namespace textstat {

std::string quote(std::string_view text) {
  std::ostringstream out;
  out << '"' << std::hex << std::setfill('0');
  for (unsigned char c : text) {
    if (c == '"' || c == '\\') {
      out << '\\' << c;
    } else if (c < 0x20) {
      out << "\\u" << std::setw(4) << static_cast<int>(c);
    } else {
      out << c;
    }
  }
  out << '"';
  return out.str();
}

std::string json(const Histogram& counts) {
  std::vector<std::string> members;
  for (const auto& [name, count] : counts) members.push_back(quote(name) + ": " + std::to_string(count));
  return "{" + join(members, ", ") + "}";
}

}  // namespace textstat

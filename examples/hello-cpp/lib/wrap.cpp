#include <iterator>
#include <sstream>

#include "textstat/text.hpp"

namespace textstat {

std::string wrap(std::string_view text, std::size_t width) {
  std::istringstream in{std::string(text)};
  std::ostringstream out;
  std::size_t column = 0;
  for (std::istream_iterator<std::string> word(in), end; word != end; ++word) {
    if (column > 0 && column + 1 + word->size() > width) {
      out << '\n';
      column = 0;
    } else if (column > 0) {
      out << ' ';
      ++column;
    }
    out << *word;
    column += word->size();
  }
  return out.str();
}

}  // namespace textstat

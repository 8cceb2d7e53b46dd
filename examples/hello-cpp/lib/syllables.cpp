#include "textstat/language.hpp"
#include "textstat/pattern.hpp"

namespace textstat {

std::size_t syllables(std::string_view word) {
  static const Pattern group("[aeiouy]+");
  static const Pattern silent("[^aeiouyl]e$");  // a last e, as in "make", but not in "table"
  const auto text = lower(word);
  const auto groups = group.all_in(text).size() - (silent.occurs_in(text) ? 1 : 0);
  return groups > 0 ? groups : 1;
}

}  // namespace textstat

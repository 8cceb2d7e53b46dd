#include "textstat/pattern.hpp"

#include <regex>

namespace textstat {

struct Pattern::Compiled {
  std::regex regex;
};

Pattern::Pattern(const std::string& expression) : compiled_(new Compiled{std::regex(expression)}) {}
Pattern::Pattern(Pattern&&) noexcept = default;
Pattern::~Pattern() = default;

bool Pattern::matches(const std::string& text) const { return std::regex_match(text, compiled_->regex); }
bool Pattern::occurs_in(const std::string& text) const { return std::regex_search(text, compiled_->regex); }

std::vector<Pattern::Found> Pattern::all_in(const std::string& text) const {
  std::vector<Found> found;
  for (std::sregex_iterator match(text.begin(), text.end(), compiled_->regex), end; match != end; ++match) {
    const auto begin = static_cast<std::size_t>(match->position());
    found.push_back({begin, begin + static_cast<std::size_t>(match->length()), {match->begin(), match->end()}});
  }
  return found;
}

std::string Pattern::replace(const std::string& text, const std::string& by) const {
  return std::regex_replace(text, compiled_->regex, by);
}

}  // namespace textstat

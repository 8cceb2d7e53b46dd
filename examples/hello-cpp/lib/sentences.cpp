#include "textstat/pattern.hpp"
#include "textstat/text.hpp"

namespace textstat {

std::vector<std::string> sentences(const std::string& text) {
  static const Pattern sentence(R"([^.!?\s][^.!?]*[.!?]*)");
  std::vector<std::string> found;
  for (const auto& match : sentence.all_in(text)) {
    found.push_back(squeeze(trim(match.groups[0])));
  }
  return found;
}

}  // namespace textstat

#include "report.hpp"

#include <iomanip>
#include <sstream>

#include "textstat/count.hpp"
#include "textstat/find.hpp"
#include "textstat/language.hpp"
#include "textstat/show.hpp"

using namespace textstat;

std::string report(const std::string& text) {
  const auto plain = strip_markdown(text);
  const auto all = words(plain);
  Words meaning;
  for (const auto& word : all) {
    if (!is_stopword(word)) meaning.push_back(stem(lower(word)));
  }
  std::vector<double> sizes;
  for (const auto& sentence : sentences(plain)) sizes.push_back(static_cast<double>(words(sentence).size()));
  const auto rounded = [](double value) {
    std::ostringstream out;
    out << std::fixed << std::setprecision(1) << value;
    return out.str();
  };
  return table({{"lines", thousands(lines(text).size())},
                {"words", thousands(all.size())},
                {"different words", thousands(frequencies(all).size())},
                {"sentences", thousands(sizes.size())},
                {"words a sentence", rounded(mean(sizes)) + " (median " + rounded(median(sizes)) + ")"},
                {"reading ease", rounded(reading_ease(plain))},
                {"bits a byte", rounded(entropy(text))},
                {"links", thousands(links(text).size())}}) +
         '\n' + bars(top(frequencies(meaning), 10), 40);
}

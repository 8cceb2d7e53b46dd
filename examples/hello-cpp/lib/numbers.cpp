#include "textstat/find.hpp"
#include "textstat/pattern.hpp"

namespace textstat {

std::vector<double> numbers(const std::string& text) {
  static const Pattern number(R"([-+]?(\d+(\.\d*)?|\.\d+)([eE][-+]?\d+)?)");
  std::vector<double> found;
  for (const auto& match : number.all_in(text)) {
    found.push_back(std::stod(match.groups[0]));
  }
  return found;
}

unsigned roman(const std::string& numeral) {
  static const Pattern shape("(M*)(CM|CD|D?C{0,3})(XC|XL|L?X{0,3})(IX|IV|V?I{0,3})");
  static const std::map<char, unsigned> values{{'M', 1000}, {'D', 500}, {'C', 100}, {'L', 50}, {'X', 10}, {'V', 5}, {'I', 1}};
  if (!shape.matches(numeral)) return 0;
  unsigned sum = 0, last = 0;
  for (auto digit = numeral.rbegin(); digit != numeral.rend(); ++digit) {
    const unsigned value = values.at(*digit);
    sum = value < last ? sum - value : sum + value;
    last = value;
  }
  return sum;
}

}  // namespace textstat

#include <algorithm>
#include <functional>

#include "textstat/show.hpp"

namespace textstat {

// The longest common subsequence, by the table of its lengths.
std::vector<std::string> diff(const std::vector<std::string>& a, const std::vector<std::string>& b) {
  std::vector<std::vector<std::size_t>> longest(a.size() + 1, std::vector<std::size_t>(b.size() + 1));
  for (auto i = a.size(); i-- > 0;) {
    for (auto j = b.size(); j-- > 0;) {
      longest[i][j] = a[i] == b[j] ? longest[i + 1][j + 1] + 1 : std::max(longest[i + 1][j], longest[i][j + 1]);
    }
  }
  std::vector<std::string> result;
  for (std::size_t i = 0, j = 0; i < a.size() || j < b.size();) {
    if (i < a.size() && j < b.size() && a[i] == b[j]) {
      result.push_back("  " + a[i]);
      ++i, ++j;
    } else if (j == b.size() || (i < a.size() && longest[i + 1][j] >= longest[i][j + 1])) {
      result.push_back("- " + a[i++]);
    } else {
      result.push_back("+ " + b[j++]);
    }
  }
  return result;
}

}  // namespace textstat

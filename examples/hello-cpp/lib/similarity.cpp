#include <algorithm>
#include <iterator>
#include <set>
#include <string>

#include "textstat/language.hpp"

namespace textstat {

double similarity(const Words& a, const Words& b) {
  const std::set<std::string> left(a.begin(), a.end()), right(b.begin(), b.end());
  Words both, any;
  std::set_intersection(left.begin(), left.end(), right.begin(), right.end(), std::back_inserter(both));
  std::set_union(left.begin(), left.end(), right.begin(), right.end(), std::back_inserter(any));
  return any.empty() ? 1 : static_cast<double>(both.size()) / static_cast<double>(any.size());
}

}  // namespace textstat

#include <algorithm>
#include <array>
#include <cmath>
#include <complex>
#include <numeric>

#include "textstat/count.hpp"

namespace textstat {

double entropy(std::string_view text) {
  std::array<std::size_t, 256> counts{};
  for (unsigned char c : text) ++counts[c];
  double bits = 0;
  for (auto count : counts) {
    if (count == 0) continue;
    const double p = static_cast<double>(count) / static_cast<double>(text.size());
    bits -= p * std::log2(p);
  }
  return bits;
}

double mean(const std::vector<double>& values) {
  return values.empty() ? 0 : std::accumulate(values.begin(), values.end(), 0.0) / static_cast<double>(values.size());
}

double median(std::vector<double> values) {
  if (values.empty()) return 0;
  const auto half = values.size() / 2;
  std::sort(values.begin(), values.end());
  return values.size() % 2 != 0 ? values[half] : (values[half - 1] + values[half]) / 2;
}

double deviation(const std::vector<double>& values) {
  const double middle = mean(values);
  std::vector<double> squares;
  for (double value : values) squares.push_back(std::norm(std::complex<double>(value - middle)));
  return std::sqrt(mean(squares));
}

}  // namespace textstat

#include "textstat/find.hpp"
#include "textstat/pattern.hpp"

namespace textstat {
namespace {

bool exists(const Date& date) {
  static constexpr int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
  const bool leap = (date.year % 4 == 0 && date.year % 100 != 0) || date.year % 400 == 0;
  return date.month >= 1 && date.month <= 12 && date.day >= 1 &&
         date.day <= days[date.month - 1] + (leap && date.month == 2 ? 1 : 0);
}

}  // namespace

std::vector<Date> dates(const std::string& text) {
  static const Pattern date(R"(\b(\d{4})-(\d{2})-(\d{2})\b)");
  std::vector<Date> found;
  for (const auto& match : date.all_in(text)) {
    const Date read{std::stoi(match.groups[1]), std::stoi(match.groups[2]), std::stoi(match.groups[3])};
    if (exists(read)) found.push_back(read);
  }
  return found;
}

}  // namespace textstat

// Finding things in a text: patterns, addresses, dates, numbers.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace textstat {

struct Match {
  std::size_t line;  // from 1
  std::string text;
};

struct Date {
  int year, month, day;
};

std::vector<Match> grep(const std::vector<std::string>& lines, const std::string& pattern);
std::vector<std::string> links(const std::string& text);
std::vector<std::string> addresses(const std::string& text);       // of electronic mail
std::vector<Date> dates(const std::string& text);                  // YYYY-MM-DD, where there is such a day
std::vector<double> numbers(const std::string& text);
bool glob(std::string_view pattern, std::string_view name);        // * and ? only
unsigned roman(const std::string& numeral);                        // 0 where it is none
std::string fill(const std::string& text, const std::map<std::string, std::string>& values);  // {name} -> its value

// Words by their beginning.
class Trie {
 public:
  void add(std::string_view word);
  bool contains(std::string_view word) const;
  std::vector<std::string> starting_with(std::string_view prefix) const;

 private:
  const Trie* walk(std::string_view path) const;
  std::map<char, std::unique_ptr<Trie>> next_;
  bool word_ = false;
};

}  // namespace textstat

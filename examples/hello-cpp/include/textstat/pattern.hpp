// Regular expressions (ECMAScript's), without the seconds that <regex> costs in every unit that includes it.
#pragma once

#include <memory>
#include <string>
#include <vector>

namespace textstat {

class Pattern {
 public:
  struct Found {
    std::size_t begin, end;           // in the text
    std::vector<std::string> groups;  // the first is all of it
  };

  explicit Pattern(const std::string& expression);
  Pattern(Pattern&&) noexcept;
  ~Pattern();

  bool matches(const std::string& text) const;  // the whole of it
  bool occurs_in(const std::string& text) const;
  std::vector<Found> all_in(const std::string& text) const;
  std::string replace(const std::string& text, const std::string& by) const;  // every one; $1 is the first group

 private:
  struct Compiled;
  std::unique_ptr<const Compiled> compiled_;
};

}  // namespace textstat

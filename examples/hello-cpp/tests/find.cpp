#include "textstat/find.hpp"

#include "check.hpp"

using namespace textstat;

TEST(grep) { CHECK(grep({"one", "two", "tree"}, "^t").front().line == 2); }
TEST(links) { CHECK((links("see (http://a.example/b), and ftp://c.") == std::vector<std::string>{"http://a.example/b", "ftp://c"})); }
TEST(addresses) { CHECK(addresses("to me@site.example.").front() == "me@site.example"); }
TEST(dates) {
  CHECK(dates("2024-02-29, 2023-02-29, 1999-12-31").size() == 2);
  CHECK(dates("12024-01-01").empty());
}
TEST(numbers) { CHECK((numbers("-1.5 and 2e3 of .25") == std::vector<double>{-1.5, 2000, .25})); }
TEST(roman) {
  CHECK(roman("MCMXCIV") == 1994);
  CHECK(roman("IIII") == 0);
}
TEST(glob) {
  CHECK(glob("*.c?p", "a.cpp"));
  CHECK(!glob("*.c", "a.cpp"));
}
TEST(fill) { CHECK(fill("{a}-{b}", {{"a", "1"}}) == "1-{b}"); }
TEST(trie) {
  Trie trie;
  for (const auto* word : {"to", "tea", "ten"}) trie.add(word);
  CHECK(trie.contains("tea") && !trie.contains("te"));
  CHECK((trie.starting_with("te") == std::vector<std::string>{"tea", "ten"}));
}

#include "textstat/count.hpp"

#include <cmath>

#include "check.hpp"

using namespace textstat;

TEST(frequencies) { CHECK((frequencies({"a", "B", "b"}) == Histogram{{"a", 1}, {"b", 2}})); }
TEST(ngrams) { CHECK((ngrams({"a", "b", "a", "b"}, 2) == Histogram{{"a b", 2}, {"b a", 1}})); }
TEST(lengths) { CHECK((lengths({"a", "b\xC3\xA9"}) == std::map<std::size_t, std::size_t>{{1, 1}, {2, 1}})); }
TEST(top) { CHECK(top({{"a", 1}, {"b", 3}, {"c", 2}}, 2).back().first == "c"); }
TEST(concordance) { CHECK((concordance({"the cat", "a Cat"}).at("cat") == std::set<std::size_t>{1, 2})); }
TEST(anagrams) { CHECK((anagrams({"tea", "eat", "cup"}) == std::map<std::string, Words>{{"aet", {"eat", "tea"}}})); }
TEST(moments) {
  CHECK(std::abs(entropy("aabb") - 1) < 1e-9);
  CHECK(std::abs(median({3, 1, 2, 4}) - 2.5) < 1e-9);
  CHECK(std::abs(deviation({2, 4, 4, 4, 5, 5, 7, 9}) - 2) < 1e-9);
}

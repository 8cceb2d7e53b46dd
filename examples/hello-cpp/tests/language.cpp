#include "textstat/language.hpp"

#include "check.hpp"

using namespace textstat;

TEST(syllables) {
  CHECK(syllables("make") == 1);
  CHECK(syllables("table") == 2);
  CHECK(syllables("nth") == 1);
}
TEST(reading_ease) { CHECK(reading_ease("The cat sat.") > reading_ease("Incomprehensibility characterises documentation.")); }
TEST(soundex) {
  CHECK(soundex("Robert") == "R163");
  CHECK(soundex("Tymczak") == "T522");
}
TEST(stem) {
  CHECK(stem("cities") == "city");
  CHECK(stem("running") == "run");
  CHECK(stem("boxes") == "box");
  CHECK(stem("glass") == "glass");
}
TEST(distance) {
  CHECK(edit_distance("kitten", "sitting") == 3);
  CHECK(suggest("comiler", {"computer", "compiler"}) == "compiler");
  CHECK(!suggest("cat", {"elephant"}));
}
TEST(similarity) { CHECK(similarity({"a", "b"}, {"b", "c", "b"}) * 3 == 1); }
TEST(palindrome) {
  CHECK(is_palindrome("A man, a plan, a canal: Panama!"));
  CHECK(!is_palindrome("textstat"));
}

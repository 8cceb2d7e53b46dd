#include "textstat/show.hpp"

#include "check.hpp"

using namespace textstat;

TEST(table) { CHECK(table({{"a", "b"}, {"ccc", "d"}}) == "a    b\nccc  d\n"); }
TEST(bars) { CHECK(bars({{"a", 2}, {"b", 1}}, 4) == "a  2  ####\nb  1  ##\n"); }
TEST(thousands) {
  CHECK(thousands(1234567) == "1,234,567");
  CHECK(thousands(999) == "999");
}
TEST(csv) {
  const Rows rows{{"a", "b,c"}, {"say \"x\"", "", "line\nend"}};
  CHECK(read_csv(write_csv(rows)) == rows);
}
TEST(json) { CHECK(json({{"a\"", 1}, {"b\n", 2}}) == R"({"a\"": 1, "b\u000a": 2})"); }
TEST(diff) { CHECK((diff({"a", "b", "c"}, {"a", "c", "d"}) == Words{"  a", "- b", "  c", "+ d"})); }

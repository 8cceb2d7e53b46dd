#include "textstat/text.hpp"

#include "check.hpp"

using namespace textstat;

TEST(words) {
  CHECK((words("It's 1 text -- isn't it?") == Words{"It's", "1", "text", "isn't", "it"}));
  CHECK(words(" .. ").empty());
}
TEST(lines) { CHECK((lines("a\r\n\nb") == Words{"a", "", "b"})); }
TEST(sentences) { CHECK((sentences("One. Two\n  three!  Four") == Words{"One.", "Two three!", "Four"})); }
TEST(paragraphs) { CHECK((paragraphs("a\nb\n \n\nc\n") == Words{"a b", "c"})); }
TEST(split_and_join) {
  CHECK((split("a,,b", ',') == Words{"a", "", "b"}));
  CHECK(join(split("a,,b", ','), ",") == "a,,b");
}
TEST(casing) { CHECK(title_case("the CAT  sat") == "The Cat Sat"); }
TEST(markup) { CHECK(strip_markup("<b>1 &lt; 2</b> &amp;lt;") == "1 < 2 &lt;"); }
TEST(markdown) { CHECK(strip_markdown("# A **b** [c](d) `e`") == "A b c e"); }
TEST(wrap) { CHECK(wrap("aa bb cc dd", 5) == "aa bb\ncc dd"); }

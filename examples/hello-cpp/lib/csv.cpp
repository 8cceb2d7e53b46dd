#include <algorithm>
#include <utility>

#include "textstat/pattern.hpp"
#include "textstat/show.hpp"

namespace textstat {

Rows read_csv(std::string_view text) {
  Rows rows;
  std::string field;
  bool quoted = false, pending = false;
  const auto end_field = [&] { rows.back().push_back(std::exchange(field, {})); };
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (!std::exchange(pending, true)) rows.emplace_back();
    if (quoted) {
      if (text[i] != '"') {
        field += text[i];
      } else if (i + 1 < text.size() && text[i + 1] == '"') {
        field += text[++i];
      } else {
        quoted = false;
      }
    } else if (text[i] == '"') {
      quoted = true;
    } else if (text[i] == ',') {
      end_field();
    } else if (text[i] == '\n') {
      end_field();
      pending = false;
    } else if (text[i] != '\r') {
      field += text[i];
    }
  }
  if (pending) end_field();
  return rows;
}

std::string write_csv(const Rows& rows) {
  static const Pattern special("[\",\r\n]"), mark("\"");
  std::string text;
  for (const auto& row : rows) {
    std::vector<std::string> fields;
    for (const auto& field : row) {
      fields.push_back(special.occurs_in(field) ? '"' + mark.replace(field, "\"\"") + '"' : field);
    }
    text += join(fields, ",") + "\n";
  }
  return text;
}

}  // namespace textstat

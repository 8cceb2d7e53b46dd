// Taking a text apart, and the basic operations on its words.
#pragma once

#include <string>
#include <string_view>
#include <vector>

namespace textstat {

using Words = std::vector<std::string>;

Words words(std::string_view text);                                // runs of letters, digits and inner apostrophes
std::vector<std::string> lines(std::string_view text);             // without their line ends
std::vector<std::string> sentences(const std::string& text);       // up to . ! or ?
std::vector<std::string> paragraphs(std::string_view text);        // between empty lines
std::vector<std::string> split(std::string_view text, char separator);
std::string join(const std::vector<std::string>& parts, std::string_view separator);
std::string trim(std::string_view text);
std::string lower(std::string_view text);                          // ASCII only
std::string title_case(std::string_view text);
std::string squeeze(const std::string& text);                      // every run of white space becomes one blank
std::string strip_markup(const std::string& html);                 // without <tags> and with the basic entities resolved
std::string strip_markdown(const std::string& text);               // headings, emphasis, code and links become plain text
std::string wrap(std::string_view text, std::size_t width);        // greedy line breaking

}  // namespace textstat

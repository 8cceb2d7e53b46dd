// What looks at words as language: sounds, stems, readability, likeness.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "textstat/text.hpp"

namespace textstat {

bool is_stopword(const std::string& word);
std::size_t syllables(std::string_view word);                      // an estimate for English
double reading_ease(const std::string& text);                      // Flesch: 100 is very easy, 0 very hard
std::string soundex(std::string_view name);
std::string stem(std::string word);                                // a light English stemmer: plurals, -ing, -ed, -ly
std::size_t edit_distance(std::string_view a, std::string_view b); // Levenshtein
double similarity(const Words& a, const Words& b);                 // Jaccard: 1 is the same set of words
bool is_palindrome(std::string_view text);                         // letters and digits only
std::optional<std::string> suggest(const std::string& word, const Words& dictionary);  // the nearest, at most two edits away

}  // namespace textstat

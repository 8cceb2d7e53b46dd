// Counting: frequencies and what follows from them.
#pragma once

#include <cstddef>
#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "textstat/text.hpp"

namespace textstat {

using Histogram = std::map<std::string, std::size_t>;

Histogram frequencies(const Words& words);
Histogram ngrams(const Words& words, std::size_t n);               // n words each, joined by a blank
std::map<std::size_t, std::size_t> lengths(const Words& words);    // length -> how many words have it
std::vector<std::pair<std::string, std::size_t>> top(const Histogram& counts, std::size_t n);
std::map<std::string, std::set<std::size_t>> concordance(const std::vector<std::string>& lines);  // word -> line numbers from 1
std::map<std::string, Words> anagrams(const Words& words);         // sorted letters -> the words made of them, two or more
double entropy(std::string_view text);                             // bits a byte
double mean(const std::vector<double>& values);
double median(std::vector<double> values);
double deviation(const std::vector<double>& values);               // of the population

}  // namespace textstat

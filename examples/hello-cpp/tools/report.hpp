#pragma once

#include <string>

std::string report(const std::string& text);  // what textstat prints about a text

// textstat [FILE...]: counts and describes a text (standard input without a file).
#include <fstream>
#include <iostream>
#include <iterator>

#include "report.hpp"

int main(int argc, char** argv) {
  std::string text;
  const auto read = [&text](std::istream& in) { text.append(std::istreambuf_iterator<char>(in), {}); };
  if (argc < 2) read(std::cin);
  for (int i = 1; i < argc; ++i) {
    std::ifstream file(argv[i], std::ios::binary);
    if (!file) {
      std::cerr << "textstat: " << argv[i] << ": can't be read\n";
      return 1;
    }
    read(file);
  }
  std::cout << report(text);
}

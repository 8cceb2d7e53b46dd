#include <iostream>

#include "check.hpp"

static int failures = 0;

std::map<std::string, std::function<void()>>& tests() {
  static std::map<std::string, std::function<void()>> all;  // here, as units register before main in any order
  return all;
}

void check(bool ok, const char* condition, const char* file, int line) {
  if (ok) return;
  std::cerr << file << ':' << line << ": " << condition << '\n';
  ++failures;
}

int main() {
  for (const auto& [name, body] : tests()) body();
  std::cout << tests().size() << " tests, " << failures << " failures\n";
  return failures == 0 ? 0 : 1;
}

// The smallest of test frameworks: CHECK(condition) inside TEST(name) { ... }.
#pragma once

#include <functional>
#include <map>
#include <string>

std::map<std::string, std::function<void()>>& tests();
void check(bool ok, const char* condition, const char* file, int line);

struct Registered {
  Registered(const char* name, std::function<void()> body) { tests()[name] = std::move(body); }
};

#define CHECK(condition) check((condition), #condition, __FILE__, __LINE__)
#define TEST(name)                                        \
  static void test_##name();                              \
  static const Registered registered_##name{#name, test_##name}; \
  static void test_##name()

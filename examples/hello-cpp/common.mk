# What all directories share: flags, and how a unit is compiled with its dependencies written beside the object.
CXXFLAGS ?= -O2
CXXFLAGS += -std=c++17 -Wall -Wextra
CPPFLAGS += -I../include -MMD -MP
ARFLAGS = rcs

sources := $(wildcard *.cpp)
objects := $(sources:.cpp=.o)

all:

clean:
	$(RM) *.o *.d $(made)

.PHONY: all clean
-include $(objects:.o=.d)

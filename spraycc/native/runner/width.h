/* The width of a build tool that runs without SprayCC. */
#ifndef SPRAYCC_RUNNER_WIDTH_H
#define SPRAYCC_RUNNER_WIDTH_H

/* Lowers each -j of make, ninja, cargo, ctest or cmake --build to the number of local slots. Does nothing below a make
 * with a jobserver, whose tokens limit the tool. */
void cap_width(char **argv);

#endif

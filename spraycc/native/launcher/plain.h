/* The build tool without SprayCC. */
#ifndef SPRAYCC_LAUNCHER_PLAIN_H
#define SPRAYCC_LAUNCHER_PLAIN_H

/* Says why SprayCC does not run, and executes the build tool of this command line (the words after "spraycc"), with a
 * -j of at most the local slots. Without a tool in the command line, ends with status 2. */
_Noreturn void run_plain(const char *why, char **words);

#endif

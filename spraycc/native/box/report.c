/* The report to the executor: one line of text, or two.
 *
 *   setup STAGE ERRNO                              no command was started
 *   exec ERRNO                                     the program could not be executed
 *   ended CODE SIGNAL USER_US SYSTEM_US PEAK_KIB   the command ran
 *   kept                                           after it: no file of the overlays is open (serve.c)
 *
 * Without --report, the two failures go to stderr in words, for a user who runs spraycc-box by hand.
 */
#include "box.h"

#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "../common/output.h"
#include "../common/text.h"

enum { EXIT_NOT_STARTED = 125, LINE_BYTES = 256 };

static int report_fd = -1;

/* Writes the kind, the stage (unless it is NULL) and the numbers as one line. A report that can't be written is lost:
 * the executor has closed the pipe. */
static void report(const char *kind, const char *stage, const uint64_t *numbers, size_t count)
{
	char line[LINE_BYTES];
	char *last = line + sizeof line - 1;
	char *at = append(line, last, kind);
	if (stage)
		at = append(append(at, last, " "), last, stage);
	for (size_t i = 0; i < count; i++)
		at = append_number(append(at, last, " "), last, numbers[i]);
	at = append(at, last, "\n");
	(void)write_all(report_fd, line, (size_t)(at - line));
}

static _Noreturn void fail(const char *kind, const char *stage, int error)
{
	if (report_fd >= 0)
		report(kind, stage, (uint64_t[]){(uint64_t)error}, 1);
	else
		say("spraycc-box: ", stage ? stage : kind, ": ", strerror(error), (char *)0);
	_exit(EXIT_NOT_STARTED);
}

/* From now on reports go to fd. */
void report_to(int fd)
{
	report_fd = fd;
}

/* The command could not be prepared. */
_Noreturn void fail_setup(const char *stage, int error)
{
	fail("setup", stage, error);
}

/* All was prepared, but the program is missing on this host, or can't be executed. */
_Noreturn void fail_exec(int error)
{
	fail("exec", NULL, error);
}

void report_ended(const struct outcome *outcome)
{
	int status = outcome->status;
	const uint64_t numbers[] = {
		WIFEXITED(status) ? (uint64_t)WEXITSTATUS(status) : 0,
		WIFSIGNALED(status) ? (uint64_t)WTERMSIG(status) : 0,
		outcome->user_us,
		outcome->system_us,
		outcome->peak_rss_kib,
	};
	if (report_fd >= 0)
		report("ended", NULL, numbers, sizeof numbers / sizeof *numbers);
}

void report_kept(void)
{
	report("kept", NULL, NULL, 0);
}

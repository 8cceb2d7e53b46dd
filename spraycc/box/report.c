/* The report: one line of text, written once.
 *
 *   setup STAGE ERRNO                              nothing was started
 *   exec ERRNO                                     the program could not be executed
 *   ended CODE SIGNAL USER_US SYSTEM_US PEAK_KIB   it ran
 *
 * Without --report the two failures go to stderr in words, for one who runs this by hand.
 */
#include "box.h"

#include <errno.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

enum { EXIT_NOT_STARTED = 125, LINE_BYTES = 256 };

static int report_fd = -1;

struct line {
	char text[LINE_BYTES];
	size_t length;
};

static void put(struct line *line, const char *text)
{
	for (; *text != '\0' && line->length < sizeof line->text; text++)
		line->text[line->length++] = *text;
}

static void put_number(struct line *line, long long number)
{
	char digits[24];
	char *at = digits + sizeof digits - 1;
	bool negative = number < 0;
	unsigned long long rest = negative ? 0ULL - (unsigned long long)number : (unsigned long long)number;

	*at = '\0';
	do
		*--at = (char)('0' + rest % 10);
	while ((rest /= 10) != 0);
	if (negative)
		*--at = '-';
	put(line, " ");
	put(line, at);
}

static void write_line(int fd, const struct line *line)
{
	const char *at = line->text;
	size_t left = line->length;

	while (left > 0) {
		ssize_t n = write(fd, at, left);
		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return; /* nobody is there to be told */
		at += n;
		left -= (size_t)n;
	}
}

static _Noreturn void fail(const char *kind, const char *stage, int error)
{
	struct line line = {.length = 0};

	if (report_fd >= 0) {
		put(&line, kind);
		if (stage[0] != '\0') {
			put(&line, " ");
			put(&line, stage);
		}
		put_number(&line, error);
		put(&line, "\n");
		write_line(report_fd, &line);
	} else {
		put(&line, "spraycc-box: ");
		put(&line, stage[0] != '\0' ? stage : kind);
		put(&line, ": ");
		put(&line, strerror(error));
		put(&line, "\n");
		write_line(STDERR_FILENO, &line);
	}
	_exit(EXIT_NOT_STARTED);
}

/* From now on reports go to fd. */
void report_to(int fd)
{
	report_fd = fd;
}

/* The command could not be brought to its start. */
_Noreturn void fail_setup(const char *stage, int error)
{
	fail("setup", stage, error);
}

/* All was ready, but there is no such program here, or it can't be executed. */
_Noreturn void fail_exec(int error)
{
	fail("exec", "", error);
}

void report_ended(const struct outcome *outcome)
{
	struct line line = {.length = 0};

	if (report_fd < 0)
		return;
	put(&line, "ended");
	put_number(&line, WIFEXITED(outcome->status) ? WEXITSTATUS(outcome->status) : 0);
	put_number(&line, WIFSIGNALED(outcome->status) ? WTERMSIG(outcome->status) : 0);
	put_number(&line, outcome->user_us);
	put_number(&line, outcome->system_us);
	put_number(&line, outcome->peak_rss_kib);
	put(&line, "\n");
	write_line(report_fd, &line);
}

/* Stands in a runtime's place and notes how long each of its calls takes.
 *
 * Installed as DIR/NAME it runs DIR/NAME.real with the arguments that it was given, appends a line with the
 * nanoseconds and the arguments to DIR/NAME.calls, and ends as that has ended. It is between the engine and the
 * runtime for the whole call and starts nothing else, so what it notes is the runtime's own time: from its exec to its
 * end. An engine may start it with an empty environment: so all it knows, it knows by its own path.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <spawn.h>
#include <stdio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static long now(void)
{
	struct timespec time;
	clock_gettime(CLOCK_MONOTONIC, &time);
	return time.tv_sec * 1000000000L + time.tv_nsec;
}

static void note(const char *file, long took, char **arguments)
{
	char line[4096];
	int length = snprintf(line, sizeof line, "%ld", took);
	for (; *arguments && length < (int)sizeof line - 2; arguments++)
		length += snprintf(line + length, sizeof line - length, " %s", *arguments);
	if (length > (int)sizeof line - 2)
		length = sizeof line - 2;
	line[length++] = '\n';
	int fd = open(file, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);
	/* One write: calls that end together each keep their line. */
	if (fd < 0 || write(fd, line, length) != length)
		perror(file);
}

int main(int count, char **arguments)
{
	char self[3072], real[4096], calls[4096];
	ssize_t length = readlink("/proc/self/exe", self, sizeof self - 1);
	if (length < 0 || count < 1)
		return 125;
	self[length] = '\0';
	snprintf(real, sizeof real, "%s.real", self);
	snprintf(calls, sizeof calls, "%s.calls", self);

	pid_t pid;
	int status;
	long began = now();
	/* What the caller passes on is the runtime's to inherit; nothing of ours is open. */
	if (posix_spawn(&pid, real, NULL, NULL, arguments, environ) != 0)
		return 125;
	while (waitpid(pid, &status, 0) < 0)
		;
	note(calls, now() - began, arguments + 1);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

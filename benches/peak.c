/* Runs a command and writes down the most memory that it had in use, in KiB.
 *
 *     peak FILE COMMAND [ARGUMENT]...
 *
 * A process inherits the peak of the one that it was before its exec (getrusage(2), ru_maxrss), so a command that is
 * started from Python never seems to need less than Python does. This one is small enough to start from.
 */
#define _GNU_SOURCE
#include <err.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv) {
    if (argc < 3) errx(2, "usage: peak FILE COMMAND [ARGUMENT]...");
    pid_t pid = vfork();
    if (pid < 0) err(2, "vfork");
    if (pid == 0) {
        execvp(argv[2], argv + 2);
        _exit(127);
    }
    int status;
    struct rusage usage;
    if (wait4(pid, &status, 0, &usage) < 0) err(2, "wait4");
    FILE *file = fopen(argv[1], "w");
    if (!file || fprintf(file, "%ld\n", usage.ru_maxrss) < 0 || fclose(file) != 0) err(2, "%s", argv[1]);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

/* Runs a command and writes the peak of its resident set, as the kernel saw it, in bytes, into a file.
 *
 *   peak FILE COMMAND ARGUMENTS...
 *
 * The exit status is the command's. */
#include <stdio.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int status;
    struct rusage usage;
    if (argc < 3)
        return 2;
    pid_t child = fork();
    if (child == 0) {
        execvp(argv[2], argv + 2);
        perror(argv[2]);
        _exit(127);
    }
    if (child < 0 || wait4(child, &status, 0, &usage) != child)
        return 126;
    FILE *file = fopen(argv[1], "w");
    if (file == NULL)
        return 126;
    fprintf(file, "%ld\n", usage.ru_maxrss * 1024);
    fclose(file);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

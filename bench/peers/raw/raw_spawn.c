// raw_spawn subprocess N: posix_spawn(3) and a pidfd in an epoll, written by hand; what a child
// process costs without any library.
#define _GNU_SOURCE
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e9 + t.tv_nsec;
}

static void run_one(int ep) {
    char *argv[] = {"/bin/true", NULL};
    pid_t pid;
    int status;
    if (posix_spawn(&pid, argv[0], NULL, NULL, argv, environ) != 0) exit(1);
    int fd = (int)syscall(SYS_pidfd_open, pid, 0);
    struct epoll_event event = {.events = EPOLLIN};
    if (fd < 0 || epoll_ctl(ep, EPOLL_CTL_ADD, fd, &event) != 0) exit(1);
    if (epoll_wait(ep, &event, 1, -1) != 1) exit(1);
    close(fd);
    if (waitpid(pid, &status, 0) != pid || status != 0) exit(1);
}

int main(int argc, char **argv) {
    if (argc < 3) return 2;
    if (strcmp(argv[1], "subprocess") != 0) {
        printf("{\"workload\":\"%s\",\"skip\":true}\n", argv[1]);
        return 0;
    }
    const long n = atol(argv[2]);
    const int ep = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < 5; ++i) run_one(ep);
    const double start = now();
    for (long i = 0; i < n; ++i) run_one(ep);
    printf("{\"workload\":\"subprocess\",\"n\":%ld,\"ns_per_op\":%.2f}\n", n, (now() - start) / n);
    return 0;
}

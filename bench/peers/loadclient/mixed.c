// The load of the mixed workloads: uploads that never pause, or a flood of datagrams, and one
// connection that asks for a byte now and then and says how long each answer took.
//
//   mixed_load PORT UPLOADS FLOOD SECONDS TLS      FLOOD: threads that send datagrams; TLS: 0 or 1
//   mixed_load --pipe                              writes to standard output for ever
//
// Prints {"ping":[microseconds, ...],"upload_mib":N}.
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

static int port, tls;
static volatile int over;
static char block[262144];
static unsigned long long sent;
static SSL_CTX *context;

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec / 1e3; }
static void need(int ok, const char *what) { if (!ok) { perror(what); exit(1); } }

typedef struct { int fd; SSL *ssl; } link_;

static link_ open_link(void) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    link_ l = {socket(AF_INET, SOCK_STREAM, 0), NULL};
    need(connect(l.fd, (void *)&a, sizeof a) == 0, "connect");
    int on = 1;
    setsockopt(l.fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (!tls) return l;
    l.ssl = SSL_new(context);
    SSL_set_fd(l.ssl, l.fd);
    need(SSL_connect(l.ssl) == 1, "SSL_connect");
    return l;
}
static ssize_t put(link_ *l, const char *p, size_t n) {
    return l->ssl ? SSL_write(l->ssl, p, (int)n) : send(l->fd, p, n, MSG_NOSIGNAL);
}
static ssize_t get(link_ *l, char *p, size_t n) {
    return l->ssl ? SSL_read(l->ssl, p, (int)n) : recv(l->fd, p, n, 0);
}

static void *upload(void *unused) {
    (void)unused;
    link_ l = open_link();
    while (!over) {
        ssize_t n = put(&l, block, sizeof block);
        if (n <= 0) break;
        __atomic_fetch_add(&sent, (unsigned long long)n, __ATOMIC_RELAXED);
    }
    return NULL;
}
static void *flood(void *unused) {
    (void)unused;
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((unsigned short)port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    int fd = socket(AF_INET, SOCK_DGRAM, 0);
    need(connect(fd, (void *)&a, sizeof a) == 0, "connect");
    while (!over) {
        ssize_t n = send(fd, block, 1200, MSG_NOSIGNAL);
        if (n > 0) __atomic_fetch_add(&sent, (unsigned long long)n, __ATOMIC_RELAXED);
    }
    return NULL;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    memset(block, 'U', sizeof block);
    if (argc == 2 && !strcmp(argv[1], "--pipe")) {
        while (write(1, block, 65536) > 0) {}
        return 0;
    }
    if (argc != 6) return 2;
    port = atoi(argv[1]);
    int uploads = atoi(argv[2]), floods = atoi(argv[3]);
    double seconds = atof(argv[4]);
    tls = atoi(argv[5]);
    context = SSL_CTX_new(TLS_client_method());
    pthread_t t;
    for (int i = 0; i < uploads; i++) need(pthread_create(&t, NULL, upload, NULL) == 0, "thread");
    for (int i = 0; i < floods; i++) need(pthread_create(&t, NULL, flood, NULL) == 0, "thread");
    // So that an answer is not late because uploads of this process have the core.
    struct sched_param p = {.sched_priority = 1};
    pthread_setschedparam(pthread_self(), SCHED_FIFO, &p);
    link_ l = open_link();
    usleep(300000);
    static double took[100000];
    size_t n = 0;
    char c;
    unsigned long long before = sent;
    double begin = now(), end = begin + seconds * 1e6;
    while (n < 10 || (now() < end && n < 100000)) {
        double t0 = now();
        need(put(&l, "E", 1) == 1, "send");
        need(get(&l, &c, 1) == 1, "recv");
        took[n++] = now() - t0;
        usleep(2000);
    }
    double mib = (double)(sent - before) / 1048576 / ((now() - begin) / 1e6);
    over = 1;
    printf("{\"ping\":[");
    for (size_t i = 0; i < n; i++) printf("%s%.1f", i ? "," : "", took[i]);
    printf("],\"mib_a_second\":%.1f}\n", mib);
    fflush(stdout);
    _exit(0);
}

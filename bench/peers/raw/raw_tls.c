// TLS by hand: the physical limit of an OpenSSL echo server on one thread, and the load for it.
//   raw_tls server PEM PORT            one epoll loop, SSL_read and SSL_write on the sockets
//   raw_tls client PORT CONNS SIZE SECONDS [SERVER_PID]
// The client compares every byte and prints one JSON line: messages, messages a second and, of the
// process SERVER_PID, the CPU time a message, all without the 0.2 s of warm-up.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { RECORD = 16384, EVENTS = 512 };

static void die(const char *what) {
    perror(what);
    ERR_print_errors_fp(stderr);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static int tcp_socket(void) {
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    return fd;
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static void no_delay(int fd) {
    int one = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
}

// ---- server -------------------------------------------------------------------------------------

typedef struct {
    SSL *ssl;
    int accepted;   // the handshake is over
    char *pending;  // what SSL_write could not take
    size_t size;
} connection;

static connection *connections;
static char buffer[RECORD];

static void drop(int fd) {
    connection *c = &connections[fd];
    SSL_free(c->ssl);
    free(c->pending);
    memset(c, 0, sizeof *c);
    close(fd);
}

// Returns 0 if the connection is to be dropped.
static int wants_more(connection *c, int result) {
    int e = SSL_get_error(c->ssl, result);
    return e == SSL_ERROR_WANT_READ || e == SSL_ERROR_WANT_WRITE;
}

static int flush(connection *c) {
    if (!c->pending) return 1;
    int n = SSL_write(c->ssl, c->pending, (int)c->size);
    if (n <= 0) return wants_more(c, n);
    free(c->pending);
    c->pending = NULL;
    return 1;
}

static int serve(connection *c) {
    if (!c->accepted) {
        int r = SSL_accept(c->ssl);
        if (r != 1) return wants_more(c, r);
        c->accepted = 1;
    }
    if (!flush(c)) return 0;
    while (!c->pending) {
        int n = SSL_read(c->ssl, buffer, sizeof buffer);
        if (n <= 0) return wants_more(c, n);
        int w = SSL_write(c->ssl, buffer, n);
        if (w > 0) continue;
        if (!wants_more(c, w)) return 0;
        c->pending = malloc((size_t)n);
        memcpy(c->pending, buffer, (size_t)n);
        c->size = (size_t)n;
    }
    return 1;
}

_Noreturn static void server(int port, const char *pem) {
    struct rlimit limit;
    getrlimit(RLIMIT_NOFILE, &limit);
    connections = calloc(limit.rlim_cur, sizeof *connections);
    SSL_CTX *ctx = SSL_CTX_new(TLS_server_method());
    SSL_CTX_set_mode(ctx, SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_read_ahead(ctx, 1);  // one recv a record, not one for its head and one for the rest
    if (SSL_CTX_use_certificate_chain_file(ctx, pem) != 1 ||
        SSL_CTX_use_PrivateKey_file(ctx, pem, SSL_FILETYPE_PEM) != 1)
        die("certificate");
    int listener = tcp_socket(), one = 1;
    setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    struct sockaddr_in a = loopback(port);
    if (bind(listener, (void *)&a, sizeof a) || listen(listener, 4096)) die("listen");
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct epoll_event e = {EPOLLIN, {.fd = listener}}, events[EVENTS];
    epoll_ctl(ep, EPOLL_CTL_ADD, listener, &e);
    puts("# ready");
    fflush(stdout);
    for (;;) {
        int n = epoll_wait(ep, events, EVENTS, -1);
        for (int i = 0; i < n; i++) {
            int fd = events[i].data.fd;
            if (fd == listener) {
                int c = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
                if (c < 0) continue;
                no_delay(c);
                connections[c].ssl = SSL_new(ctx);
                SSL_set_fd(connections[c].ssl, c);
                struct epoll_event ce = {EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, {.fd = c}};
                epoll_ctl(ep, EPOLL_CTL_ADD, c, &ce);
            } else if (!serve(&connections[fd])) {
                drop(fd);
            }
        }
    }
}

// ---- client -------------------------------------------------------------------------------------

// User and system time of a process, seconds. 0 if it is unknown.
static double cpu_time(int pid) {
    char name[64], text[1024];
    snprintf(name, sizeof name, "/proc/%d/schedstat", pid);
    FILE *f = pid ? fopen(name, "r") : NULL;
    if (!f) return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    fclose(f);
    return strtoull(text, NULL, 10) / 1e9;
}

typedef struct {
    SSL *ssl;
    size_t got;
} caller;

static SSL *connect_one(SSL_CTX *ctx, int port) {
    int fd = tcp_socket();
    struct sockaddr_in a = loopback(port);
    if (connect(fd, (void *)&a, sizeof a)) die("connect");
    no_delay(fd);
    SSL *ssl = SSL_new(ctx);
    SSL_set_fd(ssl, fd);
    if (SSL_connect(ssl) != 1) die("SSL_connect");
    return ssl;
}

static int client(int port, int count, size_t size, double seconds, int pid) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    caller *callers = calloc((size_t)count, sizeof *callers);
    char *message = malloc(size), *answer = malloc(size);
    for (size_t i = 0; i < size; i++) message[i] = (char)(i * 131);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    for (int i = 0; i < count; i++) {
        callers[i].ssl = connect_one(ctx, port);
        struct epoll_event e = {EPOLLIN, {.u32 = (unsigned)i}};
        epoll_ctl(ep, EPOLL_CTL_ADD, SSL_get_fd(callers[i].ssl), &e);
        if (SSL_write(callers[i].ssl, message, (int)size) != (int)size) die("SSL_write");
    }
    double begin = now() + 0.2, cpu = 0;
    long done = 0;
    int counting = 0;
    struct epoll_event events[EVENTS];
    for (;;) {
        double t = now();
        if (!counting && t >= begin) {
            counting = 1;
            done = 0;
            begin = t;
            cpu = cpu_time(pid);
        }
        if (counting && t >= begin + seconds) break;
        int n = epoll_wait(ep, events, EVENTS, 1000);
        for (int i = 0; i < n; i++) {
            caller *c = &callers[events[i].data.u32];
            do {
                int r = SSL_read(c->ssl, answer, (int)(size - c->got));
                if (r <= 0) die("SSL_read");
                if (memcmp(answer, message + c->got, (size_t)r)) die("a wrong byte");
                c->got += (size_t)r;
            } while (SSL_pending(c->ssl));
            if (c->got < size) continue;
            c->got = 0;
            done++;
            if (SSL_write(c->ssl, message, (int)size) != (int)size) die("SSL_write");
        }
    }
    double took = now() - begin;
    cpu = cpu_time(pid) - cpu;
    printf(
        "{\"workload\":\"tls_echo\",\"conns\":%d,\"size\":%zu,\"n\":%ld,\"per_s\":%.0f,"
        "\"server_cpu_ns\":%.0f}\n",
        count, size, done, done / took, cpu * 1e9 / done);
    return 0;
}

int main(int argc, char **argv) {
    signal(SIGPIPE, SIG_IGN);
    if (argc == 4 && !strcmp(argv[1], "server")) server(atoi(argv[3]), argv[2]);
    if (argc >= 6 && !strcmp(argv[1], "client"))
        return client(atoi(argv[2]), atoi(argv[3]), strtoul(argv[4], NULL, 10), atof(argv[5]),
                      argc > 6 ? atoi(argv[6]) : 0);
    fprintf(stderr, "usage: raw_tls server PEM PORT | client PORT CONNS SIZE SECONDS [PID]\n");
    return 2;
}

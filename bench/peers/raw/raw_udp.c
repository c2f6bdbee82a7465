// UDP by hand: an echo server on one thread that takes and sends many datagrams with one system
// call, and the load for it.
//   raw_udp server PORT
//   raw_udp client PORT CONNS BYTES SECONDS SERVER_PID [WINDOW]
// The client has CONNS sockets with WINDOW datagrams under way on each, compares every byte, and
// sends a datagram again that was not answered within 0.5 s. It prints one JSON line: datagrams, of
// these a second, how many were lost and, of the process SERVER_PID, the CPU time for one; all
// without the 0.2 s of warm-up.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { BATCH = 32, LARGEST = 65536, EVENTS = 64, PATTERN = 4096 };
static const double kPatience = 0.5;  // seconds, after which a datagram counts as lost

static void die(const char* what) {
    perror(what);
    exit(1);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static struct sockaddr_in loopback(int port) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons(port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return a;
}

static int udp_socket(void) {
    int fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) die("socket");
    return fd;
}

static void watch(int ep, int fd, uint32_t data) {
    struct epoll_event e = {EPOLLIN | EPOLLET, {.u32 = data}};
    if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e)) die("epoll_ctl");
}

// ---- many datagrams -----------------------------------------------------------------------------

static struct mmsghdr headers[BATCH];
static struct iovec parts[BATCH];
static struct sockaddr_in names[BATCH];
static char* buffers;

// `named`: with addresses, for a socket that is not connected.
static void prepare(int named) {
    buffers = malloc((size_t)BATCH * LARGEST);
    for (int i = 0; i < BATCH; i++) {
        headers[i].msg_hdr.msg_iov = &parts[i];
        headers[i].msg_hdr.msg_iovlen = 1;
        if (named) headers[i].msg_hdr.msg_name = &names[i];
    }
}

static int receive(int fd) {
    for (int i = 0; i < BATCH; i++) {
        parts[i].iov_base = buffers + (size_t)i * LARGEST;
        parts[i].iov_len = LARGEST;
        headers[i].msg_hdr.msg_namelen = headers[i].msg_hdr.msg_name ? sizeof names[i] : 0;
    }
    int n = recvmmsg(fd, headers, BATCH, 0, NULL);
    if (n < 0 && errno != EAGAIN && errno != EINTR) die("recvmmsg");
    return n < 0 ? 0 : n;
}

static void send_all(int fd, int count) {
    for (int sent = 0; sent < count;) {
        int n = sendmmsg(fd, headers + sent, (unsigned)(count - sent), 0);
        if (n > 0) {
            sent += n;
            continue;
        }
        if (errno != EAGAIN) die("sendmmsg");
        struct pollfd room = {fd, POLLOUT, 0};
        poll(&room, 1, -1);
    }
}

// ---- server -------------------------------------------------------------------------------------

static void server(int port) {
    prepare(1);
    int fd = udp_socket(), ep = epoll_create1(EPOLL_CLOEXEC);
    struct sockaddr_in a = loopback(port);
    if (bind(fd, (void*)&a, sizeof a)) die("bind");
    watch(ep, fd, 0);
    puts("# ready");
    fflush(stdout);
    for (;;) {
        struct epoll_event e;
        epoll_wait(ep, &e, 1, -1);
        int n;
        do {
            n = receive(fd);
            for (int i = 0; i < n; i++) parts[i].iov_len = headers[i].msg_len;
            if (n) send_all(fd, n);
        } while (n == BATCH);  // fewer: there are no more
    }
}

// ---- client -------------------------------------------------------------------------------------

// CPU time of a process, seconds. 0 if it is unknown.
static double cpu_time(int pid) {
    char name[64], text[1024];
    snprintf(name, sizeof name, "/proc/%d/schedstat", pid);
    FILE* f = pid ? fopen(name, "r") : NULL;
    if (!f) return 0;
    size_t n = fread(text, 1, sizeof text - 1, f);
    text[n] = 0;
    fclose(f);
    return strtoull(text, NULL, 10) / 1e9;
}

// A datagram begins with these; what follows is the part of the pattern that its number says.
typedef struct {
    uint32_t slot;
    uint32_t zero;
    uint64_t number;
} head;

typedef struct {
    uint64_t number;  // of the datagram under way
    double sent;
} slot;

static char pattern[PATTERN + LARGEST];
static slot* slots;
static int* sockets;
static int window, size;
static long done, lost;

static const char* body(const head* h) { return pattern + (h->number * 31 + h->slot) % PATTERN; }

// The next batch's datagram `i`, of slot `s`.
static void fill(int i, uint32_t s) {
    char* at = buffers + (size_t)i * LARGEST;
    head h = {s, 0, slots[s].number};
    memcpy(at, &h, sizeof h);
    memcpy(at + sizeof h, body(&h), (size_t)size - sizeof h);
    parts[i].iov_base = at;
    parts[i].iov_len = (size_t)size;
}

// Checks datagram `i` that socket `c` received; 1 if it answers the one under way, 0 if it is late.
static int answers(int i, int c) {
    const char* at = buffers + (size_t)i * LARGEST;
    head h;
    memcpy(&h, at, sizeof h);
    if (headers[i].msg_len != (unsigned)size || h.slot / (unsigned)window != (unsigned)c ||
        memcmp(at + sizeof h, body(&h), (size_t)size - sizeof h)) {
        fprintf(stderr, "a wrong byte\n");
        exit(1);
    }
    return slots[h.slot].number == h.number;
}

// Takes what socket `c` has received and sends as many new datagrams.
static void serve(int c, double t) {
    int n;
    do {
        n = receive(sockets[c]);
        int fresh = 0;
        for (int i = 0; i < n; i++) {
            if (!answers(i, c)) continue;
            uint32_t s;
            memcpy(&s, buffers + (size_t)i * LARGEST, sizeof s);
            slots[s].number++;
            slots[s].sent = t;
            done++;
            fill(fresh++, s);
        }
        if (fresh) send_all(sockets[c], fresh);
    } while (n == BATCH);
}

static void send_slot(uint32_t s, double t) {
    slots[s].sent = t;
    fill(0, s);
    send_all(sockets[s / (uint32_t)window], 1);
}

static int client(int port, int count, double seconds, int pid) {
    prepare(0);
    for (size_t i = 0; i < sizeof pattern; i++) pattern[i] = (char)(i * 131 + (i >> 8) * 7);
    uint32_t all = (uint32_t)(count * window);
    slots = calloc(all, sizeof *slots);
    sockets = calloc((size_t)count, sizeof *sockets);
    int ep = epoll_create1(EPOLL_CLOEXEC);
    struct sockaddr_in a = loopback(port);
    for (int i = 0; i < count; i++) {
        sockets[i] = udp_socket();
        if (connect(sockets[i], (void*)&a, sizeof a)) die("connect");
        watch(ep, sockets[i], (uint32_t)i);
    }
    double t = now(), begin = t + 0.2, looked = t, cpu = 0;
    for (uint32_t s = 0; s < all; s++) send_slot(s, t);
    int counting = 0;
    struct epoll_event events[EVENTS];
    while (!counting || t < begin + seconds) {
        int n = epoll_wait(ep, events, EVENTS, 50);
        t = now();
        for (int i = 0; i < n; i++) serve((int)events[i].data.u32, t);
        if (t - looked > kPatience / 2) {
            looked = t;
            for (uint32_t s = 0; s < all; s++) {
                if (t - slots[s].sent < kPatience) continue;
                lost++;
                send_slot(s, t);
            }
        }
        if (!counting && t >= begin) {
            counting = 1;
            done = lost = 0;
            begin = t;
            cpu = cpu_time(pid);
        }
    }
    cpu = cpu_time(pid) - cpu;
    if (!done) die("no answer");
    printf(
        "{\"workload\":\"udp_echo\",\"conns\":%d,\"size\":%d,\"window\":%d,\"n\":%ld,"
        "\"per_s\":%.0f,\"lost\":%ld,\"server_cpu_ns\":%.0f}\n",
        count, size, window, done, done / (t - begin), lost, cpu * 1e9 / done);
    return 0;
}

int main(int argc, char** argv) {
    if (argc == 3 && !strcmp(argv[1], "server")) server(atoi(argv[2]));
    if (argc >= 7 && !strcmp(argv[1], "client")) {
        size = atoi(argv[4]);
        window = argc > 7 ? atoi(argv[7]) : 1;
        if (atoi(argv[3]) > 0 && window > 0 && size >= (int)sizeof(head) && size <= 65507)
            return client(atoi(argv[2]), atoi(argv[3]), atof(argv[5]), atoi(argv[6]));
    }
    fprintf(stderr,
            "usage: raw_udp server PORT | client PORT CONNS BYTES SECONDS SERVER_PID [WINDOW]\n"
            "BYTES: 16 to 65507\n");
    return 2;
}

// What asyncio-mixed does (bench/mixed.cpp), with libuv's callbacks: uv_mixed protocol WORK PORT and
// uv_mixed compute TASKS MICROSECONDS SECONDS, where a task is an idle handle.
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <uv.h>

static double work_ns_a_kib;
static uv_loop_t *loop;
static char room[262144];

static void compute(double ns) { double end = uv_hrtime() + ns; while (uv_hrtime() < end) {} }
static void work_on(size_t bytes) { if (work_ns_a_kib > 0) compute(bytes / 1024.0 * work_ns_a_kib); }
static void need(int ok) { if (!ok) { fprintf(stderr, "failed\n"); exit(1); } }

typedef struct { uv_tcp_t tcp; char kind; } connection;
typedef struct { uv_write_t req; char data[64]; } answer;

static void give(uv_handle_t *h, size_t n, uv_buf_t *b) { (void)h; (void)n; *b = uv_buf_init(room, sizeof room); }
static void closed(uv_handle_t *h) { free(h); }
static void written(uv_write_t *w, int status) { (void)status; free(w); }
static void on_data(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
    connection *c = (connection *)s;
    if (n < 0) { uv_close((uv_handle_t *)s, closed); return; }
    if (n == 0) return;
    if (!c->kind) c->kind = b->base[0];
    if (c->kind != 'E') { work_on((size_t)n); return; }
    answer *a = malloc(sizeof *a);
    size_t k = (size_t)n < sizeof a->data ? (size_t)n : sizeof a->data;
    memcpy(a->data, b->base, k);
    uv_buf_t out = uv_buf_init(a->data, (unsigned)k);
    uv_write(&a->req, s, &out, 1, written);
}
static void on_connection(uv_stream_t *s, int status) {
    connection *c = calloc(1, sizeof *c);
    need(status == 0);
    uv_tcp_init(loop, &c->tcp);
    need(uv_accept(s, (uv_stream_t *)c) == 0);
    uv_tcp_nodelay(&c->tcp, 1);
    uv_read_start((uv_stream_t *)c, give, on_data);
}
static void on_datagram(uv_udp_t *u, ssize_t n, const uv_buf_t *b, const struct sockaddr *a, unsigned f) {
    (void)u; (void)b; (void)a; (void)f;
    if (n > 0) work_on((size_t)n);
}
static void on_pipe(uv_stream_t *s, ssize_t n, const uv_buf_t *b) {
    (void)b;
    if (n < 0) uv_read_stop(s); else work_on((size_t)n);
}

// ---- beside what computes
static double each_ns;
static double *sleeps, *posts;
static size_t n_sleeps, n_posts;
static uint64_t due, end;
static uv_idle_t *idles;
static uv_async_t async;
static uv_mutex_t mutex;
static double posted[4096];
static size_t n_posted;
static int ended;
static void on_idle(uv_idle_t *h) { (void)h; compute(each_ns); }
static void on_async(uv_async_t *a) {
    (void)a;
    uv_mutex_lock(&mutex);
    for (size_t i = 0; i < n_posted; i++) posts[n_posts++] = (uv_hrtime() - posted[i]) / 1e3;
    n_posted = 0;
    uv_mutex_unlock(&mutex);
}
static void poster(void *p) {
    (void)p;
    for (;;) {
        uv_sleep(10);
        uv_mutex_lock(&mutex);
        int stop = ended;
        if (n_posted < 4096) posted[n_posted++] = uv_hrtime();
        uv_mutex_unlock(&mutex);
        if (stop) return;
        uv_async_send(&async);
    }
}
static void on_sleep(uv_timer_t *t) {
    sleeps[n_sleeps++] = ((double)uv_hrtime() - due) / 1e3;
    if (uv_hrtime() >= end) { uv_stop(loop); return; }
    uv_update_time(loop);
    due = uv_hrtime() + 10000000;
    uv_timer_start(t, on_sleep, 10, 0);
}
static void print_list(const char *name, double *v, size_t n, const char *tail) {
    printf("\"%s\":[", name);
    for (size_t i = 0; i < n; i++) printf("%s%.1f", i ? "," : "", v[i]);
    printf("]%s", tail);
}

int main(int argc, char **argv) {
    loop = uv_default_loop();
    if (argc == 5 && !strcmp(argv[1], "compute")) {
        int tasks = atoi(argv[2]);
        each_ns = atof(argv[3]) * 1e3;
        sleeps = calloc(100000, sizeof *sleeps); posts = calloc(100000, sizeof *posts);
        idles = calloc((size_t)tasks, sizeof *idles);
        for (int i = 0; i < tasks; i++) { uv_idle_init(loop, &idles[i]); uv_idle_start(&idles[i], on_idle); }
        uv_mutex_init(&mutex); uv_async_init(loop, &async, on_async);
        uv_thread_t thread; uv_thread_create(&thread, poster, 0);
        uv_timer_t t; uv_timer_init(loop, &t);
        end = uv_hrtime() + (uint64_t)(atof(argv[4]) * 1e9);
        due = uv_hrtime() + 10000000; uv_timer_start(&t, on_sleep, 10, 0);
        uv_run(loop, UV_RUN_DEFAULT);
        uv_mutex_lock(&mutex); ended = 1; uv_mutex_unlock(&mutex);
        uv_thread_join(&thread);
        printf("{"); print_list("sleep", sleeps, n_sleeps, ","); print_list("post", posts, n_posts, "}\n");
        return 0;
    }
    if (argc != 4) return 2;
    work_ns_a_kib = atof(argv[2]);
    struct sockaddr_in a; uv_ip4_addr("127.0.0.1", atoi(argv[3]), &a);
    uv_tcp_t server; uv_tcp_init(loop, &server);
    need(uv_tcp_bind(&server, (void *)&a, 0) == 0 && uv_listen((uv_stream_t *)&server, 256, on_connection) == 0);
    uv_udp_t udp; uv_udp_init_ex(loop, &udp, AF_INET | UV_UDP_RECVMMSG);
    need(uv_udp_bind(&udp, (void *)&a, 0) == 0 && uv_udp_recv_start(&udp, give, on_datagram) == 0);
    struct stat s; uv_pipe_t pipe;
    if (fstat(0, &s) == 0 && S_ISFIFO(s.st_mode)) {
        uv_pipe_init(loop, &pipe, 0);
        need(uv_pipe_open(&pipe, 0) == 0 && uv_read_start((uv_stream_t *)&pipe, give, on_pipe) == 0);
    }
    puts("# ready"); fflush(stdout);
    return uv_run(loop, UV_RUN_DEFAULT);
}

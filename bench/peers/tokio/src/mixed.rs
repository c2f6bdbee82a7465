// What asyncio-mixed does (bench/mixed.cpp), with tokio's current-thread runtime:
//   tokio_bench mixed-serve WORK PORT;  tokio_bench mixed-compute TASKS MICROSECONDS SECONDS
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

fn compute(ns: f64) {
    let end = Instant::now() + Duration::from_nanos(ns as u64);
    while Instant::now() < end {}
}
fn work_on(bytes: usize, work: f64) {
    if work > 0.0 { compute(bytes as f64 / 1024.0 * work); }
}

#[cfg(unix)]
fn stdin_is_a_pipe() -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata("/proc/self/fd/0").map(|m| m.file_type().is_fifo()).unwrap_or(false)
}

async fn serve(work: f64, port: u16) {
    let listener = TcpListener::bind(("127.0.0.1", port)).await.unwrap();
    let udp = tokio::net::UdpSocket::bind(("127.0.0.1", port)).await.unwrap();
    tokio::spawn(async move {
        let mut buf = vec![0u8; 65536];
        loop {
            if let Ok((k, _)) = udp.recv_from(&mut buf).await { work_on(k, work); }
        }
    });
    if stdin_is_a_pipe() {
        // A pipe is read as a unix pipe would be: by readiness.
        tokio::spawn(async move {
            use std::os::unix::io::{AsRawFd, FromRawFd};
            extern "C" { fn dup(fd: i32) -> i32; fn fcntl(fd: i32, c: i32, ...) -> i32; }
            let fd = unsafe { let fd = dup(0); fcntl(fd, 4, 0o4000); fd };
            let file = unsafe { std::fs::File::from_raw_fd(fd) };
            let pipe = tokio::io::unix::AsyncFd::new(file).unwrap();
            let mut buf = vec![0u8; 65536];
            loop {
                let mut ready = pipe.readable().await.unwrap();
                let got = ready.try_io(|p| {
                    extern "C" { fn read(fd: i32, b: *mut u8, n: usize) -> isize; }
                    let n = unsafe { read(p.as_raw_fd(), buf.as_mut_ptr(), buf.len()) };
                    if n < 0 { Err(std::io::Error::last_os_error()) } else { Ok(n as usize) }
                });
                match got {
                    Ok(Ok(0)) | Ok(Err(_)) => return,
                    Ok(Ok(n)) => work_on(n, work),
                    Err(_) => {}
                }
            }
        });
    }
    println!("# ready");
    loop {
        let (mut s, _) = listener.accept().await.unwrap();
        tokio::spawn(async move {
            s.set_nodelay(true).ok();
            let mut buf = vec![0u8; 262144];
            let mut kind = 0u8;
            loop {
                match s.read(&mut buf).await {
                    Ok(0) | Err(_) => return,
                    Ok(k) => {
                        if kind == 0 { kind = buf[0]; }
                        if kind == b'E' {
                            if s.write_all(&buf[..k]).await.is_err() { return; }
                        } else {
                            work_on(k, work);
                        }
                    }
                }
            }
        });
    }
}

fn list(name: &str, v: &[f64]) -> String {
    let items: Vec<String> = v.iter().map(|x| format!("{:.1}", x)).collect();
    format!("\"{}\":[{}]", name, items.join(","))
}

async fn beside(tasks: u64, each: f64, seconds: f64) {
    let over = Arc::new(AtomicBool::new(false));
    let mut workers = Vec::new();
    for _ in 0..tasks {
        let over = over.clone();
        workers.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                compute(each);
                tokio::task::yield_now().await;
            }
        }));
    }
    let posts = Arc::new(Mutex::new(Vec::new()));
    let ended = Arc::new(AtomicBool::new(false));
    let handle = tokio::runtime::Handle::current();
    let (p, e) = (posts.clone(), ended.clone());
    let poster = std::thread::spawn(move || {
        while !e.load(Ordering::Relaxed) {
            std::thread::sleep(Duration::from_millis(10));
            let posted = Instant::now();
            let p = p.clone();
            handle.spawn(async move { p.lock().unwrap().push(posted.elapsed().as_nanos() as f64 / 1e3); });
        }
    });
    let mut sleeps = Vec::new();
    let end = Instant::now() + Duration::from_secs_f64(seconds);
    while Instant::now() < end {
        let due = Instant::now() + Duration::from_millis(10);
        tokio::time::sleep(Duration::from_millis(10)).await;
        sleeps.push(due.elapsed().as_nanos() as f64 / 1e3);
    }
    ended.store(true, Ordering::Relaxed);
    poster.join().unwrap();
    over.store(true, Ordering::Relaxed);
    for w in workers { w.await.unwrap(); }
    println!("{{{},{}}}", list("sleep", &sleeps), list("post", &posts.lock().unwrap()));
}

pub async fn run(args: &[String]) {
    let number = |i: usize| args[i].parse::<f64>().unwrap();
    if args[1] == "mixed-compute" {
        beside(number(2) as u64, number(3) * 1e3, number(4)).await;
    } else {
        serve(number(2), number(3) as u16).await;
    }
}

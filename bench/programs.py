"""What is measured: asyncio-bench built by each compiler, and the peers that can be built here.

All of it is built below one directory, which is `build/bench` unless the caller says otherwise.
"""

import glob
import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(HERE)
PEERS = os.path.join(HERE, "peers")

URING = {"ASYNCIO_BACKEND": "io_uring"}
EPOLL = {"ASYNCIO_BACKEND": "epoll"}

# Where Debian keeps the Rust crates that its librust-*-dev packages bring.
CARGO_REGISTRY = "/usr/share/cargo/registry"

PEER_PACKAGES = [
    "libboost1.81-dev", "libboost-system1.81-dev", "libuv1-dev",
    "golang-go", "rustc", "cargo", "librust-tokio-dev", "librust-hyper-dev", "python3-uvloop",
    "python3-aiohttp", "liburing-dev", "nodejs", "wrk",
]


@dataclass(frozen=True)
class Program:
    name: str
    kind: str                       # "ours" (on epoll), "ours_uring", "peer", or "floor": a scheduler
                                    # without features
    argv: list
    env: dict = field(default_factory=dict)
    may_use_all_cores: bool = False
    interpreted: bool = False


class BuildError(Exception):
    pass


def run(command, **options):
    """Runs a command and returns its output; raises BuildError with the output's end."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
                              **options)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise BuildError(str(error)) from error
    if done.returncode != 0:
        raise BuildError(f"{' '.join(command)}\n{done.stdout[-3000:]}")
    return done.stdout


def compilers(wanted=None):
    """{label: path} of the C++ compilers to build ours with: g++ and the newest clang++."""
    if wanted:
        return {name: path for name in wanted if (path := shutil.which(name))}
    clangs = [f"clang++-{version}" for version in range(30, 16, -1)] + ["clang++"]
    found = [name for name in ["g++"] if shutil.which(name)]
    found += [name for name in clangs if shutil.which(name)][:1]
    return {name: shutil.which(name) for name in found}


def directory_of(build_dir, compiler):
    return os.path.join(build_dir, "ours-" + os.path.basename(compiler))


def build_targets(build_dir, compiler, targets, flags=""):
    """Builds programs of this project in release mode with one compiler."""
    directory = directory_of(build_dir, compiler)
    environment = {k: v for k, v in os.environ.items() if k not in ("CXX", "CC")}
    configure = ["cmake", "-S", ROOT, "-B", directory, "-DCMAKE_BUILD_TYPE=Release",
                 f"-DCMAKE_CXX_COMPILER={compiler}", "-DASYNCIO_TESTS=OFF",
                 "-DASYNCIO_EXAMPLES=ON", "-DASYNCIO_BENCH=ON", f"-DCMAKE_CXX_FLAGS={flags}"]
    if shutil.which("ninja"):
        configure += ["-G", "Ninja"]
    run(configure, env=environment)
    run(["cmake", "--build", directory, "-j2", "--target"] + targets, env=environment)


def build_ours(build_dir, compiler, flags=""):
    """Builds asyncio-bench and returns its path."""
    build_targets(build_dir, compiler, ["asyncio-bench"], flags)
    return os.path.join(directory_of(build_dir, compiler), "bin", "asyncio-bench")


def uring_name(name):
    return f"{name} io_uring"


def on_both_backends(name, path):
    """asyncio-bench on epoll, and on io_uring unless that is refused here, which is then said."""
    on_epoll, on_uring = Program(name, "ours", [path], EPOLL), Program(
        uring_name(name), "ours_uring", [path], URING)
    out = run([path, "await_chain", "1"], env={**os.environ, **URING})
    if json.loads(out.strip().splitlines()[-1])["backend"] == "io_uring":
        return [on_epoll, on_uring]
    print(f"left out: {on_uring.name}: io_uring is refused here", flush=True)
    return [on_epoll]


def ours(build_dir, wanted=None):
    """asyncio-bench built by each compiler, on each back end."""
    programs = []
    for name, path in compilers(wanted).items():
        print(f"building asyncio-bench with {name}", flush=True)
        programs += on_both_backends(name, build_ours(build_dir, path))
    if not programs:
        raise BuildError("no C++ compiler was found")
    return programs


def newer(output, sources):
    return os.path.exists(output) and all(
        os.path.getmtime(output) >= os.path.getmtime(source) for source in sources)


def compile_peer(output, command, source):
    """Compiles a peer of one source file, if its program is older than that."""
    path = os.path.join(PEERS, source)
    if not newer(output, [path]):
        run([command[0], "-o", output, path] + command[1:])


def build_crate(crate, output, build_dir):
    """Builds a peer in Rust, whose program has the name of `output`."""
    source = os.path.join(PEERS, crate)
    if newer(output, [os.path.join(source, "Cargo.toml")] + glob.glob(f"{source}/src/*.rs")):
        return
    copy = os.path.join(build_dir, crate)
    shutil.rmtree(copy, ignore_errors=True)
    shutil.copytree(source, copy)
    if os.path.isdir(CARGO_REGISTRY):
        os.makedirs(os.path.join(copy, ".cargo"))
        with open(os.path.join(copy, ".cargo", "config.toml"), "w") as config:
            config.write('[source.crates-io]\nreplace-with = "local"\n'
                         f'[source.local]\ndirectory = "{CARGO_REGISTRY}"\n')
    run(["cargo", "build", "--release", "--offline"], cwd=copy)
    shutil.copyfile(os.path.join(copy, "target", "release", os.path.basename(output)), output)
    os.chmod(output, 0o755)


def build_tokio(output, build_dir):
    build_crate("tokio", output, build_dir)


def build_go(output):
    if newer(output, [os.path.join(PEERS, "go", "main.go")]):
        return
    run(["go", "build", "-o", output, "."], cwd=os.path.join(PEERS, "go"),
        env={**os.environ, "GOFLAGS": "-mod=mod", "GOTOOLCHAIN": "local"})


def python_with_uvloop():
    for name in ("python3", "/usr/bin/python3"):
        path = shutil.which(name)
        if path and subprocess.run([path, "-c", "import uvloop"], capture_output=True).returncode == 0:
            return path
    return None


def peers(build_dir, wanted=None):
    """The peers that exist here. One that cannot be built is named and left out."""
    os.makedirs(build_dir, exist_ok=True)
    at = lambda name: os.path.join(build_dir, name)
    cxx = [shutil.which("g++") or "c++", "-std=c++20", "-O2", "-DNDEBUG"]
    cc = [shutil.which("gcc") or "cc", "-O2"]
    builds = {
        "raw_coro": lambda: compile_peer(at("raw_coro"), cxx, "raw/raw_coro.cpp"),
        "raw_coro_pool": lambda: compile_peer(at("raw_coro_pool"), cxx + ["-DFRAME_POOL"],
                                              "raw/raw_coro.cpp"),
        "asio_bench": lambda: compile_peer(at("asio_bench"), cxx + ["-pthread"], "asio/bench.cpp"),
        "asio_bench_nt": lambda: compile_peer(
            at("asio_bench_nt"), cxx + ["-DBOOST_ASIO_DISABLE_THREADS"], "asio/bench.cpp"),
        "uv_bench": lambda: compile_peer(at("uv_bench"), cc + ["-luv"], "libuv/bench.c"),
        "raw_spawn": lambda: compile_peer(at("raw_spawn"), cc, "raw/raw_spawn.c"),
        "raw_files": lambda: compile_peer(at("raw_files"), cxx + ["-pthread"],
                                          "raw/raw_files.cpp"),
        "tokio_bench": lambda: build_tokio(at("tokio_bench"), build_dir),
        "go_bench": lambda: build_go(at("go_bench")),
    }
    for name, build in builds.items():
        if not os.path.exists(at(name)):
            print(f"building peer {name}", flush=True)
        try:
            build()
        except BuildError as error:
            first = [line for line in str(error).splitlines() if "error" in line.lower()]
            print(f"peer {name} left out: {(first or [str(error)])[0].strip()[:160]}", flush=True)

    found = [
        Program("raw_coro", "floor", [at("raw_coro")]),
        Program("raw_coro_pool", "floor", [at("raw_coro_pool")]),
        Program("raw_spawn", "peer", [at("raw_spawn")]),
        Program("raw_files", "peer", [at("raw_files")]),
        Program("asio", "peer", [at("asio_bench")]),
        Program("asio_nothreads", "peer", [at("asio_bench_nt")]),
        Program("libuv", "peer", [at("uv_bench")]),
        Program("tokio_current", "peer", [at("tokio_bench")], {"TOKIO_FLAVOR": "current"}),
        Program("tokio_multi", "peer", [at("tokio_bench")], {"TOKIO_FLAVOR": "multi"}, True),
        Program("go_1", "peer", [at("go_bench")], {"GOMAXPROCS": "1"}),
        Program("go_2", "peer", [at("go_bench")], {"GOMAXPROCS": "2"}, True),
    ]
    script = os.path.join(PEERS, "python", "bench.py")
    python = os.environ.get("PEER_PYTHON") or shutil.which("python3")
    if python:
        found.append(Program("asyncio", "peer", [python, script], interpreted=True))
    if uvloop := python_with_uvloop():
        found.append(Program("uvloop", "peer", [uvloop, script], {"PEER_LOOP": "uvloop"},
                             interpreted=True))
    return [p for p in found if os.path.exists(p.argv[0]) and (not wanted or p.name in wanted)]


def install_peers():
    """Installs what the peers need, with apt-get. Says what it does; needs root or sudo."""
    sudo = [] if os.geteuid() == 0 else ["sudo"]
    command = sudo + ["apt-get", "install", "-y", "--no-install-recommends"] + PEER_PACKAGES
    print("installing:", " ".join(command), flush=True)
    subprocess.run(sudo + ["apt-get", "update"], check=True)
    subprocess.run(command, check=True)


def version(command):
    try:
        out = subprocess.run(command, capture_output=True, text=True).stdout
        return out.strip().splitlines()[0]
    except (OSError, IndexError):
        return None


def machine():
    model = None
    with open("/proc/cpuinfo") as cpuinfo:
        for line in cpuinfo:
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return {"processor": model, "cores": len(os.sched_getaffinity(0)),
            "kernel": os.uname().release, "libuv": version(["pkg-config", "--modversion", "libuv"]),
            "rustc": version(["rustc", "--version"]), "go": version(["go", "version"]),
            "compilers": {name: version([path, "--version"]) for name, path in compilers().items()}}

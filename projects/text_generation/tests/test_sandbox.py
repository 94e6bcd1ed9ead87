"""The sandbox from outside: what a program can do, what it cannot, and what is left of it."""

import ast
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from roadmap_shared.errors import UserError
from text_generation.coding.sandbox import LAYERS, Sandbox
from text_generation.config.coding import SandboxConfig

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the layers are Linux's")

WITHOUT_NAMESPACES = ("landlock", "seccomp", "privileges", "limits")
LIMITS = SandboxConfig(cpu_seconds=5, wall_seconds=60, memory_mb=256, disk_mb=2)


@pytest.fixture(scope="module", params=[LAYERS, WITHOUT_NAMESPACES], ids=["all-layers", "without-namespaces"])
def sandbox(request: pytest.FixtureRequest) -> Sandbox:
    layers: Sequence[str] = request.param
    sandbox = Sandbox(LIMITS, layers=layers)
    absent = [layer for layer in sandbox.check() if layer.name in layers and not layer.holds]
    if absent:
        pytest.skip(f"this system does not offer {absent[0].name}: {absent[0].detail}")
    return sandbox


ESCAPES = {
    "write to /tmp": "open('/tmp/sandbox-escape', 'w')",
    "write beside its folder": "import os; open(os.path.join(os.getcwd(), '..', 'sandbox-escape'), 'w')",
    "follow a link out": "import os; os.symlink('/tmp', 'out'); open('out/sandbox-escape', 'w')",
    "make a folder": "import os; os.mkdir('/tmp/sandbox-escape')",
    "truncate a file": "import os, sys; os.truncate(os.__file__, 0)",
    "remove a file": "import os; os.unlink(OUTSIDE)",
    "rename a file": "import os; os.rename(OUTSIDE, OUTSIDE + '2')",
    "link a file": "import os; os.link(OUTSIDE, 'mine'); open('mine', 'a').write('x')",
    "change a file's mode": "import os; os.chmod(OUTSIDE, 0o777)",
    "change a file's owner": "import os; os.chown(OUTSIDE, os.getuid(), os.getgid())",
    "change a file's time": "import os; os.utime(OUTSIDE, (0, 0))",
    "read the user's file": "open(OUTSIDE).read()",
    "read /etc/passwd": "open('/etc/passwd').read()",
    "read an installed package": "open(PACKAGE).read()",
    "look into a process": "open('/proc/1/environ').read()",
    "look at itself": "open('/proc/self/maps').read()",
    "open a socket": "import socket; socket.socket()",
    "open a Unix socket": "import socket; socket.socket(socket.AF_UNIX)",
    "open a pair of sockets": "import socket; socket.socketpair()",
    "fork": "import os; os.fork()",
    "spawn": "import os; os.posix_spawn('/bin/true', ['true'], {})",
    "execute": "import os; os.execv('/bin/true', ['true'])",
    "run a command": "import subprocess; subprocess.run(['/bin/true'])",
    "use a process pool": "import multiprocessing; multiprocessing.Process(target=print).start()",
    "start a thread": "import threading; threading.Thread(target=print).start()",
    "signal its parent": "import os; os.kill(os.getppid(), 0)",
    "signal its parent's group": "import os; os.killpg(os.getpgid(os.getppid()), 0)",
    "signal everyone": "import os; os.kill(-1, 0)",
    "signal the caller": "import os; os.kill(CALLER, 0)",
    "hold a process": "import os; os.pidfd_open(os.getpid())",
    "leave its session": "import os; os.setsid()",
    "limit its parent": "import os, resource as r; r.prlimit(os.getppid(), r.RLIMIT_NOFILE, (9, 9))",
    "raise its limits": "import resource as r; r.setrlimit(r.RLIMIT_CPU, (99, 99))",
    "raise its limits by another call": "import resource as r; r.prlimit(0, r.RLIMIT_CPU, (99, 99))",
    "have a pipe kill": "import fcntl, os; fcntl.fcntl(os.pipe()[0], 8, os.getppid())",
    "trace its parent": "import ctypes, os; assert ctypes.CDLL(None).ptrace(16, os.getppid(), 0, 0) == 0",
    "make namespaces": "import ctypes; assert ctypes.CDLL(None).unshare(0x10000000) == 0",
    "mount": "import ctypes; assert ctypes.CDLL(None).mount(b'x', b'.', b'tmpfs', 0, None) == 0",
    "hold memory in a file": "import os; os.memfd_create('x')",
    "become root": "import os; os.setuid(0)",
}


ATTEMPT_ALL = """
outcomes = {}
for name, attempt in ATTEMPTS.items():
    try:
        exec(attempt)
        outcomes[name] = "did it"
    except Exception as error:
        outcomes[name] = type(error).__name__
print(outcomes)
"""
ERRORS = {"PermissionError", "FileNotFoundError", "OSError", "RuntimeError", "AssertionError", "ValueError"}


@pytest.fixture(scope="module")
def outcomes(sandbox: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """What came of every attempt, one after another in one program."""
    outside = tmp_path_factory.mktemp("outside") / "outside.txt"
    outside.write_text("secret")
    before = outside.stat()
    names = f"OUTSIDE, CALLER, PACKAGE = {str(outside)!r}, {os.getpid()}, {pytest.__file__!r}\n"
    result = sandbox.run(f"{names}ATTEMPTS = {ESCAPES!r}\n{ATTEMPT_ALL}")
    assert result.ok, result
    yield ast.literal_eval(result.stdout)
    assert outside.read_text() == "secret"
    after = outside.stat()
    assert (after.st_mode, after.st_mtime, after.st_nlink) == (before.st_mode, before.st_mtime, 1)
    assert not Path("/tmp/sandbox-escape").exists()


@pytest.mark.parametrize("attempt", ESCAPES)
def test_no_escape(outcomes: dict[str, str], attempt: str) -> None:
    assert outcomes[attempt] in ERRORS


def test_a_program_sees_nothing_of_the_caller(sandbox: Sandbox, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "42")
    result = sandbox.run(
        "import os, sys, gc\n"
        "print(sorted(os.environ))\n"
        "print([name for name in sys.modules if 'isolation' in name or 'text_generation' in name])\n"
        "print([path for path in sys.path if 'site-packages' in path or 'coding' in path])\n"
        "print(sys.stdin.read() == '', os.listdir('.'), sys.argv)\n"
        "found = []\n"
        "for number in range(200):\n"
        "    try: os.fstat(number)\n"
        "    except OSError: continue\n"
        "    found.append(number)\n"
        "print(found)\n"
    )
    assert result.stdout.splitlines() == [
        "['HOME', 'LANG', 'PYTHONHASHSEED', 'TMPDIR']",
        "[]",
        "[]",
        "True [] ['-c']",
        "[0, 1, 2]",
    ], result.stderr


def test_what_a_program_may_do(sandbox: Sandbox) -> None:
    result = sandbox.run(
        "import hashlib, json, os, re, sqlite3, statistics, tempfile, zoneinfo\n"
        "with tempfile.TemporaryDirectory() as folder:\n"
        "    path = os.path.join(folder, 'a.txt')\n"
        "    open(path, 'w').write('text')\n"
        "    os.rename(path, path + '2')\n"
        "    print(open(path + '2').read(), hashlib.sha256(b'').hexdigest()[:4])\n"
        "import sys; print('trouble', file=sys.stderr)\n"
    )
    assert (result.status, result.code, result.stdout, result.stderr) == ("exited", 0, "text e3b0\n", "trouble\n")
    assert result.ok
    assert 0 < result.cpu_seconds < 5
    assert 5 < result.peak_mb < 256


def test_exit_codes_and_tracebacks(sandbox: Sandbox) -> None:
    assert sandbox.run("raise SystemExit(5)").code == 5
    assert sandbox.run("import os; os._exit(0)").ok
    result = sandbox.run("def f():\n    return 1 / 0\nf()")
    assert result.code == 1
    assert result.stderr.splitlines() == [
        "Traceback (most recent call last):",
        '  File "<program>", line 3, in <module>',
        '  File "<program>", line 2, in f',
        "ZeroDivisionError: division by zero",
    ]
    assert "SyntaxError" in sandbox.run("def f(:").stderr
    crashed = sandbox.run("import ctypes; ctypes.string_at(0)")
    assert (crashed.status, crashed.code) == ("signal", -signal.SIGSEGV)


def test_sets_have_one_order() -> None:
    sandbox = Sandbox(LIMITS)
    program = "print(list({'a', 'b', 'c', 'd', 'e', 'f'}))"
    assert sandbox.run(program).stdout == sandbox.run(program).stdout


def limited(**changes: float) -> Sandbox:
    return Sandbox(SandboxConfig(**({"cpu_seconds": 5, "wall_seconds": 60} | changes)))  # pyright: ignore[reportArgumentType]


def test_cpu_time_ends_a_program() -> None:
    result = limited(cpu_seconds=0.3).run("while True: pass")
    assert (result.status, result.code) == ("cpu_time", -signal.SIGKILL)
    assert 0.3 <= result.cpu_seconds < 1.3


def test_cpu_time_counts_all_threads() -> None:
    program = "import threading\ndef f():\n    while True: pass\nfor _ in range(3): threading.Thread(target=f).start()"
    assert limited(cpu_seconds=0.3, threads=4).run(program).status == "cpu_time"


def test_a_sleep_uses_no_cpu_time_and_ends_by_the_clock() -> None:
    result = limited(cpu_seconds=0.5, wall_seconds=0.5).run("import time; time.sleep(1e6)")
    assert result.status == "wall_clock"
    assert result.cpu_seconds < 0.5


def test_a_program_that_refuses_to_end_is_ended() -> None:
    program = (
        "import signal, time\n"
        "for number in range(1, 65):\n"
        "    try: signal.signal(number, signal.SIG_IGN)\n"
        "    except (OSError, ValueError): pass\n"
        "while True:\n    try: time.sleep(1e6)\n    except BaseException: pass"
    )
    assert limited(cpu_seconds=0.5, wall_seconds=0.5).run(program).status == "wall_clock"


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_flood_of_output_ends_a_program(stream: str) -> None:
    result = limited(output_kb=10).run(f"import sys\nwhile True: sys.{stream}.write('x' * 4096)")
    assert result.status == "output"
    assert len(result.stdout) + len(result.stderr) == 10_001


def test_output_up_to_the_limit_is_kept() -> None:
    result = limited(output_kb=10).run("print('x' * 9999)")
    assert (result.status, len(result.stdout)) == ("exited", 10_000)


def test_output_that_is_no_text_is_shown_as_far_as_it_can() -> None:
    assert limited().run("import sys; sys.stdout.buffer.write(b'a\\xffb')").stdout == "a\N{REPLACEMENT CHARACTER}b"


@pytest.mark.parametrize("program", ["x = 'a' * 10**9", "x = []\nwhile True: x.append(bytearray(10**6))"])
def test_memory_is_limited(program: str) -> None:
    result = limited(memory_mb=200).run(program)
    assert result.code == 1
    assert result.stderr.splitlines()[-1] == "MemoryError"
    assert result.peak_mb < 200


def test_the_stack_is_limited() -> None:
    result = limited(memory_mb=200, cpu_seconds=5).run(
        "import sys; sys.setrecursionlimit(10**9)\nclass C:\n    def __repr__(self): return repr(self)\nrepr(C())"
    )
    assert result.status in ("signal", "exited", "cpu_time")
    assert not result.ok


def test_files_are_limited(sandbox: Sandbox) -> None:
    assert "File too large" in sandbox.run("open('a', 'wb').write(bytes(3 * 10**6))").stderr
    assert "Too many open files" in sandbox.run("files = [open('/dev/null') for _ in range(100)]").stderr


def test_the_whole_folder_is_limited() -> None:
    sandbox = Sandbox(LIMITS)
    if not {layer.name: layer.holds for layer in sandbox.check()}["mounts"]:
        pytest.skip("this system does not let a user mount")
    program = "for n in range(100):\n    with open(str(n), 'wb') as f: f.write(bytes(10**6))"
    assert "No space left on device" in sandbox.run(program).stderr
    assert "No space left on device" in sandbox.run("for n in range(5000): open(str(n), 'w')").stderr


def test_threads_where_they_are_allowed() -> None:
    program = "import threading, os\nthreading.Thread(target=print, args=('hi',)).start()\nos.fork()"
    result = limited(threads=2).run(program)
    assert result.stdout == "hi\n"
    assert "PermissionError" in result.stderr


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_descendants_end_with_the_program() -> None:
    """Without seccomp and namespaces a program can fork, if it is root; what it leaves in other sessions is found."""
    sandbox = Sandbox(SandboxConfig(threads=50, allow_weak=True), layers=("privileges", "limits"))
    result = sandbox.run(
        "import os, time\n"
        "for _ in range(3):\n"
        "    if os.fork() == 0:\n"
        "        os.setsid()\n"
        "        if os.fork() == 0: time.sleep(1e6)\n"
        "        print(os.getpid(), flush=True)\n"
        "        time.sleep(1e6)\n"
        "time.sleep(0.3)\n"
    )
    pids = [int(line) for line in result.stdout.split()]
    assert len(pids) == 3
    assert not any(map(is_alive, pids))


def test_a_program_ends_with_its_caller() -> None:
    script = (
        "import os\n"
        "from text_generation.coding.sandbox import Sandbox\n"
        "from text_generation.config.coding import SandboxConfig\n"
        "sandbox = Sandbox(SandboxConfig(), layers=('landlock', 'seccomp', 'privileges', 'limits'))\n"
        "program = 'import os, time; os.write(3, str(os.getpid()).encode()); time.sleep(1e6)'\n"
        "sandbox.start(program, channels=[os.dup(1)]).wait()\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, env=environment) as caller:
        assert caller.stdout is not None
        pid = int(os.read(caller.stdout.fileno(), 100))
        assert is_alive(pid)
        caller.kill()
    for _ in range(600):
        if not is_alive(pid):
            return
        time.sleep(0.1)
    pytest.fail("the program outlived its caller")


def test_the_folder_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    for layers in (LAYERS, WITHOUT_NAMESPACES):
        process = Sandbox(LIMITS, layers=layers).start("open('a', 'w').write('x')")
        assert len(list(tmp_path.iterdir())) == 1
        assert process.wait().ok
        assert list(tmp_path.iterdir()) == []


def test_a_program_can_be_cancelled_and_abandoned() -> None:
    sandbox = Sandbox(LIMITS)
    process = sandbox.start("import time; time.sleep(1e6)")
    process.cancel()
    assert process.wait().status == "cancelled"
    process = sandbox.start("import time; time.sleep(1e6)")
    process.abandon()
    process.abandon()


def test_too_little_protection_is_an_error() -> None:
    with pytest.raises(UserError) as caught:
        Sandbox(LIMITS, layers=("privileges", "limits")).run("print(1)")
    assert str(caught.value) == (
        "the sandbox cannot protect network, files, processes on this system (namespaces: switched off; landlock: "
        "switched off; seccomp: switched off). Run in a virtual machine, or accept that with --sandbox.allow_weak True."
    )
    weak = Sandbox(SandboxConfig(allow_weak=True), layers=("limits",)).run("print(1)")
    assert weak.stdout == "1\n"
    assert [layer.name for layer in weak.layers if layer.holds] == ["limits"]


def test_seccomp_alone_leaves_the_files_open_and_is_refused() -> None:
    with pytest.raises(UserError, match=r"^the sandbox cannot protect files on this system \("):
        Sandbox(LIMITS, layers=("seccomp", "privileges", "limits")).run("")


def test_a_standard_stream_is_no_channel() -> None:
    with pytest.raises(ValueError, match=r"^channel 1 is a standard stream, which the sandbox's launcher needs$"):
        Sandbox().start("", channels=[1])


def test_an_interpreter_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UserError) as caught:
        Sandbox(python=str(tmp_path / "python")).run("")
    assert str(caught.value) == f"cannot start the sandbox's interpreter {tmp_path}/python: No such file or directory"


def test_another_system_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.platform", "win32")
    with pytest.raises(UserError) as caught:
        Sandbox()
    assert str(caught.value) == "the sandbox needs Linux, not win32. Use WSL, a container or a virtual machine."


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"cpu_seconds": 0}, "--sandbox.cpu_seconds 0 must be above 0"),
        ({"threads": -1}, "--sandbox.threads -1 must be at least 0"),
        (
            {"cpu_seconds": 9, "wall_seconds": 8},
            "--sandbox.wall_seconds 8 must not be below --sandbox.cpu_seconds 9",
        ),
        ({"open_files": 3}, "--sandbox.open_files 3 must be at least 16, for imports"),
    ],
)
def test_settings_that_make_no_sense(settings: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError) as caught:
        SandboxConfig(**settings)  # pyright: ignore[reportArgumentType]
    assert str(caught.value) == message

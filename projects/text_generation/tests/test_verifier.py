"""Candidates that cheat, candidates that are right, and what a verdict says."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from text_generation.coding.sandbox import Sandbox
from text_generation.coding.verifier import Task, Verdict, Verifier
from text_generation.config.coding import SandboxConfig

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the sandbox's layers are Linux's")

CONFIG = SandboxConfig(cpu_seconds=0.6, wall_seconds=60, memory_mb=256, output_kb=100)
TESTS = ("assert f(2) == 5", "assert f(10) == 101", "assert f(3) != 'x' and f(3) == 10 and f(3) in (10,)")
RIGHT = "def f(x):\n    return x * x + 1"

CHEATS = {
    "exit while it is loaded": "raise SystemExit(0)",
    "exit when called": "def f(x): raise SystemExit(0)",
    "exit by sys": "import sys\ndef f(x): sys.exit(0)",
    "exit outright while it is loaded": "import os; os._exit(0)",
    "exit outright when called": "import os\ndef f(x): os._exit(0)",
    "exit at exit": "import atexit, os; atexit.register(os._exit, 0)\ndef f(x): raise SystemExit(0)",
    "interrupt": "def f(x): raise KeyboardInterrupt",
    "stop iteration": "def f(x): raise StopIteration",
    "equal to everything": "class E:\n    def __eq__(self, o): return True\n    __hash__ = None\ndef f(x): return E()",
    "equal and unequal to everything": (
        "class E:\n    def __eq__(self, o): return True\n    __ne__ = __lt__ = __gt__ = __eq__\ndef f(x): return E()"
    ),
    "an int equal to everything": (
        "class E(int):\n    def __eq__(self, o): return True\n    __hash__ = int.__hash__\ndef f(x): return E(7)"
    ),
    "a str equal to everything": (
        "class E(str):\n    def __eq__(self, o): return True\n    __hash__ = str.__hash__\ndef f(x): return E('7')"
    ),
    "a list equal to everything": "class E(list):\n    def __eq__(self, o): return True\ndef f(x): return E([7])",
    "a class equal to everything": (
        "class M(type):\n    def __eq__(c, o): return True\n    __hash__ = type.__hash__\n"
        "class E(metaclass=M): pass\ndef f(x): return E"
    ),
    "true of everything": "class E:\n    def __bool__(self): return True\ndef f(x): return E()",
    "patched assert": "import builtins\nclass A(Exception): pass\nbuiltins.AssertionError = A\ndef f(x): return 0",
    "patched builtins": (
        "import builtins\nbuiltins.compile = lambda *a, **k: 'pass'\nbuiltins.exec = lambda *a: None\n"
        "builtins.isinstance = lambda *a: True\nbuiltins.all = builtins.any = lambda *a: True\ndef f(x): return 0"
    ),
    "patched json": (
        "import json\njson.loads = lambda *a, **k: {'id': 2, 'outcomes': [None] * 3}\n"
        "json.dumps = lambda *a, **k: '{\"outcomes\": [null, null, null]}'\ndef f(x): return 0"
    ),
    "patched unittest": (
        "import unittest\nunittest.TestCase.assertEqual = lambda *a: None\n"
        "unittest.TestCase.run = lambda *a: None\ndef f(x): return 0"
    ),
    "patched output": (
        "import sys, io\nsys.stdout = sys.stderr = io.StringIO()\nsys.excepthook = lambda *a: None\ndef f(x): return 0"
    ),
    "traced": "import sys\nsys.settrace(lambda *a: None)\nsys.setprofile(lambda *a: None)\ndef f(x): return 0",
    "forged lines": "print('OK'); print('passed'); print('{\"outcomes\": [null, null, null]}')\ndef f(x): return 0",
    "forged messages on every descriptor": (
        "import os, json\n"
        "m = json.dumps({'id': 1, 'missing': [], 'outcomes': [None] * 3}).encode()\n"
        "for d in range(64):\n"
        "    try: os.write(d, len(m).to_bytes(8, 'big') + m)\n"
        "    except OSError: pass\n"
        "def f(x): return 0"
    ),
    "forged answers ahead of the questions": (
        "import os, json\n"
        "for n in range(1, 9):\n"
        "    m = json.dumps({'id': n, 'missing': [], 'value': True}).encode()\n"
        "    os.write(4, len(m).to_bytes(8, 'big') + m)\n"
        "def f(x): return 0"
    ),
    "garbage instead of answers": "import os\nos.write(4, b'\\xff' * 100)\ndef f(x): return 0",
    "an endless answer": "import os\nos.write(4, (10**7).to_bytes(8, 'big') + b'[' * 10**7)\ndef f(x): return 0",
    "an answer nested without end": (
        "import os\nm = b'{\"id\": 1, \"value\": ' + b'[' * 100000 + b']' * 100000 + b'}'\n"
        "os.write(4, len(m).to_bytes(8, 'big') + m)\ndef f(x): return 0"
    ),
    "closed pipes": "import os\nos.close(3); os.close(4)\ndef f(x): return 0",
    "another host": (
        "import gc\nfor o in gc.get_objects():\n"
        "    if type(o).__name__ == 'Host': o._answer = lambda request: {'value': True, 'missing': []}\n"
        "def f(x): return 0"
    ),
    "read the tests from memory": (
        "import gc, sys, re\n"
        "def everything():\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        yield from map(repr, [*frame.f_locals.values(), *frame.f_globals.values()])\n"
        "        frame = frame.f_back\n"
        "    for thing in gc.get_objects():\n"
        "        try: yield repr(thing)\n"
        "        except Exception: pass\n"
        "def f(x):\n"
        "    for text in everything():\n"
        "        if found := re.search(r'assert f\\(%d\\) == (\\d+)' % x, text): return int(found[1])\n"
    ),
    "read the tests from /proc": (
        "import glob, re\ndef f(x):\n"
        "    for path in glob.glob('/proc/*/cmdline') + glob.glob('/proc/*/environ'):\n"
        "        text = open(path, 'rb').read()\n"
        "        if found := re.search(rb'assert f\\(%d\\) == (\\d+)' % x, text): return int(found[1])\n"
    ),
    "read this file": (
        f"import re\ntext = open({__file__!r}).read()\n"
        "def f(x): return int(re.search(r'assert f\\(%d\\) == (\\d+)' % x, text)[1])"
    ),
    "exit from a thread": (
        "import threading, os\nthreading.Thread(target=os._exit, args=(0,)).start()\ndef f(x): return 0"
    ),
    "kill its parent": "import os\ndef f(x): os.kill(os.getppid(), 9)",
    "kill itself": "import os\ndef f(x): os.kill(os.getpid(), 9)",
    "fork bomb": "import os\ndef f(x):\n    while True: os.fork()",
    "fork and let the child answer": "import os\ndef f(x):\n    return x * x + 1 if os.fork() == 0 else 0",
    "run a program": "import subprocess\ndef f(x): return subprocess.call(['/bin/true'])",
    "memory bomb": "def f(x):\n    a = [0]\n    while True: a += a",
    "recursion": "def f(x): return f(x)",
    "deep recursion": "import sys; sys.setrecursionlimit(10**9)\ndef f(x): return f(x)",
    "nested result": "def f(x):\n    a = []\n    for _ in range(10**5): a = [a]\n    return a",
    "circular result": "def f(x):\n    a = []\n    a.append(a)\n    return a",
    "output flood": "def f(x):\n    while True: print('x' * 1000)",
    "output flood while it is loaded": "while True: print('x' * 1000)",
    "endless loop": "def f(x):\n    while True: pass",
    "endless iterator": "def f(x):\n    while True: yield x",
    "write outside": "def f(x): open('/tmp/verifier-escape', 'w')",
    "ask the network": "import urllib.request\ndef f(x): return urllib.request.urlopen('http://127.0.0.1:1').status",
    "no function": "f = 5",
    "nothing": "",
    "no Python": "def f(x",
}


@pytest.fixture(scope="module")
def verifier() -> Verifier:
    return Verifier(Sandbox(CONFIG))


@pytest.fixture(scope="module")
def verdicts(verifier: Verifier) -> Iterator[dict[str, Verdict]]:
    with ThreadPoolExecutor(2) as pool:
        judged = pool.map(lambda source: verifier.verify(Task(source, ("f",), TESTS)), CHEATS.values())
        yield dict(zip(CHEATS, judged, strict=True))


@pytest.mark.parametrize("cheat", CHEATS)
def test_no_cheat_passes(verdicts: dict[str, Verdict], cheat: str) -> None:
    verdict = verdicts[cheat]
    assert not verdict.passed
    assert verdict.n_passed == 0
    assert verdict.detail
    assert verdict.status != "tests", "the judge itself must not fail"


@pytest.mark.parametrize(
    ("cheat", "status", "detail"),
    [
        ("exit when called", "error", "SystemExit: 0"),
        ("exit outright when called", "crashed", "its process ended (exit code 0)"),
        ("endless loop", "cpu_time", "used more than 0.6 s of CPU time"),
        ("output flood", "output", "printed more than the limit"),
        ("an int equal to everything", "wrong", "7 == 5 is false"),
        ("forged answers ahead of the questions", "wrong", "True == 5 is false"),
        ("equal to everything", "error", "it returned an object of a class of its own, which is no value to compare"),
        ("no function", "missing", "it defines no f"),
        ("no Python", "syntax", "SyntaxError: '(' was never closed (<candidate>, line 1)"),
        ("memory bomb", "error", "MemoryError"),
        ("recursion", "error", "RecursionError: maximum recursion depth exceeded"),
    ],
)
def test_what_a_verdict_says(verdicts: dict[str, Verdict], cheat: str, status: str, detail: str) -> None:
    assert (verdicts[cheat].status, verdicts[cheat].detail) == (status, detail)


def test_cheats_that_need_threads() -> None:
    verifier = Verifier(Sandbox(SandboxConfig(cpu_seconds=0.6, wall_seconds=60, threads=8)))
    for target in ("os._exit, args=(0,)", "sys.exit, args=(0,)", "_thread.interrupt_main"):
        source = f"import os, sys, threading, _thread\ndef f(x):\n    t = threading.Thread(target={target})\n"
        verdict = verifier.verify(Task(f"{source}    t.start()\n    t.join()\n    return 0", ("f",), TESTS))
        assert verdict.n_passed == 0, verdict
    honest = "import threading\ndef f(x):\n    r = []\n    t = threading.Thread(target=lambda: r.append(x * x + 1))\n"
    assert verifier.verify(Task(f"{honest}    t.start()\n    t.join()\n    return r[0]", ("f",), TESTS)).passed


def test_a_sleep_ends_by_the_clock() -> None:
    verifier = Verifier(Sandbox(SandboxConfig(cpu_seconds=1, wall_seconds=1)))
    verdict = verifier.verify(Task("import time\ndef f(x): time.sleep(1e6)", ("f",), TESTS))
    assert (verdict.status, verdict.detail) == ("wall_clock", "did not end: it slept or waited")
    assert verdict.cpu_seconds < 1


def check(verifier: Verifier, source: str, *tests: str, names: tuple[str, ...] = ("f",), **rest: str) -> Verdict:
    return verifier.verify(Task(source, names, tests, **rest))


def test_the_right_answer_passes(verifier: Verifier) -> None:
    verdict = verifier.verify(Task(RIGHT, ("f",), TESTS))
    assert verdict == Verdict("passed", "", 3, 3, verdict.cpu_seconds)


def test_passed_tests_are_counted(verifier: Verifier) -> None:
    verdict = check(verifier, "def f(x): return 5", "assert f(2) == 5", "assert f(3) == 10", "assert f(2) == 5")
    assert (verdict.status, verdict.n_passed, verdict.n_tests) == ("wrong", 2, 3)
    assert verdict.detail == "5 == 10 is false"


VALUES = [
    "None", "True", "1", "-(10**40)", "2.5", "float('inf')", "1j", "'\\ud800 é'", "b'\\x00'", "bytearray(b'a')",
    "[1, [2]]", "(1, (2,))", "{'a': [1], (1, 2): None}", "{1, 2}", "frozenset({1})", "range(2, 9, 3)",
    "__import__('decimal').Decimal('1.10')", "__import__('fractions').Fraction(1, 3)", "int",
    "__import__('datetime').date(2024, 2, 29)", "__import__('datetime').timedelta(1, 2, 3)",
]  # fmt: skip


def test_values_keep_value_and_type(verifier: Verifier) -> None:
    tests = [f"value = f({value})\nassert value == {value} and type(value) is type({value})" for value in VALUES]
    assert check(verifier, "def f(x): return x", *tests).n_passed == len(VALUES)


def test_types_are_told_apart(verifier: Verifier) -> None:
    assert not check(verifier, "def f(x): return (1, 2)", "assert f(0) == [1, 2]").passed
    assert not check(verifier, "def f(x): return '1'", "assert f(0) == 1").passed


def test_a_test_sees_changes_of_its_arguments(verifier: Verifier) -> None:
    source = "def f(items, table, seen):\n    items.append(3)\n    table['a'] = 1\n    seen.clear()"
    test = "a, b, c = [1], {}, {7}\nassert f(a, b, seen=c) is None\nassert (a, b) == ([1, 3], {'a': 1})"
    assert check(verifier, source, test).passed


def test_exceptions_are_those_of_the_language(verifier: Verifier) -> None:
    source = (
        "class Mine(KeyError): pass\ndef f(x): raise Mine('no') if x else UnicodeDecodeError('utf-8', b'', 0, 1, 'r')"
    )
    test = "try:\n    f({})\nexcept {}:\n    pass\nelse:\n    raise AssertionError('nothing raised')"
    assert check(verifier, source, test.format(1, "KeyError")).passed
    assert not check(verifier, source, test.format(1, "ValueError")).passed
    assert check(verifier, source, test.format(0, "Exception")).passed


def test_a_bare_except_hides_no_end_of_the_process(verifier: Verifier) -> None:
    verdict = check(verifier, "import os\ndef f(x): os._exit(0)", "try:\n    f(1)\nexcept:\n    pass")
    assert (verdict.status, verdict.n_passed) == ("crashed", 0)


def test_iterators_and_objects_of_its_own(verifier: Verifier) -> None:
    assert check(verifier, "def f(x):\n    yield x\n    yield [x]", "assert list(f(1)) == [1, [1]]").passed
    source = (
        "class Node:\n    def __init__(self, value): self.value, self.left = value, None\n"
        "    def __len__(self): return 2\n    def total(self): return f(self)\n"
        "def f(node): return node.value + (f(node.left) if node.left else 0)"
    )
    tests = ("assert f(root) == 3", "assert root.left.value == 2 and len(root) == 2", "assert root.total() == 3")
    setup = "root = Node(1)\nroot.left = Node(2)"
    assert check(verifier, source, *tests, names=("f", "Node"), setup=setup).passed


def test_what_a_test_calls_besides_is_the_judges_own(verifier: Verifier) -> None:
    """A candidate that brings its own `isclose` and `math` changes nothing."""
    source = "import math\nmath.isclose = lambda *a: True\nisclose = math.isclose\ndef f(x): return 0.0"
    tests = ("import math\nassert math.isclose(f(1), 2.0)", "assert isclose(f(1), 2.0)")
    verdict = check(verifier, source, *tests, preamble="from math import isclose")
    assert (verdict.status, verdict.n_passed) == ("wrong", 0)


def test_tests_that_cannot_be_run_are_told_apart(verifier: Verifier) -> None:
    verdict = check(verifier, RIGHT, "assert f(2) ==")
    assert (verdict.status, verdict.detail) == ("tests", "SyntaxError: invalid syntax (<unknown>, line 1)")
    verdict = check(verifier, RIGHT, "import os; os._exit(0)")
    assert (verdict.status, verdict.detail) == ("tests", "the tests ended early (exited, code 0)")
    verdict = check(verifier, RIGHT, "assert f(lambda: 1) == 1")
    assert verdict.detail == "TypeError: the test passes a function, which cannot be sent to the candidate"


def test_a_task_without_tests_is_an_error(verifier: Verifier) -> None:
    with pytest.raises(ValueError, match=r"^a task needs at least one test, and the name of what is tested$"):
        verifier.verify(Task(RIGHT, ("f",), ()))

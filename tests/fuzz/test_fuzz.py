"""No spoiled file gives a traceback, a crash, a hang or a full memory."""

import faulthandler
import os
import runpy
import signal
import sys
import time
import traceback
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


def started(program: Path, *words: object, log: Path) -> int:
    """The process id of a child that runs a program: this process has imported what it needs."""
    if pid := os.fork():
        return pid
    code: object = 1
    try:
        out = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(out, 1)
        os.dup2(out, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w"), os.fdopen(2, "w")
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        faulthandler.enable()  # where it crashes, to the log
        os.environ["PATH"] = ""  # no tool that unpacks
        sys.argv = [str(program), *map(str, words)]
        runpy.run_path(str(program), run_name="__main__")
    except SystemExit as stop:
        code = stop.code
    except BaseException:
        traceback.print_exc()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(int(code or 0))


def ended(pid: int) -> int:
    """The exit code of a child; -9 where signal 9 killed it."""
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def fuzz(count: int, folder: Path, workers: int = 1, start: int = 0) -> None:
    """Tries inputs in processes of their own, which a crash may end."""
    running = []
    for worker in range(workers):
        at, log = folder / f"at-{worker}", folder / f"log-{worker}"
        words = ("--count", count, "--worker", worker, "--workers", workers, "--start", start)
        running.append((started(FUZZ, *words, "--at", at, log=log), at, log))
    for pid, at, log in running:
        code = ended(pid)
        text = log.read_text(errors="replace")
        input_ = at.read_text().strip() if at.exists() else "none"
        *name, number = input_.split()
        again = f"python {FUZZ} '{' '.join(name)}' --only {number}"
        assert code >= 0, f"killed by signal {-code} (14: it hung) at {again}\n{text[-3000:]}"
        assert code == 0, text[-20_000:]


def test_a_few_hundred_spoiled_files_are_read_or_refused(tmp_path):
    fuzz(250, tmp_path)


@pytest.mark.slow
def test_many_thousand_spoiled_files_are_read_or_refused(tmp_path):
    """PERCEPTBENCH_FUZZ asks for more, PERCEPTBENCH_FUZZ_START for others."""
    count = int(os.environ.get("PERCEPTBENCH_FUZZ", 20_000))
    began = time.monotonic()
    fuzz(count, tmp_path, 2, int(os.environ.get("PERCEPTBENCH_FUZZ_START", 0)))
    print(f"{count:,} inputs in {time.monotonic() - began:.0f} s")


def test_the_fuzzer_finds_what_is_wrong(tmp_path, monkeypatch):
    """A reader that falls over, one that hangs and one that crashes are named with their input."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        f"import sys; sys.path.insert(0, {str(FUZZ.parent)!r})\n"
        "import os, fuzz, time\n"
        "def fails(folder): raise KeyError('x')\n"
        "made = {'fails': fails, 'hangs': lambda f: time.sleep(9), 'dies': lambda f: os.abort()}\n"
        "fuzz.HANGS = 0.5\n"
        "fuzz.targets = lambda: {n: (lambda c=c: {'t': fuzz.Target(1, {'x.csv': b'a,b'}, c, {})})\n"
        "                        for n, c in made.items()}\n"
        "sys.exit(fuzz.main())\n"
    )
    for name, code in {"fails": 1, "hangs": -14, "dies": -6}.items():
        log = tmp_path / "log"
        assert ended(started(wrong, name, "--count", 3, "--at", tmp_path / "at", log=log)) == code
        assert (tmp_path / "at").read_text().split() == [f"{name}/t", "2" if code == 1 else "0"]
        if name == "fails":
            said = log.read_text()
            assert "FAILED KeyError" in said and "'fails/t' --only 0" in said

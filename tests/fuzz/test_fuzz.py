"""No spoiled file gives a traceback, a crash, a hang or a full memory."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

FUZZ = Path(__file__).with_name("fuzz.py")


def fuzz(count: int, folder: Path, workers: int = 1, start: int = 0) -> None:
    """Tries inputs in processes of their own, which a crash may end."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PATH": ""}  # no tool that unpacks
    running = []
    for worker in range(workers):
        at = folder / f"at-{worker}"
        command = [sys.executable, FUZZ, "--count", count, "--worker", worker, "--at", at]
        command += ["--workers", workers, "--start", start]
        with (folder / f"log-{worker}").open("w") as log:
            running.append(
                (subprocess.Popen(list(map(str, command)), stdout=log, stderr=log,
                                  env=environment), at, folder / f"log-{worker}")
            )  # fmt: skip
    for process, at, log in running:
        code = process.wait()
        text = log.read_text(errors="replace")
        input_ = at.read_text().strip() if at.exists() else "none"
        *name, number = input_.split()
        again = f"python {FUZZ} '{' '.join(name)}' --only {number}"
        assert code >= 0, f"killed by signal {-code} (14: it hung) at {again}\n{text[-3000:]}"
        assert code == 0, text[-20_000:]


def test_a_few_hundred_spoiled_files_are_read_or_refused(tmp_path):
    fuzz(400, tmp_path)


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
        command = [sys.executable, wrong, name, "--count", "3", "--at", tmp_path / "at"]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == code
        assert (tmp_path / "at").read_text().split() == [f"{name}/t", "2" if code == 1 else "0"]
        if name == "fails":
            assert "FAILED KeyError" in done.stdout and "'fails/t' --only 0" in done.stdout

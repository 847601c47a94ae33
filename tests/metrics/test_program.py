"""An external program as a metric: the real butteraugli, and small programs of our own."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
import torch

from perceptbench.datasets.images import read_image
from perceptbench.errors import Unavailable, UsageError
from perceptbench.metrics.registry import build, catalogue, read_info

# Prints the mean absolute difference of two images, in 8-bit steps.
DIFFERENCE = """
import sys
import numpy as np
from PIL import Image
x, y = (np.asarray(Image.open(path), dtype=float) for path in sys.argv[1:3])
print("images 1 and 2", file=sys.stderr)
print(f"difference: {abs(x - y).mean():.6f} steps")
"""


@pytest.fixture
def program(tmp_path):
    """Makes a metric of a Python script."""

    def make(script, pattern=r"difference: ([\d.]+)", timeout=30, rest=""):
        (tmp_path / "script.py").write_text(script)
        (tmp_path / "mine.toml").write_text(
            f'program = {{ command = "{sys.executable} {tmp_path}/script.py {{reference}} '
            f"{{distorted}}\", pattern = '{pattern}', timeout = {timeout} }}\n{rest}\n"
        )
        return build(read_info(tmp_path / "mine.toml"), None).at(None)

    return make


@pytest.fixture(scope="module")
def pair():
    generator = torch.Generator().manual_seed(0)
    x, y = (torch.randint(0, 256, (3, 3, 20, 30), generator=generator) / 255 for _ in "xy")
    return x, y


def test_each_pair_gets_the_number_the_program_prints_for_it(program, pair):
    x, y = pair
    expected = (x - y).abs().mean((1, 2, 3)) * 255
    torch.testing.assert_close(program(DIFFERENCE)(x, y), expected, atol=2e-4, rtol=0)
    similar = program(DIFFERENCE, rest="higher_is_better = true\nidentical = 255.0")
    torch.testing.assert_close(similar(x[:1], y[:1]), 255 - expected[:1], atol=2e-4, rtol=0)
    whole = program(DIFFERENCE, pattern=r"\d+\.\d+")
    torch.testing.assert_close(whole(x[:1], y[:1]), expected[:1], atol=2e-4, rtol=0)


def test_nothing_passes_through_a_shell(tmp_path, pair):
    (tmp_path / "mine.toml").write_text(
        f"program = {{ command = \"{sys.executable} -c 'print(1)' {{reference}} {{distorted}} "
        f'; touch {tmp_path}/made" }}\n'
    )
    assert build(read_info(tmp_path / "mine.toml"), None).at(None)(*pair).tolist() == [1, 1, 1]
    assert not (tmp_path / "made").exists()


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("import sys; sys.exit('bad image')", "ended with code 1: bad image"),
        ("print('done')", "no number by the pattern .* said: done"),
    ],
)
def test_a_program_that_fails_is_unavailable_with_what_it_said(program, script, reason):
    with pytest.raises(Unavailable, match=reason):
        program(script)


def test_a_program_that_hangs_is_killed_with_what_it_started(program):
    began = time.monotonic()
    child = "import subprocess\nsubprocess.run(['sleep', '60'])"
    with pytest.raises(Unavailable, match=r"gave no answer within 0\.5 s"):
        program(child, timeout=0.5)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("while True: print('x' * 65536)", "says more than 1 MiB"),
        ("import sys\nwhile True: sys.stderr.write('x' * 65536)", "says more than 1 MiB"),
        ("import signal, time\nsignal.signal(15, signal.SIG_IGN)\ntime.sleep(60)", "no answer"),
        ("import os, time\nos.close(1)\nos.close(2)\ntime.sleep(60)", "no answer"),
    ],
)
def test_a_program_that_floods_or_will_not_end_is_killed(program, script, reason):
    began = time.monotonic()
    with pytest.raises(Unavailable, match=reason):
        program(script, timeout=1 if "answer" in reason else 30)
    assert time.monotonic() - began < 20


@pytest.mark.parametrize("session", [False, True])
def test_nobody_waits_for_a_child_left_behind(program, pair, session, tmp_path):
    child = f"import subprocess\np = subprocess.Popen(['sleep', '60'], start_new_session={session})"
    note = f"open('{tmp_path}/pid', 'a').write(f'{{p.pid}} ')\nprint('difference: 1')"
    began = time.monotonic()
    assert program(f"{child}\n{note}")(*pair).tolist() == [1, 1, 1]
    assert time.monotonic() - began < 20
    for pid in map(int, (tmp_path / "pid").read_text().split()):
        if session:  # out of reach; the test's own to end
            os.kill(pid, signal.SIGKILL)
        else:
            state = Path(f"/proc/{pid}/stat")
            assert not state.exists() or state.read_text().split()[2] in "ZX"


def test_words_that_are_no_text_and_numbers_that_are_none(program, pair):
    odd = program("import sys; sys.stdout.buffer.write(b'\\xff\\x00 difference: 2.5\\n')")
    assert odd(*pair).tolist() == [2.5] * 3
    for number in ("nan", "inf", "1e999"):
        values = program(f"print('difference: {number}')", pattern=r"difference: (\S+)")(*pair)
        assert not torch.isfinite(values).any()  # what the engine leaves out and names


def test_what_a_program_does_in_its_folder_is_cleaned_up(program, pair):
    script = (
        "import os, sys\nfolder = os.path.dirname(sys.argv[1])\n"
        "os.makedirs(f'{folder}/{os.getpid()}/more')\nos.chmod(sys.argv[1], 0)\n"
        "open(f'{folder}/{os.getpid()}.tmp', 'w').write('x')\nprint('difference: 1')"
    )
    before = set(Path(tempfile.gettempdir()).glob("perceptbench-*"))
    program(script)(*pair)
    assert set(Path(tempfile.gettempdir()).glob("perceptbench-*")) <= before


def test_programs_run_at_the_same_time(program, pair):
    sleeper = program("import time; time.sleep(0.7); print('difference: 1')")
    sleeper.workers = 3
    began = time.monotonic()
    sleeper(*pair)
    assert time.monotonic() - began < 2.0


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('program = { command = "compare {reference}" }', r"lacks \{distorted\}"),
        ("program = { command = 'x {reference} {distorted}', pattern = '(' }", "no regular expr"),
        ("program = { pattern = 'x' }", "key `program.command`"),
    ],
)
def test_a_faulty_line_is_named(tmp_path, line, message):
    (tmp_path / "mine.toml").write_text(line)
    with pytest.raises(UsageError, match=message):
        read_info(tmp_path / "mine.toml")


def test_a_missing_program_is_named(tmp_path):
    (tmp_path / "mine.toml").write_text('program = { command = "nosuch {reference} {distorted}" }')
    with pytest.raises(Unavailable, match="program `nosuch` is not installed"):
        build(read_info(tmp_path / "mine.toml"), None)


def test_the_presets_are_programs_and_not_in_the_standard_set():
    for name in ("butteraugli", "ssimulacra2", "vmaf"):
        info = catalogue().metrics[name]
        assert info.program is not None and not info.default


@pytest.mark.skipif(shutil.which("butteraugli") is None, reason="butteraugli is not installed")
def test_the_real_butteraugli_on_the_example(shared):
    ref, p0, p1 = (
        read_image(shared / "lpips-example" / f"ex_{k}.png") for k in ("ref", "p0", "p1")
    )
    compare = build(catalogue().metrics["butteraugli"], None).at(None)
    got = compare(torch.stack([ref] * 3), torch.stack([p0, p1, ref]))
    torch.testing.assert_close(got, torch.tensor([20.138718, 33.704048, 0.0]), rtol=0, atol=2e-6)


@pytest.mark.slow
def test_ctrl_c_waits_for_no_program_and_leaves_none(tmp_path):
    script = (
        "import os, sys, time\n"
        f"trial = not os.path.exists({str(tmp_path / 'tried')!r})\n"
        f"open({str(tmp_path / 'tried')!r}, 'a').close()\n"
        f"trial or open({str(tmp_path)!r} + '/%d.pid' % os.getpid(), 'w').close()\n"
        "trial or time.sleep(300)\n"
        "print(1)\n"
    )
    (tmp_path / "script.py").write_text(script)
    command = f"{sys.executable} {tmp_path / 'script.py'} {{reference}} {{distorted}}"
    toml = f"program = {{ command = {command!r}, pattern = '(.*)', timeout = 600 }}"
    (tmp_path / "slow.toml").write_text(toml)
    words = ["run", "macadam-osa", "-m", tmp_path / "slow.toml", "-o", tmp_path / "out"]
    process = subprocess.Popen(
        [sys.executable, "-m", "perceptbench", *words], stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + 100
    while not (running := list(tmp_path.glob("*.pid"))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert running
    start = time.monotonic()
    process.send_signal(signal.SIGINT)
    errors = process.communicate(timeout=100)[1]
    assert process.returncode == 130 and errors.endswith("perceptbench: interrupted\n")
    assert time.monotonic() - start < 60
    for path in tmp_path.glob("*.pid"):
        arguments = Path(f"/proc/{path.stem}/cmdline")  # of a dead one empty, until it is reaped
        assert not arguments.exists() or not arguments.read_bytes()

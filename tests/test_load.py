"""Large tables: memory in proportion to the rows and no more, whatever a process held before.

A tenth of what `benchmarks/bench_load.py` measures.
"""

import runpy
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

BENCH = runpy.run_path(str(Path(__file__).parent / "benchmarks" / "bench_load.py"))
MANY = 100_000
#: KiB a row of five metrics may cost: its table, its scores, and what is computed of them.
PER_ROW = 4


@pytest.mark.slow
@pytest.mark.parametrize("protocol", ["2afc", "rating"])
@pytest.mark.parametrize("shared", [1, 100], ids=["no reference twice", "references repeat"])
def test_memory_of_agreement_is_in_proportion_to_the_rows(protocol, shared, tmp_path):
    peaks = {}
    for rows in (MANY // 20, MANY):
        judgements, scores = BENCH[f"write_{protocol}"](rows, 5, tmp_path / str(rows), shared)
        call = ("agree", "--judgements", judgements, "--scores", scores)
        _, _, peaks[rows] = BENCH["measured"](*call)
    assert peaks[MANY] < 1200
    assert peaks[MANY] - peaks[MANY // 20] < PER_ROW * MANY / 1024


@pytest.mark.slow
def test_a_report_of_many_rows_stays_small(tmp_path):
    written = BENCH["write_2afc"](MANY, 5, tmp_path)
    run = BENCH["write_run"](*written, tmp_path / "run")
    _, _, peak = BENCH["measured"]("report", run, "-o", tmp_path / "report")
    assert peak < 700
    assert (tmp_path / "report" / "leaderboard.html").stat().st_size < 1_000_000
    _, _, peak = BENCH["measured"]("compare", run, "m0", "m1")
    assert peak < 700


@pytest.mark.slow
def test_memory_of_a_run_does_not_grow_with_the_pairs(tmp_path):
    peaks = []
    for pairs in (1000, 6000):
        judgements = BENCH["write_images"](pairs, tmp_path / str(pairs))
        metrics = ("-m", "mse", "-m", "random-alex-l2")
        places = ("-o", tmp_path / f"run{pairs}", "--store", tmp_path / f"store{pairs}")
        call = ("run", "--judgements", judgements, *metrics, *places, "--device", "cpu")
        peaks.append(BENCH["measured"](*call)[2])
    # Less than the pixels of the further images, let alone their activations.
    assert peaks[1] - peaks[0] < 200


def begun(pid):
    """Whether a command line has its handler of SIGTERM; before, Ctrl-C ends Python's imports."""
    caught = Path(f"/proc/{pid}/status").read_text().partition("SigCgt:")[2].split()[0]
    return bool(int(caught, 16) >> (signal.SIGTERM - 1) & 1)


@pytest.mark.slow
@pytest.mark.parametrize("after", [1.5, 4.0, 8.0])
def test_ctrl_c_ends_the_agreement_of_many_rows_within_seconds(after, tmp_path):
    judgements, scores = BENCH["write_rating"](MANY, 5, tmp_path)
    call = [sys.executable, "-m", "perceptbench", "agree", "--judgements", judgements,
            "--scores", scores]  # fmt: skip
    process = subprocess.Popen(
        call, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )  # fmt: skip
    while not begun(process.pid):
        assert process.poll() is None
        time.sleep(0.01)
    time.sleep(after)
    process.send_signal(signal.SIGINT)
    start = time.monotonic()
    _, said = process.communicate(timeout=60)
    # Python ends by the signal itself, 130 to a shell, where it came within an `exec` of an import.
    assert process.returncode in (130, -signal.SIGINT)
    assert said.strip().endswith("perceptbench: interrupted") and "Traceback" not in said
    assert time.monotonic() - start < 20

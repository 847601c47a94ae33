"""A million judgements through `agree`, `report` and `compare`; 20,000 pairs through `run`.

    python tests/benchmarks/bench_load.py [--rows 1000000] [--pairs 20000] [--part NAME]

Every line is one command in a process of its own: its wall time, the processor time of all its
threads (which other work on the machine does not lengthen), and the most memory it held. The
judgements are made up, each with two pairs (2afc) or one (rating), no image twice but the
references; the images of `run` are noise of 64 x 64 on disk.
"""

import argparse
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from perceptbench.reporting.leaderboard import format_table

METRICS, MANY = 5, 20
#: Rows that share a reference.
SHARED = 100

#: Runs a command and prints seconds, processor seconds and peak MiB. A process of its own: what is
#: measured of a child includes what its parent held when it was started.
MEASURE = """
import resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
print(time.perf_counter() - start, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
sys.exit(code.stderr.decode()[-2000:] if code.returncode else 0)
"""


def measured(*arguments: object) -> tuple[float, float, float]:
    """Wall seconds, processor seconds and peak MiB of one perceptbench command."""
    command = [sys.executable, "-m", "perceptbench", *map(str, arguments)]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], check=True, stdout=subprocess.PIPE, text=True
    )
    wall, processor, peak = map(float, done.stdout.split())
    return wall, processor, peak


def write_rating(rows: int, metrics: int, folder: Path, shared: int = SHARED) -> tuple[Path, Path]:
    """Ratings with their spread, 8 distortions in 5 levels; scores of metrics from good to bad."""
    rng = np.random.default_rng(0)
    true = rng.random(rows)
    table = pd.DataFrame(
        {
            "reference": [f"r{i // shared}.png" for i in range(rows)],
            "distorted": [f"d{i}.png" for i in range(rows)],
            "quality": (1 + 4 * true + rng.normal(0, 0.3, rows)).round(3),
            "std": rng.uniform(0.5, 1, rows).round(3),
            "raters": rng.integers(10, 30, rows),
            "distortion": rng.integers(0, 8, rows).astype(str),
            "level": rng.integers(1, 6, rows),
        }
    )
    scores = _scores(table[["reference", "distorted"]], 1 - true, metrics, rng)
    return _saved(table, scores, folder, "rating")


def write_2afc(rows: int, metrics: int, folder: Path, shared: int = SHARED) -> tuple[Path, Path]:
    """Shares of five votes in six categories, and scores."""
    rng = np.random.default_rng(0)
    one, two = rng.random((2, rows))
    votes = 5
    table = pd.DataFrame(
        {
            "reference": [f"r{i // shared}.png" for i in range(rows)],
            "a": [f"a{i}.png" for i in range(rows)],
            "b": [f"b{i}.png" for i in range(rows)],
            "p_b": rng.binomial(votes, 1 / (1 + np.exp(-4 * (one - two)))) / votes,
            "votes": votes,
            "category": rng.integers(0, 6, rows).astype(str),
        }
    )
    sides = [
        table[["reference", side]].set_axis(["reference", "distorted"], axis=1) for side in "ab"
    ]
    pairs = pd.concat(sides, ignore_index=True)
    scores = _scores(pairs, np.concatenate([one, two]), metrics, rng)
    return _saved(table, scores, folder, "2afc")


def _scores(
    pairs: pd.DataFrame, true: np.ndarray, metrics: int, rng: np.random.Generator
) -> pd.DataFrame:
    noise = np.linspace(0.1, 0.4, metrics)
    columns = {f"m{k}": (true + rng.normal(0, s, len(true))).round(6) for k, s in enumerate(noise)}
    return pairs.assign(**columns)


def _saved(table: pd.DataFrame, scores: pd.DataFrame, folder: Path, name: str) -> tuple[Path, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    paths = folder / f"{name}.csv", folder / f"{name}_scores.csv"
    table.to_csv(paths[0], index=False)
    scores.to_csv(paths[1], index=False)
    return paths


def write_run(judgements: Path, scores: Path, folder: Path) -> Path:
    """A run folder as `run` would leave it."""
    from perceptbench.agreement import own_tables
    from perceptbench.reporting import run_folder
    from perceptbench.reporting.result import FAILURE, Run, board

    own = own_tables.read(judgements, scores)
    part, found = own.judgements, own.evaluate()
    table, names = own.scores.table, own.scores.metrics
    table.insert(0, "dataset", part.dataset)
    lost = pd.DataFrame(columns=list(FAILURE))
    result = Run(table, found.table, pd.DataFrame(), [part], {}, lost, found.comparisons)
    result.provenance = {
        "device": "cpu", "precision": "fp32",
        "metrics": {name: {"title": name} for name in names}, "datasets": {},
    }  # fmt: skip
    result.board = board(result)
    folder.mkdir()
    run_folder.write(result, folder)
    return folder


def write_images(pairs: int, folder: Path, shared: int = 20) -> Path:
    """Noise of 64 x 64 and its noisier versions as PNG files; ratings of them."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = []
    for number in range(pairs):
        if number % shared == 0:
            reference = rng.integers(0, 256, (64, 64, 3))
            first = f"r{number}.png"
            Image.fromarray(reference.astype(np.uint8)).save(folder / first, compress_level=1)
        degree = rng.uniform(1, 40)
        noisy = (reference + rng.normal(0, degree, reference.shape)).clip(0, 255)
        name = f"d{number}.png"
        Image.fromarray(noisy.astype(np.uint8)).save(folder / name, compress_level=1)
        rows.append((first, name, round(5 - degree / 10 + rng.normal(0, 0.3), 3)))
    table = pd.DataFrame(rows, columns=["reference", "distorted", "quality"])
    table.to_csv(folder / "judgements.csv", index=False)
    return folder / "judgements.csv"


def agree(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, ...]]:
    for metrics in (METRICS, MANY):
        for name, write in (("2afc", write_2afc), ("rating", write_rating)):
            for shared, units in (
                (SHARED, f"{SHARED} rows a reference"),
                (1, "no reference twice"),
            ):
                if shared == 1 and metrics == MANY:
                    continue
                judgements, scores = write(args.rows, metrics, folder / f"{metrics}", shared)
                cost = measured("agree", "--judgements", judgements, "--scores", scores)
                yield (
                    f"agree, {name}, {metrics} metrics, {units}",
                    f"{args.rows:,} rows",
                    *said(cost),
                )


def report(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, ...]]:
    runs = []
    for name, write in (("2afc", write_2afc), ("rating", write_rating)):
        runs.append(write_run(*write(args.rows, METRICS, folder / "tables"), folder / name))
        for kind in ("csv", "md", "latex", "figures", "html"):
            cost = measured("report", runs[-1], "-o", folder / "report", "--format", kind)
            yield f"report, {name}, {kind}", f"{args.rows:,} rows", *said(cost)
        page = (folder / "report" / "leaderboard.html").stat().st_size
        yield f"report, {name}, the page", f"{args.rows:,} rows", f"{page / 1e6:.1f} MB", "", ""
        cost = measured("compare", runs[-1], "m0", "m1")
        yield f"compare, {name}", f"{args.rows:,} rows", *said(cost)
    cost = measured("report", *runs, "-o", folder / "both")
    yield "report, both as one, all formats", f"{2 * args.rows:,} rows", *said(cost)


def run(args: argparse.Namespace, folder: Path) -> Iterator[tuple[str, ...]]:
    for pairs in (args.pairs // 10, args.pairs):
        judgements = write_images(pairs, folder / f"{pairs}")
        names = ("mse", "ssim", "random-alex-l2", "pyramid-unit")
        metrics = [option for name in names for option in ("-m", name)]
        out = ["-o", folder / f"run-{pairs}", "--store", folder / f"store-{pairs}"]
        command = ("run", "--judgements", judgements, *metrics, *out, "--device", "cpu")
        yield f"run, {', '.join(names)}", f"{pairs:,} pairs", *said(measured(*command))
        yield "the same again, from the store", f"{pairs:,} pairs", *said(measured(*command))


def said(cost: tuple[float, float, float]) -> tuple[str, str, str]:
    wall, processor, peak = cost
    return f"{wall:.0f} s", f"{processor:.0f} s", f"{peak:,.0f} MiB"


PARTS = {"agree": agree, "report": report, "run": run}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--rows", type=int, default=1_000_000)
    options.add_argument("--pairs", type=int, default=20_000)
    options.add_argument("--part", choices=list(PARTS), action="append")
    args = options.parse_args()
    rows = []
    for part in args.part or PARTS:
        with tempfile.TemporaryDirectory() as folder:
            for row in PARTS[part](args, Path(folder)):
                rows.append(row)
                print(*row, sep=" | ", flush=True)
    print("\n" + format_table(("work", "of", "wall", "processor", "peak memory"), rows))


if __name__ == "__main__":
    main()

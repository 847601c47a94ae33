"""What the studies of `mistakes` and `generators` come to: verdicts, and the page.

The claim of a study, that the mistake costs, is *supported* (*refuted*) where the paired difference
over images is above (below) 0 with a p of Student's t, two-sided and corrected by Holm's method
over all claims, below 5 %; else it is *undecided*. The 95 % intervals are not corrected.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from perceptbench.agreement.inference import SIGNIFICANT, differences, holm
from perceptbench.descent.engine import convene
from perceptbench.descent.generators import LONGER, batch_means, generators
from perceptbench.descent.mistakes import (
    Bench,
    Finding,
    deep_layers,
    not_detached,
    not_frozen,
    only_perceptual,
)
from perceptbench.errors import DataError
from perceptbench.losses.config import load_loss
from perceptbench.losses.feature_loss import FeatureLoss
from perceptbench.metrics.protocol import MetricInfo
from perceptbench.reporting.gallery import Section, render
from perceptbench.reporting.leaderboard import estimate, format_table
from perceptbench.spreadsheet import to_csv
from perceptbench.study import REFUTED, SUPPORTED, UNDECIDED

STUDIES: tuple[Callable[[Bench], list[Finding]], ...] = (
    deep_layers, only_perceptual, not_frozen, not_detached, batch_means,
)  # fmt: skip
VERDICTS = ("claim", "trouble measured", "right", "mistake", "difference", "p (Holm)", "verdict")
GENERATORS = ("task", "loss", "degradation removed", "energy invented", "fine detail lost")
READING = (
    "A claim says that a mistake costs. The trouble is measured on the same images done right and "
    "with the mistake; the difference is mistake minus right, with the 95 % interval of Student's "
    "t over images (feature matching: over discriminators). p is corrected by Holm's method over "
    "all claims; undecided is no evidence that a mistake is harmless."
)


def verdicts(findings: Sequence[Finding]) -> pd.DataFrame:
    """`mistakes.csv`, one row a claim; a ``difference`` is wrong minus right."""
    rows = []
    for finding in findings:
        right, wrong = finding.values
        apart, n = wrong - right, len(right)
        error = apart.std(ddof=1) / np.sqrt(n)
        low, high, p = (float(v) for v in differences(apart.mean(), error, n - 1, n))
        rows.append([
            finding.claim, finding.trouble, finding.right, finding.wrong,
            right.mean(), wrong.mean(), apart.mean(), low, high, p, n,
        ])  # fmt: skip
    columns = ["claim", "trouble", "right", "wrong", "right value", "wrong value"]
    columns += ["difference", "low", "high", "p_holm", "units"]
    table = pd.DataFrame(rows, columns=columns)
    table["p_holm"] = holm(table["p_holm"].to_numpy(float))
    clear = table["p_holm"] < SIGNIFICANT
    signs = [clear & (table["difference"] > 0), clear & (table["difference"] < 0)]
    return table.assign(verdict=np.select(signs, [SUPPORTED, REFUTED], UNDECIDED))


def files(
    judges: Sequence[MetricInfo],
    names: Sequence[str],
    references: np.ndarray,
    *,
    steps: int,
    seed: int,
    device: str,
    weights_dir: Path | None,
    command: str = "",
) -> tuple[str, dict[str, bytes]]:
    """The verdicts for the terminal; ``mistakes.csv`` and the page.

    Raises
    ------
    Unavailable : AlexNet's weights cannot be had.
    DataError : no metric of the panel can be had.
    """
    lpips = load_loss("lpips-alex", weights_dir).to(device)
    assert isinstance(lpips, FeatureLoss)
    _, members, skipped = convene(judges, references.shape[1], device, weights_dir)
    if not [member for member in members if member.name != "lpips-alex"]:
        why = "; ".join(f"{name} {reason}" for name, reason in skipped.items())
        raise DataError(f"no metric of the panel is left beside lpips-alex ({why or 'none named'})")
    bench = Bench(names, references, members, lpips, steps, seed, device, weights_dir)
    findings = []
    with tqdm(total=len(STUDIES) + 1, unit="study", disable=None) as bar:
        for study in STUDIES:
            findings += study(bench)
            bar.update()
        trained, table = generators(bench)
        bar.update()
    result = verdicts([*findings, *trained])
    header, rows = VERDICTS, [_verdict(row) for row in result.to_dict("records")]
    pictures = dict(finding.picture for finding in [*findings, *trained])
    judged_by = ", ".join(member.name for member in members)
    sections = [
        Section("Verdicts", READING, header, rows),
        Section("Pictures", pictures=pictures),
        Section(
            "A small generator", f"3,203 parameters, {LONGER * steps} steps on computed images; "
            f"judged on others, by {judged_by}, without LPIPS on AlexNet, which three of them "
            "were trained with.", GENERATORS, table,
        ),
    ]  # fmt: skip
    lead = (
        f"{(result['verdict'] == SUPPORTED).sum()} of {len(result)} claims are supported, on "
        f"{len(names)} images of {references.shape[1]} x {references.shape[1]} pixels and "
        f"{steps} steps; the verdicts hold for these."
    )
    page = render("mistakes", "What do mistakes in training cost?", lead, sections, command)
    text = f"{lead}\n\n{format_table(header, rows)}"
    return text, {"mistakes.csv": to_csv(result).encode()} | page


def _verdict(row: Mapping[Any, Any]) -> list[str]:
    ends = (row[name] for name in ("difference", "low", "high"))
    difference = estimate(*ends, places=3, sign="+")
    sides = [f"{row[side]}: {row[f'{side} value']:.3f}" for side in ("right", "wrong")]
    p = f"{row['p_holm']:.2g}"
    return [str(row["claim"]), str(row["trouble"]), *sides, difference, p, str(row["verdict"])]

"""What must stand under a leaderboard: how to read it, what is missing and why, where it is from.

Every sentence is plain text; each format marks it up and escapes it in its own way.
"""

from perceptbench.agreement.ranking import PEOPLE
from perceptbench.reporting.run_folder import Run

#: The source of what a run computed.
COMPUTED = "computed here"
#: Failed pairs named in a report; ``run.json`` has them all.
SHOWN_FAILURES = 20


def reading(run: Run) -> list[str]:
    """How to read the figures."""
    resamples = run.provenance["resamples"]
    several = isinstance(resamples, list)
    count = " or ".join(f"{r:,}" for r in (resamples if several else [resamples]))
    kinds = [
        kind for kind in dict.fromkeys(run.agreement["interval"]) if kind and kind != "jackknife"
    ]
    found = [
        "Larger is better, but where there is an arrow (↓). In brackets: 95 % "
        f"{' or '.join(kinds) or 'percentile'} interval of {count} bootstrap resamples; n: number "
        "of judged items. Metrics that share a letter in a column cannot be told apart there: "
        "paired differences on the same resamples, 5 % after Holm's correction; a–d stands for "
        "abcd.",
        "Mean rank: over datasets, each with one vote; an undefined figure (-) counts as last. "
        "P(first): share of resamples in which the mean rank is the best.",
        "human: mean p² + (1-p)², or one observer against the mean of the others; "
        "oracle: mean max(p, 1-p), the best any metric can do.",
    ]
    if run.board["mean_rank"].isna().all():
        found.append("No metric has a mean rank: none has a figure to be ranked by.")
    elif run.board["mean_rank low"].isna().all():
        found.append(
            "The mean ranks have no interval and no letter: there are no resamples to tell how "
            "they would vary."
        )
    if (run.agreement["in_domain"].astype(bool) & run.agreement["value"].notna()).any():
        found.append(
            "†: the metric was trained on this dataset; the cell is shown but takes no part in "
            "the ranking."
        )
    return found


def figures(run: Run) -> dict[str, str]:
    """Figure -> how the images were shown, what was resampled, whether a ceiling is known."""
    found = {}
    for column in run.columns:
        here = column.rows(run.agreement)
        first = here.iloc[0]
        ceiling = "" if here["metric"].isin(PEOPLE).any() else "; no human ceiling is known"
        found[column.title] = f"{first['display']}; resampled over {first['units']} units{ceiling}."
    return found | _resolving(run)


def _resolving(run: Run) -> dict[str, str]:
    """How far apart two scores must be before people would agree, where raters' spread is known."""
    table = run.agreement
    rows = table[(table["statistic"] == "resolving_power") & table["value"].notna()]
    found = {}
    for names, here in rows.groupby(["dataset", "slice"], sort=False):
        title = " ".join(str(n) for n in (*names, "resolving power") if n != "all")
        values = here.set_index("metric")["value"]
        known = [m for m in run.board["metric"] if m in values.index]
        each = ", ".join(f"{metric} {values[metric]:.3g}" for metric in known)
        found[title] = (
            "two scores must be this far apart, in the metric's own unit, before 95 % of people "
            f"would agree which image is better (ITU-T J.149): {each}."
        )
    return found


def missing(run: Run) -> list[tuple[str, str]]:
    """(kind, sentence) of all that is not there: undefined, not run, assumed, skipped, failed."""
    notes = []
    for column in run.columns:
        rows = column.rows(run.agreement)
        for row in rows[rows["value"].isna()].itertuples():
            notes.append(("undefined", f"{row.metric} on {column.title}: {row.note}."))
        bare = rows[rows["value"].notna() & rows["low"].isna() & (rows["note"] != "")]
        for note, here in bare.groupby("note", sort=False)["metric"]:
            why = str(note).split("no interval: ")[-1]
            notes.append(("no interval", f"{', '.join(here)} on {column.title}: {why}."))
        there = {*rows["metric"], *PEOPLE}
        absent = [metric for metric in run.board["metric"] if metric not in there]
        if absent:  # of another run put together with this one
            notes.append(("not run", f"{', '.join(absent)} on {column.title}."))
    notes += [("assumed", f"{what}.") for what in run.assumed]
    for why in dict.fromkeys(run.skipped.values()):
        names = [name for name, reason in run.skipped.items() if reason == why]
        notes.append(("skipped", f"{', '.join(names)}: {why}."))
    for r in run.failures.head(SHOWN_FAILURES).itertuples(index=False):
        notes.append(("failed", f"{r.dataset}: pair ({r.reference}, {r.distorted}): {r.reason}"))
    more = len(run.failures) - SHOWN_FAILURES
    if more > 0:
        notes.append(("failed", f"{more:,} more pairs, all named in run.json"))
    return notes


def sources(run: Run) -> list[str]:
    """Which metrics were computed here and which were not, and how far the two are apart."""
    record = run.provenance
    by_source: dict[str, list[str]] = {}
    for metric in run.board["metric"]:
        if metric in record.get("sources", {}):
            by_source.setdefault(record["sources"][metric], []).append(metric)
    found = []
    if any(source != COMPUTED for source in by_source):
        found = [f"{s[0].upper()}{s[1:]}: {', '.join(names)}." for s, names in by_source.items()]
    for row in record.get("beside", ()):
        told = f" ({row['handling']})" if row["handling"] else ""
        found.append(
            f"{row['published']}, published, and {row['computed']}, computed here, on {row['n']:,} "
            f"pairs of {row['dataset']}: the largest difference is {row['largest']:.2g}{told}."
        )
    return found


def provenance(run: Run) -> list[str]:
    """Where the numbers come from: device, versions, data, weights, command."""
    record = run.provenance
    scored = f"Scored on {record['device']} in {record['precision']}"
    if record["device"] == "none":
        scored = "Scores that others published; no image was looked at"
    lines = [f"{scored}, seed {record['seed']}."]
    lines += sources(run)
    versions = record.get("versions", {})
    if versions:
        lines.append(f"Versions: {', '.join(f'{p} {v}' for p, v in versions.items())}.")
    prints = {name: d.get("fingerprint", "")[:12] for name, d in record.get("datasets", {}).items()}
    if prints:
        lines.append(f"Data (sha256): {', '.join(f'{n} {p}' for n, p in prints.items())}.")
    weights = record.get("weights_sha256", {})
    if weights:
        lines.append(f"Weights (sha256): {', '.join(f'{n} {d[:12]}' for n, d in weights.items())}.")
    return lines

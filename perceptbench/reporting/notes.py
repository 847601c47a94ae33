"""What must stand under a leaderboard: how to read it, what is missing and why, where it is from.

Every sentence is plain text; each format marks it up and escapes it in its own way.
"""

import pandas as pd

from perceptbench.agreement.people import counted, in_words
from perceptbench.agreement.ranking import PEOPLE
from perceptbench.agreement.units import FEWEST, ROUGH
from perceptbench.datasets.judgements.protocols import Judgements
from perceptbench.reporting.leaderboard import Column
from perceptbench.reporting.result import Run

#: The source of what a run computed.
COMPUTED = "computed here"
#: The device of a run that computed nothing.
NO_DEVICE = "none"
#: Failed pairs named in a report; ``run.json`` has them all.
SHOWN_FAILURES = 20


def reading(run: Run) -> list[str]:
    """How to read the figures."""
    found = [
        "Larger is better, but where there is an arrow (↓). In brackets: the 95 % interval; n: "
        "number of judged items. Items that share an image depend on each other: what varies are "
        "the units named below. °: cannot be told from the best of its column (paired "
        "differences, 5 % after Holm's correction over all pairs of the column). 30 of 60: the "
        "metric answered 30 of 60 items, is measured on these, and compared on what both answered.",
    ]
    if not run.board["attained"].isna().all():
        found.append(
            "Attained: the share of the way from chance (0) to what people's own agreement allows "
            "(1; the end of the statistic's range where no ceiling is known), each dataset with "
            "one vote, with its 95 % interval over datasets (random effects, Hartung-Knapp). New "
            "dataset: where it may come to lie on another one like these (95 %). Places: which it "
            "may have on average over these very datasets; metrics of one ordering share a row."
        )
        found += _counted_together(run)
    elif run.board["of"].max() < 2:
        found.append("Fewer than two datasets have a vote: there is no standing over datasets.")
    else:
        found.append("No metric has a standing: none has figures on two datasets.")
    found.append(
        "human: the chance that two different people agree, or one observer against the mean of "
        "the others; oracle: mean max(p, 1-p), the best any metric can do against these votes, or "
        "the largest correlation that ratings of this reliability allow."
    )
    if len(run.alignment):
        found.append(
            "Worst: the least that is left of the figure when the images are changed a little, and "
            "under which change."
        )
    if (run.agreement["in_domain"].astype(bool) & run.agreement["value"].notna()).any():
        found.append(
            "†: the metric was trained on this dataset; the cell is shown but takes no part in "
            "the ranking."
        )
    return found


def _counted_together(run: Run) -> list[str]:
    """Which columns share a vote in the standing, because they ask the same."""
    known, named = run.provenance.get("groups", {}), dict[str, dict[str, None]]()
    for column in run.columns:
        group = known.get(f"{column.dataset}/{column.slice}", known.get(column.dataset))
        if group is not None:
            named.setdefault(group, {})[column.where] = None
    if not named:
        return []
    told = "; ".join(f"{group}: {', '.join(names)}" for group, names in sorted(named.items()))
    return [f"What asks the same has one vote together. {told}."]


def figures(run: Run) -> dict[str, str]:
    """Figure -> how the images were shown, how many units vary, whether a ceiling is known."""
    found = {}
    for column in run.columns:
        here = column.rows(run.agreement)
        first = here.iloc[0]
        ceiling = "" if here["metric"].isin(PEOPLE).any() else "; no human ceiling is known"
        metrics = here[~here["metric"].isin(PEOPLE)]
        units = int(metrics["units"].max()) if len(metrics) else int(first["units"])
        rough = f" (intervals of fewer than {ROUGH} are rough)" if FEWEST <= units < ROUGH else ""
        parts = [p for p in run.judgements if (p.dataset, p.slice) == column.key[:2]]
        raters = max(counted(part.votes) for part in parts)
        end = _end(metrics) + _no_krasula(parts[0])
        vary = f"{units} units{f' and {raters:,} raters' if raters else ''} vary{rough}"
        found[column.title] = f"{first['display']}; {vary}{ceiling}{end}."
    return found | _people(run) | _resolving(run)


def _people(run: Run) -> dict[str, str]:
    """How far the people behind votes agree, and how many would be enough."""
    found = {}
    for part in run.judgements:
        if said := in_words(part):
            name = part.dataset if part.slice == "all" else f"{part.dataset} {part.slice}"
            found[f"{name} people"] = f"{'; '.join(said)}."
    return found


def _no_krasula(part: Judgements) -> str:
    """Why ratings have no Krasula analysis, which asks whether people tell two images apart."""
    if part.protocol != "rating" or part.observers is not None or "raters" in part.table:
        return ""
    lacking = "how many people rated" if "std" in part.table else "the spread of the ratings"
    return f"; no Krasula analysis, since {lacking} is not known"


def _end(metrics: pd.DataFrame) -> str:
    """Between what the attained agreement is measured."""
    known = metrics.dropna(subset=["chance", "ceiling"])
    if known.empty:
        return "; no vote in the standing, since it has no chance that is the same for all metrics"
    row = known.iloc[0]
    end = "what people allow" if row["ceiling_known"] else "the end of the range"
    return f"; from chance {row['chance']:.3g} to {end}, {row['ceiling']:.3g}"


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
        notes += _answered(run, column)
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


def _answered(run: Run, column: Column) -> list[tuple[str, str]]:
    """How metrics that answered some items only do beside the others on the same items."""
    rows = column.rows(run.agreement)
    some = rows[(rows["n"] < rows["of"]) & (rows["n"] > 0) & ~rows["metric"].isin(PEOPLE)]
    pairs = column.rows(run.comparisons)
    found = []
    for row in some.itertuples():
        a, b = (pairs[pairs[side] == row.metric] for side in "ab")
        beside = pd.concat([a["b value"], b["a value"]])
        own = pd.concat([a["a value"], b["b value"]])
        told = f"{row.metric} answered {row.n:,} of {row.of:,} items on {column.title}"
        if len(beside):
            told += (
                f"; on what both answered it has {own.median():.3f}, the other metrics "
                f"{beside.median():.3f} in the median"
            )
        found.append(("not answered", f"{told}."))
    return found


def shown_sources(run: Run) -> dict[str, str]:
    """Metric -> who computed its scores; empty where all were computed here."""
    known = run.provenance.get("sources", {})
    if set(known.values()) <= {COMPUTED}:
        return {}
    # A row of the leaderboard may stand for metrics of several sources.
    told = known | dict(zip(run.board["metric"], run.board["source"], strict=True))
    return {metric: source.replace("published by ", "") for metric, source in told.items()}


def sources(run: Run) -> list[str]:
    """Which metrics were computed here and which were not, and how far the two are apart."""
    record = run.provenance
    by_source: dict[str, list[str]] = {}
    for metric, source in record.get("sources", {}).items():
        if metric in run.metrics:  # not what it is of changed images
            by_source.setdefault(source, []).append(metric)
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
    if record["device"] == NO_DEVICE:
        scored = "Scores that others published; no image was looked at"
    lines = [f"{scored}."]
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

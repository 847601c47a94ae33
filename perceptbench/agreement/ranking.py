"""Names and directions that everything which ranks agrees on."""

from collections.abc import Collection, Mapping

#: Statistics where smaller is better.
SMALLER_IS_BETTER = frozenset({"stress", "matching_rmse", "rmse", "rmse_star", "outlier_ratio"})
#: Rows that are people, not metrics; they are shown but not ranked.
PEOPLE = ("human", "oracle")

#: dataset, slice, statistic
Key = tuple[str, str, str]


def in_domain(
    datasets: Collection[str], trained_on: Mapping[str, Collection[str]]
) -> dict[str, set[str]]:
    """Dataset -> metrics trained on it, or on the family it belongs to.

    >>> in_domain(["bapps", "bapps-jnd", "kadid-10k"], {"lpips-alex": ["bapps"], "mse": []})
    {'bapps': {'lpips-alex'}, 'bapps-jnd': {'lpips-alex'}, 'kadid-10k': set()}
    """
    return {
        dataset: {
            metric
            for metric, families in trained_on.items()
            if any(dataset == family or dataset.startswith(f"{family}-") for family in families)
        }
        for dataset in datasets
    }

"""A study's rows as tables: groups with their figures, differences between groups, and one sentence about them."""

from __future__ import annotations

import csv
import io
from collections.abc import Sequence
from typing import Any

from models.studies.book import Book
from models.studies.measures import Measures

TITLES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced",
    "auroc": "COVID AUROC",
    "covid_vs_normal": "COVID / normal",
    "within_source_auroc": "within source",
    "sensitivity": "sensitivity",
    "specificity": "specificity",
}
COMPARED = ("auroc", "balanced_accuracy", "within_source_auroc")
LEVEL = 0.05


def groups_of(book: Book, order: Sequence[str] = ()) -> list[str]:
    """The groups that have finished rows: those of `order` first, then the others as they came."""
    found = list(dict.fromkeys(row["group"] for row in book.rows.values()))
    return [group for group in order if group in found] + [group for group in found if group not in order]


def lines(book: Book, measures: Measures, groups: Sequence[str]) -> list[dict[str, Any]]:
    """A line for each group: figures as means over its seeds, seconds and images/s of one training."""
    table = []
    for group in groups:
        names = book.of_group(group)
        rows = [book.rows[name] for name in names.values()]
        answers = [book.answers(name) for name in names.values()]
        table.append(
            {
                "group": group,
                "what": rows[0].get("what", ""),
                "seeds": sorted(names),
                "place": rows[0].get("place"),
                "wanted_k": rows[0].get("wanted_k"),
                "train": rows[0]["train"],
                "k": [row["k"] for row in rows if row.get("k")],
                "same_as": rows[0].get("same_as", ""),
                "seconds": round(sum(row["seconds"] for row in rows) / len(rows), 1),
                "images_per_second": rows[0].get("images_per_second"),
                **{name: measures.mean(name, answers) for name in Measures.NAMES},
            }
        )
    return table


def differences(book: Book, measures: Measures, pairs: Sequence[tuple[str, str]]) -> list[dict[str, Any]]:
    """Each first group less its second, over the seeds that both have, on the same resampled patients."""
    found = []
    for first, second in pairs:
        ours, theirs = book.of_group(first), book.of_group(second)
        seeds = sorted(ours.keys() & theirs.keys())
        if not seeds:
            continue
        both = [(book.answers(ours[seed]), book.answers(theirs[seed])) for seed in seeds]
        told = {name: measures.difference(name, both) for name in COMPARED}
        found.append({"first": first, "second": second, "seeds": seeds, **told})
    return found


def sentence(found: Sequence[dict[str, Any]]) -> str:
    """Whether any difference lies outside the noise. Of many comparisons some do by chance, so the level is shared out
    (Bonferroni), and every seed has to point the same way."""
    every = [(one, name, one[name]) for one in found for name in COMPARED if one[name]["value"] is not None]
    if not every:
        return "There is nothing to compare."
    beyond = [
        f"{one['first']} against {one['second']}: {TITLES[name]} {figure['value']:+.3f} "
        f"({figure['ci95'][0]:+.3f} to {figure['ci95'][1]:+.3f})"
        for one, name, figure in every
        if figure["p"] < LEVEL / len(every) and _agree(figure["seeds"])
    ]
    among = f"among {len(every)} comparisons" if len(every) > 1 else "in the one comparison"
    if beyond:
        return f"Outside the noise {among}: {'; '.join(beyond)}."
    largest = max(every, key=lambda one: abs(one[2]["value"]))
    low, high = largest[2]["ci95"]
    return (
        f"No difference outside the noise {among}; the largest is {largest[0]['first']} against "
        f"{largest[0]['second']}, {TITLES[largest[1]]} {largest[2]['value']:+.3f} ({low:+.3f} to {high:+.3f})."
    )


def markdown(table: Sequence[dict[str, Any]], found: Sequence[dict[str, Any]], head: str, answer: str) -> str:
    """Both tables as a text that can be read as it stands."""
    out = [head, "", "| | n | seeds | " + " | ".join(TITLES.values()) + " | s | images/s |"]
    out.append("|---" * (len(TITLES) + 5) + "|")
    for line in table:
        name = line["group"] + (f" ({line['what']})" if line["what"] else "")
        speed = line["images_per_second"]
        cells = [name, str(sum(line["train"].values())), str(len(line["seeds"]))]
        cells += [show(line[figure]) for figure in TITLES]
        cells += [f"{line['seconds']:.0f}", f"{speed:.0f}" if speed else ""]
        out.append("| " + " | ".join(cells) + " |")
    if found:
        out += ["", "| difference | seeds | " + " | ".join(TITLES[name] for name in COMPARED) + " |"]
        out.append("|---" * (len(COMPARED) + 2) + "|")
        for one in found:
            cells = [f"{one['first']} less {one['second']}", str(len(one["seeds"]))]
            out.append("| " + " | ".join(cells + [show(one[name], sign=True) for name in COMPARED]) + " |")
    return "\n".join([*out, "", answer, ""]) if answer else "\n".join([*out, ""])


def show(figure: dict[str, Any], sign: bool = False) -> str:
    if figure["value"] is None:
        return "not defined"
    form = "{:+.3f}" if sign else "{:.3f}"
    value, (low, high) = form.format(figure["value"]), figure["ci95"]
    return value if low is None else f"{value} ({form.format(low)} to {form.format(high)})"


def as_csv(table: Sequence[dict[str, Any]]) -> str:
    """The lines flat: a column for each value and each end of its interval."""
    out = io.StringIO()
    ends = [f"{name}{end}" for name in TITLES for end in ("", "_low", "_high")]
    fixed = ["group", "what", "seeds", "train", "seconds", "images_per_second"]
    writer = csv.DictWriter(out, fixed + ends, lineterminator="\n")
    writer.writeheader()
    for line in table:
        row = {name: line[name] for name in fixed} | {"seeds": len(line["seeds"]), "train": sum(line["train"].values())}
        for name in TITLES:
            low, high = line[name]["ci95"]
            row |= {name: line[name]["value"], f"{name}_low": low, f"{name}_high": high}
        writer.writerow(row)
    return out.getvalue()


def _agree(seeds: Sequence[float | None]) -> bool:
    return all(value is not None and value > 0 for value in seeds) or all(
        value is not None and value < 0 for value in seeds
    )

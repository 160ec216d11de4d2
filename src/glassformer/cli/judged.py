"""An evaluation of labelled rows for people: the scores beside the lines to beat, each class, what was wrong."""

from typing import Any

from glassformer.cli.terminal import printable, readable, table
from glassformer.formatting import percent, share_within

NO_SHARES = ("correlation", "error")
"""Ends of names of scores that are not said in percent."""
MOST_CLASSES = 12
"""A matrix of more is drawn, and not printed."""
SHOWN = 100
"""Characters of a text."""


def say_judged(name: str, found: dict[str, Any]) -> None:
    """All of it; `name` is the run's."""
    print()
    lines = [{"": name, **_scores(found["scores"])}]
    lines += [{"": _named(line["baseline"]), **_scores(line["scores"])} for line in found["baselines"]]
    table(lines)
    for line in found["baselines"]:
        [(score, above), *_] = line["above"].items()
        print(printable(said(name, _named(line["baseline"]), score, above)))
    for note in found["notes"]:
        print(printable(note))
    if found.get("types"):
        print()
        table([{key: _share_of(key, value) for key, value in line.items()} for line in found["types"]])
    if "classes" in found:
        print()
        say_classes(found["classes"], found["confusion"])
        say_calibration(found["calibration"])
    if found["hardest"]:
        print("\nwrong, and surest of it:")
    for row in found["hardest"]:
        text = row["text"] if len(row["text"]) <= SHOWN else row["text"][:SHOWN] + " ..."
        word = f"{row['word']} " if "word" in row else ""
        said_instead = f"{word}{_answer(row['prediction'])} {percent(row['probability'])}, is {_answer(row['truth'])}"
        print(printable(f"  row {row['row']}: {said_instead}: {' '.join(text.split())}"))


def _answer(value: Any) -> str:
    """A label, an answer, or the several that are right."""
    several = value if isinstance(value, list) else [] if value is None else [str(value)]
    return " or ".join(several) or "no answer"


def said(one: str, other: str, score: str, found: dict[str, Any]) -> str:
    """`sst2 less bag of words: accuracy +1.3 points (0.2 to 2.4), a difference`."""
    value, interval = found["value"], found["interval"]
    times, unit = (100, " points") if is_share(score) else (1, "")
    form = ".1f" if times == 100 else ".3f"
    by = f"{one} less {other}: {_words(score)} {value * times:+{form}}{unit}"
    if interval is None:
        return by
    verdict = "a difference" if found["is_one"] else "no difference that these rows can show"
    return f"{by} ({interval[0] * times:{form}} to {interval[1] * times:{form}}), {verdict}"


def said_of_pair(found: dict[str, Any]) -> str:
    """One entry of `differences` of `compare`: a line for each score."""
    rows = f"{found['rows']:,} {found['split']} rows"
    lines = [said(found["run"], found["less"], name, score) for name, score in found["scores"].items()]
    return "\n".join(f"{line} ({rows})" for line in lines)


def say_classes(classes: list[dict[str, Any]], confusion: list[list[int]]) -> None:
    """Each class, and where there are few, what it was taken for."""
    few = len(classes) <= MOST_CLASSES
    rows = []
    for line, counts in zip(classes, confusion, strict=True):
        row = {key: _share_of(key, value) for key, value in line.items()}
        taken = {f"as {other['class']}": count for other, count in zip(classes, counts, strict=True)}
        rows.append({**row, **(taken if few else {})})
    table(rows)


def _share_of(key: str, value: Any) -> Any:
    """Precision, recall and F1 in percent."""
    return percent(value) if value is not None and key in ("precision", "recall", "f1") else value


def say_calibration(found: dict[str, Any]) -> None:
    """How far the probabilities can be trusted."""
    temperature, before, after = found["temperature"], percent(found["error_before"]), percent(found["error_after"])
    if temperature == 1:
        print(f"expected calibration error {before}; no temperature was fitted on validation")
    else:
        print(f"expected calibration error {before}, and {after} with the temperature {temperature:.2f} of validation")


def is_share(score: str) -> bool:
    """Whether a score is said in percent."""
    return not score.endswith(NO_SHARES)


def _scores(scores: dict[str, Any]) -> dict[str, str]:
    return {_words(name): _score(name, **found) for name, found in scores.items()}


def _score(name: str, value: float, interval: list[float] | None) -> str:
    if is_share(name):
        return share_within(value, interval)
    return readable(value) if interval is None else f"{value:.3f} ({interval[0]:.3f} to {interval[1]:.3f})"


def _words(score: str) -> str:
    return {"macro_f1": "macro F1", "matthews_correlation": "Matthews correlation"}.get(score, score.replace("_", " "))


def _named(baseline: str) -> str:
    return baseline.replace("_", " ")

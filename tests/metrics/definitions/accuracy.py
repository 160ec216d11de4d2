"""Right guesses by all."""

KIND = "classes"


def definition(outputs, targets):
    return sum(row.index(max(row)) == target for row, target in zip(outputs, targets, strict=True)) / len(targets)

"""Fewer than five classes are above the right one."""

KIND = "classes"


def definition(outputs, targets):
    above = [sum(x > row[target] for x in row) for row, target in zip(outputs, targets, strict=True)]
    return sum(n < 5 for n in above) / len(targets)

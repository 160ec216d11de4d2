"""The correlation of two tables of zeros and ones, guesses and truths by classes, all columns together."""

import math

KIND = "classes"


def definition(outputs, targets):
    size, n = len(outputs[0]), len(targets)
    guesses = [[float(row.index(max(row)) == c) for c in range(size)] for row in outputs]
    truths = [[float(target == c) for c in range(size)] for target in targets]

    def covariance(one, other):
        total = 0.0
        for c in range(size):
            a, b = [row[c] for row in one], [row[c] for row in other]
            total += sum((x - sum(a) / n) * (y - sum(b) / n) for x, y in zip(a, b, strict=True))
        return total

    return covariance(guesses, truths) / math.sqrt(covariance(guesses, guesses) * covariance(truths, truths))

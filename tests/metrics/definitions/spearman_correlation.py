"""The correlation of ranks: how many are lower, and half of those that are alike."""

import statistics

KIND = "numbers"


def definition(outputs, targets):
    def ranks(values):
        return [sum(other < own for other in values) + values.count(own) / 2 for own in values]

    return statistics.correlation(ranks([row[0] for row in outputs]), ranks(targets))

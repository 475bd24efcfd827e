"""Medians of paired ratios, with intervals that assume nothing about how the values are spread."""

from math import comb
from statistics import median


def interval(values, confidence=0.95):
    """The two values between which the median lies with at least `confidence`; the outermost if they are too few to tell.

    The number of values below the true median is binomial, so the order of the values is all that counts.
    """
    ordered = sorted(values)
    count = len(ordered)
    outside, cut = 0.0, 0
    while cut < count // 2:
        outside += 2 * comb(count, cut) / 2**count
        if outside > 1 - confidence:
            break
        cut += 1
    cut = max(cut - 1, 0)
    return ordered[cut], ordered[count - 1 - cut]


def paired(ours, theirs):
    """(median, low, high) of the ratios of values that were measured in the same round; None without any."""
    ratios = [a / b for a, b in zip(ours, theirs) if a is not None and b]
    if not ratios:
        return None
    return (median(ratios), *interval(ratios))


def percentile(values, share):
    """The value that `share` (0 to 1) of the values do not exceed."""
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]

"""
Time series
===========

A classifier of series of unequal lengths, as a scikit-learn estimator. What it has to find is local and may lie
anywhere, which is what convolutions are for.
"""

import numpy as np
from builder.drawing import curves

from funcnn.estimators import TimeSeriesConvClassifier

rng = np.random.default_rng(0)


def chirps(n):
    """Return n series (1, time) of 50 to 80 points whose pitch rises (1) or falls (0), and their classes."""
    rising = np.arange(n) % 2
    series = []
    for up in rising:
        time = np.linspace(0, 1, rng.integers(50, 80))
        pitch = 2 + 6 * (time if up else 1 - time)
        wave = np.sin(2 * np.pi * np.cumsum(pitch) / len(time) + rng.uniform(0, 6))
        series.append((wave + 0.2 * rng.normal(size=len(time)))[None])
    return series, rising


# %%
# Each series is an array (channels, time), and they may differ in length. Here they have one channel:
x, y = chirps(120)
print(x[0].shape, x[1].shape, y[:2])
curves(np.arange(50.0), {"falls": x[0][0, :50], "rises": x[1][0, :50] + 6}, "a series of each class")

# %%
# Train on eighty, test on forty:
clf = TimeSeriesConvClassifier(max_iter=15, random_state=0).fit(x[:80], y[:80])
print("right:", clf.score(x[80:], y[80:]))

# %%
# Probabilities of the first three that it has not seen, of falling and of rising:
print(y[80:83])
clf.predict_proba(x[80:83]).round(3)

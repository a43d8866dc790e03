"""Figures of what happened: timeline, throughput, shares, latency and the recovery scorecard.

Each takes the events and returns a :class:`Figure`: matplotlib's figure and the sentence that says
what it shows.
"""

from labkit.measure.figures.latency import latency
from labkit.measure.figures.page import Figure
from labkit.measure.figures.scorecard import scorecard
from labkit.measure.figures.shares import shares
from labkit.measure.figures.throughput import throughput
from labkit.measure.figures.timeline import timeline

__all__ = ["Figure", "latency", "scorecard", "shares", "throughput", "timeline"]

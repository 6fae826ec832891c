"""Runs in somebody else's tracker: TensorBoard, MLflow, Weights & Biases, Trackio.

A run's events are sent while it runs (`--report-to`), or from its log afterwards (`cuecard track`).
"""

from __future__ import annotations

from cuecard.tracking.replay import Replayed, replay, runs_in
from cuecard.tracking.trackers import TRACKERS, ReportTo, TrackerName, check_installed
from cuecard.tracking.tracking import Tracking, with_trackers

__all__ = [
    "TRACKERS",
    "Replayed",
    "ReportTo",
    "TrackerName",
    "Tracking",
    "check_installed",
    "replay",
    "runs_in",
    "with_trackers",
]

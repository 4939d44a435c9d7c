"""The detectors of domain shift. A new one is a file beside this one and a row here; its contract test comes by itself."""

from __future__ import annotations

from advisor.shift.c2st import c2st
from advisor.shift.contract import Detector
from advisor.shift.distance import distance
from advisor.shift.mmd import mmd

DETECTORS: dict[str, Detector] = {"distance": distance, "mmd": mmd, "c2st": c2st}

MATCHED = ("mmd", "c2st")
"""Those that would see a difference of length; they are given texts in pairs of the same length."""

"""Scores beside SSLMem, reduced from what was measured of single encoders to a replicate a seed: one file a comparison.

Each is a row of :data:`COMPARISONS`. Higher means more memorized, whatever its source's convention. The score of a sample is the mean over
seeds, its error the standard error over seeds.
"""

from __future__ import annotations

from sslmem_kit.scores.comparisons.registry import COMPARISONS as COMPARISONS

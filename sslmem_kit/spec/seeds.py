"""Named random streams: every use of randomness has a seed of its own, derived from the study's seed and a name."""

import hashlib


def derive_seed(seed: int, *names: str | int) -> int:
    """Return a 63-bit seed for the stream that ``names`` call for; streams of different names are unrelated."""
    text = "/".join(str(part) for part in (seed, *names))
    return int.from_bytes(hashlib.blake2b(text.encode(), digest_size=8).digest()) >> 1

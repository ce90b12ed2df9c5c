"""Memory after people have left."""

from __future__ import annotations

import weakref

from sslmem_kit.explorer.serving.memory_release import REST_SECONDS, Memory, collect


def test_memory_is_given_back_after_somebody_left_twice_and_with_rests() -> None:
    now, given = [0.0], []
    memory = Memory(lambda: given.append(now[0]), clock=lambda: now[0])
    present = {0.0: {"a"}, 5.0: {"a", "b"}, 10.0: {"b"}, 60.0: {"b", "c"}, 65.0: {"c"}, 70.0: set()}
    here = set()
    while now[0] < 120:
        here = present.get(now[0], here)
        memory.look(here)
        now[0] += 5
    assert given == [10, 10 + REST_SECONDS, 65, 65 + REST_SECONDS, 65 + 2 * REST_SECONDS]


def test_cycles_are_freed() -> None:
    class Document:
        pass

    one = Document()
    one.itself = one
    gone = weakref.ref(one)
    del one
    collect()
    assert gone() is None

"""Which published versions stay."""

from __future__ import annotations

from collections.abc import Collection

from protos.storage import Store


def retire(store: Store, newest: int, keep: int, protect: Collection[int]) -> list[int]:
    """Removes versions beyond the last `keep`, and what dead publishers left; returns the numbers removed.

    Args:
      store: where they are.
      newest: the version that was just published, which stays whatever its number.
      keep: how many stay, the largest numbers.
      protect: versions that stay besides.
    """
    spared = {newest, *protect}
    old = beyond(store.published(), keep, spared)
    for number in old:
        store.remove(number)
    store.sweep(spared)
    return old


def beyond(published: Collection[int], keep: int, spared: Collection[int]) -> list[int]:
    """Of published versions those that would go: all but the last `keep` and those spared."""
    return [number for number in sorted(published)[:-keep] if number not in spared]

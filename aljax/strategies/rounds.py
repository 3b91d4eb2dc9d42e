"""Points in shards, narrowed down in rounds: of every block a few are chosen, until those that are left fit.

A round begins as soon as the one before has filled a block, so that what is in memory at once does not grow
with the number of points.

Shapes: n points in a block, D features.
"""

import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import NamedTuple

import numpy as np

from aljax.data import shards as files
from aljax.data.shards import Shards
from aljax.strategies.base import of_unit_length

SHRINK = 4  # a block is so many times as large as what stays of it, at least


class Points(NamedTuple):
    """Holds some of the points."""

    rows: np.ndarray  # their numbers among all, [n] int64
    features: np.ndarray  # [n, D] float32
    weights: np.ndarray  # what each counts for in judging a choice, 0 or 1, [n] int64


Choose = Callable[[Points, int], np.ndarray]  # positions of at most so many of the points, in order


def narrowed(
    shards: Shards,
    stay: int,
    choose: Choose,
    block: int,
    last: int,
    judges: Points | None = None,
) -> tuple[Points, int]:
    """Narrows the points down until they fit.

    Args:
      shards: the points.
      stay: points of a block that stay.
      choose: chooses them.
      block, last: rows of a block, and those that fit, at least.
      judges: points that judge the choices of later rounds in place of the block's own, and may be chosen
        too; where there are some, features have length 1.

    Returns:
      What is left, and the number of rounds.

    Raises:
      InvalidInputError: if a shard is damaged or missing, or a number is not finite.
    """
    block, last = max(block, SHRINK * stay), max(last, SHRINK * stay)
    unit = of_unit_length if judges else np.asarray
    stream: Iterator[Points] = (
        Points(np.arange(start, start + len(part)), unit(part), np.ones(len(part), np.int64))
        for start, part in files.blocks(shards, block)
    )
    rounds = 0
    while True:
        held: list[Points] = []
        while (count := sum(len(points.rows) for points in held)) <= last:
            if (points := next(stream, None)) is None:
                break
            held.append(points)
        judge = judges if rounds else None
        if count <= last:
            return _united(_judged(joined(held), judge)), rounds
        blocks = _blocks(itertools.chain(_drained(held), stream), block)
        stream = _fewer(blocks, stay, choose, judge)
        rounds += 1


def _drained(held: list[Points]) -> Iterator[Points]:
    """Yields what is held, each without keeping it."""
    held.reverse()
    while held:
        yield held.pop()


def _blocks(stream: Iterable[Points], size: int) -> Iterator[Points]:
    """Yields the points of a stream in blocks of one size; the last may be smaller."""
    left, count = [], 0
    for points in stream:
        left.append(points)
        count += len(points.rows)
        while count >= size:
            whole = joined(left)
            yield Points(*(part[:size] for part in whole))
            left, count = [Points(*(part[size:] for part in whole))], count - size
    if count:
        yield joined(left)


def _fewer(blocks: Iterable[Points], stay: int, choose: Choose, judges: Points | None) -> Iterator[Points]:
    """Yields the chosen points of each block, without those that another block has yielded.

    Nothing is read before it is asked for, so that of each round no more is in memory than the next takes.
    """
    seen = np.empty(0, np.int64)  # of the judges, as no other comes twice
    for block in blocks:
        few = _united(_few(_judged(block, judges), stay, choose))
        new = ~np.isin(few.rows, seen)
        if judges:
            seen = np.append(seen, few.rows[new & np.isin(few.rows, judges.rows)])
        yield Points(*(part[new] for part in few))


def joined(parts: Sequence[Points]) -> Points:
    """Returns all points of the parts."""
    return Points(*map(np.concatenate, zip(*parts, strict=True)))


def _united(points: Points) -> Points:
    """Returns the points, each where it comes first."""
    first = np.sort(np.unique(points.rows, return_index=True)[1])
    return points if len(first) == len(points.rows) else Points(*(part[first] for part in points))


def _few(points: Points, stay: int, choose: Choose) -> Points:
    """Returns the chosen points of a block."""
    if len(points.rows) <= stay:
        return points
    chosen = choose(points, stay)
    if not len(chosen):  # as where labeled balls hold them all
        chosen = np.zeros(1, np.int64)
    return Points(*(part[chosen] for part in points))


def _judged(points: Points, judges: Points | None) -> Points:
    """Returns the points, and those that judge, if any: they alone count.

    Judges among the points come once more, last and without a weight, so that all blocks are of one size.
    """
    if judges is None:
        return points
    again = np.isin(points.rows, judges.rows)
    rows, features, weights = points
    others, more = ((rows[part], features[part], 0 * weights[part]) for part in (~again, again))
    return Points(*map(np.concatenate, zip(others, judges, more, strict=True)))

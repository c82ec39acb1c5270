"""Rarer answers repeated until each is learned as often as the commonest."""

import random
from collections import defaultdict
from collections.abc import Hashable, Sequence

from core.errors import UserError

MOST_ANSWERS = 100


def balanced(answers: Sequence[Hashable], seed: int) -> list[int]:
    """Indices of rows: all of them, then more of the rarer answers, drawn with the seed. UserError
    where the answers are no labels."""
    places: dict[Hashable, list[int]] = defaultdict(list)
    for index, answer in enumerate(answers):
        places[answer].append(index)
    if len(places) > MOST_ANSWERS:
        raise UserError(f"Balance answers: found {len(places):,} different answers, so they are no "
                        "labels.", "Switch it off for free text.")
    most = max((len(found) for found in places.values()), default=0)
    draws = random.Random(seed)
    more = [index for found in places.values()
            for index in draws.choices(found, k=most - len(found))]
    return [*range(len(answers)), *more]

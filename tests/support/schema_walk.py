"""Where the masks of a JSON grammar lead, with the vocabulary of `schema_oracle.byte_vocabulary`."""

from __future__ import annotations

import random
from typing import Final

import numpy as np

from support.schema_oracle import EOS, FIRST_BYTE
from tabagent.grammar import Grammar

LONGEST: Final = 160
# What a walk mostly takes: letters of names, numbers and signs of JSON.
USUAL: Final = np.isin(np.arange(-FIRST_BYTE, 256), list(b'abcxyz01235.-"{}[],:eTZP'))
CLOSING: Final = np.isin(np.arange(-FIRST_BYTE, 256), list(b'"}]'))


def walk(grammar: Grammar, chance: random.Random, text: bytearray) -> bool:
    """Adds to `text` the bytes that the masks lead to; True if the text came to an end."""
    constraint = grammar.start()
    for step in range(LONGEST):
        mask = constraint.mask()
        if mask[EOS] and (mask.sum() == 1 or chance.random() < 0.4):
            return True
        mask[EOS] = False
        late, usual = mask & CLOSING, mask & USUAL
        wanted = late if step > 60 and late.any() else usual if usual.any() and chance.random() < 0.9 else mask
        token = int(chance.choice(np.flatnonzero(wanted).tolist()))
        constraint.accept(token)
        text.append(token - FIRST_BYTE)
    return False

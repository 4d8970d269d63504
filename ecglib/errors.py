"""The one error a user of the house ever has to read."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class InputError(ValueError):
    """What the user gave cannot be used. The message is one sentence: what is wrong, where, what to do.

    Command lines print it without a traceback and leave with exit status 2.
    """


def nearest(name: object, choices: Iterable[object]) -> str:
    """``" Did you mean 'x'?"`` where a choice is close to `name`, else the choices when few, else ``""``."""
    names = [str(c) for c in choices]
    close = difflib.get_close_matches(str(name), names, n=1, cutoff=0.6)
    if close:
        return f" Did you mean {close[0]!r}?"
    return f" The choices are {', '.join(names)}." if 0 < len(names) <= 20 else ""


def one_of(what: str, value: object, choices: Iterable[object]) -> None:
    """InputError where `value`, given for the option `what`, is none of `choices`."""
    choices = tuple(choices)
    if value not in choices:
        raise InputError(f"{what} is {value!r}.{nearest(value, choices)}")

"""Whether somebody sits before the notebook who could move a slider."""

from __future__ import annotations


def live() -> bool:
    """A front end says that it is there by allowing input, which batch runners do not.

    In a batch run nobody would answer a widget, and a report would hold a dead one.
    """
    from IPython import get_ipython

    return bool(getattr(getattr(get_ipython(), "kernel", None), "_allow_stdin", False))

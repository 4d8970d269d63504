"""Where things lie."""

from pathlib import Path

REPO = Path(__file__).resolve().parent.parent
SHARED = REPO.parent / "shared" / "data"
"""Real ECGs beside the checkout; never committed."""

"""``python -m cohobate.cli``: what torchrun starts."""

from __future__ import annotations

from . import main

if __name__ == "__main__":
    main()

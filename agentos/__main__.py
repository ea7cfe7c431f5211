"""`python -m agentos …`: the one entry."""

import gc
import sys

from agentos.cli.app import main

# What a process loads stays; to look through it for garbage again and again took a fifth of the time to load it.
gc.set_threshold(50_000, 20, 20)

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

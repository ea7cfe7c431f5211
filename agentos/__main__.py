"""`python -m agentos …`: the one entry."""

import sys

from agentos.cli.app import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

"""The command line: what is asked for in words, and how the answer is shown.

A command parses, calls and prints; what it does is done elsewhere. Everything heavy is imported inside the command that
needs it, so that `--help` comes at once. Exit codes: 0 done, 1 failed, 2 wrong usage.
"""

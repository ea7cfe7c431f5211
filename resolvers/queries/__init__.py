"""Reads: what one caller may see, as rows. Each function opens a short transaction of its own; nothing is changed."""

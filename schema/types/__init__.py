"""The object types: what rows look like from outside."""

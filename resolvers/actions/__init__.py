"""Everything an admin can do: one module for each view of the console, one function for each action."""

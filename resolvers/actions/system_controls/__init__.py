"""SystemControls: the system as a whole, its services, and its database."""

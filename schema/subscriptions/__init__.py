"""What can be watched, by subject; `schema.subscription` joins them."""

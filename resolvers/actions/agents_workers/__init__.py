"""AgentsWorkers: how many workers there are, what each is at and how it works, and whether an agent does."""

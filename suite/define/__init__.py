"""What can be run: specs, protocols, tasks, methods and their cards, found through entry points; and what
identifies them."""

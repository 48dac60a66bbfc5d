"""Statistics as pure functions over plain numbers."""

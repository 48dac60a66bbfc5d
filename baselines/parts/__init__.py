"""What several methods are made of. No cards here."""

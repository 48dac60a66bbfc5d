"""Results of others: recomputed, examined, merged, imported."""

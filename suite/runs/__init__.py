"""One run's life: planned, carried out by a worker, stored, evaluated."""

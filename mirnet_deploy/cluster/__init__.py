"""Many pictures on many machines, with Ray Data: one runtime an actor, and a manifest of what became of each."""

"""Whether a run was worth it: the base model and tuned ones on the same rows."""

"""From a run folder to an adapter."""

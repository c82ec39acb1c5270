"""From a name to a model that can learn."""

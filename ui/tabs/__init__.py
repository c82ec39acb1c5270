"""One file a tab; a tab never imports a tab."""

"""Messages become token ids and labels, side by side."""

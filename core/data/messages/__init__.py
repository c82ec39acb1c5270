"""A raw row becomes messages: layouts, dialogues, columns by role."""

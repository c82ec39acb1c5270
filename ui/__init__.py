"""The page: draws what core knows, and holds no rules."""

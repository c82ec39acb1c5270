"""What is fast, what it brings, and how we know: one command each, figures in bench/README.md."""

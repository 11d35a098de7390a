"""A page written in a format: terminal, Markdown, LaTeX, CSV, HTML, JSON."""

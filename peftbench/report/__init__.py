"""Output of results: tables, charts, pages and JSON."""

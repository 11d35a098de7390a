"""What is shown: tables, JSON, and how figures are written."""

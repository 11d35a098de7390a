"""Row sources: local files and the Hugging Face hub."""

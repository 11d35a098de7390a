"""Export of runs to other formats, and bundles for import into another database."""

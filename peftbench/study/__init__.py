"""The published study: claims, groups, published values, memory, submission files and report."""

"""The outside systems, one a file; a third-party client library is imported here and nowhere else."""

"""Running a method: requests, run directories, resuming, the dense cache, the report."""

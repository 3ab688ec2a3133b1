"""Which place a path means: mounts and path resolution, without any I/O."""

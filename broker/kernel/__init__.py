"""The thin adapter to the kernel: the listener, the lane, the tracee's memory and procfs, redirects."""

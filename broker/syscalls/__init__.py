"""The handlers of trapped system calls, one file a family: decode, resolve, one call of the mirror, a reply."""

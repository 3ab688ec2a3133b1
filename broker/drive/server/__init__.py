"""A server for many users, in front of metadata and blobs."""

"""The broker: answers the trapped system calls of one session."""

"""Tests of the mirror, against a remote in memory whose answers can be held back or made to fail."""

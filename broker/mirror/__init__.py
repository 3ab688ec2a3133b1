"""The mirror: what is known of a remote's tree, as real files in the user's cache directory."""

"""The launcher: reads the policy, installs the filter and starts the processes of a session."""

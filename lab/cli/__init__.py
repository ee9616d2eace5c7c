"""The `lab` command: each verb a thin call of a driver. Data on stdout, talk on stderr."""

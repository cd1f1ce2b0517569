"""Commands of the command line that are no flow, one file each."""

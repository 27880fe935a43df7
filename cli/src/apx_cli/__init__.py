"""The `apx` command: it parses, calls core and prints; everything it knows lives in `apx`."""
